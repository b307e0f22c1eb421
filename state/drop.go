package state

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// dropCursor is how far dropping has come in the log, for one endpoint. The queue has no index by age, which every delivery would have to
// enter; the log has one, so the oldest pending deliveries are found by walking along it, each row once.
type dropCursor struct {
	after   int64 // what is pending up to this seq was passed over
	passed  int64 // the first that was: its lane was in somebody's hands; 0 for none
	renewed time.Time
	ended   bool // the log's end was reached: when it is time to look again, the oldest is looked for
}

// passedAgain is after how long what was passed over is looked at again.
const passedAgain = time.Minute

// oldestPending reads pending deliveries of an endpoint along the log. A delivery that was sent again under its old seq is in the log twice; the
// queue knows the day of the later one. OFFSET 0 keeps the planner from beginning with the queue, all of which it would have to sort.
const oldestPending = `SELECT d.seq, d.lane, q.bytes, d.epoch, d.sequence, d.commit_lsn::text, d.commit_at
	FROM {schema}.delivery d CROSS JOIN LATERAL (
		SELECT bytes FROM {schema}.queue WHERE endpoint = d.endpoint AND lane = d.lane AND seq = d.seq AND day = d.day OFFSET 0
	) q
	WHERE d.endpoint = $1 AND d.seq > $2 ORDER BY d.seq LIMIT $3`

// pendingRow is a delivery that may be dropped.
type pendingRow struct {
	missing
	seq   int64
	lane  string
	bytes int64
}

// dropOldest drops at least so many rows and bytes of an endpoint's oldest pending deliveries, or as many as there are in lanes that nobody has in
// hand: what a process has in memory may be on its way. Their numbers become gaps.
func (p *Process) dropOldest(ctx context.Context, endpoint string, need Limit) error {
	c, err := p.cursor(ctx, endpoint)
	if err != nil {
		return err
	}
	for need.Rows > 0 || need.Bytes > 0 {
		var list []pendingRow
		err := p.db.transact(ctx, "drop oldest", func(t *transaction) error {
			if err := t.send(ctx, func(b *pgx.Batch) {
				b.Queue(p.db.sql(oldestPending), endpoint, c.after, chunk).Query(func(rows pgx.Rows) (err error) {
					list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r pendingRow, err error) {
						r.endpoint = endpoint
						return r, row.Scan(&r.seq, &r.lane, &r.bytes, &r.epoch, &r.sequence, &r.lsn, &r.at)
					})
					return err
				})
			}); err != nil || len(list) == 0 {
				return err
			}
			list = need.first(list)
			gone, err := p.db.dropPending(ctx, t, list, false)
			for _, r := range list {
				if bytes, ok := gone[r.seq]; ok {
					need.Rows, need.Bytes = need.Rows-1, need.Bytes-bytes
				} else if c.passed == 0 {
					c.passed = r.seq
				}
			}
			return err
		})
		if c.ended = len(list) == 0; err != nil || c.ended && c.passed == 0 {
			return err // the cursor is found anew
		}
		if !c.ended {
			c.after = list[len(list)-1].seq
		}
		p.mu.Lock()
		p.drops[endpoint] = c
		p.mu.Unlock()
		if c.ended {
			return nil // all that is left was passed over; not to walk along the log with every batch, the cursor stays
		}
	}
	return nil
}

// first returns the rows that are needed to make room.
func (l Limit) first(list []pendingRow) []pendingRow {
	for i, r := range list {
		if l.Rows <= 0 && l.Bytes <= 0 {
			return list[:i]
		}
		l.Rows, l.Bytes = l.Rows-1, l.Bytes-r.bytes
	}
	return list
}

// cursor returns where to go on.
func (p *Process) cursor(ctx context.Context, endpoint string) (dropCursor, error) {
	p.mu.Lock()
	c, ok := p.drops[endpoint]
	delete(p.drops, endpoint) // a failure in between leaves none
	p.mu.Unlock()
	again := c.passed > 0 && time.Since(c.renewed) > passedAgain
	switch {
	case ok && !again:
		return c, nil
	case again && !c.ended:
		return dropCursor{after: c.passed - 1, renewed: time.Now()}, nil
	}
	c = dropCursor{renewed: time.Now()}
	const oldest = `SELECT coalesce(min(seq), 1) - 1 FROM {schema}.queue WHERE endpoint = $1`
	err := p.db.read(ctx, "look for the oldest delivery", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, p.db.sql(oldest), endpoint).Scan(&c.after)
	})
	return c, err
}

// lockFree locks lanes that nobody has in hand, in order. As in
// every hot statement, lanes are looked up one by one from arrays: a condition on the endpoint alone is all that a planner needs to read all of its lanes.
const lockFree = `SELECT u.n, l.ctid::text, l.held
	FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u (endpoint, key, n)
	JOIN {schema}.lane l ON l.endpoint = u.endpoint AND l.key = u.key
	WHERE l.owner IS NULL
	ORDER BY l.endpoint, l.key
	FOR UPDATE OF l`

// removeQueued takes rows out of the queue and tells which it found.
const removeQueued = `DELETE FROM {schema}.queue q USING unnest($1::text[], $2::text[], $3::bigint[]) u (endpoint, lane, seq)
	WHERE q.endpoint = u.endpoint AND q.lane = u.lane AND q.seq = u.seq RETURNING q.seq, q.bytes`

// dropPending takes rows out of the queue, unless their lane is in somebody's hands, and returns which, with their bytes. A limit passes over lanes
// that another session has locked; a person, who discards, waits for them.
func (db *DB) dropPending(ctx context.Context, t *transaction, list []pendingRow, discard bool) (map[int64]int64, error) {
	keys := make([]laneKey, len(list))
	for i, r := range list {
		keys[i] = laneKey{r.endpoint, r.lane}
	}
	slices.SortFunc(keys, compareLanes)
	keys = slices.Compact(keys)
	endpoints, names := splitKeys(keys)
	free := map[laneKey]bool{}
	var lanes []wanted // that end with their last row
	if err := t.send(ctx, func(b *pgx.Batch) {
		lock := lockFree + " SKIP LOCKED"
		if discard {
			lock = lockFree
		}
		b.Queue(db.sql(lock), endpoints, names).Query(func(rows pgx.Rows) error {
			var n int64
			var tid string
			var held bool
			_, err := pgx.ForEachRow(rows, []any{&n, &tid, &held}, func() error {
				k := keys[n-1]
				free[k] = true
				if !held {
					lanes = append(lanes, wanted{laneKey: k, tid: tid})
				}
				return nil
			})
			return err
		})
	}); err != nil || len(free) == 0 {
		return nil, err
	}
	var rows queueRows
	for _, r := range list {
		if free[laneKey{r.endpoint, r.lane}] {
			rows.endpoints, rows.lanes, rows.seqs = append(rows.endpoints, r.endpoint), append(rows.lanes, r.lane), append(rows.seqs, r.seq)
		}
	}
	gone := map[int64]int64{}
	var left []found
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(removeQueued), rows.endpoints, rows.lanes, rows.seqs).Query(func(rows pgx.Rows) error {
			var seq, bytes int64
			_, err := pgx.ForEachRow(rows, []any{&seq, &bytes}, func() error {
				gone[seq] = bytes
				return nil
			})
			return err
		})
		db.heads(b, lanes, 1, &left)
	}); err != nil {
		return nil, err
	}
	y, numbers := tally{}, make([]missing, 0, len(gone))
	for _, r := range list {
		if bytes, ok := gone[r.seq]; ok {
			u := y.at(r.endpoint)
			u.Pending, u.PendingBytes = u.Pending-1, u.PendingBytes-bytes
			if !discard {
				u.Dropped++
			}
			numbers = append(numbers, r.missing)
		}
	}
	var empty []string
	var fresh []laneKey // in front is now what was never tried: it need not wait as what was in front of it had to
	for _, f := range left {
		switch {
		case len(f.heads) == 0:
			empty = append(empty, f.tid)
		case discard && f.heads[0].attempts == 0:
			fresh = append(fresh, f.laneKey)
		}
	}
	return gone, t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(deleteLanes), empty)
		if len(fresh) > 0 {
			endpoints, keys := splitKeys(fresh)
			b.Queue(db.sql(dueNow), endpoints, keys)
		}
		if !discard {
			db.noteGaps(b, numbers, gapDropped)
			y.queue(db, b)
			return
		}
		discarded := make([]string, len(numbers))
		for i, m := range numbers {
			discarded[i] = m.endpoint
		}
		db.noteGaps(b, numbers, gapDiscarded)
		y.queue(db, b)
		b.Queue(db.sql(countDiscarded), discarded)
	})
}
