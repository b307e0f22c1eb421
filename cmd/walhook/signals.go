package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// errInterrupted is the cause of a context that a signal cancelled.
var errInterrupted = errors.New("interrupted")

// lastWords are run before a second signal ends the process at once. The demo leaves its
// private PostgreSQL here, so that no server is left behind, and run a line of its log.
type lastWords struct {
	mu   sync.Mutex
	next int
	all  map[int]func()
}

type lastWordsKey struct{}

// beforeAbort registers what a second signal must still do; the returned func takes it back.
func beforeAbort(ctx context.Context, f func()) (undo func()) {
	w, ok := ctx.Value(lastWordsKey{}).(*lastWords)
	if !ok {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.next
	w.next++
	w.all[id] = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, id)
	}
}

// sameWish is for how long after the first signal another one means the same: timeout(1) and process managers
// signal the process and its group, which reaches it twice.
const sameWish = time.Second

// onSignals returns a context that the first SIGINT or SIGTERM cancels, with cause
// errInterrupted. The second, unless it comes within sameWish, ends the process with status 130.
func onSignals(parent context.Context) (ctx context.Context, stop func()) {
	words := &lastWords{all: map[int]func(){}}
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, lastWordsKey{}, words))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-done:
			return
		}
		if !again(signals, done, sameWish) {
			return
		}
		words.mu.Lock()
		for _, f := range words.all {
			f()
		}
		os.Exit(exitInterrupted)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// onHangup returns a channel of SIGHUPs, which ask for the configuration to be read anew. Those that come
// before anybody listens, or faster than they can be served, are one.
func onHangup() (hangups <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals, func() { signal.Stop(signals) }
}

// again waits for a signal that comes later than the grace after the first; false when done comes before.
func again(signals <-chan os.Signal, done <-chan struct{}, grace time.Duration) bool {
	first := time.Now()
	for {
		select {
		case <-signals:
			if time.Since(first) >= grace {
				return true
			}
		case <-done:
			return false
		}
	}
}
