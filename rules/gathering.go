package rules

import (
	"slices"

	"walhook/cdc"
)

// Contribution is what a change adds to an event that a rule gathers: of a record, with what happened to its lines.
type Contribution struct {
	Rule *Rule
	Key  string // of the record; "" when whose line it was is not known
	Own  bool   // the record's own change
	Line cdc.Line
}

// Gathers says that some active rule rolls up: what follows from a transaction is not told change by change then.
func (s *Set) Gathers() bool { return len(s.rollups) > 0 }

// Gather makes the matcher leave changes of single rows to the rules that do not roll up. The others are matched on gathered changes alone, which
// whoever hands over a whole transaction makes of what [Matcher.Contributions] tells.
func (m *Matcher) Gather() { m.gathers = true }

// Contributions appends to dst what a net change adds to the events of rules that roll up.
func (m *Matcher) Contributions(dst []Contribution, c *cdc.Change) []Contribution {
	if c.Raw || c.Gathered != nil || c.Rel == nil || c.Op < cdc.Create || c.Op > cdc.Unlink {
		return dst
	}
	name := tableName{c.Rel.Schema, c.Rel.Name}
	if w := m.set.watched[name]; w != nil && w.record != nil {
		for _, r := range w.rollers {
			dst = append(dst, Contribution{Rule: r, Key: c.Key, Own: true})
		}
	}
	for _, u := range m.set.rollups[name] {
		dst = u.contribute(dst, c)
	}
	return dst
}

// contribute adds what a line's change is to the events of the records that it belongs to, and belonged to.
func (u *Rollup) contribute(dst []Contribution, c *cdc.Change) []Contribution {
	add := func(parent cdc.Value, op cdc.Op) {
		if parent.State == cdc.Present {
			dst = append(dst, Contribution{Rule: u.Rule, Key: string(parent.Text), Line: cdc.Line{Of: u.Field, Op: op, Change: c}})
		}
	}
	i := c.Rel.Column(u.parent)
	before, after := valueOf(c.Before, c.Rel, i), valueOf(c.After, c.Rel, i)
	switch c.Op {
	case cdc.Create:
		add(after, cdc.Create)
	case cdc.Unlink:
		if before.State == cdc.Unknown {
			return append(dst, Contribution{Rule: u.Rule, Line: cdc.Line{Of: u.Field, Op: cdc.Unlink, Change: c}})
		}
		add(before, cdc.Unlink)
	case cdc.Write:
		switch moved, known := differ(before, after, 0); {
		case moved && known:
			add(before, cdc.Unlink)
			add(after, cdc.Create)
		case u.changed(c):
			add(after, cdc.Write)
		}
	}
	return dst
}

// changed says that a line's write changed what is shown of it; also when WAL does not hold the old row, and it may have.
func (u *Rollup) changed(c *cdc.Change) bool {
	return slices.ContainsFunc(u.columns, func(name string) bool {
		i := c.Rel.Column(name)
		changed, known := differ(valueOf(c.Before, c.Rel, i), valueOf(c.After, c.Rel, i), u.Table.Content(name))
		return i >= 0 && (changed || !known)
	})
}

// meant says that a change is for the rule: gathered ones are for those that gathered them.
func (m *Matcher) meant(r *Rule, c *cdc.Change) bool {
	if c.Gathered == nil {
		return !m.gathers || len(r.rollups) == 0
	}
	return c.Gathered.For == r.Name && len(r.rollups) > 0
}

// hasLines says that a write is one for the sake of its lines, whatever became of the record itself.
func hasLines(c *cdc.Change) bool { return c.Gathered != nil && len(c.Gathered.Lines) > 0 }

// blindLine is the table of a line that may not have changed at all, for WAL does not hold its old row; nil when there is none.
func blindLine(c *cdc.Change) *cdc.Relation {
	if c.Gathered == nil {
		return nil
	}
	for i := range c.Gathered.Lines {
		if line := &c.Gathered.Lines[i]; line.Op == cdc.Write && line.Change.Before.Image != cdc.ImageFull {
			return line.Change.Rel
		}
	}
	return nil
}

// complete gives a change that stands for its lines alone the rows that were looked up.
func (w *watched) complete(tx TxInfo, c *cdc.Change) {
	if c.Gathered == nil || c.Gathered.Own || c.After.Image != cdc.ImageUnknown || w.record == nil || tx.Related == nil {
		return
	}
	if id, ok := c.ID(); ok {
		if rows, fetched := tx.Related.Rows(w.record, id); fetched && len(rows) == 1 && rows[0].Image == cdc.ImageFull {
			c.Before, c.After = rows[0], rows[0]
		}
	}
}

// wanting is the row that complete lacks.
func (w *watched) wanting(tx TxInfo, c *cdc.Change) (Ref, bool) {
	id, ok := c.ID()
	if c.Gathered == nil || c.Gathered.Own || c.Gathered.Stray || c.After.Image != cdc.ImageUnknown || w.record == nil || !ok {
		return Ref{}, false
	}
	if tx.Related != nil {
		if _, fetched := tx.Related.Rows(w.record, id); fetched {
			return Ref{}, false // it is gone
		}
	}
	return Ref{Link: w.record, ID: id}, true
}
