package main

import (
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
	"walhook/rules"
)

// turns are the operations that Odoo makes of a write of the field active, and what they leave there.
var turns = map[string]bool{"archive": false, "unarchive": true}

// operation names what is imagined.
func (im *imagined) operation() string {
	if im.turn != "" {
		return im.turn
	}
	return im.change.Op.String()
}

// turnsOf are those of them that a rule lists.
func turnsOf(r *rules.Rule) (listed []string) {
	for _, op := range r.On {
		if _, ok := turns[op]; ok {
			listed = append(listed, op)
		}
	}
	return listed
}

// turn makes an imagined write archive its record, or bring it back. It returns what is made up for that.
func turn(r *rules.Rule, op string, before, after *rowDraft) (note string, err error) {
	column := rules.ActiveColumn(r.Table)
	if column == "" {
		return "", usagef("imagine a write: --op write", "%s has no field active: its records cannot be archived", r.Model)
	}
	i := after.rel.Column(column)
	if now := i >= 0 && string(after.values[i].Text) == "t"; now != turns[op] {
		note = fmt.Sprintf("the record is imagined as it is after %s: %s is %t now", map[string]string{"archive": "archiving", "unarchive": "unarchiving"}[op], column, now)
	}
	if err := after.set(column, turns[op]); err != nil {
		return "", err
	}
	return note, before.set(column, !turns[op])
}

// turnOf chooses what to imagine of a rule that is on no plain write: the one that has made the record what it is now, if the rule lists both.
func turnOf(r *rules.Rule, now *rowDraft) string {
	listed := turnsOf(r)
	if i := now.rel.Column(rules.ActiveColumn(r.Table)); i >= 0 && len(listed) == 2 {
		active := string(now.values[i].Text) == "t"
		return listed[slices.IndexFunc(listed, func(op string) bool { return turns[op] == active })]
	}
	return listed[0]
}

// turned says what a write did to the field active, of a rule that waits for something else.
func turned(r *rules.Rule, c *cdc.Change) string {
	column := rules.ActiveColumn(r.Table)
	switch op := rules.Turned(r.Table, c); op {
	case "":
		return column + " did not change"
	default:
		return fmt.Sprintf("%s became %t, which is %s", column, turns[op], op)
	}
}

// an puts the article before the name of an operation.
func an(op string) string {
	if strings.ContainsRune("aeiou", rune(op[0])) {
		return "an " + op
	}
	return "a " + op
}
