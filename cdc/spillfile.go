package cdc

import (
	"errors"
	"io"
	"os"
)

// spillFile is a private temporary file that is appended to and read at any
// place. It has no name once it is open, so that nothing is left behind however the process
// ends, and nobody else can open it. After a failed write the same data can be written again.
type spillFile struct {
	dir  string
	file *os.File
	off  int64  // where buf belongs
	buf  []byte // not yet written
}

const spillBuffer = 256 << 10

func newSpillFile(dir string) (*spillFile, error) {
	f, err := openUnnamed(dir)
	if err != nil {
		f, err = createAndRemove(dir)
	}
	if err != nil {
		return nil, &SpillError{Dir: dir, Err: err}
	}
	return &spillFile{dir: dir, file: f, buf: make([]byte, 0, spillBuffer)}, nil
}

// createAndRemove is for where files can't be made without a name: a kill in between leaves an empty one.
func createAndRemove(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "walhook-transaction-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// end is where the next append goes.
func (s *spillFile) end() int64 { return s.off + int64(len(s.buf)) }

// append adds data and returns where it lies. Before it is read, flush must be called.
func (s *spillFile) append(data []byte) (int64, error) {
	if len(s.buf)+len(data) > cap(s.buf) {
		if err := s.flush(); err != nil {
			return 0, err
		}
	}
	at := s.end()
	if len(data) > cap(s.buf) {
		if _, err := s.file.WriteAt(data, at); err != nil {
			return 0, s.fail(err)
		}
		s.off += int64(len(data))
		return at, nil
	}
	s.buf = append(s.buf, data...)
	return at, nil
}

func (s *spillFile) flush() error {
	if _, err := s.file.WriteAt(s.buf, s.off); err != nil {
		return s.fail(err)
	}
	s.off += int64(len(s.buf))
	s.buf = s.buf[:0]
	return nil
}

// cut removes everything from an offset on. It also gives back what a failed write has left.
func (s *spillFile) cut(at int64) error {
	s.buf = s.buf[:max(0, min(at-s.off, int64(len(s.buf))))]
	s.off = min(s.off, at)
	if err := s.file.Truncate(s.off); err != nil {
		return s.fail(err)
	}
	return nil
}

// read fills buf from an offset on, as far as the file goes, and returns what it read.
func (s *spillFile) read(buf []byte, at int64) ([]byte, error) {
	n, err := s.file.ReadAt(buf, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, s.fail(err)
	}
	return buf[:n], nil
}

func (s *spillFile) fail(err error) error { return &SpillError{Dir: s.dir, Err: err} }

func (s *spillFile) close() error {
	if err := s.file.Close(); err != nil {
		return s.fail(err)
	}
	return nil
}
