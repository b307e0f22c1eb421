package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxGroup and maxGroupBytes bound the outcomes of one commit, of which the driver makes two copies more on their way.
	maxGroup      = 500
	maxGroupBytes = 2 << 20
	// maxWaiting and maxWaitingBytes bound the outcomes that wait to be committed; requests under
	// way when the bound is reached may exceed it.
	maxWaiting      = 2000
	maxWaitingBytes = 5 << 20
)

// finisher commits outcomes in groups, each in one transaction, in the order of arrival. An outcome waits while the last commit is under way, and if
// nobody waits for it also for company, see [gatherFor]. On a quiet system it waits for nothing.
//
// While the store fails, outcomes are kept and tried again, for ever; when too many wait, senders
// wait too. Only an error that no retry can mend ends it, and the engine.
type finisher struct {
	engine *Engine
	wake   chan struct{} // capacity 1
	failed chan struct{} // closed on an error that no retry can mend

	mu      sync.Mutex
	room    sync.Cond // senders wait here when too much waits
	pending []Outcome
	urgent  bool      // somebody waits for one of pending
	intake  bool      // ingest commits deliveries just now
	ended   time.Time // it did so last
	bytes   int       // of pending and of the group being committed
	group   int       // outcomes being committed
	closing bool
	fatal   error

	ctx    context.Context // of commits; ends when a stopping engine gives up
	giveUp context.CancelFunc

	full atomic.Bool
}

func newFinisher(e *Engine) *finisher {
	f := &finisher{engine: e, wake: make(chan struct{}, 1), failed: make(chan struct{})}
	f.room.L = &f.mu
	f.ctx, f.giveUp = context.WithCancel(context.Background())
	return f
}

// add takes an outcome that is to be committed at once. It never blocks.
func (f *finisher) add(o Outcome) { f.put(o, true) }

// put takes an outcome. One that is not urgent may wait for others.
func (f *finisher) put(o Outcome, urgent bool) {
	f.mu.Lock()
	f.pending = append(f.pending, o)
	f.bytes += weight(&o)
	f.urgent = f.urgent || urgent
	f.measure()
	call := len(f.pending) == 1 || f.due()
	f.mu.Unlock()
	if call {
		f.signal()
	}
}

func (f *finisher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// weight estimates the memory that an outcome's record of the attempt takes; the delivery itself counts too,
// as its lane has let go of it.
func weight(o *Outcome) int {
	n := deliveryCost + len(o.Delivery.Body)
	if o.Attempt != nil {
		n += 1536 + len(o.Attempt.ResponseBody) // the headers are maps
	}
	return n
}

// measure updates full. The caller holds the mutex.
func (f *finisher) measure() {
	full := len(f.pending)+f.group >= maxWaiting || f.bytes >= maxWaitingBytes
	if f.full.Swap(full) && !full {
		f.room.Broadcast()
	}
}

// awaitRoom blocks a sender while too many outcomes wait, until the engine stops.
func (f *finisher) awaitRoom() {
	if !f.full.Load() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.full.Load() && !f.engine.stopping.Load() {
		f.room.Wait()
	}
}

// wakeSenders lets senders see that the engine stops.
func (f *finisher) wakeSenders() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room.Broadcast()
}

// waiting is how many outcomes are not committed.
func (f *finisher) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.pending) + f.group
}

// close lets run return once everything is committed, or after flush.
func (f *finisher) close(flush time.Duration) {
	f.mu.Lock()
	f.closing = true
	f.mu.Unlock()
	time.AfterFunc(flush, f.giveUp)
	f.signal()
}

// err is nil if everything was committed.
func (f *finisher) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.pending) + f.group; n > 0 {
		return uncommitted(n, f.fatal)
	}
	return f.fatal
}

// run commits until it is closed.
func (f *finisher) run() {
	pause := storePause{}
	var group []Outcome
	var last time.Time // a group was taken
	for {
		if group == nil {
			if group = f.take(&last); group == nil {
				return
			}
		}
		err := f.commit(group, pause != storePause{})
		if err == nil {
			pause, group = storePause{}, nil
			continue
		}
		wait := pause.next()
		f.engine.opts.Trace.finishFailed(err, f.waiting(), wait)
		if f.ctx.Err() == nil && !isTemporary(err) {
			if group, err = f.isolate(group); err == nil {
				continue
			}
			f.fail(err)
			return
		}
		if !f.rest(wait) {
			f.fail(err)
			return
		}
	}
}

// take waits for outcomes, and until they are due when the last ones were taken just before; nil when the finisher is closed and nothing waits.
func (f *finisher) take(last *time.Time) []Outcome {
	for {
		f.mu.Lock()
		if len(f.pending) == 0 && f.closing {
			f.mu.Unlock()
			return nil
		}
		wait := f.moment(time.Now(), *last)
		if len(f.pending) > 0 && (wait <= 0 || f.due()) {
			group := f.first()
			f.mu.Unlock()
			*last = time.Now()
			return group
		}
		idle := len(f.pending) == 0
		f.mu.Unlock()
		if idle {
			<-f.wake
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-f.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// first makes the first of what is pending the group to be committed. The caller holds the mutex.
func (f *finisher) first() []Outcome {
	n, bytes := 0, 0
	for n < min(len(f.pending), maxGroup) && bytes < maxGroupBytes {
		bytes += weight(&f.pending[n])
		n++
	}
	group := slices.Clone(f.pending[:n])
	f.pending = slices.Delete(f.pending, 0, n) // clears what it lets go of
	f.urgent = f.urgent && len(f.pending) > 0
	f.group = n
	return group
}

// commit makes a group durable and hands on the lanes that come back. again says that a commit of it has failed before, and may
// have succeeded all the same.
func (f *finisher) commit(group []Outcome, again bool) error {
	e := f.engine
	began := e.opts.Clock()
	perLane := e.perLane(group)
	lanes, err := e.store.Finish(f.ctx, group, perLane)
	if err != nil {
		return err
	}
	e.opts.Trace.finished(len(group), e.opts.Clock().Sub(began))
	f.mu.Lock()
	f.group -= len(group)
	for i := range group {
		f.bytes -= weight(&group[i])
	}
	f.measure()
	f.mu.Unlock()
	for i := range group {
		if o := e.outlets[group[i].Delivery.Endpoint]; o != nil {
			o.finished(&group[i], again, lanes)
		}
	}
	e.give(lanes)
	if perLane == 0 || bodies(lanes) >= HandoutBytes {
		e.leftOver(group) // lanes may go on, and were left to claims
	}
	return nil
}

// leftOver lets the endpoints of a group look for lanes that the store did not hand out.
func (e *Engine) leftOver(group []Outcome) {
	seen := map[string]bool{}
	for i := range group {
		name := group[i].Delivery.Endpoint
		if o := e.outlets[name]; o != nil && group[i].LaneDone && !seen[name] {
			seen[name] = true
			o.nudge()
		}
	}
}

// isolate commits a group one by one after an error that no retry can mend, to find the
// outcome that the store refuses, and tries that one without the record of its request, which
// holds what a stranger sent. It returns what is left of the group when a temporary
// error interrupts it.
func (f *finisher) isolate(group []Outcome) ([]Outcome, error) {
	for len(group) > 0 {
		err := f.commit(group[:1], true)
		if err != nil && !isTemporary(err) && group[0].Attempt != nil {
			bare := *group[0].Attempt
			bare.RequestHeaders, bare.ResponseHeaders, bare.ResponseBody = nil, nil, nil
			bare.ResponseCut = bare.Status != 0
			f.lighten(&group[0], &bare)
			err = f.commit(group[:1], true)
		}
		switch {
		case err == nil:
			group = group[1:]
		case isTemporary(err):
			return group, nil
		default:
			return group, fmt.Errorf("commit the outcome of %s: %w", group[0].Delivery.ID, err)
		}
	}
	return nil, nil
}

// lighten replaces an outcome's attempt, keeping the account of bytes.
func (f *finisher) lighten(o *Outcome, a *Attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes -= weight(o)
	o.Attempt = a
	f.bytes += weight(o)
}

// fail ends the finisher, and the engine if it is not stopping anyway.
func (f *finisher) fail(err error) {
	f.mu.Lock()
	f.fatal = err
	f.mu.Unlock()
	close(f.failed)
}

// rest waits before the next try; false when there will be none. The stop of the engine cuts the wait
// short once.
func (f *finisher) rest(wait time.Duration) bool {
	f.mu.Lock()
	closing := f.closing
	f.mu.Unlock()
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return true
		case <-f.ctx.Done():
			return false
		case <-f.wake: // an outcome, which can wait, or the close
			f.mu.Lock()
			begun := f.closing && !closing
			f.mu.Unlock()
			if begun {
				return true
			}
		}
	}
}

// perLane is how many next deliveries of each finished lane there is room for, by the endpoint that has least. It is 0 once one
// has exceeded its share by as much as a call may bring: lanes of all endpoints are then left to claims.
func (e *Engine) perLane(group []Outcome) int {
	if e.stopping.Load() {
		return 0
	}
	done := map[string]int{}
	for i := range group {
		if group[i].LaneDone && group[i].Result != Released {
			done[group[i].Delivery.Endpoint]++
		}
	}
	n := e.mostPerLane(done)
	for name, lanes := range done {
		if o := e.outlets[name]; o != nil {
			o.mu.Lock()
			if n = min(n, max(o.room()/lanes, 1)); o.free() < -HandoutBytes {
				n = 0
			}
			o.mu.Unlock()
		}
	}
	return n
}
