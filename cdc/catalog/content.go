package catalog

import "walhook/cdc"

// Content is what a column holds, where its SQL type alone does not tell what a
// payload may show of it, and how.
type Content uint8

// The contents.
const (
	ContentPlain   Content = iota // what the column's type says
	ContentBoolean                // an Odoo boolean: NULL means false
	ContentHTML                   // an Odoo html field: text, or jsonb when it is translated
	ContentBinary                 // bytea
	ContentBase64                 // an Odoo binary field: bytea whose bytes are the base64 text of the real ones
	ContentSecret                 // a secret, see [Secret]
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

// Content says what the column holds. It is known for columns of a [Catalog].
func (c *Column) Content() Content { return c.content }

// classify works out the content of every column. The model is nil for plain tables.
func (t *Table) classify(m *Model) {
	for i := range t.Columns {
		c := &t.Columns[i]
		c.content = contentOf(t, c, m)
	}
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
	}
	return ContentPlain
}
