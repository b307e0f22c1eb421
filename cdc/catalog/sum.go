package catalog

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"

	"walhook/cdc"
)

// Sum is a digest of what the catalog says of tables, of the models that are stored in them, and of languages, companies and
// defaults. Two catalogs with the same sum mean the same to whoever looks at these tables only: thousands of
// rows of ir_model_fields may change, when a module is installed, without anything to do for rules.
func (c *Catalog) Sum(tables []*Table) [sha256.Size]byte {
	digest := sha256.New()
	enc := json.NewEncoder(digest) // of maps it writes the keys in order
	put := func(v any) {
		// Neither the values nor a digest can fail to be written.
		_ = enc.Encode(v)
	}
	if c.Odoo != nil {
		put([]any{c.Odoo.Schema, c.Odoo.Languages, c.Odoo.Companies, c.Odoo.Defaults, c.Odoo.Unread})
	}
	tables = slices.Clone(tables)
	slices.SortFunc(tables, func(a, b *Table) int { return strings.Compare(a.String(), b.String()) })
	for _, t := range slices.Compact(tables) {
		put([]any{t.OID, t.String(), t.PrimaryKey, t.Partitioned, t.Unlogged, t.Inherited})
		for i := range t.Columns {
			col := &t.Columns[i]
			put([]any{col.Name, col.Type.OID, col.Type.Name, col.NotNull, col.Generated, col.content})
		}
		for _, k := range t.ForeignKeys {
			put([]any{k.Columns, k.References.String(), k.OnDelete})
		}
		m := c.byTable[t]
		if m == nil {
			continue
		}
		put([]any{m.Name, m.Label, m.Transient, m.Inherits, m.Display})
		for _, f := range m.Fields {
			put([]any{f.Name, f.Label, f.Type, f.Stored, f.Column != nil, f.Relation, f.RelationField, f.RelationTable, f.Column1, f.Column2, f.Related,
				f.Translated, f.CompanyDependent, f.Selection})
		}
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

// Differs says that a table in WAL is not the one that the catalog knows: a column was added, dropped, renamed or given another
// type. Columns that the database computes do not count.
func (t *Table) Differs(rel *cdc.Relation) bool {
	for i := range rel.Columns {
		if t.columns[rel.Columns[i].Name] == nil {
			return true
		}
	}
	return t.Lost(rel)
}

// Lost says that a table in WAL has no longer all columns that the catalog knows, or not of the same types.
func (t *Table) Lost(rel *cdc.Relation) bool {
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Generated {
			continue
		}
		at := rel.Column(c.Name)
		if at < 0 || rel.Columns[at].Type == nil || rel.Columns[at].Type.OID != c.Type.OID {
			return true
		}
	}
	return false
}
