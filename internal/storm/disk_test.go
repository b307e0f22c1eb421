package storm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// disk is a file system in memory that can be made too small for what comes next, for the tablespace of a database: statements
// fail for lack of space, the server does not.
type disk struct {
	dir string
	mib int
}

// newDisk mounts one of so many MiB, which are used only as far as they are filled; nil where mounting is refused.
func newDisk(t testing.TB, mib int) *disk {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	d := &disk{dir: t.TempDir(), mib: mib}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=755", mib), "tmpfs", d.dir).CombinedOutput(); err != nil {
		t.Logf("no tmpfs may be mounted here, so that no disk gets full: %v %s", err, out)
		return nil
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, 0); err != nil {
			t.Errorf("unmount %s: %v", d.dir, err)
		}
	})
	// Servers run as an account of their own, which must be able to get there.
	for dir := filepath.Dir(d.dir); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// tablespace makes the folder of one, which belongs to whom the server's data belongs.
func (d *disk) tablespace(dataDir string) (string, error) {
	dir := filepath.Join(d.dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(dataDir)
	if err != nil {
		return "", err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return dir, nil
	}
	return dir, os.Chown(dir, int(owner.Uid), int(owner.Gid))
}

// fill makes the disk as small as what is on it.
func (d *disk) fill() error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &fs); err != nil {
		return err
	}
	used := int64(fs.Blocks-fs.Bfree) * fs.Bsize
	for range 20 { // it may grow between the two
		if err := d.resize(fmt.Sprintf("%d", used)); err == nil {
			return nil
		}
		used += 64 << 10
	}
	return d.resize(fmt.Sprintf("%d", used))
}

// free gives it its size back.
func (d *disk) free() error { return d.resize(fmt.Sprintf("%dm", d.mib)) }

func (d *disk) resize(size string) error {
	if err := syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_REMOUNT, "mode=755,size="+size); err != nil {
		return fmt.Errorf("remount %s with %s: %w", d.dir, size, err)
	}
	return nil
}
