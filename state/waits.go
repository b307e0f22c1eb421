package state

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/status"
)

// countedUpTo is how far status counts what has no counter: deliveries that failed and wait, lanes that are held, events that are parked.
const countedUpTo = 10_000

// waits are read along indexes that hold nothing else, and no further than $2: a look costs the same whatever waits.
const waits = `SELECT e.name,
		(SELECT count(*) FROM (SELECT FROM {schema}.queue WHERE endpoint = e.name AND attempts > 0 LIMIT $2) r),
		(SELECT count(*) FROM (SELECT FROM {schema}.lane WHERE endpoint = e.name AND held LIMIT $2) h),
		(SELECT min(first.due) FROM (VALUES (-1::smallint), (0), (1)) class (n) CROSS JOIN LATERAL (
			SELECT due FROM {schema}.lane WHERE endpoint = e.name AND owner IS NULL AND NOT held AND priority = class.n ORDER BY due LIMIT 1
		) first)
	FROM unnest($1::text[]) e (name)`

// parkedPerRule goes from one rule's name to the next along the index, so that neither all names nor all events of a rule are read.
var parkedPerRule = `WITH RECURSIVE names AS (
		(SELECT rule FROM {schema}.parked ORDER BY rule LIMIT 1)
		UNION ALL
		SELECT (SELECT p.rule FROM {schema}.parked p WHERE p.rule > n.rule ORDER BY p.rule LIMIT 1) FROM names n WHERE n.rule IS NOT NULL
	)
	SELECT n.rule, (SELECT count(*) FROM (SELECT FROM {schema}.parked p WHERE p.rule = n.rule LIMIT ` + itoa(countedUpTo) + `) counted) FROM names n WHERE n.rule IS NOT NULL`

// waiting fills in what waits at endpoints, of which sizes are known.
func (db *DB) waiting(ctx context.Context, s *sizes, at func(string) *status.EndpointState) error {
	var names, pending []string
	for name, u := range s.of {
		e := at(name)
		e.Pending, e.Dead, e.Queue = max(u.Pending, 0), max(u.Dead, 0), s.queue(name)
		if u.Pending > 0 {
			pending = append(pending, name)
		}
		if u.Pending > 0 || u.Dead > 0 {
			names = append(names, name)
		}
	}
	// Not db.read: the planner must not think of reading a table.
	err := pgx.BeginTxFunc(ctx, db.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(waits), names, countedUpTo)
		if err != nil {
			return err
		}
		var name string
		var retrying, held int64
		var due *time.Time
		_, err = pgx.ForEachRow(rows, []any{&name, &retrying, &held, &due}, func() error {
			e := at(name)
			e.Retrying, e.HeldLanes, e.NextAttempt = retrying, held, timeOf(due)
			return nil
		})
		return err
	})
	if err != nil {
		return db.translate("read what waits", err)
	}
	since, err := db.oldestPending(ctx, pending)
	for _, name := range pending {
		at(name).OldestPending = since[name]
	}
	return err
}
