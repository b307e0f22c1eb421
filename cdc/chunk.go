package cdc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ChunkRequest asks for a bounded piece of a table, in the order of its primary key.
type ChunkRequest struct {
	Schema, Table string
	Key           []string // the primary key in its order; columns of any types
	Columns       []string // that are read; the key always is. One that the table has not is left out
	After         []string // text forms of the key after which to begin; nil: at the beginning
	Filter        *Filter  // rows that it leaves out are not in the chunk; nil for none
	Rows          int      // at most; 0 for 500
	Look          int      // rows of the table that are looked at, at most, when a filter leaves many out; 0 for ten times Rows
	Bytes         int      // of values, after which no further row is read; 0 for 2 MiB

	Like *Relation // of an earlier chunk: it is used again while the table has the same shape; may be nil
}

// Defaults of a [ChunkRequest].
const (
	chunkRows  = 500
	chunkBytes = 2 << 20
)

// Chunk is a piece of a table as one snapshot has seen it.
//
// It may be acted upon, by the goroutine that handles transactions, as soon as the stream has been handled up to High, and after
// [ChunkWindow.Settle] has brought it up to date: from then on it shows the rows as they are at the position of the stream. So no
// change that is handled later is older than the rows, and none that was handled before is newer.
type Chunk struct {
	Rel    *Relation
	Rows   []Row
	Keys   []string // of the rows, as [Change.Key]
	Last   []string // text forms of the key up to which rows have been looked at; After of the next request
	Looked int      // how many rows were looked at
	Done   bool     // there are no rows after Last

	Seen ChunkSnapshot
	High LSN // end of WAL, taken after the snapshot: all that the snapshot has seen lies before it

	at map[string]int // key to place; made when it is needed
}

// Size is how many bytes the rows' values take.
func (c *Chunk) Size() (n int) {
	for i := range c.Rows {
		n += c.Rows[i].Size()
	}
	return n
}

// KeyOf returns the text forms of the key of row i, for ChunkRequest.After.
func (c *Chunk) KeyOf(i int) []string { return keyTexts(&c.Rows[i]) }

func keyTexts(r *Row) []string {
	out := make([]string, len(r.rel.Key))
	for n, i := range r.rel.Key {
		out[n] = string(r.Value(i).Text)
	}
	return out
}

// Chunk reads a chunk, in one transaction that ends with it: it never keeps a snapshot longer than it takes to read, since dead rows can't be
// vacuumed meanwhile. It takes no locks but what any SELECT does, and writes nothing.
func (l *Live) Chunk(ctx context.Context, r ChunkRequest) (*Chunk, error) {
	if r.Rows <= 0 {
		r.Rows = chunkRows
	}
	if r.Bytes <= 0 {
		r.Bytes = chunkBytes
	}
	if r.Look <= 0 {
		r.Look = 10 * r.Rows
	}
	if r.Filter == nil {
		r.Look = r.Rows
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	name := tableName{r.Schema, r.Table}
	for fresh := false; ; {
		shape, looked, err := l.shapeOf(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", name, err)
		}
		fresh = fresh || looked
		if shape == nil {
			return nil, &TableGoneError{Schema: r.Schema, Table: r.Table}
		}
		out, err := l.chunk(ctx, r, shape)
		if err == nil {
			return out, nil
		}
		if delete(l.tables, name); shapeChanged(err) && !fresh {
			continue
		}
		if sqlState(err) == "42501" {
			if lacks := l.lacks(ctx, &r, shape); len(lacks) > 0 {
				return nil, l.MayNotRead(r.Schema, r.Table, lacks)
			}
		}
		return nil, l.mayNotScan(ctx, r.Schema, r.Table, nil, err)
	}
}

// lacks lists the columns of a request that the role may not read, if it may read others; a grant of the whole table would show secrets.
func (l *Live) lacks(ctx context.Context, r *ChunkRequest, shape *liveTable) (columns []string) {
	const ask = `SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::int8::oid AND a.attname = ANY ($2::text[])
		AND NOT a.attisdropped AND pg_catalog.has_any_column_privilege(a.attrelid, 'SELECT') AND NOT pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT') ORDER BY a.attnum`
	wanted := slices.Concat(r.Key, r.Columns)
	if r.Filter != nil {
		wanted = r.Filter.columns(wanted)
	}
	_ = l.use(ctx, func(conn *pgx.Conn) error { // without an answer the remedy is a broader one
		rows, err := conn.Query(ctx, ask, int64(shape.oid), wanted)
		if err == nil {
			columns, err = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		return err
	})
	return columns
}

// TableGoneError says that there is no such table any more, or that it has lost its key.
type TableGoneError struct{ Schema, Table, Column string }

func (e *TableGoneError) Error() string {
	if e.Column != "" {
		return fmt.Sprintf("look at %s.%s: it has no column %s any more, which was part of its key", e.Schema, e.Table, e.Column)
	}
	return fmt.Sprintf("look at %s.%s: there is no such table any more", e.Schema, e.Table)
}

// relationFor describes the rows of a request.
func (l *Live) relationFor(ctx context.Context, r *ChunkRequest, shape *liveTable) (*Relation, error) {
	var cols []Column
	for _, c := range slices.Concat(r.Key, slices.DeleteFunc(slices.Clone(r.Columns), func(c string) bool { return slices.Contains(r.Key, c) })) {
		oid, ok := shape.columns[c]
		if !ok {
			if slices.Contains(r.Key, c) {
				return nil, &TableGoneError{r.Schema, r.Table, c}
			}
			continue // whoever needs it says what it misses
		}
		typ, err := l.resolve(ctx, oid, 0)
		if err != nil {
			return nil, err
		}
		if typ == nil {
			return nil, fmt.Errorf("the type of column %s is gone", c)
		}
		cols = append(cols, Column{Name: c, Type: typ, Key: slices.Contains(r.Key, c), Number: shape.numbers[c]})
	}
	if k := r.Like; k != nil && k.OID == shape.oid && slices.Equal(k.Columns, cols) {
		return k, nil
	}
	return NewRelation(shape.oid, r.Schema, r.Table, 'd', cols, r.Key), nil
}

// chunkSQL writes the query: rows in the order of the key, numbered as they are looked at. Of rows that the filter leaves out only the last that
// was looked at comes, which says that there may be more. Parameters have the types of what they are compared with.
func chunkSQL(r *ChunkRequest, rel *Relation, partitioned bool) (sql string, args []any) {
	var key, list []string
	for _, k := range r.Key {
		key = append(key, quoteIdent(k))
	}
	for i := range rel.Columns {
		list = append(list, quoteIdent(rel.Columns[i].Name))
	}
	order := strings.Join(key, ", ")
	where := ""
	if r.After != nil {
		var marks []string
		for _, text := range r.After {
			args = append(args, text)
			marks = append(marks, fmt.Sprintf("$%d", len(args)))
		}
		where = fmt.Sprintf(" WHERE (%s) > (%s)", order, strings.Join(marks, ", "))
		if len(key) == 1 {
			where = fmt.Sprintf(" WHERE %s > $1", key[0])
		}
	}
	only := "ONLY " // rows of tables that inherit from it are theirs in WAL
	if partitioned {
		only = ""
	}
	from := fmt.Sprintf("%s%s%s ORDER BY %s", only, quoteTable(r.Schema, r.Table), where, order)
	if r.Filter == nil {
		return fmt.Sprintf("SELECT NULL, NULL, %s FROM %s LIMIT %d", strings.Join(list, ", "), from, r.Rows), args
	}
	filter, args := r.Filter.sql(args)
	inner := slices.Clone(list) // no more than the role may read
	for _, column := range r.Filter.columns(nil) {
		if name := quoteIdent(column); !slices.Contains(inner, name) {
			inner = append(inner, name)
		}
	}
	return fmt.Sprintf("SELECT walhook_n, walhook_hit, %[1]s FROM (SELECT *, (%[2]s) IS TRUE AS walhook_hit, row_number() OVER (ORDER BY %[3]s) AS walhook_n FROM (SELECT %[7]s FROM %[4]s LIMIT %[5]d) looked) numbered "+
		"WHERE walhook_hit OR walhook_n = %[5]d ORDER BY walhook_n LIMIT %[6]d", strings.Join(list, ", "), filter, order, from, r.Look, r.Rows, strings.Join(inner, ", ")), args
}

func (l *Live) chunk(ctx context.Context, r ChunkRequest, shape *liveTable) (*Chunk, error) {
	rel, err := l.relationFor(ctx, &r, shape)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second) // where the server itself does not end it
	defer cancel()
	var out *Chunk
	return out, l.use(ctx, func(conn *pgx.Conn) error {
		out = &Chunk{Rel: rel}
		var partitioned, same bool
		names, numbers := make([]string, len(rel.Columns)), make([]int16, len(rel.Columns))
		for i := range rel.Columns {
			names[i], numbers[i] = rel.Columns[i].Name, rel.Columns[i].Number
		}
		if err := conn.QueryRow(ctx, "SELECT (SELECT count(*) FROM unnest($2::text[], $3::int2[]) w (name, number) JOIN pg_catalog.pg_attribute a ON a.attrelid = $1::int8::oid AND a.attname = w.name AND a.attnum = w.number) = cardinality($2::text[]), relkind = 'p', pg_catalog.pg_is_in_recovery(), CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()::text ELSE '0/0' END FROM pg_catalog.pg_class WHERE oid = $1::int8::oid", int64(rel.OID), names, numbers).
			Scan(&same, &partitioned, &out.Seen.standby, &out.Seen.before); err != nil {
			if err == pgx.ErrNoRows {
				return &pgconn.PgError{Code: "42P01", Message: "the table was made anew"}
			}
			return err
		}
		if !same { // another column has the name of one that was looked at before
			return &pgconn.PgError{Code: "42703", Message: "a column was made anew"}
		}
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		err = out.read(ctx, tx, &r, partitioned)
		if end := tx.Rollback(ctx); err == nil && end != nil && !conn.IsClosed() {
			err = end
		}
		return err
	})
}

// read fills the chunk within a transaction, whose snapshot is taken by its first statement.
func (c *Chunk) read(ctx context.Context, tx pgx.Tx, r *ChunkRequest, partitioned bool) error {
	if err := c.Seen.take(ctx, tx, &c.High); err != nil {
		return err
	}
	sql, args := chunkSQL(r, c.Rel, partitioned)
	values := make([][]byte, len(args))
	for i, a := range args {
		values[i] = fmt.Append(nil, a)
	}
	rows := tx.Conn().PgConn().ExecParams(ctx, sql, values, nil, nil, nil)
	size, count := 0, 0
	for rows.NextRow() {
		raw := rows.Values()
		count++
		c.Looked = count
		if raw[0] != nil {
			if _, err := fmt.Sscan(string(raw[0]), &c.Looked); err != nil {
				return fmt.Errorf("number of a row: %w", err)
			}
		}
		row := textRow(c.Rel, raw[2:])
		c.Last = keyTexts(&row)
		if r.Filter == nil || string(raw[1]) == "t" {
			key, _ := appendKey(nil, row) // a primary key is never NULL
			c.Rows, c.Keys = append(c.Rows, row), append(c.Keys, string(key))
		}
		if size += len(row.tuple); size >= r.Bytes {
			_, err := rows.Close()
			return err
		}
	}
	if _, err := rows.Close(); err != nil {
		return err
	}
	// With a filter, the last row that is looked at comes in any case.
	if c.Done = count < r.Rows && (r.Filter == nil || c.Looked < r.Look); c.Last == nil {
		c.Last = r.After
	}
	return nil
}
