package rules

import (
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// cascade is a foreign key by which the database deletes rows of a table along with those of another one.
type cascade struct {
	column string
	to     *catalog.Table
	model  string // what the other table is for people: a model, or the table
}

// cascadesOf enters the keys of a table whose deleted rows an active rule is on.
func (s *Set) cascadesOf(r *Rule, cat *catalog.Catalog) {
	if !r.on(cdc.Unlink) || r.EachWrite {
		return
	}
	name := tableName{r.Table.Schema, r.Table.Name}
	if _, done := s.cascades[name]; !done {
		s.enter(name, cascadesInto(r.Table, cat))
	}
	r.cascades = s.cascades[name]
}

func (s *Set) enter(name tableName, keys []cascade) {
	if len(keys) == 0 {
		return
	}
	if s.cascades == nil {
		s.cascades, s.leads = make(map[tableName][]cascade), make(map[tableName]bool)
	}
	s.cascades[name] = keys
	for _, k := range keys {
		s.leads[tableName{k.to.Schema, k.to.Name}] = true
	}
}

// cascadesInto lists the keys by which rows of a table go with others. A key that is not one column to a primary key is left out: Odoo makes none.
func cascadesInto(t *catalog.Table, cat *catalog.Catalog) (keys []cascade) {
	for _, key := range t.ForeignKeys {
		if key.OnDelete != 'c' || len(key.Columns) != 1 || len(key.References.PrimaryKey) != 1 {
			continue
		}
		k := cascade{column: key.Columns[0], to: key.References, model: key.References.Name}
		if m := cat.ModelOf(key.References); m != nil {
			k.model = m.Name
		}
		keys = append(keys, k)
	}
	return keys
}

// Cascades says that some active rule is on unlink of a table with a foreign key ON DELETE CASCADE.
func (s *Set) Cascades() bool { return len(s.cascades) > 0 }

// Follows says that rows of a table may be deleted because others are, and that an active rule wants to know.
func (s *Set) Follows(schema, table string) bool { return s.cascades[tableName{schema, table}] != nil }

// Leads says that the deletion of a row of a table may delete rows that Follows tells of.
func (s *Set) Leads(schema, table string) bool { return s.leads[tableName{schema, table}] }

// Leading lists the tables that Leads tells of, sorted: they are to be streamed, too.
func (s *Set) Leading() []*catalog.Table {
	var out []*catalog.Table
	for _, keys := range s.cascades {
		for _, k := range keys {
			if !slices.ContainsFunc(out, func(t *catalog.Table) bool { return compareTables(t, k.to) == 0 }) {
				out = append(out, k.to)
			}
		}
	}
	slices.SortFunc(out, compareTables)
	return out
}

// CascadeOf names the row whose deletion has deleted this one, if it is one of those that deleted knows; nil when there is none, or WAL does not
// hold the old row, and it cannot be told.
func (s *Set) CascadeOf(c *cdc.Change, deleted func(schema, table, key string) bool) *cdc.Cascade {
	for _, k := range s.cascades[tableName{c.Rel.Schema, c.Rel.Name}] {
		v := valueOf(c.Before, c.Rel, c.Rel.Column(k.column))
		if v.State == cdc.Present && deleted(k.to.Schema, k.to.Name, string(v.Text)) {
			return &cdc.Cascade{Schema: k.to.Schema, Table: k.to.Name, Key: string(v.Text)}
		}
	}
	return nil
}

// CascadeModel names the model, or else the table, whose record a cascade came from.
func (r *Rule) CascadeModel(of *cdc.Cascade) string {
	if i := slices.IndexFunc(r.cascades, func(k cascade) bool { return k.to.Schema == of.Schema && k.to.Name == of.Table }); i >= 0 {
		return r.cascades[i].model
	}
	return of.Table
}
