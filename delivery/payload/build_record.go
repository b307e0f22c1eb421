package payload

import (
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// record writes the rule's fields or payload, or the whole record.
func (b *body) record(m *rules.Matcher, tx rules.TxInfo) error {
	if b.change.Op == cdc.Message && b.rule.WholeRecord() {
		b.messageData()
		return nil
	}
	b.raw("{")
	if b.rule.WholeRecord() {
		for i := range b.change.Rel.Columns {
			b.wholeColumn(i)
		}
	} else if err := b.outputs(m, tx, b.rule.Outputs()); err != nil {
		return err
	}
	b.raw("}")
	return nil
}

// wholeColumn writes a column of a whole record, unless it belongs to what a
// whole record leaves out.
func (b *body) wholeColumn(i int) {
	column := &b.change.Rel.Columns[i]
	content := b.rule.Table.Content(column.Name)
	if !b.inWhole(column, content) {
		return
	}
	v := b.value(&b.row, i)
	if v.State == cdc.Unknown || len(v.Text) > LargeValue {
		b.omit(column.Name)
		return
	}
	b.member(column.Name)
	b.put(v, content)
}

// outputs writes the members of an object.
func (b *body) outputs(m *rules.Matcher, tx rules.TxInfo, list []rules.Output) error {
	for i := range list {
		if err := b.output(m, tx, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// output writes one member.
func (b *body) output(m *rules.Matcher, tx rules.TxInfo, o *rules.Output) error {
	if o.Column != "" {
		b.column(o)
		return nil
	}
	if b.change.Op == cdc.Unlink && b.change.Origin == cdc.FromResync && b.change.Before.Image != cdc.ImageFull {
		b.omit(o.Path) // of a record that is gone nothing is known but its key
		return nil
	}
	if !b.begun {
		if err := m.Begin(b.rule, tx, b.change); err != nil {
			return err
		}
		m.Within(b.group)
		b.begun = true
	}
	b.member(o.Name)
	switch o.Kind {
	case rules.OutputObject:
		return b.object(m, tx, o)
	case rules.OutputList:
		return b.array(m, o, func() error { return b.evaluated(m, o) })
	case rules.OutputRows:
		return b.array(m, o, func() error { return b.object(m, tx, o) })
	}
	return b.evaluated(m, o)
}

// column writes a column of the record as it is, or names it if WAL does not hold it.
func (b *body) column(o *rules.Output) {
	content := b.rule.Table.Content(o.Column)
	v := b.stored(&b.row, b.change.Rel.Column(o.Column))
	if b.row.Image != cdc.ImageNone {
		v = o.Shown(b.change, v)
	}
	if v.State == cdc.Unknown || content == catalog.ContentSecret {
		b.omit(o.Path)
		return
	}
	b.member(o.Name)
	if v.State == cdc.Null && o.Default != nil && content != catalog.ContentBoolean {
		b.constant(o.Default)
		return
	}
	b.put(v, content)
}

func (b *body) object(m *rules.Matcher, tx rules.TxInfo, o *rules.Output) error {
	b.raw("{")
	if err := b.outputs(m, tx, o.Members); err != nil {
		return err
	}
	b.raw("}")
	return nil
}

// array writes an element for each row.
func (b *body) array(m *rules.Matcher, o *rules.Output, element func() error) error {
	b.raw("[")
	cut, err := m.Each(b.rule, o, func() error {
		b.comma()
		return element()
	})
	if err != nil {
		return err
	}
	b.raw("]")
	if cut && !slices.Contains(b.truncated, o.Path) {
		b.truncated = append(b.truncated, o.Path)
	}
	return nil
}

// evaluated writes a value that package rules works out.
func (b *body) evaluated(m *rules.Matcher, o *rules.Output) error {
	v, err := m.Value(b.rule, o)
	switch {
	case err != nil:
		return err
	case v.Null() && o.Default != nil:
		b.constant(o.Default)
	case v.Stored:
		b.put(v.Column, v.Content)
	default:
		if err := b.putAny(v.Other, nil); err != nil {
			return &rules.EvalError{Rule: b.rule.Name, Path: "payload." + o.Path, Err: err, Offset: -1}
		}
	}
	return nil
}

// constant writes a default, which always has a form in JSON.
func (b *body) constant(v any) { _ = b.putAny(v, nil) }
