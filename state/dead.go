package state

import (
	"context"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// chunk bounds the transactions of commands that work on many rows.
const chunk = 1000

// selectDead is the condition on dead letters x that a filter comes to.
func (f Filter) selectDead() conditions {
	var c conditions
	f.common(&c, "x", "enqueued_at")
	if f.Endpoint != "" {
		c.add("x.endpoint = $%d", f.Endpoint)
	}
	if f.Error != "" {
		c.contains("x.reason", f.Error)
	}
	if f.Class != "" {
		c.add("x.class = $%d", f.Class)
	}
	if f.Status != 0 {
		c.add("x.status = $%d", f.Status)
	}
	if f.Before > 0 {
		c.add("x.seq < $%d", f.Before)
	}
	if f.After > 0 {
		c.add("x.seq > $%d", f.After)
	}
	return c
}

// CountDead returns how many dead letters a filter selects, for a preview: it stops counting at limit.
func (db *DB) CountDead(ctx context.Context, f Filter, limit int) (n int64, err error) {
	c := f.selectDead()
	statement := "SELECT count(*) FROM (SELECT FROM {schema}.dead_letter x WHERE " + c.where() + " LIMIT " + itoa(limit) + ") selected"
	err = db.read(ctx, "count dead letters", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, expand(statement, db.cfg.Schema), c.args...).Scan(&n)
	})
	return n, err
}

// RetryDead enqueues dead letters again, all that the filter selects (Limit, when set, bounds them), and returns how many. Each is logged anew
// with today's date, its old id and number, and no attempts, unless today's log has it under the same seq. One that holds its lane goes back to the front of it, with its old seq, and the lane goes on:
// order is kept. The others go to the end of their lanes, marked late. It works in bounded transactions, so a failure leaves those before it done, and
// to do the same again does the rest. A *[FullError] ends it where a queue has no room for more.
func (db *DB) RetryDead(ctx context.Context, f Filter) (int64, error) {
	return db.eachDead(ctx, "retry dead letters", f, true, db.retryDead)
}

// DiscardDead deletes dead letters and returns how many. Lanes that they held go on.
func (db *DB) DiscardDead(ctx context.Context, f Filter) (int64, error) {
	return db.eachDead(ctx, "discard dead letters", f, false, db.discardDead)
}

// deadLetter is what a command needs to know of one.
type deadLetter struct {
	laneKey
	missing  // the number that it had
	seq      int64
	holds    bool
	bytes    int64             // of its body
	priority delivery.Priority // of its rule
}

// eachDead calls fn with chunks of what the filter selects, oldest first, each in its own transaction. Those that another command works on are
// skipped, and so are those that die meanwhile: what is retried and dies again would be met again and again. queues says that fn
// queues them, which takes room.
func (db *DB) eachDead(ctx context.Context, op string, f Filter, queues bool, fn func(context.Context, *transaction, []deadLetter) error) (int64, error) {
	if f.Before == 0 {
		var err error
		if f.Before, err = db.nextSeq(ctx); err != nil {
			return 0, err
		}
	}
	c := f.selectDead()
	where, args := c.where(), c.args
	statement := expand("SELECT x.seq, x.endpoint, x.lane, x.holds, octet_length(x.body), x.rule, x.epoch, x.sequence, x.commit_lsn::text, x.commit_at FROM {schema}.dead_letter x WHERE x.seq > $"+itoa(len(args)+1)+
		" AND "+where+" ORDER BY x.seq LIMIT $"+itoa(len(args)+2)+" FOR UPDATE SKIP LOCKED", db.cfg.Schema)
	var done, after int64
	for {
		n := int64(chunk)
		if f.Limit > 0 {
			n = min(n, int64(f.Limit)-done)
		}
		if n <= 0 {
			return done, nil
		}
		var list []deadLetter
		err := db.withPartitions(ctx, func() error {
			return db.transact(ctx, op, func(t *transaction) error {
				if err := t.send(ctx, func(b *pgx.Batch) {
					b.Queue(statement, append(args[:len(args):len(args)], after, n)...).Query(func(rows pgx.Rows) (err error) {
						list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (d deadLetter, err error) {
							var rule string
							err = row.Scan(&d.seq, &d.laneKey.endpoint, &d.key, &d.holds, &d.bytes, &rule, &d.epoch, &d.sequence, &d.lsn, &d.at)
							d.missing.endpoint, d.priority = d.laneKey.endpoint, f.Priorities[rule]
							return d, err
						})
						return err
					})
				}); err != nil || len(list) == 0 {
					return err
				}
				if queues {
					var err error
					if list, err = thatFit(ctx, db, list, func(d deadLetter) (string, int64) { return d.laneKey.endpoint, d.bytes }); err != nil {
						return err
					}
				}
				return fn(ctx, t, list)
			})
		})
		if err != nil || len(list) == 0 {
			return done, err
		}
		done += int64(len(list))
		after = list[len(list)-1].seq
		f.report(done, after)
	}
}

// report tells how many are done, and up to where.
func (f Filter) report(done, after int64) {
	if f.Rest != nil {
		rest := f
		rest.After, rest.Rest = after, nil
		*f.Rest = rest
	}
	if f.Progress != nil {
		f.Progress(done)
	}
}

// nextSeq is greater than every seq that was given out.
func (db *DB) nextSeq(ctx context.Context) (seq int64, err error) {
	const read = `SELECT coalesce((SELECT last_seq FROM {schema}.source), 0) + 1`
	err = db.pool.QueryRow(ctx, db.sql(read)).Scan(&seq)
	return seq, db.translate("read the last seq", err)
}

// retryDead moves dead letters back to log and queue. What keeps its seq may be in today's log already: day and seq name one row of it,
// which stays as it was. So the queue says since when it waits (max_age).
func (db *DB) retryDead(ctx context.Context, t *transaction, list []deadLetter) error {
	const reserve = `UPDATE {schema}.source SET last_seq = last_seq + $1 RETURNING last_seq - $1`
	const move = `WITH gone AS (
			DELETE FROM {schema}.dead_letter x USING unnest($1::bigint[], $2::bigint[]) u (was, becomes) WHERE x.seq = u.was RETURNING x.*, u.becomes AS new_seq
		), logged AS (
			INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, again, format, headers)
			SELECT new_seq, (now() AT TIME ZONE 'UTC')::date, id, endpoint, lane, rule, event, model, record, op, late OR NOT holds, commit_lsn, xid, commit_at, now(),
				content_type, body, epoch, sequence, true, format, headers FROM gone
			WHERE NOT EXISTS (SELECT FROM {schema}.delivery d WHERE d.day = (now() AT TIME ZONE 'UTC')::date AND d.seq = gone.new_seq)
		), tallied AS (
			INSERT INTO {schema}.tally (endpoint, pending, pending_bytes, dead, dead_bytes)
			SELECT endpoint, count(*), sum(octet_length(body)), -count(*), -sum(octet_length(body)) FROM gone GROUP BY endpoint
		)
		INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes, again_at)
		SELECT endpoint, lane, new_seq, (now() AT TIME ZONE 'UTC')::date, octet_length(body), now() FROM gone`
	old, seqs := make([]int64, len(list)), make([]int64, len(list))
	var fresh int64
	for _, d := range list {
		if !d.holds {
			fresh++
		}
	}
	var base int64
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(reserve), fresh).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&base)
			if noRows(err) {
				return ErrNotBound
			}
			return err
		})
	}); err != nil {
		return err
	}
	for i, d := range list {
		old[i], seqs[i] = d.seq, d.seq
		if !d.holds {
			base++
			seqs[i] = base
		}
	}
	return t.send(ctx, func(b *pgx.Batch) {
		db.openLanes(b, list)
		b.Queue(db.sql(move), old, seqs)
		db.unhold(b, list)
	})
}

// openLanes makes the lanes that deliveries go to, or locks them and raises their priority, in order. What held its lane comes back in front: should
// somebody have the lane in hand, the column back tells.
func (db *DB) openLanes(b *pgx.Batch, list []deadLetter) {
	endpoints, keys := splitKeys(keysOf(list))
	back, priorities := make([]*int64, len(list)), make([]int16, len(list))
	for i := range list {
		priorities[i] = int16(list[i].priority)
		if list[i].holds {
			back[i] = &list[i].seq
		}
	}
	b.Queue(db.sql(openLanesFor), endpoints, keys, priorities, back)
}

// unhold lets lanes go on that no dead letter holds any more; those without queue rows end.
func (db *DB) unhold(b *pgx.Batch, list []deadLetter) {
	const lock = `SELECT FROM {schema}.lane l JOIN (SELECT DISTINCT endpoint, key FROM unnest($1::text[], $2::text[]) u (endpoint, key)) u
		ON l.endpoint = u.endpoint AND l.key = u.key WHERE l.held ORDER BY l.endpoint, l.key FOR UPDATE OF l`
	const free = `UPDATE {schema}.lane l SET held = false, due = now() FROM unnest($1::text[], $2::text[]) u (endpoint, key)
		WHERE l.endpoint = u.endpoint AND l.key = u.key AND l.held
			AND NOT EXISTS (SELECT FROM {schema}.dead_letter x WHERE x.endpoint = l.endpoint AND x.lane = l.key AND x.holds)`
	const end = `DELETE FROM {schema}.lane l USING unnest($1::text[], $2::text[]) u (endpoint, key)
		WHERE l.endpoint = u.endpoint AND l.key = u.key AND l.owner IS NULL AND NOT l.held
			AND NOT EXISTS (SELECT FROM {schema}.queue q WHERE q.endpoint = l.endpoint AND q.lane = l.key)`
	var holding []deadLetter
	for _, d := range list {
		if d.holds {
			holding = append(holding, d)
		}
	}
	if len(holding) == 0 {
		return
	}
	endpoints, keys := splitKeys(keysOf(holding))
	b.Queue(db.sql(lock), endpoints, keys)
	b.Queue(db.sql(free), endpoints, keys)
	b.Queue(db.sql(end), endpoints, keys)
}

// discardDead deletes dead letters.
func (db *DB) discardDead(ctx context.Context, t *transaction, list []deadLetter) error {
	const remove = `DELETE FROM {schema}.dead_letter WHERE seq = ANY($1)`
	seqs, endpoints, numbers, y := make([]int64, len(list)), make([]string, len(list)), make([]missing, len(list)), tally{}
	for i, d := range list {
		u := y.at(d.laneKey.endpoint)
		u.Dead, u.DeadBytes = u.Dead-1, u.DeadBytes-d.bytes
		seqs[i], endpoints[i], numbers[i] = d.seq, d.laneKey.endpoint, d.missing
	}
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(remove), seqs)
		db.unhold(b, list)
		db.noteGaps(b, numbers, gapDiscarded)
		y.queue(db, b)
		b.Queue(db.sql(countDiscarded), endpoints)
	})
}

const countDiscarded = `INSERT INTO {schema}.endpoint AS e (name, discarded)
	SELECT u.endpoint, count(*) FROM unnest($1::text[]) u (endpoint) GROUP BY 1 ORDER BY 1
	ON CONFLICT (name) DO UPDATE SET discarded = e.discarded + excluded.discarded`

func keysOf(list []deadLetter) []laneKey {
	keys := make([]laneKey, len(list))
	for i, d := range list {
		keys[i] = d.laneKey
	}
	return keys
}
