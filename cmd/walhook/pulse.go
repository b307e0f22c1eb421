package main

import (
	"context"
	"sync"
	"time"
)

// pulse notices that this process stood still: it was stopped (SIGSTOP, a debugger, a suspended machine) for longer than
// its lease, so that another one took its place and ended the sessions that it had left behind.
type pulse struct {
	lease time.Duration
	now   func() time.Time

	mu   sync.Mutex
	last time.Time // it was alive
	gap  time.Time // when the last standstill was over; zero when there was none
}

func newPulse(lease time.Duration) *pulse {
	return &pulse{lease: lease, now: time.Now, last: time.Now()}
}

// Run beats until ctx is cancelled.
func (p *pulse) Run(ctx context.Context) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			p.beat()
		}
	}
}

// afterStandstill is how long after a standstill its consequences may still come in.
const afterStandstill = 5 * time.Second

// beat notes that the process is alive, and reports whether it stood still a moment ago.
func (p *pulse) beat() (stoodStill bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	// By the wall clock too: the monotonic one stands still while a machine is suspended.
	if max(now.Sub(p.last), now.Round(0).Sub(p.last.Round(0))) >= p.lease {
		p.gap = now
	}
	p.last = now
	return !p.gap.IsZero() && now.Sub(p.gap) < afterStandstill
}
