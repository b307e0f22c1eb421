package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// flood enqueues batches one after the other, as ingest does, and returns how long each waited for room.
func flood(t *testing.T, s *memStore, e *Engine, endpoint string, batches, size int, every time.Duration) (waited []time.Duration) {
	for b := range batches {
		list := make([]*Delivery, size)
		for i := range list {
			list[i] = queued(endpoint, fmt.Sprintf("%d", b*size+i), 0)
		}
		room, began := newIntake(e), time.Now()
		room.await(t.Context(), list)
		waited = append(waited, time.Since(began))
		lanes, err := s.Enqueue(context.Background(), &Batch{From: s.position, To: s.position, Deliveries: list}, room.take)
		if err != nil {
			t.Fatal(err)
		}
		room.settle(lanes)
		time.Sleep(every)
	}
	return waited
}

// What a quick endpoint gets waits for it in memory, not in the store, from where it would have to be claimed.
func TestIntakeWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Millisecond, 200))
		claimed := 0
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 16}}, EngineOptions{Queue: 64,
			Trace: Trace{Claimed: func(_ string, lanes int, _ time.Duration) { claimed += lanes }}})
		run(t, e)
		synctest.Wait()
		waited := flood(t, store, e, "erp", 100, 24, 0)
		time.Sleep(time.Second)
		if got := sender.count(); got != 2400 || claimed != 0 {
			t.Errorf("%d were sent, of them %d from the store", got, claimed)
		}
		if last := waited[len(waited)-1]; last <= 0 || last >= intakePatience {
			t.Errorf("the last batch waited %s", last)
		}
	})
}

// An endpoint that does not get rid of what it has costs the others a twentieth of their time at most.
func TestIntakeDoesNotWaitForSlowEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Hour, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 16}}, EngineOptions{Queue: 64, Grace: time.Millisecond})
		run(t, e)
		synctest.Wait()
		began, total := time.Now(), time.Duration(0)
		for _, w := range flood(t, store, e, "erp", 1000, 24, time.Millisecond) {
			if w > intakeLook {
				t.Fatalf("a batch waited %s", w)
			}
			total += w
		}
		if all := time.Since(began); total == 0 || total > all/20+4*intakeLook {
			t.Errorf("of %s, %s were spent waiting", all, total)
		}
	})
}

// Many endpoints that do not get rid of what they have hold a batch up no longer than one of them: the time runs for all at once.
func TestIntakeWaitsOnceForAllEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 64
		store, sender := newMemStore(), newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			if d.Endpoint == "e0" {
				return takes(time.Millisecond, 200)(ctx, d)
			}
			return takes(time.Hour, 200)(ctx, d)
		})
		configs := map[string]EndpointConfig{}
		for i := range n {
			configs[fmt.Sprint("e", i)] = EndpointConfig{Concurrency: 4}
		}
		e := NewEngine(store, sender, configs, EngineOptions{Queue: 16, Grace: time.Millisecond})
		run(t, e)
		synctest.Wait()
		var began time.Time
		var total time.Duration
		for b := range 40 {
			var list []*Delivery
			for i := range n {
				for j := range 4 {
					list = append(list, queued(fmt.Sprint("e", i), fmt.Sprint(4*b+j), 0))
				}
			}
			room := newIntake(e)
			began = time.Now()
			room.await(t.Context(), list)
			waited := time.Since(began)
			if total += waited; waited > intakePatience {
				t.Fatalf("batch %d waited %s", b, waited)
			}
			lanes, err := store.Enqueue(context.Background(), &Batch{From: store.position, To: store.position, Deliveries: list}, room.take)
			if err != nil {
				t.Fatal(err)
			}
			room.settle(lanes)
		}
		if total == 0 || total > 4*intakePatience {
			t.Errorf("40 batches waited %s for endpoints of which one is quick", total)
		}
	})
}

// An endpoint that is known to be slow is not waited for at all, so that what is for others is not late time and again; once it is quick, it is
// waited for again.
func TestIntakeKnowsSlowEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took atomic.Int64
		took.Store(int64(time.Second))
		store, sender := newMemStore(), newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			return takes(time.Duration(took.Load()), 200)(ctx, d)
		})
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 16}}, EngineOptions{Queue: 64, Grace: time.Millisecond})
		run(t, e)
		synctest.Wait()
		late := func(waits []time.Duration) (n int) {
			for _, w := range waits {
				if w > 0 {
					n++
				}
			}
			return n
		}
		if n := late(flood(t, store, e, "erp", 40, 24, 5*time.Millisecond)); n > 2 {
			t.Errorf("%d of 40 batches waited for an endpoint that takes 16 a second", n)
		}
		took.Store(int64(time.Millisecond))
		time.Sleep(2 * time.Second) // until the store has nothing left of it
		if n := late(flood(t, store, e, "erp", 60, 24, 0)); n < 10 {
			t.Errorf("%d of 60 batches waited for the endpoint when it was quick", n)
		}
	})
}

// A batch that waits goes on when the engine's context ends.
func TestIntakeStopsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Hour, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 16}}, EngineOptions{Queue: 64, Grace: time.Millisecond})
		run(t, e)
		synctest.Wait()
		flood(t, store, e, "erp", 3, 24, 0)
		time.Sleep(mostSulk + paceStale)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		began := time.Now()
		newIntake(e).await(ctx, []*Delivery{queued("erp", "x", 0)})
		if waited := time.Since(began); waited != time.Millisecond {
			t.Errorf("waited %s", waited)
		}
	})
}

// Endpoints that have failed lately get their lanes last, until they have answered for long enough.
func TestWhoFailsComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, failing := newMemStore(), true
		sender := newScripted(t, func(_ context.Context, d *Delivery) *Attempt {
			if d.Endpoint == "a" && failing {
				return status(500)
			}
			return status(200)
		})
		e := NewEngine(store, sender, map[string]EndpointConfig{"a": {}, "b": {}, "c": {}}, EngineOptions{})
		run(t, e)
		order := func() (names []string) {
			var lanes []Lane
			for _, name := range []string{"a", "b", "c"} {
				lanes = append(lanes, Lane{Endpoint: name, Key: "order", Deliveries: []*Delivery{queued(name, "order", 1)}})
			}
			for _, l := range newIntake(e).inOrder(lanes) {
				names = append(names, l.Endpoint)
			}
			return names
		}
		expect := func(when string, want ...string) {
			t.Helper()
			if got := order(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		expect("at first", "a", "b", "c")
		enqueue(t, store, e, queued("a", "1", 1), queued("b", "1", 1))
		synctest.Wait()
		expect("after a failure", "b", "c", "a")
		failing = false
		for n := range 32 {
			expect("soon after", "b", "c", "a")
			enqueue(t, store, e, queued("a", fmt.Sprint("more", n), 1), queued("c", fmt.Sprint("more", n), 1))
			synctest.Wait()
		}
		expect("later", "a", "b", "c")
	})
}
