package main

import (
	"context"
	"fmt"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/state"
)

// binding is the identity of the source as it was found (invariant 8).
type binding state.Binding

// bindingOf reads the identity out of what was found. A nil catalog leaves out what Odoo says of itself.
func bindingOf(f *cdc.Facts, cat *catalog.Catalog, slot string) binding {
	b := binding{SystemID: f.SystemID, Timeline: f.Timeline, DatabaseOID: f.DatabaseOID, DatabaseName: f.Database, Slot: slot}
	if cat != nil && cat.Odoo != nil {
		b.UUID, b.CreateDate = cat.Odoo.UUID, cat.Odoo.CreateDate
	}
	return b
}

// differences lists in what a source differs from the stored one, without touching the state. Timelines are left
// to the run, which can ask the server for their history.
func (b binding) differences(stored state.Binding) []state.Difference {
	var diff []state.Difference
	for _, part := range []struct{ what, stored, found string }{
		{"cluster (system identifier)", stored.SystemID, b.SystemID},
		{"database oid", fmt.Sprint(stored.DatabaseOID), fmt.Sprint(b.DatabaseOID)},
		{"slot", stored.Slot, b.Slot},
		{"database name", stored.DatabaseName, b.DatabaseName},
		{"database.uuid", stored.UUID, b.UUID},
		{"database.create_date", stored.CreateDate, b.CreateDate},
	} {
		if part.stored != part.found {
			diff = append(diff, state.Difference{What: part.what, Stored: part.stored, Found: part.found})
		}
	}
	return diff
}

// start is where a state that is bound for the first time begins: where the slot stands.
func startOf(f *cdc.Facts) (cdc.LSN, error) {
	if f.Slot == nil {
		return 0, &cdc.SlotError{Slot: f.SlotName, Problem: cdc.SlotMissing, Detail: "there is no such slot on this server", Remedy: "walhook setup"}
	}
	return f.Slot.Confirmed, nil
}

// bind ties the state to the source, or makes sure that it is (invariants 5 and 8).
func (c *Config) bind(ctx context.Context, db *state.DB, f *cdc.Facts, cat *catalog.Catalog, adopt bool) (boundAt, error) {
	found := state.Binding(bindingOf(f, cat, c.Source.Slot))
	stored, was, err := db.Bound(ctx)
	if err != nil {
		return boundAt{}, environmentError(err, "")
	}
	start, err := startOf(f)
	if err != nil {
		return boundAt{}, environmentError(err, "")
	}
	position, err := db.Bind(ctx, found, state.BindOptions{
		Start: start, Adopt: adopt,
		Timeline: func(from, _ uint32, position cdc.LSN) error {
			return cdc.CheckTimeline(ctx, c.Source.DSN.reveal(), from, position)
		},
	})
	if err != nil {
		return boundAt{}, environmentError(fmt.Errorf("identity check: %w", err), "")
	}
	return boundAt{lsn: position.LSN, position: position, identity: found, fresh: !was, adopted: was && stored != found}, nil
}

// boundAt is what came of binding the state to the source.
type boundAt struct {
	lsn      cdc.LSN // where the stream starts
	position delivery.Position
	identity state.Binding
	fresh    bool // the state was bound for the first time
	adopted  bool // it belonged to another source before
}
