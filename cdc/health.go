package cdc

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Health is the slot and the end of WAL as of now: what a stream's progress is to be
// measured against, and what the slot costs the server.
type Health struct {
	End      LSN   // end of WAL; what [Progress.Handled] has to catch up with
	Slot     *Slot // nil when there is none
	Retained int64 // bytes of WAL kept for the slot
}

// Health reads the slot's state and the end of WAL. It is one cheap query.
func (l *Live) Health(ctx context.Context, slot string) (*Health, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &Health{}
	err := l.use(ctx, true, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
				ELSE pg_catalog.pg_current_wal_lsn() END::text, s.*
			FROM (SELECT 1) AS one LEFT JOIN (SELECT `+slotColumns(serverMajor(conn.PgConn()))+`
				FROM pg_catalog.pg_replication_slots WHERE slot_name = $1) AS s ON true`,
			pgx.QueryResultFormats{pgx.TextFormatCode}, slot)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row := rows.RawValues()
			if err := h.End.Scan(string(row[0])); err != nil {
				return err
			}
			if row[1] == nil {
				continue
			}
			if h.Slot, err = parseSlot(row[1:]); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("read slot %q: %w", slot, err)
	}
	if h.Slot != nil && h.Slot.Restart > 0 && h.End > h.Slot.Restart {
		h.Retained = int64(h.End - h.Slot.Restart)
	}
	return h, nil
}
