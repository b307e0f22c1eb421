package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// delivered makes n deliveries of a few lanes that were all delivered.
func delivered(t *testing.T, db *DB, p *Process, n int) []*delivery.Delivery {
	t.Helper()
	f := newFeed(t, p)
	var ds []*delivery.Delivery
	var out []delivery.Outcome
	for i := range n {
		d := f.delivery([]string{"a", "b"}[i%2], fmt.Sprintf("m/%d", i%10))
		ds = append(ds, d)
		o := outcome(d, delivery.Delivered)
		o.LaneDone = i >= n-20
		out = append(out, o)
	}
	f.enqueue(t, all, ds...)
	finish(t, p, 5, out...)
	if q := rows(t, db, "queue"); q != 0 {
		t.Fatalf("%d queue rows", q)
	}
	return ds
}

// To replay deliveries by their ids does not read the log, whether it is one or several.
func TestReplayByIDsReadsNoLog(t *testing.T) {
	db := openState(t, nil)
	fillLog(t, db, 20_000)
	for _, ids := range [][]string{{"msg_7777"}, {"msg_7777", "msg_7778", "msg_19999"}} {
		f := Filter{IDs: ids, Before: 1 << 40}
		statement, args := f.replayStatement()
		var text []byte
		if err := db.transact(t.Context(), "explain", func(tx *transaction) error {
			return tx.send(t.Context(), func(b *pgx.Batch) {
				f.byID(b)
				b.Queue("EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, SUMMARY OFF) "+expand(statement, db.cfg.Schema), append(args, 0, chunk)...).QueryRow(func(row pgx.Row) error { return row.Scan(&text) })
			})
		}); err != nil {
			t.Fatal(err)
		}
		var plans []struct{ Plan planNode }
		if err := json.Unmarshal(text, &plans); err != nil {
			t.Fatal(err)
		}
		plans[0].Plan.walk(func(n *planNode) {
			if read := (n.Rows + n.Removed) * n.Loops; read > 100 {
				t.Errorf("%d ids: %s of %s reads %.0f rows\n%s", len(ids), n.Kind, n.Relation, read, text)
			}
		})
	}
}

// What was delivered is sent again: the same id, number and body, behind what waits, marked late.
func TestReplay(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	ds := delivered(t, db, p, 40)
	f := newFeed(t, p)
	f.next = 1000
	waiting := f.delivery("a", "m/0")
	f.enqueue(t, none, waiting)
	var progress []int64
	filter := Filter{Endpoint: "a", Until: time.Now().Add(time.Hour), Since: time.Now().Add(-time.Hour), Model: "sale.order", Progress: func(n int64) { progress = append(progress, n) }}
	if n, err := db.CountDelivered(t.Context(), filter, 1000); n != 20 || err != nil {
		t.Fatalf("%d would be replayed: %v", n, err)
	}
	if n, err := db.CountDelivered(t.Context(), filter, 7); n != 7 || err != nil {
		t.Fatalf("%d are counted at a limit of 7: %v", n, err)
	}
	for status, want := range map[int]int64{200: 20, 202: 0} {
		answered := filter
		answered.Status = status
		if n, err := db.CountDelivered(t.Context(), answered, 1000); n != want || err != nil {
			t.Errorf("%d were answered with %d, want %d: %v", n, status, want, err)
		}
	}
	if n, rest, err := db.Replay(t.Context(), filter); n != 20 || rest.After < ds[38].Seq || err != nil {
		t.Fatalf("%d up to %d: %v", n, rest.After, err)
	}
	if !slices.Equal(progress, []int64{20, 20}) && !slices.Equal(progress, []int64{20}) {
		t.Errorf("progress %v", progress)
	}
	consistent(t, db)
	if wrong, err := db.Recount(t.Context()); wrong != 0 || err != nil {
		t.Errorf("sizes of %d endpoints are wrong: %v", wrong, err)
	}
	byID := map[string]*delivery.Delivery{}
	for _, l := range claim(t, p, "a", 100, 1000) {
		for i, d := range l.Deliveries {
			if l.Key == "m/0" && i == 0 {
				if d.ID != waiting.ID || d.Late {
					t.Errorf("lane m/0 begins with %+v", d)
				}
				continue
			}
			byID[d.ID] = d
			if i > 0 && l.Deliveries[i-1].Seq >= d.Seq {
				t.Errorf("lane %s is out of order", l.Key)
			}
		}
	}
	if len(byID) != 20 {
		t.Fatalf("%d deliveries are queued again", len(byID))
	}
	for _, was := range ds {
		d := byID[was.ID]
		if was.Endpoint != "a" {
			continue
		}
		if d == nil || !d.Late || d.Epoch != was.Epoch || d.Sequence != was.Sequence || d.Sequence == 0 || string(d.Body) != string(was.Body) || d.Attempts != 0 || d.Seq <= waiting.Seq {
			t.Errorf("was %+v, is %+v", was, d)
		}
	}
	// What waits already is not queued twice; once it was delivered, it can be replayed again, and then once.
	if n, _, err := db.Replay(t.Context(), Filter{Endpoint: "a"}); n != 0 || err != nil {
		t.Errorf("%d were queued twice: %v", n, err)
	}
	var out []delivery.Outcome
	for _, d := range byID {
		o := outcome(d, delivery.Delivered)
		o.LaneDone = false
		out = append(out, o)
	}
	finish(t, p, 1, out...)
	if n, _, err := db.Replay(t.Context(), Filter{IDs: []string{ds[0].ID, ds[2].ID, ds[1].ID}}); n != 3 || err != nil {
		t.Errorf("%d by id: %v", n, err)
	}
}

// Only what was delivered is replayed; a held delivery that was retried is in the log twice under one seq.
func TestReplayOfEveryState(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	zoo(t, db, p)
	if n, err := db.RetryDead(t.Context(), Filter{IDs: []string{"held"}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	lanes := claim(t, p, "a", 10, 10)
	for _, l := range lanes {
		if l.Deliveries[0].ID == "held" {
			finish(t, p, 0, outcome(l.Deliveries[0], delivery.Delivered))
		}
	}
	if n, _, err := db.Replay(t.Context(), Filter{}); n != 2 || err != nil {
		t.Fatalf("%d were replayed: %v", n, err)
	}
	if n := rows(t, db, `queue q JOIN {schema}.delivery d ON d.seq = q.seq AND d.day = q.day WHERE d.id IN ('held', 'delivered') AND d.late`); n != 2 {
		t.Errorf("%d of them are queued", n)
	}
}

// An interrupted replay goes on where it stopped, and meets nothing twice.
func TestReplayIsResumable(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	const n = 3*chunk + 10
	delivered(t, db, p, n)
	ctx, cancel := context.WithCancel(t.Context())
	f := Filter{Progress: func(done int64) {
		if done == 2*chunk {
			cancel()
		}
	}}
	done, left, err := db.Replay(ctx, f)
	if done != 2*chunk || !errors.Is(err, context.Canceled) {
		t.Fatalf("%d: %v", done, err)
	}
	// What was replayed is delivered meanwhile: it is not met again.
	for _, endpoint := range []string{"a", "b"} {
		var out []delivery.Outcome
		for _, l := range claim(t, p, endpoint, 100, 10_000) {
			for i, d := range l.Deliveries {
				o := outcome(d, delivery.Delivered)
				o.LaneDone = i == len(l.Deliveries)-1
				out = append(out, o)
			}
		}
		finish(t, p, 0, out...)
	}
	left.Limit, left.Progress = chunk+5, nil
	rest, left, err := db.Replay(t.Context(), left)
	if rest != chunk+5 || err != nil {
		t.Fatalf("%d: %v", rest, err)
	}
	left.Limit = 0
	if rest, _, err = db.Replay(t.Context(), left); rest != 5 || err != nil {
		t.Fatalf("%d: %v", rest, err)
	}
	if got := rows(t, db, "queue"); got != n-2*chunk {
		t.Errorf("%d are queued", got)
	}
	if got, ids := rows(t, db, "delivery WHERE late"), distinct(t, db, "id", "delivery WHERE late"); got != n || ids != n {
		t.Errorf("%d of %d ids were replayed", got, ids)
	}
	consistent(t, db)
}

func distinct(t testing.TB, db *DB, column, from string) (n int) {
	t.Helper()
	if err := db.pool.QueryRow(t.Context(), expand("SELECT count(DISTINCT "+column+") FROM {schema}."+from, db.cfg.Schema)).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// deadLetters makes n dead letters with SQL, of 100 lanes.
func deadLetters(t testing.TB, db *DB, n int) {
	t.Helper()
	exec(t, db, `WITH made AS (
			INSERT INTO {schema}.dead_letter (seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, attempts, reason, class, status, holds, epoch, sequence)
			SELECT i, 'msg_' || i, 'a', 'm/' || i % 100, 'rule', 'm.write', 'm', (i % 100)::text, 'write', false, '0/1', i, now(), now(), 'application/json', '{}', 10,
				'503 Service Unavailable', CASE WHEN i % 2 = 0 THEN 'status_5xx' ELSE 'timeout' END, CASE WHEN i % 2 = 0 THEN 503 ELSE 0 END, false, 1, i
			FROM generate_series(1, $1::int) i RETURNING endpoint, octet_length(body) AS bytes
		), numbered AS (
			UPDATE {schema}.source SET last_seq = $1, numbers = jsonb_build_object('a', $1::int)
		)
		INSERT INTO {schema}.tally (endpoint, dead, dead_bytes) SELECT endpoint, count(*), sum(bytes) FROM made GROUP BY endpoint`, n)
	exec(t, db, "ANALYZE {schema}.dead_letter")
}

// 50,000 dead letters are retried in bounded transactions; what was interrupted is finished by doing it again.
func TestRetryManyDead(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	const n = 50_000
	deadLetters(t, db, n)
	if got, err := db.CountDead(t.Context(), Filter{}, 1000); got != 1000 || err != nil {
		t.Errorf("counted %d: %v", got, err)
	}
	for _, f := range []Filter{{Class: delivery.ClassTimeout}, {Status: 503}} {
		if got, err := db.CountDead(t.Context(), f, 2*n); got != n/2 || err != nil {
			t.Errorf("%+v selects %d: %v", f, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var last int64
	done, err := db.RetryDead(ctx, Filter{Progress: func(k int64) {
		if last = k; k >= n/2 {
			cancel()
		}
	}})
	if done != n/2 || last != done || !errors.Is(err, context.Canceled) {
		t.Fatalf("%d, told %d: %v", done, last, err)
	}
	began := time.Now()
	if done, err = db.RetryDead(t.Context(), Filter{}); done != n/2 || err != nil {
		t.Fatalf("%d: %v", done, err)
	}
	t.Logf("%d dead letters were retried in %s", done, time.Since(began))
	if q := rows(t, db, "queue"); q != n {
		t.Errorf("%d are queued", q)
	}
	if q := distinct(t, db, "sequence", "delivery"); q != n {
		t.Errorf("%d numbers are queued", q)
	}
	consistent(t, db)
	if lanes := claim(t, p, "a", 1000, 1000); len(lanes) != 100 || len(lanes[0].Deliveries) != n/100 {
		t.Errorf("%d lanes are claimed, the first with %d", len(lanes), len(lanes[0].Deliveries))
	}
}

// What is retried and dies again while the command works is left to the next command.
func TestRetryDeadEndsWhileTheyDieAgain(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	deadLetters(t, db, 2*chunk)
	rounds := 0
	done, err := db.RetryDead(t.Context(), Filter{Progress: func(int64) {
		if rounds++; rounds > 5 {
			t.Fatal("it does not end")
		}
		var out []delivery.Outcome
		for _, l := range claim(t, p, "a", 1000, 1000) {
			for i, d := range l.Deliveries {
				o := outcome(d, delivery.Dead)
				o.LaneDone = i == len(l.Deliveries)-1
				out = append(out, o)
			}
		}
		finish(t, p, 0, out...)
	}})
	if done != 2*chunk || err != nil {
		t.Fatalf("%d: %v", done, err)
	}
	if n := rows(t, db, "dead_letter"); n != 2*chunk {
		t.Errorf("%d dead letters", n)
	}
}

// Parked events are discarded in bounded transactions, too, without those that are parked meanwhile.
func TestDiscardManyParked(t *testing.T) {
	db := openState(t, nil)
	exec(t, db, `INSERT INTO {schema}.parked (id, rule, model, record, commit_lsn, xid, commit_at, error, change)
		SELECT 'evt_' || i, 'r', 'm', i::text, '0/1', i, now(), 'failed', '{}' FROM generate_series(1, $1::int) i`, 2*chunk+5)
	if n, err := db.DiscardParked(t.Context(), Filter{Limit: 3}); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	var progress []int64
	if n, err := db.DiscardParked(t.Context(), Filter{Rule: "r", Progress: func(n int64) {
		progress = append(progress, n)
		exec(t, db, `INSERT INTO {schema}.parked (id, rule, model, record, commit_lsn, xid, commit_at, error, change)
			VALUES ('later_' || $1::bigint, 'r', 'm', '1', '0/1', 1, now(), 'failed', '{}')`, n)
	}}); n != 2*chunk+2 || err != nil {
		t.Fatal(n, err)
	}
	if !slices.Equal(progress, []int64{chunk, 2 * chunk, 2*chunk + 2}) || rows(t, db, "parked") != 3 {
		t.Errorf("progress %v", progress)
	}
}

// What is sent again leaves room for new events: it ends where a queue is 80 % full, and goes on once that has drained.
func TestBulkLeavesRoom(t *testing.T) {
	db := openState(t, func(c *Config) {
		c.Limits = Limits{Endpoints: map[string]QueueLimit{"a": {Limit: Limit{Rows: 1000}}}}
	})
	p := register(t, db)
	const n = 1500
	deadLetters(t, db, n)
	var full *FullError
	drain := func() (drained int) {
		t.Helper()
		var out []delivery.Outcome
		for _, l := range claim(t, p, "a", 1000, 1000) {
			for i, d := range l.Deliveries {
				o := outcome(d, delivery.Delivered)
				o.LaneDone = i == len(l.Deliveries)-1
				out = append(out, o)
			}
		}
		finish(t, p, 0, out...)
		return len(out)
	}
	if done, err := db.RetryDead(t.Context(), Filter{}); done != 800 || !errors.As(err, &full) || full.Endpoint != "a" || hintOf(err) == "" {
		t.Fatalf("%d: %v", done, err)
	}
	if done, err := db.RetryDead(t.Context(), Filter{}); done != 0 || !errors.As(err, &full) {
		t.Fatalf("%d: %v", done, err)
	}
	if drained := drain(); drained != 800 {
		t.Fatal(drained)
	}
	if done, err := db.RetryDead(t.Context(), Filter{}); done != 700 || err != nil {
		t.Fatalf("%d: %v", done, err)
	}
	if drained := drain(); drained != 700 {
		t.Fatal(drained)
	}
	done, rest, err := db.Replay(t.Context(), Filter{})
	if done != 800 || !errors.As(err, &full) {
		t.Fatalf("%d: %v", done, err)
	}
	drain()
	if done, _, err = db.Replay(t.Context(), rest); done != 700 || err != nil {
		t.Fatalf("%d: %v", done, err)
	}
	if ids := distinct(t, db, "id", "delivery WHERE late AND seq >= "+fmt.Sprint(rest.Before)); ids != n {
		t.Errorf("%d ids were replayed", ids)
	}
	// To discard takes no room.
	deadLetters(t, db, 100)
	if done, err := db.DiscardDead(t.Context(), Filter{}); done != 100 || err != nil {
		t.Fatalf("%d: %v", done, err)
	}
	consistent(t, db)
}

// A delivery that was replayed before is in the log twice, perhaps far apart. It is sent once more, not once for each.
func TestReplayOfWhatWasReplayed(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	f.enqueue(t, none, f.many("b", chunk+100)...)
	deliver(t, p, "a", 1, delivery.Delivered)
	for deliver(t, p, "b", 500, delivery.Delivered) > 0 {
	}
	if n, _, err := db.Replay(t.Context(), Filter{Endpoint: "a"}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	deliver(t, p, "a", 1, delivery.Delivered)
	sent := 0
	n, _, err := db.Replay(t.Context(), Filter{Progress: func(int64) { sent += deliver(t, p, "a", 1, delivery.Delivered) }})
	if sent += deliver(t, p, "a", 1, delivery.Delivered); sent != 1 || n != chunk+101 || err != nil {
		t.Errorf("sent %d times, %d replayed, %v", sent, n, err)
	}
	// One that the filter leaves out stands for none.
	exec(t, db, "UPDATE {schema}.attempt SET status = 299 WHERE seq > 1 AND endpoint = 'a'")
	if n, _, err := db.Replay(t.Context(), Filter{Endpoint: "a", Status: 200}); n != 1 || err != nil {
		t.Errorf("%d replayed, %v", n, err)
	}
}
