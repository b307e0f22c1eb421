package cdc

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// mayNotScan completes the error of reading columns of a table: when a privilege is missing, with the GRANT of what is missing and no more.
func (l *Live) mayNotScan(ctx context.Context, schema, table string, columns []string, err error) error {
	name := tableName{schema, table}
	if sqlState(err) == "42501" {
		return &RefusedError{Reason: fmt.Sprintf("role %q may not read table %s", l.cfg.User, name), Err: err, Remedy: "as the table's owner: " + l.grants(ctx, schema, table, columns)}
	}
	return fmt.Errorf("look at %s: %w", name, err)
}

// grants are the statements that let the role read columns of a table. Of a table of which it may read some columns only, those are named that it lacks: a
// grant of the whole table would show secrets. Where the server does not tell what is missing, it is all.
func (l *Live) grants(ctx context.Context, schema, table string, columns []string) string {
	usage, whole := true, true // what is missing
	var lacking []string
	_ = l.use(ctx, func(conn *pgx.Conn) error { // without an answer the remedy is a broader one
		lacking = nil
		return conn.QueryRow(ctx, `SELECT NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
				NOT pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
				ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
					AND a.attname = ANY ($3::text[]) AND NOT pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') ORDER BY a.attnum)
			FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`, schema, table, columns).
			Scan(&usage, &whole, &lacking)
	})
	role := quoteIdent(l.cfg.User)
	var all []string
	if usage {
		all = append(all, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", quoteIdent(schema), role))
	}
	switch {
	case whole || !usage && len(lacking) == 0: // something else is in the way, as of a view
		all = append(all, fmt.Sprintf("GRANT SELECT ON TABLE %s TO %s", quoteTable(schema, table), role))
	case len(lacking) > 0:
		for i, column := range lacking {
			lacking[i] = quoteIdent(column)
		}
		all = append(all, fmt.Sprintf("GRANT SELECT (%s) ON TABLE %s TO %s", strings.Join(lacking, ", "), quoteTable(schema, table), role))
	}
	return strings.Join(all, "; ")
}
