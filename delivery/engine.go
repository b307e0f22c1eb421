package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"walhook/internal/failpoint"
	"walhook/internal/periodic"
)

// EngineOptions configures an [Engine]. The zero value of a field means its default.
type EngineOptions struct {
	// Clock tells the time; default time.Now. Waits use package time's timers.
	Clock func() time.Time

	// Lease tells until when this process holds the lanes that the store gave it. It is asked before every
	// request and must not block. Default: for ever.
	Lease func() time.Time

	// Grace is how long requests under way may go on when the engine stops. Default 15s.
	Grace time.Duration

	// Flush is how long the engine then tries to commit the last outcomes. Default 10s.
	Flush time.Duration

	// Queue is how many deliveries of one endpoint are held in memory at most. Default 2000, at least 16; less when
	// the endpoint's share of Memory is small.
	Queue int

	// Memory bounds what deliveries take in memory, in bytes; every endpoint has an equal share, but
	// not less than 64 KiB. Default 8 MiB.
	Memory int64

	// Poll is how often the store is asked for lanes that nothing else told of: retried by hand, left over by
	// another process. Default 1s; with more than 50 endpoints proportionally less often.
	Poll time.Duration

	// Flow is where breakers are kept, and what people have paused. Default: nowhere, breakers live in memory.
	Flow FlowStore

	// AlertAfter is how long a breaker is open before the alert endpoint is told. Default: it never is.
	AlertAfter time.Duration

	Trace Trace
}

// LeaseMargin is how long before the end of its lease a process stops sending.
const LeaseMargin = 2 * time.Second

func (o EngineOptions) withDefaults() EngineOptions {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	fill(&o.Grace, 15*time.Second)
	fill(&o.Flush, 10*time.Second)
	fill(&o.Queue, 2000)
	fill(&o.Memory, 8<<20)
	fill(&o.Poll, time.Second)
	o.Queue = max(o.Queue, 16)
	return o
}

// Engine sends deliveries. It holds a bounded part of the queue in memory, sends the lanes of each endpoint in
// parallel and each lane in order (invariant 4), and commits outcomes in groups.
//
// It guarantees that a delivery ends only by a committed outcome, that faults of our own (a store that is away,
// a lost lease, a stop) use up no attempt, and that an endpoint waits for no other: each has its own memory, its
// own goroutines and its own claims, a few of which are made at a time. What all share is the store: when outcomes can't be committed, sending stops
// once a bounded number waits (invariant 9). And ingest, which waits a tenth of a second at most for one that is full and quick, see intake.
//
// It does not guarantee that a receiver sees a delivery once: whoever crashes between answer and commit sends
// again, in order and under the same id.
type Engine struct {
	store    Store
	sender   Sender
	opts     EngineOptions
	outlets  map[string]*outlet
	batching []*outlet // of them, those that batch
	finisher *finisher
	flow     *flow         // nil without a FlowStore
	claiming chan struct{} // of claims under way, see claimsAtOnce

	running  atomic.Bool
	stopping atomic.Bool
	retiring retirement
	workers  sync.WaitGroup

	mu       sync.Mutex
	sendCtx  context.Context // ends when requests must be cut short
	cutShort context.CancelCauseFunc
}

// NewEngine prepares an engine; Run starts it. Lanes that it is given before wait for Run.
func NewEngine(store Store, sender Sender, endpoints map[string]EndpointConfig, opts EngineOptions) *Engine {
	e := &Engine{store: store, sender: sender, opts: opts.withDefaults(), outlets: make(map[string]*outlet, len(endpoints)),
		claiming: make(chan struct{}, claimsAtOnce)}
	e.finisher = newFinisher(e)
	e.flow = newFlow(e, e.opts.Flow)
	memory := max(e.opts.Memory/int64(max(len(endpoints), 1)), leastMemory)
	for name, c := range endpoints {
		e.outlets[name] = newOutlet(e, name, c.WithDefaults(), memory)
		if c.Batch.On() {
			e.batching = append(e.batching, e.outlets[name])
		}
	}
	e.renewSend()
	e.retiring.begun, e.retiring.shut = make(chan struct{}), make(chan struct{})
	return e
}

// Run sends until ctx ends, then stops in order: no new requests, those under way finish within Grace, outcomes
// are committed, lanes are released. It returns nil if all of that succeeded. Run must be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.running.Store(true)
	defer e.retiring.noMore()
	if e.retired() {
		return nil // nothing was sent; the lanes are given back with the lease
	}
	claims, stopClaims := context.WithCancel(ctx)
	defer stopClaims()
	var loops sync.WaitGroup
	for _, o := range e.outlets {
		o.start()
		if o.cfg.IsActive() {
			loops.Go(func() { o.claim(claims) })
		}
	}
	if e.opts.Lease != nil {
		loops.Go(func() { e.watchLease(claims) })
	}
	if e.flow != nil {
		loops.Go(func() { e.flow.run(claims) })
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		e.finisher.run()
	}()

	select {
	case <-ctx.Done():
	case <-e.finisher.failed:
	case <-e.retiring.begun:
	}
	e.stopping.Store(true)
	stopClaims()
	for _, o := range e.outlets {
		o.close()
	}
	e.finisher.wakeSenders()
	e.retiring.noMore()
	grace := time.AfterFunc(e.patience(), func() { e.cut(errStopping) })
	e.workers.Wait()
	grace.Stop()
	loops.Wait() // a claim that was under way may still have brought lanes; they were released
	e.finisher.close(e.opts.Flush)
	<-finished
	e.flow.last()
	e.cut(errStopping)
	e.finisher.giveUp()
	return e.finisher.err()
}

// maySend says whether requests can be made: the lease is good, and none of our own faults is being dealt with.
func (e *Engine) maySend() bool { return e.sending().Err() == nil && e.leaseValid() }

// leaseValid says whether lanes are this process's long enough to send.
func (e *Engine) leaseValid() bool {
	return e.opts.Lease == nil || e.opts.Lease().Sub(e.opts.Clock()) > LeaseMargin
}

// watchLease cuts requests short when the lease runs out under them, and lets
// go of all lanes: they may be another process's from then on (invariant 4).
func (e *Engine) watchLease(ctx context.Context) {
	const recheck = 250 * time.Millisecond
	lost := false
	for {
		until := e.opts.Lease()
		// Compared as it is: of a lease that is lost for good, the zero time, the difference is the least Duration.
		left := until.Sub(e.opts.Clock())
		switch valid := left > LeaseMargin; {
		case !valid && !lost:
			lost = true
			e.opts.Trace.leaseLost(until)
			e.cut(errLeaseLost)
			for _, o := range e.outlets {
				o.drop()
			}
		case valid && lost:
			lost = false
			e.renewSend()
			e.opts.Trace.leaseRegained(until)
			for _, o := range e.outlets {
				o.nudge()
			}
		}
		wait := recheck
		if left > LeaseMargin {
			wait = max(left-LeaseMargin, recheck)
		}
		if !periodic.Wait(ctx, wait) {
			return
		}
	}
}

// sending returns the context of requests.
func (e *Engine) sending() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sendCtx
}

// request makes one request.
func (e *Engine) request(ctx context.Context, d *Delivery) *Attempt {
	failpoint.Hit(failpoint.Request)
	a := e.sender.Send(ctx, d)
	failpoint.Hit(failpoint.Answered)
	return a
}

// cut ends the requests that are under way.
func (e *Engine) cut(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cutShort(cause)
}

func (e *Engine) renewSend() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cutShort != nil {
		e.cutShort(errLeaseLost)
	}
	e.sendCtx, e.cutShort = context.WithCancelCause(context.Background())
}

// EngineStats is what an engine holds in memory at a moment.
type EngineStats struct {
	Endpoints  []EndpointStats // sorted by name
	Outcomes   int             // outcomes that wait to be committed
	LeaseValid bool            // false: nothing is sent
}

// EndpointStats is what an engine holds of one endpoint.
type EndpointStats struct {
	Name       string
	Lanes      int   // lanes held: waiting, with a request under way, or with an outcome to commit
	Deliveries int   // deliveries held
	Bytes      int64 // of their bodies
	Sending    int   // requests under way
	Backlog    bool  // the store holds lanes that are due and not in memory, or may
	Disabled   bool  // it is paused or disabled
	Open       bool  // its breaker is open
}

// Stats returns what the engine holds now.
func (e *Engine) Stats() EngineStats {
	s := EngineStats{Outcomes: e.finisher.waiting(), LeaseValid: e.leaseValid()}
	for _, o := range e.outlets {
		s.Endpoints = append(s.Endpoints, o.stats())
	}
	slices.SortFunc(s.Endpoints, func(a, b EndpointStats) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// give puts lanes into memory that the store handed out.
func (e *Engine) give(lanes []Lane) {
	defer e.handOver()()
	for _, l := range lanes {
		if o := e.outlets[l.Endpoint]; o != nil {
			o.add(l, 0)
		} else {
			e.finisher.add(Outcome{Delivery: l.Deliveries[0], Result: Released, LaneDone: true})
		}
	}
}

// uncommitted is the error of an engine that stopped with outcomes in memory.
func uncommitted(n int, err error) error {
	if err == nil {
		err = errors.New("out of time")
	}
	return fmt.Errorf("commit %d outcomes (their deliveries will be sent again): %w", n, err)
}
