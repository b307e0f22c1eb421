package state

import (
	"context"
	"fmt"
	"testing"
	"time"

	"walhook/delivery"
)

// While somebody keeps a transaction open, entries of lanes that were taken stay in the index. A claim does not read them
// again each time.
func TestClaimsDoNotReadPastTakenLanes(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	p.marks.rescan = time.Hour
	f := newFeed(t, p)
	idle, err := db.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Rollback(context.Background())
	if _, err := idle.Exec(t.Context(), "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()"); err != nil {
		t.Fatal(err)
	}
	const batches, size = 30, 100
	for range batches {
		var list []*delivery.Delivery
		for range size {
			list = append(list, f.delivery("a", fmt.Sprintf("m/%d", f.next)))
		}
		f.enqueue(t, none, list...)
		time.Sleep(2 * time.Millisecond) // each batch is due later than the last one
	}
	for range batches - 2 {
		lanes := claim(t, p, "a", size, 1)
		if len(lanes) != size {
			t.Fatalf("claimed %d lanes", len(lanes))
		}
		var out []delivery.Outcome
		for _, l := range lanes {
			out = append(out, outcome(l.Deliveries[0], delivery.Delivered))
		}
		finish(t, p, 1, out...)
	}
	read := func(from time.Time) (entries int) {
		tx, err := db.pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(context.Background())
		count := func() (n int) {
			if err := tx.QueryRow(t.Context(), "SELECT pg_stat_get_xact_tuples_returned($1::text::regclass)", db.schema+".lane_due").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		before := count() // of what the session has not reported yet
		if _, err := tx.Exec(t.Context(), db.sql(claimLanes), "a", size, p.id, 1, 0, -1, from, from, from); err != nil {
			t.Fatal(err)
		}
		entries = count() - before
		return entries
	}
	from, full := p.marks.begin("a", time.Now())
	if full {
		t.Fatal("the next claim would begin in front")
	}
	// Without the overlap, which may hold all that this test has made.
	begin, mark := read(time.Time{}), read(from[delivery.PriorityNormal].Add(markOverlap))
	t.Logf("entries read: %d from the beginning, %d from the mark", begin, mark)
	if begin < (batches-1)*size || mark > 3*size {
		t.Errorf("a claim of %d lanes reads %d entries from the mark, and %d from the beginning", size, mark, begin)
	}
	for i := range 2 {
		if lanes := claim(t, p, "a", size, 1); len(lanes) != size {
			t.Errorf("claim %d found %d lanes", i, len(lanes))
		}
	}
}

// A lane that lies in front of the mark is found when a claim looks from the beginning, at the latest.
func TestLaneBeforeTheMarkIsFound(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"), f.delivery("a", "m/2"), f.delivery("b", "m/1"))
	if lanes := claim(t, p, "a", 2, 1); len(lanes) != 2 {
		t.Fatalf("claimed %d lanes", len(lanes))
	}
	exec(t, db, "UPDATE {schema}.lane SET owner = NULL, due = now() - interval '1 hour' WHERE endpoint = 'a' AND key = 'm/2'")
	p.marks.rescan = time.Hour
	if lanes := claim(t, p, "a", 2, 1); len(lanes) != 0 {
		t.Fatalf("a claim from the mark found %d lanes", len(lanes))
	}
	if lanes := claim(t, p, "b", 2, 1); len(lanes) != 1 {
		t.Errorf("another endpoint's claim found %d lanes", len(lanes))
	}
	p.marks.rescan = 0
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		lanes := claim(t, p, "a", 2, 1)
		if len(lanes) == 1 && lanes[0].Key == "m/2" {
			break
		}
		if len(lanes) > 0 || time.Now().After(end) {
			t.Fatalf("claims from the beginning found %v", lanes)
		}
	}
}

// What a claim leaves in its place, as it was too much at once, is the next claim's.
func TestMarkStaysBeforeWhatWasLeft(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	p.marks.rescan = time.Hour
	f := newFeed(t, p)
	const n = 6
	for i := range n {
		d := f.delivery("a", fmt.Sprintf("m/%d", i))
		d.Body = make([]byte, delivery.HandoutBytes/2)
		f.enqueue(t, none, d)
		exec(t, db, fmt.Sprintf("UPDATE {schema}.lane SET due = now() - interval '%d seconds' WHERE key = 'm/%d'", 100-i, i))
	}
	var order []string
	for range n {
		for _, l := range claim(t, p, "a", 10, 1) {
			order = append(order, l.Key)
		}
	}
	if want := "[m/0 m/1 m/2 m/3 m/4 m/5]"; fmt.Sprint(order) != want {
		t.Errorf("claimed %v, want %s", order, want)
	}
}

// A retry that is due before its outcome is committed, as commits are slow, is not passed over.
func TestRetryBeforeTheMarkIsOnTime(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	p.marks.rescan = time.Hour
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	first := claim(t, p, "a", 1, 1)
	f.enqueue(t, none, f.delivery("a", "m/2"))
	if lanes := claim(t, p, "a", 1, 1); len(lanes) != 1 || lanes[0].Key != "m/2" {
		t.Fatalf("claimed %v", lanes)
	}
	o := outcome(first[0].Deliveries[0], delivery.Retry)
	o.Next = time.Now().Add(-time.Minute)
	finish(t, p, 1, o)
	if lanes := claim(t, p, "a", 1, 1); len(lanes) != 1 || lanes[0].Key != "m/1" {
		t.Errorf("claimed %v, want the retry", lanes)
	}
}

// What comes in front while a claim is under way, which may have looked before, stays the next one's.
func TestMarkGoesBackDuringAClaim(t *testing.T) {
	m := marks{rescan: time.Hour}
	now := time.Now()
	m.end("a", nil, nil, true, false, now, 0)
	m.begin("a", now)
	m.retried([]delivery.Outcome{{Delivery: &delivery.Delivery{Endpoint: "a"}, Result: delivery.Retry, Next: now.Add(-time.Minute)}})
	m.end("a", []wanted{{due: now}}, nil, false, false, now, 0)
	if from, full := m.begin("a", now); full || from[0].After(now.Add(-time.Minute)) {
		t.Errorf("the next claim begins at %s, a lane was due at %s", from[0], now.Add(-time.Minute))
	}
	m.end("a", []wanted{{due: now}}, nil, false, false, now, 0)
	if from, _ := m.begin("a", now); !from[0].Equal(now.Add(-markOverlap)) {
		t.Errorf("the mark stays at %s for ever", from[0])
	}
}

// Looking from the beginning takes a twentieth of the time at most.
func TestMarksLookFromTheBeginningNowAndThen(t *testing.T) {
	m := marks{rescan: time.Second}
	now := time.Now()
	at := func(after time.Duration) bool {
		_, full := m.begin("a", now.Add(after))
		return full
	}
	if !at(0) {
		t.Error("the first claim does not begin in front")
	}
	m.end("a", nil, nil, true, false, now, 10*time.Millisecond)
	if at(999*time.Millisecond) || !at(time.Second) {
		t.Error("a quick look is not repeated after a second")
	}
	m.end("a", nil, nil, true, false, now, 200*time.Millisecond)
	if at(3999*time.Millisecond) || !at(4*time.Second) {
		t.Error("a slow look is not repeated after twenty times its length")
	}
}

// Lanes that come to lie in front of the mark, more than one claim takes, are claimed one claim after the other: not one claim a second.
func TestMarkGoesOnThroughWhatLiesInFront(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	const n = 30
	f.enqueue(t, none, f.delivery("a", "m/first"))
	wantLanes(t, claim(t, p, "a", 1, 1), "a:m/first=1")
	for i := range n {
		f.enqueue(t, none, f.delivery("a", fmt.Sprint("m/", i)))
		exec(t, db, "UPDATE {schema}.lane SET due = now() - interval '1 hour' + $1 * interval '1 second' WHERE key = $2", i, fmt.Sprint("m/", i))
	}
	f.enqueue(t, none, f.delivery("a", "m/new"))
	p.marks.rescan = time.Hour
	if lanes := claim(t, p, "a", 1, 1); len(lanes) != 1 || lanes[0].Key != "m/new" {
		t.Fatalf("the mark is not behind the others: claimed %v", names(lanes))
	}
	p.marks.of["a"].full = time.Time{} // the next claim looks from the beginning
	for at := 0; at < n; at += 10 {
		if lanes := claim(t, p, "a", 10, 1); len(lanes) != 10 || lanes[0].Key != fmt.Sprint("m/", at) {
			t.Fatalf("from %d on: claimed %v", at, names(lanes))
		}
	}
}
