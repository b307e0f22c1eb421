package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// LostReason words [Slot.Reason], with the server's own word for who looks it up.
func LostReason(reason string) string {
	why := map[string]string{
		"":                       "it fell behind further than max_slot_wal_keep_size",
		"wal_removed":            "it fell behind further than max_slot_wal_keep_size",
		"idle_timeout":           "nobody streamed from it for longer than idle_replication_slot_timeout",
		"rows_removed":           "the primary removed rows of its catalogs that it needed",
		"wal_level_insufficient": "wal_level of the primary was no longer logical",
	}[reason]
	switch {
	case why == "":
		return reason
	case reason == "":
		return why
	}
	return why + " (" + reason + ")"
}

// lostRemedy is what to do, before anything else, lest the next slot is lost in the same way.
func lostRemedy(reason string) string {
	switch reason {
	case "", "wal_removed":
		return "raise max_slot_wal_keep_size; then: "
	case "idle_timeout":
		return "raise idle_replication_slot_timeout, or set it to 0; then: "
	case "rows_removed":
		return "on the standby set hot_standby_feedback = on and primary_slot_name; then: "
	case "wal_level_insufficient":
		return "set wal_level = logical on the primary; then: "
	case conflict:
		return "on the standby set hot_standby_feedback = on and primary_slot_name, on the primary wal_level = logical; then: "
	}
	return ""
}

// conflict is the reason of PostgreSQL 16, which knows no more.
const conflict = "conflict with recovery"

// DropLost drops a slot that the server has given up, so that another can be made under its name. The statement finds out by itself that this is the
// cluster, the database and the slot that is meant, and that it is lost: one that still keeps WAL stays. It reports false when there was none to drop.
func DropLost(ctx context.Context, conn *pgx.Conn, slot, systemID string, database uint32) (dropped bool, err error) {
	lost := "false"
	switch major := serverMajor(conn.PgConn()); {
	case major >= 17:
		lost = "wal_status = 'lost' OR invalidation_reason IS NOT NULL"
	case major >= 16:
		lost = "wal_status = 'lost' OR conflicting"
	case major >= 13:
		lost = "wal_status = 'lost'"
	}
	drop := `SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots
		WHERE slot_name = $1 AND plugin = 'pgoutput' AND database = pg_catalog.current_database() AND (` + lost + `)
			AND (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())::int8 = $2
			AND (SELECT system_identifier FROM pg_catalog.pg_control_system())::text = $3`
	for end := time.Now().Add(10 * time.Second); ; {
		tag, err := conn.Exec(ctx, drop, slot, int64(database), systemID)
		if sqlState(err) == "55006" && time.Now().Before(end) && sleep(ctx, nil, 250*time.Millisecond) { // its session is about to end
			continue
		}
		if err != nil {
			return false, fmt.Errorf("drop slot %q: %w", slot, err)
		}
		return tag.RowsAffected() > 0, nil
	}
}
