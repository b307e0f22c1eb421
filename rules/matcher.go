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
}

// binding says where a relation holds the columns that programs read.
type binding struct {
	rel   *cdc.Relation
	table *watched // nil when no rule watches the table
	where []int32  // slot → column, or -1

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
	cells := make([]cell, 2*s.slots+s.refs)
	m.frame.before = side{name: nameBefore, cells: cells[:s.slots]}
	m.frame.after = side{name: nameAfter, cells: cells[s.slots : 2*s.slots]}
	m.frame.related = cells[2*s.slots:]
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
		ok, err := true, error(nil)
		if r.when != nil {
			ok, err = m.condition(r)
		}
		if !ok && err == nil {
			continue
		}
		if !c.Raw && c.Op == cdc.Write {
			changed, known := m.frame.written(r)
			if known && !changed {
				continue
			}
			if !known && err == nil {
				err = &EvalError{Rule: r.Name, Path: "when", Offset: -1, Err: &MissingError{Name: "whether this write changed anything", Rel: c.Rel, Err: ErrNoOldRow}}
			}
		}
		dst = append(dst, Match{Rule: r, Err: err})
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
	f.tx, f.change, f.table, f.bound, f.compared = tx, c, w, b, false
	f.before.row, f.before.where = c.Before, m.where(c.Before.Relation(), w)
	f.after.row, f.after.where = c.After, m.where(c.After.Relation(), w)
	f.record = &f.after
	if c.Op == cdc.Unlink {
		f.record = &f.before
	}
}

// where binds the relation of a row version, which can be another than the change's after DDL in the transaction.
func (m *Matcher) where(rel *cdc.Relation, w *watched) []int32 {
	if rel == nil {
		return nil
	}
	b := m.bind(rel)
	if b.table != w {
		b = newBinding(rel, w)
	}
	return b.where
}

func (m *Matcher) bind(rel *cdc.Relation) *binding {
	if m.last != nil && m.last.rel == rel {
		return m.last
	}
	b := m.bindings[rel]
	if b == nil {
		b = newBinding(rel, m.set.watched[tableName{rel.Schema, rel.Name}])
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
	b.where = make([]int32, len(w.columns))
	for slot, name := range w.columns {
		b.where[slot] = int32(rel.Column(name))
	}
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
