package cdc

import (
	"syscall"
	"testing"
)

// A file that had a name for a moment only would be left behind by a kill in that moment.
func TestSpillFileNeverHasAName(t *testing.T) {
	dir := t.TempDir()
	if f, err := openUnnamed(dir); err != nil {
		t.Skipf("the file system of %s has no files without a name: %v", dir, err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	watch, err := syscall.InotifyInit1(syscall.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(watch)
	if _, err := syscall.InotifyAddWatch(watch, dir, syscall.IN_CREATE|syscall.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	s, err := newSpillFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	at, err := s.append([]byte("row"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.read(make([]byte, 3), at); err != nil || string(got) != "row" {
		t.Errorf("read %q, %v", got, err)
	}
	if info, err := s.file.Stat(); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if n, err := syscall.Read(watch, make([]byte, 4096)); err != syscall.EAGAIN {
		t.Errorf("%d bytes of events about names in the folder, %v", n, err)
	}
}
