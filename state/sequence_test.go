package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// numbersOf shows deliveries as "endpoint:epoch/number".
func numbersOf(list ...*delivery.Delivery) string {
	var out []string
	for _, d := range list {
		out = append(out, fmt.Sprintf("%s:%d/%d", d.Endpoint, d.Epoch, d.Sequence))
	}
	return strings.Join(out, " ")
}

func wantNumbers(t testing.TB, want string, list ...*delivery.Delivery) {
	t.Helper()
	if got := numbersOf(list...); got != want {
		t.Errorf("numbers: got %q, want %q", got, want)
	}
}

// proveComplete checks as a receiver would, with the log and the table gap at hand: of every endpoint and epoch the numbers 1 … last are each a
// delivery's, or in a gap, and none is two deliveries'.
func proveComplete(t testing.TB, db *DB) {
	t.Helper()
	const holes = `WITH known AS (
			SELECT endpoint, epoch, sequence AS n, count(DISTINCT id) AS ids FROM {schema}.delivery WHERE sequence > 0 GROUP BY 1, 2, 3
		), given AS (
			SELECT g.endpoint, g.epoch, n FROM {schema}.gap g, generate_series(g.first, g.last) n
		), every AS (
			SELECT e.endpoint, e.epoch, n FROM (SELECT endpoint, epoch, max(n) AS last FROM (SELECT endpoint, epoch, n FROM known UNION ALL SELECT * FROM given) x GROUP BY 1, 2) e,
				generate_series(1, e.last) n
		)
		SELECT count(*) FILTER (WHERE k.n IS NULL AND g.n IS NULL), count(*) FILTER (WHERE k.ids > 1) FROM every
			LEFT JOIN known k USING (endpoint, epoch, n) LEFT JOIN given g USING (endpoint, epoch, n)`
	var missing, twice int
	if err := db.read(t.Context(), "prove", func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), db.sql(holes)).Scan(&missing, &twice)
	}); err != nil {
		t.Fatal(err)
	}
	if missing != 0 || twice != 0 {
		t.Errorf("%d numbers are nobody's and in no gap, %d are two deliveries'", missing, twice)
	}
}

// gaps shows the table as "endpoint:epoch/first-last reason".
func gaps(t testing.TB, db *DB) string {
	t.Helper()
	var s string
	const read = `SELECT coalesce(string_agg(format('%s:%s/%s-%s %s', endpoint, epoch, first, last, reason), ', ' ORDER BY endpoint, epoch, first), '') FROM {schema}.gap`
	if err := db.pool.QueryRow(t.Context(), db.sql(read)).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// E9: numbers are contiguous per endpoint, in the order of commits, and a batch that fails takes none.
func TestSequenceIsContiguous(t *testing.T) {
	db := openState(t, nil)
	p, other := register(t, db), register(t, db)
	stale, f := newFeed(t, p), newFeed(t, p)
	a1, b1, a2 := f.delivery("a", "m/1"), f.delivery("b.x-1", "m/1"), f.delivery("a", "m/2")
	f.enqueue(t, all, a1, b1, a2)
	wantNumbers(t, "a:1/1 b.x-1:1/1 a:1/2", a1, b1, a2)
	if _, err := stale.try(t.Context(), all, stale.delivery("a", "m/9")); err == nil {
		t.Fatal("a superseded batch was enqueued")
	}
	if err := p.Advance(t.Context(), f.at, delivery.Position{LSN: f.at.LSN + 1}); err != nil {
		t.Fatal(err)
	}
	f.at.LSN++
	a3, c1 := f.delivery("a", "m/1"), f.delivery("c", "m/1")
	f.enqueue(t, all, a3, c1)
	wantNumbers(t, "a:1/3 c:1/1", a3, c1)

	// What the log tells, another process too, is what the batch was told.
	lanes := claim(t, other, "a", 10, 10)
	if len(lanes) != 0 {
		t.Fatalf("claimed %s", names(lanes))
	}
	wantNumbers(t, "a:1/3", finish(t, p, 5, outcome(a1, delivery.Delivered))[0].Deliveries...)
	l, _, err := db.GetDelivery(t.Context(), a2.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantNumbers(t, "a:1/2", &l.Delivery)
	proveComplete(t, db)
}

// A delivery keeps its number: when it is tried again, dies, is sent again. Discarded ones leave a gap that says so.
func TestSequenceIsKept(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var ds []*delivery.Delivery
	for i := range 6 {
		ds = append(ds, f.delivery("a", fmt.Sprintf("m/%d", i)))
	}
	f.enqueue(t, all, ds...)
	retry := outcome(ds[0], delivery.Retry)
	retry.Next = time.Now().Add(-time.Second)
	held := outcome(ds[1], delivery.Dead)
	held.Hold = true
	finish(t, p, 5, retry, held, outcome(ds[2], delivery.Dead), outcome(ds[3], delivery.Dead), outcome(ds[4], delivery.Dead), outcome(ds[5], delivery.Dead))
	wantNumbers(t, "a:1/1", claim(t, p, "a", 10, 10)[0].Deliveries...)
	if err := db.inTransaction(t, db.newEpoch); err != nil {
		t.Fatal(err)
	}
	if n, err := db.RetryDead(t.Context(), Filter{IDs: []string{ds[1].ID, ds[2].ID}}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	var again []*delivery.Delivery
	for _, l := range claim(t, p, "a", 10, 10) {
		again = append(again, l.Deliveries...)
	}
	slices.SortFunc(again, func(x, y *delivery.Delivery) int { return int(x.Sequence - y.Sequence) })
	wantNumbers(t, "a:1/2 a:1/3", again...)
	if n, err := db.DiscardDead(t.Context(), Filter{IDs: []string{ds[3].ID, ds[4].ID}}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := db.DiscardDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if got := gaps(t, db); got != "a:1/4-6 discarded" {
		t.Errorf("gaps: %s", got)
	}
	proveComplete(t, db)
}

// An epoch is not used again by a state that is made anew: a receiver would take new deliveries for old ones.
func TestEpochOfANewState(t *testing.T) {
	db := openEmpty(t, nil)
	var last int64
	for range 2 {
		if err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
			t.Fatal(err)
		}
		f := newFeed(t, register(t, db))
		d := f.delivery("a", "m/1")
		f.enqueue(t, none, d)
		if d.Sequence != 1 || d.Epoch <= last || time.Since(time.UnixMilli(d.Epoch)).Abs() > time.Hour {
			t.Errorf("number %d of epoch %d, after epoch %d", d.Sequence, d.Epoch, last)
		}
		last = d.Epoch
		if _, err := db.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The next epoch's sequences begin at 1; what was numbered before stays what it is.
func TestNewEpoch(t *testing.T) {
	db := openState(t, nil)
	f := newFeed(t, register(t, db))
	a, b := f.delivery("a", "m/1"), f.delivery("a", "m/2")
	f.enqueue(t, none, a)
	if err := db.inTransaction(t, db.newEpoch); err != nil {
		t.Fatal(err)
	}
	f.enqueue(t, none, b)
	wantNumbers(t, fmt.Sprintf("a:1/1 a:%d/1", b.Epoch), a, b)
	if b.Epoch < time.Now().Add(-time.Hour).UnixMilli() {
		t.Errorf("epoch %d", b.Epoch)
	}
	// Restored from a dump: the epoch that followed it is not used again.
	exec(t, db, "UPDATE {schema}.source SET epoch = 1, numbers = '{}'")
	if err := db.inTransaction(t, db.newEpoch); err != nil {
		t.Fatal(err)
	}
	c := f.delivery("a", "m/3")
	f.enqueue(t, none, c)
	if c.Epoch <= b.Epoch {
		t.Errorf("epoch %d after %d", c.Epoch, b.Epoch)
	}
	unbound := openEmpty(t, nil)
	if err := unbound.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := unbound.inTransaction(t, unbound.newEpoch); err == nil {
		t.Error("an unbound state has no epoch")
	}
}

// Events that were parked as their rule failed get their numbers when they become deliveries.
func TestSequenceOfParkedEvents(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	first := f.delivery("a", "m/1")
	to := delivery.Position{LSN: f.at.LSN + 16}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Deliveries: []*delivery.Delivery{first},
		Parked: []*delivery.Parked{{ID: "p1", Rule: "r", CommitAt: time.Now()}}}, none); err != nil {
		t.Fatal(err)
	}
	f.at = to
	late := []*delivery.Delivery{f.delivery("b", "m/1"), f.delivery("a", "m/1")}
	if _, _, err := db.RetryParked(t.Context(), Filter{}, evaluateTo(late)); err != nil {
		t.Fatal(err)
	}
	next := f.delivery("a", "m/3")
	f.enqueue(t, none, next)
	wantNumbers(t, "a:1/1 b:1/1 a:1/2 a:1/3", first, late[0], late[1], next)
	proveComplete(t, db)
}

// What was enqueued before there were numbers has none.
func TestSequenceOfOlderState(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	old := f.delivery("a", "m/1")
	f.enqueue(t, none, old)
	exec(t, db, "UPDATE {schema}.delivery SET epoch = 0, sequence = 0")
	d := claim(t, p, "a", 1, 1)[0].Deliveries[0]
	wantNumbers(t, "a:0/0", d)
	finish(t, p, 1, outcome(d, delivery.Dead))
	if _, err := db.DiscardDead(t.Context(), Filter{}); err != nil {
		t.Fatal(err)
	}
	if got := gaps(t, db); got != "" {
		t.Errorf("gaps: %s", got)
	}
}

// Gaps go with the log: those that grew within retention stay.
func TestGapsAreDropped(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	ds := []*delivery.Delivery{f.delivery("a", "m/1"), f.delivery("b", "m/1")}
	f.enqueue(t, all, ds...)
	finish(t, p, 0, outcome(ds[0], delivery.Dead), outcome(ds[1], delivery.Dead))
	if _, err := db.DiscardDead(t.Context(), Filter{}); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "UPDATE {schema}.gap SET noted_at = now() - interval '30 days 1 hour' WHERE endpoint = 'a'")
	exec(t, db, "UPDATE {schema}.gap SET noted_at = now() - interval '29 days' WHERE endpoint = 'b'")
	p.upkeep(t.Context())
	if got := gaps(t, db); got != "b:1/1-1 discarded" {
		t.Errorf("gaps: %s", got)
	}
}

func evaluateTo(list []*delivery.Delivery) func(context.Context, []*delivery.Parked) (Evaluated, error) {
	return func(context.Context, []*delivery.Parked) (Evaluated, error) { return Evaluated{Deliveries: list}, nil }
}

// inTransaction runs one step in a transaction of its own.
func (db *DB) inTransaction(t testing.TB, step func(context.Context, *transaction) error) error {
	t.Helper()
	return db.transact(t.Context(), "test", func(tx *transaction) error { return step(t.Context(), tx) })
}

// newest is the version of a schema that is up to date.
func newest(t testing.TB) int {
	t.Helper()
	list, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	return list[len(list)-1].version
}
