package cdc

import "fmt"

// adoptSlot is the way on from where the slot stands when the changes before it can no longer be read.
const adoptSlot = "walhook run --adopt   (goes on from the slot without these changes: the gap is recorded, what is pending is kept)"

// repair is the way on that sends what was missed, as far as it can be known; what it cannot know, walhook resync --dry-run says.
const repair = "walhook resync   (makes the slot anew and sends what was written meanwhile, from write_date); then: walhook run"

// StartOver is what remains when a slot is gone.
const StartOver = repair + "\nOr without a repair: drop the slot if the server still lists it (SELECT pg_drop_replication_slot), then: walhook setup; then: " + adoptSlot

// CheckPosition compares a position with where its slot stands and with the end of the server's WAL, both of the same database: it
// returns a *[PositionError] when changes were confirmed that the position does not cover (invariant 1), or when
// the position lies beyond what the server has written (trap 5). end must be read after position was; 0 leaves that comparison out.
func CheckPosition(slot string, position, confirmed, end LSN) error {
	if confirmed > position {
		return &PositionError{Problem: PositionBehind, Position: position, Server: confirmed,
			Detail: fmt.Sprintf("the state ends at %s, but the slot %q was confirmed up to %s: the changes in these %s of WAL can no longer be read",
				position, slot, confirmed, bytesText(int64(confirmed-position))),
			Remedy: "the state was restored from an older dump, or the slot was made again or advanced by hand.\n" +
				"If there is a newer dump of the state, restore it. Otherwise: walhook resync   (goes on from the slot, and sends what was written meanwhile, from write_date)\n" +
				"Or without a repair: " + adoptSlot}
	}
	if end != 0 && position > end {
		return &PositionError{Problem: PositionAhead, Position: position, Server: end,
			Detail: fmt.Sprintf("%s was processed already, but the server's WAL ends %s earlier, at %s: changes up to there would be lost silently",
				position, bytesText(int64(position-end)), end),
			Remedy: "the server was restored from a backup, or a standby took over that had not received everything. If that is to stay: " + adoptSlot}
	}
	return nil
}

// NoPosition says that nothing is known of what was processed, although there is a slot that may have been read from: the
// state was lost, or somebody else made the slot. what describes the state.
func NoPosition(what, slot string, confirmed LSN) error {
	return &PositionError{Problem: PositionNone, Server: confirmed,
		Detail: fmt.Sprintf("%s, but the slot %q is there, confirmed up to %s: what was processed up to there, and what of it was still to be sent, is not known", what, slot, confirmed),
		Remedy: "if the state was lost, restore its dump (in place of an empty schema, if there is one), then: walhook run\n" +
			"Without a dump, or if the slot was made by hand: walhook setup; then: walhook run --adopt   (begins where the slot stands; nothing from before it is sent)"}
}

// Since completes an error about a slot that is missing, lost or too old with what the state holds and where WAL ends: what cannot be read
// any more. Position 0 means that the state holds none, and changes nothing.
func (e *SlotError) Since(position, end LSN) *SlotError {
	if position != 0 && (e.Problem == SlotMissing || e.Problem == SlotLost || e.Problem == SlotTooOld) {
		e.Position, e.End = position, end
	}
	return e
}

// gap words what Since has set; "" without.
func (e *SlotError) gap() string {
	switch {
	case e.Position == 0:
		return ""
	case e.End <= e.Position:
		return fmt.Sprintf("; the state ends at %s", e.Position)
	}
	return fmt.Sprintf("; the state ends at %s, the server's WAL at %s: the changes in these %s of WAL can no longer be read", e.Position, e.End, bytesText(int64(e.End-e.Position)))
}

func missingSlot(name string, err error) *SlotError {
	return &SlotError{Slot: name, Problem: SlotMissing, Detail: "there is no such slot on this server", Err: err, Remedy: "walhook setup"}
}

func lostSlot(name, why string, err error) *SlotError {
	return &SlotError{Slot: name, Problem: SlotLost, Detail: why, Err: err,
		Raise:  lostRemedy(""),
		Remedy: fmt.Sprintf("SELECT pg_drop_replication_slot(%s); then: walhook setup", quoteText(name))}
}
