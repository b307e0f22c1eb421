package state

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"walhook/delivery"
)

// retryLater ends an attempt that is to be repeated in an hour; what else the lane has in hand is given back.
func retryLater(t testing.TB, p *Process, d *delivery.Delivery) {
	t.Helper()
	o := outcome(d, delivery.Retry)
	o.Next = time.Now().Add(time.Hour)
	finish(t, p, 1, o)
}

func TestRetryQueuedMakesDue(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3, d4 := f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("a", "m/2"), f.delivery("b", "m/1")
	f.enqueue(t, all, d1, d2, d3, d4)
	retryLater(t, p, d1)
	retryLater(t, p, d4)
	wantStates(t, db, Filter{}, "1:retrying 2:pending 3:pending 4:retrying")
	class := outcome(d1, delivery.Retry).Attempt.Class
	for _, c := range []struct {
		filter Filter
		want   int64
	}{
		{Filter{State: Retrying}, 2}, {Filter{State: Pending}, 1}, {Filter{}, 3}, // the one in hand goes anyway
		{Filter{Endpoint: "a"}, 2}, {Filter{State: Retrying, Class: class}, 2}, {Filter{Class: "no such"}, 0}, {Filter{IDs: []string{d3.ID, d2.ID}}, 2},
	} {
		if n, err := db.CountQueued(t.Context(), c.filter, true, 100); n != c.want || err != nil {
			t.Errorf("%+v: %d, %v", c.filter, n, err)
		}
	}
	if n, err := db.RetryQueued(t.Context(), Filter{Endpoint: "a", State: Retrying}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	lanes := claim(t, p, "a", 10, 10)
	wantLanes(t, lanes, "a:m/1=1,2")
	if got := lanes[0].Deliveries[0].Attempts; got != 1 {
		t.Errorf("%d attempts", got)
	}
	wantLanes(t, claim(t, p, "b", 10, 10), "")
	// By id whatever it is: one that is in hand is sent anyway, and stays in those hands.
	if n, err := db.RetryQueued(t.Context(), Filter{IDs: []string{d3.ID, d4.ID}}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, claim(t, p, "a", 10, 10), "")
	wantLanes(t, claim(t, p, "b", 10, 10), "b:m/1=4")
	wantIntact(t, db)
}

// A limit is for the oldest, whatever their keys are, and through more of the log than is looked at in one transaction.
func TestQueuedOldestFirst(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3, d4 := f.delivery("b", "m/9"), f.delivery("a", "m/5"), f.delivery("b", "m/1"), f.delivery("a", "m/1")
	f.enqueue(t, all, d1, d2, d3, d4)
	for _, d := range []*delivery.Delivery{d1, d2, d3, d4} {
		retryLater(t, p, d)
	}
	oldest := Filter{State: Retrying, Oldest: true, Limit: 1}
	if n, err := db.CountQueued(t.Context(), oldest, true, 100); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := db.RetryQueued(t.Context(), oldest); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, claim(t, p, "a", 10, 10), "")
	wantLanes(t, claim(t, p, "b", 10, 10), "b:m/9=1")
	oldest.Endpoint = "a"
	if n, left, err := db.DiscardQueued(t.Context(), oldest); n != 1 || left != 0 || err != nil {
		t.Fatal(n, left, err)
	}
	wantStates(t, db, Filter{}, "1:retrying 2:discarded 3:retrying 4:retrying")
	// One that a process has in hand is left, and counts for nothing.
	if n, left, err := db.DiscardQueued(t.Context(), Filter{Oldest: true, Limit: 2}); n != 2 || left != 1 || err != nil {
		t.Fatal(n, left, err)
	}
	wantStates(t, db, Filter{}, "1:retrying 2:discarded 3:discarded 4:discarded")
	if n, left, err := db.DiscardQueued(t.Context(), Filter{Oldest: true, Limit: 5}); n != 0 || left != 1 || err != nil {
		t.Fatal(n, left, err)
	}
	wantIntact(t, db)
}

func TestDiscardQueued(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3, d4, d5, d6 := f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("a", "m/2"), f.delivery("a", "m/3"), f.delivery("a", "m/3"), f.delivery("b", "m/1")
	f.enqueue(t, all, d1, d2, d3, d4, d5, d6)
	retryLater(t, p, d1)
	held := outcome(d4, delivery.Dead)
	held.Hold = true
	finish(t, p, 1, held)
	retryLater(t, p, d6)

	// What is behind the one that was tried goes at once.
	if n, left, err := db.DiscardQueued(t.Context(), Filter{State: Retrying, Endpoint: "a"}); n != 1 || left != 0 || err != nil {
		t.Fatal(n, left, err)
	}
	wantStates(t, db, Filter{}, "1:discarded 2:pending 3:pending 4:dead 5:pending 6:retrying")
	consistent(t, db)
	lanes := claim(t, p, "a", 10, 10)
	wantLanes(t, lanes, "a:m/1=2")
	// The lanes of 2 and 3 are in hand; 5 lies in a lane that is held, and stays so.
	if n, left, err := db.DiscardQueued(t.Context(), Filter{Endpoint: "a"}); n != 1 || left != 2 || err != nil {
		t.Fatal(n, left, err)
	}
	wantStates(t, db, Filter{}, "1:discarded 2:pending 3:pending 4:dead 5:discarded 6:retrying")
	if n := rows(t, db, "lane WHERE held"); n != 1 {
		t.Errorf("%d held lanes", n)
	}
	consistent(t, db)
	if n, left, err := db.DiscardQueued(t.Context(), Filter{IDs: []string{d6.ID, d3.ID}}); n != 1 || left != 1 || err != nil {
		t.Fatal(n, left, err)
	}
	if n := rows(t, db, "lane WHERE endpoint = 'b'"); n != 0 {
		t.Errorf("%d lanes are left of b", n)
	}
	finish(t, p, 1, outcome(d2, delivery.Delivered), outcome(d3, delivery.Delivered))
	if n, err := db.DiscardDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := rows(t, db, "queue") + rows(t, db, "lane"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := rows(t, db, "endpoint WHERE (name, discarded) IN (('a', 3), ('b', 1))"); n != 2 {
		t.Error("discarded deliveries are not counted")
	}
	if n := rows(t, db, "gap WHERE reason = 'discarded' AND first = last AND (endpoint, first) IN (('a', 1), ('a', 4), ('a', 5), ('b', 1))"); n != 4 || rows(t, db, "gap") != 4 {
		t.Errorf("gaps: got %q", gaps(t, db))
	}
	consistent(t, db)
	proveComplete(t, db)
	wantIntact(t, db)
}

// Chunks and limits cut lanes anywhere; a lane that was made due counts to its end.
func TestQueuedInSteps(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var list []*delivery.Delivery
	for i := range 3 * 1000 {
		list = append(list, f.delivery("a", fmt.Sprintf("m/%d", i%7)))
	}
	f.enqueue(t, none, list...)
	exec(t, db, "UPDATE {schema}.lane SET due = now() + interval '1 hour'")
	if n, err := db.RetryQueued(t.Context(), Filter{}); n != 3000 || err != nil {
		t.Fatal(n, err)
	}
	var rest Filter
	if n, left, err := db.DiscardQueued(t.Context(), Filter{Limit: 1500, Rest: &rest}); n != 1500 || left != 0 || err != nil {
		t.Fatal(n, left, err)
	}
	rest.Rest = nil
	rest.Limit = 0
	if n, left, err := db.DiscardQueued(t.Context(), rest); n != 1500 || left != 0 || err != nil {
		t.Fatal(n, left, err)
	}
	consistent(t, db)
	proveComplete(t, db)
}

// A process claims and finishes while people retry and discard: each delivery ends once, either sent or discarded, and never is one sent that was discarded before it was claimed.
func TestDiscardQueuedWhileClaimed(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	const total = 600
	var list []*delivery.Delivery
	for i := range total {
		list = append(list, f.delivery("a", fmt.Sprintf("m/%d", i%40)))
	}
	f.enqueue(t, none, list...)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var people sync.WaitGroup
	var discarded int64
	people.Go(func() {
		for i := 0; i < total; i += 2 {
			n, _, err := db.DiscardQueued(ctx, Filter{IDs: []string{list[total-1-i].ID, list[i].ID}})
			if err != nil {
				t.Error(err)
				return
			}
			discarded += n
		}
	})
	people.Go(func() {
		for i := range total {
			if _, err := db.RetryQueued(ctx, Filter{IDs: []string{list[i].ID}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	sent := map[string]int{}
	for ctx.Err() == nil && rows(t, db, "queue") > 0 {
		lanes := claim(t, p, "a", 5, 3)
		for len(lanes) > 0 {
			var outcomes []delivery.Outcome
			for _, l := range lanes {
				for i, d := range l.Deliveries {
					sent[d.ID]++
					o := outcome(d, delivery.Delivered)
					o.LaneDone = i == len(l.Deliveries)-1
					outcomes = append(outcomes, o)
				}
			}
			lanes = finish(t, p, 2, outcomes...)
		}
	}
	people.Wait()
	for id, n := range sent {
		if n != 1 {
			t.Errorf("%s was sent %d times", id, n)
		}
	}
	if int64(len(sent))+discarded != total || discarded == 0 {
		t.Errorf("%d sent, %d discarded, of %d", len(sent), discarded, total)
	}
	consistent(t, db)
	proveComplete(t, db)
	wantIntact(t, db)
}
