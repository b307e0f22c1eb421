package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"walhook/delivery"
	"walhook/status"
)

// zoo makes one delivery of every state; the id says which.
func zoo(t *testing.T, db *DB, p *Process) {
	f := newFeed(t, p)
	make := func(id string) *delivery.Delivery {
		d := f.delivery("a", "m/"+id)
		d.ID, d.Rule = id, "rule-"+id
		f.enqueue(t, all, d)
		return d
	}
	make("pending")
	o := outcome(make("retrying"), delivery.Retry)
	o.Next = time.Now().Add(time.Hour)
	dead := outcome(make("dead"), delivery.Dead)
	held := outcome(make("held"), delivery.Dead)
	held.Hold = true
	finish(t, p, 1, o, dead, held, outcome(make("delivered"), delivery.Delivered), outcome(make("discarded"), delivery.Dead), outcome(make("again"), delivery.Dead))
	if n, err := db.DiscardDead(t.Context(), Filter{IDs: []string{"discarded"}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := db.RetryDead(t.Context(), Filter{Rule: "rule-again", Error: "503 SERVICE"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
}

func TestListDeliveries(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	zoo(t, db, p)
	for state, want := range map[State]string{
		"":        "again:pending again:again discarded:discarded delivered:delivered held:dead dead:dead retrying:retrying pending:pending",
		Pending:   "again:pending pending:pending",
		Retrying:  "retrying:retrying",
		Dead:      "held:dead dead:dead",
		Delivered: "delivered:delivered",
		Discarded: "discarded:discarded",
		Again:     "again:again",
	} {
		list, err := db.ListDeliveries(t.Context(), Filter{State: state})
		var got string
		for i, l := range list {
			if i > 0 {
				got += " "
			}
			got += l.ID + ":" + string(l.State)
		}
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", state, got, err, want)
		}
		// The same in pages.
		var paged string
		f := Filter{State: state, Limit: 1, Endpoint: "a", Model: "sale.order", Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
		for {
			page, err := db.ListDeliveries(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			if paged != "" {
				paged += " "
			}
			paged += page[0].ID + ":" + string(page[0].State)
			f.Before = page[0].Seq
		}
		if paged != want {
			t.Errorf("%q in pages: %q", state, paged)
		}
	}
	if _, err := db.ListDeliveries(t.Context(), Filter{State: "odd"}); err == nil {
		t.Error("an unknown state passes")
	}
	list, _ := db.ListDeliveries(t.Context(), Filter{State: Retrying})
	if l := list[0]; l.Attempts != 1 || l.Status != 503 || l.Reason != "503 Service Unavailable" || time.Until(l.Due) < 50*time.Minute || l.Bytes == 0 || l.Body != nil {
		t.Errorf("retrying: %+v", l)
	}
	again, attempts, err := db.GetDelivery(t.Context(), "again")
	if err != nil || !again.Late || again.State != Pending || len(attempts) != 1 || len(again.Body) == 0 || attempts[0].Result != delivery.Dead {
		t.Errorf("again: %+v %+v %v", again, attempts, err)
	}
	if got := attempts[0].Attempt; got.Total != 3*time.Millisecond || got.RequestHeaders["Webhook-Id"][0] != "again" || string(got.ResponseBody) != "ok" {
		t.Errorf("attempt: %+v", got)
	}
	if _, _, err := db.GetDelivery(t.Context(), "nobody"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
	// A dead letter outlives the log.
	exec(t, db, "DELETE FROM {schema}.delivery")
	if l, _, err := db.GetDelivery(t.Context(), "dead"); err != nil || l.State != Dead || len(l.Body) == 0 {
		t.Errorf("dead letter without log: %+v %v", l, err)
	}
}

func TestStatus(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	zoo(t, db, p)
	exec(t, db, "INSERT INTO {schema}.endpoint (name, disabled_at, disabled_reason) VALUES ('off', now(), 'by hand')")
	f := newFeed(t, p)
	to := delivery.Position{LSN: f.at.LSN + 1}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Parked: []*delivery.Parked{{ID: "p", Rule: "broken", Error: "no field x\x00"}},
		Matched: map[string]int64{"broken": 3}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"counted in memory", "written", "written again"} {
		endpoints, err := db.Endpoints(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []status.EndpointState{
			{Name: "a", Pending: 3, Retrying: 1, HeldLanes: 1, Dead: 2, Delivered: 1, FailedAttempts: 5, DeadTotal: 4, LastError: "503 Service Unavailable", Queue: status.QueueState{Rows: 3, Bytes: 21, DeadBytes: 14},
				OldestPending: time.Date(2026, 5, 1, 12, 0, 0, 123000, time.UTC)},
			{Name: "off", Disabled: true, DisabledReason: "by hand"},
		}
		if diff := cmp.Diff(want, endpoints, cmpopts.IgnoreFields(status.EndpointState{}, "NextAttempt", "LastSuccess", "LastFailure", "DisabledAt")); diff != "" {
			t.Errorf("%s: endpoints (-want +got):\n%s", when, diff)
		}
		if e := endpoints[0]; e.LastSuccess.IsZero() || e.LastFailure.IsZero() || e.NextAttempt.IsZero() || endpoints[1].DisabledAt.IsZero() {
			t.Errorf("%s: times are missing: %+v", when, e)
		}
		rules, err := db.Rules(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantRules := []status.RuleState{{Name: "broken", Matched: 3, Parked: 1, ParkedTotal: 1, LastError: "no field x\uFFFD"}, {Name: "rule", Matched: 7}}
		if diff := cmp.Diff(wantRules, rules, cmpopts.IgnoreFields(status.RuleState{}, "LastMatch", "LastParked")); diff != "" {
			t.Errorf("%s: rules (-want +got):\n%s", when, diff)
		}
		if err := db.FlushStatistics(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pos, err := db.Position(t.Context())
	if err != nil || !pos.Bound || pos.Position != to || pos.Slot != "walhook" || pos.Database != "odoo" || pos.SchemaVersion != newest(t) || pos.Bytes < 100_000 || pos.Processes != 1 || time.Since(pos.UpdatedAt) > time.Minute {
		t.Errorf("position: %+v %v", pos, err)
	}
	empty := openEmpty(t, nil)
	if err := empty.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pos, err := empty.Position(t.Context()); err != nil || pos.Bound || pos.SchemaVersion != newest(t) {
		t.Errorf("unbound: %+v %v", pos, err)
	}
}

// Counts that cannot be written stay, and are written later.
func TestStatisticsSurviveAFailedWrite(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	zoo(t, db, p)
	exec(t, db, "ALTER TABLE {schema}.rule RENAME TO elsewhere")
	if err := db.FlushStatistics(t.Context()); err == nil {
		t.Fatal("written without a table")
	}
	p.db.stats.endpoint("a").delivered++
	exec(t, db, "ALTER TABLE {schema}.elsewhere RENAME TO rule")
	e, err := db.Endpoints(t.Context())
	if err != nil || e[0].Delivered != 2 || e[0].FailedAttempts != 5 {
		t.Errorf("%+v %v", e, err)
	}
	if err := db.FlushStatistics(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "endpoint WHERE delivered = 2 AND failed_attempts = 5 AND last_error = '503 Service Unavailable'"); n != 1 {
		t.Error("the table has other counts")
	}
}

func TestRetryDeadInBulk(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	const n = 2*chunk + 7
	var ds []*delivery.Delivery
	var out []delivery.Outcome
	for i := range n {
		d := f.delivery("a", fmt.Sprintf("m/%d", i%50))
		ds = append(ds, d)
		o := outcome(d, delivery.Dead)
		o.LaneDone = i >= n-50
		out = append(out, o)
	}
	f.enqueue(t, all, ds...)
	finish(t, p, 5, out...)
	if got, err := db.CountDead(t.Context(), Filter{Endpoint: "a"}, n+1); got != n || err != nil {
		t.Fatal(got, err)
	}
	// What is pending by then goes first.
	next := f.delivery("a", "m/3")
	f.enqueue(t, none, next)
	if got, err := db.RetryDead(t.Context(), Filter{Limit: 5}); got != 5 || err != nil {
		t.Fatal(got, err)
	}
	if got, err := db.RetryDead(t.Context(), Filter{Endpoint: "a"}); got != n-5 || err != nil {
		t.Fatal(got, err)
	}
	if got, err := db.RetryDead(t.Context(), Filter{}); got != 0 || err != nil {
		t.Fatal(got, err)
	}
	consistent(t, db)
	if q := rows(t, db, "queue"); q != n+1 {
		t.Errorf("%d queue rows", q)
	}
	for _, l := range claim(t, p, "a", 100, 1000) {
		if !slices.IsSortedFunc(l.Deliveries, func(a, b *delivery.Delivery) int { return int(a.Seq - b.Seq) }) {
			t.Errorf("lane %s is out of order", l.Key)
		}
		if l.Key == "m/3" && l.Deliveries[0].ID != next.ID {
			t.Errorf("lane m/3 begins with %s", l.Deliveries[0].ID)
		}
		// Their own order is kept.
		for i, d := range l.Deliveries[1:] {
			if prev := l.Deliveries[i]; prev != nil && prev.ID != next.ID && prev.XID > d.XID {
				t.Errorf("lane %s: %s before %s", l.Key, prev.ID, d.ID)
			}
		}
	}
}

func TestDiscardFreesHeldLanes(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	alone, first := f.delivery("a", "m/1"), f.delivery("a", "m/2")
	f.enqueue(t, all, alone, first)
	var out []delivery.Outcome
	for _, d := range []*delivery.Delivery{alone, first} {
		o := outcome(d, delivery.Dead)
		o.Hold = true
		out = append(out, o)
	}
	finish(t, p, 1, out...)
	f.enqueue(t, all, f.delivery("a", "m/2"))
	wantLanes(t, claim(t, p, "a", 5, 5), "")
	if n, err := db.DiscardDead(t.Context(), Filter{Endpoint: "a"}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/2=3")
	if n := rows(t, db, "lane"); n != 1 {
		t.Errorf("%d lanes", n)
	}
	if n := rows(t, db, "endpoint WHERE name = 'a' AND discarded = 2"); n != 1 {
		t.Error("discards are not counted")
	}
	consistent(t, db)
}

func TestParked(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var parked []*delivery.Parked
	for i := range 5 {
		parked = append(parked, &delivery.Parked{ID: fmt.Sprintf("p%d", i), Rule: fmt.Sprintf("r%d", i%2), Model: "m", Record: fmt.Sprint(i), CommitLSN: 77, XID: 9,
			CommitAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Error: "division by zero", Change: []byte(`{"x":1}`)})
	}
	to := delivery.Position{LSN: f.at.LSN + 1}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Parked: parked}, nil); err != nil {
		t.Fatal(err)
	}
	list, err := db.ListParked(t.Context(), Filter{Rule: "r0", Error: "ZERO"})
	if err != nil || len(list) != 3 || list[0].ID != "p4" {
		t.Fatalf("%+v %v", list, err)
	}
	if diff := cmp.Diff(*parked[0], list[2].Parked, cmpopts.IgnoreFields(delivery.Parked{}, "ParkedAt")); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if n, err := db.CountParked(t.Context(), Filter{Rule: "r0"}, 10); n != 3 || err != nil {
		t.Errorf("counted %d: %v", n, err)
	}
	// p0 matches now, p2 fails again, p4 matches no more.
	evaluate := func(_ context.Context, events []*delivery.Parked) (r Evaluated, err error) {
		for _, e := range events {
			switch e.ID {
			case "p0":
				d := f.delivery("a", "m/0")
				d.ID = "from-p0"
				r.Deliveries = append(r.Deliveries, d)
			case "p2":
				again := *e
				again.Error = "still"
				r.Parked = append(r.Parked, &again)
			}
		}
		return r, nil
	}
	fail := errors.New("no catalog")
	if _, _, err := db.RetryParked(t.Context(), Filter{}, func(context.Context, []*delivery.Parked) (Evaluated, error) { return Evaluated{}, fail }); !errors.Is(err, fail) {
		t.Errorf("got %v", err)
	}
	taken, failed, err := db.RetryParked(t.Context(), Filter{Rule: "r0"}, evaluate)
	if taken != 3 || failed != 1 || err != nil {
		t.Fatal(taken, failed, err)
	}
	if n := rows(t, db, "parked WHERE error = 'still'") + 10*rows(t, db, "parked"); n != 31 {
		t.Errorf("rows: %d", n)
	}
	lanes := claim(t, p, "a", 5, 5)
	if len(lanes) != 1 || lanes[0].Deliveries[0].ID != "from-p0" || !lanes[0].Deliveries[0].Late || rows(t, db, "delivery WHERE late") != 1 {
		t.Errorf("claimed %s", names(lanes))
	}
	if n, err := db.DiscardParked(t.Context(), Filter{IDs: []string{"p2", "p1"}}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	consistent(t, db)
}
