package cdc

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// LockedError says that a look-up gave up waiting for a table that somebody has locked against reading, as ALTER TABLE and VACUUM FULL do until their
// transaction ends.
type LockedError struct {
	Link     *Link
	Blockers []Blocker // who holds such a lock, or else waits for one, the oldest first; none when that is not known
	Err      error     // the server's
}

func (e *LockedError) Error() string {
	if len(e.Blockers) == 0 {
		return fmt.Sprintf("look up %s: a table is locked: %v", e.Link, e.Err)
	}
	who := make([]string, len(e.Blockers))
	for i, b := range e.Blockers {
		who[i] = b.String()
	}
	return fmt.Sprintf("look up %s: a table is locked by %s", e.Link, strings.Join(who, "; "))
}

// Unwrap returns the server's error.
func (e *LockedError) Unwrap() error { return e.Err }

// Temporary says that the look-up may succeed later.
func (e *LockedError) Temporary() bool { return true }

// Hint names the tables, and says how to get past who is in the way.
func (e *LockedError) Hint() string {
	tables := "table " + tableName{e.Link.Schema, e.Link.Table}.String()
	if r := e.Link.Rel; r != nil {
		tables = fmt.Sprintf("tables %s and %s", tables[len("table "):], tableName{r.Schema, r.Table})
	}
	hint := fmt.Sprintf("walhook waits for %s as long as it takes, and the changes behind wait in the slot", tables)
	switch {
	case len(e.Blockers) == 0:
		return hint + "; let what has locked them end: ALTER TABLE, VACUUM FULL or a module upgrade"
	case e.Blockers[0].Prepared != "":
		return hint + "; end the prepared transaction that holds the lock: SELECT gid, prepared, owner FROM pg_prepared_xacts"
	}
	return fmt.Sprintf("%s; if the lock is not meant to last: SELECT pg_terminate_backend(%d)", hint, e.Blockers[0].PID)
}

// locked is the error of a look-up that waited for a lock in vain.
func (l *Live) locked(ctx context.Context, link *Link, err error) error {
	locked := &LockedError{Link: link, Err: err}
	names := []string{quoteTable(link.Schema, link.Table)}
	if r := link.Rel; r != nil {
		names = append(names, quoteTable(r.Schema, r.Table))
	}
	// Who it is helps people only: the error stands without.
	_ = l.use(ctx, func(conn *pgx.Conn) error {
		var pids []int32 // 0 for a prepared transaction
		// Who waits for such a lock is in the way only where nobody has it: behind a long query.
		if err := conn.QueryRow(ctx, `SELECT pg_catalog.array_agg(DISTINCT coalesce(l.pid, 0))
			FROM pg_catalog.pg_locks l JOIN unnest($1::text[]) t ON l.relation = pg_catalog.to_regclass(t)
			WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
				AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
			GROUP BY l.granted ORDER BY l.granted DESC LIMIT 1`, names).Scan(&pids); err != nil {
			return err
		}
		var err error
		locked.Blockers, err = blockers(ctx, conn, pids)
		return err
	})
	return locked
}
