package state

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery"
)

// limited opens a state with limits on endpoint "a"; "b" and "c" have none of their own.
func limited(t testing.TB, a QueueLimit, total Limit) *DB {
	return openState(t, func(c *Config) {
		c.Limits = Limits{Total: total, Endpoints: map[string]QueueLimit{"a": a, "b": {}, "c": {}}}
	})
}

// many makes n deliveries in lanes of their own.
func (f *feed) many(endpoint string, n int) []*delivery.Delivery {
	list := make([]*delivery.Delivery, n)
	for i := range list {
		list[i] = f.delivery(endpoint, fmt.Sprintf("m/%d", f.next))
	}
	return list
}

func usage(t testing.TB, db *DB, endpoint string) Usage {
	t.Helper()
	list, err := db.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		if u.Endpoint == endpoint {
			return u
		}
	}
	return Usage{Endpoint: endpoint}
}

// wantUsage compares without the time of parking.
func wantUsage(t testing.TB, db *DB, want Usage, parked bool) {
	t.Helper()
	got := usage(t, db, want.Endpoint)
	if got.ParkedSince.IsZero() == parked {
		t.Errorf("parked since %v", got.ParkedSince)
	}
	got.ParkedSince, got.PendingBytes, got.DeadBytes = time.Time{}, 0, 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
}

// exactSizes checks that the sizes are what the tables hold.
func exactSizes(t testing.TB, db *DB) {
	t.Helper()
	if wrong, err := db.Recount(t.Context()); wrong != 0 || err != nil {
		t.Errorf("sizes of %d endpoints were wrong, %v", wrong, err)
	}
}

// deliver claims and finishes up to n lanes of an endpoint.
func deliver(t testing.TB, p *Process, endpoint string, n int, result delivery.Result) (done int) {
	t.Helper()
	var out []delivery.Outcome
	for _, l := range claim(t, p, endpoint, n, 1) {
		out = append(out, outcome(l.Deliveries[0], result))
	}
	if len(out) > 0 {
		finish(t, p, 0, out...)
	}
	return len(out)
}

// F5, overflow = "park": over the limit nothing is enqueued for the endpoint, the others go on; from 80 % on it takes new events again. What did not come is told
// by the gap, and every number is a delivery's or in it.
func TestCapParks(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 2000}}, Limit{})
	p := register(t, db)
	f := newFeed(t, p)
	var last delivery.Delivery
	for range 5 {
		batch := append(f.many("a", 450), f.many("b", 50)...)
		f.enqueue(t, none, batch...)
		last = *batch[449]
	}
	if last.Seq != 0 || last.Sequence != 2250 {
		t.Errorf("the last one's seq is %d, its number %d", last.Seq, last.Sequence)
	}
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 2000, Parked: 250}, true)
	wantUsage(t, db, Usage{Endpoint: "b", Pending: 250}, false)

	// Another process that takes over knows that it is parked.
	p = register(t, db)
	f.p = newFeed(t, p).p
	f.enqueue(t, none, f.many("a", 100)...)
	if n := deliver(t, p, "a", 399, delivery.Delivered); n != 399 {
		t.Fatalf("delivered %d", n)
	}
	f.enqueue(t, none, f.many("a", 100)...) // 1601 wait: not yet
	if got := gaps(t, db); got != "a:1/2001-2450 parked" {
		t.Errorf("gaps: %s", got)
	}
	deliver(t, p, "a", 51, delivery.Delivered)
	f.enqueue(t, none, f.many("a", 100)...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 1650, Parked: 450}, false)
	f.enqueue(t, none, f.many("a", 400)...) // 350 fit
	if got := gaps(t, db); got != "a:1/2001-2450 parked, a:1/2901-2950 parked" {
		t.Errorf("gaps: %s", got)
	}
	var from, to, at string
	if err := db.pool.QueryRow(t.Context(), db.sql(`SELECT first_lsn::text, last_lsn::text, first_at::text FROM {schema}.gap WHERE first = 2001`)).Scan(&from, &to, &at); err != nil || from >= to || !strings.HasPrefix(at, "2026-05-01 12:00:00") {
		t.Errorf("the gap is from %s to %s, %s: %v", from, to, at, err)
	}
	consistent(t, db)
	proveComplete(t, db)
}

// F5, overflow = "drop-oldest": the newest are kept, in their lanes' order, and what is in somebody's hands is left alone.
func TestCapDropsOldest(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 2000}, DropOldest: true}, Limit{})
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.many("a", 100)...) // in memory
	first := f.many("a", 1000)
	for i, d := range first {
		d.Lane = fmt.Sprintf("n/%d", i%10) // of each lane the older half will go
	}
	f.enqueue(t, none, append(first, f.many("b", 500)...)...)
	for range 3 {
		f.enqueue(t, none, f.many("a", 466)...)
	}
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 2000, Dropped: 498}, false)
	wantUsage(t, db, Usage{Endpoint: "b", Pending: 500}, false)
	if got := gaps(t, db); got != "a:1/101-598 dropped" {
		t.Errorf("gaps: %s", got)
	}
	wantNumbers(t, "a:1/600", firstOf(t, db, p, "n/9")) // and in hand from now on
	for range 4 {
		f.enqueue(t, none, f.many("a", 1000)...)
	}
	if got, want := gaps(t, db), "a:1/101-599 dropped, a:1/601-609 dropped, a:1/611-619 dropped, "; !strings.HasPrefix(got, want) {
		t.Errorf("gaps: %s", got)
	}
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 2000, Dropped: 4498}, false)
	consistent(t, db)
	proveComplete(t, db)
}

// firstOf claims until a lane comes, and returns its first delivery.
func firstOf(t testing.TB, db *DB, p *Process, key string) *delivery.Delivery {
	t.Helper()
	exec(t, db, "UPDATE {schema}.lane SET due = now() - interval '1 hour' WHERE key = $1", key)
	lanes := claim(t, p, "a", 1, 1)
	if len(lanes) != 1 || lanes[0].Key != key {
		t.Fatalf("claimed %s", names(lanes))
	}
	return lanes[0].Deliveries[0]
}

// When nothing can be dropped, as all is in a process's memory, new events are parked.
func TestCapDropsNothingInHand(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 1000}, DropOldest: true}, Limit{})
	f := newFeed(t, register(t, db))
	f.enqueue(t, all, f.many("a", 1000)...)
	f.enqueue(t, all, f.many("a", 10)...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 1000, Parked: 10}, true)
	proveComplete(t, db)
}

// Limits in bytes, in one endpoint and in all: a receiver that is away does not take the place of one that works.
func TestCapOfBytesAndTotal(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Bytes: 60_000}}, Limit{Bytes: 100_000})
	f := newFeed(t, register(t, db))
	body := func(list []*delivery.Delivery, n int) []*delivery.Delivery {
		for _, d := range list {
			d.Body = bytes.Repeat([]byte("x"), n)
		}
		return list
	}
	f.enqueue(t, none, body(f.many("a", 70), 1000)...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 60, Parked: 10}, true)
	f.enqueue(t, none, body(f.many("b", 60), 1000)...) // up to 90 % of the total
	wantUsage(t, db, Usage{Endpoint: "b", Pending: 30, Parked: 30}, true)
	f.enqueue(t, none, body(f.many("c", 60), 1000)...) // its reserve: a third of the last tenth
	wantUsage(t, db, Usage{Endpoint: "c", Pending: 3, Parked: 57}, true)
	exactSizes(t, db)
	proveComplete(t, db)
}

// A delivery that is larger than the limit is enqueued when it would be alone: it would never fit otherwise.
func TestCapTakesOneLargeDelivery(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Bytes: 1000}}, Limit{})
	f := newFeed(t, register(t, db))
	large := f.many("a", 2)
	large[0].Body = bytes.Repeat([]byte("x"), 5000)
	f.enqueue(t, none, large...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 1, Parked: 1}, true)
}

// Sizes follow everything that ends a delivery, or begins it again.
func TestSizesFollow(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	check := func(what string, pending, dead int64) {
		t.Helper()
		if u := usage(t, db, "a"); u.Pending != pending || u.Dead != dead || (u.PendingBytes == 0) != (pending == 0) {
			t.Errorf("%s: %+v", what, u)
		}
		exactSizes(t, db)
	}
	ds := f.many("a", 6)
	f.enqueue(t, all, ds...)
	check("enqueued", 6, 0)
	hold := outcome(ds[4], delivery.Dead)
	hold.Hold = true
	outcomes := []delivery.Outcome{outcome(ds[0], delivery.Delivered), outcome(ds[1], delivery.Retry), outcome(ds[2], delivery.Dead), outcome(ds[3], delivery.Dead), hold}
	finish(t, p, 1, outcomes...)
	check("finished", 2, 3)
	finish(t, p, 1, outcomes...)
	check("finished twice", 2, 3)
	if err := db.fold(t.Context()); err != nil || rows(t, db, "tally") != 0 {
		t.Errorf("fold: %v, %d left", err, rows(t, db, "tally"))
	}
	check("summed up", 2, 3)
	if _, err := db.DiscardDead(t.Context(), Filter{IDs: []string{ds[2].ID}}); err != nil {
		t.Fatal(err)
	}
	check("discarded", 2, 2)
	if _, err := db.RetryDead(t.Context(), Filter{}); err != nil {
		t.Fatal(err)
	}
	check("sent again", 4, 0)
	exec(t, db, "DELETE FROM {schema}.delivery WHERE id = $1", ds[3].ID)
	claim(t, p, "a", 10, 10)
	check("lost", 3, 1)
	exec(t, db, "DELETE FROM {schema}.queue WHERE seq = $1", ds[5].Seq)
	if wrong, err := db.Recount(t.Context()); wrong != 1 || err != nil {
		t.Errorf("corrected %d endpoints, %v", wrong, err)
	}
	check("by hand", 2, 1)
}

// Dead letters have the same limit, counted apart: the oldest go first, except those that hold their lanes.
func TestCapOfDeadLetters(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 1000}}, Limit{})
	p := register(t, db)
	f := newFeed(t, p)
	ds := f.many("a", 900)
	f.enqueue(t, all, ds...)
	var out []delivery.Outcome
	for i, d := range ds {
		o := outcome(d, delivery.Dead)
		o.Hold = i < 10
		out = append(out, o)
	}
	finish(t, p, 0, out...)
	ds = f.many("a", 300)
	f.enqueue(t, all, ds...)
	out = out[:0]
	for _, d := range ds {
		out = append(out, outcome(d, delivery.Dead))
	}
	finish(t, p, 0, out...)
	var wg sync.WaitGroup
	for range 4 { // several processes at once drop no more than one
		wg.Go(func() {
			if err := p.lookAtSizes(t.Context(), map[string]watched{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantUsage(t, db, Usage{Endpoint: "a", Dead: 1000, Dropped: 200}, false)
	if got := gaps(t, db); got != "a:1/11-210 dropped" {
		t.Errorf("gaps: %s", got)
	}
	consistent(t, db)
	proveComplete(t, db)
}

// An alarm is raised once for each crossing, and status tells all the while.
func TestQueueAlarms(t *testing.T) {
	var heard []string
	db := openState(t, func(c *Config) {
		c.Limits = Limits{Total: Limit{Rows: 4000}, Endpoints: map[string]QueueLimit{"a": {Limit: Limit{Rows: 1000}}}}
		c.Trace.Queue = func(a QueueAlarm) {
			heard = append(heard, fmt.Sprintf("%q %d at %.2f", a.Endpoint, a.Level, a.Ratio))
		}
	})
	p := register(t, db)
	f := newFeed(t, p)
	last := map[string]watched{}
	look := func(want ...string) {
		t.Helper()
		heard = nil
		for range 2 {
			if err := p.lookAtSizes(t.Context(), last); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(heard, want) {
			t.Errorf("heard %q, want %q", heard, want)
		}
	}
	look()
	f.enqueue(t, none, f.many("a", 790)...)
	look()
	f.enqueue(t, none, f.many("a", 20)...)
	look(`"a" 1 at 0.81`)
	f.enqueue(t, none, f.many("a", 300)...)
	look(`"a" 2 at 1.00`)
	deliver(t, p, "a", 50, delivery.Delivered)
	look()
	deliver(t, p, "a", 200, delivery.Delivered) // 750: goes on by itself
	look(`"a" 1 at 0.75`)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 750, Parked: 110}, false)
	deliver(t, p, "a", 100, delivery.Delivered)
	look(`"a" 0 at 0.65`)
	f.enqueue(t, none, f.many("x", 3000)...)
	look(`"" 1 at 0.91`)
}

// The alert endpoint is told once when a queue becomes full and once when it has drained, whichever process sees it, and not of its own queue.
func TestQueueNotices(t *testing.T) {
	db := openState(t, func(c *Config) {
		c.Alerts = Alerts{Endpoint: "ops"}
		c.Limits = Limits{Endpoints: map[string]QueueLimit{"a": {Limit: Limit{Rows: 100}}, "b": {Limit: Limit{Rows: 100}, DropOldest: true}, "ops": {Limit: Limit{Rows: 100}}}}
	})
	p := register(t, db)
	processes := []*Process{p, register(t, db)}
	lasts := []map[string]watched{{}, {}}
	f := newFeed(t, p)
	var want []string
	look := func(more ...string) {
		t.Helper()
		want = append(want, more...)
		for range 2 {
			for i, p := range processes {
				if err := p.lookAtSizes(t.Context(), lasts[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		lasts[1] = map[string]watched{} // it is started again
		if diff := cmp.Diff(want, whatIsTold(t, db)); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	}
	look()
	f.enqueue(t, none, append(f.many("a", 99), f.many("ops", 101)...)...)
	look()
	f.enqueue(t, none, f.many("a", 10)...)
	remedy := func(name string) string {
		return "mend the receiver, or give up what waits: walhook deliveries discard --endpoint " + name + " --pending --retrying; what was not queued: walhook deliveries gaps --endpoint " + name
	}
	look("walhook.endpoint.queue_full a: the queue has reached queue.max_rows (100): new events are not queued until it has drained to 80 % (100 pending), number 102 in walhook.endpoint/a; " + remedy("a"))
	look()
	deliver(t, p, "a", 90, delivery.Delivered)
	look("walhook.endpoint.queue_drained a:  (10 pending), number 103 in walhook.endpoint/a; ")
	f.enqueue(t, none, f.many("b", 90)...)
	look()
	f.enqueue(t, none, f.many("b", 90)...)
	look("walhook.endpoint.queue_full b: the queue has reached queue.max_rows (100): the oldest deliveries are dropped (100 pending), number 104 in walhook.endpoint/b; " + remedy("b"))
	consistent(t, db)
}

// The judgement on a batch is pure: same sizes, same answer, and never more than the limit.
func TestJudge(t *testing.T) {
	limits := Limits{Endpoints: map[string]QueueLimit{"a": {Limit: Limit{Rows: 10, Bytes: 100}}}}
	list := func(sizes ...int) (out []*delivery.Delivery) {
		for _, n := range sizes {
			out = append(out, &delivery.Delivery{Endpoint: "a", Body: make([]byte, n)})
		}
		return out
	}
	for name, tc := range map[string]struct {
		usage          Usage
		batch          []*delivery.Delivery
		admitted       int
		stops, resumes bool
	}{
		"empty":                         {Usage{}, list(1, 1), 2, false, false},
		"up to the limit":               {Usage{Pending: 9}, list(1), 1, false, false},
		"over in rows":                  {Usage{Pending: 9}, list(1, 1, 1), 1, true, false},
		"over in bytes":                 {Usage{Pending: 1, PendingBytes: 50}, list(40, 40, 1), 1, true, false}, // the small one waits too: order
		"parked, not drained":           {Usage{Pending: 8, ParkedSince: time.Now()}, list(1), 0, false, false},
		"parked, drained":               {Usage{Pending: 7, ParkedSince: time.Now()}, list(1, 1), 2, false, true},
		"drained, and full again":       {Usage{Pending: 7, ParkedSince: time.Now()}, list(1, 1, 1, 1), 3, true, true},
		"parked, bytes not drained":     {Usage{Pending: 1, PendingBytes: 80, ParkedSince: time.Now()}, list(1), 0, false, false},
		"held by dead letters":          {Usage{Dead: 21}, list(1), 0, true, false},
		"dead letters that can be shed": {Usage{Dead: 20}, list(1), 1, false, false},
	} {
		tc.usage.Endpoint = "a"
		a := newSizes(limits, []Usage{tc.usage}).judge(tc.batch)
		if len(a.admitted) != tc.admitted || len(a.stop) == 1 != tc.stops || len(a.resume) == 1 != tc.resumes || len(a.admitted)+len(a.parked) != len(tc.batch) {
			t.Errorf("%s: %d admitted, %d parked, stop %v, resume %v", name, len(a.admitted), len(a.parked), a.stop, a.resume)
		}
	}
}

// Far from its limits a process asks nobody; what it enqueues itself it counts at once.
func TestEstimate(t *testing.T) {
	limits := Limits{Endpoints: map[string]QueueLimit{"a": {Limit: Limit{Rows: 1000}}}}
	var e estimate
	more := func(n int64) tally { return tally{"a": &Usage{Pending: n}} }
	if !e.near(more(1)) {
		t.Error("nothing is known, and it is not near")
	}
	before := e.mark()
	e.enqueued(more(100)) // before or after the sizes are read: who knows
	e.learn(newSizes(limits, []Usage{{Endpoint: "a", Pending: 400}}), before)
	if e.near(more(100)) {
		t.Error("500 of 1000 is near")
	}
	if !e.near(more(501)) {
		t.Error("a batch over the limit is not near")
	}
	e.enqueued(more(201))
	if !e.near(more(1)) {
		t.Error("701 of 1000 is not near")
	}
}
