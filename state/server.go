package state

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Server is what can be seen of the server that keeps the state, without judging it.
type Server struct {
	Address    string // host and port that answered, for people
	ReadOnly   bool   // a standby
	Pooled     bool   // a connection pooler stands in between
	Volatile   bool   // fsync or full_page_writes is off: a crash of the machine loses or destroys what was committed
	Free       int    // connections that this role may still open here
	Needed     int    // connections that one walhook opens at most: its pool, and one that holds the right to read or waits for it
	ClockAhead time.Duration
}

// Server looks at the state's server. The schema need not be there. now is this machine's clock.
func (db *DB) Server(ctx context.Context, now func() time.Time) (*Server, error) {
	// Limits of -1 are none. What this pool has opened itself counts as free.
	const look = `SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid(),
			current_setting('fsync') = 'off' OR current_setting('full_page_writes') = 'off',
			least(
				current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int - (SELECT coalesce(sum(numbackends), 0) FROM pg_catalog.pg_stat_database),
				CASE WHEN d.datconnlimit >= 0 THEN d.datconnlimit - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = d.datname) END,
				CASE WHEN r.rolconnlimit >= 0 THEN r.rolconnlimit - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = r.rolname) END
			)::int, clock_timestamp()
		FROM pg_catalog.pg_database d, pg_catalog.pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user`
	s := &Server{Needed: db.cfg.PoolSize + 1}
	err := db.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		var pid uint32
		var there time.Time
		began := now()
		if err := conn.QueryRow(ctx, look).Scan(&s.ReadOnly, &pid, &s.Volatile, &s.Free, &there); err != nil {
			return err
		}
		ended := now()
		// Half of the way there and back is the way back.
		s.ClockAhead = there.Sub(began.Add(ended.Sub(began) / 2))
		s.Pooled = pid != conn.Conn().PgConn().PID()
		s.Address = conn.Conn().PgConn().Conn().RemoteAddr().String()
		s.Free += int(db.pool.Stat().TotalConns())
		return nil
	})
	if err != nil {
		return nil, db.translate("look at the server", err)
	}
	return s, nil
}
