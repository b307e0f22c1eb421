package catalog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// queries are statements that go to the server together, with, for each, the function that takes its rows. The server works on the next one while
// the rows of the last are read, and nothing is prepared: a catalog is read once per connection.
type queries struct {
	sql   []string
	what  []string
	scan  []func(*record) error // nil where there are no rows
	names map[string]string     // see record.name; may be nil
}

// queue adds a statement. What it reads is named for errors.
func (q *queries) queue(what, sql string, scan func(*record) error) {
	q.sql = append(q.sql, sql)
	q.what = append(q.what, what)
	q.scan = append(q.scan, scan)
}

// run sends all statements at once and takes their rows, one statement after the other.
func (q *queries) run(ctx context.Context, conn *pgconn.PgConn) error {
	if len(q.sql) == 0 {
		return nil
	}
	results := conn.Exec(ctx, strings.Join(q.sql, ";\n"))
	r := record{names: q.names}
	for i, what := range q.what {
		if !results.NextResult() {
			return fmt.Errorf("read %s: %w", what, results.Close())
		}
		rows := results.ResultReader()
		var err error
		for err == nil && rows.NextRow() {
			r.values, r.at = rows.Values(), 0
			if err = q.scan[i](&r); err == nil {
				err = r.err
			}
		}
		if _, end := rows.Close(); err == nil {
			err = end
		}
		if err != nil {
			_ = results.Close() // err says more than what follows from it
			return fmt.Errorf("read %s: %w", what, err)
		}
	}
	return results.Close()
}

// record is a row, read column by column in the text form of its values. It is valid until the next one. The first value that is not what is asked
// for is the record's error.
type record struct {
	values [][]byte
	at     int
	names  map[string]string
	err    error
}

// value is the next column; nil for NULL.
func (r *record) value() []byte {
	if r.at >= len(r.values) {
		r.fail("no column %d", r.at+1)
		return nil
	}
	r.at++
	return r.values[r.at-1]
}

func (r *record) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// text is the next column as a string; "" for NULL.
func (r *record) text() string { return string(r.value()) }

// name is text for what occurs again and again: equal names share their bytes.
func (r *record) name() string { return r.intern(r.value()) }

// intern makes a string of bytes; equal ones share it.
func (r *record) intern(text []byte) string {
	if known, ok := r.names[string(text)]; ok {
		return known
	}
	s := string(text)
	if r.names != nil {
		r.names[s] = s
	}
	return s
}

// flag is the next column as a boolean.
func (r *record) flag() bool {
	switch string(r.value()) {
	case "t":
		return true
	case "f":
		return false
	}
	r.fail("column %d is no boolean", r.at)
	return false
}

// char is the first byte of the next column; 0 when there is none.
func (r *record) char() byte {
	if value := r.value(); len(value) > 0 {
		return value[0]
	}
	return 0
}

// number is the next column as an integer; 0 for NULL.
func (r *record) number() int64 {
	if value := r.value(); value != nil {
		return r.parse(value)
	}
	return 0
}

// integer is the next column as an integer; nil for NULL.
func (r *record) integer() *int64 {
	value := r.value()
	if value == nil {
		return nil
	}
	n := r.parse(value)
	return &n
}

func (r *record) parse(value []byte) int64 {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		r.fail("column %d is no number: %w", r.at, err)
	}
	return n
}

// float is the next column as a number with a fraction; nil for NULL.
func (r *record) float() *float64 {
	value := r.value()
	if value == nil {
		return nil
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		r.fail("column %d is no number: %w", r.at, err)
	}
	return &f
}

// oid is the next column as an object identifier.
func (r *record) oid() uint32 {
	n, err := strconv.ParseUint(string(r.value()), 10, 32)
	if err != nil {
		r.fail("column %d is no oid: %w", r.at, err)
	}
	return uint32(n)
}

// numbers is the next column as a list of the numbers of columns: an array of int2 ({1,2}) or an int2vector (1 2).
func (r *record) numbers() []int16 {
	fields := strings.FieldsFunc(string(r.value()), func(c rune) bool { return c == '{' || c == '}' || c == ',' || c == ' ' })
	list := make([]int16, len(fields))
	for i, f := range fields {
		n, err := strconv.ParseInt(f, 10, 16)
		if err != nil {
			r.fail("column %d is no list of numbers: %w", r.at, err)
		}
		list[i] = int16(n)
	}
	return list
}
