package pgserver

import (
	"io"
	"sync"
)

// tail keeps the last lines that the server logged, for error messages.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	next io.Writer
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailSize; n > 0 {
		t.buf = t.buf[n:]
	}
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// forget drops what an earlier start logged.
func (t *tail) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = t.buf[:0]
}
