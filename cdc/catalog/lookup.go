package catalog

// New assembles a catalog from its parts and indexes them. [Load] reads the
// parts from a database; tests make their own.
func New(tables []*Table, models []*Model, odoo *Odoo) *Catalog {
	c := &Catalog{
		Tables: tables, Models: models, Odoo: odoo,
		tables:  make(map[string]*Table, len(tables)),
		models:  make(map[string]*Model, len(models)),
		byTable: make(map[*Table]*Model, len(models)),
	}
	for _, t := range tables {
		c.tables[t.Schema+"."+t.Name] = t
		t.columns = make(map[string]*Column, len(t.Columns))
		for i := range t.Columns {
			t.columns[t.Columns[i].Name] = &t.Columns[i]
		}
	}
	for _, m := range models {
		c.models[m.Name] = m
		if m.Table != nil {
			if _, taken := c.byTable[m.Table]; !taken {
				c.byTable[m.Table] = m
			}
		}
		m.fields = make(map[string]*Field, len(m.Fields))
		for _, f := range m.Fields {
			m.fields[f.Name] = f
		}
	}
	return c
}

// Table finds a table; nil when there is none. Names are exact, never folded.
func (c *Catalog) Table(schema, name string) *Table { return c.tables[schema+"."+name] }

// Model finds a model by its name; nil when there is none.
func (c *Catalog) Model(name string) *Model { return c.models[name] }

// ModelOf finds the model that is stored in a table; nil when there is none.
func (c *Catalog) ModelOf(t *Table) *Model { return c.byTable[t] }

// Column finds a column of the table; nil when there is none.
func (t *Table) Column(name string) *Column { return t.columns[name] }

// String returns schema.name.
func (t *Table) String() string { return t.Schema + "." + t.Name }

// Field finds a field of the model; nil when there is none.
func (m *Model) Field(name string) *Field { return m.fields[name] }
