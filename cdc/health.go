package cdc

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Health is the slot and the end of WAL as of now: what a stream's progress is to be
// measured against, and what the slot costs the server.
type Health struct {
	End      LSN   // end of WAL; what [Progress.Handled] has to catch up with
	Slot     *Slot // nil when there is none
	Retained int64 // bytes of WAL kept for the slot; 0 when that cannot be told, see [Health.Measured]
	Behind   int64 // bytes of WAL that the slot's confirmed position is behind End
	KeepMax  int64 // max_slot_wal_keep_size in bytes; -1 when unlimited, or before PostgreSQL 13
	Spilled  Spilled

	// Which server answered: a host name may lead to another one than before.
	SystemID    string
	DatabaseOID uint32
	InRecovery  bool // a standby: End is what it has replayed
}

// Spilled is what the server has written to its own disk while it decoded for the slot: transactions that outgrew
// logical_decoding_work_mem. Zero before PostgreSQL 14.
type Spilled struct {
	Transactions int64 // since the statistics were reset
	Bytes        int64
}

// Measured says whether Retained is a figure to act on: of a slot that keeps WAL, on a server that writes it. A lost
// slot keeps none, a standby's end of WAL is not the primary's, and a slot ahead of the end is no reading at all.
func (h *Health) Measured() bool {
	s := h.Slot
	return s != nil && !s.Lost() && !h.InRecovery && s.Restart > 0 && h.End >= s.Restart
}

// Health reads the slot's state and the end of WAL. It is one cheap query.
func (l *Live) Health(ctx context.Context, slot string) (*Health, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.health(ctx, slot)
}

// health is Health, for callers that hold the lock.
func (l *Live) health(ctx context.Context, slot string) (*Health, error) {
	h := &Health{}
	err := l.use(ctx, func(conn *pgx.Conn) error {
		*h = Health{KeepMax: -1}
		rows, err := conn.Query(ctx, `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
				ELSE pg_catalog.pg_current_wal_lsn() END::text, pg_catalog.pg_is_in_recovery()::text,
				(SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
				(SELECT oid::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
				(SELECT setting FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size'), `+spilledColumns(serverMajor(conn.PgConn()))+`, s.*
			FROM (SELECT 1) AS one LEFT JOIN (SELECT `+slotColumns(serverMajor(conn.PgConn()))+`
				FROM pg_catalog.pg_replication_slots WHERE slot_name = $1) AS s ON true`,
			pgx.QueryResultFormats{pgx.TextFormatCode}, slot)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := h.read(rows.RawValues()); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read slot %q: %w", slot, err)
	}
	if h.Slot == nil {
		return h, nil
	}
	if h.Slot.Restart > 0 && h.End > h.Slot.Restart {
		h.Retained = int64(h.End - h.Slot.Restart)
	}
	if h.Slot.Confirmed > 0 && h.End > h.Slot.Confirmed {
		h.Behind = int64(h.End - h.Slot.Confirmed)
	}
	return h, nil
}

// read takes one row of the query.
func (h *Health) read(row [][]byte) error {
	if row[0] != nil { // a standby that has replayed nothing yet has no end
		if err := h.End.Scan(string(row[0])); err != nil {
			return err
		}
	}
	h.InRecovery, h.SystemID = string(row[1]) == "true", string(row[2])
	oid, err := strconv.ParseUint(string(row[3]), 10, 32)
	if err != nil {
		return fmt.Errorf("oid of the database: %w", err)
	}
	h.DatabaseOID = uint32(oid)
	if row[4] != nil { // in megabytes
		keep, err := strconv.ParseInt(string(row[4]), 10, 64)
		if err != nil {
			return fmt.Errorf("max_slot_wal_keep_size: %w", err)
		}
		if keep >= 0 {
			h.KeepMax = keep << 20
		}
	}
	for i, n := range []*int64{&h.Spilled.Transactions, &h.Spilled.Bytes} {
		if row[5+i] == nil {
			continue
		}
		if *n, err = strconv.ParseInt(string(row[5+i]), 10, 64); err != nil {
			return fmt.Errorf("statistics of the slot: %w", err)
		}
	}
	if row[7] == nil {
		return nil
	}
	h.Slot, err = parseSlot(row[7:])
	return err
}

// spilledColumns selects [Spilled], for a server's version.
func spilledColumns(major int) string {
	if major < 14 {
		return "NULL, NULL"
	}
	return `(SELECT spill_txns::text FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = $1),
				(SELECT spill_bytes::text FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = $1)`
}

// EndOfWAL returns how far the server has written WAL, or a standby replayed it.
func EndOfWAL(ctx context.Context, conn *pgx.Conn) (end LSN, err error) {
	err = conn.QueryRow(ctx, `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
		ELSE pg_catalog.pg_current_wal_lsn() END::text`).Scan(&end)
	if err != nil {
		return 0, fmt.Errorf("read the end of WAL: %w", err)
	}
	return end, nil
}
