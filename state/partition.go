package state

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// partitionsAhead is how many days beyond today have partitions: a process that lost its right to create
// tables, or its maintenance, goes on for that long.
const partitionsAhead = 3

const addPartitions = `SELECT {schema}.add_partitions($1)`

const addRecordPartitions = `SELECT {schema}.add_record_partitions($1)`

// AddPartitions makes the log's partitions for today and the days ahead and returns how many were missing.
func (db *DB) AddPartitions(ctx context.Context) (int, error) {
	made, err := db.addMissing(ctx, addPartitions)
	if err == nil && db.cfg.Record.On() {
		var more int
		more, err = db.addMissing(ctx, addRecordPartitions)
		made += more
	}
	return made, db.translate("add partitions", err)
}

// addMissing calls one of the functions. Of several who do so at once each waits for the one before, and the server may still take a table for missing that
// this one has made: only a transaction that begins afterwards is certain to see it.
func (db *DB) addMissing(ctx context.Context, function string) (made int, err error) {
	for range 10 {
		err = db.pool.QueryRow(ctx, db.sql(function), partitionsAhead).Scan(&made)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "42P07" {
			break
		}
	}
	return made, err
}

// isNoPartition recognises the failure to insert into a day without a partition.
func isNoPartition(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23514" && strings.Contains(pg.Message, "no partition")
}

// withPartitions runs fn, and once more after adding partitions when it failed for lack of one.
func (db *DB) withPartitions(ctx context.Context, fn func() error) error {
	err := fn()
	if !isNoPartition(err) {
		return err
	}
	if _, e := db.AddPartitions(ctx); e != nil {
		return errors.Join(err, e)
	}
	return fn()
}

// partition is a day of a log table.
type partition struct {
	parent, name string
	day          time.Time
	bytes        int64 // on disk with indexes; only where it was asked for
}

// partitionList is sorted by day, the attempts of a day first.
type partitionList []partition

// partitions lists the days of delivery and attempt, oldest first.
func (db *DB) partitions(ctx context.Context, tx pgx.Tx, withSizes bool) (partitionList, error) {
	const list = `SELECT p.relname, c.relname, to_date(right(c.relname, 8), 'YYYYMMDD'), CASE WHEN $2 THEN coalesce(pg_catalog.pg_total_relation_size(c.oid), 0) ELSE 0 END
		FROM pg_catalog.pg_inherits i
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
		JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
		JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
		WHERE n.nspname = $1 AND p.relname IN ('delivery', 'attempt') AND c.relname ~ '^(delivery|attempt)_[0-9]{8}$'
		ORDER BY right(c.relname, 8), c.relname`
	rows, err := tx.Query(ctx, list, db.cfg.Schema, withSizes)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (p partition, err error) {
		return p, row.Scan(&p.parent, &p.name, &p.day, &p.bytes)
	})
}

// since returns the first day of which a table has a partition; a day to come when it has none.
func (l partitionList) since(parent string) time.Time {
	for _, p := range l {
		if p.parent == parent {
			return p.day
		}
	}
	return time.Now().UTC().AddDate(0, 0, partitionsAhead+1)
}

// bytes sums up.
func (l partitionList) bytes() (sum int64) {
	for _, p := range l {
		sum += p.bytes
	}
	return sum
}
