package main

import (
	"fmt"

	"walhook/cdc"
	"walhook/state"
)

// oldSlot says what is left to do after another slot has taken the place of the one that was read before; "" for nothing.
func oldSlot(a *state.Adoption) string {
	if a.OldSlot == "" {
		return ""
	}
	return fmt.Sprintf("the slot %[1]q is not read any more; if it is still there, it keeps WAL until the disk is full: SELECT pg_drop_replication_slot('%[1]s')", a.OldSlot)
}

// noteAdoption logs what the operator accepted on purpose, with the gap that it leaves. asked is --adopt: left in a unit file,
// it would accept the next gap or copy, too.
func (p *pipeline) noteAdoption(a *state.Adoption, asked bool) {
	if a == nil {
		if asked {
			p.log.Warn().Str("hint", "start it without --adopt from now on").Msg("there was nothing to adopt")
		}
		return
	}
	e := p.log.Warn().Strs("reasons", a.Reasons).Stringer("from", a.From).Stringer("to", a.To).Int64("epoch", a.Epoch)
	switch {
	case a.Lost > 0:
		e = e.Int64("lost_bytes", a.Lost).Str("lost", cdc.BytesText(a.Lost))
	case a.Lost < 0:
		e = e.Str("lost", "unknown")
	}
	if hint := oldSlot(a); hint != "" {
		e = e.Str("hint", hint)
	}
	if a.GoesOn {
		e.Msg("adopted: it is the same database and slot, nothing was lost, and the sequences of all endpoints go on")
		return
	}
	e.Msg("adopted: changes between these positions were not sent, and the sequences of all endpoints begin anew")
}
