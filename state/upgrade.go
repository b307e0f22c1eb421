package state

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

const upgradeColumns = `lsn::text, begun_at, seen_at, modules, total, ended_at, coalesce(outcome, ''), held, dropped`

const lastUpgrade = `SELECT ` + upgradeColumns + ` FROM {schema}.upgrade ORDER BY n DESC LIMIT 1`

func scanUpgrade(row pgx.Row) (u delivery.Upgrade, err error) {
	var lsn string
	var ended *time.Time
	if err = row.Scan(&lsn, &u.Begun, &u.Seen, &u.Modules, &u.Total, &ended, &u.Outcome, &u.Held, &u.Dropped); err != nil {
		return delivery.Upgrade{}, err
	}
	u.Begun, u.Seen, u.Ended = u.Begun.UTC(), u.Seen.UTC(), timeOf(ended)
	u.LSN, err = parseLSN(lsn)
	return u, err
}

// Upgrade returns the module upgrade that was under way at the stored position, or else the last one; the zero value when there was none.
func (db *DB) Upgrade(ctx context.Context) (u delivery.Upgrade, err error) {
	err = db.read(ctx, "read the upgrade", func(tx pgx.Tx) error {
		if u, err = scanUpgrade(tx.QueryRow(ctx, db.sql(lastUpgrade))); noRows(err) {
			err = nil
		}
		return err
	})
	return u, err
}

// noteUpgrade writes how an upgrade stands, in the transaction that moves the position (invariant 2).
func (db *DB) noteUpgrade(ctx context.Context, t *transaction, u *delivery.Upgrade) error {
	if u == nil || u.Begun.IsZero() {
		return nil
	}
	const note = `INSERT INTO {schema}.upgrade AS u (lsn, begun_at, seen_at, modules, total, ended_at, outcome, held, dropped)
		VALUES ($1::text::pg_lsn, $2, $3, $4, $5, $6, nullif($7, ''), $8, $9)
		ON CONFLICT (lsn) DO UPDATE SET seen_at = excluded.seen_at, modules = excluded.modules, total = excluded.total, ended_at = excluded.ended_at,
			outcome = excluded.outcome, held = excluded.held, dropped = excluded.dropped`
	modules := u.Modules
	if modules == nil {
		modules = []int32{}
	}
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(note), u.LSN.String(), u.Begun, u.Seen, modules, u.Total, orNull(u.Ended), u.Outcome, u.Held, u.Dropped)
	})
}
