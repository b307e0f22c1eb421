package state

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/internal/failpoint"
)

// claimLanes takes free lanes by the index on (endpoint, due), which holds nothing else: its cost does not
// depend on how many wait. Lanes that another session has locked are skipped.
const claimLanes = `
WITH me AS (
	SELECT id FROM {schema}.process WHERE id = $3 FOR KEY SHARE
), free AS (
	SELECT endpoint, key FROM {schema}.lane
	WHERE endpoint = $1 AND owner IS NULL AND NOT held AND due <= now()
		AND NOT EXISTS (SELECT FROM {schema}.endpoint WHERE name = $1 AND disabled_at IS NOT NULL)
	ORDER BY due LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.lane l SET owner = me.id FROM free, me
WHERE l.endpoint = free.endpoint AND l.key = free.key
RETURNING l.key, l.ctid::text, l.due`

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
	err := p.db.transact(ctx, "claim", func(t *transaction) error {
		lanes, err := p.claim(ctx, t, endpoint, limit)
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
		all, later := ration(all)
		if len(later) > 0 {
			var stop released
			for _, f := range later {
				stop.add(f.laneKey, f.due, false)
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
	p.adopted(acquired)
	failpoint.HitIf(len(ready) > 0, failpoint.Claimed)
	return ready, nil
}

// claim makes this process the owner of free lanes, longest due first.
func (p *Process) claim(ctx context.Context, t *transaction, endpoint string, limit int) ([]wanted, error) {
	var lanes []wanted
	err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(p.db.sql(claimLanes), endpoint, limit, p.id).Query(func(rows pgx.Rows) (err error) {
			lanes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w wanted, err error) {
				w.endpoint = endpoint
				return w, row.Scan(&w.key, &w.tid, &w.due)
			})
			return err
		})
	})
	slices.SortStableFunc(lanes, func(a, b wanted) int { return a.due.Compare(b.due) })
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
