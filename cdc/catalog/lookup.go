package catalog

// New assembles a catalog from its parts and indexes them. [Load] reads the
// parts from a database; tests make their own.
func New(tables []*Table, models []*Model, odoo *Odoo) *Catalog {
	c := &Catalog{
		Tables: tables, Models: models, Odoo: odoo,
		tables:  make(map[tableName]*Table, len(tables)),
		models:  make(map[string]*Model, len(models)),
		byTable: make(map[*Table]*Model, len(models)),
	}
	for _, t := range tables {
		c.tables[tableName{t.Schema, t.Name}] = t
		t.columns = make(map[string]*Column, len(t.Columns))
		for i := range t.Columns {
			t.columns[t.Columns[i].Name] = &t.Columns[i]
		}
	}
	for _, m := range models {
		c.models[m.Name] = m
		if m.Table != nil {
			if first, taken := c.byTable[m.Table]; !taken || sharesTable(first.Name) {
				c.byTable[m.Table] = m
			}
		}
		m.fields = make(map[string]*Field, len(m.Fields))
		for _, f := range m.Fields {
			m.fields[f.Name] = f
		}
	}
	for _, t := range tables {
		c.classify(t, c.byTable[t])
	}
	for _, m := range models {
		if m.Display == "" {
			m.Display = c.display(m)
		}
	}
	return c
}

// Table finds a table; nil when there is none. Names are exact, never folded.
func (c *Catalog) Table(schema, name string) *Table { return c.tables[tableName{schema, name}] }

// Model finds a model by its name; nil when there is none that is stored in a table.
func (c *Catalog) Model(name string) *Model { return c.models[name] }

// Tableless says that Odoo has a model of this name, but no table stores it: it
// is abstract, or a report that reads from a SQL view. Nothing of it is ever in WAL.
func (c *Catalog) Tableless(model string) bool { return c.tableless[model] }

// ModelOf finds the model that is stored in a table; nil when there is none.
func (c *Catalog) ModelOf(t *Table) *Model {
	if m := c.byTable[t]; m != nil || t == nil {
		return m
	}
	return c.byTable[c.tables[tableName{t.Schema, t.Name}]] // what a kept table refers to is of an earlier catalog, see [Catalog.Keeping]
}

// Column finds a column of the table; nil when there is none.
func (t *Table) Column(name string) *Column { return t.columns[name] }

// String returns schema.name.
func (t *Table) String() string { return t.Schema + "." + t.Name }

// Field finds a field of the model's own by its name; nil when there is none. Odoo lists inherited fields
// as fields without a column, see [Catalog.Resolve].
func (m *Model) Field(name string) *Field { return m.fields[name] }
