package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"walhook/cdc"
	"walhook/state"
	"walhook/status"
)

// slotLines tells of the slot and of WAL in the terms of pg_replication_slots; none when nobody has looked at it.
func slotLines(d *status.Document) (lines []string) {
	s := &d.Source
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf("slot\t"+format, args...)) }
	if s.SlotAt.IsZero() {
		if s.SlotError != "" {
			add("not seen: %s", s.SlotError)
		}
		return lines
	}
	if s.Missing {
		add("%s", s.SlotError)
		return lines
	}
	if s.SlotError != "" {
		add("last seen %s: %s", strings.TrimSpace(ago("", d.At, s.SlotAt)), s.SlotError)
	}
	if s.WALStatus == "lost" {
		add("lost: %s", cdc.LostReason(s.Reason))
		return lines
	}
	use := "nobody streams from it"
	if s.Active || s.Connected { // the last look at the slot may have come before the stream
		use = "active"
	} else if !s.InactiveSince.IsZero() {
		use += ago(", since ", d.At, s.InactiveSince)
		use = strings.TrimSuffix(use, " ago")
	}
	if s.WALStatus != "" {
		use += ", " + s.WALStatus
	}
	if s.Failover {
		use += ", failover"
	}
	text := use + "; " + status.Bytes(s.Retained) + " of WAL kept"
	if s.Restart != "" {
		text += " from " + s.Restart
	}
	if s.Growth > 0 {
		text += fmt.Sprintf(", growing by %s/s", status.Bytes(int64(s.Growth)))
	}
	add("%s", text)
	var limits []string
	switch {
	case s.Headroom != nil:
		limits = append(limits, status.Bytes(*s.Headroom)+" until the slot is lost (safe_wal_size)")
	case s.WALStatus == "": // as servers before 13 leave it
		limits = append(limits, "no limit on the server (max_slot_wal_keep_size takes PostgreSQL 13)")
	default:
		limits = append(limits, "no limit on the server (max_slot_wal_keep_size)")
	}
	if g := s.Guard; g != nil {
		limits = append(limits, fmt.Sprintf("%s until the slot guard acts", status.Bytes(max(g.MaxRetained-s.Retained, 0))))
	}
	if s.LimitSeconds != nil {
		limits = append(limits, "reached in "+longAge(*s.LimitSeconds)+" at the present rate")
	}
	add("%s", strings.Join(limits, "; "))
	if s.Written > 0 {
		text := fmt.Sprintf("the server writes %s/s of WAL", status.Bytes(int64(s.Written)))
		if s.StandstillSeconds != nil {
			text += "; walhook may be away for " + longAge(*s.StandstillSeconds) + " at this rate"
		}
		add("%s", text)
	}
	return lines
}

// longAge writes a time to come. Beyond a year nobody plans.
func longAge(s float64) string {
	d := seconds(s)
	if d > 365*24*time.Hour {
		return "more than a year"
	}
	return status.Age(d)
}

// lookAtSlot asks the source itself, since no process watches the slot. What it cannot see is part of the answer. Of a slot that is lost or gone it raises the
// alarm that a process would.
func (c *Config) lookAtSlot(ctx context.Context, db *state.DB, b state.Binding) status.SlotState {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	w, err := newSlotWatch(slotWatchConfig{dsn: c.Source.DSN.reveal(), slot: c.Source.Slot, system: b.SystemID, database: b.DatabaseOID})
	if err != nil {
		return status.SlotState{Error: err.Error(), Headroom: -1}
	}
	defer w.live.Close()
	health, err := w.live.Health(ctx, w.slot)
	if err == nil && !w.bound(health) {
		health, err = nil, w.another(health)
	}
	look := cdc.Look{At: time.Now(), Health: health, Err: err}
	if health != nil && (health.Slot == nil || health.Slot.Lost()) {
		if position, err := db.StoredPosition(ctx); err == nil {
			look.Gap = c.gapText(ctx, db, position.LSN)
		}
		w.alarms.Look(look)
	}
	w.note(look)
	return w.state()
}
