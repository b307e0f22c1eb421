package catalog

import (
	"cmp"
	"maps"
	"slices"
)

// Keeping adds tables that an earlier catalog had and this one has not, with the models that were stored in them. It returns c itself when there are none.
// A table that is gone may have been renamed for a moment, and what was committed before is read from WAL after that.
func (c *Catalog) Keeping(earlier *Catalog, tables []*Table) *Catalog {
	kept := *c
	for _, t := range tables {
		name := tableName{t.Schema, t.Name}
		if earlier.tables[name] != t || kept.tables[name] != nil {
			continue
		}
		if len(kept.Tables) == len(c.Tables) { // the first one
			kept.Tables, kept.Models = slices.Clone(c.Tables), slices.Clone(c.Models)
			kept.tables, kept.models, kept.byTable = maps.Clone(c.tables), maps.Clone(c.models), maps.Clone(c.byTable)
		}
		kept.Tables, kept.tables[name] = append(kept.Tables, t), t
		m := earlier.byTable[t]
		if m == nil {
			continue
		}
		kept.byTable[t] = m
		if i := slices.IndexFunc(kept.Models, func(o *Model) bool { return o.Name == m.Name }); i >= 0 {
			kept.Models[i] = m
		} else {
			kept.Models = append(kept.Models, m)
		}
		kept.models[m.Name] = m
	}
	if len(kept.Tables) == len(c.Tables) {
		return c
	}
	slices.SortFunc(kept.Tables, func(a, b *Table) int {
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(kept.Models, func(a, b *Model) int { return cmp.Compare(a.Name, b.Name) })
	return &kept
}
