package catalog

import (
	"cmp"
	"slices"
	"strings"
)

// Delegation is one entry of a model's _inherits: the model has all fields of
// another one, kept in the record that a many2one field points to.
type Delegation struct {
	Model string // that is inherited from: "res.partner"
	Field string // of the inheriting model: "partner_id"
}

// Found is what a field's name means: the field that holds the value, and the
// steps there.
type Found struct {
	Field  *Field
	Model  *Model   // whose own field it is
	Steps  []*Field // many2one fields with a column, from the model asked to Model; empty when the field is its own
	Secret bool     // the name asked for, or what it leads to, is a secret
}

// maxSteps bounds the way of a field, as the data may go in circles.
const maxSteps = 8

// Resolve finds the field that a name means for a model: its own; one that it
// inherits by delegation (product.product has the name of its
// product.template); or one that a related field without a column stands for. A
// field that cannot be followed to a value, such as a computed one, is returned as it is,
// without a column. It is false when the model has no such field.
func (c *Catalog) Resolve(m *Model, name string) (Found, bool) {
	if found, ok := c.resolve(m, name, maxSteps); ok {
		found.Secret = m.secret(name) || found.Model.secret(found.Field.Name)
		return found, true
	}
	return Found{}, false
}

// secret says that a field of the model is one.
func (m *Model) secret(field string) bool { return m.Table != nil && m.Table.Secret(field) }

// named says that a field's name alone makes it a secret.
func (m *Model) named(field string) bool { return m.Table != nil && Secret(m.Table.Name, field) }

func (c *Catalog) resolve(m *Model, name string, budget int) (Found, bool) {
	f := m.Field(name)
	switch {
	case f == nil:
		for _, d := range m.Inherits {
			if found, ok := c.follow(m, d.Field+"."+name, budget); ok {
				return found, true
			}
		}
		return Found{}, false
	case f.Column == nil && !f.Stored && f.Related != "":
		if found, ok := c.follow(m, f.Related, budget); ok {
			return found, true
		}
	}
	return Found{Field: f, Model: m}, true
}

// follow goes along a path of many2one fields.
func (c *Catalog) follow(m *Model, path string, budget int) (Found, bool) {
	var steps []*Field
	for {
		name, rest, more := strings.Cut(path, ".")
		if budget--; budget < 0 {
			return Found{}, false
		}
		found, ok := c.resolve(m, name, budget)
		if !ok {
			return Found{}, false
		}
		steps = append(steps, found.Steps...)
		if !more {
			found.Steps = steps
			return found, len(steps) <= maxSteps
		}
		if m = c.Model(found.Field.Relation); m == nil || found.Field.Type != "many2one" || found.Field.Column == nil {
			return Found{}, false
		}
		steps = append(steps, found.Field)
		path = rest
	}
}

// heldBy names columns that hold what a delegation's field is computed from: an
// employee's version (19) is the one of the day, and the column has the current one.
var heldBy = map[string]map[string]string{"hr.employee": {"version_id": "current_version_id"}}

// redirect makes a field's path go through columns where its first step has none.
func (m *Model) redirect(f *Field) {
	first, rest, more := strings.Cut(f.Related, ".")
	if to := heldBy[m.Name][first]; more && to != "" && m.holds(to) {
		f.Related = to + "." + rest
	}
}

func (m *Model) holds(field string) bool {
	return slices.ContainsFunc(m.Fields, func(f *Field) bool { return f.Name == field && f.Stored })
}

// leastInherited is how many fields must be related through one many2one before it
// is taken for a delegation: two or three may be related by hand.
const leastInherited = 3

// delegate works out what a model inherits. Until 16 Odoo does not write it down, and later not for all models; but who
// inherits has every field of the other model, as a related field unless it has one of its own. said is what
// ir_model_inherit says.
func (m *Model) delegate(said []Delegation, fields map[string][]*Field) {
	own := make(map[string]*Field, len(m.Fields))
	for _, f := range m.Fields {
		own[f.Name] = f
	}
	related := map[string]int{} // by the first step
	for _, f := range m.Fields {
		if first, rest, _ := strings.Cut(f.Related, "."); rest == f.Name && !f.Stored {
			related[first]++
		}
	}
	for first, n := range related {
		step := own[first]
		if n < leastInherited || step == nil || step.Type != "many2one" || len(fields[step.Relation]) == 0 {
			continue
		}
		if !slices.ContainsFunc(fields[step.Relation], func(f *Field) bool { return own[f.Name] == nil }) {
			said = append(said, Delegation{Model: step.Relation, Field: first})
		}
	}
	for i, d := range said {
		if to := heldBy[m.Name][d.Field]; to != "" && m.holds(to) {
			said[i].Field = to
		}
	}
	slices.SortFunc(said, func(a, b Delegation) int {
		return cmp.Or(strings.Compare(a.Model, b.Model), strings.Compare(a.Field, b.Field))
	})
	m.Inherits = slices.Compact(said)
}

// recordNames are models whose records are shown by another field than name (_rec_name), of which Odoo keeps no note.
var recordNames = map[string]string{
	"ir.config_parameter": "key",
	"ir.model.fields":     "field_description",
	"mail.blacklist":      "email",
	"payment.token":       "payment_details",
	"payment.transaction": "reference",
	"phone.blacklist":     "number",
	"res.partner.bank":    "acc_number",
	"sms.sms":             "number",
	"snailmail.letter":    "reference",
}

// display finds the field that holds a record's name.
func (c *Catalog) display(m *Model) string {
	for _, name := range []string{recordNames[m.Name], "complete_name", "display_name", "name", "x_name"} {
		if name == "" {
			continue
		}
		found, ok := c.Resolve(m, name)
		own := len(found.Steps) == 0
		if ok && !found.Secret && found.Field.Column != nil && (own || name == "name") {
			return name
		}
	}
	return ""
}
