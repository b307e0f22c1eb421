package state

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"walhook/delivery"
)

// listFor makes n small deliveries that are only judged.
func listFor(endpoint string, n int) (out []*delivery.Delivery) {
	for range n {
		out = append(out, &delivery.Delivery{Endpoint: endpoint, Body: []byte("x")})
	}
	return out
}

// However many receivers are away, one that works has its reserve, and takes new events again once it has drained; the total holds.
func TestCapReserve(t *testing.T) {
	limits := Limits{Total: Limit{Rows: 10_000}, Endpoints: map[string]QueueLimit{"away1": {}, "away2": {}, "works": {}}}
	s := newSizes(limits, nil)
	s.judge(listFor("away1", 20_000))
	s.judge(listFor("away2", 20_000))
	if a := s.judge(listFor("works", 300)); len(a.parked) > 0 {
		t.Errorf("%d events of a working receiver are parked", len(a.parked))
	}
	if s.judge(listFor("works", 20_000)); s.total.Pending > 10_000 {
		t.Errorf("%d wait in all", s.total.Pending)
	}
	s = newSizes(limits, []Usage{{Endpoint: "away1", Pending: 9000, ParkedSince: time.Now()}, {Endpoint: "works", ParkedSince: time.Now()}})
	if a := s.judge(listFor("works", 1)); len(a.parked) > 0 || len(a.resume) != 1 {
		t.Errorf("a drained queue stays parked: %d parked, %v resume", len(a.parked), a.resume)
	}
}

// A reserve of one row stays a limit when only a part of it counts.
func TestCapReserveOfMany(t *testing.T) {
	limits := Limits{Total: Limit{Rows: 1000}, Endpoints: map[string]QueueLimit{"a": {}}}
	for i := range 99 {
		limits.Endpoints[fmt.Sprint("e", i)] = QueueLimit{}
	}
	s := newSizes(limits, []Usage{{Endpoint: "away", Pending: 900}, {Endpoint: "a", Pending: 5}})
	if s.room("a", 1) {
		t.Error("there is room beyond the reserve")
	}
}

// An endpoint drops no more than it keeps, and nothing for what its reserve has room for.
func TestCapExcess(t *testing.T) {
	limits := Limits{Total: Limit{Rows: 1000}, Endpoints: map[string]QueueLimit{"away": {}, "w": {DropOldest: true}}}
	for pending, want := range map[int64]int64{0: 0, 10: 0, 49: 0, 50: 1, 60: 11} {
		s := newSizes(limits, []Usage{{Endpoint: "away", Pending: 950}, {Endpoint: "w", Pending: pending}})
		if e := s.excess("w", 1, 1); e.Rows != want || e.Bytes != 0 {
			t.Errorf("of %d it drops %+v", pending, e)
		}
	}
	if e := newSizes(limits, []Usage{{Endpoint: "away", Pending: 950}}).excess("w", 500, 1); e != (Limit{}) {
		t.Errorf("an empty queue drops %+v", e)
	}
}

// An endpoint that drops the oldest and once could not goes on dropping as soon as it can; until it looks again it does not walk along the log anew.
func TestCapDropsAgain(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 1000}, DropOldest: true}, Limit{})
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.many("a", 1000)...)
	f.enqueue(t, all, f.many("a", 10)...) // nothing can be dropped
	c, ok := p.drops["a"]
	if !ok || !c.ended || c.after == 0 || c.passed == 0 {
		t.Fatalf("the cursor is %+v", c)
	}
	exec(t, db, "UPDATE {schema}.lane SET owner = NULL") // as a process that ends does
	c.renewed = c.renewed.Add(-2 * passedAgain)
	p.drops["a"] = c
	f.enqueue(t, none, f.many("a", 100)...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 1000, Parked: 10, Dropped: 100}, false)
	proveComplete(t, db)
}

// An endpoint that resumes and stops in one batch ends parked.
func TestCapResumesAndStops(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 1000}}, Limit{})
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.many("a", 1001)...)
	deliver(t, p, "a", 300, delivery.Delivered)
	f.enqueue(t, none, f.many("a", 400)...)
	wantUsage(t, db, Usage{Endpoint: "a", Pending: 1000, Parked: 101}, true)
}

// What is sent again has room in the reserve; where it ends, the error tells the total from the endpoint's own limit.
func TestCapReserveOfRetries(t *testing.T) {
	limits := Limits{Total: Limit{Rows: 1000}, Endpoints: map[string]QueueLimit{"away": {}, "w": {}, "own": {Limit: Limit{Rows: 10}}}}
	s := newSizes(limits, []Usage{{Endpoint: "away", Pending: 900}, {Endpoint: "w", Pending: 20}, {Endpoint: "own", Pending: 8}})
	if !s.room("w", 1) {
		t.Error("no room in the reserve")
	}
	s.at("w").Pending = 30
	if s.room("w", 1) || !s.full("w", 1).Total || s.room("own", 1) || s.full("own", 1).Total {
		t.Error("the wrong limit is blamed")
	}
}

func TestCapOfRetriedParked(t *testing.T) {
	db := limited(t, QueueLimit{Limit: Limit{Rows: 1000}}, Limit{})
	f := newFeed(t, register(t, db))
	f.enqueue(t, none, f.many("a", 798)...)
	exec(t, db, `INSERT INTO {schema}.parked (id, rule, model, record, commit_lsn, xid, commit_at, error, change, parked_at)
		SELECT 'p' || n, 'r', 'm', n::text, '0/900', 7, now(), 'no', '{}', now() FROM generate_series(1, 5) n`)
	taken, _, err := db.RetryParked(t.Context(), Filter{}, func(_ context.Context, list []*delivery.Parked) (Evaluated, error) {
		return Evaluated{Deliveries: f.many("a", len(list))}, nil
	})
	var full *FullError
	if !errors.As(err, &full) || full.Endpoint != "a" || full.Total || taken != 2 || rows(t, db, "parked") != 3 {
		t.Errorf("taken %d, %d left: %v", taken, rows(t, db, "parked"), err)
	}
	exactSizes(t, db)
}
