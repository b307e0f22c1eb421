package cdc

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff yields growing pauses between lo and hi. Half of each is random, so that
// several clients of a restarted server do not come back all at once.
type backoff struct {
	lo, hi time.Duration
	n      int
}

func (b *backoff) next() time.Duration {
	pause := b.hi
	if b.n < 30 && b.lo<<b.n < b.hi && b.lo<<b.n > 0 {
		pause = b.lo << b.n
		b.n++
	}
	return pause/2 + between(0, pause/2)
}

func (b *backoff) reset() { b.n = 0 }

// between returns a random duration in [lo, hi].
func between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + rand.N(hi-lo+1)
}

// sleep waits for d, and reports false when ctx or stop ended the wait.
func sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	case <-stop:
		return false
	}
}
