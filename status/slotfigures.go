package status

import (
	"time"

	"walhook/cdc"
)

// SlotFigures are the slot in the terms of pg_replication_slots, and what follows from how fast WAL is written. Times to a limit are seconds.
type SlotFigures struct {
	Missing       bool      `json:"slot_missing,omitempty"`
	Active        bool      `json:"slot_active"`                         // somebody streams from it
	InactiveSince time.Time `json:"slot_inactive_since,omitzero"`        // PostgreSQL 17 and later
	Reason        string    `json:"slot_invalidation_reason,omitempty"`  // why it is lost, where the server says (16 and later)
	Restart       string    `json:"slot_restart_lsn,omitempty"`          // WAL from here on is kept
	ConfirmedLSN  string    `json:"slot_confirmed_flush_lsn,omitempty"`  // as the server knows it
	CatalogAge    int64     `json:"slot_catalog_xmin_age,omitempty"`     // in transactions: VACUUM keeps dead rows of the system catalogs for it
	SpilledBytes  int64     `json:"slot_spilled_bytes,omitempty"`        // written to disk by the server's decoder since its statistics were reset (14 and later)
	SpilledTx     int64     `json:"slot_spilled_transactions,omitempty"` // transactions that were
	Failover      bool      `json:"slot_failover,omitempty"`             // kept in step on standbys (17 and later)

	// Over the last five minutes; 0 until a third of a minute has been seen.
	Written float64 `json:"wal_bytes_per_second"`           // that the server writes
	Growth  float64 `json:"slot_retained_bytes_per_second"` // by which what the slot keeps grows; 0 when it does not

	// LimitSeconds is how long until the slot is lost, or the slot guard acts, whichever comes first, at the present rate of growth. Absent when there is no limit or
	// none is approached.
	LimitSeconds *float64 `json:"slot_limit_seconds,omitempty"`
	// StandstillSeconds is the same if nothing were read from now on: how long walhook may be away.
	StandstillSeconds *float64 `json:"slot_standstill_seconds,omitempty"`
}

// slotFigures makes them of the last look.
func slotFigures(s SlotState) SlotFigures {
	f := SlotFigures{
		Missing: s.Missing, Active: s.Active, InactiveSince: utc(s.InactiveSince), Reason: s.Reason, Restart: lsn(s.Restart), ConfirmedLSN: lsn(s.Confirmed), CatalogAge: s.CatalogAge,
		SpilledBytes: s.Spilled.Bytes, SpilledTx: s.Spilled.Transactions, Failover: s.Failover, Written: s.Written, Growth: s.Growth,
	}
	if s.At.IsZero() || s.Missing {
		return f
	}
	room := s.Headroom
	if s.Guard != nil {
		if left := max(s.Guard.MaxRetained-s.Retained, 0); room < 0 || left < room {
			room = left
		}
	}
	f.LimitSeconds, f.StandstillSeconds = untilSeconds(room, s.Growth), untilSeconds(room, s.Written)
	return f
}

func untilSeconds(room int64, pace float64) *float64 {
	d := cdc.Until(room, pace)
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// SetSlot notes a look at the slot in a document that was made without one.
func (d *Document) SetSlot(s SlotState) { d.Source.setSlot(s) }

// setSlot fills everything that a look at the slot tells.
func (d *Source) setSlot(s SlotState) {
	d.WALStatus, d.Retained, d.SlotError, d.SlotAt = s.WALStatus, s.Retained, s.Error, utc(s.At)
	d.Behind, d.BehindSeconds, d.Alarms, d.Guard = s.Behind, s.BehindFor.Round(time.Millisecond).Seconds(), s.Alarms, s.Guard
	d.SlotFigures = slotFigures(s)
	if !s.At.IsZero() && s.Headroom >= 0 {
		d.Headroom = &s.Headroom
	}
}

var (
	walWritten     = gauge("wal_bytes_per_second", "WAL that the server writes in a second, over the last five minutes.")
	slotGrowth     = gauge("slot_retained_bytes_per_second", "By how much what the slot keeps grows in a second, over the last five minutes; 0 when it does not.")
	slotLimit      = gauge("slot_limit_seconds", "Until the slot is lost or the slot guard acts, at the present rate of growth; absent when no limit is approached.")
	slotStandstill = gauge("slot_standstill_seconds", "Until the slot is lost or the slot guard acts if nothing were read from now on; absent without a limit.")
	slotActive     = gauge("slot_active", "1 while somebody streams from the slot.")
	slotCatalogAge = gauge("slot_catalog_xmin_age", "Transactions since the slot's catalog_xmin.")
	slotSpilled    = counter("slot_spilled_bytes_total", "Bytes that the server's decoder has written to disk for the slot.")
	slotSpilledTx  = counter("slot_spilled_transactions_total", "Transactions that the server's decoder has written to disk for the slot.")

	slotFamilies = []family{walWritten, slotGrowth, slotLimit, slotStandstill, slotActive, slotCatalogAge, slotSpilled, slotSpilledTx}
)

// collect sends them.
func (f *SlotFigures) collect(send func(family, float64, ...string)) {
	send(walWritten, f.Written)
	send(slotGrowth, f.Growth)
	if f.LimitSeconds != nil {
		send(slotLimit, *f.LimitSeconds)
	}
	if f.StandstillSeconds != nil {
		send(slotStandstill, *f.StandstillSeconds)
	}
	send(slotActive, truth(f.Active))
	send(slotCatalogAge, float64(f.CatalogAge))
	send(slotSpilled, float64(f.SpilledBytes))
	send(slotSpilledTx, float64(f.SpilledTx))
}
