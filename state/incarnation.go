package state

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// incarnationKey is where a session keeps what it has learned of its server.
const incarnationKey = "walhook incarnation"

// learn finds out which incarnation of the server a session is in: it changes when the server crashes, or when a standby takes over.
//
// A server that has crashed gives out again the ids of transactions of which nothing had reached its disk, so what it says of an id
// from before the crash may be about somebody else's transaction. It does not say that it has crashed; but it forgets its statistics
// then, and begins new ones. Somebody who resets them by hand makes walhook doubt more than it must, which does no harm.
//
// Before PostgreSQL 15 the statistics come from a process of their own, which may be slow: a session does without them then, and knows of no
// transaction that it was committed when the answer was lost.
func learn(ctx context.Context, conn *pgx.Conn) error {
	const ask = `BEGIN; SET LOCAL statement_timeout = '2s';
		SELECT coalesce((SELECT stats_reset FROM pg_catalog.pg_stat_archiver)::text, '') || ' on ' ||
			CASE WHEN pg_catalog.pg_is_in_recovery() THEN 'a standby' ELSE substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END;
		COMMIT`
	results, err := conn.PgConn().Exec(ctx, ask).ReadAll()
	var slow *pgconn.PgError
	switch {
	case errors.As(err, &slow) && slow.Code == "57014":
		return conn.PgConn().Exec(ctx, "ROLLBACK").Close()
	case err != nil:
		return err
	}
	for _, r := range results {
		if len(r.Rows) == 1 {
			conn.PgConn().CustomData()[incarnationKey] = string(r.Rows[0][0])
		}
	}
	return nil
}

// incarnationOf is what learn has found; "" when it has not.
func incarnationOf(conn *pgx.Conn) string {
	s, _ := conn.PgConn().CustomData()[incarnationKey].(string)
	return s
}
