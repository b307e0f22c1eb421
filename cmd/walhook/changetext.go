package main

import (
	"fmt"
	"strconv"
	"strings"

	"walhook/cdc"
)

// changeText writes the change of a parked event for people: what changed first, then the other columns. Columns of which
// nothing is known, secrets among them, are named at the end, and apart from them those that are masked (nil: none).
func changeText(c *cdc.Change, masks func(rel *cdc.Relation, column string) bool) string {
	var changed, other, unknown, masked []string
	rel := c.Row().Relation()
	if rel == nil {
		return ""
	}
	for i, column := range rel.Columns {
		row := c.Row()
		now, was := row.Value(i), cdc.Value{}
		if before := c.Before.Relation(); c.Op != cdc.Unlink && before != nil {
			was = c.Before.Value(before.Column(column.Name))
		}
		switch {
		case masks != nil && masks(rel, column.Name):
			masked = append(masked, column.Name)
		case now.State == cdc.Unknown && was.State == cdc.Unknown:
			unknown = append(unknown, column.Name)
		case now.State == cdc.Unknown:
			other = append(other, column.Name+": "+valueText(was))
		case was.State == cdc.Unknown || was.Equal(now):
			other = append(other, column.Name+": "+valueText(now))
		default:
			changed = append(changed, fmt.Sprintf("%s: %s -> %s", column.Name, valueText(was), valueText(now)))
		}
	}
	lines := append(changed, other...)
	if len(unknown) > 0 {
		lines = append(lines, "not known or left out: "+strings.Join(unknown, ", "))
	}
	if len(masked) > 0 {
		lines = append(lines, "masked: redact: "+strings.Join(masked, ", "))
	}
	return strings.Join(lines, "\n  ")
}

// longestValue is how much of a value people are shown; --json has all of it.
const longestValue = 200

// valueText writes a value in one line: text as it is unless that could be mistaken.
func valueText(v cdc.Value) string {
	if v.State == cdc.Null {
		return "NULL"
	}
	text := shorten(string(v.Text), longestValue)
	if quoted := strconv.Quote(text); text == "" || text == "NULL" || strings.TrimSpace(text) != text || quoted != `"`+strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`)+`"` {
		return quoted
	}
	return text
}
