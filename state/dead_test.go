package state

import (
	"testing"

	"walhook/delivery"
)

// A dead letter that held its lane keeps its seq when it is retried, so it may meet itself in the log of the same day.
func TestHeldDeadLetterDiesAgain(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	held := outcome(d, delivery.Dead)
	held.Hold = true
	finish(t, p, 1, held)
	for range 2 {
		if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		lanes := claim(t, p, "a", 10, 10)
		wantLanes(t, lanes, "a:m/1=1")
		again := outcome(lanes[0].Deliveries[0], delivery.Dead)
		again.Hold = true
		finish(t, p, 1, again)
		if n := rows(t, db, "dead_letter WHERE holds AND NOT late"); n != 1 {
			t.Errorf("%d dead letters", n)
		}
		consistent(t, db)
	}
	if n := rows(t, db, "delivery"); n != 1 {
		t.Errorf("the log has it %d times on one day", n)
	}
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	finish(t, p, 1, outcome(claim(t, p, "a", 10, 10)[0].Deliveries[0], delivery.Delivered))
	if n := rows(t, db, "queue") + rows(t, db, "lane") + rows(t, db, "dead_letter"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
