package cdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNoRow says that there is no row with the key that was asked for.
var ErrNoRow = errors.New("there is no such row")

// ErrBadKey says that a text is no primary key of the table.
var ErrBadKey = errors.New("no key of the table")

// errNoTable says that there is no such table.
var errNoTable = errors.New("there is no such table")

// Current reads one row of a table as it is now, in the shape and the text form that WAL would have: of all columns but generated ones, with
// the table's primary key and replica identity. key is that of [Change.Key]; an empty one asks for the newest row, the one with the
// largest key. It returns the row with its key, and [ErrNoRow] when there is none.
func (l *Live) Current(ctx context.Context, schema, table, key string) (row Row, found string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rel, err := l.relation(ctx, schema, table)
	if err == nil && len(rel.Key) == 0 {
		err = errors.New("the table has no primary key to find a row by")
	}
	if err == nil {
		row, err = l.current(ctx, rel, key)
	}
	if err != nil {
		return Row{}, "", fmt.Errorf("read a row of %s.%s: %w", schema, table, err)
	}
	text, _ := appendKey(nil, row) // a primary key is never NULL
	return row, string(text), nil
}

// relation describes a table as the server would in WAL.
func (l *Live) relation(ctx context.Context, schema, table string) (*Relation, error) {
	var oid uint32
	var identity string
	var names, key []string
	var types []uint32
	var readable []bool
	err := l.use(ctx, func(conn *pgx.Conn) error {
		names, types, key, readable = nil, nil, nil, nil
		rows, err := conn.Query(ctx, `SELECT c.oid::int8, c.relreplident::text, a.attname::text, a.atttypid::int8, pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
			FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
			WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p') ORDER BY a.attnum`, schema, table)
		if err != nil {
			return err
		}
		var name string
		var typ uint32
		var may bool
		if _, err := pgx.ForEachRow(rows, []any{&oid, &identity, &name, &typ, &may}, func() error {
			names, types, readable = append(names, name), append(types, typ), append(readable, may)
			return nil
		}); err != nil {
			return err
		}
		rows, err = conn.Query(ctx, `SELECT a.attname::text FROM pg_catalog.pg_index i
			CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
			JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
			WHERE i.indrelid = $1::int8::oid AND i.indisprimary AND k.n <= i.indnkeyatts ORDER BY k.n`, int64(oid))
		if err != nil {
			return err
		}
		key, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errNoTable
	}
	columns := make([]Column, 0, len(names))
	some := slices.Contains(readable, true)
	for i, name := range names {
		if some && !readable[i] && !slices.Contains(key, name) {
			continue // setup grants no columns that hold secrets; without any right the read says what is missing
		}
		typ, err := l.resolve(ctx, types[i], 0)
		if err != nil {
			return nil, err
		}
		if typ == nil {
			return nil, fmt.Errorf("the type of column %s is gone", name)
		}
		columns = append(columns, Column{Name: name, Type: typ})
	}
	return NewRelation(oid, schema, table, identity[0], columns, key), nil
}

// current reads the row.
func (l *Live) current(ctx context.Context, rel *Relation, key string) (row Row, err error) {
	columns := make([]string, len(rel.Columns))
	for i := range rel.Columns {
		columns[i] = quoteIdent(rel.Columns[i].Name)
	}
	sql := "SELECT " + strings.Join(columns, ", ") + " FROM " + quoteTable(rel.Schema, rel.Name)
	var order, where []string
	values := splitKey(key, len(rel.Key))
	for n, i := range rel.Key {
		order = append(order, columns[i]+" DESC")
		if key != "" && len(values) == len(rel.Key) {
			where = append(where, columns[i]+" = "+quoteText(values[n]))
		}
	}
	switch {
	case key == "":
		sql += " ORDER BY " + strings.Join(order, ", ")
	case len(where) == 0:
		return Row{}, fmt.Errorf("%q is %w, which has %d parts with commas between them", key, ErrBadKey, len(rel.Key))
	default:
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	err = l.use(ctx, func(conn *pgx.Conn) error {
		row = Row{}
		rows, err := conn.Query(ctx, sql+" LIMIT 1", pgx.QueryResultFormats{pgx.TextFormatCode})
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row, err = rowOf(rel, rows.RawValues())
			if err != nil {
				return err
			}
		}
		return rows.Err()
	})
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42501":
		return Row{}, &RefusedError{Reason: fmt.Sprintf("role %q may not read table %s.%s: changes of it are streamed without that right", l.cfg.User, rel.Schema, rel.Name), Err: err,
			Remedy: fmt.Sprintf("as the table's owner: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON TABLE %s TO %s",
				quoteIdent(rel.Schema), quoteIdent(l.cfg.User), quoteTable(rel.Schema, rel.Name), quoteIdent(l.cfg.User))}
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22"):
		return Row{}, fmt.Errorf("%q is %w: %s", key, ErrBadKey, pg.Message)
	case err != nil:
		return Row{}, err
	case row.rel == nil:
		return Row{}, ErrNoRow
	}
	return row, nil
}

// rowOf makes a row of a query's raw values in text form.
func rowOf(rel *Relation, raw [][]byte) (Row, error) {
	values := make([]Value, len(rel.Columns))
	for i, text := range raw {
		values[i] = Value{State: Present, Text: text, Type: rel.Columns[i].Type}
		if text == nil {
			values[i].State = Null
		}
	}
	row, ok := NewRow(rel, ImageFull, AppendTuple(nil, values))
	if !ok {
		return Row{}, errors.New("encode row")
	}
	return row, nil
}

// splitKey is the inverse of appendKey.
func splitKey(key string, parts int) []string {
	if parts == 1 {
		return []string{key}
	}
	out, part, escaped := []string{}, strings.Builder{}, false
	for _, c := range []byte(key) {
		switch {
		case escaped, c != ',' && c != '\\':
			part.WriteByte(c)
			escaped = false
		case c == '\\':
			escaped = true
		default:
			out = append(out, part.String())
			part.Reset()
		}
	}
	return append(out, part.String())
}
