package cdc

import (
	"fmt"
	"slices"
	"strings"
)

// failover judges whether the stream can go on from a standby that is promoted, where that is asked for.
func (p *preflight) failover() {
	f, wanted := p.f, p.f.Failover != nil && *p.f.Failover
	switch {
	case wanted && f.Major() < MinFailover:
		p.add(SeverityError, "failover_version", fmt.Sprintf("source.failover is true, and PostgreSQL %s has no failover slots: they need %d or later", f.VersionText, MinFailover),
			"remove source.failover, or upgrade the server; on this one a standby has no slot after a failover, and walhook setup makes a new one")
		return
	case f.Major() < MinFailover:
		return
	case f.InRecovery:
		if wanted && (f.Slot == nil || !f.Slot.Synced) { // else it is the primary that is missed
			p.add(SeverityError, "failover_primary", "source.failover is true, and source.dsn leads to a standby: a failover slot is one of the primary", "remove source.failover, or point source.dsn at the primary")
		}
		return
	}
	if s := f.Slot; s != nil && f.Failover != nil && s.Failover != wanted && s.usable(f.Database) == nil {
		what := "is no failover slot, and source.failover is true: no standby has it after a failover"
		if !wanted {
			what = "is a failover slot, and source.failover is false"
		}
		p.mend(SeverityWarning, "failover_slot", fmt.Sprintf("slot %q %s", s.Name, what), "stop walhook; walhook setup; start it again (the server alters no slot that is in use)")
		return
	}
	if f.Slot == nil || !f.Slot.Failover {
		return
	}
	switch {
	case len(f.Standbys.Away) > 0:
		p.add(SeverityWarning, "failover_waits", fmt.Sprintf("nothing is sent over slot %q until the standbys of these slots are back, which synchronized_standby_slots names: %s", f.Slot.Name, strings.Join(f.Standbys.Away, ", ")),
			"start these standbys; or leave out one that is gone for good: ALTER SYSTEM SET synchronized_standby_slots = "+quoteText(strings.Join(others(f.Standbys.Waits, f.Standbys.Away), ", "))+"; SELECT pg_reload_conf()")
	case len(f.Standbys.Feedback) == 0:
		p.add(SeverityWarning, "failover_copy", fmt.Sprintf("slot %q is a failover slot, and as far as the primary shows no standby keeps a copy of it", f.Slot.Name),
			"on the standby: ALTER SYSTEM SET sync_replication_slots = on; ALTER SYSTEM SET hot_standby_feedback = on; with primary_slot_name, and dbname="+f.Database+
				" in primary_conninfo; SELECT pg_reload_conf(); then there: SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = "+quoteText(f.Slot.Name))
	case len(f.Standbys.Waits) == 0:
		p.add(SeverityWarning, "failover_ahead", "synchronized_standby_slots is empty: walhook may send changes that no standby has yet, and after a failover its position is refused",
			"ALTER SYSTEM SET synchronized_standby_slots = "+quoteText(strings.Join(f.Standbys.Feedback, ", "))+"; SELECT pg_reload_conf()")
	}
}

// others returns the elements of all that are not in some.
func others(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(some, s) })
}

// standby judges a standby that is to be streamed from.
func (p *preflight) standby() {
	f := p.f
	if !f.InRecovery {
		return
	}
	if f.Major() < MinStandby {
		p.add(SeverityError, "standby", "the server is a standby, and streams logical changes only from PostgreSQL 16 on", "point source.dsn at the primary")
		return
	}
	if f.Slot != nil && f.Slot.Synced {
		p.add(SeverityError, "slot_synced", fmt.Sprintf("source.dsn leads to a standby, and its slot %q is the copy of the primary's: nobody can stream from it before the standby is promoted", f.Slot.Name),
			"point source.dsn at the primary, or at both: postgres://role@primary,standby/database?target_session_attrs=read-write; or choose another name for source.slot to stream from the standby itself")
		return
	}
	missing := ""
	switch {
	case !f.Standbys.HotFeedback:
		missing = "hot_standby_feedback is off"
	case f.Standbys.PrimarySlot == "":
		missing = "primary_slot_name is empty, and while the standby is away the primary forgets what it needs"
	}
	if missing != "" {
		p.add(SeverityWarning, "standby_feedback", "source.dsn leads to a standby, and "+missing+": when the primary vacuums its catalogs, the slot is lost (rows_removed)",
			"on the standby: ALTER SYSTEM SET hot_standby_feedback = on; and a physical slot of the primary in primary_slot_name; SELECT pg_reload_conf()")
	}
}
