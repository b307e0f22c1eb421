package catalog

// ForeignKey is a constraint by which rows of a table point to another one.
type ForeignKey struct {
	Columns    []string // of the table that has the constraint, in the key's order
	References *Table
	OnDelete   byte // what the database does with the row when the other one is deleted: 'a' no action, 'r' restrict, 'c' cascade, 'n' set null, 'd' set default

	numbers []int16 // of Columns, until these are known
}

const selectForeignKeys = `
SELECT k.conrelid, k.confrelid, k.confdeltype, k.conkey
  FROM pg_catalog.pg_constraint k
 WHERE k.contype = 'f'
 ORDER BY k.conrelid, k.conname`

// scanForeignKey adds one to its table; those of other tables are not watchable.
func scanForeignKey(row *record, byOID map[uint32]*Table) error {
	t, to := byOID[row.oid()], byOID[row.oid()]
	if t == nil || to == nil {
		return nil
	}
	t.ForeignKeys = append(t.ForeignKeys, ForeignKey{References: to, OnDelete: row.char(), numbers: row.numbers()})
	return nil
}

// resolve names the columns.
func (f *ForeignKey) resolve(t *Table) {
	for _, number := range f.numbers {
		if c := t.numbered(number); c != nil {
			f.Columns = append(f.Columns, c.Name)
		}
	}
	f.numbers = nil
}
