package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/types"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// fieldPath is a field that an expression reads through relations, or of a row other than the watched record's: what
// partner_id.name, ref("partner_id").name and, in an each, name and parent.name mean.
type fieldPath struct {
	shape  shape // whose field it is
	column *catalog.Column
	as     *reading // nil: as it is stored

	place *place   // whose column it is; nil: the watched record's
	of    version  // of the watched record
	chain []*place // from the first place with many rows to place; empty: there is one value
	slot  int
	label bool // the label of a selection's value, not the value
	user  bool // user.login and its like: of an unlink NULL
}

// walk follows names to a field. It returns how many of them it took: others are members of a JSON value. A one2many or many2many at
// the end, if that is allowed, means the ids.
func (x *expression) walk(t trail, names []pathName, ids bool) (*fieldPath, int) {
	origin := t.place
	for i, name := range names {
		m, message, remedy := t.shape.find(x.cat, name.text)
		if message != "" {
			x.fail(name.offset, message, remedy)
			return nil, -1
		}
		last := i == len(names)-1
		if i == 0 && origin == nil {
			x.noteOwn(t.of, m)
		}
		if last && m.column == nil && !ids {
			x.fail(name.offset, fmt.Sprintf("field %q of %s is %s", name.text, t.shape.name, m.field.Type), "")
			return nil, -1
		}
		if message, remedy = t.follow(m, m.leads(names[i+1:])); message != "" {
			x.fail(name.offset, message, remedy)
			return nil, -1
		}
		switch {
		case m.leads(names[i+1:]):
			continue
		case m.column == nil:
			return x.end(t, t.shape, t.shape.table.Column("id"), true), i + 1
		}
		return x.end(t, m.shape, m.column, last), i + 1
	}
	return nil, -1
}

// noteOwn notes that the watched record's column is read which a path begins with.
func (x *expression) noteOwn(of version, m meaning) {
	var column string
	switch {
	case len(m.steps) > 0:
		column = m.steps[0].Name
	case m.column != nil:
		column = m.column.Name
	default:
		column = "id"
	}
	list := &x.reads.record
	switch of {
	case versionBefore:
		list = &x.reads.before
	case versionAfter:
		list = &x.reads.after
	}
	x.reads.note(list, column)
}

// end makes the path to a column of the row that a trail has come to. whole says that its value is wanted, not a member of it.
func (x *expression) end(t trail, s shape, c *catalog.Column, whole bool) *fieldPath {
	p := &fieldPath{shape: s, column: c, place: t.place, of: t.of, chain: t.chain}
	slots := &x.watched.rowSlots
	if t.place != nil {
		slots = &t.place.rowSlots
	}
	if whole {
		p.as = x.reading(s, c.Name)
		p.slot = slots.slotAs(c.Name, p.as)
	} else {
		p.slot = slots.slot(c.Name)
	}
	if t.place != nil && !slices.Contains(x.reads.places, t.place) {
		x.reads.places = append(x.reads.places, t.place)
	}
	return p
}

// options are the values of a selection; nil when the field is none.
func (p *fieldPath) options() []catalog.Option { return p.shape.options(p.column.Name) }

// typ is the type of the path's value.
func (p *fieldPath) typ() types.Type {
	t := typeOf(p.column.Type)
	switch {
	case p.label:
		t = types.String
	case p.as != nil:
		t = typeOf(p.as.typ)
	}
	if len(p.chain) > 0 {
		return types.Array(t)
	}
	return t
}

// lowerPath makes a path's program.
func (x *expression) lowerPath(n ast.Node, p *fieldPath) ast.Node {
	slot, chain := p.slot, p.chain
	var read ast.Node
	switch place, of := p.place, p.of; {
	case len(chain) > 0:
		read = withFrame(n, func(env any) any { return env.(*frame).list(chain, slot) })
	case place != nil:
		user := p.user
		read = withFrame(n, func(env any) any {
			f := env.(*frame)
			if user && f.change.Op == cdc.Unlink {
				return nil // who deleted the row is not known
			}
			if s := f.at(place); s != nil {
				return f.value(s, slot)
			}
			return nil
		})
	default:
		read = withFrame(n, func(env any) any {
			f := env.(*frame)
			return f.value(f.version(of), slot)
		})
	}
	if !p.label {
		return read
	}
	options := x.labels(p.options())
	if len(chain) == 0 {
		return call(n, func(v any) any { return labelOf(v, options) }, read)
	}
	return call(n, func(v any) any {
		list := v.([]any)
		for i := range list {
			list[i] = labelOf(list[i], options)
		}
		return list
	}, read)
}
