package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Told is a record that an endpoint has been told of, and not that it is gone.
type Told struct {
	Endpoint, Model, Record string
	Rules                   []string // that told
}

// LastDelivery is the number of the last delivery that there has been.
func (db *DB) LastDelivery(ctx context.Context) (seq int64, err error) {
	err = db.pool.QueryRow(ctx, db.sql(`SELECT last_seq FROM {schema}.source`)).Scan(&seq)
	if noRows(err) {
		return 0, ErrNotBound
	}
	return seq, db.translate("look for the last delivery", err)
}

// toldPage is how many are handed over at once.
const toldPage = 5000

// Told hands over, page by page, what the log says endpoints know of some models: records of which the last delivery is no unlink. Rules in test mode have
// told nobody. oldest is how far back the log reaches.
func (db *DB) Told(ctx context.Context, endpoints, models, testing []string, page func([]Told) error) (oldest time.Time, err error) {
	const (
		prepare = `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0`
		declare = `DECLARE told NO SCROLL CURSOR FOR SELECT endpoint, model, record, array_agg(DISTINCT rule) FROM {schema}.delivery
			WHERE endpoint = ANY ($1) AND model = ANY ($2) AND rule <> ALL ($3) AND record <> '' AND op <> 'message'
			GROUP BY endpoint, model, record HAVING (array_agg(op ORDER BY seq DESC))[1] <> 'unlink'`
		first = `SELECT coalesce(min(enqueued_at), now()) FROM (SELECT enqueued_at FROM {schema}.delivery ORDER BY seq LIMIT 1) d`
	)
	if testing == nil {
		testing = []string{}
	}
	err = db.read(ctx, "read what endpoints were told", func(tx pgx.Tx) error {
		if err := tx.Conn().PgConn().Exec(ctx, prepare).Close(); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, db.sql(first)).Scan(&oldest); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, db.sql(declare), pgx.QueryExecModeExec, endpoints, models, testing); err != nil {
			return err
		}
		for {
			rows, err := tx.Query(ctx, fmt.Sprintf("FETCH %d FROM told", toldPage))
			if err != nil {
				return err
			}
			some, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Told, err error) {
				err = row.Scan(&t.Endpoint, &t.Model, &t.Record, &t.Rules)
				return t, err
			})
			if err != nil || len(some) == 0 {
				return err
			}
			if err := page(some); err != nil {
				return err
			}
		}
	})
	return oldest.UTC(), err
}
