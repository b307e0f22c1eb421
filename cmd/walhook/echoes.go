package main

import (
	"fmt"

	"walhook/cdc"
)

// onlyEchoes says that rules match, and each leaves the change out, as one of its ignore_users has made it.
func (p *planned) onlyEchoes() bool {
	return len(p.ignored) > 0 && len(p.ignored) == len(p.matched)
}

// leftOut says of a change that ignore_users leaves out whose it is.
func leftOut(c *cdc.Change) string {
	if id := (&viewer{}).user(c.Row()); id != 0 {
		return fmt.Sprintf("ignore_users leaves out what user %d writes", id)
	}
	return "ignore_users leaves out who made it"
}

// writeAnew makes the draft of a row before an imagined write one that somebody else has left. A write that leaves write_uid and write_date as they
// were was made past Odoo, and is nobody's.
func (d *rowDraft) writeAnew() {
	if i := d.rel.Column("write_uid"); i >= 0 {
		d.values[i] = cdc.Value{State: cdc.Null, Type: d.rel.Columns[i].Type}
	}
}
