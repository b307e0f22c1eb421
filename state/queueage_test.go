package state

import (
	"fmt"
	"testing"

	"walhook/delivery"
)

// manyNewer puts more into the queue than is sorted by age there: one lane of an endpoint of its own, after all else.
func manyNewer(t *testing.T, db *DB) {
	t.Helper()
	newerLog(t, db, 6000)
	exec(t, db, `INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes) SELECT endpoint, lane, seq, day, 2 FROM {schema}.delivery WHERE endpoint = 'z'`)
	exec(t, db, `INSERT INTO {schema}.lane (endpoint, key, due) VALUES ('z', 'm/1', now() + interval '1 hour')`)
}

// newerLog puts deliveries into the log that are in no queue any more, after all else.
func newerLog(t *testing.T, db *DB, n int) {
	t.Helper()
	exec(t, db, `INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence)
		SELECT 100000 + n, (now() AT TIME ZONE 'UTC')::date, 'z' || n, 'z', 'm/1', 'r', 'e', 'm', '1', 'write', false, '0/10', 1, now(), now(), 'application/json', '{}', 1, n FROM generate_series(1, $1) n`, n)
	exec(t, db, `UPDATE {schema}.source SET last_seq = 200000`)
}

// What is made due is among the oldest, however many chunks they are: other lanes do not come first as theirs is due by then. And what is due already, or held,
// is not selected where the lane has no name either.
func TestRetryQueuedOldestFirstOnlyThose(t *testing.T) {
	for name, many := range map[string]bool{"by the queue": false, "by the log": true} {
		t.Run(name, func(t *testing.T) {
			db := openLedger(t, nil)
			f := newFeed(t, register(t, db))
			var list []*delivery.Delivery
			for range 1500 {
				list = append(list, f.delivery("a", "hot"))
			}
			for i := range 300 {
				list = append(list, f.delivery("a", fmt.Sprintf("m/%d", i)))
			}
			f.enqueue(t, none, list...)
			f.enqueue(t, none, f.delivery("b", ""), f.delivery("b", ""))
			exec(t, db, `UPDATE {schema}.lane SET due = now() + interval '1 hour' WHERE endpoint = 'a'`)
			oldest, unnamed := Filter{Endpoint: "a", Oldest: true, Limit: 1500}, Filter{Endpoint: "b", Oldest: true, Limit: 5}
			if many {
				manyNewer(t, db)
				oldest.Endpoint = "" // of all, they are more than are sorted
			}
			if n, err := db.RetryQueued(t.Context(), oldest); n != 1500 || err != nil {
				t.Fatal(n, err)
			}
			if n := rows(t, db, "lane WHERE endpoint = 'a' AND due <= now()"); n != 1 {
				t.Errorf("%d lanes are due, the oldest are all of one", n)
			}
			if n, err := db.RetryQueued(t.Context(), unnamed); n != 0 || err != nil {
				t.Errorf("%d made due that were, %v", n, err)
			}
			oldest.Limit = 200
			if n, err := db.RetryQueued(t.Context(), oldest); n != 200 || err != nil {
				t.Fatal(n, err)
			}
			if n := rows(t, db, "lane WHERE endpoint = 'a' AND due <= now()"); n != 201 {
				t.Errorf("%d lanes are due after another 200", n)
			}
		})
	}
}

// A queue that is small is not looked for in all of a log that is large; one that is large is gone through in windows also for an endpoint that has little or nothing in the log.
func TestQueuedOldestFirstInWindows(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	retryLater(t, p, d)
	newerLog(t, db, 20001)
	windows := 0
	oldest := Filter{State: Retrying, Oldest: true, Limit: 5, Progress: func(int64) { windows++ }}
	for _, oldest.Endpoint = range []string{"", "a"} {
		exec(t, db, `UPDATE {schema}.lane SET due = now() + interval '1 hour'`)
		windows = 0
		if n, err := db.RetryQueued(t.Context(), oldest); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if windows > 1 {
			t.Errorf("endpoint %q: %d windows for one delivery", oldest.Endpoint, windows)
		}
	}
	large := oldest
	large.Endpoint = "a"
	window, _ := large.queuedByAge(false)
	for after, want := range map[int64]int{0: 5000, 110000: 5000, 119000: 1001} {
		var n int
		if err := db.pool.QueryRow(t.Context(), expand("SELECT count(*) FROM "+window+" w", db.cfg.Schema), "a", "", after).Scan(&n); err != nil || n != want {
			t.Errorf("a window after %d holds %d, want %d: %v", after, n, want, err)
		}
	}
}
