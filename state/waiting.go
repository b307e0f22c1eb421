package state

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// aside are the deliveries of a batch that are numbered and logged, and not queued: those of rules in test mode, whose numbers are gaps at once,
// and those that wait for the end of their window in the table waiting. Of a rule, endpoint and record one waits: the last.
//
// Locks are taken in the order waiting, source, lanes. Whoever moves what is due to the queue skips what is locked
// in waiting and takes lanes after it, so none of them waits in a circle. Only the reader adds to waiting.
type aside struct {
	test    []*delivery.Delivery
	waiting map[waitingKey]*delivery.Delivery // the last of each key
	passed  []*delivery.Delivery              // those that a later one of this batch replaces
	keys    []waitingKey                      // in locking order
	before  map[waitingKey]overtaken          // what waits already, locked
}

// waitingKey is the key of the table waiting.
type waitingKey struct{ endpoint, rule, key string }

func waitingKeyOf(d *delivery.Delivery) waitingKey {
	return waitingKey{d.Endpoint, d.Rule, delivery.RecordKey(d)}
}

func compareWaiting(a, b waitingKey) int {
	return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.rule, b.rule), cmp.Compare(a.key, b.key))
}

// overtaken is a row that gives way to a later delivery.
type overtaken struct {
	missing
	bytes int64
}

// setAside splits a batch. A batch of which everything is queued, and that is nearly every one, stays as it is.
func setAside(deliveries []*delivery.Delivery) (queued []*delivery.Delivery, a aside) {
	n := slices.IndexFunc(deliveries, (*delivery.Delivery).Aside)
	if n < 0 {
		return deliveries, a
	}
	queued = slices.Clone(deliveries[:n])
	a.waiting = map[waitingKey]*delivery.Delivery{}
	for _, d := range deliveries[n:] {
		switch {
		case !d.Aside():
			queued = append(queued, d)
		case d.Test:
			a.test = append(a.test, d)
		default:
			k := waitingKeyOf(d)
			if earlier := a.waiting[k]; earlier != nil {
				a.passed = append(a.passed, earlier)
			} else {
				a.keys = append(a.keys, k)
			}
			a.waiting[k] = d
		}
	}
	slices.SortFunc(a.keys, compareWaiting)
	return queued, a
}

func (a *aside) empty() bool { return len(a.test)+len(a.keys) == 0 }

// columns returns the keys, for unnest.
func (a *aside) columns() (endpoints, rules, keys []string) {
	endpoints, rules, keys = make([]string, len(a.keys)), make([]string, len(a.keys)), make([]string, len(a.keys))
	for i, k := range a.keys {
		endpoints[i], rules[i], keys[i] = k.endpoint, k.rule, k.key
	}
	return endpoints, rules, keys
}

// takePlace tells which deliveries would replace one that waits: they take no more room, and to park the last of a record in favour of an earlier
// one would be the wrong way round.
func (db *DB) takePlace(ctx context.Context, deliveries []*delivery.Delivery) (map[waitingKey]bool, error) {
	const look = `SELECT u.n FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY u (endpoint, rule, key, n)
		JOIN {schema}.waiting w ON w.endpoint = u.endpoint AND w.rule = u.rule AND w.key = u.key`
	_, a := setAside(deliveries)
	found := map[waitingKey]bool{}
	if len(a.keys) == 0 {
		return found, nil
	}
	endpoints, rules, keys := a.columns()
	rows, err := db.pool.Query(ctx, db.sql(look), endpoints, rules, keys)
	if err == nil {
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&n}, func() error {
			found[a.keys[n-1]] = true
			return nil
		})
	}
	return found, db.translate("look at what waits", err)
}

const lockWaiting = `SELECT u.n, w.epoch, w.sequence, w.commit_lsn::text, w.commit_at, w.bytes
	FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY u (endpoint, rule, key, n)
	JOIN {schema}.waiting w ON w.endpoint = u.endpoint AND w.rule = u.rule AND w.key = u.key
	ORDER BY w.endpoint, w.rule, w.key
	FOR UPDATE OF w`

// lock locks what waits already and will be replaced, and remembers it. It comes before the source row and lanes are locked.
func (a *aside) lock(ctx context.Context, db *DB, t *transaction) error {
	if len(a.keys) == 0 {
		return nil
	}
	a.before = map[waitingKey]overtaken{}
	endpoints, rules, keys := a.columns()
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(lockWaiting), endpoints, rules, keys).Query(func(rows pgx.Rows) error {
			var n int64
			var r overtaken
			_, err := pgx.ForEachRow(rows, []any{&n, &r.epoch, &r.sequence, &r.lsn, &r.at, &r.bytes}, func() error {
				r.endpoint = a.keys[n-1].endpoint
				a.before[a.keys[n-1]] = r
				return nil
			})
			return err
		})
	})
}

// replaceWaiting puts deliveries where their predecessors were: due when their rule's wait has passed, at the latest its max after the
// first of the window.
const replaceWaiting = `INSERT INTO {schema}.waiting AS w (endpoint, rule, key, lane, seq, day, bytes, priority, epoch, sequence, commit_lsn, commit_at, until, due)
	SELECT u.endpoint, u.rule, u.key, u.lane, u.seq, (now() AT TIME ZONE 'UTC')::date, u.bytes, u.priority, u.epoch, u.sequence, u.lsn::pg_lsn, u.at,
		now() + u.max * interval '1 microsecond', now() + least(u.wait, u.max) * interval '1 microsecond'
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[], $7::smallint[], $8::bigint[], $9::bigint[], $10::text[], $11::timestamptz[],
		$12::bigint[], $13::bigint[]) u (endpoint, rule, key, lane, seq, bytes, priority, epoch, sequence, lsn, at, wait, max)
	ORDER BY u.endpoint COLLATE "C", u.rule COLLATE "C", u.key COLLATE "C"
	ON CONFLICT (endpoint, rule, key) DO UPDATE SET lane = excluded.lane, seq = excluded.seq, day = excluded.day, bytes = excluded.bytes, priority = excluded.priority,
		epoch = excluded.epoch, sequence = excluded.sequence, commit_lsn = excluded.commit_lsn, commit_at = excluded.commit_at,
		until = w.first_at + (excluded.until - now()), due = least(excluded.due, w.first_at + (excluded.until - now()))`

// write notes what was set aside, once the batch has its seqs and numbers: in the transaction that moves the position (invariant 2).
func (a *aside) write(ctx context.Context, db *DB, t *transaction) error {
	if a.empty() {
		return nil
	}
	tests := make([]missing, len(a.test))
	for i, d := range a.test {
		tests[i] = missingOf(d)
	}
	gone, y := make([]missing, 0, len(a.passed)+len(a.before)), tally{}
	for _, d := range a.passed {
		gone = append(gone, missingOf(d))
	}
	for _, r := range a.before {
		gone = append(gone, r.missing)
		u := y.at(r.missing.endpoint)
		u.Pending, u.PendingBytes = u.Pending-1, u.PendingBytes-r.bytes
	}
	n := len(a.keys)
	endpoints, rules, keys := a.columns()
	lanes, lsns, at := make([]string, n), make([]string, n), make([]time.Time, n)
	seqs, epochs, sequences, wait, most := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	bytes, priorities := make([]int32, n), make([]int16, n)
	for i, k := range a.keys {
		d := a.waiting[k]
		lanes[i], seqs[i], bytes[i], priorities[i] = d.Lane, d.Seq, int32(len(d.Body)), int16(d.Priority)
		epochs[i], sequences[i], lsns[i], at[i] = d.Epoch, d.Sequence, d.CommitLSN.String(), d.CommitAt
		wait[i], most[i] = d.Wait.Microseconds(), d.Max.Microseconds()
		u := y.at(d.Endpoint)
		u.Pending, u.PendingBytes = u.Pending+1, u.PendingBytes+int64(len(d.Body))
	}
	return t.send(ctx, func(b *pgx.Batch) {
		if n > 0 {
			b.Queue(db.sql(replaceWaiting), endpoints, rules, keys, lanes, seqs, bytes, priorities, epochs, sequences, lsns, at, wait, most)
		}
		db.noteGaps(b, tests, gapTest)
		db.noteGaps(b, gone, gapSuperseded)
		y.queue(db, b)
	})
}

// grown is what the batch adds to what waits; what it takes the place of is not deducted until the sizes are read again.
func (a *aside) grown() tally {
	y := tally{}
	for k, d := range a.waiting {
		u := y.at(k.endpoint)
		u.Pending, u.PendingBytes = u.Pending+1, u.PendingBytes+int64(len(d.Body))
	}
	return y
}

// wait is how long the first of what was set aside waits at most before it is due; 0 when nothing waits.
func (a *aside) wait() (first time.Duration) {
	for _, d := range a.waiting {
		if w := min(d.Wait, d.Max); first == 0 || w < first {
			first = w
		}
	}
	return first
}
