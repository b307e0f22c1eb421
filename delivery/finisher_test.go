package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gatheringWorld is an engine whose commits of outcomes are noted.
type gatheringWorld struct {
	t      *testing.T
	store  *memStore
	sender *scripted
	engine *Engine
	stop   func() error
	start  time.Time

	mu      sync.Mutex
	commits []time.Duration // since the start
	slow    time.Duration   // what an Enqueue takes
}

func gatheringEngine(t *testing.T, answer func(context.Context, *Delivery) *Attempt, c EndpointConfig) *gatheringWorld {
	t.Helper()
	w := &gatheringWorld{t: t, store: newMemStore(), sender: newScripted(t, answer)}
	w.engine = NewEngine(w.store, w.sender, map[string]EndpointConfig{"erp": c}, EngineOptions{})
	w.store.setFault(func(op string) (before, after error) {
		w.mu.Lock()
		slow := w.slow
		if op == "finish" {
			w.commits = append(w.commits, time.Since(w.start))
		}
		w.mu.Unlock()
		if op == "enqueue" {
			time.Sleep(slow)
		}
		return nil, nil
	})
	w.stop = run(t, w.engine)
	time.Sleep(time.Second) // the first claims
	w.start = time.Now()
	return w
}

// at waits until so long after the start, and returns when commits were made until then.
func (w *gatheringWorld) at(when time.Duration) []time.Duration {
	time.Sleep(time.Until(w.start.Add(when)))
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.commits)
}

func (w *gatheringWorld) enqueue(d ...*Delivery) { enqueue(w.t, w.store, w.engine, d...) }

func (w *gatheringWorld) expect(when time.Duration, want ...time.Duration) {
	w.t.Helper()
	if got := w.at(when); !slices.Equal(got, want) {
		w.t.Errorf("after %s there were commits at %s, want %s", when, got, want)
	}
}

const ms = time.Millisecond

// Of a quiet system each outcome is committed at once. Of a busy one those of 10 to 20 ms are committed together.
func TestOutcomesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatheringEngine(t, takes(ms, 200), EndpointConfig{})
		w.enqueue(queued("erp", "first", 1))
		w.expect(2*ms, ms)
		for i := range 100 {
			w.at(time.Duration(100+i) * ms)
			w.enqueue(queued("erp", fmt.Sprint("r", i), 1))
		}
		commits := w.at(250 * ms)[1:]
		if len(commits) > 12 || commits[0] != 101*ms {
			t.Errorf("100 outcomes were committed at %s", commits)
		}
		if got := w.store.results()[Delivered]; got != 101 {
			t.Errorf("%d were delivered", got)
		}
		for i := 1; i < len(commits); i++ {
			if gap := commits[i] - commits[i-1]; gap < gatherFor || gap > 2*gatherFor {
				t.Errorf("%s between two commits", gap)
			}
		}
	})
}

// A stop does not wait for company, and many don't.
func TestOutcomesDoNotGatherForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatheringEngine(t, takes(ms, 200), EndpointConfig{Concurrency: 200})
		w.enqueue(queued("erp", "first", 1))
		w.at(2 * ms)
		var many []*Delivery
		for i := range gatherMost {
			many = append(many, queued("erp", fmt.Sprint("r", i), 1))
		}
		w.enqueue(many...)
		w.expect(3*ms, ms, 3*ms)
		w.enqueue(queued("erp", "last", 1))
		w.expect(4*ms+ms/2, ms, 3*ms)
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		w.expect(5*ms, ms, 3*ms, 4*ms+ms/2)
	})
}

// An outcome is committed at once when a worker has nothing else to do than what has come behind it, whether it came before the answer or after, and
// when the delivery is dead.
func TestAwaitedOutcomesDoNotGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatheringEngine(t, func(ctx context.Context, d *Delivery) *Attempt {
			if d.Lane == "bad" {
				return status(400)
			}
			return takes(4*ms, 200)(ctx, d)
		}, EndpointConfig{})
		w.enqueue(queued("erp", "first", 1))
		w.expect(5*ms, 4*ms)
		w.enqueue(queued("erp", "a", 1))
		w.at(6 * ms)
		w.enqueue(queued("erp", "a", 2), queued("erp", "a", 3)) // behind it
		w.expect(9*ms, 4*ms, 9*ms)
		w.expect(18*ms, 4*ms, 9*ms) // the third does not wait for the second's commit, which waits
		w.expect(19*ms, 4*ms, 9*ms, 19*ms)
		w.expect(50*ms, 4*ms, 9*ms, 19*ms)
		if got := w.store.results()[Delivered]; got != 4 {
			t.Errorf("%d were delivered", got)
		}

		w.enqueue(queued("erp", "b", 1), queued("erp", "c", 1))
		w.enqueue(queued("erp", "d", 1))
		w.at(52 * ms)
		w.enqueue(queued("erp", "e", 1))
		w.expect(57*ms, 4*ms, 9*ms, 19*ms, 54*ms) // that of e waits for company
		w.enqueue(queued("erp", "e", 2))
		w.expect(58*ms, 4*ms, 9*ms, 19*ms, 54*ms, 57*ms)
		w.expect(62*ms, 4*ms, 9*ms, 19*ms, 54*ms, 57*ms)
		w.enqueue(queued("erp", "bad", 1))
		w.expect(63*ms, 4*ms, 9*ms, 19*ms, 54*ms, 57*ms, 62*ms)
	})
}

// A worker that runs out of work waits for what is behind a lane that has left memory, and what has a high priority waits for nothing.
func TestIdleWorkersAwaitOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatheringEngine(t, takes(2*ms, 200), EndpointConfig{Concurrency: 1})
		w.enqueue(queued("erp", "first", 1))
		w.expect(3*ms, 2*ms)
		w.enqueue(queued("erp", "a", 1), queued("erp", "b", 1))
		w.at(4 * ms)
		w.enqueue(queued("erp", "a", 2))
		w.expect(6*ms, 2*ms) // a was answered, but b is there to be sent
		w.expect(7*ms, 2*ms, 7*ms)
		w.expect(16*ms, 2*ms, 7*ms)
		w.expect(17*ms, 2*ms, 7*ms, 17*ms)

		w.at(18 * ms)
		w.enqueue(queued("erp", "c", 1), queued("erp", "d", 1), queued("erp", "e", 1))
		w.at(20*ms + ms/2)
		urgent := queued("erp", "c", 2)
		urgent.Priority = PriorityHigh
		w.enqueue(urgent)
		w.expect(21*ms, 2*ms, 7*ms, 17*ms, 20*ms+ms/2)
		w.at(100 * ms)
		if got := w.store.results()[Delivered]; got != 8 {
			t.Errorf("%d were delivered", got)
		}
		w.engine.outlets["erp"].mu.Lock()
		defer w.engine.outlets["erp"].mu.Unlock()
		if n := w.engine.outlets["erp"].followed; n != 0 {
			t.Errorf("%d lanes are taken to be on their way out", n)
		}
	})
}

// Outcomes give way to an Enqueue that is under way, for a while.
func TestOutcomesGiveWayToIntake(t *testing.T) {
	for _, c := range []struct{ takes, committed time.Duration }{{9 * ms, 13*ms + lull}, {50 * ms, ms + 2*gatherFor}} {
		synctest.Test(t, func(t *testing.T) {
			w := gatheringEngine(t, takes(ms, 200), EndpointConfig{})
			w.enqueue(queued("erp", "first", 1))
			w.at(2 * ms)
			w.enqueue(queued("erp", "a", 1))
			w.expect(4*ms, ms)
			w.mu.Lock()
			w.slow = c.takes
			w.mu.Unlock()
			w.enqueue()
			w.expect(c.committed, ms, c.committed)
			w.at(time.Second)
		})
	}
}

// While transactions keep coming, outcomes are committed when the deliveries of one have just been sent, and not about the time at which the next one
// comes. When they end, nothing is waited for.
func TestOutcomesAreCommittedBetweenTransactions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := gatheringEngine(t, takes(ms/2, 200), EndpointConfig{})
		for i := range 40 {
			w.at(time.Duration(7*i) * ms)
			w.enqueue(queued("erp", fmt.Sprint("r", i), 1))
		}
		commits := w.at(time.Second)
		if want := 40 / 2; len(commits) < want || len(commits) > want+2 {
			t.Errorf("%d commits of 40 outcomes: %s", len(commits), commits)
		}
		for _, at := range commits[1 : len(commits)-1] {
			if behind := at % (7 * ms); behind != lull {
				t.Errorf("a commit at %s, %s behind a transaction", at, behind)
			}
		}
		if last := commits[len(commits)-1]; last > 39*7*ms+ms/2+2*gatherFor {
			t.Errorf("the last commit was at %s", last)
		}
	})
}

// Each time that a lane is due the store is asked once.
func TestOneClaimForWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := EndpointConfig{Breaker: BreakerConfig{Failures: new(int)}, Retry: RetryPolicy{Initial: Duration(100 * ms), Jitter: ptr(0.0)}}
		w := gatheringEngine(t, takes(0, 500), c)
		before := w.store.count(func() int { return w.store.claims["erp"] })
		w.enqueue(queued("erp", "a", 1))
		w.at(400 * ms)
		attempts := w.store.count(func() int { return len(w.store.attempts) })
		if n := w.store.count(func() int { return w.store.claims["erp"] }) - before; attempts < 2 || n > attempts {
			t.Errorf("%d claims for %d attempts", n, attempts)
		}
	})
}

// What is to be tried again makes nobody ask the store before it is due.
func TestRetriesCauseNoClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := EndpointConfig{Breaker: BreakerConfig{Failures: new(int)}}
		w := gatheringEngine(t, takes(0, 500), c)
		claims := func() int { return w.store.count(func() int { return w.store.claims["erp"] }) }
		before := claims()
		for i := range 100 {
			w.at(time.Duration(20*i) * ms)
			w.enqueue(queued("erp", fmt.Sprint("r", i), 1))
		}
		if n := claims() - before; n > 5 {
			t.Errorf("%d claims in 2 s", n)
		}
		if n := w.store.count(func() int { return len(w.store.attempts) }); n < 99 {
			t.Errorf("%d attempts", n)
		}
	})
}
