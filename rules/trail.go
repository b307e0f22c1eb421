package rules

import (
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Limits of paths and of what they lead to.
const (
	maxPathSteps = 6      // relations that a path follows, besides those to inherited fields
	maxRows      = 1000   // rows of a one2many or many2many in a payload, unless a rule says otherwise
	mostRows     = 10_000 // that a rule can say
)

// meaning is what a name means among the fields of a shape.
type meaning struct {
	steps  []*catalog.Field // many2one fields that lead to where it is kept: it is inherited
	shape  shape            // that it is kept in
	column *catalog.Column  // nil for a one2many or many2many
	field  *catalog.Field   // nil for a column that no field describes
}

// relation says that the field leads to other records.
func (m meaning) relation() bool {
	return m.column == nil || m.field != nil && m.field.Type == "many2one" && (kindOf(m.column) == cdc.KindInt || m.shape.keyed(m.column.Name))
}

// leads says that a path with these names left goes on at what the field points to. A many2one that depends on the company has values of its own:
// ["2"] behind it reads one of them.
func (m meaning) leads(rest []pathName) bool {
	if len(rest) == 0 || !m.relation() {
		return false
	}
	return m.column == nil || kindOf(m.column) == cdc.KindInt || strings.Trim(rest[0].text, "0123456789") != ""
}

func isMany(f *catalog.Field) bool { return f.Type == "one2many" || f.Type == "many2many" }

// find works out what a name means, also of inherited fields. Otherwise it says what is wrong and what to do about it.
func (s shape) find(cat *catalog.Catalog, name string) (m meaning, message, remedy string) {
	c, message, remedy := s.field(name)
	if s.model == nil {
		return meaning{shape: s, column: c}, message, remedy
	}
	f := s.model.Field(name)
	many := f != nil && isMany(f) && !s.table.Secret(name)
	if c != nil || many && f.Stored {
		return meaning{shape: s, column: c, field: f}, "", ""
	}
	found, ok := cat.Resolve(s.model, name)
	switch {
	case ok && found.Secret:
		return m, fmt.Sprintf("field %q of %s holds a secret", name, s.name), "secrets never leave the database: remove it from the rule"
	case ok && len(found.Steps) > 0 && found.Model.Table != nil && (found.Field.Column != nil || isMany(found.Field)):
		at := shape{table: found.Model.Table, model: found.Model, name: found.Model.Name}
		if found.Field.Column != nil {
			if c, message, remedy = at.field(found.Field.Name); c == nil {
				return m, message, remedy
			}
		}
		return meaning{steps: found.Steps, shape: at, column: found.Field.Column, field: found.Field}, "", ""
	case many: // computed; to follow it is an error that says so
		return meaning{shape: s, field: f}, "", ""
	case !ok:
		remedy = didYouMean(name, s.allNames(cat))
	}
	return m, message, remedy
}

// allNames lists what can be part of a path, for suggestions: columns, relations and inherited fields.
func (s shape) allNames(cat *catalog.Catalog) []string {
	out := s.names()
	for _, f := range s.model.Fields {
		if isMany(f) {
			out = append(out, f.Name)
		}
	}
	for _, d := range s.model.Inherits {
		if m := cat.Model(d.Model); m != nil && m.Table != nil {
			out = append(out, shape{table: m.Table, model: m}.names()...)
		}
	}
	return out
}

// trail is how far a path has been followed: to a row, or to many.
type trail struct {
	cat     *catalog.Catalog
	locale  locale
	watched *watched

	shape shape    // of the row
	place *place   // nil: the watched record
	of    version  // of the watched record
	chain []*place // from the first place with many rows on
	steps int
}

// follow goes along the steps to a field, and if it is a relation itself and the path goes on, along it.
func (t *trail) follow(m meaning, on bool) (message, remedy string) {
	for _, f := range m.steps {
		if message, remedy = t.step(f, nil); message != "" {
			return message, remedy
		}
	}
	if !on && m.column != nil {
		return "", ""
	}
	if t.steps++; t.steps > maxPathSteps {
		return fmt.Sprintf("a path follows %d relations at most", maxPathSteps), ""
	}
	return t.step(m.field, nil)
}

// rows are the options of an each.
type rows struct {
	order    []string
	archived bool
	limit    int
	around   *place
}

// step goes to the rows that a field leads to; each is nil unless the rows are those of an each.
func (t *trail) step(f *catalog.Field, each *rows) (message, remedy string) {
	from := t.shape
	no := func(format string, args ...any) (string, string) {
		return fmt.Sprintf("field %q of %s ", f.Name, from.name) + fmt.Sprintf(format, args...), ""
	}
	to := t.cat.Model(f.Relation)
	if to == nil || to.Table == nil {
		return no("points to %s, which has no table", f.Relation)
	}
	p := place{kind: placeOne, above: t.place, of: t.of, key: f.Name, pointerAs: from.reading(f.Name, t.locale), name: f.Name, shape: shape{table: to.Table, model: to, name: to.Name}}
	if t.place != nil {
		p.name = t.place.name + "." + f.Name
	}
	link := Link{Schema: to.Table.Schema, Table: to.Table.Name, By: byID}
	switch f.Type {
	case "one2many":
		inverse := to.Field(f.RelationField)
		if inverse == nil || inverse.Column == nil || inverse.Type != "many2one" || kindOf(inverse.Column) != cdc.KindInt {
			return no("cannot be followed: %s has no column that points back here alone", to.Name)
		}
		p.key, p.pointerAs, link.By = "id", nil, inverse.Name
	case "many2many":
		rel := t.cat.Table(from.table.Schema, f.RelationTable)
		if rel == nil || rel.Column(f.Column1) == nil || rel.Column(f.Column2) == nil {
			return no("is computed: no table holds its rows")
		}
		p.key, p.pointerAs, link.By, link.Rel, p.rel = "id", nil, "", &RelTable{Schema: rel.Schema, Table: rel.Name, From: f.Column1, To: f.Column2}, rel
	}
	if link.Many() {
		p.kind = placeList
		link.Order, link.Limit = defaultOrder(to.Table), maxRelated+1
		if each != nil {
			p.kind, p.around = placeEach, each.around
			link.Order, link.Limit, link.Archived = each.order, each.limit, each.archived
		}
	}
	p.link = t.watched.links.add(link, to.Table)
	t.place, t.shape = t.watched.place(p), p.shape
	if link.Many() || len(t.chain) > 0 {
		t.chain = append(slices.Clip(t.chain), t.place)
	}
	return "", ""
}

// defaultOrder is that of most of Odoo's lists.
func defaultOrder(t *catalog.Table) []string {
	if c := t.Column("sequence"); c != nil && kindOf(c) == cdc.KindInt {
		return []string{"sequence", "id"}
	}
	return []string{"id"}
}

// has says that there is a field or column of a name, whether it can be read or not.
func (s shape) has(name string) bool {
	return s.table.Column(name) != nil || s.model != nil && s.model.Field(name) != nil
}
