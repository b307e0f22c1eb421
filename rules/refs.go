package rules

import (
	"fmt"
	"slices"

	"walhook/cdc"
)

// Ref is a related row that rules need for a change: what a many2one column of
// the changed row points to.
type Ref struct {
	Schema, Table string
	ID            int64
	Columns       []string // sorted; shared, not to be changed
}

// Related holds related rows that have been fetched beforehand. It is valid for one Match or Eval at least.
type Related interface {
	// Row returns a row by its id. It reports false when there is none, which makes
	// its fields NULL: the row may have been deleted since.
	Row(schema, table string, id int64) (cdc.Row, bool)
}

// Refs appends to dst the related rows that [Matcher.Match] and [Matcher.Eval] need
// for c: those of rules that may match it, judging by what can be judged without them.
func (m *Matcher) Refs(dst []Ref, c *cdc.Change) []Ref {
	w, rules := m.begin(TxInfo{Time: m.frame.tx.Time}, c) // conditions that look at the transaction are not evaluated
	if w == nil || len(w.targets) == 0 {
		return dst
	}
	f := &m.frame
	have := len(dst)
	for _, r := range rules {
		if !r.refers || !m.mayMatch(r) {
			continue
		}
		for _, i := range r.targets {
			t := &w.targets[i]
			v := f.record.read(t.slot)
			if v.State != cdc.Present {
				continue // of NULL nothing is needed; the unknown fails in Match
			}
			id, ok := parseNum(string(v.Text))
			n, whole := id.whole()
			if !ok || !whole {
				continue
			}
			ref := Ref{Schema: t.schema, Table: t.table, ID: n, Columns: t.columns}
			if !slices.ContainsFunc(dst[have:], func(o Ref) bool {
				return o.ID == ref.ID && o.Table == ref.Table && o.Schema == ref.Schema && slices.Equal(o.Columns, ref.Columns)
			}) {
				dst = append(dst, ref)
			}
		}
	}
	return dst
}

// mayMatch evaluates a rule's condition as far as it goes without related rows and without
// the transaction.
func (m *Matcher) mayMatch(r *Rule) bool {
	f := &m.frame
	if !f.change.Raw && f.change.Op == cdc.Write {
		if changed, known := f.written(r); known && !changed {
			return false
		}
	}
	if r.when == nil || r.when.reads.tx {
		return true
	}
	f.collecting, f.missing = true, false
	ok, err := m.condition(r)
	f.collecting = false
	return f.missing || err != nil || ok
}

// relatedValue reads ref("many2one").column: NULL when the column is NULL or the row is gone.
func (f *frame) relatedValue(i int) any {
	ref := &f.table.refs[i]
	t := &f.table.targets[ref.target]
	if f.collecting {
		f.missing = true
		return nil
	}
	c := &f.related[i]
	if c.generation == f.generation {
		return column{c}
	}
	pointer := f.value(f.record, t.slot)
	if pointer == nil {
		return nil
	}
	id, ok := asNum(pointer).whole()
	if !ok {
		raise("cannot read %q as the id of a record", textForm(pointer))
	}
	name := func() string { return fmt.Sprintf("ref(%q).%s", f.table.columns[t.slot], ref.column) }
	if f.tx.Related == nil {
		raise("%s: no related rows were fetched", name())
	}
	row, ok := f.tx.Related.Row(t.schema, t.table, id)
	if !ok || row.Image == cdc.ImageNone {
		return nil
	}
	at := -1
	if row.Relation() != nil {
		at = row.Relation().Column(ref.column)
	}
	v := row.Value(at)
	switch {
	case at < 0:
		panic(&MissingError{Name: name(), Rel: row.Relation(), Err: ErrNoColumn})
	case v.State == cdc.Null:
		return nil
	case v.State == cdc.Unknown:
		panic(&MissingError{Name: name(), Rel: row.Relation(), Err: cdc.ErrUnknown})
	}
	return c.hold(v, f.generation)
}
