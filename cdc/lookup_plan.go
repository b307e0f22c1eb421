package cdc

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// liveTable is a table's shape as it was last seen.
type liveTable struct {
	oid     uint32
	columns map[string]uint32 // type OID by name
	numbers map[string]int16  // see [ColumnNumber]
	indexed map[string]bool   // columns that an index begins with
	plans   map[*Link]*linkPlan
}

// linkPlan is the query of a link, for a table of a certain shape.
type linkPlan struct {
	rel   *Relation // of the rows: the link's columns that the table has
	skip  int       // columns of the query before those
	sql   string    // its one parameter are the ids
	reads []string  // columns of the link's table that it reads
}

// activeColumn is false in Odoo's archived records.
const activeColumn = "active"

// maxPlans bounds what is kept of links, which may belong to rules that are no more.
const maxPlans = 1000

// plan returns the query of a link; nil when there is nothing to ask for. fresh says that a table was looked at just now.
func (l *Live) plan(ctx context.Context, link *Link) (plan *linkPlan, fresh bool, err error) {
	shape, looked, err := l.shapeOf(ctx, tableName{link.Schema, link.Table})
	if err != nil || shape == nil || shape.columns[byID] == 0 {
		return nil, looked, err
	}
	if plan := shape.plans[link]; plan != nil {
		return plan, looked, nil
	}
	plan = &linkPlan{reads: link.reads(shape)}
	var cols []Column
	for _, name := range link.Columns {
		oid, ok := shape.columns[name]
		if !ok {
			continue
		}
		typ, err := l.resolve(ctx, oid, 0)
		if err != nil {
			return nil, looked, err
		}
		if typ == nil {
			return nil, looked, fmt.Errorf("the type of column %s is gone", name)
		}
		cols = append(cols, Column{Name: name, Type: typ})
	}
	plan.rel = NewRelation(shape.oid, link.Schema, link.Table, 'd', cols, []string{byID})
	q := linkQuery{link: link, shape: shape}
	switch {
	case link.Rel != nil:
		rel, again, err := l.shapeOf(ctx, tableName{link.Rel.Schema, link.Rel.Table})
		looked = looked || again
		if err != nil || rel == nil || rel.columns[link.Rel.From] == 0 || rel.columns[link.Rel.To] == 0 {
			return nil, looked, err
		}
		q.rel = rel
	case shape.columns[link.By] == 0:
		return nil, looked, nil
	}
	for i := range cols {
		q.columns = append(q.columns, quoteIdent(cols[i].Name))
	}
	if plan.skip = 1; link.many() {
		plan.skip = 3
	}
	if plan.sql, err = q.sql(ctx, l); err != nil {
		return nil, looked, err
	}
	if len(shape.plans) >= maxPlans {
		clear(shape.plans)
	}
	shape.plans[link] = plan
	return plan, looked, nil
}

// forget drops what is known of a link's tables.
func (l *Live) forget(link *Link) {
	delete(l.tables, tableName{link.Schema, link.Table})
	if link.Rel != nil {
		delete(l.tables, tableName{link.Rel.Schema, link.Rel.Table})
	}
}

// shapeOf returns a table's shape, and whether it was looked at just now; nil when there is no such table.
func (l *Live) shapeOf(ctx context.Context, name tableName) (shape *liveTable, fresh bool, err error) {
	if shape := l.tables[name]; shape != nil {
		return shape, false, nil
	}
	shape, err = l.shape(ctx, name)
	if err == nil && shape != nil {
		l.tables[name] = shape
	}
	return shape, true, err
}

// shape reads a table's columns and which of them an index begins with. A partial index counts when it leaves out NULL alone, as
// Odoo's "btree_not_null" does.
func (l *Live) shape(ctx context.Context, name tableName) (*liveTable, error) {
	t := &liveTable{}
	err := l.use(ctx, func(conn *pgx.Conn) error {
		*t = liveTable{columns: make(map[string]uint32), numbers: make(map[string]int16), indexed: make(map[string]bool), plans: make(map[*Link]*linkPlan)}
		rows, err := conn.Query(ctx, `SELECT c.oid::int8, a.attname::text, a.atttypid::int8, a.attnum,
				EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
					JOIN pg_catalog.pg_am am ON am.oid = ic.relam AND am.amname IN ('btree', 'hash')
					WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid
					AND (i.indpred IS NULL OR pg_catalog.pg_get_expr(i.indpred, i.indrelid) = '(' || pg_catalog.quote_ident(a.attname) || ' IS NOT NULL)'))
			FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')`, name.schema, name.table)
		if err != nil {
			return err
		}
		var column string
		var typ uint32
		var number int16
		var indexed bool
		_, err = pgx.ForEachRow(rows, []any{&t.oid, &column, &typ, &number, &indexed}, func() error {
			t.columns[column], t.numbers[column] = typ, number
			if indexed {
				t.indexed[column] = true
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(t.columns) == 0 {
		return nil, nil
	}
	return t, nil
}

// row makes a row of a query's raw values in text form.
func (p *linkPlan) row(raw [][]byte) Row {
	raw = raw[p.skip:]
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
	return Row{Image: ImageFull, rel: p.rel, tuple: tuple, at: at}
}

// linkQuery writes the SQL of a link. The query of a many2one yields the id and the columns; that of others the id that the rows belong
// to, the row's own id, whether it counts, and the columns, the rows of one id together and in order.
//
// Where an index leads from the id to the rows, each id has a scan of its own, which ends at the limit. Where there is none, the table is
// read once for all of them.
type linkQuery struct {
	link    *Link
	shape   *liveTable
	rel     *liveTable // of a many2many's table
	columns []string   // that are read, quoted
}

func (q *linkQuery) sql(ctx context.Context, l *Live) (string, error) {
	table, columns, names := quoteTable(q.link.Schema, q.link.Table)+" AS t", "", ""
	for i, c := range q.columns {
		columns += fmt.Sprintf(", t.%s AS c%d", c, i) // a column may be called like one of ours
		names += fmt.Sprintf(", c%d", i)
	}
	if !q.link.many() {
		return "SELECT t.id" + columns + " FROM " + table + " WHERE t.id = ANY ($1::int8[])", nil
	}
	order, err := q.order(ctx, l)
	if err != nil {
		return "", err
	}
	hides := !q.link.Archived && isBool(q.shape.columns[activeColumn])
	var from, parent, where, member, counts string
	indexed := false
	if r := q.link.Rel; r != nil {
		// Rows that do not count come last: they are read so that what is kept in memory is dropped when they come to count.
		parent, member, counts = "r."+quoteIdent(r.From), "r."+quoteIdent(r.To), "t.id IS NOT NULL"
		if hides {
			counts += " AND coalesce(t.active, false)"
		}
		from = quoteTable(r.Schema, r.Table) + " AS r LEFT JOIN " + table + " ON t.id = " + member
		order = append([]string{"(" + counts + ") DESC"}, order...)
		order = append(order, member)
		where, indexed = member+" IS NOT NULL", q.rel.indexed[r.From]
	} else {
		parent, member, counts = "t."+quoteIdent(q.link.By), "t.id", "true"
		from, where, indexed = table, "true", q.shape.indexed[q.link.By]
		if hides {
			where = "t.active"
		}
	}
	list := member + " AS m, (" + counts + ") AS s" + columns
	sorted := strings.Join(order, ", ")
	limit := ""
	if q.link.Limit > 0 {
		limit = fmt.Sprint(q.link.Limit)
	}
	if indexed {
		if limit != "" {
			limit = " LIMIT " + limit
		}
		return "SELECT p.id, l.* FROM unnest($1::int8[]) AS p(id) CROSS JOIN LATERAL (SELECT " + list + " FROM " + from +
			" WHERE " + parent + " = p.id AND " + where + " ORDER BY " + sorted + limit + ") AS l", nil
	}
	if limit != "" {
		limit = " WHERE n <= " + limit
	}
	return "SELECT p, m, s" + names + " FROM (SELECT " + parent + " AS p, " + list +
		", row_number() OVER (PARTITION BY " + parent + " ORDER BY " + sorted + ") AS n FROM " + from +
		" WHERE " + parent + " = ANY ($1::int8[]) AND " + where + ") AS l" + limit + " ORDER BY p, n", nil
}

// order lists the expressions that rows are sorted by: those of the link that the table has and that have an order, then the id.
func (q *linkQuery) order(ctx context.Context, l *Live) ([]string, error) {
	var list []string
	for _, o := range q.link.Order {
		column, direction, _ := strings.Cut(o, " ")
		oid, ok := q.shape.columns[column]
		if !ok || column == byID && direction == "" {
			continue
		}
		typ, err := l.resolve(ctx, oid, 0)
		if err != nil {
			return nil, err
		}
		if typ == nil || !slices.Contains(sortable, typ.Kind) || typ.OID == oidJSON || typ.OID == oidXML {
			continue
		}
		by := "t." + quoteIdent(column)
		if strings.EqualFold(strings.TrimSpace(direction), "desc") {
			by += " DESC"
		}
		list = append(list, by)
	}
	return append(list, "t.id"), nil
}

// sortable kinds have an order in PostgreSQL, but for json (jsonb has one) and xml.
var sortable = []Kind{KindBool, KindInt, KindFloat, KindNumeric, KindText, KindDate, KindTimestamp, KindTimestampTZ, KindInterval, KindJSON, KindBytes, KindUUID}

const oidJSON, oidXML = 114, 142

// isBool says that a type is boolean; the OID of a column that does not exist is 0.
func isBool(oid uint32) bool { return oid == 16 }
