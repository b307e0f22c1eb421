package state

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/delivery"
)

// Binding names one source beyond doubt: cluster, database and slot. Copies of a database differ from it
// in at least one part (design of invariants 5 and 8); a clone of the whole machine does not.
type Binding struct {
	SystemID     string // of the cluster
	Timeline     uint32
	DatabaseOID  uint32
	DatabaseName string
	UUID         string // Odoo's database.uuid; "" for other databases
	CreateDate   string // Odoo's database.create_date; "" for other databases
	Slot         string
}

// BindOptions says what Bind may do beyond comparing.
type BindOptions struct {
	// Start is the position of a source that is bound for the first time, or adopted with another slot,
	// database or cluster: the slot's confirmed_flush_lsn.
	Start cdc.LSN

	// Adopt takes the source although it differs: the operator says that it was moved on purpose.
	Adopt bool

	// Timeline decides whether a newer timeline is accepted: whether position lies before the point where stored was
	// left (a failover that kept the slot). A nil Timeline accepts none. Its error becomes part of the mismatch.
	Timeline func(stored, found uint32, position cdc.LSN) error
}

// Difference is one part in which the source is not the one that the state belongs to.
type Difference struct {
	What          string // "database name"
	Stored, Found string
	Note          string // may be empty
}

// MismatchError says that the state belongs to another source (invariants 5, 8). Nothing may be sent.
type MismatchError struct {
	Schema      string
	Differences []Difference
}

// Error lists the differences.
func (e *MismatchError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the state schema %q belongs to another source:", e.Schema)
	for i, d := range e.Differences {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s was %q and is %q", d.What, d.Stored, d.Found)
		if d.Note != "" {
			b.WriteString(" (" + d.Note + ")")
		}
	}
	return b.String()
}

// Hint says what to do in either case.
func (e *MismatchError) Hint() string {
	return "if this is a copy (staging, a restored backup), leave production's webhooks alone: give it its own [state] dsn or schema and its own slot, or remove walhook from it. " +
		"If the database was moved or renamed on purpose and the original no longer runs: walhook run --adopt"
}

// Bind ties the state to a source, or makes sure that it is tied to this one, and returns the position to start
// from. The first call stores the binding; later ones fail with *[MismatchError] unless every part is the same.
// With opts.Adopt the new binding replaces the old one: the position is kept when cluster, database and slot are
// the same, so that only names have changed, and becomes opts.Start otherwise. Pending deliveries stay.
func (db *DB) Bind(ctx context.Context, b Binding, opts BindOptions) (delivery.Position, error) {
	var pos delivery.Position
	var mismatch error
	err := db.transact(ctx, "bind", func(t *transaction) error {
		stored, at, bound, err := db.binding(ctx, t)
		if err != nil {
			return err
		}
		if !bound {
			pos = delivery.Position{LSN: opts.Start}
			return db.insertBinding(ctx, t, b, pos)
		}
		pos = at
		var diff []Difference
		add := func(what, was, is string) {
			if was != is {
				diff = append(diff, Difference{What: what, Stored: was, Found: is})
			}
		}
		add("cluster (system identifier)", stored.SystemID, b.SystemID)
		add("database oid", fmt.Sprint(stored.DatabaseOID), fmt.Sprint(b.DatabaseOID))
		add("slot", stored.Slot, b.Slot)
		moved := len(diff) > 0
		add("database name", stored.DatabaseName, b.DatabaseName)
		add("database.uuid", stored.UUID, b.UUID)
		add("database.create_date", stored.CreateDate, b.CreateDate)
		if stored.Timeline != b.Timeline {
			if note := acceptTimeline(stored.Timeline, b.Timeline, at.LSN, opts.Timeline); note != "" {
				diff = append(diff, Difference{What: "timeline", Stored: fmt.Sprint(stored.Timeline), Found: fmt.Sprint(b.Timeline), Note: note})
				moved = true
			}
		}
		if len(diff) > 0 && !opts.Adopt {
			mismatch = &MismatchError{Schema: db.cfg.Schema, Differences: diff}
			return nil
		}
		if moved {
			pos = delivery.Position{LSN: opts.Start}
		}
		if stored == b && pos == at {
			return nil
		}
		return db.updateBinding(ctx, t, b, pos)
	})
	if err != nil {
		return delivery.Position{}, err
	}
	if mismatch != nil {
		return delivery.Position{}, mismatch
	}
	return pos, nil
}

// acceptTimeline returns why a timeline is refused; "" when it is accepted.
func acceptTimeline(stored, found uint32, position cdc.LSN, decide func(stored, found uint32, position cdc.LSN) error) string {
	switch {
	case found < stored:
		return "an older timeline: this is not the server that walhook followed"
	case decide == nil:
		return "point-in-time recovery or failover"
	}
	if err := decide(stored, found, position); err != nil {
		return err.Error()
	}
	return ""
}

// binding reads and locks the source row.
func (db *DB) binding(ctx context.Context, t *transaction) (b Binding, pos delivery.Position, bound bool, err error) {
	// The lock on the table keeps two first calls from inserting at once.
	const lock = `LOCK TABLE {schema}.source IN SHARE ROW EXCLUSIVE MODE`
	const read = `SELECT system_id, timeline, database_oid, database_name, uuid, create_date, slot, lsn::text, open_lsn::text, open_count
		FROM {schema}.source FOR UPDATE`
	var lsn, open string
	err = t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(lock))
		batch.Queue(db.sql(read)).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&b.SystemID, &b.Timeline, &b.DatabaseOID, &b.DatabaseName, &b.UUID, &b.CreateDate, &b.Slot, &lsn, &open, &pos.Count)
			if noRows(err) {
				return nil
			}
			bound = err == nil
			return err
		})
	})
	if err != nil || !bound {
		return b, pos, bound, err
	}
	pos, err = position(lsn, open, pos.Count)
	return b, pos, true, err
}

func (db *DB) insertBinding(ctx context.Context, t *transaction, b Binding, pos delivery.Position) error {
	const insert = `INSERT INTO {schema}.source (system_id, timeline, database_oid, database_name, uuid, create_date, slot, lsn)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::pg_lsn)`
	return t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(insert), b.SystemID, int64(b.Timeline), int64(b.DatabaseOID), b.DatabaseName, b.UUID, b.CreateDate, b.Slot, pos.LSN.String())
	})
}

func (db *DB) updateBinding(ctx context.Context, t *transaction, b Binding, pos delivery.Position) error {
	const update = `UPDATE {schema}.source SET system_id = $1, timeline = $2, database_oid = $3, database_name = $4, uuid = $5, create_date = $6,
		slot = $7, lsn = $8::text::pg_lsn, open_lsn = $9::text::pg_lsn, open_count = $10, bound_at = now(), updated_at = now()`
	return t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(update), b.SystemID, int64(b.Timeline), int64(b.DatabaseOID), b.DatabaseName, b.UUID, b.CreateDate, b.Slot,
			pos.LSN.String(), pos.Open.String(), pos.Count)
	})
}

// Bound returns the binding, and false when there is none. It is for commands that show or compare without binding.
func (db *DB) Bound(ctx context.Context) (b Binding, bound bool, err error) {
	const read = `SELECT system_id, timeline, database_oid, database_name, uuid, create_date, slot FROM {schema}.source`
	err = db.pool.QueryRow(ctx, db.sql(read)).Scan(&b.SystemID, &b.Timeline, &b.DatabaseOID, &b.DatabaseName, &b.UUID, &b.CreateDate, &b.Slot)
	if noRows(err) {
		return Binding{}, false, nil
	}
	return b, err == nil, db.translate("read binding", err)
}

// StoredPosition returns the position as committed; [ErrNotBound] before the first Bind.
func (db *DB) StoredPosition(ctx context.Context) (delivery.Position, error) {
	const read = `SELECT lsn::text, open_lsn::text, open_count FROM {schema}.source`
	var lsn, open string
	var count int64
	err := db.pool.QueryRow(ctx, db.sql(read)).Scan(&lsn, &open, &count)
	if noRows(err) {
		return delivery.Position{}, ErrNotBound
	}
	if err != nil {
		return delivery.Position{}, db.translate("read position", err)
	}
	pos, err := position(lsn, open, count)
	return pos, db.translate("read position", err)
}

// position makes a Position of the columns' text.
func position(lsn, open string, count int64) (pos delivery.Position, err error) {
	if pos.LSN, err = parseLSN(lsn); err != nil {
		return pos, err
	}
	pos.Open, err = parseLSN(open)
	pos.Count = count
	return pos, err
}
