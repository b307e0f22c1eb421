package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
)

// classes and watchable select the tables that can have changes in WAL and are
// somebody's data: ordinary and partitioned ones outside the system's schemas.
const (
	classes   = `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace`
	watchable = `c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'`
)

const selectTables = `
SELECT c.oid, n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner), c.relreplident,
       c.relkind = 'p', c.relpersistence = 'u',
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
  FROM ` + classes + `
 WHERE ` + watchable

// The array makes the server go to pg_attribute by its index, table by table, which is a third of the work of reading all of it.
const selectColumns = `
SELECT a.attrelid, a.attname, a.atttypid, a.attnotnull, a.attgenerated <> '', a.attnum
  FROM pg_catalog.pg_attribute a
 WHERE a.attnum > 0 AND NOT a.attisdropped
   AND a.attrelid = ANY (ARRAY(SELECT c.oid FROM ` + classes + ` WHERE ` + watchable + `))`

// Columns that an index only INCLUDEs come after the key's own and are no part of it.
const selectKeys = `
SELECT i.indrelid, i.indkey, i.indnkeyatts FROM pg_catalog.pg_index i WHERE i.indisprimary`

// tablesReader collects what is in pg_catalog.
type tablesReader struct {
	tables []*Table
	byOID  map[uint32]*Table
	types  []columnType
	keys   []key
}

// columnType is the type of a column until types are known.
type columnType struct {
	table *Table
	index int // of the column
	oid   uint32
}

// key is a primary key until columns are known.
type key struct {
	table   *Table
	columns []int16
}

func (r *tablesReader) queue(q *queries) {
	q.queue("tables", selectTables, r.scanTable)
	q.queue("columns", selectColumns, r.scanColumn)
	q.queue("primary keys", selectKeys, r.scanKey)
	q.queue("foreign keys", selectForeignKeys, func(row *record) error { return scanForeignKey(row, r.byOID) })
}

func (r *tablesReader) scanTable(row *record) error {
	t := &Table{OID: row.oid(), Schema: row.name(), Name: row.name(), Owner: row.name(), Identity: row.char(),
		Partitioned: row.flag(), Unlogged: row.flag(), Inherited: row.flag()}
	r.tables = append(r.tables, t)
	r.byOID[t.OID] = t
	return nil
}

func (r *tablesReader) scanColumn(row *record) error {
	table := row.oid()
	t := r.byOID[table]
	c := Column{Name: row.name()}
	if t == nil {
		return fmt.Errorf("column %q is of an unknown table with oid %d", c.Name, table)
	}
	typ := row.oid()
	c.NotNull, c.Generated, c.number = row.flag(), row.flag(), int16(row.number())
	if c.Type = cdc.BuiltinType(typ); c.Type == nil {
		r.types = append(r.types, columnType{t, int(c.number), typ})
	}
	t.Columns = append(t.Columns, c)
	return nil
}

func (r *tablesReader) scanKey(row *record) error {
	t := r.byOID[row.oid()]
	columns, n := row.numbers(), int(row.number())
	if t != nil && n <= len(columns) { // others are the system's
		r.keys = append(r.keys, key{t, columns[:n]})
	}
	return nil
}

// unknownTypes lists the types of columns that walhook does not know by itself.
func (r *tablesReader) unknownTypes() (oids []uint32) {
	for _, c := range r.types {
		if !slices.Contains(oids, c.oid) {
			oids = append(oids, c.oid)
		}
	}
	return oids
}

// assemble puts together what was read.
func (r *tablesReader) assemble(types typeRows) ([]*Table, error) {
	for _, t := range r.tables {
		slices.SortFunc(t.Columns, func(a, b Column) int { return cmp.Compare(a.number, b.number) })
	}
	for _, c := range r.types {
		column := c.table.numbered(int16(c.index))
		var err error
		if column.Type, err = types.resolve(c.oid); err != nil {
			return nil, fmt.Errorf("column %s.%s: %w", c.table, column.Name, err)
		}
	}
	for _, k := range r.keys {
		for _, number := range k.columns {
			if column := k.table.numbered(number); column != nil {
				k.table.PrimaryKey = append(k.table.PrimaryKey, column.Name)
			}
		}
	}
	for _, t := range r.tables {
		for i := range t.ForeignKeys {
			t.ForeignKeys[i].resolve(t)
		}
	}
	slices.SortFunc(r.tables, func(a, b *Table) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
	})
	return r.tables, nil
}

// numbered finds a column by its number; nil when it is not there. Columns are in the order of their numbers, which have holes where one was dropped.
func (t *Table) numbered(number int16) *Column {
	i, ok := slices.BinarySearchFunc(t.Columns, number, func(c Column, n int16) int { return cmp.Compare(c.number, n) })
	if !ok {
		return nil
	}
	return &t.Columns[i]
}
