package delivery

import (
	"context"
	"math/rand/v2"
	"time"
)

// FlowStore is where processes that send to the same endpoints agree on breakers, and learn what people have paused. Package state
// implements it.
type FlowStore interface {
	// ReadFlow returns what is known of endpoints, by name, and how many processes send to them. An endpoint that is missing is in its
	// normal state, at version 0.
	ReadFlow(ctx context.Context) (states map[string]FlowState, processes int, err error)

	// SaveFlow stores the state of an endpoint's breaker under the version after s.Version. It reports false, and does nothing, when
	// another version than s.Version is stored. event, unless it is empty, is what the alert endpoint is told, in the same SQL transaction.
	SaveFlow(ctx context.Context, endpoint string, s FlowState, event string) (saved bool, err error)
}

// FlowState is what the processes agree on of an endpoint. Times are zero when there is none.
type FlowState struct {
	Version int64

	Paused  bool   // by a person; not for SaveFlow
	Blocked string // why nothing is sent: paused, or disabled; not for SaveFlow

	Failures     int // failed attempts in a row
	FailingSince time.Time
	OpenSince    time.Time // the breaker is open
	OpenUntil    time.Time // when a probe may be sent
	OpenReason   string
	Pauses       int
	Noticed      bool // the alert endpoint was told

	LastSuccess, LastFailure time.Time // of any process; not for SaveFlow
}

const (
	// flowEvery is how often what others have changed is looked for.
	flowEvery = time.Second
	// failuresEvery is how often failures are stored that have not opened the breaker.
	failuresEvery = 10 * time.Second
	// probeGrace is how much longer than an attempt may take no other process probes.
	probeGrace = 5 * time.Second
)

// flow keeps an engine's gates and the store in step: one query for all endpoints a second, and a write when a breaker opens, closes, or
// is about to probe. Who may probe is decided by the write: of two processes one finds the version that it has read.
type flow struct {
	engine *Engine
	store  FlowStore
	wake   chan struct{} // something is to be stored; capacity 1
}

func newFlow(e *Engine, store FlowStore) *flow {
	if store == nil {
		return nil
	}
	return &flow{engine: e, store: store, wake: make(chan struct{}, 1)}
}

func (f *flow) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run works until ctx ends.
func (f *flow) run(ctx context.Context) {
	pause := storePause{}
	read := true
	wait := flowEvery - rand.N(flowEvery) // at first: not in the same moment of each second as other tasks
	for next := f.engine.opts.Clock(); ; wait = flowEvery {
		if err := f.sync(ctx, read); ctx.Err() != nil {
			return
		} else if err != nil {
			wait = pause.next()
			f.engine.opts.Trace.flowFailed(err, wait)
			next = f.engine.opts.Clock().Add(wait)
		} else if pause = (storePause{}); read {
			next = f.engine.opts.Clock().Add(wait)
		}
		timer := time.NewTimer(next.Sub(f.engine.opts.Clock()))
		select {
		case <-ctx.Done():
		case <-timer.C:
			read = true
		case <-f.wake:
			read = false
		}
		timer.Stop()
	}
}

// sync reads what others have changed, if it is time to, and stores what is to be stored.
func (f *flow) sync(ctx context.Context, read bool) error {
	if read {
		if err := f.read(ctx); err != nil {
			return err
		}
	}
	stale := false
	for name, o := range f.engine.outlets {
		late, err := f.save(ctx, name, o)
		if err != nil {
			return err
		}
		stale = stale || late
	}
	if stale { // another process was first: what it has stored holds
		return f.read(ctx)
	}
	return nil
}

// last stores, when the engine stops, what the last requests came to. If that fails the next process begins with what was stored before.
func (f *flow) last() {
	if f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := f.sync(ctx, false); err != nil {
		f.engine.opts.Trace.flowFailed(err, 0)
	}
}

func (f *flow) read(ctx context.Context) error {
	states, processes, err := f.store.ReadFlow(ctx)
	if err != nil {
		return err
	}
	for name, o := range f.engine.outlets {
		o.adopt(states[name], processes)
	}
	return nil
}

// save stores an outlet's breaker, if there is something to store. stale says that another process has changed it.
func (f *flow) save(ctx context.Context, name string, o *outlet) (stale bool, err error) {
	s, event, changes, wanted := o.flowToSave(f.engine.opts.Clock())
	if !wanted {
		return false, nil
	}
	saved, err := f.store.SaveFlow(ctx, name, s, event)
	if err != nil {
		return false, err
	}
	o.flowSaved(s, changes, saved, f.engine.opts.Clock())
	return !saved, nil
}

// flowToSave returns what is to be stored, and whether anything is: a change of the breaker, the wish to probe, that the endpoint has been
// failing for a while, and that it no longer is.
func (o *outlet) flowToSave(now time.Time) (s FlowState, event string, changes uint64, wanted bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := &o.gate
	b := &g.breaker
	if !g.known || g.version < 0 || o.state != enabled {
		return s, "", 0, false
	}
	b.pass(now)
	s = FlowState{Version: g.version, Failures: b.record.n, FailingSince: b.record.since,
		OpenSince: b.since, OpenUntil: b.until, OpenReason: b.reason, Pauses: b.pauses, Noticed: g.noticed}
	after := o.engine.opts.AlertAfter
	switch {
	case !b.isOpen() && g.noticed && g.changes != g.stored.changes:
		s.Noticed, event, wanted = false, NoticeRecovered, true
	case b.isOpen() && b.record.n > 0 && !g.noticed && after > 0 && now.Sub(b.since) >= after:
		s.Noticed, event, wanted = true, NoticeFailing, true
	case g.changes != g.stored.changes:
		wanted = true
	case !b.isOpen() && b.record.n == 0:
		wanted = g.stored.failures > 0
	case !b.isOpen():
		wanted = b.record.n != g.stored.failures && now.Sub(b.record.since) >= failuresEvery && now.Sub(g.stored.at) >= failuresEvery
	}
	if b.phase == phaseAllowed || b.phase == phaseProbing {
		s.OpenUntil = later(s.OpenUntil, g.probeBy) // what else is stored must not let others probe
	}
	if b.phase == phaseAsking && o.ready.len() > 0 {
		s.OpenUntil, wanted = now.Add(o.cfg.longestAttempt()+probeGrace), true
	}
	return s, event, g.changes, wanted
}

// flowSaved learns what became of it.
func (o *outlet) flowSaved(s FlowState, changes uint64, saved bool, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g := &o.gate
	if !saved {
		g.version = -1
		return
	}
	g.version, g.noticed = s.Version+1, s.Noticed
	g.stored = storedFlow{changes: changes, failures: s.Failures, at: now}
	if g.breaker.phase == phaseAsking && s.OpenUntil.After(g.breaker.until) {
		g.breaker.phase, g.probeBy = phaseAllowed, s.OpenUntil
		o.reopen()
	}
}

// adopt takes over what the store knows, if somebody else has changed it.
func (o *outlet) adopt(s FlowState, processes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	g, now := &o.gate, o.engine.opts.Clock()
	g.rate.divide(processes)
	if g.known && g.version == s.Version {
		if b := &g.breaker; !b.isOpen() && s.LastSuccess.After(b.record.since) {
			b.record = failures{} // another process has had an answer
		}
		return
	}
	first := !g.known
	mine := g.breaker
	lost := !first && g.changes != g.stored.changes && o.state == enabled && s.Blocked == "" &&
		mine.phase == phaseOpen && mine.until.After(now) && mine.until.After(s.OpenUntil)
	g.known, g.version, g.noticed = true, s.Version, s.Noticed
	g.stored = storedFlow{changes: g.changes, failures: s.Failures, at: now}
	wasOpen := g.breaker.isOpen()
	g.breaker.restore(s, now)
	if b := &g.breaker; first && !b.isOpen() && s.LastSuccess.After(b.record.since) {
		b.record = failures{} // answered since, which was not stored any more, or of another process
	} else if first && !b.record.since.IsZero() {
		idle := s.OpenUntil // since then nobody has probed, or, of a breaker that is closed, tried: that time is not the receiver's, see exhausted
		if idle.IsZero() {
			idle = s.LastFailure
		}
		if !idle.IsZero() && now.After(idle) {
			b.record.since = b.record.since.Add(now.Sub(idle))
			if b.record.since.After(now) { // another process had begun to fail only after that
				b.record.since = now
			}
		}
	}
	if lost { // what another process has stored came first; a wait that is longer holds, and is stored again
		g.breaker.extend(&mine, now)
		g.changes++
		o.engine.flow.signal()
	}
	switch {
	case s.Blocked != "" && o.state == enabled:
		o.state = disabled
		o.engine.opts.Trace.blocked(o.name, s)
		o.release()
	case s.Blocked == "" && o.state == disabled:
		o.state = enabled
		o.engine.opts.Trace.enabled(o.name)
		g.breaker.start = newSlowStart(now)
	}
	if wasOpen != g.breaker.isOpen() {
		o.told(wasOpen)
	}
	if g.breaker.isOpen() {
		o.callAt(g.breaker.until, now)
	}
	if first || o.state == enabled {
		o.reopen()
	}
}

// extend lets b wait for as long as was known before the store was read.
func (b *breaker) extend(was *breaker, now time.Time) {
	b.open(now, was.until, was.reason)
	b.pauses = max(b.pauses, was.pauses)
	if was.record.n > b.record.n {
		b.record = was.record
	}
}

// longestAttempt is how long an attempt may take: the wait for a token has a time of its own, see authorize.
func (c *EndpointConfig) longestAttempt() time.Duration {
	if c.Auth.Type == AuthOAuth2 {
		return 2 * c.Timeout.Std()
	}
	return c.Timeout.Std()
}

// restore takes over what another process, or an earlier life of this one, has stored.
func (b *breaker) restore(s FlowState, now time.Time) {
	wasOpen := b.isOpen()
	b.record = failures{n: s.Failures, since: s.FailingSince}
	b.pauses = s.Pauses
	if s.OpenUntil.IsZero() {
		if wasOpen {
			b.close(now)
		}
		return
	}
	b.open(now, s.OpenUntil, s.OpenReason)
	b.since = s.OpenSince
}
