package state

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// ofLog joins the log, for filters.
const ofLog = `JOIN {schema}.delivery d ON d.day = w.day AND d.seq = w.seq`

// selectWaiting is the condition on rows w of waiting and d of the log that a filter comes to. The first parameter is left free.
func (f Filter) selectWaiting() conditions {
	c := conditions{args: []any{nil}}
	f.common(&c, "d", "enqueued_at")
	if f.Endpoint != "" {
		c.add("w.endpoint = $%d", f.Endpoint)
	}
	if f.Before > 0 {
		c.add("w.seq < $%d", f.Before)
	}
	if f.After > 0 {
		c.add("w.seq > $%d", f.After)
	}
	return c
}

// CountWaiting returns how many deliveries that wait for their window a filter selects, for a preview: it stops counting at limit.
func (db *DB) CountWaiting(ctx context.Context, f Filter, limit int) (n int64, err error) {
	if f.Failure() {
		return 0, nil
	}
	c := f.selectWaiting()
	statement := "SELECT count(*) FROM (SELECT FROM {schema}.waiting w " + ofLog + " WHERE " + c.where() + " LIMIT $1) selected"
	c.args[0] = limit
	err = db.read(ctx, "count what waits", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, expand(statement, db.cfg.Schema), c.args...).Scan(&n)
	})
	return n, err
}

// Failure says that the filter asks for failures, which what was never sent has none of.
func (f Filter) Failure() bool { return f.Error != "" || f.Class != "" || f.Status != 0 }

// RetryWaiting queues deliveries that wait for their window now, all that the filter selects (Limit, when set, bounds them), and returns how
// many. It works in bounded transactions: to do the same again does the rest.
func (db *DB) RetryWaiting(ctx context.Context, f Filter) (int64, error) {
	return db.eachWaiting(ctx, "queue what waits", f, db.queueWaiting)
}

// DiscardWaiting gives deliveries up that wait for their window, and returns how many.
func (db *DB) DiscardWaiting(ctx context.Context, f Filter) (int64, error) {
	return db.eachWaiting(ctx, "discard what waits", f, db.discardWaiting)
}

// eachWaiting calls fn with chunks of what the filter selects, each in its own transaction; fn takes them out of waiting.
func (db *DB) eachWaiting(ctx context.Context, op string, f Filter, fn func(context.Context, *transaction, []waitingRow) error) (done int64, err error) {
	if f.Failure() {
		return 0, nil
	}
	if f.Before == 0 { // or it might never end
		if f.Before, err = db.nextSeq(ctx); err != nil {
			return 0, err
		}
	}
	c := f.selectWaiting()
	for {
		n := int64(chunk)
		if f.Limit > 0 {
			n = min(n, int64(f.Limit)-done)
		}
		if n <= 0 {
			return done, nil
		}
		var list []waitingRow
		err := db.transact(ctx, op, func(t *transaction) (err error) {
			if err := t.send(ctx, f.byID); err != nil {
				return err
			}
			if list, err = db.pickWaiting(ctx, t, ofLog, c.where(), n, c.args[1:]); err != nil || len(list) == 0 {
				return err
			}
			return fn(ctx, t, list)
		})
		if err != nil || len(list) == 0 {
			return done, err
		}
		done += int64(len(list))
		f.report(done, f.After)
	}
}

// discardWaiting deletes locked rows. Their numbers are gaps.
func (db *DB) discardWaiting(ctx context.Context, t *transaction, list []waitingRow) error {
	const remove = `DELETE FROM {schema}.waiting WHERE seq = ANY($1)`
	seqs, endpoints, numbers, y := make([]int64, len(list)), make([]string, len(list)), make([]missing, len(list)), tally{}
	for i, w := range list {
		u := y.at(w.endpoint)
		u.Pending, u.PendingBytes = u.Pending-1, u.PendingBytes-w.bytes
		seqs[i], endpoints[i], numbers[i] = w.seq, w.endpoint, w.missing
	}
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(remove), seqs)
		db.noteGaps(b, numbers, gapDiscarded)
		y.queue(db, b)
		b.Queue(db.sql(countDiscarded), endpoints)
	})
}
