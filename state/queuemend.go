package state

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// queuePlace is a place in the queue, in the order of its key, which is the order in which lanes are locked too.
type queuePlace struct {
	laneKey
	seq int64
}

// dueLater is the condition on lanes whose deliveries wait for a later time: those that a filter makes due. Others go without it, or not before the dead letter that
// holds them is retried or discarded.
const dueLater = `l.owner IS NULL AND NOT l.held AND l.due > now()`

// selectQueued returns tables and condition for rows q of the queue, l of their lanes and d of the log that a filter selects: of a State, or of both of the queue's. due leaves those
// that cannot be made due out. The first four parameters are the place to begin after and a limit; what is left of the lane of that place counts although the lane was made due. aged are the
// tables of q and d where they are met oldest first, see byAge: then two more parameters are the lanes that were made due before.
func (f Filter) selectQueued(due bool, aged string) (string, conditions) {
	c := conditions{args: []any{"", "", int64(0), int64(0)}}
	from := ` FROM {schema}.queue q JOIN {schema}.delivery d ON d.day = q.day AND d.seq = q.seq`
	if aged != "" {
		from = aged
	} else {
		c.text = append(c.text, "(q.endpoint, q.lane, q.seq) > ($1, $2, $3)")
	}
	if aged != "" && due {
		c.args = append(c.args, []string{}, []string{})
		c.text = append(c.text, "("+dueLater+" OR (q.endpoint, q.lane) IN (SELECT * FROM unnest($5::text[], $6::text[])))")
	}
	if len(f.IDs) > 0 { // OFFSET 0: found by their ids, not along the queue
		c.args = append(c.args, f.IDs)
		from = ` FROM (SELECT * FROM {schema}.delivery WHERE id = ANY($5) OFFSET 0) d JOIN {schema}.queue q ON q.endpoint = d.endpoint AND q.lane = d.lane AND q.seq = d.seq AND q.day = d.day`
	}
	from += ` JOIN {schema}.lane l ON l.endpoint = q.endpoint AND l.key = q.lane`
	f.common(&c, "d", "enqueued_at")
	if f.Endpoint != "" {
		c.add("q.endpoint = $%d", f.Endpoint)
	}
	switch f.State {
	case Pending, Retrying:
		c.add("(q.attempts > 0) = $%d", f.State == Retrying)
	}
	if f.Before > 0 {
		c.add("q.seq < $%d", f.Before)
	}
	if f.Failure() {
		from += ` JOIN LATERAL (SELECT reason, class, status FROM {schema}.attempt t WHERE t.seq = q.seq AND t.day >= q.day ORDER BY t.at DESC LIMIT 1) a ON true`
		c.text = append(c.text, "q.attempts > 0")
		if f.Error != "" {
			c.contains("a.reason", f.Error)
		}
		if f.Class != "" {
			c.add("a.class = $%d", f.Class)
		}
		if f.Status != 0 {
			c.add("a.status = $%d", f.Status)
		}
	}
	switch {
	case due && len(f.IDs) > 0:
		c.text = append(c.text, "NOT l.held")
	case due && aged == "":
		c.text = append(c.text, "("+dueLater+" OR q.endpoint = $1 AND q.lane = $2)")
	}
	return from, c
}

// CountQueued returns how many deliveries in the queue a filter selects, for a preview: it stops counting at limit. due leaves those out that [DB.RetryQueued] leaves out.
func (db *DB) CountQueued(ctx context.Context, f Filter, due bool, limit int) (n int64, err error) {
	from, c := f.selectQueued(due, "")
	c.args[3] = int64(limit)
	statement := "SELECT count(*) FROM (SELECT" + from + " WHERE " + c.where() + " LIMIT $4) selected"
	err = db.read(ctx, "count the queue", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, expand(statement, db.cfg.Schema), c.args...).Scan(&n)
	})
	return n, err
}

// RetryQueued makes deliveries due now that wait for their next attempt, or behind one that does; attempts are not forgotten. It returns how many: by ids also those that
// are due already or in a process's hands, as they are sent anyway. None of a lane that a dead letter holds is selected.
func (db *DB) RetryQueued(ctx context.Context, f Filter) (int64, error) {
	done, _, err := db.eachQueued(ctx, "make deliveries due", f, true, func(ctx context.Context, t *transaction, list []pendingRow) (int64, error) {
		keys := make([]laneKey, len(list))
		for i, r := range list {
			keys[i] = laneKey{r.endpoint, r.lane}
		}
		endpoints, names := splitKeys(keys)
		return int64(len(list)), t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(dueNow), endpoints, names) })
	})
	return done, err
}

// DiscardQueued gives deliveries in the queue up that no process has in hand, and returns how many, and how many were left as one has them: they may be on their way. What is behind them in
// their lane goes on.
func (db *DB) DiscardQueued(ctx context.Context, f Filter) (done, left int64, err error) {
	return db.eachQueued(ctx, "discard what is queued", f, false, func(ctx context.Context, t *transaction, list []pendingRow) (int64, error) {
		gone, err := db.dropPending(ctx, t, list, true)
		return int64(len(gone)), err
	})
}

// dueNow makes free lanes due, in order.
const dueNow = `UPDATE {schema}.lane SET due = now() FROM (
		SELECT l.endpoint, l.key FROM {schema}.lane l JOIN (SELECT DISTINCT endpoint, key FROM unnest($1::text[], $2::text[]) u (endpoint, key)) u
			ON l.endpoint = u.endpoint AND l.key = u.key
		WHERE ` + dueLater + ` ORDER BY l.endpoint, l.key FOR UPDATE OF l
	) waits WHERE lane.endpoint = waits.endpoint AND lane.key = waits.key`

// eachQueued calls fn with chunks of what the filter selects, along the queue, or the Oldest first, each in its own transaction; fn returns how many it has done. Rows of lanes that a
// process has in hand, or takes meanwhile, are left, unless they are to be made due.
func (db *DB) eachQueued(ctx context.Context, op string, f Filter, due bool, fn func(context.Context, *transaction, []pendingRow) (int64, error)) (done, left int64, err error) {
	if f.Before == 0 { // or it might never end
		if f.Before, err = db.nextSeq(ctx); err != nil {
			return 0, 0, err
		}
	}
	if f.byAge() {
		return db.eachQueuedByAge(ctx, op, f, due, fn)
	}
	from, c := f.selectQueued(due, "")
	statement := expand(`SELECT q.endpoint, q.lane, q.seq, q.bytes, d.epoch, d.sequence, d.commit_lsn::text, d.commit_at`+from+" WHERE "+c.where()+
		" ORDER BY q.endpoint, q.lane, q.seq LIMIT $4", db.cfg.Schema)
	var at queuePlace
	for {
		n := int64(chunk)
		if f.Limit > 0 {
			n = min(n, int64(f.Limit)-done)
		}
		if n <= 0 {
			return done, left, nil
		}
		var list []pendingRow
		var some int64
		err := db.transact(ctx, op, func(t *transaction) error {
			if err := t.send(ctx, func(b *pgx.Batch) {
				c.args[0], c.args[1], c.args[2], c.args[3] = at.endpoint, at.key, at.seq, n
				b.Queue(statement, c.args...).Query(func(rows pgx.Rows) (err error) {
					list, err = pgx.CollectRows(rows, scanPending)
					return err
				})
			}); err != nil || len(list) == 0 {
				return err
			}
			var err error
			some, err = fn(ctx, t, list)
			return err
		})
		if err != nil || len(list) == 0 {
			return done, left, err
		}
		done, left = done+some, left+int64(len(list))-some
		last := list[len(list)-1]
		at = queuePlace{laneKey{last.endpoint, last.lane}, last.seq}
		f.report(done, f.After)
	}
}
