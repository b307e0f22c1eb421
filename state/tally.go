package state

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
)

// addTally notes changes of what is kept per endpoint, in the transaction that makes them. The rows are only ever inserted, so no
// transaction waits for another one; fold sums them up.
const addTally = `INSERT INTO {schema}.tally (endpoint, pending, pending_bytes, dead, dead_bytes, parked, dropped)
	SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])`

// tally collects changes by endpoint.
type tally map[string]*Usage

func (y tally) at(endpoint string) *Usage {
	u := y[endpoint]
	if u == nil {
		u = &Usage{Endpoint: endpoint}
		y[endpoint] = u
	}
	return u
}

func (y tally) queue(db *DB, b *pgx.Batch) {
	if len(y) == 0 {
		return
	}
	names := slices.Sorted(maps.Keys(y))
	columns := [6][]int64{}
	for _, name := range names {
		u := y[name]
		for i, n := range []int64{u.Pending, u.PendingBytes, u.Dead, u.DeadBytes, u.Parked, u.Dropped} {
			columns[i] = append(columns[i], n)
		}
	}
	b.Queue(db.sql(addTally), names, columns[0], columns[1], columns[2], columns[3], columns[4], columns[5])
}

// pendingOf sums up deliveries.
func pendingOf(deliveries []*delivery.Delivery) tally {
	y := tally{}
	for _, d := range deliveries {
		if d.Test {
			continue // is never pending
		}
		u := y.at(d.Endpoint)
		u.Pending, u.PendingBytes = u.Pending+1, u.PendingBytes+int64(len(d.Body))
	}
	return y
}

// columns returns what is pending of endpoints, in their order.
func (y tally) columns(endpoints []string) (rows, bytes []int64) {
	rows, bytes = make([]int64, len(endpoints)), make([]int64, len(endpoints))
	for i, name := range endpoints {
		if u := y[name]; u != nil {
			rows[i], bytes[i] = u.Pending, u.PendingBytes
		}
	}
	return rows, bytes
}

// Usage returns how much is kept for every endpoint that ever had a delivery, sorted by name. It costs the same whatever waits.
func (db *DB) Usage(ctx context.Context) (list []Usage, err error) {
	const read = `SELECT endpoint, pending, pending_bytes, dead, dead_bytes, parked, dropped, parked_since FROM {schema}.queue_usage ORDER BY endpoint`
	err = db.read(ctx, "read sizes", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(read))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (u Usage, err error) {
			var since *time.Time
			err = row.Scan(&u.Endpoint, &u.Pending, &u.PendingBytes, &u.Dead, &u.DeadBytes, &u.Parked, &u.Dropped, &since)
			u.ParkedSince = timeOf(since)
			return u, err
		})
		return err
	})
	return list, err
}

// sizes reads the sizes, to be judged by the limits.
func (db *DB) sizes(ctx context.Context) (*sizes, error) {
	list, err := db.Usage(ctx)
	if err != nil {
		return nil, err
	}
	return newSizes(db.limits(), list), nil
}

// fold sums the changes up. Of several processes one does it at a time.
func (db *DB) fold(ctx context.Context) error {
	const fold = `WITH changes AS (
			DELETE FROM {schema}.tally WHERE (SELECT pg_try_advisory_xact_lock($1)) RETURNING *
		)
		INSERT INTO {schema}.queue_size AS q (endpoint, pending, pending_bytes, dead, dead_bytes, parked, dropped)
		SELECT endpoint, sum(pending), sum(pending_bytes), sum(dead), sum(dead_bytes), sum(parked), sum(dropped) FROM changes GROUP BY endpoint ORDER BY endpoint
		ON CONFLICT (endpoint) DO UPDATE SET pending = q.pending + excluded.pending, pending_bytes = q.pending_bytes + excluded.pending_bytes,
			dead = q.dead + excluded.dead, dead_bytes = q.dead_bytes + excluded.dead_bytes, parked = q.parked + excluded.parked, dropped = q.dropped + excluded.dropped`
	_, err := db.pool.Exec(ctx, db.sql(fold), db.lockKey("fold"))
	return db.translate("sum up sizes", err)
}

// Recount compares the sizes with the tables and corrects them; it returns for how many endpoints they were wrong. Sizes are kept in the same
// transactions as what they count, so they are wrong only after someone has changed the tables by hand. Both are read in one snapshot: what
// others do meanwhile does not matter. It reads the whole queue.
func (db *DB) Recount(ctx context.Context) (wrong int64, err error) {
	const recount = `INSERT INTO {schema}.tally (endpoint, pending, pending_bytes, dead, dead_bytes)
		SELECT endpoint, sum(pending), sum(pending_bytes), sum(dead), sum(dead_bytes) FROM (
			SELECT endpoint, count(*) AS pending, sum(bytes) AS pending_bytes, 0 AS dead, 0 AS dead_bytes FROM {schema}.queue GROUP BY endpoint
			UNION ALL
			SELECT endpoint, count(*), sum(bytes), 0, 0 FROM {schema}.waiting GROUP BY endpoint
			UNION ALL
			SELECT endpoint, 0, 0, count(*), sum(octet_length(body)) FROM {schema}.dead_letter GROUP BY endpoint
			UNION ALL
			SELECT endpoint, -pending, -pending_bytes, -dead, -dead_bytes FROM {schema}.queue_usage
		) difference GROUP BY endpoint
		HAVING sum(pending) <> 0 OR sum(pending_bytes) <> 0 OR sum(dead) <> 0 OR sum(dead_bytes) <> 0`
	err = db.transact(ctx, "recount", func(t *transaction) error {
		// The lock first: two counts at once would correct the same difference twice.
		if err := t.send(ctx, func(b *pgx.Batch) {
			b.Queue("SET LOCAL enable_seqscan = on")
			b.Queue("SELECT pg_advisory_xact_lock($1)", db.lockKey("recount"))
		}); err != nil {
			return err
		}
		return t.send(ctx, func(b *pgx.Batch) {
			b.Queue(db.sql(recount)).Exec(func(tag pgconn.CommandTag) error {
				wrong = tag.RowsAffected()
				return nil
			})
		})
	})
	return wrong, err
}
