package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/cdc"
)

// Reservation is a slot that was made for backtests.
type Reservation struct {
	Slot        string
	MaxRetained int64 // bytes of WAL that it may keep
	MadeAt      time.Time
	Start       cdc.LSN // confirmed position of the slot, by which it is known; 0 until it is known to be made
	Ended       string  // why a running walhook has dropped it; "" while it is there
}

// ErrReserved says that a slot is reserved already.
var ErrReserved = errors.New("the slot is reserved already")

// Made says that the slot was made: before that, one of its name is somebody else's.
func (r *Reservation) Made() bool { return r.Start != 0 }

// Reserve notes a slot that is about to be made; [DB.Reserved] says that it was. One that was dropped for its size may be made again.
func (db *DB) Reserve(ctx context.Context, slot string, limit int64) error {
	const again = `DELETE FROM {schema}.reservation WHERE slot = $1 AND ended_at IS NOT NULL`
	const insert = `INSERT INTO {schema}.reservation (slot, max_retained) VALUES ($1, $2)`
	err := db.transact(ctx, "reserve a slot", func(t *transaction) error {
		return t.send(ctx, func(b *pgx.Batch) {
			b.Queue(db.sql(again), slot)
			b.Queue(db.sql(insert), slot, limit)
		})
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return fmt.Errorf("reserve slot %q: %w", slot, ErrReserved)
	}
	return err
}

// Reserved notes that a slot was made, and by what it is known.
func (db *DB) Reserved(ctx context.Context, slot string, start cdc.LSN) error {
	const made = `UPDATE {schema}.reservation SET start_lsn = $2::text::pg_lsn WHERE slot = $1 AND start_lsn IS NULL AND ended_at IS NULL`
	tag, err := db.pool.Exec(ctx, db.sql(made), slot, start.String())
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("slot %q was released meanwhile", slot)
	}
	return db.translate("note a reserved slot", err)
}

// Release forgets a reservation.
func (db *DB) Release(ctx context.Context, slot string) error {
	const remove = `DELETE FROM {schema}.reservation WHERE slot = $1`
	_, err := db.pool.Exec(ctx, db.sql(remove), slot)
	return db.translate("release a slot", err)
}

// EndReservation notes that a slot was dropped, and why.
func (db *DB) EndReservation(ctx context.Context, slot, reason string) error {
	const end = `UPDATE {schema}.reservation SET ended_at = now(), reason = $2 WHERE slot = $1 AND ended_at IS NULL`
	_, err := db.pool.Exec(ctx, db.sql(end), slot, reason)
	return db.translate("end a reservation", err)
}

// Reservations lists them, those that ended too.
func (db *DB) Reservations(ctx context.Context) (list []Reservation, err error) {
	const read = `SELECT slot, max_retained, made_at, coalesce(reason, ''), coalesce(start_lsn, '0/0')::text FROM {schema}.reservation ORDER BY slot`
	err = db.read(ctx, "read reservations", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(read))
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Reservation, err error) {
			var start string
			if err = row.Scan(&r.Slot, &r.MaxRetained, &r.MadeAt, &r.Ended, &start); err != nil {
				return r, err
			}
			r.Start, err = parseLSN(start)
			return r, err
		})
		return err
	})
	return list, err
}
