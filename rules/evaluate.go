package rules

import (
	"fmt"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// maxVisits bounds the rows of one payload, all its arrays together, however they are nested.
const maxVisits = 20_000

// Result is the value of an [Output].
type Result struct {
	Stored  bool // the value is a column's
	Column  cdc.Value
	Content catalog.Content // of the column
	Other   any             // of an expression, as [Matcher.Value] says
}

// Null says that the value is NULL, or that there is no row to have one.
func (v *Result) Null() bool {
	if v.Stored {
		return v.Column.State == cdc.Null
	}
	return v.Other == nil
}

// Begin moves the matcher to a change that a rule matched, for Value and Each. It is of use until the next call of any other method.
func (m *Matcher) Begin(r *Rule, tx TxInfo, c *cdc.Change) error {
	b := m.bind(c.Rel)
	if b.table != r.watched {
		return &EvalError{Rule: r.Name, Path: "payload", Offset: -1, Err: fmt.Errorf("the change is one of %s, not of %s", c.Rel, r.Table)}
	}
	m.move(tx, c, b)
	m.frame.rule, m.visits = r, 0
	return nil
}

// Value evaluates a value at the rows that [Matcher.Each] has come to. What an expression gives belongs to the caller: nil, bool, int64, float64,
// cdc.Numeric, string, time.Time, []byte, json.RawMessage, or []any and map[string]any of these; a column's value belongs to
// the row. The error is an *EvalError.
func (m *Matcher) Value(r *Rule, o *Output) (v Result, err error) {
	if o.program != nil {
		result, err := m.run(r, o.program)
		if err != nil {
			return v, err
		}
		defer o.recover(r, &err)
		v.Other = plain(result)
		return v, nil
	}
	defer o.recover(r, &err)
	f := &m.frame
	s := f.version(o.of)
	switch {
	case o.Kind == OutputList:
		s = m.leaf
	case o.place != nil:
		s = f.at(o.place)
	}
	if s == nil {
		return v, nil
	}
	v.Stored, v.Content, v.Column = true, o.content, f.read(s, o.slot)
	if v.Column.State == cdc.Unknown {
		panic(f.unreadable(s, o.slot))
	}
	return v, nil
}

// Each goes through the rows of an array and calls visit for each. It reports whether there are more rows than the rule wants. The
// error is an *EvalError, or what visit returned.
func (m *Matcher) Each(r *Rule, o *Output, visit func() error) (cut bool, err error) {
	defer o.recover(r, &err)
	if o.Kind == OutputList {
		return m.frame.visitAll(o.chain, maxRows, func(s *side) error {
			if m.visits++; m.visits > maxVisits {
				cut = true
				return nil
			}
			outer := m.leaf
			m.leaf = s
			err := visit()
			m.leaf = outer
			return err
		})
	}
	taken := 0
	n, err := m.frame.visit(o.place, o.looks, func() error {
		if o.where != nil {
			v, err := m.run(r, o.where)
			if ok, _ := v.(bool); !ok || err != nil {
				return err
			}
		}
		if m.visits++; taken == o.limit || m.visits > maxVisits {
			cut = true
			return nil
		}
		taken++
		return visit()
	})
	return cut || n > o.looks, err
}

// recover turns what a program raises into an error; what is none of ours goes on.
func (o *Output) recover(r *Rule, err *error) {
	if p := recover(); p != nil {
		*err = &EvalError{Rule: r.Name, Path: o.key, Offset: -1, Err: raised(p)}
	}
}

// raised is the error of a recovered panic; what is none of ours goes on.
func raised(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	panic(p)
}
