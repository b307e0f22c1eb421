package cdc

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

// MinServer is the oldest major version of PostgreSQL that walhook works with.
const MinServer = 12

// Slot is a replication slot as pg_replication_slots shows it.
type Slot struct {
	Name      string
	Plugin    string // "pgoutput"; "" for a physical slot
	Database  string // "" for a physical slot
	Temporary bool
	PID       int    // process that streams from it; 0 for none
	Restart   LSN    // WAL from here on is kept for it
	Confirmed LSN    // confirmed_flush_lsn
	WALStatus string // reserved, extended, unreserved, lost; "" before PostgreSQL 13
	Reason    string // why it is lost, where the server says (17 and later, of conflicts 16), see [LostReason]
	SafeBytes int64  // safe_wal_size: WAL that may be written before it is lost; -1 when unlimited or unknown

	CatalogAge    int64     // transactions since catalog_xmin: VACUUM keeps what the system catalogs have lost since; 0 when there is none
	InactiveSince time.Time // since when nobody streams from it; zero before PostgreSQL 17
	Failover      bool      // it is to be kept in step on standbys (17 and later)
	Synced        bool      // it is a standby's copy of the primary's (17 and later)
}

// Lost says that the server has removed WAL that the slot needs.
func (s *Slot) Lost() bool { return s.WALStatus == "lost" || s.Reason != "" }

// slotColumns is the select list that [parseSlot] reads, for a server's version.
func slotColumns(major int) string {
	status, safe, reason, inactive, failover, synced := "NULL", "NULL", "NULL", "NULL", "false", "false"
	if major >= 13 {
		status, safe = "wal_status", "safe_wal_size"
	}
	switch {
	case major >= 17:
		reason, failover, synced = "invalidation_reason", "failover", "synced"
		inactive = "pg_catalog.date_part('epoch', inactive_since)"
	case major >= 16:
		reason = "CASE WHEN conflicting AND pg_catalog.pg_is_in_recovery() THEN " + quoteText(conflict) + " END" // true of every lost slot, also on a primary
	}
	return fmt.Sprintf(`slot_name::text, plugin::text, database::text, temporary::text, active_pid::text,
		restart_lsn::text, confirmed_flush_lsn::text, %s::text, %s::text, %s::text,
		pg_catalog.age(catalog_xmin)::text, %s::text, %s::text, %s::text`, status, safe, reason, inactive, failover, synced)
}

// parseSlot reads a row of slotColumns.
func parseSlot(row [][]byte) (*Slot, error) {
	s := &Slot{
		Name: string(row[0]), Plugin: string(row[1]), Database: string(row[2]), Temporary: string(row[3]) == "true",
		WALStatus: string(row[7]), Reason: string(row[9]), SafeBytes: -1, Failover: string(row[12]) == "true", Synced: string(row[13]) == "true",
	}
	var err error
	if row[4] != nil {
		if s.PID, err = strconv.Atoi(string(row[4])); err != nil {
			return nil, fmt.Errorf("active_pid: %w", err)
		}
	}
	for i, lsn := range map[int]*LSN{5: &s.Restart, 6: &s.Confirmed} {
		if row[i] != nil {
			if *lsn, err = pglogrepl.ParseLSN(string(row[i])); err != nil {
				return nil, err
			}
		}
	}
	if row[8] != nil {
		if s.SafeBytes, err = strconv.ParseInt(string(row[8]), 10, 64); err != nil {
			return nil, fmt.Errorf("safe_wal_size: %w", err)
		}
	}
	if row[10] != nil {
		if s.CatalogAge, err = strconv.ParseInt(string(row[10]), 10, 64); err != nil {
			return nil, fmt.Errorf("age of catalog_xmin: %w", err)
		}
	}
	if row[11] != nil {
		since, err := strconv.ParseFloat(string(row[11]), 64)
		if err != nil {
			return nil, fmt.Errorf("inactive_since: %w", err)
		}
		s.InactiveSince = time.UnixMilli(int64(since * 1000)).UTC()
	}
	return s, nil
}

// readSlot reads the slot and refuses one that cannot be streamed from.
func readSlot(ctx context.Context, pg *pgconn.PgConn, name, database string) (*Slot, error) {
	rows, err := simpleQuery(ctx, pg, "SELECT "+slotColumns(serverMajor(pg))+" FROM pg_catalog.pg_replication_slots WHERE slot_name = "+quoteText(name))
	if err != nil {
		return nil, fmt.Errorf("read slot: %w", err)
	}
	if len(rows) == 0 {
		return nil, missingSlot(name, nil)
	}
	slot, err := parseSlot(rows[0])
	if err != nil {
		return nil, fmt.Errorf("read slot: %w", err)
	}
	if err := slot.usable(database); err != nil {
		return nil, err
	}
	if slot.PID != 0 {
		return nil, slotInUse(name, slot.PID, nil)
	}
	return slot, nil
}

// usable refuses a slot of another kind and a lost one.
func (s *Slot) usable(database string) error {
	switch {
	case s.Plugin != "pgoutput":
		kind := "a physical slot"
		if s.Plugin != "" {
			kind = fmt.Sprintf("of output plugin %q", s.Plugin)
		}
		return &SlotError{Slot: s.Name, Problem: SlotForeign, Detail: "it is " + kind + ", walhook needs pgoutput",
			Remedy: "choose another name for source.slot and run `walhook setup`"}
	case s.Database != database:
		return &SlotError{Slot: s.Name, Problem: SlotForeign, Detail: fmt.Sprintf("it is a slot of database %q, not of %q", s.Database, database),
			Remedy: fmt.Sprintf("if database %q is a copy of %q, nothing is to be done here, or `walhook teardown` takes walhook out of the copy; otherwise choose another name for source.slot and run `walhook setup`; slot names are shared by all databases of a server", database, s.Database)}
	case s.Lost():
		e := lostSlot(s.Name, LostReason(s.Reason), nil)
		e.Raise = lostRemedy(s.Reason)
		return e
	}
	return nil
}

func slotInUse(name string, pid int, err error) error {
	detail := "another process streams from it"
	remedy := "stop the other process, or give this one a slot of its own"
	if pid != 0 {
		detail = fmt.Sprintf("process %d of the server streams from it", pid)
		remedy = fmt.Sprintf("stop the other walhook; if it is gone and its connection lingers: SELECT pg_terminate_backend(%d)", pid)
	}
	return &SlotError{Slot: name, Problem: SlotInUse, Detail: detail, Remedy: remedy, Err: err}
}

// BytesText writes a number of bytes for people: "12.3 MiB".
func BytesText(n int64) string { return bytesText(n) }

// bytesText is BytesText.
func bytesText(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d bytes", n)
	}
	v, unit := float64(n), 0
	for v >= step && unit < 4 {
		v /= step
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "?KMGT"[unit])
}
