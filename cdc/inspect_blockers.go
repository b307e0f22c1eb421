package cdc

import (
	"context"
	"math"
	"time"

	"github.com/jackc/pgx/v5"
)

// blockers finds the transactions that a new slot must wait for: all that have written something
// and are still open, prepared ones included, in any database.
func (in inspection) blockers(ctx context.Context) (err error) {
	if in.facts.InRecovery {
		return nil
	}
	in.facts.Blockers, err = blockers(ctx, in.conn, nil)
	return err
}

// blockers describes the processes pids, or if there are none all that hold a transaction id.
func blockers(ctx context.Context, conn *pgx.Conn, pids []int32) ([]Blocker, error) {
	rows, err := conn.Query(ctx, `SELECT pid, '', coalesce(usename::text, ''), coalesce(application_name, ''), coalesce(state, ''),
			coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8, coalesce(left(query, 80), '')
		FROM pg_catalog.pg_stat_activity
		WHERE pid <> pg_catalog.pg_backend_pid() AND CASE WHEN $1::int4[] IS NULL THEN backend_xid IS NOT NULL ELSE pid = ANY ($1) END
		UNION ALL
		SELECT 0, gid, owner::text, '', 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8, ''
		FROM pg_catalog.pg_prepared_xacts WHERE $1::int4[] IS NULL OR 0 = ANY ($1)
		ORDER BY 6 DESC`, pids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (b Blocker, err error) {
		var age float64
		if err := row.Scan(&b.PID, &b.Prepared, &b.User, &b.Application, &b.State, &age, &b.Query); err != nil {
			return b, err
		}
		b.Age = time.Duration(math.Max(age, 0) * float64(time.Second))
		return b, nil
	})
}

// locks finds who holds the tables: what setup must alter there waits for them, and so would
// everybody behind it (trap 18). Every role may see locks; whose they are only with pg_read_all_stats.
func (in inspection) locks(ctx context.Context) error {
	oids := make([]int64, 0, len(in.facts.Tables))
	for _, t := range in.facts.Tables {
		for _, leaf := range append(t.leaves(), t) {
			oids = append(oids, int64(leaf.OID))
		}
	}
	rows, err := in.conn.Query(ctx, `SELECT DISTINCT l.relation::int8, coalesce(a.pid, 0), coalesce(x.gid, ''), coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
			coalesce(a.state, CASE WHEN x.gid IS NOT NULL THEN 'prepared' ELSE '' END),
			coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8, coalesce(left(a.query, 80), '')
		FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
		LEFT JOIN LATERAL (SELECT p.gid FROM pg_catalog.pg_locks t JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid
			WHERE l.pid IS NULL AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.virtualtransaction = l.virtualtransaction LIMIT 1) x ON true
		WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY ($1::int8[]::oid[])
			AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
			AND (l.pid IS NULL OR l.pid <> pg_catalog.pg_backend_pid())
		ORDER BY 7 DESC`, oids)
	if err != nil {
		return err
	}
	in.facts.Locks, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l TableLock, err error) {
		var oid int64
		var age float64
		b := &l.By
		if err := row.Scan(&oid, &b.PID, &b.Prepared, &b.User, &b.Application, &b.State, &age, &b.Query); err != nil {
			return l, err
		}
		l.OID, b.Age = uint32(oid), time.Duration(math.Max(age, 0)*float64(time.Second))
		return l, nil
	})
	return err
}
