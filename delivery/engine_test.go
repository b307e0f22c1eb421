package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/internal/periodic"
)

// scripted is a Sender that answers as a function says, and watches invariant 4: one delivery in
// flight per lane, in order.
type scripted struct {
	t      *testing.T
	answer func(ctx context.Context, d *Delivery) *Attempt

	mu       sync.Mutex
	inFlight map[memKey]string
	sent     map[memKey][]string // ids in the order of sending, repetitions in a row once
	times    map[string][]time.Time
	most     int
}

func newScripted(t *testing.T, answer func(ctx context.Context, d *Delivery) *Attempt) *scripted {
	return &scripted{t: t, answer: answer, inFlight: map[memKey]string{}, sent: map[memKey][]string{}, times: map[string][]time.Time{}}
}

func (s *scripted) Send(ctx context.Context, d *Delivery) *Attempt {
	k := memKey{d.Endpoint, d.Lane}
	s.mu.Lock()
	if other, busy := s.inFlight[k]; busy {
		s.t.Errorf("invariant 4: %s is sent while %s of the same lane %v is in flight", d.ID, other, k)
	}
	s.inFlight[k] = d.ID
	s.most = max(s.most, len(s.inFlight))
	if list := s.sent[k]; len(list) == 0 || list[len(list)-1] != d.ID {
		s.sent[k] = append(list, d.ID)
	}
	s.times[d.ID] = append(s.times[d.ID], time.Now())
	s.mu.Unlock()
	began := time.Now()
	a := s.answer(ctx, d)
	a.Number, a.At = d.Attempts+1, began
	s.mu.Lock()
	delete(s.inFlight, k)
	s.mu.Unlock()
	return a
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, times := range s.times {
		n += len(times)
	}
	return n
}

func status(code int) *Attempt { return &Attempt{Status: code, Class: statusClass(code)} }

// takes is a receiver that answers after a while.
func takes(d time.Duration, code int) func(context.Context, *Delivery) *Attempt {
	return func(ctx context.Context, _ *Delivery) *Attempt {
		if !periodic.Wait(ctx, d) {
			return &Attempt{Class: ClassReleased, Error: context.Cause(ctx).Error()}
		}
		return status(code)
	}
}

// queued makes a delivery; n numbers the deliveries of a lane.
func queued(endpoint, lane string, n int) *Delivery {
	return &Delivery{ID: fmt.Sprintf("msg_%s_%s_%05d", endpoint, lane, n), Endpoint: endpoint, Lane: lane, Body: []byte("{}")}
}

// run starts an engine and returns how to stop it.
func run(t *testing.T, e *Engine) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return stop
}

// enqueue is what Ingest does: it enqueues and hands fresh lanes over.
func enqueue(t *testing.T, s *memStore, e *Engine, deliveries ...*Delivery) {
	t.Helper()
	s.mu.Lock()
	at := s.position
	s.mu.Unlock()
	room := newIntake(e)
	room.begin()
	lanes, err := s.Enqueue(context.Background(), &Batch{From: at, To: at, Deliveries: deliveries}, room.take)
	if err == nil {
		e.noteBehind(deliveries)
	}
	room.settle(lanes)
	e.hasten(deliveries, lanes)
	if err != nil && !errors.Is(err, errAway) {
		t.Error(err)
	}
}

func TestEngineDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(5*time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{})
		store.add(queued("erp", "a", 1), queued("erp", "a", 2), queued("erp", "b", 1)) // from before the start
		stop := run(t, e)
		time.Sleep(10 * time.Millisecond)
		enqueue(t, store, e, queued("erp", "c", 1), queued("erp", "a", 3), queued("erp", "c", 2))
		time.Sleep(25 * time.Millisecond)
		synctest.Wait()
		if got := store.results()[Delivered]; got != 6 {
			t.Errorf("%d deliveries ended, want 6", got)
		}
		want := map[memKey][]string{
			{"erp", "a"}: {"msg_erp_a_00001", "msg_erp_a_00002", "msg_erp_a_00003"}, {"erp", "b"}: {"msg_erp_b_00001"}, {"erp", "c"}: {"msg_erp_c_00001", "msg_erp_c_00002"},
		}
		if diff := cmp.Diff(want, sender.sent); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if n, owned := store.pending(); n != 0 || owned != 0 {
			t.Errorf("%d deliveries pending, %d lanes owned", n, owned)
		}
	})
}

// A fresh delivery is sent at once, without asking the store.
func TestEngineSendsFreshFromMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(0, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{Poll: time.Hour})
		run(t, e)
		time.Sleep(time.Minute)
		claims := store.count(func() int { return store.claims["erp"] })
		now := time.Now()
		enqueue(t, store, e, queued("erp", "a", 1))
		synctest.Wait()
		if times := sender.times["msg_erp_a_00001"]; len(times) != 1 || !times[0].Equal(now) {
			t.Errorf("sent at %v, want %v", times, now)
		}
		if store.count(func() int { return store.claims["erp"] }) != claims {
			t.Error("the store was asked")
		}
	})
}

// The schedule of attempts is exact: to the moment, and through the store.
func TestEngineRetrySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Second, 503))
		policy := RetryPolicy{Initial: seconds(60), Attempts: ptr(6)}
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Retry: policy}}, EngineOptions{})
		run(t, e)
		d := queued("erp", "a", 1)
		began := time.Now()
		enqueue(t, store, e, d)
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		at, want := time.Duration(0), []time.Duration{0}
		for failed := 1; failed < 6; failed++ {
			at += time.Second + policy.wait(failed, d.ID)
			want = append(want, at)
		}
		got := sender.times[d.ID]
		if len(got) != len(want) {
			t.Fatalf("%d attempts, want %d", len(got), len(want))
		}
		for i := range got {
			if late := got[i].Sub(began) - want[i]; late < 0 || late > time.Duration(i)*5*time.Millisecond {
				t.Errorf("attempt %d was %s late", i+1, late)
			}
		}
		if store.ended[d.ID] != Dead {
			t.Errorf("it ended as %q", store.ended[d.ID])
		}
		for i, o := range store.attempts {
			if o.Attempt.Number != i+1 {
				t.Errorf("attempt %d is logged as number %d", i+1, o.Attempt.Number)
			}
		}
	})
}

func TestEngineOnDead(t *testing.T) {
	for onDead, want := range map[string][]string{
		OnDeadSkip: {"msg_erp_a_00001", "msg_erp_a_00002", "msg_erp_a_00003"},
		OnDeadHold: {"msg_erp_a_00001", "msg_erp_a_00002"},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := newMemStore()
			sender := newScripted(t, func(_ context.Context, d *Delivery) *Attempt {
				if strings.HasSuffix(d.ID, "2") {
					return status(400)
				}
				return status(200)
			})
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {OnDead: onDead}}, EngineOptions{})
			run(t, e)
			enqueue(t, store, e, queued("erp", "a", 1), queued("erp", "a", 2), queued("erp", "a", 3), queued("erp", "b", 1))
			time.Sleep(time.Hour)
			synctest.Wait()
			if diff := cmp.Diff(want, sender.sent[memKey{"erp", "a"}]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", onDead, diff)
			}
			if len(sender.sent[memKey{"erp", "b"}]) != 1 {
				t.Errorf("%s: the other lane was not sent", onDead)
			}
		})
	}
}

// A slow endpoint, a dead one and one that fails every other time take nothing from a healthy one.
func TestEngineEndpointsAreIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		n := 0
		answers := map[string]func(context.Context, *Delivery) *Attempt{
			"healthy": takes(time.Millisecond, 200), "slow": takes(10*time.Second, 200), "dead": takes(15*time.Second, 503),
			"flaky": func(context.Context, *Delivery) *Attempt { n++; return status(200 + n%2*300) },
		}
		sender := newScripted(t, nil)
		var mu sync.Mutex
		sender.answer = func(ctx context.Context, d *Delivery) *Attempt {
			if d.Endpoint == "flaky" {
				mu.Lock()
				defer mu.Unlock()
			}
			return answers[d.Endpoint](ctx, d)
		}
		endpoints := map[string]EndpointConfig{"healthy": {}, "slow": {}, "dead": {}, "flaky": {}}
		e := NewEngine(store, sender, endpoints, EngineOptions{Queue: 200})
		run(t, e)
		const batches, perBatch = 40, 100
		var last time.Duration
		for i := range batches {
			began := time.Now()
			var batch []*Delivery
			for name := range endpoints {
				for j := range perBatch {
					batch = append(batch, queued(name, fmt.Sprintf("%d-%d", i, j), 1))
				}
			}
			enqueue(t, store, e, batch...)
			time.Sleep(20 * time.Millisecond)
			_ = began
		}
		began := time.Now()
		healthy := func() (n int) {
			store.mu.Lock()
			defer store.mu.Unlock()
			for id, r := range store.ended {
				if strings.HasPrefix(id, "msg_healthy") && r == Delivered {
					n++
				}
			}
			return n
		}
		for healthy() < batches*perBatch && last < time.Minute {
			time.Sleep(time.Millisecond)
			last = time.Since(began)
		}
		if last > 50*time.Millisecond {
			t.Errorf("the healthy endpoint lagged by %s", last)
		}
	})
}

func TestEngineConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(10*time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 64}}, EngineOptions{})
		for i := range 6400 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		began := time.Now()
		run(t, e)
		for store.results()[Delivered] < 6400 && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > 1110*time.Millisecond { // 64 at 10 ms: 1 s
			t.Errorf("took %s", took)
		}
		if sender.most != 64 {
			t.Errorf("%d at the same time, want 64", sender.most)
		}
	})
}

// Workers that wait are each called for one lane: lanes that come together do not queue up behind one of them.
func TestEngineConcurrencyAfterIdling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for idle := range 4 {
			store, sender := newMemStore(), newScripted(t, takes(10*time.Second, 200))
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 10}}, EngineOptions{})
			stop := run(t, e)
			for i := range idle {
				enqueue(t, store, e, queued("erp", fmt.Sprint("first", i), 1))
			}
			time.Sleep(time.Minute)
			for i := range 10 {
				enqueue(t, store, e, queued("erp", fmt.Sprint(i), 1))
			}
			time.Sleep(time.Second)
			if n := e.Stats().Endpoints[0].Sending; n != 10 {
				t.Errorf("%d of 10 lanes are in flight, after %d workers idled", n, idle)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	})
}

// Memory holds a bounded part of a backlog, fresh deliveries do not starve it, and it does not starve them.
func TestEngineBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(10*time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 10}}, EngineOptions{Queue: 100})
		const old = 3000
		for i := range old / 3 {
			lane := fmt.Sprintf("old-%d", i)
			store.add(queued("erp", lane, 1), queued("erp", lane, 2), queued("erp", lane, 3))
		}
		run(t, e)
		fresh := 0
		for store.results()[Delivered] < old && fresh < 3*old {
			enqueue(t, store, e, queued("erp", fmt.Sprintf("new-%d", fresh), 1))
			fresh++
			time.Sleep(2 * time.Millisecond) // half of what the endpoint takes
			if s := e.Stats().Endpoints[0]; s.Deliveries > 100 {
				t.Fatalf("%d deliveries in memory", s.Deliveries)
			}
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		ended := store.results()[Delivered]
		if ended != old+fresh {
			t.Errorf("%d of %d deliveries ended", ended, old+fresh)
		}
		if fresh > old*3/2 {
			t.Errorf("the backlog took as long as %d fresh deliveries", fresh)
		}
	})
}

func TestEngineMemoryInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(10*time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{Memory: 1 << 20})
		for i := range 1000 {
			d := queued("erp", fmt.Sprint(i), 1)
			d.Body = make([]byte, 100<<10)
			enqueue(t, store, e, d)
			if s := e.Stats().Endpoints[0]; s.Bytes > 1<<20+100<<10 {
				t.Fatalf("%d bytes in memory", s.Bytes)
			}
		}
		run(t, e)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := store.results()[Delivered]; got != 1000 {
			t.Errorf("%d delivered", got)
		}
		if s := e.Stats().Endpoints[0]; s.Bytes != 0 || s.Deliveries != 0 || s.Lanes != 0 || s.Sending != 0 {
			t.Errorf("accounts are not empty: %+v", s)
		}
	})
}

func TestEngineHotLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Ordering: OrderEndpoint}}, EngineOptions{})
		for i := range 2000 {
			store.add(queued("erp", "", i))
		}
		began := time.Now()
		run(t, e)
		for store.results()[Delivered] < 2000 && time.Since(began) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took > 2100*time.Millisecond {
			t.Errorf("took %s", took)
		}
		if list := sender.sent[memKey{"erp", ""}]; !slices.IsSorted(list) || len(list) != 2000 {
			t.Error("out of order")
		}
	})
}

// 410 disables the endpoint: its lanes go back, nothing is sent until someone enables it in the store.
func TestEngineDisable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		var gone atomic.Bool
		gone.Store(true)
		sender := newScripted(t, func(ctx context.Context, _ *Delivery) *Attempt {
			time.Sleep(time.Millisecond)
			if gone.Load() {
				return status(410)
			}
			return status(200)
		})
		var told []string
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 2}, "shop": {}}, EngineOptions{Trace: Trace{
			Disabled: func(endpoint, reason string) { told = append(told, endpoint+": "+reason) },
			Enabled:  func(endpoint string) { told = append(told, endpoint+" enabled") },
		}})
		run(t, e)
		for i := range 50 {
			enqueue(t, store, e, queued("erp", fmt.Sprint(i), 1), queued("erp", fmt.Sprint(i), 2))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := sender.count(); n > 2 {
			t.Errorf("%d requests after the first 410", n)
		}
		if _, owned := store.pending(); owned != 0 {
			t.Errorf("%d lanes are still held", owned)
		}
		gone.Store(false)
		enqueue(t, store, e, queued("erp", "fresh", 1))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := sender.count(); n > 2 {
			t.Errorf("%d requests while disabled", n)
		}
		store.mu.Lock()
		delete(store.disabled, "erp")
		store.mu.Unlock()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n, owned := store.pending(); n != 0 || owned != 0 {
			t.Errorf("%d deliveries pending, %d lanes held after it was enabled", n, owned)
		}
		if want := []string{"erp: the receiver answered 410 Gone: it wants no more deliveries", "erp enabled"}; !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
	})
}

func TestEngineInactiveEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(0, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Active: ptr(false)}}, EngineOptions{})
		run(t, e)
		enqueue(t, store, e, queued("erp", "a", 1))
		time.Sleep(time.Hour)
		synctest.Wait()
		if n, owned := store.pending(); n != 1 || owned != 0 || sender.count() != 0 {
			t.Errorf("%d pending, %d owned, %d sent", n, owned, sender.count())
		}
	})
}

// While the store is away, outcomes wait in memory, no attempt is lost or used up, and sending stops at a bound.
func TestEngineStoreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 10}}, EngineOptions{Queue: 10000})
		run(t, e)
		synctest.Wait() // the first claim: until then fresh deliveries get half the memory, less than the bound
		var all []*Delivery
		const n = maxWaiting + 3000
		for i := range n {
			all = append(all, queued("erp", fmt.Sprint(i), 1))
		}
		enqueue(t, store, e, all...)
		var away atomic.Bool
		away.Store(true)
		store.setFault(func(op string) (error, error) {
			if away.Load() {
				return errAway, nil
			}
			return nil, nil
		})
		time.Sleep(time.Hour)
		synctest.Wait()
		if sent := sender.count(); sent < maxWaiting || sent > maxWaiting+10 {
			t.Errorf("%d requests while outcomes can't be committed, want about %d", sent, maxWaiting)
		}
		away.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := store.results()[Delivered]; got != n {
			t.Errorf("%d of %d delivered", got, n)
		}
		if got := sender.count(); got != n {
			t.Errorf("%d requests for %d deliveries", got, n)
		}
		if store.maxGroup > maxGroup {
			t.Errorf("a group of %d", store.maxGroup)
		}
	})
}

// An outcome that the store refuses for what a stranger sent is committed without that.
func TestEnginePoisonousOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		sender := newScripted(t, func(_ context.Context, d *Delivery) *Attempt {
			a := status(200)
			if d.Lane == "50" {
				a.ResponseBody = []byte("poison")
			}
			return a
		})
		e := NewEngine(refusing{store}, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{})
		for i := range 100 {
			store.add(queued("erp", fmt.Sprint(i), 1), queued("erp", fmt.Sprint(i), 2))
		}
		run(t, e)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := store.results()[Delivered]; got != 200 {
			t.Errorf("%d delivered", got)
		}
		if len(store.attempts) != 200 {
			t.Errorf("%d attempts are logged", len(store.attempts))
		}
	})
}

type refusing struct{ *memStore }

func (r refusing) Finish(ctx context.Context, outcomes []Outcome, perLane int) ([]Lane, error) {
	for _, o := range outcomes {
		if o.Attempt != nil && string(o.Attempt.ResponseBody) == "poison" {
			return nil, errors.New("invalid byte sequence")
		}
	}
	return r.memStore.Finish(ctx, outcomes, perLane)
}

// An error that no retry mends stops the engine, loudly.
func TestEngineFatalStoreError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(0, 200))
		store.setFault(func(op string) (error, error) {
			if op == "finish" {
				return errors.New("permission denied"), nil
			}
			return nil, nil
		})
		store.add(queued("erp", "a", 1))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{})
		err := e.Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "permission denied") || !strings.Contains(err.Error(), "1 outcomes") {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestEngineLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		until := time.Now().Add(30 * time.Second)
		set := func(d time.Duration) { mu.Lock(); until = time.Now().Add(d); mu.Unlock() }
		store, sender := newMemStore(), newScripted(t, takes(5*time.Second, 200))
		var told []string
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 2}}, EngineOptions{
			Lease: func() time.Time { mu.Lock(); defer mu.Unlock(); return until },
			Trace: Trace{
				LeaseLost:     func(time.Time) { told = append(told, "lost") },
				LeaseRegained: func(time.Time) { told = append(told, "regained") },
			},
		})
		run(t, e)
		for i := range 20 {
			enqueue(t, store, e, queued("erp", fmt.Sprint(i), 1), queued("erp", fmt.Sprint(i), 2))
		}
		time.Sleep(27 * time.Second) // 2 × 5 deliveries, and two in flight
		if n := sender.count(); n != 12 {
			t.Errorf("%d requests, want 12", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := sender.count(); n != 12 {
			t.Errorf("%d requests after the lease was lost", n)
		}
		if _, owned := store.pending(); owned != 0 {
			t.Errorf("%d lanes are still held", owned)
		}
		if got := store.results()[Delivered]; got != 10 {
			t.Errorf("%d delivered, want 10", got)
		}
		set(10 * time.Hour)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := store.results()[Delivered]; got != 40 {
			t.Errorf("%d delivered after the lease was regained, want 40", got)
		}
		for _, o := range store.attempts {
			if o.Attempt.Number != 1 {
				t.Errorf("%s used up an attempt", o.Delivery.ID)
			}
		}
		if !slices.Equal(told, []string{"lost", "regained"}) {
			t.Errorf("told %q", told)
		}
	})
}

// A lease that is lost for good is the zero time: requests under way end, nothing more is sent.
func TestEngineLeaseLostForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		store, sender := newMemStore(), newScripted(t, takes(time.Hour, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{Lease: func() time.Time {
			if gone.Load() {
				return time.Time{}
			}
			return time.Now().Add(10 * time.Second)
		}})
		run(t, e)
		enqueue(t, store, e, queued("erp", "a", 1), queued("erp", "b", 1))
		time.Sleep(time.Minute)
		gone.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if s := e.Stats(); s.LeaseValid || s.Endpoints[0].Sending != 0 || s.Endpoints[0].Lanes != 0 {
			t.Errorf("after the lease was lost: %+v", s)
		}
		if n := sender.count(); n != 2 || len(store.attempts) != 0 {
			t.Errorf("%d requests, %d attempts logged", n, len(store.attempts))
		}
	})
}

func TestEngineStop(t *testing.T) {
	for name, tt := range map[string]struct {
		answer time.Duration // of the receiver
		took   time.Duration // of the stop
		ended  int
	}{
		"requests finish":      {4 * time.Second, 3 * time.Second, 2},
		"requests are cut off": {time.Hour, 10 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, sender := newMemStore(), newScripted(t, takes(tt.answer, 200))
				e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 2}}, EngineOptions{Grace: 10 * time.Second})
				stop := run(t, e)
				for i := range 20 {
					enqueue(t, store, e, queued("erp", fmt.Sprint(i), 1), queued("erp", fmt.Sprint(i), 2))
				}
				time.Sleep(time.Second)
				began := time.Now()
				if err := stop(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("the stop took %s, want %s", took, tt.took)
				}
				if got := store.results()[Delivered]; got != tt.ended || len(store.attempts) != tt.ended {
					t.Errorf("%d delivered, %d attempts logged, want %d", got, len(store.attempts), tt.ended)
				}
				if n, owned := store.pending(); n != 40-tt.ended || owned != 0 {
					t.Errorf("%d pending, %d lanes held", n, owned)
				}
				if n := sender.count(); n != 2 {
					t.Errorf("%d requests, want 2", n)
				}
			})
		})
	}
}

func TestEngineStopWithoutStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(0, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{Flush: 5 * time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		enqueue(t, store, e, queued("erp", "a", 1))
		store.setFault(func(string) (error, error) { return errAway, nil })
		time.Sleep(time.Minute)
		began := time.Now()
		cancel()
		err := <-done
		if err == nil || !strings.Contains(err.Error(), "1 outcomes") || !errors.Is(err, errAway) {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("the stop took %s", took)
		}
	})
}

// Polling many endpoints does not add up.
func TestEnginePollsLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		endpoints := map[string]EndpointConfig{}
		for i := range 500 {
			endpoints[fmt.Sprint(i)] = EndpointConfig{}
		}
		run(t, NewEngine(store, newScripted(t, takes(0, 200)), endpoints, EngineOptions{}))
		time.Sleep(100 * time.Second)
		total := store.count(func() (total int) {
			for _, n := range store.claims {
				total += n
			}
			return total
		})
		if total > 100*50*5/4+500 {
			t.Errorf("%d claims in 100 s", total)
		}
	})
}

// The answer to a commit is lost, the lane is emptied by it and comes to life again, and the repeated commit
// hands the lane out a second time.
func TestInvariant4LaneHandedOutTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Second, 200))
		lose := true
		store.setFault(func(op string) (before, after error) {
			if op == "finish" && lose {
				lose = false
				return nil, errAway
			}
			return nil, nil
		})
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{})
		run(t, e)
		time.Sleep(time.Second)
		enqueue(t, store, e, queued("erp", "a", 1))
		time.Sleep(time.Second + 2*time.Millisecond) // committed, and the loss not yet noticed
		enqueue(t, store, e, queued("erp", "a", 2))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := sender.count(); n != 2 {
			t.Errorf("%d requests for 2 deliveries", n)
		}
		if n, owned := store.pending(); n != 0 || owned != 0 {
			t.Errorf("%d pending, %d lanes held", n, owned)
		}
	})
}

// seeds returns 0 to n-1.
func seeds(n int) []uint64 {
	if long {
		n *= 10
	}
	all := make([]uint64, n)
	for i := range all {
		all[i] = uint64(i)
	}
	return all
}

// Whatever receivers, the store, the lease and restarts do: lanes keep order, one delivery at a time,
// every delivery ends as it should, and only failures of the receiver use up attempts (invariant 4, E3).
func TestInvariant4UnderFaults(t *testing.T) {
	for _, seed := range slices.Concat(seeds(10), []uint64{70, 670}) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { faults(t, rand.New(rand.NewPCG(seed, 7)), false) })
		})
	}
}

// The same with a breaker that opens all the time, a rate limit, and a store that does not always keep their state.
func TestInvariant4UnderFaultsBehindGates(t *testing.T) {
	for _, seed := range seeds(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { faults(t, rand.New(rand.NewPCG(seed, 8)), true) })
		})
	}
}

func faults(t *testing.T, random *rand.Rand, gated bool) {
	var mu sync.Mutex
	roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return random.IntN(n) }
	failures := map[string]int{} // answers of the receiver that cost an attempt, by id
	fateOf := map[string]int{}
	store := newMemStore()
	store.lag = time.Duration(roll(8)) * time.Millisecond
	var quiet atomic.Bool
	store.setFault(func(op string) (error, error) {
		time.Sleep(time.Duration(roll(3000)) * time.Microsecond)
		if quiet.Load() {
			return nil, nil
		}
		switch roll(12) {
		case 0:
			return errAway, nil
		case 1:
			return nil, errAway // committed, and the answer lost
		}
		return nil, nil
	})
	sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
		if !periodic.Wait(ctx, time.Duration(roll(20))*time.Millisecond) {
			return &Attempt{Class: ClassReleased, Error: context.Cause(ctx).Error()}
		}
		answer := []*Attempt{status(200), status(200), status(200), status(503), {Class: ClassTimeout, Error: "timeout"}, status(400)}[roll(6)]
		mu.Lock()
		defer mu.Unlock()
		fateOf[d.ID] = answer.Status
		if answer.Status != 200 && answer.Status != 400 {
			failures[d.ID]++
		}
		return answer
	})
	endpoints := map[string]EndpointConfig{
		"a": {Concurrency: 3, Retry: RetryPolicy{Initial: seconds(2), Attempts: ptr(1000), Factor: 1}},
		"b": {Concurrency: 1, Retry: RetryPolicy{Initial: seconds(1), Attempts: ptr(1000), Factor: 1}},
	}
	var flow FlowStore
	if gated {
		a, b := endpoints["a"], endpoints["b"]
		a.Rate = RateConfig{Limit: 100, Burst: 3}
		b.Breaker = BreakerConfig{Failures: ptr(2), Pause: Duration(100 * time.Millisecond), MaxPause: seconds(1)}
		endpoints["a"], endpoints["b"] = a, b
		flow = faultyFlow{newMemFlow(store), func() bool { return !quiet.Load() && roll(4) == 0 }}
	}
	var leaseMu sync.Mutex
	lease := time.Now().Add(time.Hour)
	start := func() (*Engine, func() error) {
		e := NewEngine(store, sender, endpoints, EngineOptions{Queue: 32, Grace: 5 * time.Millisecond, Flush: time.Hour, Flow: flow,
			Lease: func() time.Time { leaseMu.Lock(); defer leaseMu.Unlock(); return lease }})
		return e, run(t, e)
	}
	e, stop := start()
	want := map[memKey][]string{}
	numbers := map[memKey]int{}
	for range 150 {
		var batch []*Delivery
		for range 1 + roll(8) {
			k := memKey{[]string{"a", "b"}[roll(2)], fmt.Sprint(roll(6))}
			numbers[k]++
			d := queued(k.endpoint, k.key, numbers[k])
			batch = append(batch, d)
		}
		before := store.count(func() int { return len(store.batches) })
		enqueue(t, store, e, batch...)
		if store.count(func() int { return len(store.batches) }) > before { // else the fault came before the commit
			for _, d := range batch {
				k := memKey{d.Endpoint, d.Lane}
				want[k] = append(want[k], d.ID)
			}
		}
		time.Sleep(time.Duration(roll(50)) * time.Millisecond)
		switch roll(30) {
		case 0:
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			e, stop = start()
		case 1:
			leaseMu.Lock()
			lease = time.Now().Add(LeaseMargin)
			leaseMu.Unlock()
			time.Sleep(time.Second)
			leaseMu.Lock()
			lease = time.Now().Add(10 * time.Hour)
			leaseMu.Unlock()
		}
	}
	quiet.Store(true)
	time.Sleep(5 * time.Hour)
	synctest.Wait()
	if n, owned := store.pending(); n != 0 || owned != 0 {
		t.Errorf("%d deliveries pending, %d lanes held", n, owned)
	}
	for k, ids := range want {
		if diff := cmp.Diff(ids, sender.sent[k]); diff != "" {
			t.Errorf("lane %v was not sent in order (-want +got):\n%s", k, diff)
		}
		for _, id := range ids {
			if ended := store.ended[id]; (ended == Delivered) != (fateOf[id] == 200) {
				t.Errorf("%s ended as %q, its last answer was %d", id, ended, fateOf[id])
			}
		}
	}
	logged := map[string]int{}
	for _, o := range store.attempts {
		logged[o.Delivery.ID] = max(logged[o.Delivery.ID], o.Attempt.Number)
	}
	for id, n := range logged {
		if n > failures[id]+1 {
			t.Errorf("%s: %d attempts are counted, %d failed", id, n, failures[id])
		}
	}
	for _, s := range e.Stats().Endpoints {
		if s.Deliveries != 0 || s.Bytes != 0 || s.Lanes != 0 {
			t.Errorf("accounts are not empty: %+v", s)
		}
	}
}
