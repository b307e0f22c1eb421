package main

import (
	"context"
	"fmt"
	"time"

	"walhook/cdc"
	"walhook/state"
)

// reserved finds the slots that were reserved.
func (k *checker) reserved(ctx context.Context, db *state.DB) {
	list, err := db.Reservations(ctx)
	if err != nil || len(list) == 0 {
		return // what keeps the state from being read has been told
	}
	live, err := cdc.NewLive(k.cfg.Source.DSN.reveal(), "command", nil)
	if err != nil {
		return
	}
	defer live.Close()
	for _, r := range list {
		release := "walhook rules backtest --release " + r.Slot
		if r.Ended != "" {
			k.report.add(cdc.SeverityWarning, "reserved_slot", fmt.Sprintf("slot %q, which was reserved for backtests, was dropped: %s", r.Slot, r.Ended), release+" forgets it")
			continue
		}
		h, err := live.Health(ctx, r.Slot)
		switch {
		case err != nil:
		case h.Slot == nil:
			k.report.add(cdc.SeverityWarning, "reserved_slot", fmt.Sprintf("slot %q, which was reserved for backtests, is gone", r.Slot), release+" forgets it")
		case h.Slot.Confirmed != r.Start:
			k.report.add(cdc.SeverityWarning, "reserved_slot", fmt.Sprintf("slot %q is not the one that was reserved for backtests, or reserving it was cut short: nobody limits what it keeps", r.Slot),
				release+" forgets the reservation, and says how to drop the slot if nobody uses it")
		case h.Retained > r.MaxRetained:
			k.report.add(cdc.SeverityWarning, "reserved_slot", fmt.Sprintf("slot %q, which was reserved for backtests, keeps %s of WAL, more than its limit of %s: walhook run would drop it",
				r.Slot, cdc.BytesText(h.Retained), cdc.BytesText(r.MaxRetained)), release)
		default:
			k.report.add(cdc.SeverityInfo, "reserved_slot", fmt.Sprintf("slot %q is reserved for backtests since %s, and keeps %s of at most %s of WAL", r.Slot, r.MadeAt.UTC().Format(time.DateTime),
				cdc.BytesText(h.Retained), cdc.BytesText(r.MaxRetained)), "when it is not needed any more: "+release)
		}
	}
}
