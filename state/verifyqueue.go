package state

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// What is pending must have a delivery and a lane, and lanes exactly what makes them necessary. Both tables are walked along their keys; joins
// rather than EXISTS, of which the planner may make a hash of a whole table for every window.
const (
	queueWindow = `SELECT w.endpoint, w.lane, w.seq, d.seq IS NOT NULL, l.key IS NOT NULL, x.seq IS NOT NULL
		FROM (SELECT endpoint, lane, seq, day FROM {schema}.queue WHERE (endpoint, lane, seq) > ($1, $2, $3) AND ($5 = '' OR endpoint = $5) ORDER BY endpoint, lane, seq LIMIT $4) w
		LEFT JOIN {schema}.delivery d ON d.day = w.day AND d.seq = w.seq
		LEFT JOIN {schema}.lane l ON l.endpoint = w.endpoint AND l.key = w.lane
		LEFT JOIN {schema}.dead_letter x ON x.seq = w.seq
		ORDER BY w.endpoint, w.lane, w.seq`
	laneWindow = `SELECT w.endpoint, w.key, w.held OR q.there IS NOT NULL, NOT w.held OR x.there IS NOT NULL, w.owner IS NULL OR p.id IS NOT NULL
		FROM (SELECT endpoint, key, owner, held FROM {schema}.lane WHERE (endpoint, key) > ($1, $2) AND ($4 = '' OR endpoint = $4) ORDER BY endpoint, key LIMIT $3) w
		LEFT JOIN LATERAL (SELECT true AS there FROM {schema}.queue q WHERE q.endpoint = w.endpoint AND q.lane = w.key LIMIT 1) q ON NOT w.held
		LEFT JOIN LATERAL (SELECT true AS there FROM {schema}.dead_letter x WHERE x.endpoint = w.endpoint AND x.lane = w.key AND x.holds LIMIT 1) x ON w.held
		LEFT JOIN {schema}.process p ON p.id = w.owner
		ORDER BY w.endpoint, w.key`
	// A lane in hand is held when its last outcome is written.
	holdingWindow = `SELECT w.endpoint, w.lane, coalesce(l.held OR l.owner IS NOT NULL, false)
		FROM (SELECT DISTINCT endpoint, lane FROM {schema}.dead_letter WHERE holds AND (endpoint, lane) > ($1, $2) AND ($4 = '' OR endpoint = $4) ORDER BY endpoint, lane LIMIT $3) w
		LEFT JOIN {schema}.lane l ON l.endpoint = w.endpoint AND l.key = w.lane
		ORDER BY w.endpoint, w.lane`
)

// waitingLost finds what waits for its window and has no delivery. There is one row per record at most.
const waitingLost = `SELECT endpoint, lane, seq FROM {schema}.waiting w WHERE ($1 = '' OR endpoint = $1)
	AND NOT EXISTS (SELECT FROM {schema}.delivery d WHERE d.day = w.day AND d.seq = w.seq) LIMIT 1000`

// queue verifies queue and lanes as they are now, whatever the range: what is wrong there stops deliveries.
func (v *verifier) queue(ctx context.Context) error {
	var at Finding // the last row looked at
	for more := true; more; {
		if err := v.snapshot(ctx, func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, v.db.sql(queueWindow), at.Endpoint, at.Lane, at.Seq, verifyWindow, v.opts.Endpoint)
			if err != nil {
				return err
			}
			var logged, lane, dead bool
			n := 0
			_, err = pgx.ForEachRow(rows, []any{&at.Endpoint, &at.Lane, &at.Seq, &logged, &lane, &dead}, func() error {
				n++
				v.check(QueueWithoutLog, at, logged)
				v.check(QueueWithoutLane, at, lane)
				v.check(DeadAndQueued, at, !dead)
				return nil
			})
			v.result.Queue += int64(n)
			more = n == verifyWindow
			return err
		}); err != nil {
			return err
		}
	}
	at = Finding{}
	if err := v.snapshot(ctx, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, v.db.sql(waitingLost), v.opts.Endpoint)
		if err != nil {
			return err
		}
		_, err = pgx.ForEachRow(rows, []any{&at.Endpoint, &at.Lane, &at.Seq}, func() error { v.check(QueueWithoutLog, at, false); return nil })
		return err
	}); err != nil {
		return err
	}
	at = Finding{}
	for more := true; more; {
		if err := v.snapshot(ctx, func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, v.db.sql(laneWindow), at.Endpoint, at.Lane, verifyWindow, v.opts.Endpoint)
			if err != nil {
				return err
			}
			var needed, held, owned bool
			n := 0
			_, err = pgx.ForEachRow(rows, []any{&at.Endpoint, &at.Lane, &needed, &held, &owned}, func() error {
				n++
				v.check(LaneWithoutQueue, at, needed)
				v.check(LaneHeld, at, held)
				v.check(LaneOfNobody, at, owned)
				return nil
			})
			v.result.Lanes += int64(n)
			more = n == verifyWindow
			return err
		}); err != nil {
			return err
		}
	}
	return v.holding(ctx)
}

// holding verifies that every dead letter that should hold its lane does.
func (v *verifier) holding(ctx context.Context) error {
	var at Finding
	for more := true; more; {
		if err := v.snapshot(ctx, func(ctx context.Context, tx pgx.Tx) error {
			rows, err := tx.Query(ctx, v.db.sql(holdingWindow), at.Endpoint, at.Lane, verifyWindow, v.opts.Endpoint)
			if err != nil {
				return err
			}
			var holds bool
			n := 0
			_, err = pgx.ForEachRow(rows, []any{&at.Endpoint, &at.Lane, &holds}, func() error {
				n++
				v.check(LaneNotHeld, at, holds)
				return nil
			})
			more = n == verifyWindow
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// parked counts events that have no number yet, as their rule failed.
func (v *verifier) parked(ctx context.Context, tx pgx.Tx) error {
	const count = `SELECT count(*) FROM (SELECT FROM {schema}.parked LIMIT $1) p`
	return tx.QueryRow(ctx, v.db.sql(count), countedUpTo).Scan(&v.result.Parked)
}

// check notes a finding at a place unless all is well.
func (v *verifier) check(kind FindingKind, at Finding, well bool) {
	if !well {
		at.Kind = kind
		v.find(at, 1)
	}
}
