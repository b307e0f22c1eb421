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

// A batch in which one delivery holds its lane and another disables the endpoint: when the endpoint goes on, the lane still waits.
func TestHoldOutlivesADisabledEndpoint(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := []*delivery.Delivery{f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("a", "m/1")}
	f.enqueue(t, all, d...)
	dead, last := notDone(outcome(d[1], delivery.Dead)), outcome(d[0], delivery.Retry)
	dead.Hold, last.Hold, last.Disable, last.Next = true, true, "failing for too long", time.Now()
	finish(t, p, 4, dead, last)
	if _, err := db.ResumeEndpoint(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if lanes := claim(t, p, "a", 1, 3); len(lanes) != 0 {
		t.Errorf("sent past the dead letter that holds: %v", names(lanes))
	}
	wantIntact(t, db)
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, claim(t, p, "a", 1, 3), "a:m/1=1,2,3")
}

// holdsUntold leaves a dead letter that should hold lane m/1 of endpoint a, in front of another delivery: the outcome that would have held the lane is not committed.
func holdsUntold(t *testing.T, p *Process, others ...string) {
	t.Helper()
	f := newFeed(t, p)
	d := []*delivery.Delivery{f.delivery("a", "m/1"), f.delivery("a", "m/1")}
	for _, lane := range others {
		d = append(d, f.delivery("a", lane))
	}
	f.enqueue(t, all, d...)
	dead := notDone(outcome(d[0], delivery.Dead))
	dead.Hold = true
	finish(t, p, 4, dead)
}

// A process that dies between the commit of a dead letter that holds and that of the outcome that lets go of the lane leaves a lane that holds.
func TestHoldOutlivesTheProcess(t *testing.T) {
	db := openLedger(t, nil)
	p, q := register(t, db), register(t, db)
	holdsUntold(t, p, "m/2")
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, q, "a", 2, 3), "a:m/2=3")
	wantIntact(t, db)
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, claim(t, q, "a", 1, 3), "a:m/1=1,2")
}

// A dead letter that goes while the lanes of its process are freed holds nothing any more.
func TestLetterThatGoesMeanwhileHoldsNothing(t *testing.T) {
	db := openLedger(t, nil)
	p, q := register(t, db), register(t, db)
	holdsUntold(t, p)
	discard, err := db.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := discard.Exec(t.Context(), db.sql("DELETE FROM {schema}.dead_letter")); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- p.Close(t.Context()) }()
	select {
	case err := <-closed:
		t.Errorf("the lanes were freed while somebody discarded the letter: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := discard.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, q, "a", 1, 3), "a:m/1=2")
}

// A dead letter that should hold its lane, and is retried while somebody has the lane in hand, is sent all the same.
func TestRetriedInFrontOfALaneInHand(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := []*delivery.Delivery{f.delivery("a", "m/1"), f.delivery("a", "m/1")}
	f.enqueue(t, all, d...)
	dead := notDone(outcome(d[0], delivery.Dead))
	dead.Hold = true
	finish(t, p, 1, dead)
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, finish(t, p, 1, outcome(d[1], delivery.Delivered)), "a:m/1=1")
	wantIntact(t, db)
}
