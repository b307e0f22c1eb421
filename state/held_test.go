package state

import (
	"testing"
	"time"

	"walhook/delivery"
)

// A held dead letter that is retried on the day it was queued keeps its log row. Its age counts from the retry all the same: max_age
// would end it at once, and its lane would go on without it.
func TestHeldDeadLetterIsYoungAgain(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	exec(t, db, "UPDATE {schema}.delivery SET enqueued_at = enqueued_at - interval '2 hours'") // it is two hours later
	o := outcome(d, delivery.Dead)
	o.Hold = true
	finish(t, p, 0, o)
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	lanes := claim(t, p, "a", 1, 1)
	if len(lanes) != 1 {
		t.Fatalf("%d lanes", len(lanes))
	}
	if age := time.Since(lanes[0].Deliveries[0].Enqueued); age > time.Hour {
		t.Errorf("retried now, its age is %s", age)
	}
}
