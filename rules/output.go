package rules

import (
	"fmt"
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Output is one entry of what a rule's payload holds.
type Output struct {
	Name   string // key in the payload
	Column string // the plain column that it is; "" for an expression
}

// output is an Output and how to evaluate it.
type output struct {
	Output
	program *program // nil for a plain column
}

// Outputs returns the entries of fields, in order, or of payload, sorted by key
// (TOML does not keep the order of a table's keys). It is empty for a whole record.
func (r *Rule) Outputs() []Output {
	out := make([]Output, len(r.outputs))
	for i := range r.outputs {
		out[i] = r.outputs[i].Output
	}
	return out
}

// WholeRecord says that the payload is the whole record: the rule names neither fields nor payload.
func (r *Rule) WholeRecord() bool { return len(r.outputs) == 0 }

// Reads returns the indexes of the columns that the record shows, sorted: those
// whose old and new values a write's "changes" should hold. They never include secrets.
func (r *Rule) Reads(rel *cdc.Relation) []int {
	var out []int
	show := func(column string) {
		if i := rel.Column(column); i >= 0 && !slices.Contains(out, i) && !catalog.Secret(rel.Name, column) {
			out = append(out, i)
		}
	}
	if r.WholeRecord() {
		for i := range rel.Columns {
			show(rel.Columns[i].Name)
		}
	}
	for i := range r.outputs {
		o := &r.outputs[i]
		if o.program == nil {
			show(o.Column)
			continue
		}
		reads := &o.program.reads
		for _, columns := range [][]string{reads.after, reads.record, reads.before} {
			for _, c := range columns {
				show(c)
			}
		}
	}
	slices.Sort(out)
	return out
}

// Eval evaluates one of the rule's outputs on a change that the rule matched. The
// result belongs to the caller: nil, bool, int64, float64, cdc.Numeric, string, time.Time,
// []byte, json.RawMessage, or []any and map[string]any of these. The error is an *EvalError.
func (m *Matcher) Eval(r *Rule, output int, tx TxInfo, c *cdc.Change) (v any, err error) {
	o := &r.outputs[output]
	b := m.bind(c.Rel)
	if b.table != r.watched {
		return nil, &EvalError{Rule: r.Name, Path: o.path(r), Offset: -1, Err: fmt.Errorf("the change is one of %s, not of %s", c.Rel, r.Table)}
	}
	defer func() {
		if p := recover(); p != nil {
			v, err = nil, &EvalError{Rule: r.Name, Path: o.path(r), Offset: -1, Err: raised(p)}
		}
	}()
	m.move(tx, c, b)
	if o.program == nil {
		slot := r.watched.slots[o.Column]
		return plain(m.frame.value(m.frame.record, slot)), nil
	}
	v, err = m.run(r, o.program)
	if err != nil {
		return nil, err
	}
	return plain(v), nil
}

// raised is the error of a recovered panic; what is none of ours goes on.
func raised(p any) error {
	if err, ok := p.(error); ok {
		return err
	}
	panic(p)
}

func (o *output) path(r *Rule) string {
	if len(r.Fields) > 0 {
		return "fields." + o.Name
	}
	return "payload." + o.Name
}
