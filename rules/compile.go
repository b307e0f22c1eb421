package rules

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Compile checks configs against the schema and compiles them. The error joins
// *[Problem]s, one for every mistake found; the Set is nil if there is any.
func Compile(configs []Config, cat *catalog.Catalog) (*Set, error) {
	set := &Set{watched: make(map[tableName]*watched)}
	var problems []error
	taken := make(map[string]int)
	for i, config := range configs {
		c := ruleCompiler{index: i, config: config, cat: cat, set: set, taken: taken}
		set.rules = append(set.rules, c.compile())
		problems = append(problems, c.problems...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	for _, r := range set.rules {
		if r.IsActive() {
			r.watched.add(r)
		}
		r.bindTargets()
	}
	for _, w := range set.watched {
		set.slots = max(set.slots, len(w.columns))
		set.refs = max(set.refs, len(w.refs))
	}
	return set, nil
}

// ruleCompiler compiles one rule and collects what is wrong with it.
type ruleCompiler struct {
	index    int
	config   Config
	cat      *catalog.Catalog
	set      *Set
	taken    map[string]int // rule names, with the index of their first use
	problems []error
}

func (c *ruleCompiler) fail(path, message, remedy string) {
	c.failIn(path, "", -1, message, remedy)
}

func (c *ruleCompiler) failIn(path, expr string, offset int, message, remedy string) {
	c.problems = append(c.problems, &Problem{
		Rule: c.index, Name: c.config.Name, Path: path, Message: message, Suggest: remedy, Offset: offset, Expr: expr,
	})
}

// compile returns a rule that is of use only if there are no problems.
func (c *ruleCompiler) compile() *Rule {
	r := &Rule{Config: c.config}
	c.checkName()
	r.ops = c.operations()
	r.Endpoints = c.endpoints()
	c.checkEvent()
	r.Handling = c.handling()
	s, found := c.shape()
	if !found {
		return r // nothing else can be checked without a table
	}
	r.Model, r.Table, r.Odoo = s.name, s.table, s.model
	r.watched = c.watch(s)
	if text := c.config.When; strings.TrimSpace(text) != "" {
		r.when = c.expression(s, r.watched, "when", text, false)
	}
	c.outputs(r, s)
	for i, name := range c.config.Ignore {
		if s.table.Column(name) != nil {
			continue // secrets too
		}
		_, message, remedy := s.field(name)
		c.fail(fmt.Sprintf("ignore[%d]", i), message, remedy)
	}
	if len(c.config.Ignore) > 0 && c.config.EachWrite {
		c.fail("ignore", "each_write sends every write, so there is nothing to ignore", "remove ignore or each_write")
	}
	if len(c.problems) == 0 {
		r.explainOld()
	}
	return r
}

func (c *ruleCompiler) watch(s shape) *watched {
	name := tableName{s.table.Schema, s.table.Name}
	w := c.set.watched[name]
	if w == nil {
		w = newWatched(s.table, s.model != nil)
		c.set.watched[name] = w
	}
	return w
}

func (c *ruleCompiler) expression(s shape, w *watched, path, text string, payload bool) *program {
	x := expression{shape: s, cat: c.cat, watched: w, text: text, payload: payload, report: func(offset int, message, remedy string) {
		c.failIn(path, text, offset, message, remedy)
	}}
	return x.compile(path)
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// outputs compiles fields or payload.
func (c *ruleCompiler) outputs(r *Rule, s shape) {
	switch {
	case c.config.Fields != nil && c.config.Payload != nil:
		c.fail("payload", "a rule has fields or payload, not both", "name the fields in payload: "+`amount_total = "amount_total"`)
	case c.config.Fields != nil && len(c.config.Fields) == 0:
		c.fail("fields", "the list is empty", "leave fields out to send the whole record")
	case c.config.Payload != nil && len(c.config.Payload) == 0:
		c.fail("payload", "the table is empty", "leave payload out to send the whole record")
	}
	for i, name := range c.config.Fields {
		path := fmt.Sprintf("fields[%d]", i)
		if slices.Index(c.config.Fields, name) < i {
			c.fail(path, fmt.Sprintf("field %q is listed twice", name), "")
			continue
		}
		c.column(r, s, path, name, name)
	}
	for _, key := range slices.Sorted(maps.Keys(c.config.Payload)) {
		path, text := "payload."+key, c.config.Payload[key]
		name := strings.TrimSpace(text)
		switch {
		case key == "":
			c.fail("payload", "a key is empty", "")
		case name == "":
			c.fail(path, "the value is empty", "write the name of a field or an expression")
		case s.table.Column(name) != nil, plainName.MatchString(name) && !reserved(name) && name != "nil" && name != "true" && name != "false":
			c.column(r, s, path, key, name)
		default:
			if p := c.expression(s, r.watched, path, text, true); p != nil {
				r.outputs = append(r.outputs, output{Output: Output{Name: key}, program: p})
			}
		}
	}
}

// column adds an output that is a plain column.
func (c *ruleCompiler) column(r *Rule, s shape, path, key, name string) {
	column, message, remedy := s.field(name)
	if column == nil {
		c.fail(path, message, remedy)
		return
	}
	r.watched.slot(column.Name)
	r.outputs = append(r.outputs, output{Output: Output{Name: key, Column: column.Name}})
}

// explainOld collects why the rule needs the old row in WAL.
func (r *Rule) explainOld() {
	why := func(format string, args ...any) {
		r.old = append(r.old, fmt.Sprintf("rule %q ", r.Name)+fmt.Sprintf(format, args...))
	}
	if r.on(cdc.Write) && !r.EachWrite {
		why("is on write and must tell writes that change nothing from others")
	}
	var before, record []string
	if r.WholeRecord() {
		for _, col := range r.Table.Columns {
			record = append(record, col.Name)
		}
	}
	for _, p := range r.programs() {
		before = append(before, p.reads.before...)
		record = append(record, p.reads.record...)
	}
	for _, o := range r.outputs {
		if o.program == nil {
			record = append(record, o.Column)
		}
	}
	key := func(column string) bool { return slices.Contains(r.Table.PrimaryKey, column) }
	if !r.on(cdc.Write) { // a delete logs the key in any case
		before = slices.DeleteFunc(before, key)
	}
	if len(before) > 0 && (r.on(cdc.Write) || r.on(cdc.Unlink)) {
		slices.Sort(before)
		why("reads before.%s", strings.Join(slices.Compact(before), ", before."))
	}
	if r.on(cdc.Unlink) && slices.ContainsFunc(record, func(c string) bool { return !key(c) }) {
		why("is on unlink and sends fields of the deleted row")
	}
}

// programs lists the rule's expressions.
func (r *Rule) programs() []*program {
	var out []*program
	if r.when != nil {
		out = append(out, r.when)
	}
	for _, o := range r.outputs {
		if o.program != nil {
			out = append(out, o.program)
		}
	}
	return out
}

// bindTargets works out which related rows the rule reads.
func (r *Rule) bindTargets() {
	for _, p := range r.programs() {
		for _, read := range p.reads.related {
			r.refers = true
			if i := r.watched.target(read.many2one); !slices.Contains(r.targets, i) {
				r.targets = append(r.targets, i)
			}
			if !slices.Contains(r.relatedTables, read.to) {
				r.relatedTables = append(r.relatedTables, read.to)
			}
		}
	}
}
