package rules

import (
	"errors"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Matcher runs the programs of a Set. It holds a virtual machine and buffers: one per goroutine.
type Matcher struct {
	set      *Set
	machine  vm.VM
	frame    frame
	bindings map[*cdc.Relation]*binding
	last     *binding // of the relation seen last: rows come in runs
	places   [][]side // by watched.index; made when they are needed

	leaf    *side   // the row that an array of values has come to; nil: there is none
	visits  int     // rows of the payload so far
	quiet   []Match // scratch
	only    *Rule   // nil: all
	gathers bool    // see Gather
}

// binding says where a relation holds the columns that programs read.
type binding struct {
	rel   *cdc.Relation
	table *watched // nil when no rule watches the table
	alone bool     // see [Matcher.Quiet]
	slots []slot

	contents []catalog.Content // column → what it holds
	counts   []bool            // column → its change makes a write
}

// maxBindings bounds the cache of bindings. Relations are few, but every parked
// event that is evaluated again brings one of its own.
const maxBindings = 4096

// NewMatcher returns a matcher for the set.
func (s *Set) NewMatcher() *Matcher {
	m := &Matcher{set: s, bindings: make(map[*cdc.Relation]*binding)}
	m.machine.MemoryBudget = vmMemory
	cells := make([]cell, 2*s.slots)
	m.frame.before = side{name: nameBefore, cells: cells[:s.slots]}
	m.frame.after = side{name: nameAfter, cells: cells[s.slots:]}
	m.places = make([][]side, len(s.watched))
	return m
}

// Match appends to dst the rules that apply to c, in configuration order. No-op
// writes and writes of ignored columns alone match nothing (B2), unless the rule has each_write.
//
// Net changes are for rules without each_write, raw ones for those with it. A net
// write whose old row WAL does not hold cannot be told from a no-op: where the condition would
// hold, it is an error.
func (m *Matcher) Match(dst []Match, tx TxInfo, c *cdc.Change) []Match {
	_, rules := m.begin(tx, c)
	for _, r := range rules {
		known := true
		if c.Op == cdc.Message || r.archiving.on() { // an operation is what it is to all other rules
			var op string
			if op, known = r.operation(c); op == "" && known {
				continue
			}
		}
		if !m.meant(r, c) {
			continue
		}
		ok, err := true, error(nil)
		if r.when != nil {
			ok, err = m.condition(r)
		}
		if !ok && err == nil {
			continue
		}
		if !c.Raw && c.Op == cdc.Write && !hasLines(c) {
			changed, known := m.frame.written(r)
			if known && !changed {
				continue
			}
			if !known && err == nil {
				err = &EvalError{Rule: r.Name, Path: "when", Offset: -1, Err: &MissingError{Name: "whether this write changed anything", Rel: c.Rel, Err: ErrNoOldRow}}
			}
		}
		if !known && err == nil {
			err = &EvalError{Rule: r.Name, Path: "on", Offset: -1, Err: &MissingError{Name: "whether this write archived the record", Rel: c.Rel, Err: ErrNoOldRow}}
		}
		if blind := blindLine(c); blind != nil && err == nil {
			err = &EvalError{Rule: r.Name, Path: "rollup", Offset: -1, Err: &MissingError{Name: "whether a line changed", Rel: blind, Err: ErrNoOldRow}}
		}
		if err == nil {
			err = r.unfit
		}
		dst = append(dst, Match{Rule: r, Err: err, Echo: m.frame.echo(r)})
	}
	return dst
}

// begin moves the frame to a change and returns the rules that are interested in it.
func (m *Matcher) begin(tx TxInfo, c *cdc.Change) (*watched, []*Rule) {
	if c.Rel == nil {
		return nil, nil
	}
	b := m.bind(c.Rel)
	if b.table == nil {
		return nil, nil
	}
	rules := b.table.interested(c)
	if m.only != nil {
		rules = m.just(rules)
	}
	b.table.complete(tx, c)
	if len(rules) > 0 {
		m.move(tx, c, b)
	}
	return b.table, rules
}

// move points the frame at a change, whose relation is bound to a watched table.
func (m *Matcher) move(tx TxInfo, c *cdc.Change, b *binding) {
	f, w := &m.frame, b.table
	f.generation++
	if f.now == nil || !tx.Time.Equal(f.tx.Time) {
		f.now = tx.Time.UTC()
	}
	if f.table != w {
		m.turn(w)
	}
	f.tx, f.change, f.bound, f.compared, f.group = tx, c, b, false, nil
	f.before.row, f.before.slots, f.before.stamp = &c.Before, m.slots(c.Before.Relation(), w), f.generation
	f.after.row, f.after.slots, f.after.stamp = &c.After, m.slots(c.After.Relation(), w), f.generation
	f.record = &f.after
	if c.Op == cdc.Unlink {
		f.record = &f.before
	}
}

// turn points the frame at another table.
func (m *Matcher) turn(w *watched) {
	if m.places[w.index] == nil && len(w.places) > 0 {
		m.places[w.index] = newPlaces(w)
	}
	f := &m.frame
	f.table, f.before.of, f.after.of, f.places = w, &w.rowSlots, &w.rowSlots, m.places[w.index]
}

// slots binds the relation of a row version, which can be another than the change's after DDL in the transaction.
func (m *Matcher) slots(rel *cdc.Relation, w *watched) []slot {
	if rel == nil {
		return nil
	}
	b := m.bind(rel)
	if b.table != w {
		b = newBinding(rel, w)
	}
	return b.slots
}

func (m *Matcher) bind(rel *cdc.Relation) *binding {
	if m.last != nil && m.last.rel == rel {
		return m.last
	}
	b := m.bindings[rel]
	if b == nil {
		b = newBinding(rel, m.set.watched[tableName{rel.Schema, rel.Name}])
		b.alone = m.set.alone(b.table)
		if len(m.bindings) >= maxBindings {
			clear(m.bindings)
		}
		m.bindings[rel] = b
	}
	m.last = b
	return b
}

func newBinding(rel *cdc.Relation, w *watched) *binding {
	b := &binding{rel: rel, table: w}
	if w == nil {
		return b
	}
	b.slots = w.in(rel)
	b.contents, b.counts = make([]catalog.Content, len(rel.Columns)), make([]bool, len(rel.Columns))
	for i := range rel.Columns {
		name := rel.Columns[i].Name
		b.contents[i] = w.table.Content(name)
		b.counts[i] = counts(name, b.contents[i], w.odoo)
	}
	return b
}

// condition runs a rule's condition on the change that the frame is at.
func (m *Matcher) condition(r *Rule) (bool, error) {
	if r.when == nil {
		return true, nil
	}
	v, err := m.run(r, r.when)
	ok, _ := v.(bool)
	return ok && err == nil, err
}

// run runs a program. The error is an *EvalError.
func (m *Matcher) run(r *Rule, p *program) (any, error) {
	m.frame.steps, m.frame.rule = maxSteps, r
	if v, ok := m.directly(p); ok {
		return v, nil
	}
	m.frame.steps = maxSteps
	v, err := m.machine.Run(p.code, &m.frame)
	if err == nil {
		return v, nil
	}
	failed := &EvalError{Rule: r.Name, Path: p.path, Err: err, Offset: -1, Expr: p.text}
	var at *file.Error
	if errors.As(err, &at) {
		failed.Offset = byteOffset(p.text, at.From)
		failed.Err = errors.New(at.Message)
		if at.Prev != nil {
			failed.Err = at.Prev
		}
	}
	return nil, failed
}
