package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"walhook/cdc"
)

// jsonValue makes what expressions give writable as JSON with all digits.
func jsonValue(v any) any {
	if n, ok := v.(cdc.Numeric); ok && n.Finite() {
		return json.Number(n)
	}
	return v
}

// valueShown writes a value in one line.
func valueShown(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04:05.999999 UTC")
	case cdc.Numeric:
		return string(v)
	}
	return shownJSON(v)
}

// explanation prints it: the verdict, what was looked at, and the condition as a tree.
func (t *terminal) explanation(e *explanation) error {
	var b strings.Builder
	fmt.Fprintf(&b, "rule %s on %s of %s/%s: %s\n", t.paint(bold, e.Rule), an(e.Op), e.Model, e.Record, t.verdict(e.Matches, e.Verdict))
	for _, note := range e.Notes {
		fmt.Fprintf(&b, "%s %s\n", t.paint(yellow, "note:"), note)
	}
	b.WriteByte('\n')
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "  %s  %-9s  %s\n", t.mark(s.OK), s.Name, s.Text)
	}
	if e.Condition != nil {
		b.WriteByte('\n')
		lines := t.tree(nil, e.Condition, 0)
		widest := 0
		for _, l := range lines {
			widest = max(widest, displayWidth(l[0]))
		}
		widest = min(widest, 80)
		for _, l := range lines {
			fmt.Fprintf(&b, "  %s%s  %s\n", l[0], strings.Repeat(" ", max(0, widest-displayWidth(l[0]))), l[1])
		}
	}
	return t.say(strings.TrimRight(b.String(), "\n"))
}

func (t *terminal) mark(ok bool) string {
	if ok {
		return t.paint(green, "yes")
	}
	return t.paint(red, "no ")
}

func (t *terminal) verdict(ok bool, text string) string {
	if ok {
		return t.paint(green, text)
	}
	return t.paint(red, text)
}

// tree lists the pieces of a condition with their values, each level indented.
func (t *terminal) tree(lines [][2]string, p *explainPart, depth int) [][2]string {
	text, value := strings.Repeat("  ", depth)+plainLine(p.Text), valueShown(p.Value)
	switch {
	case p.Error != "":
		value = t.paint(red, "fails: "+p.Error)
	case p.Value == true:
		value = t.paint(green, value)
	case p.Value == false:
		value = t.paint(red, value)
	}
	if !p.Needed {
		text, value = t.paint(dim, text), value+t.paint(dim, " (not needed)")
	}
	lines = append(lines, [2]string{text, value})
	for _, sub := range p.Parts {
		lines = t.tree(lines, sub, depth+1)
	}
	return lines
}
