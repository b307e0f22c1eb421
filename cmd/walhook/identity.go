package main

import (
	"context"
	"errors"
	"fmt"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/state"
)

// bindingOf reads the identity of the source out of what was found (invariant 8). A nil catalog leaves out what Odoo says of itself.
func bindingOf(f *cdc.Facts, cat *catalog.Catalog, slot string) state.Binding {
	b := state.Binding{SystemID: f.SystemID, Timeline: f.Timeline, DatabaseOID: f.DatabaseOID, DatabaseName: f.Database, Slot: slot}
	if cat != nil && cat.Odoo != nil {
		b.UUID, b.CreateDate, b.Neutralized = cat.Odoo.UUID, cat.Odoo.CreateDate, cat.Odoo.Neutralized
	}
	return b
}

// bindOptions is what the state needs to know of the source to judge its own position. done closes what it has opened.
func (c *Config) bindOptions(ctx context.Context, f *cdc.Facts) (opts state.BindOptions, done func(), err error) {
	if f.InRecovery {
		timeline, err := cdc.Timeline(ctx, c.Source.DSN.reveal())
		if err != nil {
			return state.BindOptions{}, nil, environmentError(err, "")
		}
		f.Timeline = timeline
	}
	live, err := cdc.NewLive(c.Source.DSN.reveal(), "command", nil)
	if err != nil {
		return opts, nil, environmentError(err, "")
	}
	opts = state.BindOptions{
		Timeline: func(from, _ uint32, position cdc.LSN) error {
			return cdc.CheckTimeline(ctx, c.Source.DSN.reveal(), from, position)
		},
		End: func() (cdc.LSN, error) {
			health, err := live.Health(ctx, c.Source.Slot)
			if err != nil {
				return 0, err
			}
			return health.End, nil
		},
	}
	if slotThere(f) {
		opts.Start = f.Slot.Confirmed
	}
	return opts, live.Close, nil
}

// slotThere says that the slot is one that can be streamed from.
func slotThere(f *cdc.Facts) bool {
	return f.Slot != nil && f.Slot.Database == f.Database && !f.Slot.Lost()
}

// judge says what run would refuse about the state, without changing anything (invariants 1, 5 and 8).
func (c *Config) judge(ctx context.Context, db *state.DB, f *cdc.Facts, cat *catalog.Catalog) error {
	opts, done, err := c.bindOptions(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	err = db.Compare(ctx, bindingOf(f, cat, c.Source.Slot), opts)
	return slotToMake(err, f)
}

// slotToMake completes the remedy of a mismatch: where there is no slot, run cannot adopt anything.
func slotToMake(err error, f *cdc.Facts) error {
	for _, e := range flatten(err) {
		var mismatch *state.MismatchError
		if errors.As(e, &mismatch) {
			mismatch.SlotToMake = !slotThere(f)
		}
	}
	return err
}

// recall looks into the state for what is to be said of a slot that is not there or lost: how far the state had come. When the state belongs to
// another source, that explains the slot, and is returned. What keeps the state from being read is for others to tell.
func (c *Config) recall(ctx context.Context, f *cdc.Facts, cat *catalog.Catalog) error {
	if slotThere(f) {
		return nil
	}
	db, err := state.Open(ctx, c.state(currentBuild().Version))
	if err != nil {
		return nil
	}
	defer closeState(db)
	var version *state.VersionError
	if errors.As(db.Check(ctx), &version) {
		return nil
	}
	var mismatch *state.MismatchError
	if err := c.judge(ctx, db, f, cat); errors.As(err, &mismatch) && !mismatch.Neutralized() {
		return environmentError(mismatch, "")
	}
	if position, err := db.StoredPosition(ctx); err == nil {
		if f.Position = position.LSN; f.Position != 0 {
			f.Gap = c.gapText(ctx, db, f.Position)
		}
	}
	return nil
}

// lostState explains why the schema that run needs is not there although a slot is: it was lost.
func (c *Config) lostState(err error, f *cdc.Facts) error {
	var version *state.VersionError
	if errors.As(err, &version) && version.Have == 0 && slotThere(f) {
		return cdc.NoPosition(version.Error(), c.Source.Slot, f.Slot.Confirmed)
	}
	return err
}

// boundAt is what came of binding the state to the source.
type boundAt struct {
	lsn      cdc.LSN // where the stream starts
	position delivery.Position
	identity state.Binding
	fresh    bool            // the state was bound for the first time
	adoption *state.Adoption // nil when nothing had to be adopted
}

// bind ties the state to the source, or makes sure that it is (invariants 5 and 8). created says that the slot was made
// just now.
func (c *Config) bind(ctx context.Context, db *state.DB, f *cdc.Facts, cat *catalog.Catalog, created, adopt bool) (boundAt, error) {
	if f.Slot == nil {
		return boundAt{}, environmentError(&cdc.SlotError{Slot: f.SlotName, Problem: cdc.SlotMissing, Detail: "there is no such slot on this server", Remedy: "walhook setup"}, "")
	}
	opts, done, err := c.bindOptions(ctx, f)
	if err != nil {
		return boundAt{}, err
	}
	defer done()
	opts.Created, opts.Adopt = created, adopt
	found := bindingOf(f, cat, c.Source.Slot)
	start, err := db.Bind(ctx, found, opts)
	if err != nil {
		var all []error
		for _, e := range flatten(c.tellStoredGap(ctx, db, slotToMake(err, f))) {
			all = append(all, environmentError(fmt.Errorf("identity check: %w", e), ""))
		}
		return boundAt{}, errors.Join(all...)
	}
	return boundAt{lsn: start.Position.LSN, position: start.Position, identity: found, fresh: start.Fresh, adoption: start.Adoption}, nil
}

// sameSource makes sure, for a command that makes deliveries due or gives them up, that the state belongs to the database of
// source.dsn and that this is no neutralized copy (invariant 5).
func (c *Config) sameSource(ctx context.Context, db *state.DB) error {
	stored, bound, err := db.Bound(ctx)
	if err != nil || !bound {
		return environmentError(err, "")
	}
	conn, err := connect(ctx, "source.dsn", c.Source.DSN.reveal())
	if err != nil {
		return err
	}
	defer closeConn(conn)
	schema, err := catalog.OdooSchema(ctx, conn)
	if err != nil {
		return environmentError(err, "")
	}
	id, err := cdc.ReadIdentity(ctx, conn, schema)
	if err != nil {
		return environmentError(err, "")
	}
	return environmentError(stored.Mismatch(c.State.Schema, identityOf(&id, stored, c.Source.Slot)), "")
}

// identityOf makes a binding of what a look at the source tells. The timeline, which it does not tell, is as it was.
func identityOf(id *cdc.Identity, was state.Binding, slot string) state.Binding {
	return state.Binding{
		SystemID: id.SystemID, Timeline: was.Timeline, DatabaseOID: id.DatabaseOID, DatabaseName: id.DatabaseName, Slot: slot,
		UUID: id.Parameters[cdc.ParameterUUID], CreateDate: id.Parameters[cdc.ParameterCreateDate],
		Neutralized: catalog.Truthy(id.Parameters[cdc.ParameterNeutralized]),
	}
}
