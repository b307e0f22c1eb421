package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"walhook/cdc"
)

// Group are the lines of a record that go out together. It is valid until the related rows are fetched anew.
type Group struct {
	By        Result   // what they have in common; of a line by itself its id
	Alone     bool     // it is a line by itself: the rule does not say by what to group
	Index, Of int      // its number among the groups of the event, from 1
	Key       string   // tells it from the others; the same lines' values make the same key each time
	Endpoints []string // where it goes: none when the rule drops it

	link  *Link
	lines map[string]bool // by id
	rows  map[*Link][]cdc.Row
}

// Splits says that the rule makes a delivery for each line or group of lines: [Matcher.Groups].
func (r *Rule) Splits() bool { return r.splitting != nil }

// Groups returns the groups of lines of a change that a rule matched, in the order of their first lines. There are none for a record without
// lines, or one that was deleted. The error is an *EvalError.
func (m *Matcher) Groups(r *Rule, tx TxInfo, c *cdc.Change) (groups []*Group, err error) {
	p := r.splitting
	if c.Op == cdc.Unlink {
		return nil, nil
	}
	if err := m.Begin(r, tx, c); err != nil {
		return nil, err
	}
	defer p.lines.recover(r, &err)
	fail := func(o *Output, format string, args ...any) error {
		return &EvalError{Rule: r.Name, Path: o.key, Offset: -1, Err: fmt.Errorf(format, args...)}
	}
	byKey := map[string]*Group{}
	n, err := m.frame.visit(p.lines.place, maxSplitLines, func() error {
		if p.lines.where != nil {
			v, err := m.run(r, p.lines.where)
			if ok, _ := v.(bool); !ok || err != nil {
				return err
			}
		}
		by, err := m.Value(r, &p.by)
		if err != nil {
			return err
		}
		text, ok := by.key()
		if !ok {
			return fail(&p.by, "the value is a list or an object: lines are grouped by a single value")
		}
		key := "by " + text
		switch {
		case p.alone:
			key = "id " + text
		case by.Null():
			key = "null"
		}
		g := byKey[key]
		if g == nil {
			if len(groups) == maxSplitGroups {
				return fail(&p.lines, "the lines make more than %d groups, which is the limit: group them by what fewer values have, or leave some out with where", maxSplitGroups)
			}
			g = &Group{By: by, Alone: p.alone, Index: len(groups) + 1, Key: key, Endpoints: p.to(text, by.Null()), link: p.lines.place.link, lines: map[string]bool{}, rows: map[*Link][]cdc.Row{}}
			byKey[key], groups = g, append(groups, g)
		}
		g.lines[lineID(m.frame.places[p.lines.place.index].own)] = true
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case n > maxSplitLines:
		return nil, fail(&p.lines, "%s has more than %d rows, which is the limit of a split", p.lines.place.name, maxSplitLines)
	}
	for _, g := range groups {
		g.Of = len(groups)
	}
	return groups, nil
}

// to is where the group of a value goes.
func (p *splitting) to(text string, null bool) []string {
	if name, ok := p.endpoints[text]; ok && !null {
		return []string{name}
	}
	return p.other
}

// Within shows nothing of the lines but those of a group, after [Matcher.Begin] and until the matcher moves on.
func (m *Matcher) Within(g *Group) { m.frame.group = g }

// only picks the group's lines from the rows of a link.
func (g *Group) only(l *Link, rows []cdc.Row) []cdc.Row {
	if !l.relates(g.link) {
		return rows
	}
	picked, ok := g.rows[l]
	if !ok {
		for _, row := range rows {
			if g.lines[lineID(row)] {
				picked = append(picked, row)
			}
		}
		g.rows[l] = picked
	}
	return picked
}

func lineID(row cdc.Row) string {
	return string(row.Value(row.Relation().Column(byID)).Text)
}

// key is a single value as text; "" of NULL. It reports false for lists and objects.
func (v *Result) key() (string, bool) {
	if v.Null() {
		return "", true
	}
	if v.Stored {
		text := string(v.Column.Text)
		if v.Column.Type == nil {
			return text, true
		}
		switch v.Column.Type.Kind {
		case cdc.KindBool:
			return strconv.FormatBool(text == "t"), true
		case cdc.KindNumeric:
			return trimZeros(text), true
		case cdc.KindArray, cdc.KindBytes:
			return "", false
		}
		return text, true
	}
	switch x := v.Other.(type) {
	case string:
		return x, true
	case bool:
		return strconv.FormatBool(x), true
	case int64:
		return strconv.FormatInt(x, 10), true
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64), true
	case cdc.Numeric:
		return trimZeros(string(x)), true
	case time.Time:
		return x.UTC().Format(time.RFC3339Nano), true
	}
	return "", false
}

// trimZeros makes one text of 10.0 and 10.00, which are one number.
func trimZeros(number string) string {
	if !strings.Contains(number, ".") {
		return number
	}
	return strings.TrimSuffix(strings.TrimRight(number, "0"), ".")
}
