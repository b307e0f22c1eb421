package state

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/status"
)

// attemptColumns are what scanAttempt reads, of an attempt t.
const attemptColumns = `t.number, t.at, t.method, t.url, t.request_headers, t.status, t.response_headers, t.response_body, t.response_cut, t.error, t.class,
	t.dns_us, t.connect_us, t.tls_us, t.first_byte_us, t.total_us, t.result, t.reason, t.process, coalesce(t.batch, ''), coalesce(t.batch_position, 0), coalesce(t.batch_size, 0)`

// RecentAttempt is an attempt and whose it was.
type RecentAttempt struct {
	ID string // of the delivery
	Attempted
}

// RecentAttempts returns the last attempts of deliveries to an endpoint, newest first, among those that were enqueued last: it looks at no more than
// a window of the log.
func (db *DB) RecentAttempts(ctx context.Context, endpoint string, limit int) (list []RecentAttempt, err error) {
	err = db.read(ctx, "read attempts", func(tx pgx.Tx) error {
		if err := tx.Conn().PgConn().Exec(ctx, byIndex).Close(); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, db.sql(recentAttempts(db.window)), endpoint, limit)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (a RecentAttempt, err error) {
			a.Attempted, err = scanAttempt(named{row, &a.ID})
			return a, err
		})
		return err
	})
	slices.SortStableFunc(list, func(a, b RecentAttempt) int { return b.At.Compare(a.At) })
	return list, err
}

func recentAttempts(window int) string {
	return `SELECT d.id, ` + attemptColumns + `
		FROM (SELECT seq, day, id, endpoint FROM {schema}.delivery ORDER BY seq DESC LIMIT ` + itoa(window) + `) d
		JOIN LATERAL (SELECT * FROM {schema}.attempt t WHERE t.seq = d.seq AND t.day >= d.day ORDER BY t.at DESC LIMIT 3) t ON true
		WHERE d.endpoint = $1 ORDER BY d.seq DESC, t.at DESC LIMIT $2`
}

// named is a row whose first column goes elsewhere.
type named struct {
	pgx.CollectableRow
	name *string
}

// Scan reads the first column into name and the others into dest.
func (n named) Scan(dest ...any) error {
	return n.CollectableRow.Scan(append([]any{n.name}, dest...)...)
}

// LastNumber returns the epoch, and the last number that a delivery to an endpoint was given in it; zeros when there is none.
func (db *DB) LastNumber(ctx context.Context, endpoint string) (epoch, sequence int64, err error) {
	const read = `SELECT epoch, coalesce((numbers ->> $1)::bigint, 0) FROM {schema}.source`
	err = db.pool.QueryRow(ctx, db.sql(read), endpoint).Scan(&epoch, &sequence)
	if noRows(err) {
		return 0, 0, nil
	}
	return epoch, sequence, db.translate("read sequence", err)
}

// Processes returns the processes that work on the state, the oldest first. One whose lease has run out is dead, or stands still.
func (db *DB) Processes(ctx context.Context) ([]status.ProcessLine, error) {
	const read = `SELECT p.id, p.host, p.pid, p.version, p.started_at, p.lease_until, p.lease_until > now(), p.id IS NOT DISTINCT FROM (SELECT reader FROM {schema}.source)
		FROM {schema}.process p ORDER BY p.id`
	var list []status.ProcessLine
	err := db.read(ctx, "read processes", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(read))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (p status.ProcessLine, err error) {
			var started, lease time.Time
			err = row.Scan(&p.ID, &p.Host, &p.PID, &p.Version, &started, &lease, &p.Alive, &p.Reader)
			p.Started, p.Lease, p.Reader = started.UTC(), lease.UTC(), p.Reader && p.Alive
			return p, err
		})
		return err
	})
	return list, err
}
