package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Rollup is a field of a rule's model whose rows' changes raise an event of the record that they belong to: the lines of a one2many, the
// pairs of a many2many. It is immutable.
type Rollup struct {
	Rule  *Rule
	Field string
	Model *catalog.Model // of the lines; nil for a many2many, whose pairs are no records
	Table *catalog.Table // that they are rows of

	parent  string   // the column that holds the record's id
	other   string   // of a many2many: the column that holds the other's id
	columns []string // of a line: what counts as a change, and is shown
	named   bool     // by the rule

	readings map[string]*reading // of columns that are not seen as they are stored
}

// Columns are the columns of a line that are shown, in the order of the rule or the table. Of a many2many it is the other record's id alone.
func (u *Rollup) Columns() []string { return u.columns }

// Named says that the rule says which columns are shown.
func (u *Rollup) Named() bool { return u.named }

// Pairs says that the lines are pairs of a many2many: only the other record's id matters.
func (u *Rollup) Pairs() bool { return u.other != "" }

// Rollups returns what the rule rolls up, in its order.
func (r *Rule) Rollups() []*Rollup { return r.rollups }

// roll enters an active rule.
func (s *Set) roll(r *Rule) {
	if len(r.rollups) > 0 {
		r.watched.rollers = append(r.watched.rollers, r)
	}
	for _, u := range r.rollups {
		if s.rollups == nil {
			s.rollups = make(map[tableName][]*Rollup)
		}
		name := tableName{u.Table.Schema, u.Table.Name}
		s.rollups[name] = append(s.rollups[name], u)
	}
}

// need says what the rollup asks of its table: the old row tells whose a line was that is removed or moved, and whether it was changed.
func (u *Rollup) need(needs map[*catalog.Table]*Need) {
	n := needs[u.Table]
	if n == nil {
		n = &Need{Table: u.Table}
		needs[u.Table] = n
	}
	n.Net = true
	if u.Pairs() && slices.Contains(u.Table.PrimaryKey, u.parent) && slices.Contains(u.Table.PrimaryKey, u.other) {
		return // pairs are only added and removed, and the key says all there is to say
	}
	n.Full = true
	n.Why = append(n.Why, fmt.Sprintf("rule %q rolls up %s and must tell whose a removed line was", u.Rule.Name, u.Field))
}

// rollupsOf reads rollup.
func (c *ruleCompiler) rollupsOf(r *Rule, s shape) {
	if c.config.Rollup == nil {
		return
	}
	fields, columns := c.rollupFields()
	switch {
	case len(c.problems) > 0 && len(fields) == 0:
		return
	case len(fields) == 0:
		c.fail("rollup", "no field is named", `write rollup = ["order_line"], or remove it`)
	case s.model == nil:
		c.fail("rollup", fmt.Sprintf("%s is a plain table: which rows belong to its own is not known", s.name), "rollup works on one2many and many2many fields of Odoo models")
		return
	case c.config.EachWrite:
		c.fail("rollup", "each_write sends single writes, rollup one event per record and transaction", "remove one of them")
	case !slices.Contains(c.config.On, cdc.Write.String()):
		c.fail("rollup", "a change of lines is a write of their record, and the rule is not on write", `add "write" to on`)
	case !integerKey(s):
		c.fail("rollup", fmt.Sprintf("the records of %s have no id", s.name), "")
	}
	for i, name := range fields {
		path := fmt.Sprintf("rollup[%d]", i)
		if columns != nil {
			path = "rollup." + name
		}
		if u := c.rollupField(s, path, name, columns[name]); u != nil {
			u.Rule = r
			r.rollups = append(r.rollups, u)
		}
	}
	if c.rollups = r.rollups; len(r.rollups) == 0 {
		return
	}
	// The record's own row is not in WAL when only its lines have changed.
	if r.watched.record == nil {
		r.watched.record = c.set.links.add(Link{Schema: s.table.Schema, Table: s.table.Name, By: byID}, s.table)
		for _, col := range s.table.Columns {
			if !col.Generated && col.Content() != catalog.ContentSecret {
				r.watched.record.read(col.Name)
			}
		}
		r.watched.shape = rollupRelation(s.table)
	}
	r.relatedTables = append(r.relatedTables, s.table)
}

// rollupRelation describes a table for changes that no RELATION message describes.
func rollupRelation(t *catalog.Table) *cdc.Relation {
	var columns []cdc.Column
	for _, col := range t.Columns {
		if !col.Generated {
			columns = append(columns, cdc.Column{Name: col.Name, Type: col.Type})
		}
	}
	return cdc.NewRelation(t.OID, t.Schema, t.Name, t.Identity, columns, t.PrimaryKey)
}

// rollupFields reads the two forms of rollup: a list of fields, or a table of fields with the columns of their lines.
func (c *ruleCompiler) rollupFields() (fields []string, columns map[string][]string) {
	texts := func(path string, list []any) (out []string) {
		for i, v := range list {
			name, ok := v.(string)
			switch {
			case !ok:
				c.fail(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%v is no name of a field", v), "write the name in quotes")
			case slices.Contains(out, name):
				c.fail(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("field %q is listed twice", name), "")
			default:
				out = append(out, name)
			}
		}
		return out
	}
	switch v := c.config.Rollup.(type) {
	case []any:
		return texts("rollup", v), nil
	case map[string]any:
		columns = make(map[string][]string)
		for _, field := range slices.Sorted(maps.Keys(v)) {
			if v[field] == true { // the field with what it shows by itself
				fields = append(fields, field)
				continue
			}
			if v[field] == any(everyColumn{}) {
				fields = append(fields, field)
				columns[field] = []string{}
				continue
			}
			list, ok := v[field].([]any)
			if !ok || len(list) == 0 {
				c.fail("rollup."+field, "the fields of the lines come in a list", fmt.Sprintf(`write %s = ["name"], or rollup = [%q] for all of them`, field, field))
				continue
			}
			fields = append(fields, field)
			columns[field] = texts("rollup."+field, list)
		}
		return fields, columns
	}
	c.fail("rollup", "rollup takes a list of fields or a table of them", `write rollup = ["order_line"] or rollup = { order_line = ["product_id", "price_unit"] }`)
	return nil, nil
}

// rollupField finds the rows that belong to a record through a field.
func (c *ruleCompiler) rollupField(s shape, path, name string, columns []string) *Rollup {
	f := s.model.Field(name)
	switch {
	case f == nil || f.Type != "one2many" && f.Type != "many2many":
		message, remedy := fmt.Sprintf("unknown field %q of %s", name, s.name), didYouMean(name, s.toMany())
		if f != nil {
			message = fmt.Sprintf("field %q of %s is %s: rollup takes one2many and many2many fields", name, s.name, f.Type)
		}
		if remedy == "" {
			remedy = "its fields of that kind are " + oneOf(s.toMany())
		}
		c.fail(path, message, remedy)
		return nil
	case f.Type == "many2many":
		return c.rollupPairs(s, path, f, columns)
	}
	m := c.cat.Model(f.Relation)
	if m == nil || m.Table == nil || f.RelationField == "" {
		c.fail(path, fmt.Sprintf("field %q of %s has no rows of its own in the database", name, s.name), "it is computed: roll up a stored field")
		return nil
	}
	u := &Rollup{Field: name, Model: m, Table: m.Table, parent: f.RelationField, named: columns != nil}
	u.readings = shape{table: m.Table, model: m, name: m.Name}.readings(c.locale)
	inverse := m.Field(f.RelationField)
	if inverse == nil || inverse.Column == nil || inverse.Type != "many2one" || kindOf(inverse.Column) != cdc.KindInt {
		c.fail(path, fmt.Sprintf("%s.%s does not point to %s alone: whose a line is takes more than one column", m.Name, f.RelationField, s.name), fmt.Sprintf("make a rule on model = %q", m.Name))
		return nil
	}
	if len(m.Table.PrimaryKey) == 0 || m.Table.Unlogged {
		c.fail(path, fmt.Sprintf("the rows of %s cannot be followed: the table has no primary key, or is unlogged", m.Table), "")
		return nil
	}
	lines := shape{table: m.Table, model: m, name: m.Name}
	for i, column := range columns {
		col, message, remedy := lines.field(column)
		if col == nil {
			c.fail(fmt.Sprintf("%s[%d]", path, i), message, remedy)
			continue
		}
		u.columns = append(u.columns, col.Name)
	}
	if len(columns) == 0 { // an empty list is everyColumn's
		for i := range m.Table.Columns {
			col := &m.Table.Columns[i]
			shows := lineShows(m.Table, col)
			if columns != nil {
				shows = !col.Generated && counts(col.Name, m.Table.Content(col.Name), true)
			}
			if shows && col.Name != u.parent {
				u.columns = append(u.columns, col.Name)
			}
		}
	}
	return u
}

// lineShows says that a line shows the column when the rule does not say what it shows.
func lineShows(t *catalog.Table, col *catalog.Column) bool {
	switch col.Name {
	case byID, "create_uid", "create_date":
		return false
	}
	content := t.Content(col.Name)
	switch content {
	case catalog.ContentHTML, catalog.ContentBinary, catalog.ContentBase64:
		return false
	}
	return !col.Generated && kindOf(col) != cdc.KindBytes && counts(col.Name, content, true)
}

// rollupPairs finds the relation table of a many2many field.
func (c *ruleCompiler) rollupPairs(s shape, path string, f *catalog.Field, columns []string) *Rollup {
	t := c.cat.Table(s.table.Schema, f.RelationTable)
	switch {
	case len(columns) > 0:
		c.fail(path, fmt.Sprintf("field %q is many2many: it is sent as the ids that were added and removed", f.Name), fmt.Sprintf("write rollup = [%q]", f.Name))
	case f.RelationTable == "" || t == nil || t.Column(f.Column1) == nil || t.Column(f.Column2) == nil:
		c.fail(path, fmt.Sprintf("field %q of %s has no table of its own in the database", f.Name, s.name), "it is computed: roll up a stored field")
	case len(t.PrimaryKey) == 0:
		c.fail(path, fmt.Sprintf("table %s has no primary key: its rows cannot be told apart", t), fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s, %s);", quoted(t.Schema, t.Name), quoted(f.Column1), quoted(f.Column2)))
	default:
		return &Rollup{Field: f.Name, Table: t, parent: f.Column1, other: f.Column2, columns: []string{f.Column2}}
	}
	return nil
}

// toMany lists the fields that can be rolled up.
func (s shape) toMany() []string {
	var out []string
	for _, f := range s.model.Fields {
		if f.Stored && (f.Type == "one2many" || f.Type == "many2many") {
			out = append(out, f.Name)
		}
	}
	return out
}

// Standing is a change of a record that stands for its lines alone: its row is to be looked up. It is nil for what is no id.
func (r *Rule) Standing(key string, ordinal uint64, g *cdc.Gathered) *cdc.Change {
	if _, err := strconv.ParseInt(key, 10, 64); err != nil {
		return nil
	}
	unknown := cdc.Row{Image: cdc.ImageUnknown}
	return &cdc.Change{Op: cdc.Write, Rel: r.watched.shape, Key: key, Before: unknown, After: unknown, Ordinal: ordinal, Writes: len(g.Lines), Gathered: g}
}
