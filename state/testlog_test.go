package state

import (
	"strings"
	"testing"
	"time"

	"walhook/delivery"
)

// A test that a person has sent is on record as one, with its attempt, whatever came of it; it is replayed by nothing, and nothing is proved of it.
func TestLogTest(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	delivered(t, db, p, 4)
	test := func(result delivery.Result) *delivery.Delivery {
		t.Helper()
		d, err := delivery.NewTest("a", "walhook.test\x00", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		o := outcome(d, result)
		if err := db.LogTest(t.Context(), &o); err != nil {
			t.Fatal(err)
		}
		return d
	}
	good, bad := test(delivery.Delivered), test(delivery.Retry)
	for state, want := range map[State]string{"": "test test delivered delivered delivered delivered", Test: "test test", Delivered: "delivered delivered delivered delivered", Discarded: "", Again: "", Superseded: "", Pending: "", Retrying: "", Dead: "", Waiting: ""} {
		list, err := db.ListDeliveries(t.Context(), Filter{State: state})
		var got []string
		for _, l := range list {
			got = append(got, string(l.State))
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v; want %q", state, got, err, want)
		}
	}
	for d, result := range map[*delivery.Delivery]delivery.Result{good: delivery.Delivered, bad: delivery.Retry} {
		l, attempts, err := db.GetDelivery(t.Context(), d.ID)
		if err != nil || l.State != Test || l.Op != opTest || l.Endpoint != "a" || l.Attempts != 1 || string(l.Body) != string(d.Body) || len(attempts) != 1 || attempts[0].Result != result || l.Sequence != 0 {
			t.Errorf("%+v %+v %v", l, attempts, err)
		}
	}
	if n := rows(t, db, "queue"); n != 0 {
		t.Errorf("%d rows in the queue", n)
	}
	if n, err := db.CountDelivered(t.Context(), Filter{}, 100); n != 4 || err != nil {
		t.Errorf("%d to be replayed, %v", n, err)
	}
	if n, err := db.CountDelivered(t.Context(), Filter{IDs: []string{good.ID}}, 100); n != 0 || err != nil {
		t.Errorf("a test would be replayed: %d, %v", n, err)
	}
	if n, err := db.CountDelivered(t.Context(), Filter{State: Test}, 100); n != 0 || err != nil {
		t.Errorf("a test would be replayed as if it were of a rule in test mode: %d, %v", n, err)
	}
	f := newFeed(t, p) // numbers go on as if there were none
	d := f.delivery("a", "m/99")
	d.ID = "msg_after"
	f.enqueue(t, all, d)
	wantIntact(t, db)
	recent, err := db.RecentAttempts(t.Context(), "a", 10)
	if err != nil || len(recent) < 2 || recent[0].ID != bad.ID {
		t.Errorf("%+v %v", recent, err)
	}
}
