package state

import (
	"context"
	"testing"
	"time"

	"walhook/delivery"
)

// Two retries of parked events at once, of an operator and of the end of an upgrade: none of them takes later events while the other has earlier ones in hand, and
// they do not deadlock with a batch that comes meanwhile.
func TestRetriedEventsDoNotOvertake(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	park := func(ids ...string) {
		t.Helper()
		to := delivery.Position{LSN: f.at.LSN + 16}
		b := &delivery.Batch{From: f.at, To: to}
		for _, id := range ids {
			b.Parked = append(b.Parked, &delivery.Parked{ID: id, Rule: "r", Model: "m", Record: "1", CommitLSN: to.LSN, XID: 1, CommitAt: time.Now(), Error: delivery.HeldError, Change: []byte("{}")})
		}
		if _, err := p.Enqueue(t.Context(), b, nil); err != nil {
			t.Fatal(err)
		}
		f.at = to
	}
	park("p1", "p2", "p3")
	like := f.delivery("a", "m/1")
	evaluate := func(before func(id string)) func(context.Context, []*delivery.Parked) (Evaluated, error) {
		return func(_ context.Context, events []*delivery.Parked) (out Evaluated, err error) {
			before(events[0].ID)
			for _, e := range events {
				d := *like
				d.ID = e.ID
				out.Deliveries = append(out.Deliveries, &d)
			}
			return out, nil
		}
	}
	retry := func(limit int, before func(id string)) chan error {
		done := make(chan error, 1)
		go func() {
			_, _, err := db.RetryParked(t.Context(), Filter{Error: delivery.HeldError, Limit: limit}, evaluate(before))
			done <- err
		}()
		return done
	}
	inHand, goOn, second := make(chan string, 1), make(chan struct{}), make(chan string, 9)
	one := retry(1, func(id string) { inHand <- id; <-goOn })
	if id := <-inHand; id != "p1" {
		t.Fatalf("the first is %s", id)
	}
	two := retry(0, func(id string) { second <- id })
	const waiting = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	for n, deadline := 0, time.Now().Add(30*time.Second); n == 0; time.Sleep(10 * time.Millisecond) {
		if err := db.pool.QueryRow(t.Context(), waiting).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if len(second) > 0 || time.Now().After(deadline) {
			break
		}
	}
	if len(second) > 0 {
		t.Errorf("%s was taken while p1 was in hand", <-second)
	}
	park("p4") // the stream goes on meanwhile
	close(goOn)
	for _, done := range []chan error{one, two} {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	var order string
	if err := db.pool.QueryRow(t.Context(), db.sql("SELECT string_agg(id, ' ' ORDER BY seq) FROM {schema}.delivery")).Scan(&order); err != nil || order != "p1 p2 p3" {
		t.Errorf("queued %q, %v", order, err)
	}
	if n := rows(t, db, "parked"); n != 1 {
		t.Errorf("%d are parked", n)
	}
}
