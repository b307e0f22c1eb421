package delivery

import (
	"context"
	"slices"
	"time"
)

// intake reserves the engine's memory for the lanes of one Enqueue. Its take runs inside
// the store's transaction; settle must follow, whatever became of it.
type intake struct {
	engine  *Engine
	taken   map[string]int  // deliveries promised room, by endpoint
	refused map[string]bool // endpoints that lanes were left to the store of
}

func newIntake(e *Engine) *intake {
	return &intake{engine: e, taken: map[string]int{}, refused: map[string]bool{}}
}

const (
	// intakePatience bounds how long a batch waits for an endpoint to have room for it.
	intakePatience = 100 * time.Millisecond
	// intakeLook is after how long of it the endpoint must have shown that it will be in time.
	intakeLook = 20 * time.Millisecond
	// leastSulk is for how long an endpoint is not waited for after that had been in vain, and mostSulk after it had been time and again.
	leastSulk, mostSulk = 50 * time.Millisecond, 400 * time.Millisecond
	// paceStale is after how long without a batch nothing is known any more of an endpoint's pace.
	paceStale = time.Second
)

// pace is how quickly an endpoint gets rid of its deliveries, as the batches see it that come by. It spares them the wait for an endpoint that
// was slow all the time: waiting to see would hold up what is for the others.
type pace struct {
	at     time.Time
	left   uint64  // that had left memory then
	rate   float64 // a second, between the last two looks
	judged bool
}

// look takes down how many deliveries have left by now.
func (p *pace) look(now time.Time, left uint64) {
	passed := now.Sub(p.at)
	if passed < intakeLook {
		return
	}
	p.judged = passed <= paceStale
	if p.judged {
		p.rate = float64(left-p.left) / passed.Seconds()
	}
	p.at, p.left = now, left
}

// hopeless says that n deliveries will not have left while a batch has patience.
func (p *pace) hopeless(n int) bool {
	return p.judged && p.rate*intakePatience.Seconds() < float64(n)
}

// await waits until the endpoints of a batch have room for it, where that is a matter of milliseconds: to claim a lane back from the store costs
// about as much as to enqueue it. Whoever is not that quick is not waited for: its deliveries stay in the store, and
// those of the other endpoints lose a twentieth of their time to it at most. The time runs for all endpoints at once, however many they are.
func (i *intake) await(ctx context.Context, deliveries []*Delivery) {
	if i.engine == nil {
		return
	}
	need := map[string]int{}
	for _, d := range deliveries {
		if !d.Aside() {
			need[d.Endpoint]++
		}
	}
	began := time.Now()
	var waits []shortage
	for endpoint, n := range need {
		if o := i.engine.outlets[endpoint]; o != nil {
			if s, short := o.lacks(n, began); short {
				waits = append(waits, s)
			}
		}
	}
	for _, s := range waits {
		s.outlet.awaitRoom(ctx, s, began)
	}
}

// shortage is the room that a batch lacks at an endpoint that may have it soon.
type shortage struct {
	outlet *outlet
	needed int
	short  int    // of it
	left   uint64 // outlet.left then
}

// take says whether a fresh lane fits into memory, and keeps the room for it.
func (i *intake) take(endpoint string, deliveries int) bool {
	if i.engine == nil {
		return false
	}
	o := i.engine.outlets[endpoint]
	if o == nil {
		return false
	}
	if !o.reserve(deliveries) {
		i.refused[endpoint] = true
		return false
	}
	i.taken[endpoint] += deliveries
	return true
}

// begin tells the engine that the store is busy with the batch. settle ends it.
func (i *intake) begin() {
	if i.engine != nil {
		i.engine.finisher.during(true)
	}
}

// settle hands over what the store acquired, and returns the room that was not used. Endpoints that have failed lately come last: a request to them would
// take the time of one that succeeds.
func (i *intake) settle(lanes []Lane) {
	if i.engine == nil {
		return
	}
	defer i.engine.finisher.during(false)
	defer i.engine.handOver()()
	for _, l := range i.inOrder(lanes) {
		n := min(len(l.Deliveries), i.taken[l.Endpoint])
		i.taken[l.Endpoint] -= n
		if o := i.engine.outlets[l.Endpoint]; o != nil {
			o.add(l, n)
		}
	}
	for endpoint, n := range i.taken {
		i.engine.outlets[endpoint].unreserve(n)
	}
	for endpoint := range i.refused {
		i.engine.outlets[endpoint].nudge() // now they can be claimed
	}
}

// inOrder returns lanes in the order in which they are handed over.
func (i *intake) inOrder(lanes []Lane) []Lane {
	fails := func(l Lane) bool {
		o := i.engine.outlets[l.Endpoint]
		return o != nil && o.recent.Load() != 0
	}
	first := slices.IndexFunc(lanes, fails)
	if first < 0 {
		return lanes // as almost always
	}
	list, last := slices.Clone(lanes[:first]), []Lane{}
	for _, l := range lanes[first:] {
		if fails(l) {
			last = append(last, l)
		} else {
			list = append(list, l)
		}
	}
	return append(list, last...)
}

// open says that deliveries can be sent. The caller holds the mutex.
func (o *outlet) open() bool {
	any, _ := o.takes()
	return any && !o.closed && o.state == enabled && o.cfg.IsActive()
}

// freshRoom is the room for fresh lanes. While the store has lanes that wait for room, they get
// only half of it: else they would always come first. The caller holds the mutex.
func (o *outlet) freshRoom() int {
	if o.backlog {
		return o.room() - o.maxDels/2
	}
	return o.room()
}

// lacks says whether n fresh deliveries have to wait for room, and may wait for it.
func (o *outlet) lacks(n int, now time.Time) (s shortage, short bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pace.look(now, o.left)
	n = min(n, o.maxDels/2)
	s = shortage{outlet: o, needed: n, short: n - o.freshRoom(), left: o.left}
	return s, s.short > 0 && !o.pace.hopeless(s.short) && o.open() && !now.Before(o.sulks) && o.engine.running.Load() && !o.engine.stopping.Load()
}

// awaitRoom waits until fresh deliveries fit, as long as the endpoint gets rid of what it has quickly enough. The wait has begun with the batch's.
func (o *outlet) awaitRoom(ctx context.Context, s shortage, began time.Time) {
	o.mu.Lock()
	if o.freshRoom() >= s.needed { // meanwhile
		o.sulk = 0
		o.mu.Unlock()
		return
	}
	o.needed = s.needed
	select {
	case <-o.roomy: // of an earlier wait
	default:
	}
	o.mu.Unlock()
	look := time.NewTimer(max(intakeLook-time.Since(began), 0)) // others may have been waited for before
	defer look.Stop()
	for {
		select {
		case <-o.roomy:
			o.mu.Lock()
			o.sulk = 0
			o.mu.Unlock()
			return
		case <-ctx.Done():
			return
		case <-look.C:
		}
		passed := time.Since(began)
		o.mu.Lock()
		quick := time.Duration(o.left-s.left)*intakePatience >= time.Duration(min(s.short, s.needed))*passed
		over := !quick || passed >= intakePatience
		if !quick {
			o.sulk = min(max(2*o.sulk, leastSulk), mostSulk)
			o.sulks = began.Add(passed + o.sulk)
		}
		if over {
			o.needed = 0
		}
		o.mu.Unlock()
		if over {
			return
		}
		look.Reset(min(intakeLook, intakePatience-passed))
	}
}

// reserve keeps room for a fresh lane.
func (o *outlet) reserve(n int) bool {
	ok := o.engine.maySend()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !ok || !o.open() || n > o.freshRoom() {
		o.refused++
		o.backlog = true
		return false
	}
	o.reserved += n
	return true
}

func (o *outlet) unreserve(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reserved -= n
}
