package state

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Detachment is the wish that all walhook processes leave the source's database for a while.
type Detachment struct {
	For time.Duration // from now on
	Why string        // for people
}

// Detach asks all processes of this state to leave the source's database, for d from now on. They see it within a second or two. A
// second call replaces the first.
func (db *DB) Detach(ctx context.Context, d Detachment) error {
	const wish = `INSERT INTO {schema}.detach (until, why) VALUES (now() + $1, $2)
		ON CONFLICT (one) DO UPDATE SET until = excluded.until, why = excluded.why, asked_at = now()`
	_, err := db.pool.Exec(ctx, db.sql(wish), d.For, d.Why)
	return db.translate("detach", err)
}

// Attach takes the wish back, and reports whether there was one. Processes that have left the state's database with the source's see
// it when they are back.
func (db *DB) Attach(ctx context.Context) (bool, error) {
	tag, err := db.pool.Exec(ctx, db.sql(`DELETE FROM {schema}.detach WHERE until > now()`))
	return tag.RowsAffected() > 0, db.translate("attach", err)
}

// Detached returns for how long processes shall still stay away, and why; nil when they need not. The server's clock counts.
func (db *DB) Detached(ctx context.Context) (*Detachment, error) {
	d := &Detachment{}
	err := db.pool.QueryRow(ctx, db.sql(`SELECT until - now(), why FROM {schema}.detach WHERE until > now()`)).Scan(&d.For, &d.Why)
	if noRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, db.translate("look for a detachment", err)
	}
	return d, nil
}

// detachedFor is Detached for schemas of any version.
func (db *DB) detachedFor(ctx context.Context) (time.Duration, error) {
	d, err := db.Detached(ctx)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && pg.Code == "42P01", err == nil && d == nil:
		return 0, nil
	case err != nil:
		return 0, err
	}
	return d.For, nil
}
