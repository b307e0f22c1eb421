package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/rules"
	"walhook/state"
)

// reservation makes or drops a slot for backtests.
func (a *app) reservation(ctx context.Context, f *backtestFlags, names []string) error {
	if len(names) > 0 {
		return usagef("name rules when the slot is read, with --slot", "a slot is reserved for all rules")
	}
	return a.withWorkbench(ctx, func(w *workbench) error {
		if f.release != "" {
			return w.release(ctx, a, f.release)
		}
		return w.reserve(ctx, a, f)
	})
}

// reserve notes the slot first and makes it then: a slot that nobody knows of would keep WAL for ever. Before that it makes sure that nobody has one of
// that name, and afterwards it notes by what its own is known: nothing else is ever dropped.
func (w *workbench) reserve(ctx context.Context, a *app, f *backtestFlags) error {
	var limit size
	if err := limit.UnmarshalText([]byte(f.limit)); err != nil || limit < 32<<20 {
		return usagef("write --limit 1GiB, at least 32MiB", "--limit %q is no size for a slot", f.limit)
	}
	if f.reserve == w.cfg.Source.Slot {
		return usagef("choose another name", "%q is the slot that walhook run streams from", f.reserve)
	}
	db, err := w.openState(ctx)
	if err != nil {
		return err
	}
	defer closeState(db)
	if err := cdc.CanReserve(ctx, w.conn, f.reserve, w.cfg.Source.Publication); err != nil {
		return environmentError(err, "")
	}
	if err := db.Reserve(ctx, f.reserve, int64(limit)); err != nil {
		return environmentError(err, "choose another name, or give it back first: walhook rules backtest --release "+f.reserve)
	}
	start, err := cdc.Reserve(ctx, w.conn, f.reserve, w.cfg.Source.Publication, func(who []cdc.Blocker) {
		for _, b := range who {
			fmt.Fprintf(a.stderr, "waiting for %s\n", b)
		}
	})
	if err != nil {
		return environmentError(errors.Join(err, w.notMade(ctx, db, f.reserve, err)), "")
	}
	if err := db.Reserved(context.WithoutCancel(ctx), f.reserve, start); err != nil {
		_, dropErr := cdc.Release(context.WithoutCancel(ctx), w.conn, f.reserve, start)
		if dropErr == nil {
			dropErr = db.Release(context.WithoutCancel(ctx), f.reserve)
		}
		return environmentError(errors.Join(err, dropErr), "")
	}
	return a.terminal().say(fmt.Sprintf("slot %s keeps changes from %s on, up to %s of WAL. Try rules on them with:\n  walhook rules backtest --slot %s\nand give it back with:\n  walhook rules backtest --release %s",
		f.reserve, start, cdc.BytesText(int64(limit)), f.reserve, f.reserve))
}

// notMade forgets a slot that could not be made. If it may be there all the same, as the answer was lost, its name stays noted: check tells of it.
func (w *workbench) notMade(ctx context.Context, db *state.DB, slot string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if refused := (*cdc.RefusedError)(nil); !errors.As(why, &refused) {
		there, err := cdc.HasSlot(ctx, w.conn, slot)
		if err == nil && there {
			err = fmt.Errorf("slot %q may have been made: if nobody else uses it, SELECT pg_drop_replication_slot('%s') and then walhook rules backtest --release %s", slot, slot, slot)
		}
		if err != nil {
			return err
		}
	}
	return db.Release(ctx, slot)
}

// release drops the slot if it is the one that was reserved, and forgets it. Whatever else has its name by now stays.
func (w *workbench) release(ctx context.Context, a *app, slot string) error {
	db, err := w.openState(ctx)
	if err != nil {
		return err
	}
	defer closeState(db)
	list, err := db.Reservations(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	var names []string
	for _, r := range list {
		names = append(names, r.Slot)
	}
	at := slices.Index(names, slot)
	if at < 0 {
		hint := "walhook check names the slots that are reserved"
		if s := nearest(slot, names); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		return usagef(hint, "slot %q was not reserved", slot)
	}
	said := "slot " + slot + " is dropped"
	if r := &list[at]; r.Ended != "" || !r.Made() {
		said = ""
	} else if dropped, err := cdc.Release(ctx, w.conn, slot, r.Start); err != nil {
		return environmentError(err, "")
	} else if !dropped {
		said = ""
	}
	if said == "" {
		there, err := cdc.HasSlot(ctx, w.conn, slot)
		if err != nil {
			return environmentError(err, "")
		}
		said = "slot " + slot + " is not there any more, and forgotten"
		if there {
			said = fmt.Sprintf("the reservation is forgotten. The slot %s that is there now is not known to be the one that was reserved, and was left alone; if nobody uses it:\n  SELECT pg_drop_replication_slot('%s');", slot, slot)
		}
	}
	if err := db.Release(ctx, slot); err != nil {
		return environmentError(err, "")
	}
	return a.terminal().say(said)
}

// fromSlot takes what a reserved slot has kept, up to now. Nothing is confirmed: it can be read again.
func (b *backtesting) fromSlot(ctx context.Context, set *rules.Set) error {
	if b.flags.slot == b.cfg.Source.Slot {
		return usagef("walhook rules backtest --reserve NAME makes one for that", "%q is the slot that walhook run streams from: it is not read for anything else", b.flags.slot)
	}
	b.report.Source = "slot " + b.flags.slot
	published, err := cdc.Published(ctx, b.conn, b.cfg.Source.Publication)
	if err != nil {
		return environmentError(err, "")
	}
	for _, n := range set.Needs() {
		if !slices.Contains(published, [2]string{n.Table.Schema, n.Table.Name}) {
			b.note("table %s is not in publication %q: nothing of it is in the slot", n.Table, b.cfg.Source.Publication)
		}
	}
	err = cdc.Tail(ctx, cdc.TailConfig{
		DSN: b.cfg.Source.DSN.reveal(), Publication: b.cfg.Source.Publication, Slot: b.flags.slot, Until: b.end, Want: set.Wants, Limits: b.cfg.source().Limits,
	}, func(tx *cdc.Tx, _ int) error { return b.transaction(ctx, tx) })
	if err != nil {
		return environmentError(err, "")
	}
	if !b.flags.diff {
		return nil
	}
	db, err := b.openState(ctx)
	if err != nil {
		return err
	}
	defer closeState(db)
	return b.compare(ctx, db)
}
