package cdc

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Waymark ties a place in WAL to a time. Every transaction that commits behind LSN was open at At, and had begun at Oldest or later, or it has begun
// since At: none of them can hold rows that were stamped with their beginning, as Odoo's write_date is, before the earlier of the two.
//
// With Hidden that is not all: there were sessions of which the role may not see when they began (it lacks pg_read_all_stats), or prepared
// transactions, of which nobody can.
type Waymark struct {
	LSN    LSN
	At     time.Time // by the server's clock
	Oldest time.Time // no later than At
	Hidden bool
}

// Waymark looks once. The order matters: sessions first, and then where WAL ends, insertions that are not written out yet included. What has committed by the
// first look lies before the place; what has not was seen, or began later: after the statement, whose own time does not move while it is carried out.
func (l *Live) Waymark(ctx context.Context) (w Waymark, err error) {
	const sessions = `SELECT greatest(clock_timestamp(), statement_timestamp()), least(statement_timestamp(), min(xact_start), (SELECT min(prepared) FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database())),
			pg_catalog.pg_is_in_recovery() OR count(*) FILTER (WHERE backend_start IS NULL) > 0
				OR EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database())
		FROM pg_catalog.pg_stat_activity
		WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'walsender', 'parallel worker')`
	const end = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END::text`
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.use(ctx, func(conn *pgx.Conn) error {
		if err := conn.QueryRow(ctx, sessions).Scan(&w.At, &w.Oldest, &w.Hidden); err != nil {
			return err
		}
		return conn.QueryRow(ctx, end).Scan(&w.LSN)
	})
	if err != nil {
		return Waymark{}, fmt.Errorf("look for the oldest transaction: %w", err)
	}
	w.At, w.Oldest = w.At.UTC(), w.Oldest.UTC()
	return w, nil
}
