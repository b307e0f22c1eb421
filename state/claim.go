package state

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/internal/failpoint"
)

// claimLanes takes free lanes by the index on (endpoint, priority, due), which holds nothing else: its cost does not
// depend on how many wait, see also [marks]. One priority after the other is asked, in the order of $4 to $6, until there are enough: a condition on
// all of them would read past those of a higher priority that are not due. Lanes that another session has locked are skipped.
const claimLanes = `
WITH me AS (
	SELECT id FROM {schema}.process WHERE id = $3 FOR KEY SHARE
), first AS (
	SELECT endpoint, key FROM {schema}.lane
	WHERE endpoint = $1 AND owner IS NULL AND NOT held AND priority = $4 AND due >= $7 AND due <= now()
		AND NOT EXISTS (SELECT FROM {schema}.endpoint WHERE name = $1 AND (disabled_at IS NOT NULL OR paused_at IS NOT NULL))
	ORDER BY due LIMIT $2::bigint FOR UPDATE SKIP LOCKED
), second AS (
	SELECT endpoint, key FROM {schema}.lane
	WHERE endpoint = $1 AND owner IS NULL AND NOT held AND priority = $5 AND due >= $8 AND due <= now()
		AND NOT EXISTS (SELECT FROM {schema}.endpoint WHERE name = $1 AND (disabled_at IS NOT NULL OR paused_at IS NOT NULL))
	ORDER BY due LIMIT $2::bigint - (SELECT count(*) FROM first) FOR UPDATE SKIP LOCKED
), third AS (
	SELECT endpoint, key FROM {schema}.lane
	WHERE endpoint = $1 AND owner IS NULL AND NOT held AND priority = $6 AND due >= $9 AND due <= now()
		AND NOT EXISTS (SELECT FROM {schema}.endpoint WHERE name = $1 AND (disabled_at IS NOT NULL OR paused_at IS NOT NULL))
	ORDER BY due LIMIT $2::bigint - (SELECT count(*) FROM first) - (SELECT count(*) FROM second) FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.lane l SET owner = me.id FROM (SELECT * FROM first UNION ALL SELECT * FROM second UNION ALL SELECT * FROM third) free, me
WHERE l.endpoint = free.endpoint AND l.key = free.key
RETURNING l.key, l.ctid::text, l.due, l.priority`

// lowFirst is which of a process's claims asks for low priorities first: each of so many, so that they come to their turn
// however much of a higher priority there is.
const lowFirst = 8

// Claim implements [delivery.Store]. A lane is claimed in one statement and its deliveries are looked for in a later one: between
// the first one's snapshot and its lock another process may have sent some of them.
func (p *Process) Claim(ctx context.Context, endpoint string, limit, perLane int) ([]delivery.Lane, error) {
	if p.lost.Load() {
		return nil, ErrLeaseLost
	}
	if limit <= 0 || perLane <= 0 {
		return nil, nil
	}
	p.acquiring.RLock()
	defer p.acquiring.RUnlock()
	var ready []delivery.Lane
	var acquired []laneKey
	var lanes []wanted
	var later []found
	began := time.Now()
	from, full := p.marks.begin(endpoint, began)
	var looked time.Duration
	err := p.db.transact(ctx, "claim", func(t *transaction) (err error) {
		lanes, err = p.claim(ctx, t, endpoint, limit, from)
		looked = time.Since(began)
		if err != nil || len(lanes) == 0 {
			return err
		}
		for _, w := range lanes {
			acquired = append(acquired, w.laneKey)
		}
		var all []found
		if err := t.send(ctx, func(b *pgx.Batch) { p.db.heads(b, lanes, perLane, &all) }); err != nil {
			return err
		}
		all, later = ration(all)
		if len(later) > 0 {
			var stop released
			for _, f := range later {
				stop.stay(f.laneKey)
			}
			if err := t.send(ctx, func(b *pgx.Batch) { stop.queue(p.db, b) }); err != nil {
				return err
			}
		}
		ready, err = p.db.handOut(ctx, t, all)
		return err
	})
	if err != nil {
		p.forget(err, acquired)
		return nil, err
	}
	p.marks.end(endpoint, lanes, later, full, len(lanes) >= limit, began, looked)
	p.adopted(acquired)
	failpoint.HitIf(len(ready) > 0, failpoint.Claimed)
	return ready, nil
}

// claim makes this process the owner of free lanes, the highest priority first, of each those that are due longest, but
// none that was due before from.
func (p *Process) claim(ctx context.Context, t *transaction, endpoint string, limit int, from map[delivery.Priority]time.Time) ([]wanted, error) {
	var lanes []wanted
	first, third := delivery.PriorityHigh, delivery.PriorityLow
	if p.claims.Add(1)%lowFirst == 0 {
		first, third = third, first
	}
	err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(p.db.sql(claimLanes), endpoint, limit, p.id, first, delivery.PriorityNormal, third,
			from[first], from[delivery.PriorityNormal], from[third]).Query(func(rows pgx.Rows) (err error) {
			lanes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w wanted, err error) {
				w.endpoint = endpoint
				return w, row.Scan(&w.key, &w.tid, &w.due, &w.priority)
			})
			return err
		})
	})
	slices.SortStableFunc(lanes, func(a, b wanted) int { return cmp.Or(cmp.Compare(b.priority, a.priority), a.due.Compare(b.due)) })
	return lanes, err
}

// handOut loads what was found in owned lanes, and deletes lanes in which nothing waits.
func (db *DB) handOut(ctx context.Context, t *transaction, all []found) ([]delivery.Lane, error) {
	var waiting []found
	var empty []string
	for _, f := range all {
		if len(f.heads) == 0 {
			empty = append(empty, f.tid)
		} else {
			waiting = append(waiting, f)
		}
	}
	rows := make(map[int64]*delivery.Delivery)
	if err := t.send(ctx, func(b *pgx.Batch) {
		if len(empty) > 0 {
			b.Queue(db.sql(deleteLanes), empty)
		}
		db.load(b, waiting, rows)
	}); err != nil {
		return nil, err
	}
	ready, lost := assemble(waiting, rows)
	if len(lost) == 0 {
		return ready, nil
	}
	return ready, db.bury(ctx, t, lost)
}
