package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Compile checks configs against the schema and compiles them, with the defaults of [Settings].
func Compile(configs []Config, cat *catalog.Catalog) (*Set, error) {
	return Settings{}.Compile(configs, cat)
}

// Compile checks configs against the schema and compiles them. The error joins
// *[Problem]s, one for every mistake found; the Set is nil if there is any.
func (s Settings) Compile(configs []Config, cat *catalog.Catalog) (*Set, error) {
	set := &Set{cat: cat, watched: make(map[tableName]*watched)}
	if cat.Odoo != nil {
		set.odoo = cat.Odoo.Schema
	}
	common, problems := s.prepare(set, cat)
	taken := make(map[string]int)
	for i, config := range configs {
		c := ruleCompiler{index: i, config: config, cat: cat, set: set, taken: taken, locale: common.locale, functions: common.functions}
		set.rules = append(set.rules, c.compile())
		problems = append(problems, c.problems...)
		set.warnings = append(set.warnings, c.warnings...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	for _, r := range set.rules {
		r.bind()
		if r.IsActive() {
			r.watched.add(r)
			set.roll(r)
			set.cascadesOf(r, cat)
		}
	}
	for _, w := range set.watched {
		set.slots = max(set.slots, len(w.columns))
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
	rollups  []*Rollup // of the rule

	locale    locale // of the rule
	functions map[string]*function
	warnings  []*Problem
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
	c.checkOccasion()
	s, found := c.shape()
	if !found {
		return r // nothing else can be checked without a table
	}
	r.Model, r.Table, r.Odoo = s.name, s.table, s.model
	switch c.occasion() {
	case onMessage:
		r.Odoo = c.checkMessages()
		if r.Odoo != nil {
			r.Model = r.Odoo.Name
		}
	case onSchedule:
		r.Schedule = c.schedule(s)
	}
	r.watched = c.watch(s)
	r.archiving, r.echoes = c.archivingOf(s), c.echoesOf(r, s)
	c.locale.lang = c.language("lang", c.config.Lang)
	r.readings = s.readings(c.locale)
	c.rollupsOf(r, s)
	c.warnOfNoise(s)
	if text := c.config.When; strings.TrimSpace(text) != "" {
		r.when = c.expression(s, r.watched, "when", text, false)
	}
	c.outputs(r, s)
	c.split(r, s)
	if (r.Schedule != nil || c.config.Existing) && len(c.problems) == 0 {
		c.narrow(r, s)
	}
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
		w = newWatched(s.table, s.model != nil, len(c.set.watched), &c.set.links)
		c.set.watched[name] = w
	}
	return w
}

func (c *ruleCompiler) expression(s shape, w *watched, path, text string, payload bool) *program {
	return c.newExpression(s, w, path, text, payload).compile(path)
}

func (c *ruleCompiler) newExpression(s shape, w *watched, path, text string, payload bool) *expression {
	x := &expression{shape: s, record: s, bare: payload, cat: c.cat, locale: c.locale, functions: c.functions, watched: w, rollups: c.rollups, text: text, payload: payload, traced: c.config.Traced && !payload, occasion: c.occasion()}
	x.report = func(offset int, message, remedy string) {
		if c.occasion() == onMessage {
			remedy = strings.ReplaceAll(remedy, nameAfter+".", nameMessage+".")
		}
		c.failIn(path, text, offset, message, remedy)
	}
	x.warn = func(offset int, message, remedy string) {
		c.warnings = append(c.warnings, &Problem{Rule: c.index, Name: c.config.Name, Path: path, Message: message, Suggest: remedy, Offset: offset, Expr: text})
	}
	return x
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
	for _, reads := range r.reads() {
		before = append(before, reads.before...)
		record = append(record, reads.record...)
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

// reads lists what the rule's condition and its outputs read.
func (r *Rule) reads() []*reads {
	var out []*reads
	if r.when != nil {
		out = append(out, &r.when.reads)
	}
	return appendReads(appendReads(out, r.outputs), r.splitting.outputs())
}

// bind works out which columns and related rows the rule reads.
func (r *Rule) bind() {
	var output []*place
	if r.when != nil {
		r.whenNeeds = needsOf(r.when.reads.places)
	}
	for _, reads := range appendReads(nil, r.outputs) {
		output = append(output, reads.places...)
		if reads.digest {
			continue // what is sent as a digest is not shown in the changes, unless another member shows it
		}
		for _, c := range slices.Concat(reads.after, reads.record, reads.before) {
			if !slices.Contains(r.shows, c) {
				r.shows = append(r.shows, c)
			}
		}
	}
	for _, reads := range appendReads(nil, r.splitting.outputs()) {
		output = append(output, reads.places...)
	}
	if r.splitting != nil {
		r.splitting.widen(r.outputs)
	}
	r.outputNeeds = needsOf(output)
	for _, reads := range r.reads() {
		for _, place := range reads.places {
			r.relatedTables = place.tables(r.relatedTables)
		}
	}
}
