package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/delivery"
)

// debounced makes a delivery of a rule that waits, an hour at least and six at most.
func (f *feed) debounced(endpoint, lane, rule string) *delivery.Delivery {
	d := f.delivery(endpoint, lane)
	d.Rule, d.Wait, d.Max = rule, time.Hour, 6*time.Hour
	return d
}

// pass lets time pass for what waits.
func pass(t testing.TB, db *DB, d time.Duration) {
	t.Helper()
	exec(t, db, `UPDATE {schema}.waiting SET first_at = first_at - $1::interval, until = until - $1::interval, due = due - $1::interval`, d)
}

func releaseDue(t testing.TB, p *Process) []string {
	t.Helper()
	endpoints, _, err := p.releaseDue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return endpoints
}

// states lists deliveries, oldest first, as "id:state" without the ids' common beginning.
func states(t testing.TB, db *DB, f Filter) string {
	t.Helper()
	list, err := db.ListDeliveries(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range slices.Backward(list) {
		out = append(out, l.ID[strings.LastIndexByte(l.ID, '_')+1:]+":"+string(l.State))
	}
	return strings.Join(out, " ")
}

func wantStates(t testing.TB, db *DB, f Filter, want string) {
	t.Helper()
	if got := states(t, db, f); got != want {
		t.Errorf("states %+v: got %q, want %q", f.State, got, want)
	}
}

// C9: what a rule in test mode makes is numbered and logged, and nobody sends it.
func TestTestModeIsLoggedAndNotSent(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3, d4 := f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("a", "m/2"), f.delivery("b", "m/1")
	d1.Test, d3.Test = true, true
	wantLanes(t, f.enqueue(t, all, d1, d2, d3, d4), "a:m/1=2 b:m/1=4")
	wantNumbers(t, "a:1/1 a:1/2 a:1/3 b:1/1", d1, d2, d3, d4)
	wantStates(t, db, Filter{}, "1:test 2:pending 3:test 4:pending")
	wantStates(t, db, Filter{State: Test}, "1:test 3:test")
	wantStates(t, db, Filter{State: Discarded}, "")
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 1}, false)
	if got, want := gaps(t, db), "a:1/1-1 test, a:1/3-3 test"; got != want {
		t.Errorf("gaps: got %q, want %q", got, want)
	}
	// Alone in a batch, and next to a gap of its own kind.
	d5 := f.delivery("a", "m/3")
	d5.Test = true
	wantLanes(t, f.enqueue(t, all, d5), "")
	if got, want := gaps(t, db), "a:1/1-1 test, a:1/3-4 test"; got != want {
		t.Errorf("gaps: got %q, want %q", got, want)
	}
	if l, attempts, err := db.GetDelivery(t.Context(), d5.ID); err != nil || l.State != Test || len(attempts) != 0 || string(l.Body) != string(d5.Body) {
		t.Errorf("%+v, %d attempts, %v", l, len(attempts), err)
	}
	finish(t, p, 1, outcome(d2, delivery.Delivered), outcome(d4, delivery.Delivered))
	proveComplete(t, db)
	consistent(t, db)
}

// Tests take no room, so they are not parked with what does.
func TestTestModeAtTheLimit(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 2}}, Limit{})
	f := newFeed(t, register(t, db))
	d := f.delivery("a", "m/9")
	d.Test = true
	f.enqueue(t, none, append(f.many("a", 5), d)...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 2, Parked: 3}, true)
	wantStates(t, db, Filter{State: Test}, "1:test")
	proveComplete(t, db)
	consistent(t, db)
}

// C9: of many events of a record within the window only the last is sent.
func TestDebounceSendsTheLast(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	// One batch holds two of a record; another rule's delivery of the record does not wait.
	d1, d2, d3, d4 := f.debounced("a", "m/1", "r"), f.debounced("a", "m/1", "r"), f.debounced("a", "m/2", "r"), f.delivery("a", "m/1")
	wantLanes(t, f.enqueue(t, all, d1, d2, d3, d4), "a:m/1=4")
	wantStates(t, db, Filter{}, "1:superseded 2:waiting 3:waiting 4:pending")
	// Another rule, and another endpoint, have windows of their own.
	d5, d6, d7 := f.debounced("a", "m/1", "other"), f.debounced("b", "m/1", "r"), f.debounced("a", "m/1", "r")
	wantLanes(t, f.enqueue(t, all, d5, d6, d7), "")
	wantStates(t, db, Filter{}, "1:superseded 2:superseded 3:waiting 4:pending 5:waiting 6:waiting 7:waiting")
	wantStates(t, db, Filter{State: Superseded}, "1:superseded 2:superseded")
	wantStates(t, db, Filter{State: Waiting, Endpoint: "a"}, "3:waiting 5:waiting 7:waiting")
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 4}, false)
	exactSizes(t, db)
	if got := releaseDue(t, p); len(got) != 0 {
		t.Fatalf("released for %q at once", got)
	}

	pass(t, db, 50*time.Minute)
	d8 := f.debounced("a", "m/1", "r") // begins the wait anew
	f.enqueue(t, all, d8)
	pass(t, db, 20*time.Minute)
	releaseDue(t, p)
	wantStates(t, db, Filter{State: Waiting}, "8:waiting")
	wantStates(t, db, Filter{State: Pending}, "3:pending 4:pending 5:pending 6:pending")
	pass(t, db, time.Hour)
	if got := releaseDue(t, p); !slices.Equal(got, []string{"a"}) {
		t.Fatalf("released for %q", got)
	}
	// It comes into the lane that is in hand, and goes out behind what was there.
	wantLanes(t, finish(t, p, 5, outcome(d4, delivery.Delivered)), "a:m/1=5,8")
	wantLanes(t, claim(t, p, "a", 10, 5), "a:m/2=3")
	wantLanes(t, claim(t, p, "b", 10, 5), "b:m/1=6")
	finish(t, p, 5, notDone(outcome(d5, delivery.Delivered)), outcome(d8, delivery.Delivered), outcome(d3, delivery.Delivered), outcome(d6, delivery.Delivered))
	wantStates(t, db, Filter{}, "1:superseded 2:superseded 3:delivered 4:delivered 5:delivered 6:delivered 7:superseded 8:delivered")
	if got, want := gaps(t, db), "a:1/1-2 superseded, a:1/6-6 superseded"; got != want {
		t.Errorf("gaps: got %q, want %q", got, want)
	}
	proveComplete(t, db)
	consistent(t, db)
}

// A record that never rests is sent all the same, debounce_max after the first event of the window.
func TestDebounceEndsAtItsMax(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var windows []int
	for n := 1; n <= 20; n++ {
		f.enqueue(t, none, f.debounced("a", "m/1", "r"))
		pass(t, db, 45*time.Minute)
		if len(releaseDue(t, p)) > 0 {
			windows = append(windows, n)
		}
	}
	if want := []int{8, 16}; !slices.Equal(windows, want) { // 8 * 45 minutes are six hours
		t.Errorf("sent after events %v, want %v", windows, want)
	}
	wantLanes(t, claim(t, p, "a", 10, 5), "a:m/1=8,16")
	proveComplete(t, db)
}

// What comes back into an endpoint's only lane lies before what is in hand there, and is not forgotten for it.
func TestWaitingComesBackIntoTheOnlyLane(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3 := f.debounced("a", "", "r"), f.delivery("a", ""), f.delivery("a", "")
	d1.Record = "7"
	f.enqueue(t, all, d1, d2)
	f.enqueue(t, all, d3)
	pass(t, db, 2*time.Hour)
	releaseDue(t, p)
	wantLanes(t, finish(t, p, 1, outcome(d2, delivery.Delivered)), "a:=1+")
	if n := rows(t, db, "lane WHERE back IS NOT NULL"); n != 0 {
		t.Error("it is still noted that something came back")
	}
	wantLanes(t, finish(t, p, 1, outcome(d1, delivery.Delivered)), "a:=3")
	wantLanes(t, finish(t, p, 1, outcome(d3, delivery.Delivered)), "")
	consistent(t, db)
}

// The log's day of what waits stays, however old it is.
func TestWaitingKeepsItsDay(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.debounced("a", "m/1", "r"))
	exec(t, db, `CREATE TABLE {schema}.delivery_20260101 (LIKE {schema}.delivery INCLUDING ALL)`)
	exec(t, db, `ALTER TABLE {schema}.delivery ATTACH PARTITION {schema}.delivery_20260101 FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')`)
	exec(t, db, `UPDATE {schema}.delivery SET day = '2026-01-01'`)
	exec(t, db, `UPDATE {schema}.waiting SET day = '2026-01-01'`)
	if dropped, _, err := db.DropPartitions(t.Context()); err != nil || len(dropped) != 0 {
		t.Fatal(dropped, err)
	}
	pass(t, db, 2*time.Hour)
	releaseDue(t, p)
	wantLanes(t, claim(t, p, "a", 10, 5), "a:m/1=1")
}

// Its age begins when it is queued: queue.max_age does not count the time that it was meant to wait.
func TestAgeOfWhatWaited(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.debounced("a", "m/1", "r")
	f.enqueue(t, all, d)
	before := time.Now().Add(-time.Second)
	exec(t, db, `UPDATE {schema}.delivery SET enqueued_at = enqueued_at - interval '3 hours'`)
	pass(t, db, 3*time.Hour)
	releaseDue(t, p)
	if got := claim(t, p, "a", 1, 1)[0].Deliveries[0].Enqueued; got.Before(before) {
		t.Errorf("queued at %s, that is before %s", got, before)
	}
}

// What waits takes room; what takes its place does not, so at the limit it is the last of a record that is kept.
func TestWaitingAtTheLimit(t *testing.T) {
	for _, drop := range []bool{false, true} {
		db := limited(t, QueueLimit{Limit: Limit{Rows: 4}, DropOldest: drop}, Limit{})
		f := newFeed(t, register(t, db))
		d1, d2, d3 := f.debounced("a", "m/1", "r"), f.debounced("a", "m/2", "r"), f.delivery("a", "m/3")
		f.enqueue(t, none, d1, d2, d3)
		// Two of a new record, one each of a record that waits and of two that don't, and again the new record.
		d4, d5, d6, d7, d8, d9 := f.debounced("a", "m/4", "r"), f.debounced("a", "m/4", "r"), f.debounced("a", "m/2", "r"), f.debounced("a", "m/5", "r"), f.delivery("a", "m/6"), f.debounced("a", "m/4", "r")
		f.enqueue(t, none, d4, d5, d6, d7, d8, d9)
		if drop {
			wantStates(t, db, Filter{State: Waiting}, "1:waiting 6:waiting 7:waiting 9:waiting") // the third made room for one
			proveComplete(t, db)
			consistent(t, db)
			continue
		}
		wantStates(t, db, Filter{}, "1:waiting 2:superseded 3:pending 4:superseded 5:superseded 6:waiting 9:waiting")
		wantUsage(t, db, Usage{Endpoint: "a", Pending: 4, Parked: 2}, true)
		d10 := f.debounced("a", "m/1", "r") // also while the endpoint is parked
		f.enqueue(t, none, d10)
		wantStates(t, db, Filter{State: Waiting}, "6:waiting 9:waiting 10:waiting")
		wantUsage(t, db, Usage{Endpoint: "a", Pending: 4, Parked: 2}, true)
		proveComplete(t, db)
		consistent(t, db)
	}
}

// A person may send what waits now, or give it up.
func TestRetryAndDiscardOfWhatWaits(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3, d4 := f.debounced("a", "m/1", "r"), f.debounced("a", "m/2", "r"), f.debounced("b", "m/1", "r"), f.delivery("a", "m/3")
	f.enqueue(t, none, d1, d2, d3, d4)
	if n, err := db.CountWaiting(t.Context(), Filter{Endpoint: "a"}, 10); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := db.CountWaiting(t.Context(), Filter{Class: delivery.ClassTimeout}, 10); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := db.RetryWaiting(t.Context(), Filter{IDs: []string{d1.ID, d4.ID}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := db.DiscardWaiting(t.Context(), Filter{Rule: "r", Limit: 1, Record: "2"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantStates(t, db, Filter{}, "1:pending 2:discarded 3:waiting 4:pending")
	if got, want := gaps(t, db), "a:1/2-2 discarded"; got != want {
		t.Errorf("gaps: got %q, want %q", got, want)
	}
	wantLanes(t, claim(t, p, "a", 10, 5), "a:m/3=4 a:m/1=1")
	proveComplete(t, db)
	consistent(t, db)
}

// A rule that waits no more, as its configuration was changed, overtakes nothing of what it made before.
func TestReleaseExcept(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2 := f.debounced("a", "m/1", "was"), f.debounced("a", "m/1", "is")
	f.enqueue(t, none, d1, d2)
	if n, err := p.ReleaseExcept(t.Context(), []string{"is"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f.enqueue(t, none, f.delivery("a", "m/1"))
	wantLanes(t, claim(t, p, "a", 10, 5), "a:m/1=1,3")
	if n, err := p.ReleaseExcept(t.Context(), nil); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	consistent(t, db)
}

// Run releases by itself, soon after the time, and says so.
func TestRunReleases(t *testing.T) {
	t.Parallel()
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	told := make(chan []string, 1)
	p.OnDue(func(endpoints []string) { told <- endpoints })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	for _, wait := range []time.Duration{300 * time.Millisecond, 10 * time.Millisecond} {
		d := f.debounced("a", "m/1", "r")
		d.Wait = wait
		f.enqueue(t, all, d)
		select {
		case got := <-told:
			if !slices.Equal(got, []string{"a"}) {
				t.Fatalf("told %q", got)
			}
		case <-time.After(releasePoll - 500*time.Millisecond):
			t.Fatal("not before it looks by itself")
		}
	}
	if got := rows(t, db, "queue"); got != 2 {
		t.Errorf("%d in the queue", got)
	}
}

// Several processes release while batches come and lanes are finished: nothing waits in a circle, is lost or is sent twice.
func TestReleaseConcurrently(t *testing.T) {
	t.Parallel()
	db := openState(t, nil)
	p, q := register(t, db), register(t, db)
	f := newFeed(t, p)
	const total = 400
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sent := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	done := make(chan struct{})
	for _, p := range []*Process{p, q} {
		wg.Go(func() { // releases
			for ctx.Err() == nil {
				if _, _, err := p.releaseDue(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() { // sends
			for ctx.Err() == nil {
				lanes, err := p.Claim(ctx, "a", 8, 2)
				for err == nil && len(lanes) > 0 {
					var outcomes []delivery.Outcome
					mu.Lock()
					for _, l := range lanes {
						for i, d := range l.Deliveries {
							sent[d.ID]++
							o := outcome(d, delivery.Delivered)
							o.LaneDone = i == len(l.Deliveries)-1
							outcomes = append(outcomes, o)
						}
					}
					mu.Unlock()
					lanes, err = p.Finish(ctx, outcomes, 2)
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				select {
				case <-done:
					if rows(t, db, "waiting")+rows(t, db, "queue") == 0 {
						return
					}
				default:
				}
			}
		})
	}
	slowest := 4 * time.Millisecond // of the batches, since what waits for less is sent before another of its key comes
	for n := range total / 4 {
		var batch []*delivery.Delivery
		began := time.Now()
		for i := range 4 {
			lane := fmt.Sprintf("m/%d", (n*7+i*3)%11)
			d := f.debounced("a", lane, fmt.Sprint("r", i%2))
			if d.Wait = time.Duration(i) * 4 * slowest; i == 0 {
				d.Rule = "prompt"
			}
			batch = append(batch, d)
		}
		f.enqueue(t, none, batch...)
		slowest = max(slowest, min(time.Since(began), time.Second))
	}
	close(done)
	deadline := time.Now().Add(30 * time.Second)
	for rows(t, db, "waiting")+rows(t, db, "queue") > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	superseded := rows(t, db, "gap, generate_series(first, last) WHERE reason = 'superseded'")
	for id, n := range sent {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	if len(sent)+superseded != total || superseded == 0 {
		t.Errorf("%d sent and %d superseded of %d", len(sent), superseded, total)
	}
	proveComplete(t, db)
	consistent(t, db)
}

// A parked event of a rule in test mode that is evaluated again is logged like any other of that rule; one of a rule with debounce waits no more.
func TestRetryParkedAside(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	to := delivery.Position{LSN: f.at.LSN + 16}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Parked: []*delivery.Parked{{ID: "evt", Rule: "r", Error: "no"}}}, nil); err != nil {
		t.Fatal(err)
	}
	d1, d2 := f.delivery("a", "m/1"), f.debounced("a", "m/2", "r")
	d1.Test = true
	if taken, failed, err := db.RetryParked(t.Context(), Filter{}, evaluateTo([]*delivery.Delivery{d1, d2})); taken != 1 || failed != 0 || err != nil {
		t.Fatal(taken, failed, err)
	}
	wantStates(t, db, Filter{}, "1:test 2:pending")
	wantLanes(t, claim(t, p, "a", 10, 5), "a:m/2=2")
	if got, want := gaps(t, db), "a:1/1-1 test"; got != want {
		t.Errorf("gaps: got %q, want %q", got, want)
	}
	proveComplete(t, db)
	consistent(t, db)
}

// A Finish that is repeated, as its commit was in doubt, hands out what came back into the lane: the first one has cleared its note of it.
func TestFinishRepeatedFindsWhatCameBack(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.debounced("a", "m/1", "r"))
	lanes := f.enqueue(t, all, f.delivery("a", "m/1"))
	if n, err := db.RetryWaiting(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	o := outcome(lanes[0].Deliveries[0], delivery.Delivered)
	wantLanes(t, finish(t, p, 1, o), "a:m/1=1") // committed; say that the answer was lost
	p.repeats.Store(true)
	wantLanes(t, finish(t, p, 1, o), "a:m/1=1")
	wantIntact(t, db)
}

// What takes the place of a delivery that waits needs no room: nothing is dropped for it.
func TestWaitingTakesItsPlaceAndDropsNothing(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 10}, DropOldest: true}, Limit{})
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.many("a", 7)...)
	f.enqueue(t, none, f.debounced("a", "m/x", "r"))
	var again []*delivery.Delivery
	for range 6 {
		again = append(again, f.debounced("a", "m/x", "r"))
	}
	f.enqueue(t, none, again...)
	if u := usage(t, db, "a"); u.Dropped != 0 || u.Pending != 8 {
		t.Errorf("%d dropped and %d pending, want 0 and 8", u.Dropped, u.Pending)
	}
	// What is new needs room for one, however often it comes.
	for i := range again {
		again[i] = f.debounced("a", "m/y", "r")
	}
	f.enqueue(t, none, again...)
	if u := usage(t, db, "a"); u.Dropped != 0 || u.Pending != 9 {
		t.Errorf("%d dropped and %d pending, want 0 and 9", u.Dropped, u.Pending)
	}
}

// A test delivery that was replayed, died and was discarded has a gap within the gap of its run: the others of the run stay what they are.
func TestReplayOfTestsAroundADiscardedOne(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var list []*delivery.Delivery
	for i := range 5 {
		d := f.delivery("a", fmt.Sprint("m/", i))
		d.Test = true
		list = append(list, d)
	}
	f.enqueue(t, all, list...)
	if n, _, err := db.Replay(t.Context(), Filter{State: Test, IDs: []string{list[2].ID}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for _, l := range claim(t, p, "a", 10, 10) {
		finish(t, p, 0, outcome(l.Deliveries[0], delivery.Dead))
	}
	if n, err := db.DiscardDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantStates(t, db, Filter{}, "1:test 2:test 3:again 4:test 5:test 3:discarded")
	wantIntact(t, db)
	if n, _, err := db.Replay(t.Context(), Filter{State: Test}); n != 4 || err != nil {
		t.Errorf("%d of 4 test deliveries were replayed, %v", n, err)
	}
}
