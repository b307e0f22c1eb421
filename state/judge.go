package state

import (
	"fmt"
	"strings"

	"walhook/cdc"
	"walhook/delivery"
)

// Difference is one part in which the source is not the one that the state belongs to.
type Difference struct {
	What          string // "database name"
	Stored, Found string
	Note          string // may be empty
}

// Parts that a change in place can explain; neutralized says by itself what is wrong.
const (
	databaseName = "database name"
	neutralized  = "database.is_neutralized"
)

// Differences lists in what a source differs from the stored binding. Timelines are left to Bind, which can ask for their history.
func (b Binding) Differences(found Binding) []Difference {
	var diff []Difference
	for _, part := range []Difference{
		{What: "cluster (system identifier)", Stored: b.SystemID, Found: found.SystemID},
		{What: "database oid", Stored: fmt.Sprint(b.DatabaseOID), Found: fmt.Sprint(found.DatabaseOID)},
		{What: "slot", Stored: b.Slot, Found: found.Slot},
		{What: databaseName, Stored: b.DatabaseName, Found: found.DatabaseName},
		{What: "database.uuid", Stored: b.UUID, Found: found.UUID},
		{What: "database.create_date", Stored: b.CreateDate, Found: found.CreateDate},
	} {
		if part.Stored != part.Found {
			diff = append(diff, part)
		}
	}
	if found.Neutralized && !b.Neutralized {
		diff = append(diff, Difference{What: neutralized, Stored: "false", Found: "true"})
	}
	return diff
}

// Mismatch is the error of a source that differs from the stored binding, nil when it does not.
func (b Binding) Mismatch(schema string, found Binding) error {
	if diff := b.Differences(found); len(diff) > 0 {
		return &MismatchError{Schema: schema, Differences: diff, SlotToMake: !b.sameDatabase(found)}
	}
	return nil
}

// sameDatabase says that LSNs of both mean the same. A slot of another name reads the same WAL.
func (b Binding) sameDatabase(found Binding) bool {
	return b.SystemID == found.SystemID && b.DatabaseOID == found.DatabaseOID
}

// MismatchError says that the state belongs to another source, or that the source is a neutralized copy
// (invariants 5, 8). Nothing may be sent.
type MismatchError struct {
	Schema      string
	Differences []Difference
	SlotToMake  bool // the slot is not there, or another database's: to adopt the source begins with setup
}

// Neutralized says that nothing but Odoo's mark of a copy for testing is in the way.
func (e *MismatchError) Neutralized() bool {
	return len(e.Differences) == 1 && e.Differences[0].What == neutralized
}

// Error lists the differences.
func (e *MismatchError) Error() string {
	if e.Neutralized() {
		return "the database is neutralized: it is a copy for testing, and production's webhooks must not fire from it"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the state schema %q belongs to another source:", e.Schema)
	for i, d := range e.Differences {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s was %q and is %q", d.What, d.Stored, d.Found)
		if d.Note != "" {
			b.WriteString(" (" + d.Note + ")")
		}
	}
	return b.String()
}

// Hint says what to do in either case.
func (e *MismatchError) Hint() string {
	adopt := "walhook run --adopt"
	if e.SlotToMake {
		adopt = "walhook setup --adopt (with a name in source.slot that is free); then: walhook run"
	}
	const pending = "\nThat sends what is pending too; to see how much: walhook endpoints list"
	if e.Neutralized() {
		return "leave it as it is, or if this database really is to send: " + adopt + pending
	}
	return "if this is a copy (staging, a restored backup), leave production's webhooks alone: give it its own [state] schema or dsn and its own source.slot, or remove walhook from it.\n" +
		"If the database was moved or renamed on purpose and the original no longer runs: " + adopt + pending
}

// judgement is what a comparison comes to.
type judgement struct {
	refusals []error           // nil when there is nothing to refuse
	position delivery.Position // to start from, once refusals are accepted
	lost     int64             // bytes of WAL that are skipped then; -1 when that cannot be told
	goesOn   bool              // it is the very same database, which was renamed or marked, and the slot goes on: no number can be given twice
}

// judge compares what was found with what is stored. It is pure, but for what opts asks the source. An
// error is one of asking.
func judge(schema string, stored Binding, at delivery.Position, bound bool, found Binding, opts BindOptions) (judgement, error) {
	if !bound {
		return judgeUnbound(schema, found, opts), nil
	}
	j := judgement{position: at}
	diff := stored.Differences(found)
	same := stored.sameDatabase(found)
	if same && stored.Timeline != found.Timeline {
		if note := acceptTimeline(stored.Timeline, found.Timeline, at.LSN, opts.Timeline); note != "" {
			diff = append(diff, Difference{What: "timeline", Stored: fmt.Sprint(stored.Timeline), Found: fmt.Sprint(found.Timeline), Note: note})
			same = false
		}
	}
	if len(diff) > 0 {
		j.refusals = append(j.refusals, &MismatchError{Schema: schema, Differences: diff})
	}
	if !same {
		j.position, j.lost = delivery.Position{LSN: opts.Start}, -1
		return j, nil
	}
	if opts.Start == 0 {
		return j, nil
	}
	var end cdc.LSN
	if opts.End != nil && at.LSN > opts.Start {
		var err error
		if end, err = opts.End(); err != nil {
			return j, err
		}
	}
	if err := cdc.CheckPosition(found.Slot, at.LSN, opts.Start, end); err != nil {
		j.refusals = append(j.refusals, err)
		j.position, j.lost = delivery.Position{LSN: opts.Start}, -1
		if opts.Start > at.LSN {
			j.lost = int64(opts.Start - at.LSN)
		}
		if j.lost > 0 && at.Open >= opts.Start { // a large transaction that is enqueued in part will be read again
			j.position.Open, j.position.Count = at.Open, at.Count
		}
		return j, nil
	}
	j.goesOn = stored.Timeline == found.Timeline && onlyRenamed(diff)
	return j, nil
}

// onlyRenamed says that nothing but the database's name, or Odoo's mark of a copy, is different. A copy of the database
// differs in its oid, one in another cluster in the system identifier.
func onlyRenamed(diff []Difference) bool {
	for _, d := range diff {
		if d.What != databaseName && d.What != neutralized {
			return false
		}
	}
	return true
}

// judgeUnbound is judge for a state that belongs to no source yet.
func judgeUnbound(schema string, found Binding, opts BindOptions) judgement {
	j := judgement{position: delivery.Position{LSN: opts.Start}, lost: -1}
	if opts.Created {
		return j // what Odoo says of itself is for the first run to judge
	}
	if found.Neutralized {
		j.refusals = append(j.refusals, &MismatchError{Schema: schema, Differences: []Difference{{What: neutralized, Stored: "false", Found: "true"}}})
	}
	if opts.Start != 0 {
		j.refusals = append(j.refusals, cdc.NoPosition(fmt.Sprintf("the state schema %q holds no position", schema), found.Slot, opts.Start))
	}
	return j
}

// adoption is what is noted when the refusals are accepted.
func (j judgement) adoption(at delivery.Position) *Adoption {
	a := &Adoption{From: at.LSN, To: j.position.LSN, Lost: j.lost, GoesOn: j.goesOn}
	for _, err := range j.refusals {
		a.Reasons = append(a.Reasons, err.Error())
	}
	return a
}

// acceptTimeline returns why a timeline is refused; "" when it is accepted.
func acceptTimeline(stored, found uint32, position cdc.LSN, decide func(stored, found uint32, position cdc.LSN) error) string {
	switch {
	case found < stored:
		return "an older timeline: this is not the server that walhook followed"
	case decide == nil:
		return "point-in-time recovery or failover"
	}
	if err := decide(stored, found, position); err != nil {
		return err.Error()
	}
	return ""
}
