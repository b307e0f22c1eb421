package storm

import (
	"context"
	"math/rand/v2"
)

// Fault is one way in which the world breaks. It repairs what it broke before it returns, or registers a repair with
// [World.Repair], which runs before the check. Faults are injected one after the other.
//
// It draws whatever is at random from rnd alone, and waits for conditions rather than for time where it can.
type Fault interface {
	// Name is its kind, as the report counts it: "sigkill", "source restart, immediate".
	Name() string

	// Inject does it. The count is how many faults of the kind that was (sessions ended, requests failed): 0 if it found nothing to break, which
	// is no error. An error fails the round: it is for what the harness could not do, never for what walhook did.
	Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error)
}

// weighted is a fault that says how often it is drawn; others have the weight 10.
type weighted interface{ Weight() int }

// costly is a fault that takes many seconds: the short form, and rounds that are in a hurry, leave it out.
type costly interface{ Costly() bool }

// allFaults are all kinds.
func allFaults() []Fault {
	var all []Fault
	for _, some := range [][]Fault{processFaults, serverFaults, sessionFaults, networkFaults, receiverFaults, certificateFaults, ddlFaults, clockFaults, diskFaults, slotFaults, backfillFaults} {
		all = append(all, some...)
	}
	return all
}
