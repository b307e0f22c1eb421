package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// partitionsAhead is how many days beyond today have partitions: a process that lost its right to create
// tables, or its maintenance, goes on for that long.
const partitionsAhead = 3

const addPartitions = `SELECT {schema}.add_partitions($1)`

// AddPartitions makes the log's partitions for today and the days ahead and returns how many were missing.
func (db *DB) AddPartitions(ctx context.Context) (int, error) {
	var made int
	err := db.pool.QueryRow(ctx, db.sql(addPartitions), partitionsAhead).Scan(&made)
	return made, db.translate("add partitions", err)
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

// DropPartitions removes partitions of the log whose days have passed retention, oldest first, and
// returns their names. A day of the delivery log that pending deliveries need stays. So does one that a
// pg_dump or report is reading: to wait for it would make every writer wait too. It is tried again later.
func (db *DB) DropPartitions(ctx context.Context) ([]string, error) {
	const list = `SELECT p.relname, c.relname
		FROM pg_catalog.pg_inherits i
		JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
		JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
		JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
		WHERE n.nspname = $1 AND p.relname IN ('delivery', 'attempt') AND c.relname ~ '^(delivery|attempt)_[0-9]{8}$'
		ORDER BY right(c.relname, 8), c.relname`
	const oldest = `SELECT (now() AT TIME ZONE 'UTC')::date, (SELECT min(day) FROM {schema}.queue)`
	type partition struct{ parent, name string }
	var all []partition
	var today time.Time
	var needed *time.Time
	err := db.read(ctx, "list partitions", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, list, db.cfg.Schema)
		if err != nil {
			return err
		}
		if all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p partition, err error) {
			return p, row.Scan(&p.parent, &p.name)
		}); err != nil {
			return err
		}
		return tx.QueryRow(ctx, db.sql(oldest)).Scan(&today, &needed)
	})
	if err != nil {
		return nil, err
	}
	keep := today.Add(-db.cfg.Retention).Format("20060102") // days before this one have passed
	var dropped []string
	var problems []error
	for _, p := range all {
		day := p.name[len(p.name)-8:]
		if day >= keep {
			continue
		}
		// Queue rows come and go, but none comes for a past day: what is not needed now never will be.
		if p.parent == "delivery" && needed != nil && day >= needed.Format("20060102") {
			continue
		}
		if err := db.dropPartition(ctx, p.name); err != nil {
			problems = append(problems, err)
			continue
		}
		dropped = append(dropped, p.name)
	}
	return slices.Clip(dropped), errors.Join(problems...)
}

// dropPartition drops one table, or gives up after a moment: DROP of a partition locks its parent.
func (db *DB) dropPartition(ctx context.Context, name string) error {
	return db.transact(ctx, fmt.Sprintf("drop partition %s", name), func(t *transaction) error {
		return t.send(ctx, func(b *pgx.Batch) {
			b.Queue("SET LOCAL lock_timeout = '250ms'")
			b.Queue("DROP TABLE IF EXISTS " + db.schema + "." + ident(name))
		})
	})
}
