package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// countPatience bounds how long rows are counted before the server's own estimate has to do.
const countPatience = 10 * time.Second

// Count counts the rows of a table that a filter lets pass; nil lets all of them. When that takes too long it is the server's estimate of all rows, and exact is false.
func (l *Live) Count(ctx context.Context, schema, table string, filter *Filter) (n int64, exact bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	where, args := "", []any(nil)
	if filter != nil {
		where, args = filter.sql(nil)
		where = " WHERE " + where
	}
	err = l.use(ctx, func(conn *pgx.Conn) error {
		var partitioned bool
		var estimate float64
		if err := conn.QueryRow(ctx, "SELECT c.relkind = 'p', c.reltuples::float8 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2", schema, table).
			Scan(&partitioned, &estimate); err != nil {
			return err
		}
		only := "ONLY "
		if partitioned {
			only = ""
		}
		exact = true
		err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", countPatience.Milliseconds())); err != nil {
				return err
			}
			return tx.QueryRow(ctx, fmt.Sprintf("SELECT count(*) FROM %s%s%s", only, quoteTable(schema, table), where), append([]any{pgx.QueryExecModeExec}, args...)...).Scan(&n)
		})
		if IsTimeout(err) {
			n, exact, err = int64(max(estimate, 0)), false, nil
		}
		return err
	})
	if err != nil {
		var columns []string
		if filter != nil {
			columns = filter.columns(nil)
		}
		return 0, false, l.mayNotScan(ctx, schema, table, columns, err)
	}
	return n, exact, nil
}
