package state

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// replayWindow is how many rows of the log are looked at in one transaction at most, where what a filter selects is rare.
const replayWindow = 20_000

// replayed is what is to be known of a delivery that is sent again.
type replayed struct {
	laneKey
	seq      int64
	day      time.Time
	id       string
	bytes    int64
	priority delivery.Priority // of its rule
}

// selectDelivered reads the next window of the log: deliveries whose last attempt succeeded, without those that wait to be sent again already
// or come again later, as they were replayed before. It ends with the seq up to which it looked.
const selectDelivered = `
WITH looked AS MATERIALIZED (
	SELECT d.seq, d.day, d.id, d.endpoint, d.lane, d.op, octet_length(d.body) AS bytes, d.rule, d.epoch, d.sequence FROM {schema}.delivery d
	WHERE %s ORDER BY d.seq LIMIT %s
)
SELECT d.seq, d.day, d.id, d.endpoint, d.lane, d.bytes, d.rule, (SELECT max(seq) FROM looked) FROM looked d
WHERE %s
	AND NOT EXISTS (SELECT FROM {schema}.delivery n WHERE n.id = d.id AND n.seq > d.seq AND n.day >= d.day
		AND (EXISTS (SELECT FROM {schema}.queue q WHERE q.endpoint = n.endpoint AND q.lane = n.lane AND q.seq = n.seq) OR %s))
UNION ALL
SELECT max(seq), NULL, NULL, NULL, NULL, NULL, NULL, max(seq) FROM looked
ORDER BY 1, 2 NULLS LAST`

// Which deliveries are replayed: those that were delivered, or those of rules in test mode that were never sent.
const (
	wasDelivered = `(SELECT t.result = 'delivered' AND %[2]d IN (0, t.status) FROM {schema}.attempt t WHERE t.seq = %[1]s.seq AND t.day >= %[1]s.day ORDER BY t.at DESC LIMIT 1)`
	wasTest      = `EXISTS (SELECT FROM ` + unsentGap + ` g
		WHERE g.first <= d.sequence AND g.reason = 'test')
	AND NOT EXISTS (SELECT FROM {schema}.delivery n WHERE n.id = d.id AND n.seq > d.seq)
	AND NOT EXISTS (SELECT FROM {schema}.attempt t WHERE t.seq = d.seq)
	AND NOT EXISTS (SELECT FROM {schema}.dead_letter x WHERE x.seq = d.seq)
	AND NOT EXISTS (SELECT FROM {schema}.queue q WHERE q.endpoint = d.endpoint AND q.lane = d.lane AND q.seq = d.seq)`
)

// Replay enqueues delivered deliveries again, all that the filter selects (Limit, when set, bounds them), oldest first: with their old ids and
// numbers and bodies, at the end of their lanes, marked late. Of the state Test it enqueues those of rules in test mode instead. Those that wait to be sent again already are left out. It knows what the log
// holds, which is what retention leaves.
//
// It works in bounded transactions. rest is the filter to go on with after a failure or at the limit, its After and Before set:
// what was replayed already lies behind it and is not met again. A *[FullError] ends it where a queue has no room for more.
func (db *DB) Replay(ctx context.Context, f Filter) (done int64, rest Filter, err error) {
	return db.eachDelivered(ctx, "replay deliveries", f, db.replay)
}

// CountDelivered returns how many deliveries Replay would enqueue, for a preview: it stops counting at limit.
func (db *DB) CountDelivered(ctx context.Context, f Filter, limit int) (int64, error) {
	if f.Limit == 0 || f.Limit > limit {
		f.Limit = limit
	}
	f.Progress = nil
	n, _, err := db.eachDelivered(ctx, "count deliveries", f, func(_ context.Context, _ *transaction, list []replayed) ([]replayed, error) { return list, nil })
	return n, err
}

// eachDelivered walks the log from the oldest on and calls fn with chunks of what the filter selects.
func (db *DB) eachDelivered(ctx context.Context, op string, f Filter, fn func(context.Context, *transaction, []replayed) ([]replayed, error)) (done int64, rest Filter, err error) {
	if f.Before == 0 {
		if f.Before, err = db.nextSeq(ctx); err != nil {
			return 0, f, err
		}
	}
	statement, args := f.replayStatement()
	statement = expand(statement, db.cfg.Schema)
	n := len(args)
	window := chunk
	for rest = f; ; {
		var list []replayed
		looked := int64(0) // up to where; 0 at the end of the log
		err := db.withPartitions(ctx, func() error {
			return db.transact(ctx, op, func(t *transaction) (err error) {
				if err := t.send(ctx, func(b *pgx.Batch) {
					f.byID(b)
					b.Queue(statement, append(args[:n:n], rest.After, window)...).Query(func(rows pgx.Rows) (err error) {
						list, looked, err = f.collectReplayed(rows)
						return err
					})
				}); err != nil {
					return err
				}
				list, looked = f.cutReplayed(list, looked, done)
				if len(list) == 0 {
					return nil
				}
				fits, err := fn(ctx, t, list)
				if err == nil && len(fits) < len(list) {
					list, looked = fits, fits[len(fits)-1].seq
				}
				return err
			})
		})
		if err != nil || looked == 0 {
			return done, rest, err
		}
		rest.After = looked
		if window = min(2*window, replayWindow); len(list) > chunk/10 {
			window = chunk
		}
		done += int64(len(list))
		f.report(done, rest.After)
		if f.Limit > 0 && done >= int64(f.Limit) {
			return done, rest, nil
		}
	}
}

// cutReplayed leaves one chunk, within the limit, and of an id one delivery: the last. What is cut off is looked at again.
func (f Filter) cutReplayed(list []replayed, looked, done int64) ([]replayed, int64) {
	n := chunk
	if f.Limit > 0 {
		n = int(min(int64(n), int64(f.Limit)-done))
	}
	if len(list) > n {
		list, looked = list[:n], list[n-1].seq
	}
	last := make(map[string]int, len(list))
	for i, d := range list {
		last[d.id] = i
	}
	kept := list[:0]
	for i, d := range list {
		if last[d.id] == i {
			kept = append(kept, d)
		}
	}
	return kept, looked
}

// byID lets deliveries be found by their ids: a hash index is looked up for several at once by a bitmap only, and without it the whole log would
// be read.
func (f Filter) byID(b *pgx.Batch) {
	if len(f.IDs) > 0 {
		b.Queue("SET LOCAL enable_bitmapscan = on")
	}
}

// replayStatement is selectDelivered for a filter, and its arguments without the last two: after which seq, and how many rows of the log to look at.
func (f Filter) replayStatement() (string, []any) {
	c := f.selectLogged("d", nil)
	which, again, args := wasTest, "false", c.args
	if f.State != Test {
		later := Filter{Until: f.Until, Before: f.Before}.selectLogged("n", args) // all else it has in common with d
		which, again, args = fmt.Sprintf(wasDelivered, "d", f.Status), later.where()+" AND "+fmt.Sprintf(wasDelivered, "n", f.Status), later.args
	}
	which += " AND " + noTest
	after := len(args) + 1
	return fmt.Sprintf(selectDelivered, c.where()+" AND d.seq > $"+itoa(after), "$"+itoa(after+1), which, again), args
}

// selectLogged is the condition on rows of the log, its arguments behind those of another one.
func (f Filter) selectLogged(row string, args []any) conditions {
	c := conditions{args: slices.Clone(args)}
	f.common(&c, row, "enqueued_at")
	if f.Endpoint != "" {
		c.add(row+".endpoint = $%d", f.Endpoint)
	}
	if !f.Since.IsZero() {
		c.add(row+".day >= $%d::date", f.Since.UTC().Truncate(24*time.Hour))
	}
	if !f.Until.IsZero() {
		c.add(row+".day <= $%d::date", f.Until.UTC().Truncate(24*time.Hour))
	}
	c.add(row+".seq < $%d", f.Before)
	return c
}

func (f Filter) collectReplayed(rows pgx.Rows) (list []replayed, looked int64, err error) {
	var d replayed
	var seq, bytes, upTo *int64
	var day *time.Time
	var id, endpoint, lane, rule *string
	_, err = pgx.ForEachRow(rows, []any{&seq, &day, &id, &endpoint, &lane, &bytes, &rule, &upTo}, func() error {
		if upTo != nil {
			looked = *upTo
		}
		if id != nil {
			d.seq, d.day, d.id, d.laneKey, d.bytes, d.priority = *seq, *day, *id, laneKey{*endpoint, *lane}, *bytes, f.Priorities[*rule]
			list = append(list, d)
		}
		return nil
	})
	return list, looked, err
}

// replay logs and queues deliveries again, the first of the list for which there is room, and returns these.
func (db *DB) replay(ctx context.Context, t *transaction, list []replayed) ([]replayed, error) {
	list, err := thatFit(ctx, db, list, func(d replayed) (string, int64) { return d.endpoint, d.bytes })
	if err != nil {
		return nil, err
	}
	const reserve = `UPDATE {schema}.source SET last_seq = last_seq + $1 RETURNING last_seq - $1`
	// A delivery that held its lane and was retried is in the log twice under its seq.
	const again = `WITH logged AS (
			INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, again, format, headers)
			SELECT DISTINCT ON (u.n) $1 + u.n, (now() AT TIME ZONE 'UTC')::date, d.id, d.endpoint, d.lane, d.rule, d.event, d.model, d.record, d.op, true, d.commit_lsn, d.xid, d.commit_at, now(),
				d.content_type, d.body, d.epoch, d.sequence, true, d.format, d.headers
			FROM unnest($2::bigint[], $3::date[]) WITH ORDINALITY u (seq, day, n) JOIN {schema}.delivery d ON d.seq = u.seq AND d.day = u.day
			RETURNING seq, endpoint, lane, octet_length(body) AS bytes
		)
		INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes)
		SELECT endpoint, lane, seq, (now() AT TIME ZONE 'UTC')::date, bytes FROM logged`
	seqs, days, lanes, y := make([]int64, len(list)), make([]time.Time, len(list)), make([]deadLetter, len(list)), tally{}
	for i, d := range list {
		seqs[i], days[i], lanes[i].laneKey, lanes[i].priority = d.seq, d.day, d.laneKey, d.priority
		u := y.at(d.endpoint)
		u.Pending, u.PendingBytes = u.Pending+1, u.PendingBytes+d.bytes
	}
	var base int64
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(reserve), len(list)).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&base)
			if noRows(err) {
				return ErrNotBound
			}
			return err
		})
	}); err != nil {
		return nil, err
	}
	return list, t.send(ctx, func(b *pgx.Batch) {
		db.openLanes(b, lanes)
		b.Queue(db.sql(again), base, seqs, days)
		y.queue(db, b)
	})
}
