package rules

import (
	"fmt"
	"slices"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// The operations that Odoo has no statement for: a write that turns a record's active flag off or on.
const (
	opArchive   = "archive"
	opUnarchive = "unarchive"
)

// archiving is what a rule makes of writes that archive a record, or bring it back. The zero value makes nothing of them: they are writes.
type archiving struct {
	archive, unarchive bool   // the rule lists them
	write              bool   // it lists write, too: it takes all other writes
	column             string // that says whether a record is active
}

func (a *archiving) on() bool { return a.archive || a.unarchive }

// turn tells which of the listed operations a write is; "" when it is none of them. known is false when that takes the old row, and WAL
// does not hold it.
func (a *archiving) turn(c *cdc.Change) (op string, known bool) {
	i := c.Rel.Column(a.column)
	after := valueOf(c.After, c.Rel, i)
	if after.State == cdc.Unknown {
		return "", false
	}
	active := isTrue(after) // NULL is false, as for Odoo
	if active && !a.unarchive || !active && !a.archive {
		return "", true
	}
	before := valueOf(c.Before, c.Rel, i)
	switch {
	case before.State == cdc.Unknown:
		return "", false
	case isTrue(before) == active:
		return "", true
	case active:
		return opUnarchive, true
	}
	return opArchive, true
}

// Lists says that the rule is on what a change is for it, or may be: whether a write archived its record cannot be told without the old row.
func (r *Rule) Lists(c *cdc.Change) bool { return r.on(c.Op) && r.takes(c) }

// Turned tells which of archive and unarchive a change is, whatever rules list; "" when it is neither, or that cannot be told.
func Turned(t *catalog.Table, c *cdc.Change) string {
	column := ActiveColumn(t)
	if column == "" || c.Op != cdc.Write {
		return ""
	}
	op, _ := (&archiving{archive: true, unarchive: true, column: column}).turn(c)
	return op
}

// ActiveColumn is the column of a table that says whether a record is active; "" when its records cannot be archived.
func ActiveColumn(t *catalog.Table) string {
	for _, name := range []string{"active", "x_active"} { // x_active in models made in Odoo's interface
		if column := t.Column(name); column != nil && kindOf(column) == cdc.KindBool {
			return name
		}
	}
	return ""
}

// operation is what a change is for the rule; "" when the rule takes no such change. known is false when that can't be told.
func (r *Rule) operation(c *cdc.Change) (op string, known bool) {
	if c.Op == cdc.Message && !r.Hears(c) {
		return "", true
	}
	found := lookedAt(c)
	if found && (c.Op == cdc.Create || !r.archiving.on()) {
		return c.Origin.String(), true
	}
	if c.Op != cdc.Write || !r.archiving.on() {
		return c.Op.String(), true
	}
	op, known = r.archiving.turn(c)
	if op == "" && r.archiving.write {
		op = cdc.Write.String()
	}
	if found && op != "" {
		op = c.Origin.String()
	}
	return op, known
}

// lookedAt says that a change is a row that was looked at, which no transaction that was read has written so.
func lookedAt(c *cdc.Change) bool {
	return c.Origin != cdc.FromWAL && (c.Op == cdc.Create || c.Op == cdc.Write)
}

// takes says that a change of an operation that the rule is on may be one of its events.
func (r *Rule) takes(c *cdc.Change) bool {
	op, known := r.operation(c)
	return op != "" || !known
}

// Op names what a change is for the rule: "create", "write", "unlink", and for a rule that lists them "archive" and "unarchive". The change
// must be one that the rule matched.
func (r *Rule) Op(c *cdc.Change) string {
	if op, _ := r.operation(c); op != "" {
		return op
	}
	return c.Op.String()
}

// EventOf returns the event type of a change that the rule matched: the rule's own, or "<model>.<op>", or for a message its own name.
func (r *Rule) EventOf(c *cdc.Change) string {
	switch {
	case r.Event != "":
		return r.Event
	case c.Op == cdc.Message:
		return messageText(c, cdc.MessageEvent)
	}
	return r.Model + "." + r.Op(c)
}

// operation is op: what the change is for the rule that is evaluated.
func (f *frame) operation() any {
	if lookedAt(f.change) {
		return f.change.Origin.String()
	}
	if f.rule == nil || f.change.Op != cdc.Write || !f.rule.archiving.on() {
		return opNames[f.change.Op]
	}
	op, known := f.rule.operation(f.change)
	if !known {
		panic(&MissingError{Name: nameOp, Rel: f.change.Rel, Err: ErrNoOldRow})
	}
	switch op {
	case opArchive:
		return any(opArchive)
	case opUnarchive:
		return any(opUnarchive)
	}
	return opNames[f.change.Op]
}

// archivingOf reads archive and unarchive in on, which operations has let pass.
func (c *ruleCompiler) archivingOf(s shape) archiving {
	a := archiving{archive: slices.Contains(c.config.On, opArchive), unarchive: slices.Contains(c.config.On, opUnarchive),
		write: slices.Contains(c.config.On, cdc.Write.String())}
	if !a.on() {
		return a
	}
	if a.column = ActiveColumn(s.table); a.column != "" {
		return a
	}
	name := opArchive
	if !a.archive {
		name = opUnarchive
	}
	c.fail(fmt.Sprintf("on[%d]", slices.Index(c.config.On, name)), fmt.Sprintf("%s has no field active: its records cannot be archived", s.name), `write "write" or "unlink"`)
	return archiving{}
}
