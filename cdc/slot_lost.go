package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

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
