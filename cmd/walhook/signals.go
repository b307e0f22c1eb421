package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// errInterrupted is the cause of a context that a signal cancelled.
var errInterrupted = errors.New("interrupted")

// lastWords are run before a second signal ends the process at once. The demo leaves its
// private PostgreSQL here, so that no server is left behind.
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

// onSignals returns a context that the first SIGINT or SIGTERM cancels, with cause
// errInterrupted. The second ends the process with status 130.
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
		select {
		case <-signals:
		case <-done:
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
