package delivery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// memStore is a Store in memory, for tests of what uses one. It keeps the contract, in time
// that a test controls; package state has the real one.
type memStore struct {
	now func() time.Time

	faultMu sync.Mutex
	faulty  func(op string) (before, after error)

	lag time.Duration // between the commit and the answer of Finish: others may come in between

	mu       sync.Mutex
	position Position
	seq      int64
	lanes    map[memKey]*memLane
	disabled map[string]string
	attempts []Outcome // logged
	ended    map[string]Result
	enqueued map[string]int // how often, by id
	parked   []*Parked
	matched  map[string]int64
	batches  []*Batch
	claims   map[string]int // calls, by endpoint
	maxGroup int
}

type memKey struct{ endpoint, key string }

type memLane struct {
	owned, held bool
	priority    Priority // the highest of what came since it was empty
	due         time.Time
	queue       []*memRow
}

type memRow struct {
	d        *Delivery
	attempts int
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

var errAway = temporary{errors.New("the store is away")}

func newMemStore() *memStore {
	return &memStore{now: time.Now, lanes: map[memKey]*memLane{}, disabled: map[string]string{},
		ended: map[string]Result{}, enqueued: map[string]int{}, matched: map[string]int64{}, claims: map[string]int{}}
}

// setFault sets what is asked before each call; it may fail the call before or after it takes effect, or block.
func (s *memStore) setFault(f func(op string) (before, after error)) {
	s.faultMu.Lock()
	defer s.faultMu.Unlock()
	s.faulty = f
}

func (s *memStore) fault(op string) (before, after error) {
	s.faultMu.Lock()
	f := s.faulty
	s.faultMu.Unlock()
	if f == nil {
		return nil, nil
	}
	return f(op)
}

// count reads a number under the lock.
func (s *memStore) count(f func() int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func (s *memStore) Enqueue(ctx context.Context, b *Batch, take func(string, int) bool) ([]Lane, error) {
	before, after := s.fault("enqueue")
	if err := cmp.Or(before, ctx.Err()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.position != b.From {
		return nil, ErrSuperseded
	}
	s.position = b.To
	s.batches = append(s.batches, b)
	s.parked = append(s.parked, b.Parked...)
	for rule, n := range b.Matched {
		s.matched[rule] += n
	}
	fresh := map[memKey][]*Delivery{}
	var order []memKey
	for _, d := range b.Deliveries {
		s.seq++
		d.Seq, d.Enqueued = s.seq, s.now()
		s.enqueued[d.ID]++
		k := memKey{d.Endpoint, d.Lane}
		l := s.lanes[k]
		if l == nil {
			l = &memLane{due: s.now(), priority: PriorityLow}
			s.lanes[k] = l
			order = append(order, k)
			fresh[k] = []*Delivery{}
		}
		l.priority = max(l.priority, d.Priority)
		l.queue = append(l.queue, &memRow{d: d})
		if list, ok := fresh[k]; ok {
			fresh[k] = append(list, d)
		}
	}
	var out []Lane
	for _, k := range order {
		if s.disabled[k.endpoint] == "" && take(k.endpoint, len(fresh[k])) && after == nil {
			s.lanes[k].owned = true
			out = append(out, Lane{Endpoint: k.endpoint, Key: k.key, Deliveries: fresh[k], Priority: s.lanes[k].priority})
		}
	}
	if after != nil {
		return nil, after
	}
	return out, nil
}

func (s *memStore) StoredPosition(context.Context) (Position, error) {
	if before, _ := s.fault("position"); before != nil {
		return Position{}, before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.position, nil
}

func (s *memStore) Claim(ctx context.Context, endpoint string, limit, perLane int) ([]Lane, error) {
	before, after := s.fault("claim")
	if err := cmp.Or(before, ctx.Err()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims[endpoint]++
	if after != nil || s.disabled[endpoint] != "" {
		return nil, after
	}
	var due []memKey
	for k, l := range s.lanes {
		if k.endpoint == endpoint && !l.owned && !l.held && !l.due.After(s.now()) && len(l.queue) > 0 {
			due = append(due, k)
		}
	}
	highest := 1
	if s.claims[endpoint]%8 == 0 {
		highest = -1
	}
	slices.SortFunc(due, func(a, b memKey) int {
		return cmp.Or(highest*cmp.Compare(s.lanes[b].priority, s.lanes[a].priority), s.lanes[a].due.Compare(s.lanes[b].due), cmp.Compare(a.key, b.key))
	})
	var out []Lane
	for _, k := range due[:min(limit, len(due))] {
		if bodies(out) >= HandoutBytes {
			break
		}
		s.lanes[k].owned = true
		out = append(out, s.handOut(k, perLane))
	}
	return out, nil
}

// handOut reads the first deliveries of a lane.
func (s *memStore) handOut(k memKey, perLane int) Lane {
	l := s.lanes[k]
	out := Lane{Endpoint: k.endpoint, Key: k.key, Priority: l.priority}
	bytes := 0
	for _, r := range l.queue[:min(perLane, len(l.queue))] {
		if bytes += len(r.d.Body); len(out.Deliveries) > 0 && bytes > LaneBytes {
			break
		}
		d := *r.d
		d.Attempts = r.attempts
		out.Deliveries = append(out.Deliveries, &d)
	}
	out.More = len(l.queue) > len(out.Deliveries)
	return out
}

func (s *memStore) Finish(ctx context.Context, outcomes []Outcome, perLane int) ([]Lane, error) {
	before, after := s.fault("finish")
	if err := cmp.Or(before, ctx.Err()); err != nil {
		return nil, err
	}
	lanes := s.finish(outcomes, perLane)
	time.Sleep(s.lag)
	if after != nil {
		time.Sleep(5 * time.Millisecond) // a lost answer is noticed late: others may come in between
		return nil, after
	}
	return lanes, nil
}

func (s *memStore) finish(outcomes []Outcome, perLane int) []Lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxGroup = max(s.maxGroup, len(outcomes))
	var again []memKey
	for _, o := range outcomes {
		if o.Attempt != nil && !slices.ContainsFunc(s.attempts, func(old Outcome) bool {
			return old.Delivery.ID == o.Delivery.ID && old.Attempt.Number == o.Attempt.Number && old.Result != Regrouped && o.Result != Regrouped
		}) {
			s.attempts = append(s.attempts, o)
		}
		k := memKey{o.Delivery.Endpoint, o.Delivery.Lane}
		l := s.lanes[k]
		if l == nil || !l.owned {
			continue
		}
		at := slices.IndexFunc(l.queue, func(r *memRow) bool { return r.d.ID == o.Delivery.ID })
		switch o.Result {
		case Delivered, Dead:
			if at >= 0 {
				l.queue = slices.Delete(l.queue, at, at+1)
				s.ended[o.Delivery.ID] = o.Result
			}
		case Retry:
			if at >= 0 {
				l.queue[at].attempts = o.Attempt.Number
			}
			l.due = o.Next
		}
		l.held = l.held || o.Hold
		if o.Disable != "" {
			s.disabled[o.Delivery.Endpoint] = o.Disable
		}
		switch {
		case !o.LaneDone:
		case len(l.queue) == 0 && !l.held:
			delete(s.lanes, k)
		case o.Result == Retry || o.Result == Released || o.Result == Regrouped || l.held || perLane == 0 || s.disabled[k.endpoint] != "":
			l.owned = false
		default:
			again = append(again, k)
		}
	}
	var out []Lane
	for _, k := range again {
		switch l := s.lanes[k]; {
		case l == nil || !l.owned:
		case bodies(out) >= HandoutBytes:
			l.owned = false
		default:
			out = append(out, s.handOut(k, perLane))
		}
	}
	return out
}

// add enqueues deliveries as another process would: no lane goes to this one's memory.
func (s *memStore) add(deliveries ...*Delivery) {
	s.mu.Lock()
	at := s.position
	s.mu.Unlock()
	if _, err := s.Enqueue(context.Background(), &Batch{From: at, To: at, Deliveries: deliveries}, func(string, int) bool { return false }); err != nil {
		panic(err)
	}
}

// pending is how many deliveries have not ended, and how many lanes are owned.
func (s *memStore) pending() (deliveries, owned int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		deliveries += len(l.queue)
		if l.owned {
			owned++
		}
	}
	return deliveries, owned
}

// results counts how deliveries ended.
func (s *memStore) results() map[Result]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[Result]int{}
	for _, r := range s.ended {
		out[r]++
	}
	return out
}
