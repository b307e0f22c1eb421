package catalog

import (
	"strings"

	"walhook/cdc"
)

// Content is what a column holds, where its SQL type alone does not tell what a
// payload may show of it, and how.
type Content uint8

// The contents.
const (
	ContentPlain    Content = iota // what the column's type says
	ContentBoolean                 // an Odoo boolean: NULL means false
	ContentHTML                    // an Odoo html field: text, or jsonb when it is translated
	ContentBinary                  // bytea
	ContentBase64                  // an Odoo binary field: bytea whose bytes are the base64 text of the real ones
	ContentSecret                  // a secret, see [Secret]
	ContentMany2one                // an Odoo many2one: an id, of one company in jsonb; NULL is none
)

// Content says what a column holds. It knows the columns that the table had when
// the catalog was loaded; of others it knows whether their name means a secret.
func (t *Table) Content(column string) Content {
	if c := t.columns[column]; c != nil {
		return c.content
	}
	if Secret(t.Name, column) {
		return ContentSecret
	}
	return ContentPlain
}

// Secret says that a column holds a secret: by its name, see [Secret], or because it repeats one of another record.
func (t *Table) Secret(column string) bool { return t.Content(column) == ContentSecret }

// Content says what the column holds. It is known for columns of a [Catalog].
func (c *Column) Content() Content { return c.content }

// classify works out the content of every column of a table. The model is nil for plain tables.
func (c *Catalog) classify(t *Table, m *Model) {
	for i := range t.Columns {
		column := &t.Columns[i]
		column.content = contentOf(t, column, m)
		if m == nil {
			continue
		}
		if f := m.fields[column.Name]; f != nil && c.repeats(m, f, maxSteps) {
			column.content = ContentSecret
		}
	}
}

// repeats says that a field repeats a secret: the path that it is related by ends in one, whatever its own name is. Odoo stores such a value
// a second time when the field is stored.
func (c *Catalog) repeats(m *Model, f *Field, budget int) bool {
	if f.Related == "" || budget == 0 {
		return false
	}
	path := f.Related
	for m != nil {
		name, rest, more := strings.Cut(path, ".")
		found, ok := c.resolve(m, name, maxSteps)
		switch {
		case !more && m.named(name):
			return true
		case !ok:
			return false
		case !more:
			return found.Model.named(found.Field.Name) || c.repeats(found.Model, found.Field, budget-1)
		}
		m, path = c.Model(found.Field.Relation), rest
	}
	return false
}

func contentOf(t *Table, c *Column, m *Model) Content {
	var ttype string
	if m != nil {
		if f := m.fields[c.Name]; f != nil && f.Column != nil {
			ttype = f.Type
		}
	}
	kind := cdc.KindOther
	if c.Type != nil {
		kind = c.Type.Kind
	}
	switch {
	case Secret(t.Name, c.Name):
		return ContentSecret
	case ttype == "boolean" && kind == cdc.KindBool:
		return ContentBoolean
	case ttype == "html":
		return ContentHTML
	case ttype == "binary" && kind == cdc.KindBytes:
		return ContentBase64
	case kind == cdc.KindBytes:
		return ContentBinary
	case ttype == "many2one":
		return ContentMany2one
	}
	return ContentPlain
}
