package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"walhook/internal/pgserver"
)

// Disk is a small file system in memory, which can run out of space without anything else noticing.
type Disk struct {
	// Server is a cluster of its own: any session of a cluster may have to write a page to a full disk, and fails then.
	Server *pgserver.Server

	dir string
}

// mountDisk mounts a disk of so many MiB. Where mounting is refused the test is skipped.
func mountDisk(t testing.TB, mebibytes int) *Disk {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("a small disk is a tmpfs, which needs Linux")
	}
	d := &Disk{dir: t.TempDir()}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm,mode=755", mebibytes), "tmpfs", d.dir).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs may be mounted here: %v %s", err, out)
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

// SmallDisk mounts a disk that holds a tablespace of a server, whose WAL lies elsewhere: statements fail for lack of space, the
// server does not. An empty database takes 8 MiB.
func SmallDisk(t testing.TB, mebibytes int) *Disk {
	t.Helper()
	d := mountDisk(t, mebibytes)
	s := Cluster(t, pgserver.Options{Trust: true, Settings: map[string]string{"fsync": "off", "shared_buffers": "16MB"}})
	d.Server = s
	data := filepath.Join(d.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(data, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	Exec(t, s.DSN("postgres"), fmt.Sprintf("CREATE TABLESPACE small LOCATION '%s'", data))
	return d
}

// Database makes an empty database in the disk's tablespace and returns its name and a DSN of the superuser.
func (d *Disk) Database(t testing.TB) (name, dsn string) {
	t.Helper()
	name = fmt.Sprintf("t%d", cluster.serial.Add(1))
	Exec(t, d.Server.DSN("postgres"), fmt.Sprintf("CREATE DATABASE %s TABLESPACE small", name))
	return name, d.Server.DSN(name)
}

// Fill takes all space that is left.
func (d *Disk) Fill(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// Free gives back what Fill has taken.
func (d *Disk) Free(t testing.TB) {
	t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
}

func (d *Disk) ballast() string { return filepath.Join(d.dir, "ballast") }
