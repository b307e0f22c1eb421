package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// classes and watchable select the tables that can have changes in WAL and are
// somebody's data: ordinary and partitioned ones outside the system's schemas.
const (
	classes   = `pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace`
	watchable = `c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'`
)

const selectTables = `
SELECT c.oid, n.nspname::text, c.relname::text, pg_catalog.pg_get_userbyid(c.relowner)::text, c.relreplident::text,
       c.relkind = 'p', c.relpersistence = 'u',
       c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid)
  FROM ` + classes + `
 WHERE ` + watchable

const selectColumns = `
SELECT a.attrelid, a.attname::text, a.atttypid, a.attnotnull, a.attgenerated <> '', a.attnum
  FROM pg_catalog.pg_attribute a
 WHERE a.attnum > 0 AND NOT a.attisdropped
   AND a.attrelid IN (SELECT c.oid FROM ` + classes + ` WHERE ` + watchable + `)
 ORDER BY a.attrelid, a.attnum`

// Columns that an index only INCLUDEs come after the key's own and are no part of it.
const selectKeys = `
SELECT i.indrelid, a.attname::text
  FROM pg_catalog.pg_index i
 CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indisprimary AND k.position <= i.indnkeyatts
 ORDER BY i.indrelid, k.position`

// loadTables reads everything that is in pg_catalog.
func loadTables(ctx context.Context, tx pgx.Tx) ([]*Table, *metadata, error) {
	var (
		tables []*Table
		byOID  = map[uint32]*Table{}
		types  = typeRows{}
		meta   = &metadata{tables: map[tableName]*metaTable{}}
		q      queries
	)
	q.queue("types", selectTypes, types.scan)
	q.queue("tables", selectTables, func(rows pgx.Rows) error {
		var identity string
		t := &Table{}
		if err := rows.Scan(&t.OID, &t.Schema, &t.Name, &t.Owner, &identity, &t.Partitioned, &t.Unlogged, &t.Inherited); err != nil {
			return err
		}
		t.Identity = identity[0]
		tables = append(tables, t)
		byOID[t.OID] = t
		return nil
	})
	q.queue("columns", selectColumns, func(rows pgx.Rows) error {
		var table, typ uint32
		var c Column
		if err := rows.Scan(&table, &c.Name, &typ, &c.NotNull, &c.Generated, &c.number); err != nil {
			return err
		}
		t := byOID[table]
		if t == nil {
			return fmt.Errorf("column %q is of an unknown table with oid %d", c.Name, table)
		}
		var err error
		if c.Type, err = types.resolve(typ); err != nil {
			return fmt.Errorf("column %s.%s: %w", t, c.Name, err)
		}
		t.Columns = append(t.Columns, c)
		return nil
	})
	q.queue("primary keys", selectKeys, func(rows pgx.Rows) error {
		var table uint32
		var column string
		if err := rows.Scan(&table, &column); err != nil {
			return err
		}
		if t := byOID[table]; t != nil { // others are the system's
			t.PrimaryKey = append(t.PrimaryKey, column)
		}
		return nil
	})
	q.queue("foreign keys", selectForeignKeys, func(rows pgx.Rows) error { return scanForeignKey(rows, byOID) })
	q.queue("privileges", selectMetadata, meta.scan, metadataTables)
	if err := q.run(ctx, tx); err != nil {
		return nil, nil, err
	}
	slices.SortFunc(tables, func(a, b *Table) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.Name, b.Name))
	})
	return tables, meta, nil
}
