package catalog

import "github.com/jackc/pgx/v5"

// ForeignKey is a constraint by which rows of a table point to another one.
type ForeignKey struct {
	Columns    []string // of the table that has the constraint, in the key's order
	References *Table
	OnDelete   byte // what the database does with the row when the other one is deleted: 'a' no action, 'r' restrict, 'c' cascade, 'n' set null, 'd' set default
}

const selectForeignKeys = `
SELECT k.conrelid, k.confrelid, k.confdeltype::text, k.conkey
  FROM pg_catalog.pg_constraint k
 WHERE k.contype = 'f'
 ORDER BY k.conrelid, k.conname`

// scanForeignKey adds one to its table; those of other tables are not watchable.
func scanForeignKey(rows pgx.Rows, byOID map[uint32]*Table) error {
	var table, to uint32
	var onDelete string
	var key []int16
	if err := rows.Scan(&table, &to, &onDelete, &key); err != nil {
		return err
	}
	t := byOID[table]
	if t == nil || byOID[to] == nil {
		return nil
	}
	f := ForeignKey{References: byOID[to], OnDelete: onDelete[0]}
	for _, number := range key {
		for i := range t.Columns {
			if t.Columns[i].number == number {
				f.Columns = append(f.Columns, t.Columns[i].Name)
			}
		}
	}
	t.ForeignKeys = append(t.ForeignKeys, f)
	return nil
}
