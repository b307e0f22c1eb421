// Package periodic runs tasks at intervals. Each begins at a moment of its own: tasks of a process that begin in the same one keep
// everything else waiting for some milliseconds, each time again.
package periodic

import (
	"context"
	"math/rand/v2"
	"time"
)

// First is how long to wait before a task is done for the first time at intervals: up to a second less than the interval.
func First(interval time.Duration) time.Duration {
	return interval - rand.N(min(interval, time.Second))
}

// Run calls fn at intervals, the first time after [First]. It returns fn's first error, or nil when ctx ends. A call that takes longer than the interval
// delays the next one.
func Run(ctx context.Context, interval time.Duration, fn func() error) error {
	if !Wait(ctx, First(interval)) {
		return nil
	}
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		if err := fn(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Now calls fn at once, and then as [Run] does.
func Now(ctx context.Context, interval time.Duration, fn func() error) error {
	if err := fn(); err != nil {
		return err
	}
	return Run(ctx, interval, fn)
}

// Wait waits and reports whether ctx is still alive.
func Wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
