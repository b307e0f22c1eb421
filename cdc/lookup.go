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

const (
	// maxIDs bounds the ids in one query for single rows, maxParents in one for lists of them.
	maxIDs, maxParents = 10_000, 500
	// MaxLinked bounds what the rows for one id may take, in bytes (invariant 9).
	MaxLinked = 8 << 20
)

// Load reads the rows that a link leads to from ids: one query, whatever their number (in pieces of 10,000 rows, or of 500
// lists). found is called once for each id, in no particular order, also for one that leads to nothing; an error of it ends the look-up and is
// returned as it is. Rows, columns and tables that do not exist are left out. Values are in the same text form as in WAL. The
// rows are as of now, not as of the change that led to them.
func (l *Live) Load(ctx context.Context, link *Link, ids []int64, found func(id int64, got Linked) error) error {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	size := maxIDs
	if link.many() {
		size = maxParents
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for piece := range slices.Chunk(ids, size) {
		if err := l.loadPiece(ctx, link, piece, found); err != nil {
			return err
		}
	}
	return nil
}

// loadPiece reads what one query may. A table's shape is remembered, and looked up again when a query finds that it has changed.
func (l *Live) loadPiece(ctx context.Context, link *Link, ids []int64, found func(int64, Linked) error) error {
	r := &reading{link: link, ids: ids, done: make([]bool, len(ids)), found: found}
	for fresh := false; ; {
		plan, again, err := l.plan(ctx, link)
		if err != nil {
			return fmt.Errorf("look up %s: %w", link, err)
		}
		fresh = fresh || again
		if plan == nil {
			return r.rest() // no such table or column
		}
		err = l.use(ctx, func(conn *pgx.Conn) error {
			if err := l.reached(ctx, conn); err != nil {
				return err
			}
			return r.query(ctx, conn, plan)
		})
		if err == nil {
			return r.rest()
		}
		if r.ended != nil {
			return r.ended
		}
		l.forget(link)
		if shapeChanged(err) && !fresh {
			continue
		}
		switch sqlState(err) {
		case "42501":
			return l.mayNot(link, plan, err)
		case "55P03":
			return l.locked(ctx, link, err)
		}
		return fmt.Errorf("look up %s: %w", link, err)
	}
}

// shapeChanged says that a query failed because a table is not what it was: a column or the table is gone, or has
// another type than the prepared statement knows.
func shapeChanged(err error) bool {
	switch sqlState(err) {
	case "42703", "42P01", "42883", "0A000", "42804":
		return true
	}
	return false
}

// mayNot is the error of a look-up that the role has no right to.
func (l *Live) mayNot(link *Link, plan *linkPlan, err error) error {
	role, name := quoteIdent(l.cfg.User), tableName{link.Schema, link.Table}
	columns := make([]string, len(plan.reads))
	for i, c := range plan.reads {
		columns[i] = quoteIdent(c)
	}
	remedy := fmt.Sprintf("as the table's owner: GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON TABLE %s TO %s; or of no more than is read: GRANT SELECT (%s) ON TABLE %s TO %[2]s",
		quoteIdent(link.Schema), role, quoteTable(link.Schema, link.Table), role, strings.Join(columns, ", "), quoteTable(link.Schema, link.Table))
	tables := "table " + name.String()
	if r := link.Rel; r != nil {
		tables = fmt.Sprintf("tables %s and %s", name, tableName{r.Schema, r.Table})
		remedy += fmt.Sprintf("; GRANT SELECT ON TABLE %s TO %s", quoteTable(r.Schema, r.Table), role)
	}
	return &RefusedError{Reason: fmt.Sprintf("role %q may not read all that is looked up of %s", l.cfg.User, tables), Err: err, Remedy: remedy}
}

// reading is one query's worth of ids.
type reading struct {
	link  *Link
	ids   []int64 // sorted
	done  []bool  // what found has been told; a query that broke off is repeated for the others
	found func(int64, Linked) error
	ended error // what found has returned
}

// rest tells of the ids that lead to nothing.
func (r *reading) rest() error {
	for i, id := range r.ids {
		if !r.done[i] {
			if err := r.found(id, Linked{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// query runs the plan's query and hands over what it brings, an id at a time.
func (r *reading) query(ctx context.Context, conn *pgx.Conn, plan *linkPlan) error {
	ids := r.ids
	if slices.Contains(r.done, true) {
		ids = nil
		for i, id := range r.ids {
			if !r.done[i] {
				ids = append(ids, id)
			}
		}
	}
	rows, err := conn.Query(ctx, plan.sql, pgx.QueryResultFormats{pgx.TextFormatCode}, ids)
	if err != nil {
		return err
	}
	defer rows.Close()
	var got Linked
	at, bytes, count := -1, int64(0), 0 // the id that got is being filled for
	hand := func() error {
		if at < 0 {
			return nil
		}
		got.partial = r.link.Limit > 0 && count >= r.link.Limit
		if r.ended = r.found(r.ids[at], got); r.ended != nil {
			return r.ended
		}
		r.done[at], got, bytes, count = true, Linked{}, 0, 0
		return nil
	}
	for rows.Next() {
		raw := rows.RawValues()
		id, err := strconv.ParseInt(string(raw[0]), 10, 64)
		if err != nil {
			return fmt.Errorf("id: %w", err)
		}
		i, known := slices.BinarySearch(r.ids, id)
		if at != i {
			if err := hand(); err != nil {
				return err
			}
			at = i
		}
		if !known || r.done[i] {
			if !r.link.many() { // a view may have an id twice
				at = -1
				continue
			}
			return errors.New("the rows for one id do not come together")
		}
		count++
		if r.link.many() {
			member, err := strconv.ParseInt(string(raw[1]), 10, 64)
			if err != nil {
				return fmt.Errorf("id: %w", err)
			}
			got.members = append(got.members, member)
			if len(raw[2]) == 0 || raw[2][0] != 't' {
				continue // archived, or gone: it does not count
			}
		}
		row := plan.row(raw)
		got.Rows = append(got.Rows, row)
		if bytes += int64(row.Size()); bytes > MaxLinked {
			r.ended = &TooManyRowsError{Link: r.link, ID: id, Max: MaxLinked}
			return r.ended
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return hand()
}
