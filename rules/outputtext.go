package rules

import (
	"regexp"
	"slices"
	"strings"
)

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// text compiles a member that is text: a field, a path or an expression. key is where the text stands.
func (c *ruleCompiler) text(r *Rule, o *Output, at spot, key, text string) bool {
	name := strings.TrimSpace(text)
	if name == "" {
		c.fail(key, "the value is empty", "write the name of a field or an expression")
		return false
	}
	if at.shape.table.Column(name) != nil || plainName.MatchString(name) && !reserved(name) && !slices.Contains([]string{"nil", "true", "false", nameParent}, name) {
		return c.plain(r, o, at, key, name)
	}
	x := c.inside(r, at, key, text, true)
	node := x.tree()
	if node == nil {
		return false
	}
	if p, _ := x.pathOf(node); p != nil && !p.label && !p.user && !x.failed {
		o.take(p, x.reads)
		return true
	}
	o.program = x.program(key, node)
	if o.program != nil {
		o.reads = o.program.reads
	}
	return o.program != nil
}

// plain compiles the name of a field, which can be inherited, or a one2many or many2many: that is the ids.
func (c *ruleCompiler) plain(r *Rule, o *Output, at spot, key, name string) bool {
	x := c.inside(r, at, key, name, true)
	x.offsets = make(map[int]bool)
	x.report = func(_ int, message, remedy string) { c.fail(key, message, remedy) }
	t := x.start(versionRecord)
	m, message, remedy := t.shape.find(c.cat, name)
	if message != "" {
		c.fail(key, message, remedy)
		return false
	}
	if at.scope == nil && m.column != nil && len(m.steps) == 0 {
		o.Column = m.column.Name
		o.as = m.shape.reading(o.Column, c.locale)
		o.slot = r.watched.slotAs(o.Column, o.as)
		o.content = m.shape.table.Content(o.Column)
		o.reads.note(&o.reads.record, o.Column)
		return true
	}
	p, _ := x.walk(t, []pathName{{name, 0}}, true)
	if p == nil {
		return false
	}
	o.take(p, x.reads)
	return true
}

// take makes the output the value of a path, without a program.
func (o *Output) take(p *fieldPath, reads reads) {
	if o.reads = reads; len(p.chain) > 0 {
		o.Kind = OutputList
	}
	o.place, o.of, o.chain, o.slot, o.content = p.place, p.of, p.chain, p.slot, p.shape.table.Content(p.column.Name)
}

// inside is an expression about the rows of an each, or the record.
func (c *ruleCompiler) inside(r *Rule, at spot, key, text string, payload bool) *expression {
	x := c.newExpression(at.shape, r.watched, key, text, payload)
	x.record, x.scope, x.bare = at.record, at.scope, true
	return x
}
