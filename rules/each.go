package rules

import (
	"fmt"
	"slices"
	"strings"
)

// each compiles { each = "order_line", where = …, fields = …, order = …, limit = …, archived = … }.
func (c *ruleCompiler) each(r *Rule, o *Output, at spot, table map[string]any) bool {
	n := len(c.problems)
	c.refuse(at, table, eachKeys, "an each")
	path, ok := table["each"].(string)
	if !ok || strings.TrimSpace(path) == "" {
		c.fail(at.key+".each", "each must be text in quotes: a one2many or many2many field, or a path to one", `write each = "order_line"`)
		return false
	}
	o.Kind, o.limit = OutputRows, c.limit(at, table)
	o.looks = o.limit
	if table["where"] != nil {
		o.looks = max(o.limit, maxRows)
	}
	archived, ok := table["archived"].(bool)
	if !ok && table["archived"] != nil {
		c.fail(at.key+".archived", "archived must be true or false", "archived = true takes the rows that Odoo hides, too")
	}
	inner, ok := c.through(r, o, at, path, table["order"], rows{archived: archived, limit: o.looks + 1, around: at.scope})
	if !ok {
		return false
	}
	if where, given := table["where"]; given {
		text, ok := where.(string)
		if !ok || strings.TrimSpace(text) == "" {
			c.fail(at.key+".where", "where must be an expression in quotes", `write where = "product_uom_qty > 0"`)
		} else {
			x := c.inside(r, inner, at.key+".where", text, false)
			o.where = x.compile(at.key + ".where")
		}
	}
	inner = inner.under("fields")
	switch fields := table["fields"].(type) {
	case map[string]any:
		if len(fields) == 0 {
			c.fail(inner.key, "the table is empty", "name the members of each object")
		}
		o.Members = c.members(r, inner, fields)
	case []any:
		if len(fields) == 0 {
			c.fail(inner.key, "the list is empty", "name the members of each object")
		}
		o.Members = c.named(r, inner, fields)
	case nil:
		c.fail(at.key, "an each needs fields", fmt.Sprintf(`write fields = ["name"] with fields of %s`, inner.shape.name))
	default:
		c.fail(inner.key, "fields must be a table or a list of names", "")
	}
	return len(c.problems) == n
}

// through makes an output go through the rows that a path leads to. At the spot that it returns, names are those of their fields.
func (c *ruleCompiler) through(r *Rule, o *Output, at spot, path string, order any, of rows) (inner spot, ok bool) {
	x := c.newExpression(at.shape, r.watched, at.key+".each", path, true)
	x.record, x.scope = at.record, at.scope
	t, m, ok := c.rowsOf(x, strings.TrimSpace(path))
	if !ok {
		return at, false
	}
	model := c.cat.Model(m.field.Relation)
	if model == nil || model.Table == nil {
		c.failIn(at.key+".each", path, 0, fmt.Sprintf("field %q points to %s, which has no table", m.field.Name, m.field.Relation), "")
		return at, false
	}
	child := shape{table: model.Table, model: model, name: model.Name}
	of.order = c.order(at, child, order)
	if message, remedy := t.step(m.field, &of); message != "" {
		c.failIn(at.key+".each", path, 0, message, remedy)
		return at, false
	}
	o.place, o.reads = t.place, x.reads
	o.reads.places = append(o.reads.places, t.place)
	inner = at
	inner.scope, inner.shape = t.place, child
	return inner, true
}

// rowsOf follows a path to the one2many or many2many field that it ends in.
func (c *ruleCompiler) rowsOf(x *expression, path string) (t trail, m meaning, ok bool) {
	x.offsets = make(map[int]bool)
	t = x.start(versionRecord)
	offset := strings.Index(x.text, path)
	names := strings.Split(path, ".")
	for i, name := range names {
		m, message, remedy := t.shape.find(c.cat, name)
		last := i == len(names)-1
		switch {
		case message != "":
			if at := t.shape; remedy == "" && at.model != nil {
				remedy = didYouMean(name, at.lists())
			}
		case last && m.column != nil:
			message = fmt.Sprintf("field %q of %s is %s: an each goes through the rows of a one2many or many2many", name, t.shape.name, typeName(m))
			if remedy = didYouMean(name, t.shape.lists()); remedy == "" && m.relation() {
				remedy = fmt.Sprintf("write its fields as an object: { name = %q }", path+".name")
			}
		case !last && m.column == nil:
			message, remedy = fmt.Sprintf("field %q of %s has many rows already", name, t.shape.name), "put an each into the fields of an each"
		case !last && !m.relation():
			message = fmt.Sprintf("field %q of %s is %s, not many2one", name, t.shape.name, typeName(m))
		}
		if message == "" && i == 0 && t.place == nil {
			x.noteOwn(t.of, m)
		}
		if message == "" && last {
			for _, f := range m.steps {
				if message, remedy = t.step(f, nil); message != "" {
					break
				}
			}
			if message == "" {
				return t, m, true
			}
		}
		if message == "" {
			message, remedy = t.follow(m, true)
		}
		if message != "" {
			x.fail(offset, message, remedy)
			return t, m, false
		}
		offset += len(name) + 1
	}
	return t, m, false
}

func typeName(m meaning) string {
	if m.field == nil {
		return "a plain column"
	}
	return m.field.Type
}

// lists are the fields that lead to many rows.
func (s shape) lists() (out []string) {
	if s.model == nil {
		return nil
	}
	for _, f := range s.model.Fields {
		if isMany(f) {
			out = append(out, f.Name)
		}
	}
	return out
}

func (c *ruleCompiler) limit(at spot, table map[string]any) int {
	v, given := table["limit"]
	n, ok := v.(int64)
	switch {
	case !given:
		return maxRows
	case !ok || n < 1 || n > mostRows:
		c.fail(at.key+".limit", fmt.Sprintf("limit must be a whole number from 1 to %d", mostRows), fmt.Sprintf("without it, it is %d", maxRows))
		return 1
	}
	return int(n)
}

// order reads "date desc, id".
func (c *ruleCompiler) order(at spot, s shape, v any) []string {
	if v == nil {
		return defaultOrder(s.table)
	}
	text, ok := v.(string)
	if !ok {
		c.fail(at.key+".order", "order must be text in quotes", `write order = "date desc, id"`)
		return nil
	}
	var out, seen []string
	offset := 0
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		place := offset + len(part) - len(strings.TrimLeft(part, " \t"))
		offset += len(part) + 1
		no := func(message, remedy string) { c.failIn(at.key+".order", text, place, message, remedy) }
		if len(words) == 0 || len(words) > 2 {
			no("an order is a list of fields, each with asc or desc behind it or nothing", `write order = "date desc, id"`)
			continue
		}
		direction := "asc"
		if len(words) == 2 {
			direction = strings.ToLower(words[1])
		}
		column, message, remedy := s.field(words[0])
		switch {
		case column == nil:
			no(message, remedy)
		case s.keyed(column.Name):
			kind := "company"
			if s.model.Field(column.Name).Translated {
				kind = "language"
			}
			no(fmt.Sprintf("field %q of %s holds a value for each %s: the database has no order of one of them", column.Name, s.name, kind), `order by another field, as in order = "sequence, id"`)
		case direction != "asc" && direction != "desc":
			no(fmt.Sprintf("unknown order %q", words[1]), "the orders are asc and desc")
		case slices.Contains(seen, column.Name):
			no(fmt.Sprintf("field %q is listed twice", column.Name), "")
		case direction == "desc":
			out = append(out, column.Name+" desc")
		default:
			out = append(out, column.Name)
		}
		seen = append(seen, words[0])
	}
	if !slices.Contains(seen, "id") {
		out = append(out, "id") // so that the order is always the same
	}
	return out
}
