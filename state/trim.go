package state

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// trimDead drops the oldest dead letters of an endpoint beyond its limit. Those that hold their lane stay: to drop one would let the
// lane go on, which a person wants to decide. The log has their bodies until the end of retention. Of several processes one does it at a time, and each looks
// at the sizes anew: two that trim the same excess would drop twice as much.
func (db *DB) trimDead(ctx context.Context, endpoint string, limit Limit) error {
	for {
		trimmed := 0
		if err := db.transact(ctx, "drop oldest dead letters", func(t *transaction) error {
			need, err := db.excessDead(ctx, t, endpoint, limit)
			if err != nil || need == (Limit{}) {
				return err
			}
			trimmed, err = db.dropDead(ctx, t, endpoint, need)
			return err
		}); err != nil || trimmed == 0 {
			return err
		}
	}
}

// excessDead takes the right to trim and tells how much is beyond the limit; nothing when another process is at it.
func (db *DB) excessDead(ctx context.Context, t *transaction, endpoint string, limit Limit) (need Limit, err error) {
	const size = `SELECT coalesce(sum(dead), 0)::bigint, coalesce(sum(dead_bytes), 0)::bigint FROM {schema}.queue_usage WHERE endpoint = $1`
	var mine bool
	var rows, bytes int64
	// Two statements: the second one's snapshot holds what whoever had the right before has committed.
	err = t.send(ctx, func(b *pgx.Batch) {
		b.Queue("SELECT pg_try_advisory_xact_lock($1)", db.lockKey("trim "+endpoint)).QueryRow(func(row pgx.Row) error { return row.Scan(&mine) })
		b.Queue(db.sql(size), endpoint).QueryRow(func(row pgx.Row) error { return row.Scan(&rows, &bytes) })
	})
	if err != nil || !mine {
		return Limit{}, err
	}
	return limit.beyond(rows, bytes), nil
}

// dropDead drops dead letters until there is room, up to a chunk, and returns how many.
func (db *DB) dropDead(ctx context.Context, t *transaction, endpoint string, need Limit) (int, error) {
	const oldest = `SELECT x.seq, x.lane, octet_length(x.body), x.epoch, x.sequence, x.commit_lsn::text, x.commit_at
		FROM {schema}.dead_letter x WHERE x.endpoint = $1 AND NOT x.holds ORDER BY x.seq LIMIT $2 FOR UPDATE SKIP LOCKED`
	const remove = `DELETE FROM {schema}.dead_letter WHERE seq = ANY($1)`
	var list []pendingRow
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(oldest), endpoint, chunk).Query(func(rows pgx.Rows) (err error) {
			list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r pendingRow, err error) {
				r.endpoint = endpoint
				return r, row.Scan(&r.seq, &r.lane, &r.bytes, &r.epoch, &r.sequence, &r.lsn, &r.at)
			})
			return err
		})
	}); err != nil {
		return 0, err
	}
	if list = need.first(list); len(list) == 0 {
		return 0, nil
	}
	y, numbers, seqs := tally{}, make([]missing, len(list)), make([]int64, len(list))
	u := y.at(endpoint)
	for i, r := range list {
		numbers[i], seqs[i] = r.missing, r.seq
		u.Dead, u.DeadBytes, u.Dropped = u.Dead-1, u.DeadBytes-r.bytes, u.Dropped+1
	}
	return len(list), t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(remove), seqs)
		db.noteGaps(b, numbers, gapDropped)
		y.queue(db, b)
	})
}
