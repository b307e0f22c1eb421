package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A burst of signs makes one look; signs that keep coming make looks that become rarer; after a quiet time the next one is quick again.
func TestMetadataWatchPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMetadataWatch()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = w.Run(ctx) }()
		looks := func(during time.Duration, every time.Duration) (n int) {
			for end := time.Now().Add(during); time.Now().Before(end); time.Sleep(every) {
				w.sign()
				synctest.Wait()
				select {
				case <-w.asked:
					n++
				default:
				}
			}
			return n
		}
		within := func(d time.Duration) bool {
			select {
			case <-w.asked:
				return true
			case <-time.After(d):
				return false
			}
		}
		if n := looks(900*time.Millisecond, 100*time.Millisecond); n != 0 {
			t.Errorf("%d looks in the middle of a burst", n)
		}
		if !within(1100 * time.Millisecond) {
			t.Error("no look after the burst")
		}
		if within(time.Hour) {
			t.Error("a look without a sign")
		}
		// Ten minutes of an upgrade, a transaction every 5 s.
		if n := looks(10*time.Minute, 5*time.Second); n < 10 || n > 25 {
			t.Errorf("%d looks in ten minutes", n)
		}
		within(time.Minute)
		time.Sleep(2 * time.Minute)
		w.sign()
		if !within(1100 * time.Millisecond) {
			t.Error("after a quiet time the look is late")
		}
		w.again()
		if within(9*time.Second) || !within(5*time.Second) {
			t.Error("a look that failed is not repeated in time")
		}
	})
}

// What is gone is looked for soon, then less and less often, and soon again once it was there in between.
func TestMetadataWatchLooksForWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newMetadataWatch()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = w.Run(ctx) }()
		next := func(gone bool) time.Duration {
			began := time.Now()
			w.later(gone)
			select {
			case <-w.asked:
				return time.Since(began).Round(10 * time.Second)
			case <-time.After(time.Hour):
				return 0
			}
		}
		for i, want := range []time.Duration{w.longest, 2 * w.longest, 4 * w.longest, 8 * w.longest, 16 * w.longest, longestWait, longestWait} {
			if got := next(true); got != min(want, longestWait) {
				t.Errorf("look %d after %s, want %s", i+1, got, min(want, longestWait))
			}
		}
		if got := next(false); got != 0 {
			t.Errorf("a look after %s, although all is there", got)
		}
		if got := next(true); got != w.longest {
			t.Errorf("gone again: a look after %s, want %s", got, w.longest)
		}
	})
}
