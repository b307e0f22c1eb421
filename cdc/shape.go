package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Shape describes a table as it is now: its columns but generated ones, as far as this role may read them, and its primary key; hidden are the columns that
// it may not read. What was known of the table before is forgotten: chunks that are read from then on have its new columns, too. An error that only a
// person can mend is not Temporary.
func (l *Live) Shape(ctx context.Context, schema, table string) (rel *Relation, hidden []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tables, tableName{schema, table})
	rel, err = l.relation(ctx, schema, table)
	if errors.Is(err, errNoTable) {
		return nil, nil, &TableGoneError{Schema: schema, Table: table}
	}
	if err == nil && len(rel.Key) == 0 {
		err = &RefusedError{Reason: "the table has no primary key", Remedy: "give it one: ALTER TABLE " + quoteTable(schema, table) + " ADD PRIMARY KEY (…)"}
	}
	if err == nil {
		err = l.use(ctx, func(conn *pgx.Conn) error {
			rows, err := conn.Query(ctx, `SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
				AND a.attgenerated = '' AND NOT pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') ORDER BY a.attnum`, int64(rel.OID))
			if err != nil {
				return err
			}
			hidden, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
	}
	if err != nil {
		if err = fmt.Errorf("describe %s.%s: %w", schema, table, err); !isFinal(err) {
			err = temporaryError{err}
		}
		return nil, nil, err
	}
	return rel, hidden, nil
}

// MayNotRead says that this role lacks the right to read columns of a table.
func (l *Live) MayNotRead(schema, table string, columns []string) error {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quoteIdent(c)
	}
	return &RefusedError{Reason: fmt.Sprintf("role %q may not read column %s of table %s.%s", l.cfg.User, strings.Join(columns, ", "), schema, table), Err: errors.New("permission denied"),
		Remedy: fmt.Sprintf("walhook setup, or as the table's owner: GRANT SELECT (%s) ON TABLE %s TO %s; then walhook backfill resume", strings.Join(quoted, ", "), quoteTable(schema, table), quoteIdent(l.cfg.User))}
}
