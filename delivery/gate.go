package delivery

import (
	"fmt"
	"time"
)

// gate decides when an outlet may send: its endpoint's breaker and rate limit, and whether the endpoint is paused or disabled. The
// outlet's mutex guards it.
//
// A lane that the gate does not let through stays where it is, and its worker waits for work like any other: one timer of the outlet
// calls as many workers as may go on. While the breaker is open the lanes in memory stay there, which are few; none is claimed, and
// fresh ones are left to the store, so that an endpoint that is away costs a request now and then and nothing else.
type gate struct {
	breaker breaker
	rate    bucket
	timer   *time.Timer
	timerAt time.Time // when it goes off; zero when it is not set

	// What the store knows of it, see flow.
	known   bool   // it has been read: nothing is sent before
	version int64  // of what was read or stored last; -1 when that is to be read again
	changes uint64 // counts what is to be stored
	stored  storedFlow
	probeBy time.Time // until then the store keeps others from probing, as this process does
	noticed bool      // the alert endpoint was told that this one fails
}

// storedFlow is how much of a gate the store has.
type storedFlow struct {
	changes  uint64
	failures int
	at       time.Time
}

func newGate(name string, c *EndpointConfig) gate {
	return gate{rate: newBucket(c.Rate), breaker: breaker{cfg: c.Breaker, seed: name, concurrency: c.Concurrency}}
}

// nextLane takes a lane that may be sent now. The caller holds the mutex.
func (o *outlet) nextLane() (*heldLane, bool) {
	if o.ready.len() == 0 || o.gathers() {
		return nil, false
	}
	p, ok := o.admit()
	if !ok {
		return nil, false
	}
	l, ok := o.takeNext()
	if ok {
		l.pass = p
	}
	return l, ok
}

// admit asks breaker and rate limit. When they refuse, it sees to it that workers are called when they no longer do. The caller
// holds the mutex.
func (o *outlet) admit() (p pass, ok bool) {
	g := &o.gate
	switch {
	case !g.known:
		return p, false
	case g.rate.rate == 0 && g.breaker.free():
		return pass{age: g.breaker.age}, true
	}
	now := o.engine.opts.Clock()
	if at := g.rate.ready(now); !at.IsZero() {
		o.callAt(at, now)
		return p, false
	}
	p, ok, at := g.breaker.admit(now, o.sending)
	if !ok && g.breaker.phase == phaseAsking {
		if o.engine.flow == nil { // nobody else can be sending one
			g.breaker.phase = phaseAllowed
			p, ok, at = g.breaker.admit(now, o.sending)
		} else {
			o.engine.flow.signal()
		}
	}
	switch {
	case ok:
		g.rate.take()
		if o.ready.len() > 1 { // the next token is for whoever is idle then: this worker is away for as long as the request takes
			if at := g.rate.ready(now); !at.IsZero() {
				o.callAt(at, now)
			}
		}
	case !at.IsZero():
		o.callAt(at, now)
	}
	return p, ok
}

// callAt calls workers at a time, or earlier if they are to be called then anyway. The caller holds the mutex.
func (o *outlet) callAt(at, now time.Time) {
	g := &o.gate
	if !g.timerAt.IsZero() && !at.Before(g.timerAt) || o.closed {
		return
	}
	g.timerAt = at
	if g.timer == nil {
		g.timer = time.AfterFunc(at.Sub(now), o.called)
		return
	}
	g.timer.Reset(at.Sub(now))
}

// called is the timer: it calls workers for the lanes that are ready, and lets the claim loop look for a lane to probe with.
func (o *outlet) called() {
	o.mu.Lock()
	defer o.mu.Unlock()
	g, now := &o.gate, o.engine.opts.Clock()
	g.timerAt = time.Time{}
	if o.closed {
		return
	}
	wasShut := g.breaker.phase == phaseOpen || g.breaker.phase == phaseAsking // flow or a claim may have let the time pass before
	g.breaker.pass(now)
	switch {
	case g.breaker.phase == phaseOpen: // for longer than when the timer was set
		o.callAt(g.breaker.until, now)
	case wasShut:
		o.reopen()
	default:
		o.callWorkers(now)
	}
}

// callWorkers calls as many workers as there are lanes and tokens for. The caller holds the mutex.
func (o *outlet) callWorkers(now time.Time) {
	n := min(o.ready.len(), o.cfg.Concurrency)
	if r := &o.gate.rate; r.rate > 0 {
		r.ready(now)
		n = min(n, max(int(r.tokens), 1))
	}
	for range n {
		o.staff()
	}
}

// reopen lets lanes be sent and claimed after the gate was shut. The caller holds the mutex.
func (o *outlet) reopen() {
	o.callWorkers(o.engine.opts.Clock())
	o.backlog = true
	o.signal()
}

// takes says whether deliveries may be brought into memory: as many as fit, or, while a probe is wanted, just one lane. The caller holds the mutex.
func (o *outlet) takes() (any, many bool) {
	g := &o.gate
	if g.breaker.phase == phaseOpen {
		g.breaker.pass(o.engine.opts.Clock())
	}
	switch g.breaker.phase {
	case phaseClosed:
		return g.known, g.known
	case phaseAsking, phaseAllowed:
		return g.known && o.ready.len()+o.reserved == 0, false
	}
	return false, false
}

// judge lets the gate learn from an attempt; a is nil when none was made. It may find that the endpoint is to be disabled. The caller
// holds the mutex.
func (o *outlet) judge(p pass, a *Attempt, outcome *Outcome) {
	g := &o.gate
	if outcome.Result == Delivered && g.breaker.free() && g.breaker.record.n == 0 {
		o.remember(answered)
		return // as almost always
	}
	now := o.engine.opts.Clock()
	v, hold := verdictOf(&o.cfg, a, now)
	o.remember(v)
	wasOpen := g.breaker.isOpen()
	changed := g.breaker.done(p, v, now, hold, outcome.Reason)
	if changed {
		g.changes++
		o.told(wasOpen)
	}
	switch {
	case v != failed:
	case a.Class == ClassAuth: // for want of a token it is paused, not given up: that time is not the receiver's
		g.breaker.record.since = now
	case outcome.Disable == "" && o.state == enabled:
		outcome.Disable = g.breaker.record.exhausted(&o.cfg.Disable, now, outcome.Reason)
	}
	if p.probe && !changed && g.breaker.phase == phaseAllowed {
		o.reopen() // the delivery was none to probe with: the next one is
	}
}

// remember takes down what an attempt came to. The caller holds the mutex.
func (o *outlet) remember(v verdict) {
	switch recent := o.recent.Load(); {
	case v == failed:
		o.recent.Store(recent<<1 | 1)
	case v == answered && recent != 0:
		o.recent.Store(recent << 1)
	}
}

// told lets people and workers know that the breaker has opened, closed, or waits for longer. The caller holds the mutex.
func (o *outlet) told(wasOpen bool) {
	b, e := &o.gate.breaker, o.engine
	switch {
	case b.isOpen():
		if !wasOpen {
			e.opts.Trace.breakerOpened(o.name, b.reason, b.record.n, b.until)
		}
		o.callAt(b.until, e.opts.Clock())
	case wasOpen:
		e.opts.Trace.breakerClosed(o.name)
		o.reopen()
	}
	if e.flow != nil {
		e.flow.signal()
	}
}

// exhausted returns why an endpoint is disabled that has failed so often and for so long; "" when it has not.
func (f *failures) exhausted(c *DisableConfig, now time.Time, last string) string {
	if n := c.limit(); n == 0 || f.n < n || now.Sub(f.since) < c.After.Std() {
		return ""
	}
	return fmt.Sprintf("%d attempts in a row have failed since %s, the last one with: %s", f.n, f.since.UTC().Format(time.RFC3339), last)
}
