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
	return BuildIn(Standard, dst, m, r, event, tx, c)
}

// BuildIn is Build with values written in a dialect.
func BuildIn(dialect Dialect, dst []byte, m *rules.Matcher, r *rules.Rule, event string, tx rules.TxInfo, c *cdc.Change) ([]byte, error) {
	return BuildGroup(dialect, dst, m, r, event, tx, c, nil)
}

// BuildGroup is BuildIn with nothing of the record's lines but those of a group, unless it is nil.
func BuildGroup(dialect Dialect, dst []byte, m *rules.Matcher, r *rules.Rule, event string, tx rules.TxInfo, c *cdc.Change, g *rules.Group) ([]byte, error) {
	b := body{dialect: dialect, out: dst, rule: r, change: c, row: c.Row(), group: g}
	b.raw(`{"type":`)
	b.text(event)
	b.raw(`,"timestamp":"`)
	b.out = tx.Time.UTC().AppendFormat(b.out, time.RFC3339Nano)
	b.raw(`","data":{"id":`)
	b.id()
	b.raw(`,"model":`)
	b.about()
	b.raw(`,"op":"`)
	b.raw(r.Op(c))
	if c.Op == cdc.Unlink && c.Origin == cdc.FromResync {
		b.raw(`","resync":true,"record":`)
	} else {
		b.raw(`","record":`)
	}
	if err := b.record(m, tx); err != nil {
		return dst, err
	}
	if c.Op == cdc.Write && c.Before.Image == cdc.ImageFull {
		b.raw(`,"changes":`)
		b.changes()
	}
	b.lines()
	b.cascade()
	if err := b.split(); err != nil {
		return dst, err
	}
	b.raw(`,"rule":`)
	b.text(r.Name)
	b.raw(`,"lsn":"`)
	b.raw(tx.LSN.String())
	b.raw(`","xid":`)
	b.out = strconv.AppendUint(b.out, uint64(tx.XID), 10)
	b.names(`,"omitted":[`, b.omitted)
	b.names(`,"truncated":[`, b.truncated)
	b.raw(`}}`)
	return b.out, nil
}

// body is one body being written.
type body struct {
	dialect Dialect // values are written by put and putAny, which keep to it
	out     []byte
	rule    *rules.Rule
	change  *cdc.Change
	row     cdc.Row      // the record
	group   *rules.Group // the lines that are shown; nil: all
	omitted []string     // what the record or the changes would show and can't

	begun     bool     // the matcher is at the change
	truncated []string // arrays of the record that have more rows than they show
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

// names writes a list of names, if there are any.
func (b *body) names(member string, names []string) {
	if len(names) == 0 {
		return
	}
	b.raw(member)
	for _, name := range names {
		b.comma()
		b.text(name)
	}
	b.raw(`]`)
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
	case b.change.Op == cdc.Message:
		b.messageID()
	case key == "" && len(rel.Key) == 0:
		b.raw("null") // a whole table was truncated, or there is no primary key
	case len(rel.Key) == 1 && kindOf(rel.Columns[rel.Key[0]].Type) == cdc.KindInt && isNumber([]byte(key)):
		b.raw(key)
	default:
		b.text(key)
	}
}

// changes writes the columns that the record shows and that differ, by column name.
func (b *body) changes() {
	b.raw("{")
	rel := b.change.Rel
	if b.rule.WholeRecord() {
		for i := range rel.Columns {
			if !b.untouched(i) && b.inWhole(&rel.Columns[i], b.rule.Table.Content(rel.Columns[i].Name)) {
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

// untouched says that a column is stored as it was before, as most are: however it is shown, it has not changed.
func (b *body) untouched(i int) bool {
	before, after := &b.change.Before, &b.change.After
	return before.Relation() == after.Relation() && after.Relation() == b.change.Rel && before.Value(i).Equal(after.Value(i))
}

// changed writes both values of a column if they differ and are known and, unless limit
// is negative, no larger than it.
func (b *body) changed(i, limit int) {
	name := b.change.Rel.Columns[i].Name
	content := b.rule.Table.Content(name)
	before, after := b.value(&b.change.Before, i), b.value(&b.change.After, i)
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
	b.put(before, content)
	b.raw(`,"after":`)
	b.put(after, content)
	b.raw("}")
}

// value returns column i of the change's relation as receivers see it.
func (b *body) value(row *cdc.Row, i int) cdc.Value {
	if i < 0 || row.Image == cdc.ImageNone || b.rule.ShowsStored() {
		return b.stored(row, i)
	}
	return b.rule.Shown(b.change, i, b.stored(row, i))
}

// stored returns column i of the change's relation. A row image from before a change
// of the table in the same transaction has a relation of its own.
func (b *body) stored(row *cdc.Row, i int) cdc.Value {
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
func (b *body) inWhole(column *cdc.Column, content catalog.Content) bool {
	if b.rule.Excludes(column.Name) {
		return false
	}
	switch content {
	case catalog.ContentSecret, catalog.ContentHTML, catalog.ContentBinary, catalog.ContentBase64:
		return false
	}
	return kindOf(column.Type) != cdc.KindBytes // also of a column younger than the catalog
}
