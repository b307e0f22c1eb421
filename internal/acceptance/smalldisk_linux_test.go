package acceptance

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// smallDisk is a place for temporary files that has too little room, and can be given more: a file system in memory where
// this user may mount one, else a limit on the size of files that the program writes.
type smallDisk struct {
	dir     string
	message string // what a failure says
	limit   func(pid int)
	grow    func(pid int)
}

const smallDiskSize = 3 << 20

func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	d := &smallDisk{dir: t.TempDir(), message: "no space left on device", limit: func(int) {}}
	mount := func(flags uintptr, size int) error {
		return syscall.Mount("tmpfs", d.dir, "tmpfs", flags, "mode=0777,size="+strconv.Itoa(size))
	}
	err := mount(0, smallDiskSize)
	if err == nil {
		t.Cleanup(func() {
			if err := syscall.Unmount(d.dir, 0); err != nil {
				t.Error(err)
			}
		})
		d.grow = func(int) {
			if err := mount(syscall.MS_REMOUNT, 1<<30); err != nil {
				t.Fatal(err)
			}
		}
		return d
	}
	prlimit, lookErr := exec.LookPath("prlimit")
	if lookErr != nil {
		t.Skipf("no small disk: tmpfs cannot be mounted (%v), and there is no prlimit", err)
	}
	t.Logf("tmpfs cannot be mounted (%v): the size of files is limited instead", err)
	d.message = "file too large"
	set := func(pid int, size string) {
		cmd := exec.Command(prlimit, "--pid", strconv.Itoa(pid), "--fsize="+size+":")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	d.limit = func(pid int) { set(pid, strconv.Itoa(smallDiskSize)) }
	d.grow = func(pid int) { set(pid, "unlimited") }
	return d
}
