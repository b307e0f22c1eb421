package payload

import (
	"slices"
	"strconv"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// lineLists are the lists of lines, by what happened to them.
var lineLists = []struct {
	name string
	op   cdc.Op
}{{"added", cdc.Create}, {"changed", cdc.Write}, {"removed", cdc.Unlink}}

// lines writes what happened to the lines of the record, for a rule that rolls up.
func (b *body) lines() {
	g := b.change.Gathered
	if g == nil || len(g.Lines) == 0 && !g.Cut {
		return
	}
	b.raw(`,"lines":{`)
	for _, u := range b.rule.Rollups() {
		if !slices.ContainsFunc(g.Lines, func(l cdc.Line) bool { return l.Of == u.Field }) {
			continue
		}
		b.member(u.Field)
		b.raw("{")
		for _, list := range lineLists {
			if u.Pairs() && list.op == cdc.Write {
				continue // a pair is there or not
			}
			b.member(list.name)
			b.raw("[")
			for i := range g.Lines {
				if l := &g.Lines[i]; l.Of == u.Field && l.Op == list.op {
					b.comma()
					b.line(u, l)
				}
			}
			b.raw("]")
		}
		b.raw("}")
	}
	b.raw("}")
	if g.Cut {
		b.raw(`,"lines_truncated":true`)
	}
}

// line writes one line: of a many2many the other record's id, otherwise the line's id and fields, and of a changed one what changed.
func (b *body) line(u *rules.Rollup, l *cdc.Line) {
	c, row := l.Change, l.Change.After
	if l.Op == cdc.Unlink {
		row = c.Before
	}
	if u.Pairs() {
		b.put(lineValue(row, c.Rel, u.Columns()[0]), u.Table.Content(u.Columns()[0]))
		return
	}
	var omitted []string
	value := func(row cdc.Row, name string) (cdc.Value, bool) {
		v := u.Shown(c, name, lineValue(row, c.Rel, name))
		return v, v.State != cdc.Unknown && (u.Named() || len(v.Text) <= LargeValue) && u.Table.Content(name) != catalog.ContentSecret
	}
	b.raw(`{"id":`)
	(&body{change: c}).idInto(b)
	b.raw(`,"record":{`)
	for _, name := range u.Columns() {
		v, shown := value(row, name)
		if !shown {
			omitted = append(omitted, name)
			continue
		}
		b.member(name)
		b.put(v, u.Table.Content(name))
	}
	b.raw("}")
	if l.Op == cdc.Write && c.Before.Image == cdc.ImageFull {
		b.raw(`,"changes":{`)
		for _, name := range u.Columns() {
			before, known := value(c.Before, name)
			after, shown := value(c.After, name)
			if !known || !shown || same(before, after, u.Table.Content(name)) {
				continue
			}
			b.member(name)
			b.raw(`{"before":`)
			b.put(before, u.Table.Content(name))
			b.raw(`,"after":`)
			b.put(after, u.Table.Content(name))
			b.raw("}")
		}
		b.raw("}")
	}
	if len(omitted) > 0 {
		b.raw(`,"omitted":[`)
		for _, name := range omitted {
			b.comma()
			b.text(name)
		}
		b.raw("]")
	}
	b.raw("}")
}

// idInto writes the id of one body's change into another.
func (b *body) idInto(to *body) {
	b.id()
	to.out = append(to.out, b.out...)
}

// lineValue finds a column in a row, which may have another shape than its change.
func lineValue(row cdc.Row, rel *cdc.Relation, name string) cdc.Value {
	if of := row.Relation(); of != nil {
		rel = of
	}
	return row.Value(rel.Column(name))
}

// cascade writes whose deletion has deleted the record.
func (b *body) cascade() {
	k := b.change.Cascade
	if k == nil {
		return
	}
	b.raw(`,"cascade":{"model":`)
	b.text(b.rule.CascadeModel(k))
	b.raw(`,"id":`)
	if isNumber([]byte(k.Key)) {
		b.raw(k.Key)
	} else {
		b.text(k.Key)
	}
	b.raw("}")
}

// split writes which of the record's lines are shown: by what they are grouped, or the one line's id.
func (b *body) split() error {
	g := b.group
	if g == nil {
		return nil
	}
	b.raw(`,"split":{"`)
	if g.Alone {
		b.raw(`id":`)
	} else {
		b.raw(`by":`)
	}
	if g.By.Stored {
		b.put(g.By.Column, g.By.Content)
	} else if err := b.putAny(g.By.Other, nil); err != nil {
		return &rules.EvalError{Rule: b.rule.Name, Path: "split.by", Err: err, Offset: -1}
	}
	b.raw(`,"index":`)
	b.out = strconv.AppendInt(b.out, int64(g.Index), 10)
	b.raw(`,"of":`)
	b.out = strconv.AppendInt(b.out, int64(g.Of), 10)
	b.raw("}")
	return nil
}
