package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// SlotDrop names a slot beyond doubt, and the reason to drop it.
type SlotDrop struct {
	Slot        string
	SystemID    string // of the cluster that it is on
	DatabaseOID uint32 // that it belongs to
	Over        int64  // bytes of WAL that it must still keep, or more; otherwise it stays
	Confirmed   LSN    // confirmed position that it must have; 0 for any
	Own         int    // process id of our own stream's walsender, which may linger; 0 for none
}

// errNotDropped says that what was to be dropped is not what was found.
var errNotDropped = errors.New("the slot is no longer as it was when the limit was exceeded: it was left alone")

// DropSlot drops a logical slot that keeps too much WAL. The statement that drops it finds out once more, by itself, that this is
// the cluster, the database and the slot that is meant, that the server is no standby, and how much WAL the slot keeps. A
// slot that somebody else streams from stays; a left-over session of our own is ended.
func (l *Live) DropSlot(ctx context.Context, d SlotDrop) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		err := l.dropSlot(ctx, d)
		if err == nil || ctx.Err() != nil || !isTemporary(err) && sqlState(err) != "55006" {
			return err
		}
		if !sleep(ctx, nil, 250*time.Millisecond) {
			return err
		}
	}
}

// dropSlot tries it once.
func (l *Live) dropSlot(ctx context.Context, d SlotDrop) error {
	dropped := false
	// The slot may be active for a moment after the stream has ended, or longer when the network swallowed the goodbye. The server
	// frees it when that session ends, at the latest after wal_sender_timeout.
	err := l.use(ctx, func(conn *pgx.Conn) error {
		const end = `SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1 AND active_pid = $2
			AND ($3::text::pg_lsn = '0/0' OR confirmed_flush_lsn = $3::text::pg_lsn)`
		if d.Own != 0 {
			if _, err := conn.Exec(ctx, end, d.Slot, d.Own, d.Confirmed.String()); err != nil {
				return err
			}
		}
		const drop = `SELECT pg_catalog.pg_drop_replication_slot(slot_name) IS NOT NULL FROM pg_catalog.pg_replication_slots
			WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = pg_catalog.current_database()
				AND (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())::int8 = $2
				AND (SELECT system_identifier FROM pg_catalog.pg_control_system())::text = $3
				AND CASE WHEN pg_catalog.pg_is_in_recovery() OR restart_lsn IS NULL THEN false
					ELSE pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn) > $4::int8 END
				AND ($5::text::pg_lsn = '0/0' OR confirmed_flush_lsn = $5::text::pg_lsn)`
		tag, err := conn.Exec(ctx, drop, d.Slot, int64(d.DatabaseOID), d.SystemID, d.Over, d.Confirmed.String())
		dropped = tag.RowsAffected() > 0
		return err
	})
	if err != nil {
		return fmt.Errorf("drop slot %q: %w", d.Slot, err)
	}
	if dropped {
		return nil
	}
	// An answer may have been lost: a slot that is gone is as good.
	h, err := l.health(ctx, d.Slot)
	switch {
	case err != nil:
		return err
	case h.Slot == nil && h.SystemID == d.SystemID:
		return nil
	}
	return fmt.Errorf("drop slot %q: %w", d.Slot, errNotDropped)
}
