package cdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Ref names a row by its table and integer id, and the columns wanted of it.
type Ref struct {
	Schema, Table string
	ID            int64
	Columns       []string
}

// Related holds rows that were looked up. It is immutable.
type Related struct {
	tables map[tableName]map[int64]Row
}

// Row returns a row; false when there is none, or none that this role may see. Columns that
// were not asked for, or do not exist, are not part of its Relation.
func (r *Related) Row(schema, table string, id int64) (Row, bool) {
	if r == nil {
		return Row{}, false
	}
	row, ok := r.tables[tableName{schema, table}][id]
	return row, ok
}

// liveTable is a table's shape as it was last seen.
type liveTable struct {
	oid     uint32
	columns map[string]uint32 // type OID by name
}

// wanted collects what refs ask of one table.
type wanted struct {
	ids     []int64
	columns []string
}

// maxIDs bounds the ids in one query.
const maxIDs = 10_000

// Load reads the rows that refs name: one query per table, whatever their number (up to 10,000 rows each).
// Rows, columns and tables that do not exist are left out. Values are in the same text form as in WAL. The rows are as of now,
// not as of the change that led to them.
func (l *Live) Load(ctx context.Context, refs []Ref) (*Related, error) {
	byTable := make(map[tableName]*wanted)
	var order []tableName
	for _, ref := range refs {
		name := tableName{ref.Schema, ref.Table}
		w := byTable[name]
		if w == nil {
			w = &wanted{}
			byTable[name] = w
			order = append(order, name)
		}
		w.ids = append(w.ids, ref.ID)
		for _, c := range ref.Columns {
			if !slices.Contains(w.columns, c) {
				w.columns = append(w.columns, c)
			}
		}
	}
	related := &Related{tables: make(map[tableName]map[int64]Row, len(order))}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range order {
		w := byTable[name]
		slices.Sort(w.ids)
		w.ids = slices.Compact(w.ids)
		rows := make(map[int64]Row, len(w.ids))
		related.tables[name] = rows
		for ids := range slices.Chunk(w.ids, maxIDs) {
			if err := l.loadTable(ctx, name, ids, w.columns, rows); err != nil {
				return nil, fmt.Errorf("look up %s.%s: %w", name.schema, name.table, err)
			}
		}
	}
	return related, nil
}

// loadTable reads rows of one table. A table's shape is remembered, and looked up again
// when a query finds that it has changed.
func (l *Live) loadTable(ctx context.Context, name tableName, ids []int64, columns []string, into map[int64]Row) error {
	for fresh := false; ; {
		shape := l.tables[name]
		if shape == nil {
			var err error
			if shape, err = l.shape(ctx, name); err != nil {
				return err
			}
			fresh = true
			if shape == nil {
				return nil // no such table
			}
			l.tables[name] = shape
		}
		err := l.selectRows(ctx, name, shape, ids, columns, into)
		if err == nil {
			return nil
		}
		delete(l.tables, name)
		state := sqlState(err)
		if (state == "42703" || state == "42P01") && !fresh {
			continue
		}
		if state == "42501" {
			return &RefusedError{Reason: fmt.Sprintf("role %q may not read table %s.%s", l.cfg.User, name.schema, name.table), Err: err,
				Remedy: fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON TABLE %s TO %s",
					quoteIdent(name.schema), quoteIdent(l.cfg.User), quoteTable(name.schema, name.table), quoteIdent(l.cfg.User))}
		}
		return err
	}
}

// shape reads a table's columns; nil when there is no such table, or it has no id.
func (l *Live) shape(ctx context.Context, name tableName) (*liveTable, error) {
	t := &liveTable{columns: make(map[string]uint32)}
	err := l.use(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT c.oid::int8, a.attname::text, a.atttypid::int8
			FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`, name.schema, name.table)
		if err != nil {
			return err
		}
		var column string
		var typ uint32
		_, err = pgx.ForEachRow(rows, []any{&t.oid, &column, &typ}, func() error {
			t.columns[column] = typ
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, ok := t.columns["id"]; !ok {
		return nil, nil
	}
	return t, nil
}

// selectRows runs the query and encodes its rows as tuples.
func (l *Live) selectRows(ctx context.Context, name tableName, shape *liveTable, ids []int64, columns []string, into map[int64]Row) error {
	list := []string{"id"}
	for _, c := range columns {
		if _, ok := shape.columns[c]; ok && c != "id" {
			list = append(list, c)
		}
	}
	cols := make([]Column, len(list))
	quoted := make([]string, len(list))
	for i, c := range list {
		typ, err := l.resolve(ctx, shape.columns[c], 0)
		if err != nil {
			return err
		}
		if typ == nil {
			return errors.New("the type of column " + c + " is gone")
		}
		cols[i], quoted[i] = Column{Name: c, Type: typ}, quoteIdent(c)
	}
	rel := NewRelation(shape.oid, name.schema, name.table, 'd', cols, []string{"id"})
	sql := "SELECT " + strings.Join(quoted, ", ") + " FROM " + quoteTable(name.schema, name.table) + " WHERE id = ANY ($1::int8[])"
	return l.use(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, pgx.QueryResultFormats{pgx.TextFormatCode}, ids)
		if err != nil {
			return err
		}
		defer rows.Close()
		values := make([]Value, len(cols))
		for rows.Next() {
			for i, raw := range rows.RawValues() {
				values[i] = Value{State: Present, Text: raw, Type: cols[i].Type}
				if raw == nil {
					values[i] = Value{State: Null, Type: cols[i].Type}
				}
			}
			id, err := strconv.ParseInt(string(values[0].Text), 10, 64)
			if err != nil {
				return fmt.Errorf("id: %w", err)
			}
			row, ok := NewRow(rel, ImageFull, AppendTuple(nil, values))
			if !ok {
				return errors.New("encode row")
			}
			into[id] = row
		}
		return rows.Err()
	})
}
