package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walhook/internal/periodic"
)

// bulk is a receiver of batches: it takes them apart, answers as a function says, and watches invariant 4.
type bulk struct {
	fail   func(format string, args ...any)
	answer func(ctx context.Context, ids []string) *Attempt
	lane   func(id string) string

	mu       sync.Mutex
	inFlight map[string]string   // lane → id of the batch
	taken    map[string][]string // lane → ids that were answered with 2xx, in order
	requests [][]string
	at       []time.Time
	bytes    int // of the largest
}

func newBulk(t testing.TB, answer func(ctx context.Context, ids []string) *Attempt) *bulk {
	return &bulk{fail: t.Errorf, answer: answer, lane: laneOfID, inFlight: map[string]string{}, taken: map[string][]string{}}
}

// laneOfID is the lane in an id that queued has made.
func laneOfID(id string) string { return strings.Split(id, "_")[2] }

func (b *bulk) Send(ctx context.Context, d *Delivery) *Attempt {
	var elements []struct{ ID string }
	if err := json.Unmarshal(d.Body, &elements); err != nil || len(elements) != d.Batched || len(elements) == 0 {
		b.fail("batch of %d: %s: %v", d.Batched, d.Body, err)
		return status(500)
	}
	var ids []string
	b.mu.Lock()
	lanes := map[string]bool{}
	for _, e := range elements {
		ids = append(ids, e.ID)
		lanes[b.lane(e.ID)] = true
	}
	for lane := range lanes {
		if other, busy := b.inFlight[lane]; busy {
			b.fail("invariant 4: lane %s is in %s while %s is in flight", lane, d.ID, other)
		}
		b.inFlight[lane] = d.ID
	}
	b.requests, b.at = append(b.requests, ids), append(b.at, time.Now())
	b.bytes = max(b.bytes, len(d.Body))
	b.mu.Unlock()
	began := time.Now()
	a := b.answer(ctx, ids)
	a.Number, a.At = d.Attempts+1, began
	b.mu.Lock()
	defer b.mu.Unlock()
	for lane := range lanes {
		delete(b.inFlight, lane)
	}
	if a.Status/100 == 2 {
		for _, id := range ids {
			b.taken[b.lane(id)] = append(b.taken[b.lane(id)], id)
		}
	}
	return a
}

// sizes are how many deliveries each request held.
func (b *bulk) sizes() (sizes []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.requests {
		sizes = append(sizes, len(r))
	}
	return sizes
}

// left is when a request was made.
func (b *bulk) left(n int) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at[n]
}

func taken(context.Context, []string) *Attempt { return status(200) }

// refuses is a receiver that refuses every batch that holds one of these.
func refuses(code int, poison ...string) func(context.Context, []string) *Attempt {
	return func(_ context.Context, ids []string) *Attempt {
		for _, p := range poison {
			if slices.Contains(ids, p) {
				return status(code)
			}
		}
		return status(200)
	}
}

func batching(size int, wait time.Duration) EndpointConfig {
	return EndpointConfig{Batch: BatchConfig{Size: size, Wait: Duration(wait)}}
}

// many makes deliveries of lanes of one delivery each.
func many(from, to int) (list []*Delivery) {
	for n := from; n < to; n++ {
		list = append(list, queued("erp", fmt.Sprintf("l%04d", n), 1))
	}
	return list
}

// A batch leaves when it is full, or when its first delivery has waited as long as it may.
func TestBatchWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": batching(10, 2*time.Second)}, EngineOptions{})
		run(t, e)
		began := time.Now()
		for n := range 4 {
			enqueue(t, store, e, many(n, n+1)...)
			time.Sleep(400 * time.Millisecond)
		}
		enqueue(t, store, e, queued("erp", "l0003", 2)) // held already: goes to the store, and is not in this batch
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int{4}, sender.sizes()); diff != "" || sender.left(0).Sub(began) != 2*time.Second {
			t.Fatalf("after %s: sizes (-want +got):\n%s", sender.left(0).Sub(began), diff)
		}
		time.Sleep(3 * time.Second)
		began = time.Now()
		enqueue(t, store, e, many(100, 125)...)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int{4, 1, 10, 10, 5}, sender.sizes()); diff != "" {
			t.Fatalf("sizes (-want +got):\n%s", diff)
		}
		for i, want := range []time.Duration{0, 0, 2 * time.Second} {
			if got := sender.left(2 + i).Sub(began); got != want {
				t.Errorf("batch %d left after %s, want %s", i, got, want)
			}
		}
		if got := store.results()[Delivered]; got != 30 {
			t.Errorf("%d were delivered, want 30", got)
		}
	})
}

// Several deliveries of one lane go in one batch, in their order, and the array is in the order of enqueueing.
func TestBatchOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		for n := range 6 {
			store.add(queued("erp", fmt.Sprintf("l%d", n%2), n))
		}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": batching(10, time.Second)}, EngineOptions{}))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want := [][]string{{"msg_erp_l0_00000", "msg_erp_l1_00001", "msg_erp_l0_00002", "msg_erp_l1_00003", "msg_erp_l0_00004", "msg_erp_l1_00005"}}
		if diff := cmp.Diff(want, sender.requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

// Where all is one lane, its batch is filled from the store when the wait is over.
func TestBatchOfOneLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		c := batching(40, 2*time.Second)
		c.Ordering = OrderEndpoint
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{})
		run(t, e)
		one := func(n int) *Delivery {
			d := queued("erp", "all", n)
			d.Lane = ""
			return d
		}
		began := time.Now()
		for n := range 100 {
			enqueue(t, store, e, one(n))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := store.results()[Delivered]; got != 100 || !slices.IsSorted(sender.taken["all"]) || len(sender.taken["all"]) != 100 {
			t.Fatalf("%d were delivered, taken %v", got, sender.taken)
		}
		if sizes := sender.sizes(); len(sizes) > 4 || sizes[0] != 40 || sender.left(0).Sub(began) > 2100*time.Millisecond {
			t.Errorf("sizes %v from %s on: batches are not filled", sizes, sender.left(0).Sub(began))
		}
	})
}

// Nobody waits for others while the store holds more of the same lane than it handed out.
func TestBatchBacklogOfOneLane(t *testing.T) {
	for _, ordering := range []string{OrderRecord, OrderEndpoint} {
		synctest.Test(t, func(t *testing.T) {
			store, sender := newMemStore(), newBulk(t, taken)
			c := batching(10, time.Minute)
			c.Ordering = ordering
			for n := range 200 {
				d := queued("erp", "hot", n)
				if ordering == OrderEndpoint {
					d.Lane = ""
				}
				store.add(d)
			}
			run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if got := store.results()[Delivered]; got != 200 {
				t.Errorf("%s: %d of 200 were delivered in %v", ordering, got, sender.sizes())
			}
		})
	}
}

// One delivery that the receiver refuses is alone dead; finding it costs two requests for each halving, and nobody's attempts.
func TestBatchSplits(t *testing.T) {
	for name, tc := range map[string]struct {
		code  int
		lanes int
		cfg   func(*EndpointConfig)
	}{
		"a bad request among many records": {code: 422, lanes: 128},
		"too large":                        {code: 413, lanes: 128},
		"among few records":                {code: 400, lanes: 3},
		"in one record":                    {code: 400, lanes: 1},
		"in one lane":                      {code: 400, lanes: 1, cfg: func(c *EndpointConfig) { c.Ordering = OrderEndpoint }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const poison = 77
				id := func(n int) string { return fmt.Sprintf("msg_erp_l%d_%05d", n%tc.lanes, n) }
				store, sender := newMemStore(), newBulk(t, refuses(tc.code, id(poison)))
				c := batching(128, 0)
				if tc.cfg != nil {
					tc.cfg(&c)
				}
				for n := range 128 {
					d := queued("erp", fmt.Sprintf("l%d", n%tc.lanes), n)
					if c.Ordering == OrderEndpoint {
						d.Lane = ""
					}
					store.add(d)
				}
				run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
				time.Sleep(time.Minute)
				synctest.Wait()
				if diff := cmp.Diff(map[Result]int{Delivered: 127, Dead: 1}, store.results()); diff != "" || store.ended[id(poison)] != Dead {
					t.Fatalf("results (-want +got):\n%s", diff)
				}
				for lane, ids := range sender.taken {
					if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
						t.Errorf("lane %s got %v", lane, ids)
					}
				}
				if n := len(sender.requests); n > 60 || tc.lanes == 128 && n > 15 {
					t.Errorf("%d requests: %v", n, sender.sizes())
				}
				for _, o := range store.attempts {
					if o.Attempt.Number != 1 || o.Attempt.Batch == "" || o.Attempt.BatchSize == 0 || o.Attempt.BatchPosition == 0 {
						t.Errorf("attempt of %s: %+v", o.Delivery.ID, o.Attempt)
					}
				}
			})
		})
	}
}

// A refused delivery at which its lane holds keeps what comes behind it from being sent, and nothing else.
func TestBatchHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, refuses(400, "msg_erp_l1_00003"))
		c := batching(100, 0)
		c.OnDead = OnDeadHold
		for n := range 12 {
			store.add(queued("erp", fmt.Sprintf("l%d", n%2), n))
		}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
		time.Sleep(time.Minute)
		synctest.Wait()
		want := map[string][]string{"l0": {"msg_erp_l0_00000", "msg_erp_l0_00002", "msg_erp_l0_00004", "msg_erp_l0_00006", "msg_erp_l0_00008", "msg_erp_l0_00010"}, "l1": {"msg_erp_l1_00001"}}
		if diff := cmp.Diff(want, sender.taken); diff != "" {
			t.Errorf("taken (-want +got):\n%s", diff)
		}
		if l := store.lanes[memKey{"erp", "l1"}]; l == nil || !l.held || l.owned || len(l.queue) != 4 {
			t.Errorf("lane %+v, want it held with 4 deliveries", l)
		}
	})
}

// A lane in which one delivery holds is held even if another one of the batch disables the endpoint: the outcome that decides says both.
func TestBatchHoldsAndDisables(t *testing.T) {
	c := batching(100, 0)
	c.OnDead = OnDeadHold
	e := NewEngine(newMemStore(), newBulk(t, taken), map[string]EndpointConfig{"erp": c}, EngineOptions{})
	first, second := queued("erp", "l1", 1), queued("erp", "l1", 2)
	o := e.outlets["erp"]
	o.mu.Lock()
	o.settleLane(share{&heldLane{key: "l1", rest: []*Delivery{first, second}}, 2}, map[*Delivery]Outcome{
		first:  {Delivery: first, Result: Retry, Disable: "failing for too long"},
		second: {Delivery: second, Result: Dead, Hold: true},
	})
	o.mu.Unlock()
	f := e.finisher
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) != 2 {
		t.Fatalf("%d outcomes", len(f.pending))
	}
	if last := f.pending[1]; last.Delivery != first || !last.LaneDone || !last.Hold || last.Disable == "" {
		t.Errorf("the last outcome is %+v", last)
	}
}

// A receiver that fails whenever it sees one delivery, rather than refusing it, makes no other one dead either: retries come in
// smaller and smaller company.
func TestBatchFailures(t *testing.T) {
	for name, c := range map[string]EndpointConfig{
		"default":     {},
		"three tries": {Retry: RetryPolicy{Schedule: []Duration{0, Duration(time.Second), Duration(time.Second)}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, sender := newMemStore(), newBulk(t, refuses(500, "msg_erp_l0042_00001"))
				c.Batch = BatchConfig{Size: 100, Wait: Duration(time.Second)}
				store.add(many(0, 100)...)
				run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{Poll: time.Minute}))
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				if diff := cmp.Diff(map[Result]int{Delivered: 99, Dead: 1}, store.results()); diff != "" {
					t.Fatalf("results (-want +got):\n%s", diff)
				}
				limit := c.Retry.Limit()
				for _, o := range store.attempts {
					if o.Attempt.Number == limit && o.Attempt.BatchSize != 1 {
						t.Errorf("the last attempt of %s was in a batch of %d", o.Delivery.ID, o.Attempt.BatchSize)
					}
				}
			})
		})
	}
}

// What failed together comes together again: by the schedule of each, at the same time.
func TestBatchRetriesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failures int
		store := newMemStore()
		sender := newBulk(t, func(context.Context, []string) *Attempt {
			if failures++; failures == 1 {
				return status(503)
			}
			return status(200)
		})
		store.add(append(many(0, 20), queued("erp", "l0000", 2))...)
		c := batching(40, 0)
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]int{21, 21}, sender.sizes()); diff != "" {
			t.Errorf("sizes (-want +got):\n%s", diff)
		}
		for _, o := range store.attempts {
			if o.Attempt.Number == 1 && o.Result != Retry || o.Attempt.Number == 2 && o.Result != Delivered {
				t.Errorf("attempt %d of %s: %s", o.Attempt.Number, o.Delivery.ID, o.Result)
			}
		}
		if n := len(store.attempts); n != 42 {
			t.Errorf("%d attempts are logged, want 42", n)
		}
	})
}

// A lane backs off for as long as its first delivery has to.
func TestBatchBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, func(context.Context, []string) *Attempt { return status(503) })
		c, jitter := batching(10, 0), 0.0
		c.Retry = RetryPolicy{Schedule: []Duration{0, Duration(10 * time.Second), Duration(100 * time.Second), Duration(1000 * time.Second)}, Jitter: &jitter}
		store.add(queued("erp", "a", 1), queued("erp", "a", 2), queued("erp", "b", 1))
		l := store.lanes[memKey{"erp", "a"}]
		l.queue[0].attempts = 2
		began := time.Now()
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
		time.Sleep(time.Second)
		synctest.Wait()
		sizes := sender.sizes() // of requests that are under way at the same time
		slices.Sort(sizes)
		if got := l.due.Sub(began); !slices.Equal(sizes, []int{1, 2}) || got != 1000*time.Second {
			t.Errorf("after %v the lane waits for %s, want 1000s", sender.requests, got)
		}
	})
}

// A batch is one request to the breaker, and what it probes with waits for no company.
func TestBatchBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, func(context.Context, []string) *Attempt { return status(503) })
		c := batching(10, time.Minute)
		c.Concurrency = 1
		failures := 3
		c.Breaker = BreakerConfig{Failures: &failures, Pause: Duration(10 * time.Second), MaxPause: Duration(10 * time.Second)}
		store.add(many(0, 35)...) // of which the last five stay in memory
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int{10, 10, 10}, sender.sizes()); diff != "" {
			t.Fatalf("before the breaker opened (-want +got):\n%s", diff)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int{10, 10, 10, 1}, sender.sizes()); diff != "" {
			t.Errorf("with a probe after 10 s (-want +got):\n%s", diff)
		}
	})
}

// A batch is one request to the rate limit.
func TestBatchRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		c := batching(10, 0)
		c.Rate = RateConfig{Limit: 1}
		store.add(many(0, 50)...)
		began := time.Now()
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]int{10, 10, 10, 10, 10}, sender.sizes()); diff != "" {
			t.Fatalf("sizes (-want +got):\n%s", diff)
		}
		for n := range 5 {
			if got := sender.left(n).Sub(began).Round(10 * time.Millisecond); got != time.Duration(n)*time.Second {
				t.Errorf("request %d left after %s", n, got)
			}
		}
	})
}

// 410 disables the endpoint, and costs no more than one delivery.
func TestBatchGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, func(context.Context, []string) *Attempt { return status(http.StatusGone) })
		store.add(append(many(0, 20), queued("erp", "l0000", 2))...)
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": batching(100, 0)}, EngineOptions{}))
		time.Sleep(time.Minute)
		synctest.Wait()
		pending, owned := store.pending()
		if diff := cmp.Diff(map[Result]int{Dead: 1}, store.results()); diff != "" || pending != 20 || owned != 0 || store.disabled["erp"] == "" || len(sender.requests) != 1 {
			t.Errorf("%d pending, %d lanes owned, %d requests, disabled %q, results (-want +got):\n%s", pending, owned, len(sender.requests), store.disabled["erp"], diff)
		}
	})
}

// Answers that say nothing about one delivery are everybody's.
func TestBatchFinal(t *testing.T) {
	for _, code := range []int{301, 401} {
		synctest.Test(t, func(t *testing.T) {
			store, sender := newMemStore(), newBulk(t, func(context.Context, []string) *Attempt { return status(code) })
			store.add(many(0, 20)...)
			run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": batching(100, 0)}, EngineOptions{}))
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := store.results()[Dead]; got != 20 || len(sender.requests) != 1 {
				t.Errorf("%d: %d are dead after %d requests", code, got, len(sender.requests))
			}
		})
	}
}

// What is too old is not sent, and keeps nothing else from being sent.
func TestBatchExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		c := batching(100, 0)
		c.Queue.MaxAge, c.OnDead = Duration(time.Minute), OnDeadHold
		store.add(many(0, 10)...)
		time.Sleep(2 * time.Minute)
		store.add(append(many(10, 20), queued("erp", "l0000", 2))...)
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{}))
		time.Sleep(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff(map[Result]int{Dead: 10, Delivered: 11}, store.results()); diff != "" {
			t.Errorf("results (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]int{11}, sender.sizes()); diff != "" {
			t.Errorf("sizes (-want +got):\n%s", diff)
		}
	})
}

// Bodies stay within the limit; what exceeds it goes alone. Memory that is short ends a wait.
func TestBatchBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		c := batching(1000, time.Hour) // longer than is allowed: nothing of this waits for the time
		c.Batch.Bytes = 64 << 10
		for n, d := range many(0, 60) {
			d.Body = []byte(`"` + strings.Repeat("x", 3000) + `"`)
			if n == 30 {
				d.Body = []byte(`"` + strings.Repeat("x", 100<<10) + `"`)
			}
			store.add(d)
		}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{Memory: 128 << 10}))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := store.results()[Delivered]; got < 40 {
			t.Errorf("%d were delivered", got)
		}
		if sender.bytes < 100<<10 {
			t.Error("the large one was not sent")
		}
		for _, ids := range sender.requests {
			if large := slices.Contains(ids, "msg_erp_l0030_00001"); large != (len(ids) == 1) || len(ids) > 21 {
				t.Errorf("a batch holds %v", ids)
			}
		}
	})
}

// Nobody waits for others that there is no room for.
func TestBatchMemory(t *testing.T) {
	for _, ordering := range []string{OrderRecord, OrderEndpoint} {
		synctest.Test(t, func(t *testing.T) {
			store, sender := newMemStore(), newBulk(t, taken)
			c := batching(1000, time.Hour)
			c.Ordering = ordering
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{Memory: 128 << 10})
			run(t, e)
			time.Sleep(time.Second)
			for _, d := range many(0, 600) {
				if ordering == OrderEndpoint {
					d.Lane = ""
				}
				enqueue(t, store, e, d)
			}
			time.Sleep(time.Minute)
			if ordering == OrderEndpoint {
				time.Sleep(time.Hour) // what is in memory is one delivery; the others come when its wait is over
			}
			synctest.Wait()
			const room = 170 + 170/claimShare + 1 // memory for 170, and a claim that was made while they were put together; what is left over waits for company
			if got := store.results()[Delivered]; got < 600-room {
				t.Errorf("%s: %d were delivered", ordering, got)
			}
			for _, size := range sender.sizes() {
				if size > room {
					t.Errorf("%s: a batch of %d, with memory for 170", ordering, size)
				}
			}
		})
	}
}

// A stop does not wait for batches to fill: their lanes go back, for whoever comes next.
func TestBatchStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newBulk(t, taken)
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": batching(100, time.Minute)}, EngineOptions{})
		stop := run(t, e)
		enqueue(t, store, e, many(0, 20)...)
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		if pending, owned := store.pending(); pending != 20 || owned != 0 || len(sender.requests) != 0 {
			t.Errorf("%d pending, %d lanes owned, %d requests", pending, owned, len(sender.requests))
		}
		if timer := e.outlets["erp"].gather.timer; timer == nil || timer.Stop() {
			t.Error("the timer goes on")
		}
		time.Sleep(time.Hour)
	})
}

// Whatever the receiver answers and the store does: batches keep invariant 4, order within lanes, and sizes; everything ends, once, and
// nothing is dead but what the receiver refused by itself.
func TestBatchProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 20).Draw(rt, "size")
		c := batching(size, rapid.SampledFrom([]time.Duration{0, 0, 100 * time.Millisecond, 3 * time.Second}).Draw(rt, "wait"))
		c.Concurrency = rapid.IntRange(1, 4).Draw(rt, "concurrency")
		c.Ordering = rapid.SampledFrom([]string{OrderRecord, OrderEndpoint, OrderNone}).Draw(rt, "ordering")
		attempts, jitter := rapid.IntRange(3, 8).Draw(rt, "attempts"), 0.0
		c.Retry = RetryPolicy{Initial: Duration(time.Second), Factor: 1, Max: Duration(time.Second), Attempts: &attempts, Jitter: &jitter}
		lanes := rapid.IntRange(1, 12).Draw(rt, "lanes")
		total := rapid.IntRange(1, 60).Draw(rt, "deliveries")
		refused := rapid.SliceOfNDistinct(rapid.IntRange(0, total-1), 0, 4, rapid.ID).Draw(rt, "refused")
		failing := rapid.IntRange(0, 2).Draw(rt, "failing store")
		hiccup := rapid.IntRange(0, 2).Draw(rt, "outages of the receiver")
		stops := rapid.IntRange(0, 2*total).Draw(rt, "stops after")
		gap := rapid.SampledFrom([]time.Duration{0, 30 * time.Millisecond}).Draw(rt, "gap")
		synctest.Test(t, func(t *testing.T) {
			var poison []string
			id := func(n int) string { return fmt.Sprintf("msg_erp_l%d_%05d", n%lanes, n) }
			for _, n := range refused {
				poison = append(poison, id(n))
			}
			store := newMemStore()
			left := hiccup
			refuse := refuses(422, poison...)
			sender := newBulk(t, nil)
			sender.answer = func(ctx context.Context, ids []string) *Attempt {
				if !periodic.Wait(ctx, 7*time.Millisecond) {
					return &Attempt{Class: ClassReleased, Error: context.Cause(ctx).Error()}
				}
				if len(ids) > size {
					rt.Errorf("a batch of %d, of at most %d", len(ids), size)
				}
				sender.mu.Lock()
				defer sender.mu.Unlock()
				if left > 0 {
					left--
					return status(503)
				}
				return refuse(ctx, ids)
			}
			faults := failing
			store.setFault(func(op string) (before, after error) {
				if op == "finish" && faults > 0 {
					faults--
					return errAway, nil
				}
				return nil, nil
			})
			sender.fail = rt.Errorf
			if c.Ordering == OrderNone {
				sender.lane = func(id string) string { return id }
			}
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{})
			stop := run(t, e)
			for n := range total {
				if n == stops { // and another process goes on
					if err := stop(); err != nil {
						rt.Errorf("stop: %v", err)
					}
					e = NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{})
					run(t, e)
				}
				d := queued("erp", fmt.Sprintf("l%d", n%lanes), n)
				switch c.Ordering {
				case OrderEndpoint:
					d.Lane = ""
				case OrderNone:
					d.Lane = d.ID
				}
				enqueue(t, store, e, d)
				time.Sleep(gap)
			}
			time.Sleep(20 * time.Minute)
			synctest.Wait()
			results := store.results()
			if results[Dead] != len(poison) || results[Delivered] != total-len(poison) {
				rt.Errorf("%v of %d, %d refused", results, total, len(poison))
			}
			for _, p := range poison {
				if store.ended[p] != Dead {
					rt.Errorf("%s is not dead", p)
				}
			}
			seen := map[string]bool{}
			for lane, ids := range sender.taken {
				if !slices.IsSorted(ids) {
					rt.Errorf("lane %s got %v", lane, ids)
				}
				for _, id := range ids {
					if seen[id] {
						rt.Errorf("%s was taken twice", id)
					}
					seen[id] = true
				}
			}
			if pending, owned := store.pending(); pending != 0 || owned != 0 {
				rt.Errorf("%d pending, %d lanes owned", pending, owned)
			}
			if s := e.Stats().Endpoints[0]; s.Deliveries != 0 || s.Bytes != 0 || s.Lanes != 0 || s.Sending != 0 || e.outlets["erp"].gather.deliveries != 0 || e.outlets["erp"].gather.bytes != 0 || e.outlets["erp"].gather.eager != 0 {
				rt.Errorf("left in memory: %+v, %+v", s, e.outlets["erp"].gather)
			}
		})
	})
}
