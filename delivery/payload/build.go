package payload

import (
	"slices"
	"strconv"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// ContentType is the media type of what [Build] makes.
const ContentType = "application/json"

// LargeValue is the size, in bytes of PostgreSQL's text form, beyond which a
// value is not part of a whole record. A rule that names the field gets it at any size.
const LargeValue = 4 << 10

// Build appends the body of a rule's event for a change to dst, in the format
// standard. The change must be one that the rule matched.
//
// The error is a [*rules.EvalError]: an expression of the rule's payload failed
// on this change. dst is then returned as it was.
func Build(dst []byte, m *rules.Matcher, r *rules.Rule, event string, tx rules.TxInfo, c *cdc.Change) ([]byte, error) {
	b := body{out: dst, rule: r, change: c, row: c.Row()}
	b.raw(`{"type":`)
	b.text(event)
	b.raw(`,"timestamp":"`)
	b.out = tx.Time.UTC().AppendFormat(b.out, time.RFC3339Nano)
	b.raw(`","data":{"id":`)
	b.id()
	b.raw(`,"model":`)
	b.text(r.Model)
	b.raw(`,"op":"`)
	b.raw(c.Op.String())
	b.raw(`","record":`)
	if err := b.record(m, tx); err != nil {
		return dst, err
	}
	if c.Op == cdc.Write && c.Before.Image == cdc.ImageFull {
		b.raw(`,"changes":`)
		b.changes()
	}
	b.raw(`,"rule":`)
	b.text(r.Name)
	b.raw(`,"lsn":"`)
	b.raw(tx.LSN.String())
	b.raw(`","xid":`)
	b.out = strconv.AppendUint(b.out, uint64(tx.XID), 10)
	if len(b.omitted) > 0 {
		b.raw(`,"omitted":[`)
		for _, name := range b.omitted {
			b.comma()
			b.text(name)
		}
		b.raw(`]`)
	}
	b.raw(`}}`)
	return b.out, nil
}

// body is one body being written.
type body struct {
	out     []byte
	rule    *rules.Rule
	change  *cdc.Change
	row     cdc.Row  // the record
	omitted []string // what the record or the changes would show and can't
}

func (b *body) raw(json string)    { b.out = append(b.out, json...) }
func (b *body) text(s string)      { b.out = appendString(b.out, s) }
func (b *body) member(name string) { b.comma(); b.text(name); b.raw(":") }

// comma separates an element from the one before it, if there is one. No value
// ends in an opening bracket.
func (b *body) comma() {
	if last := b.out[len(b.out)-1]; last != '{' && last != '[' {
		b.raw(",")
	}
}

func (b *body) omit(name string) {
	if !slices.Contains(b.omitted, name) {
		b.omitted = append(b.omitted, name)
	}
}

// id writes the record's id: a number only where the key is one, since a text
// key "007" is not 7.
func (b *body) id() {
	rel, key := b.change.Rel, b.change.Key
	switch {
	case key == "" && len(rel.Key) == 0:
		b.raw("null") // a whole table was truncated, or there is no primary key
	case len(rel.Key) == 1 && kindOf(rel.Columns[rel.Key[0]].Type) == cdc.KindInt && isNumber([]byte(key)):
		b.raw(key)
	default:
		b.text(key)
	}
}

// record writes the rule's fields or payload, or the whole record.
func (b *body) record(m *rules.Matcher, tx rules.TxInfo) error {
	b.raw("{")
	if b.rule.WholeRecord() {
		for i := range b.change.Rel.Columns {
			b.wholeColumn(i)
		}
	} else {
		for i, o := range b.rule.Outputs() {
			if err := b.output(m, tx, i, o); err != nil {
				return err
			}
		}
	}
	b.raw("}")
	return nil
}

// wholeColumn writes a column of a whole record, unless it belongs to what a
// whole record leaves out.
func (b *body) wholeColumn(i int) {
	column := &b.change.Rel.Columns[i]
	content := b.rule.Table.Content(column.Name)
	if !inWhole(column, content) {
		return
	}
	v := b.value(b.row, i)
	if v.State == cdc.Unknown || len(v.Text) > LargeValue {
		b.omit(column.Name)
		return
	}
	b.member(column.Name)
	b.out = appendValue(b.out, v, content)
}

// output writes one entry of the rule's fields or payload.
func (b *body) output(m *rules.Matcher, tx rules.TxInfo, i int, o rules.Output) error {
	if o.Column == "" {
		v, err := m.Eval(b.rule, i, tx, b.change)
		if err != nil {
			return err
		}
		b.member(o.Name)
		if b.out, err = appendAny(b.out, v, nil); err != nil {
			return &rules.EvalError{Rule: b.rule.Name, Path: "payload." + o.Name, Err: err, Offset: -1}
		}
		return nil
	}
	content := b.rule.Table.Content(o.Column)
	v := b.value(b.row, b.change.Rel.Column(o.Column))
	if v.State == cdc.Unknown || content == catalog.ContentSecret {
		b.omit(o.Name)
		return nil
	}
	b.member(o.Name)
	b.out = appendValue(b.out, v, content)
	return nil
}

// changes writes the columns that the record shows and that differ, by column name.
func (b *body) changes() {
	b.raw("{")
	rel := b.change.Rel
	if b.rule.WholeRecord() {
		for i := range rel.Columns {
			if inWhole(&rel.Columns[i], b.rule.Table.Content(rel.Columns[i].Name)) {
				b.changed(i, LargeValue)
			}
		}
	} else {
		for _, i := range b.rule.Reads(rel) {
			b.changed(i, -1)
		}
	}
	b.raw("}")
}

// changed writes both values of a column if they differ and are known and, unless limit
// is negative, no larger than it.
func (b *body) changed(i, limit int) {
	name := b.change.Rel.Columns[i].Name
	content := b.rule.Table.Content(name)
	before, after := b.value(b.change.Before, i), b.value(b.change.After, i)
	switch {
	case content == catalog.ContentSecret, after.State == cdc.Unknown, same(before, after, content):
		return // WAL leaves a value out when it has not changed
	case before.State == cdc.Unknown:
		b.omit(name)
		return
	case limit >= 0 && (len(before.Text) > limit || len(after.Text) > limit):
		b.omit(name)
		return
	}
	b.member(name)
	b.raw(`{"before":`)
	b.out = appendValue(b.out, before, content)
	b.raw(`,"after":`)
	b.out = appendValue(b.out, after, content)
	b.raw("}")
}

// value returns column i of the change's relation. A row image from before a change
// of the table in the same transaction has a relation of its own.
func (b *body) value(row cdc.Row, i int) cdc.Value {
	rel := b.change.Rel
	if i < 0 {
		return cdc.Value{}
	}
	if of := row.Relation(); of != nil && of != rel {
		i = of.Column(rel.Columns[i].Name)
	}
	return row.Value(i)
}

// same says that two values look the same in a payload.
func same(a, b cdc.Value, content catalog.Content) bool {
	if content == catalog.ContentBoolean {
		return a.State != cdc.Unknown && b.State != cdc.Unknown && isTrue(a) == isTrue(b)
	}
	if a.State == cdc.Present && b.State == cdc.Present && kindOf(a.Type) == cdc.KindNumeric && kindOf(b.Type) == cdc.KindNumeric {
		return cdc.Numeric(a.Text).Cmp(cdc.Numeric(b.Text)) == 0 // 10.0 became 10.00: no change to anyone
	}
	return a.Equal(b)
}

// inWhole says that a whole record shows the column, if it is not too large.
func inWhole(column *cdc.Column, content catalog.Content) bool {
	switch content {
	case catalog.ContentSecret, catalog.ContentHTML, catalog.ContentBinary, catalog.ContentBase64:
		return false
	}
	return kindOf(column.Type) != cdc.KindBytes // also of a column younger than the catalog
}
