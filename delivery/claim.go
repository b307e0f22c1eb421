package delivery

import (
	"context"
	"math/rand/v2"
	"time"

	"walhook/internal/periodic"
)

const (
	// claimShare is the part of an endpoint's memory that must be free before the store is asked for more.
	claimShare = 4
	// claimsAtOnce bounds the claims under way: those of many endpoints must not take all connections to the store, which ingest and outcomes need too.
	claimsAtOnce = 4
	// maxClaim bounds the lanes of one claim.
	maxClaim = 128
	// claimPerLane is how many deliveries of a lane are claimed; most lanes have one.
	claimPerLane = 4
	// finishPerLane is how many next deliveries of a finished lane are asked for at most.
	finishPerLane = 16
	// dueGap is the time between claims for lanes that have become due: of those that are due one after the other several come at a time.
	dueGap = 10 * time.Millisecond
	// maxRetryPause bounds the pause after failures of the store.
	maxRetryPause = 10 * time.Second
)

// claim brings into memory what only the store holds: at start, after back-off, what did not fit, what other processes
// left. It asks at once while the store had more than it gave and there is room, when a lane that
// backed off is due, and else now and then.
func (o *outlet) claim(ctx context.Context) {
	e := o.engine
	pause := storePause{}
	var last time.Time // a lane was due
	for ctx.Err() == nil {
		if limit, _ := o.wanted(); limit > 0 {
			more, err := o.claimOnce(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				wait := pause.next()
				e.opts.Trace.claimFailed(o.name, err, wait)
				if !periodic.Wait(ctx, wait) {
					return
				}
				continue
			}
			pause = storePause{}
			if more {
				continue
			}
		}
		if !o.await(ctx, &last) {
			return
		}
	}
}

// claimOnce asks the store once, when it is its turn; more says that it may have more.
func (o *outlet) claimOnce(ctx context.Context) (more bool, err error) {
	e := o.engine
	select {
	case e.claiming <- struct{}{}:
		defer func() { <-e.claiming }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	limit, perLane := o.wanted() // now: meanwhile an Enqueue may have filled the room
	if limit == 0 {
		return false, nil
	}
	began, refused := e.opts.Clock(), o.refusals()
	lanes, err := e.store.Claim(ctx, o.name, limit, perLane)
	if err != nil {
		return false, err
	}
	if len(lanes) > 0 {
		e.opts.Trace.claimed(o.name, len(lanes), e.opts.Clock().Sub(began))
	}
	more = len(lanes) >= limit || bodies(lanes) >= HandoutBytes
	o.claimed(lanes, perLane, more, refused)
	return more, nil
}

// wanted says how many lanes to claim now; 0 for none.
func (o *outlet) wanted() (limit, perLane int) {
	if !o.engine.maySend() {
		return 0, 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	any, many := o.takes()
	urgent := o.urgently()
	if o.closed || o.state == disabling || o.state == disabled && o.engine.flow != nil || !any || !o.ample() && urgent == 0 {
		return 0, 0
	}
	if !many {
		return 1, 1
	}
	if !o.ample() {
		return urgent, 1
	}
	perLane = o.perLane(claimPerLane)
	size := perLane
	if o.laneSize > 0 {
		size = min(o.laneSize, perLane) // most lanes have one delivery, and a claim costs more than what it brings
	}
	limit = min(maxClaim, o.room()/size)
	if o.laneBytes > 0 {
		limit = min(limit, int(o.free()/o.laneBytes))
	}
	limit = max(limit, 1)
	if o.laneSize > 0 { // lanes may hold more than the last ones did: twice the room is the most that comes (invariant 9), and enough to learn it
		perLane = max(min(perLane, 2*o.room()/limit), 1)
	}
	return limit, perLane
}

// bodies is how many bytes the bodies of lanes take.
func bodies(lanes []Lane) (n int64) {
	for _, l := range lanes {
		for _, d := range l.Deliveries {
			n += int64(len(d.Body))
		}
	}
	return n
}

func (o *outlet) refusals() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused
}

// claimed takes the lanes of a claim, with up to perLane deliveries of each. more says that the claim's limit was reached; refused is
// how often Enqueue had left lanes to the store when the claim began.
func (o *outlet) claimed(lanes []Lane, perLane int, more bool, refused uint64) {
	o.mu.Lock()
	o.backlog = more || o.refused != refused
	o.served(lanes, more)
	if n := len(lanes); n > 0 && perLane > 1 { // a probe tells nothing of how much lanes hold
		o.laneBytes = bodies(lanes) / int64(n)
		o.laneSize = 0
		for _, l := range lanes {
			o.laneSize += len(l.Deliveries)
		}
		o.laneSize = (o.laneSize + n - 1) / n
	}
	if len(lanes) > 0 && o.state == disabled && o.engine.flow == nil {
		o.state = enabled // somebody has enabled it in the store
		o.engine.opts.Trace.enabled(o.name)
	}
	o.mu.Unlock()
	defer o.engine.handOver()()
	for _, l := range lanes {
		o.add(l, 0)
	}
}

// await sleeps until there may be something to claim. last is when that was a lane that had become due.
func (o *outlet) await(ctx context.Context, last *time.Time) bool {
	e := o.engine
	poll := max(e.opts.Poll, e.opts.Poll/50*time.Duration(len(e.outlets)))
	// A tenth of jitter, so that the endpoints don't ask all at the same moment.
	until := time.Now().Add(poll - poll/20 + rand.N(poll/10+1))
	passed := false // a lane's time has
	for {
		wait, isDue := time.Until(until), false
		due, ok := o.dueIn(e.opts.Clock())
		passed = passed || ok && due == 0
		switch {
		case passed:
			wait, isDue = max(dueGap-time.Since(*last), 0), true
		case ok && due < wait:
			wait, isDue = max(due, dueGap-time.Since(*last)), true
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return false
		case <-o.wake:
			t.Stop()
			if o.wanting() {
				return true
			}
		case <-t.C:
			if isDue {
				*last = time.Now()
				o.dueIn(e.opts.Clock()) // takes note of it: the claim that follows is for all that are due
			}
			return true
		}
	}
}

// storePause is a back-off between attempts to reach the store. The zero value begins anew.
type storePause struct{ last time.Duration }

func (p *storePause) next() time.Duration {
	p.last = min(max(2*p.last, 100*time.Millisecond), maxRetryPause)
	return p.last - rand.N(p.last/4)
}
