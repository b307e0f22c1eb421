package cdc

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Scan is a look at some rows of a table, in the order of its key.
type Scan struct {
	Schema, Table string
	Key           string   // the primary key, one column of whole numbers
	Columns       []string // that are read; the key always is
	Filter        *Filter  // rows that it leaves out are not read; nil for none
	After, Until  int64    // of the key: rows after the one, up to the other
	Rows          int      // at most; 0 for all
	Bytes         int64    // of values, after which no further row is read; 0 for no limit
}

// Scanned is what a [Scan] has found.
type Scanned struct {
	Rel  *Relation
	Rows []Row
	Keys []int64 // of the rows
	Last int64   // rows up to this key have been looked at: Scan.Until, or the key of the last row
	LSN  LSN     // where WAL ended before the look: all that is in the rows is either before it or not yet committed then
}

// Bounds returns the least and the greatest key of a table; ok is false when it has no rows.
func (l *Live) Bounds(ctx context.Context, schema, table, key string) (least, greatest int64, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lo, hi *int64
	sql := fmt.Sprintf("SELECT min(%[1]s)::int8, max(%[1]s)::int8 FROM %[2]s", quoteIdent(key), quoteTable(schema, table))
	err = l.use(ctx, func(conn *pgx.Conn) error { return conn.QueryRow(ctx, sql).Scan(&lo, &hi) })
	if err != nil {
		return 0, 0, false, l.mayNotScan(ctx, schema, table, []string{key}, err)
	}
	if lo == nil {
		return 0, 0, false, nil
	}
	return *lo, *hi, true, nil
}

// Scan reads rows as they are now, in the text form that they have in WAL, in a transaction of its own: it never keeps a snapshot longer than
// it takes to read, since Odoo's dead rows can't be vacuumed meanwhile.
func (l *Live) Scan(ctx context.Context, s Scan) (*Scanned, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := tableName{s.Schema, s.Table}
	for fresh := false; ; {
		shape, looked, err := l.shapeOf(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
		fresh = fresh || looked
		if shape == nil {
			return nil, fmt.Errorf("look at %s: there is no such table any more", name)
		}
		out, err := l.scan(ctx, s, shape)
		if err == nil {
			return out, nil
		}
		if delete(l.tables, name); shapeChanged(err) && !fresh {
			continue
		}
		columns := append([]string{s.Key}, s.Columns...)
		if s.Filter != nil {
			columns = s.Filter.columns(columns)
		}
		return nil, l.mayNotScan(ctx, s.Schema, s.Table, columns, err)
	}
}

// IsTimeout says that a statement took longer than it may.
func IsTimeout(err error) bool { return sqlState(err) == "57014" }

func (l *Live) scan(ctx context.Context, s Scan, shape *liveTable) (*Scanned, error) {
	var cols []Column
	var list []string
	for _, c := range append([]string{s.Key}, slices.DeleteFunc(slices.Clone(s.Columns), func(c string) bool { return c == s.Key })...) {
		oid, ok := shape.columns[c]
		if !ok {
			continue // the condition says what it misses
		}
		typ, err := l.resolve(ctx, oid, 0)
		if err != nil {
			return nil, err
		}
		if typ == nil {
			return nil, fmt.Errorf("the type of column %s is gone", c)
		}
		cols, list = append(cols, Column{Name: c, Type: typ}), append(list, quoteIdent(c))
	}
	out := &Scanned{Rel: NewRelation(shape.oid, s.Schema, s.Table, 'd', cols, []string{s.Key}), Last: s.Until}
	key := quoteIdent(s.Key)
	args := []any{s.After, s.Until}
	sql := fmt.Sprintf("SELECT %s FROM %s WHERE %s > $1::int8 AND %s <= $2::int8", strings.Join(list, ", "), quoteTable(s.Schema, s.Table), key, key)
	if s.Filter != nil {
		var filter string
		filter, args = s.Filter.sql(args)
		sql += " AND " + filter
	}
	sql += " ORDER BY " + key
	if s.Rows > 0 {
		sql += fmt.Sprintf(" LIMIT %d", s.Rows)
	}
	return out, l.use(ctx, func(conn *pgx.Conn) error {
		out.Rows, out.Keys, out.Last = nil, nil, s.Until
		var err error
		if out.LSN, err = EndOfWAL(ctx, conn); err != nil {
			return err
		}
		rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryExecModeExec, pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		size := int64(0)
		for rows.Next() {
			row := textRow(out.Rel, rows.RawValues())
			id, err := strconv.ParseInt(string(row.Value(0).Text), 10, 64)
			if err != nil {
				return fmt.Errorf("key: %w", err)
			}
			out.Rows, out.Keys = append(out.Rows, row), append(out.Keys, id)
			if size += int64(len(row.tuple)); s.Bytes > 0 && size >= s.Bytes {
				out.Last = id
				break
			}
		}
		rows.Close()
		if n := len(out.Keys); s.Rows > 0 && n == s.Rows {
			out.Last = out.Keys[n-1]
		}
		return rows.Err()
	})
}

// textRow makes a row of a query's raw values in text form.
func textRow(rel *Relation, raw [][]byte) Row {
	size := 0
	for _, text := range raw {
		size += 5 + len(text)
	}
	tuple, at := make([]byte, 0, size), make([]uint32, len(raw))
	for i, text := range raw {
		at[i] = uint32(len(tuple))
		if text == nil {
			tuple = append(tuple, 'n')
			continue
		}
		tuple = append(binary.BigEndian.AppendUint32(append(tuple, 't'), uint32(len(text))), text...)
	}
	return Row{Image: ImageFull, rel: rel, tuple: tuple, at: at}
}
