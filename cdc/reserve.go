package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// CanReserve refuses what [Reserve] would refuse: above all a name that a slot has already.
func CanReserve(ctx context.Context, conn *pgx.Conn, slot, publication string) error {
	if !slotName.MatchString(slot) {
		return &RefusedError{Reason: fmt.Sprintf("%q is no slot name", slot), Remedy: "use 1 to 63 lower-case letters, digits and underscores"}
	}
	var there, published bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1), EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = $2)`,
		slot, publication).Scan(&there, &published); err != nil {
		return fmt.Errorf("look for slot %q: %w", slot, err)
	}
	switch {
	case there:
		return &RefusedError{Reason: fmt.Sprintf("there is a replication slot %q already", slot), Remedy: "choose another name"}
	case !published: // trap 8: it must exist before the slot
		return &RefusedError{Reason: fmt.Sprintf("there is no publication %q, which says of which tables changes are read", publication), Remedy: "walhook setup"}
	}
	return nil
}

// Reserve makes a logical slot that keeps WAL from now on, besides the one that is streamed from. It is known by its start, which is its confirmed position for ever.
// waiting is told whom it waits for; it may be nil.
func Reserve(ctx context.Context, conn *pgx.Conn, slot, publication string, waiting func([]Blocker)) (start LSN, err error) {
	if err := CanReserve(ctx, conn, slot, publication); err != nil {
		return 0, err
	}
	who, err := watched(ctx, conn, "statement_timeout", 5*time.Minute, createSlotSQL(slot, false), waiting)
	if err != nil {
		text := ""
		for _, b := range who {
			text += fmt.Sprintf("; it waited for %s", b)
		}
		return 0, fmt.Errorf("make slot %q: %w%s", slot, err, text)
	}
	var lsn string
	if err := conn.QueryRow(ctx, `SELECT confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`, slot).Scan(&lsn); err != nil {
		return 0, fmt.Errorf("look at slot %q: %w", slot, err)
	}
	return pglogrepl.ParseLSN(lsn)
}

// HasSlot says whether there is a replication slot of this name.
func HasSlot(ctx context.Context, conn *pgx.Conn, slot string) (there bool, err error) {
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1)`, slot).Scan(&there); err != nil {
		return false, fmt.Errorf("look for slot %q: %w", slot, err)
	}
	return there, nil
}

// Release drops a slot that [Reserve] has made and that nobody reads. It reports false when there is none that began at start: one of the same name is another.
func Release(ctx context.Context, conn *pgx.Conn, slot string, start LSN) (dropped bool, err error) {
	tag, err := conn.Exec(ctx, `SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots
		WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = pg_catalog.current_database() AND confirmed_flush_lsn = $2::text::pg_lsn`, slot, start.String())
	if sqlState(err) == "55006" {
		return false, slotInUse(slot, 0, err)
	}
	if err != nil {
		return false, fmt.Errorf("drop slot %q: %w", slot, err)
	}
	return tag.RowsAffected() > 0, nil
}
