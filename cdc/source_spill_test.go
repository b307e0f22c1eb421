package cdc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A transaction that finds no room for its temporary file is read again and again, at growing intervals although each time
// much of it arrives, until there is room. Nothing behind it is handled before it, and nothing is lost.
func TestSpillWithoutRoom(t *testing.T) {
	b := newBench(t)
	dir := filepath.Join(t.TempDir(), "missing")
	cfg := b.config()
	cfg.ReconnectMin, cfg.ReconnectMax = 2*time.Millisecond, 10*time.Second
	cfg.Limits = Limits{Memory: 4 << 10, TempDir: dir}
	var mu sync.Mutex
	var pauses []time.Duration
	var failure error
	h := &recorder{}
	s := NewSource(cfg, h, wantNet, Trace{Disconnected: func(err error, retry time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		failure, pauses = err, append(pauses, retry)
	}})
	if err := os.Mkdir(dir, 0o700); err != nil { // it must be there at the start
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, 0) }()
	until(t, "connected", func() bool { return s.Progress().Connected })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.exec("INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 100) i")
	b.exec("INSERT INTO t VALUES (101)")
	until(t, "failures", func() bool { mu.Lock(); defer mu.Unlock(); return len(pauses) >= 6 })
	mu.Lock()
	var spill *SpillError
	if !errors.As(failure, &spill) || !strings.Contains(spill.Hint(), "create the folder "+dir) {
		t.Errorf("the connection was lost for %v", failure)
	}
	if pauses[5] < 8*cfg.ReconnectMin {
		t.Errorf("pauses %v do not grow", pauses)
	}
	mu.Unlock()
	if seen, _ := h.snapshot(); len(seen) > 0 {
		t.Errorf("handled %q", seen)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	h.sees(t, creates(1, 101)...)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
