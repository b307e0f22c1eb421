package delivery

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outlet is the engine's side of one endpoint: the lanes of it that are in memory, and the goroutines that
// send them. Lanes take turns: after a delivery the lane goes to the end of the line.
//
// At most one goroutine has a lane in hand, so that at most one of its deliveries is in flight (invariant 4). The
// mutex is held for bookkeeping only, never during I/O.
type outlet struct {
	engine  *Engine
	name    string
	cfg     EndpointConfig
	maxDels int           // deliveries in memory
	maxMem  int64         // bytes that deliveries take in memory
	wake    chan struct{} // wakes the claim loop, see signal; capacity 1
	roomy   chan struct{} // the room that a batch waits for is there; capacity 1

	mu         sync.Mutex
	ready      line               // lanes whose next delivery waits for a worker
	held       map[string]holding // by key, all lanes that are not known to be released; see add
	deliveries int                // in memory
	bytes      int64              // of their bodies
	laneBytes  int64              // of bodies that a lane of the last claim of more than one each brought, on average
	laneSize   int                // how many deliveries that were, rounded up
	reserved   int                // promised to an Enqueue that is under way
	left       uint64             // deliveries that have left memory, ever
	needed     int                // room that a batch waits for; 0 when none does
	sulks      time.Time          // until then no batch waits for room, as it would be in vain
	sulk       time.Duration      // the last time for so long
	pace       pace               // how quickly deliveries leave
	sending    int                // requests under way
	backlog    bool               // the store may hold lanes that are due and not in memory
	asked      bool               // the claim loop is to look at the store now
	followed   int                // lanes that are leaving and have deliveries behind them in the store
	refused    uint64             // how often an Enqueue's lane was left to the store
	urgent     int                // of these, how many of high priority are waited for
	low        atomic.Bool        // there were lanes of low priority
	recent     atomic.Uint32      // the last attempts, a bit each: 1 has failed
	state      endpointState      // whether the endpoint is paused or disabled
	closed     bool
	dues       dueTimes // when lanes that backed off are due
	gather     gathering
	gate       gate
	crew       crew
}

// endpointState is what the engine knows of an endpoint's being paused or disabled. The store knows better, as people
// pause and resume endpoints there, see flow. Without one a disabled outlet goes on claiming, and is enabled when it gets something.
type endpointState uint8

const (
	enabled   endpointState = iota
	disabling               // the outcome that disables it is not committed: claims would bring lanes that nobody wants
	disabled
)

// heldLane is a lane in memory.
type heldLane struct {
	key  string
	rest []*Delivery // in order; the first is in flight or next

	priority Priority
	turn     uint64 // its place in the line; 0 when it is in none

	pass pass // what the gate gave for the request that is under way

	// Of endpoints that batch:
	shares []share // what the request that is under way carries
	half   []share // in the line, this lane stands for all of these
	most   int     // a batch of this size was refused, or taken afterwards: the next may have so many, all of this lane; 0 is any
	eager  bool    // waits for no others
	more   bool    // the store had further deliveries of it when it handed out these
}

// holding is what is known of a lane besides its deliveries.
type holding struct {
	lane    *heldLane // nil when it was given back at once
	second  *Lane     // handed out while the lane was held
	behind  bool      // the store has more deliveries of it
	leaving bool      // its outcome waits to be committed, and then it may go on
	unsure  bool      // it may have been the store's to hand out all the time
}

const (
	// maxDues bounds the due times that are remembered; what is not is found by polling.
	maxDues = 4096
	// deliveryCost is about what a delivery takes in memory besides its body.
	deliveryCost = 768
	// leastMemory is an endpoint's share of the memory however many there are.
	leastMemory = 64 << 10
)

func newOutlet(e *Engine, name string, cfg EndpointConfig, memory int64) *outlet {
	// A small share must not cut what the endpoint may send at a time, so far as its memory holds that many without their bodies.
	most := min(max(cfg.Concurrency, cfg.Batch.Size), e.opts.Queue, int(memory/deliveryCost))
	o := &outlet{
		engine: e, name: name, cfg: cfg, maxDels: max(min(e.opts.Queue, int(memory/(3*deliveryCost))), 16, most), maxMem: memory,
		wake: make(chan struct{}, 1), roomy: make(chan struct{}, 1), held: make(map[string]holding),
		backlog: true, // nothing is known of the store yet
		gate:    newGate(name, &cfg),
	}
	o.gate.known = e.flow == nil
	return o
}

// start lets lanes be sent that were given before the engine ran.
func (o *outlet) start() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for range o.ready.len() {
		o.staff()
	}
}

// add takes a lane into memory, of which reserved deliveries had been promised room. A lane that cannot
// be sent goes back to the store.
//
// A lane is held from here until the outcome that lets go of it is known to be committed. The store may hand it out again
// before that is known: to a claim or an Enqueue that follows the commit closely, or because an answer was lost and the commit
// is repeated. Two of one lane would send side by side (invariant 4), so the second waits, see finished.
func (o *outlet) add(l Lane, reserved int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reserved -= reserved
	if h, twice := o.held[l.Key]; twice {
		h.second = &l
		o.held[l.Key] = h
		return
	}
	o.held[l.Key] = holding{}
	if o.closed || o.state != enabled || !o.cfg.IsActive() {
		o.engine.finisher.add(Outcome{Delivery: l.Deliveries[0], Result: Released, LaneDone: true})
		return
	}
	o.deliveries += len(l.Deliveries)
	for _, d := range l.Deliveries {
		o.bytes += int64(len(d.Body))
	}
	held := &heldLane{key: l.Key, rest: l.Deliveries, priority: l.Priority, more: l.More}
	o.held[l.Key] = holding{lane: held}
	if l.Priority == PriorityLow {
		o.low.Store(true)
	}
	o.queue(held)
	o.staff()
}

// attempt sends a lane's next delivery and decides what becomes of it.
func (o *outlet) attempt(l *heldLane) {
	e, d := o.engine, l.rest[0]
	outcome := Outcome{Delivery: d, Result: Released}
	var a *Attempt
	if ctx := e.sending(); ctx.Err() == nil && e.leaseValid() {
		a = o.cfg.Queue.expired(d, e.opts.Clock())
		if a == nil {
			a = e.request(ctx, d)
		}
		outcome = decide(&o.cfg, d, a, e.opts.Clock())
		e.opts.Trace.attemptDone(d, a, outcome)
	}

	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending--
	o.judge(l.pass, a, &outcome)
	goesOn := outcome.Result == Delivered || outcome.Result == Dead && !outcome.Hold
	if goesOn && len(l.rest) > 1 && !o.closed && outcome.Disable == "" && o.state == enabled {
		// The lane's next delivery does not wait for the commit. Outcomes are added and committed in
		// order: this one before the lane can be sent again.
		e.finisher.put(outcome, awaited(&outcome))
		o.forget(l.rest[:1])
		l.rest = l.rest[1:]
		o.queue(l) // this worker takes a lane next, so that no other need be called
		o.roomMade()
		return
	}
	// The rest of the lane leaves memory: the store knows when it goes on.
	outcome.LaneDone = true
	if outcome.Disable != "" && o.state == enabled {
		o.state = disabling
		e.opts.Trace.disabled(o.name, outcome.Disable)
		o.release()
	}
	o.forget(l.rest)
	if goesOn && outcome.Disable == "" {
		o.leave(l)
	}
	e.finisher.put(outcome, awaited(&outcome))
	o.roomMade()
}

// forget takes deliveries out of the accounts. The caller holds the mutex.
func (o *outlet) forget(deliveries []*Delivery) {
	o.deliveries -= len(deliveries)
	o.left += uint64(len(deliveries))
	for _, d := range deliveries {
		o.bytes -= int64(len(d.Body))
	}
}

// release gives all lanes back that no worker has in hand. The caller holds the mutex.
func (o *outlet) release() {
	for {
		first, ok := o.take()
		if !ok {
			return
		}
		for _, l := range first.together() {
			o.forget(l.rest)
			o.engine.finisher.add(Outcome{Delivery: l.rest[0], Result: Released, LaneDone: true})
		}
		o.backlog = true
	}
}

// drop gives all lanes back that no worker has in hand, as they may not be ours any more.
func (o *outlet) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, h := range o.held {
		h.unsure = true
		o.held[key] = h
	}
	o.release()
}

// close sends the workers home and gives all lanes back; requests under way go on.
func (o *outlet) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.gate.timer != nil {
		o.gate.timer.Stop()
	}
	if o.gather.timer != nil {
		o.gather.timer.Stop()
	}
	o.release()
	o.dismiss()
}

// finished learns that an outcome was committed, and which lanes the store returned with it. again says that it was not the first try.
func (o *outlet) finished(outcome *Outcome, again bool, returned []Lane) {
	if !outcome.LaneDone {
		return
	}
	o.mu.Lock()
	key := outcome.Delivery.Lane
	h := o.leftMemory(key)
	if outcome.Disable != "" && o.state == disabling {
		o.state = disabled
		o.gate.version = -1 // the store knows whether it is: what another process did to the lane comes first
	}
	if outcome.Result == Retry && o.dues.Len() < maxDues {
		o.dues.add(outcome.Next)
		o.rouse() // it may sleep for longer than that
	}
	if o.gather.refilled {
		o.signal() // now the lane can be claimed
	}
	o.mu.Unlock()
	switch {
	case h.second == nil:
	case !again && !h.unsure:
		// The lane was ours until the commit, so it was handed out after it.
		o.add(*h.second, 0)
	case slices.ContainsFunc(returned, func(l Lane) bool { return l.Endpoint == o.name && l.Key == key }):
		// It comes back by itself.
	default:
		// It was handed out before this commit, which has then released it, or after it.
		o.giveBack(*h.second)
	}
}

// giveBack releases a lane that is not in memory and may not be ours.
func (o *outlet) giveBack(l Lane) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held[l.Key] = holding{unsure: true}
	o.backlog = true
	o.engine.finisher.add(Outcome{Delivery: l.Deliveries[0], Result: Released, LaneDone: true})
}

func (o *outlet) stats() EndpointStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return EndpointStats{Name: o.name, Lanes: len(o.held), Deliveries: o.deliveries, Bytes: o.bytes, Sending: o.sending,
		Backlog: o.backlog, Disabled: o.state != enabled, Open: o.gate.breaker.isOpen()}
}

// free is how many more bytes fit into memory; less than 0 when it is exceeded. The caller holds the mutex.
func (o *outlet) free() int64 {
	return o.maxMem - o.bytes - deliveryCost*int64(o.deliveries+o.reserved)
}

// room is how many more deliveries fit into memory. The caller holds the mutex.
func (o *outlet) room() int {
	if o.free() <= 0 {
		return 0
	}
	return max(o.maxDels-o.deliveries-o.reserved, 0)
}

// ample says that there is room enough for a claim to be worth it. The caller holds the mutex.
func (o *outlet) ample() bool {
	return o.room() >= o.maxDels/claimShare && o.free() >= o.maxMem/claimShare
}

// roomMade wakes the batch that waits for room once it is there, and the claim loop when there is something to claim
// and room for it. The caller holds the mutex.
func (o *outlet) roomMade() {
	if o.needed > 0 && o.freshRoom() >= o.needed {
		o.needed = 0
		o.roomy <- struct{}{} // empty: needed was set once since it was taken from
	}
	if o.backlog && o.ample() {
		o.signal()
	}
}

// nudge makes the claim loop look at the store.
func (o *outlet) nudge() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.backlog = true
	if o.state == enabled { // of a disabled one the store hands out nothing
		o.signal()
	}
}

// signal makes the claim loop look at the store. The caller holds the mutex.
func (o *outlet) signal() {
	o.asked = true
	o.rouse()
}

// wanting says whether the claim loop was asked to look at the store.
func (o *outlet) wanting() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := o.asked
	o.asked = false
	return asked
}

// rouse makes the claim loop see anew for how long it may sleep.
func (o *outlet) rouse() {
	select {
	case o.wake <- struct{}{}:
	default: // it is awake already
	}
}

// dueIn is how long until the first lane that backed off is due; ok is false when none is known.
func (o *outlet) dueIn(now time.Time) (wait time.Duration, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait, ok = o.dues.next(now)
	if ok && wait == 0 {
		o.backlog = true // also if there is no room just now
	}
	return wait, ok
}
