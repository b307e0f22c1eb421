package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
	Neutralized  bool   // Odoo's database.is_neutralized; in a stored binding: an operator said that it is to send all the same
	Slot         string
}

// BindOptions says what Bind may do beyond comparing.
type BindOptions struct {
	// Start is where the slot stands: its confirmed_flush_lsn, as read before this call. 0 leaves positions out of [DB.Compare].
	Start cdc.LSN

	// Created says that the slot was made just now, for this state: a state that is bound to nothing yet begins at
	// Start. Without it (or Adopt) such a state is refused, as it may have been lost beside a slot that was read from.
	Created bool

	// Adopt takes the source although it differs or does not go on where the state ends: the operator says that this is on purpose.
	Adopt bool

	// Timeline decides whether a newer timeline is accepted: whether position lies before the point where stored was
	// left (a failover that kept the slot). A nil Timeline accepts none. Its error becomes part of the mismatch.
	Timeline func(stored, found uint32, position cdc.LSN) error

	// End returns where the server's WAL ends, 0 when that is not known. It is called after the position was read, since another process may move
	// that. A nil End leaves the comparison out.
	End func() (cdc.LSN, error)
}

// Start is what comes of Bind.
type Start struct {
	Position delivery.Position // to start from
	Fresh    bool              // the state was bound for the first time
	Adoption *Adoption         // nil when nothing had to be adopted
}

// Adoption is what was accepted on purpose, as the table adoption holds it.
type Adoption struct {
	Reasons  []string // what would have been refused
	From, To cdc.LSN  // the positions before and since; From is 0 when the state held none
	Lost     int64    // bytes of WAL between them; -1 when that cannot be told
	Epoch    int64    // that begins with it, or that goes on
	GoesOn   bool     // nothing was lost, and numbers go on: the same database and slot, renamed or marked as a copy
	OldSlot  string   // of the same database, which the state was read from before; "" when it is the same. It still keeps WAL
}

// Bind ties the state to a source, or makes sure that it is tied to this one, and returns the position to start
// from. The first call stores the binding; later ones fail unless every part is the same (*[MismatchError]) and the slot
// goes on where the state ends (*[cdc.PositionError]; invariants 1, 5 and 8).
//
// With opts.Adopt the new binding replaces the old one and begins a new epoch, but for a database that was only renamed or marked as a copy, in
// which numbers go on. The position is kept when the WAL goes on from it: in the same cluster and
// database, on an accepted timeline, with a slot that does not stand behind it. Otherwise it becomes opts.Start, and
// the gap is noted in the table adoption. Pending deliveries stay.
func (db *DB) Bind(ctx context.Context, b Binding, opts BindOptions) (Start, error) {
	var start Start
	var refused error
	err := db.transact(ctx, "bind", func(t *transaction) error {
		stored, at, bound, err := db.binding(ctx, t)
		if err != nil {
			return err
		}
		j, err := judge(db.cfg.Schema, stored, at, bound, b, opts)
		if err != nil {
			return err
		}
		if refused = errors.Join(j.refusals...); refused != nil && !opts.Adopt {
			return nil
		}
		b.Neutralized = b.Neutralized && (opts.Adopt || stored.Neutralized)
		start = Start{Position: j.position, Fresh: !bound}
		switch {
		case !bound:
			err = db.insertBinding(ctx, t, b, start.Position)
		case stored != b || start.Position != at:
			err = db.updateBinding(ctx, t, b, start.Position)
		}
		if err != nil || refused == nil {
			return err
		}
		start.Adoption, refused = j.adoption(at), nil
		if bound && stored.sameDatabase(b) && stored.Slot != b.Slot {
			start.Adoption.OldSlot = stored.Slot
		}
		return db.adopt(ctx, t, start.Adoption)
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return Start{}, err
	}
	return start, nil
}

// Compare says what Bind would refuse without opts.Adopt, and changes nothing: nil, or joined errors.
func (db *DB) Compare(ctx context.Context, b Binding, opts BindOptions) error {
	stored, bound, err := db.Bound(ctx)
	if err != nil {
		return err
	}
	var at delivery.Position
	if bound {
		if at, err = db.StoredPosition(ctx); err != nil {
			return err
		}
	}
	j, err := judge(db.cfg.Schema, stored, at, bound, b, opts)
	return errors.Join(append(j.refusals, err)...)
}

// adopt notes what was accepted, and begins the epoch that tells receivers of it unless everything goes on.
func (db *DB) adopt(ctx context.Context, t *transaction, a *Adoption) error {
	const note = `INSERT INTO {schema}.adoption (reasons, from_lsn, to_lsn, lost_bytes, epoch, walhook, from_at, oldest, hidden)
		SELECT $1, $2::text::pg_lsn, $3::text::pg_lsn, nullif($4::bigint, -1), epoch, $5, w.at, w.oldest, w.hidden FROM {schema}.source LEFT JOIN LATERAL (
			SELECT at, oldest, hidden FROM {schema}.waymark WHERE lsn <= $2::text::pg_lsn AND $4::bigint >= 0 ORDER BY lsn DESC LIMIT 1) w ON true RETURNING epoch`
	const foreign = `DELETE FROM {schema}.waymark WHERE $1::bigint < 0` // of WAL that this is not, or perhaps not
	if !a.GoesOn {
		if err := db.newEpoch(ctx, t); err != nil {
			return err
		}
		if err := db.forgetImages(ctx, t); err != nil {
			return err
		}
		if err := t.send(ctx, func(batch *pgx.Batch) { batch.Queue(db.sql(`UPDATE {schema}.source SET publication = NULL`)) }); err != nil {
			return err
		}
	}
	return t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(note), a.Reasons, a.From.String(), a.To.String(), a.Lost, db.cfg.Version).
			QueryRow(func(row pgx.Row) error { return row.Scan(&a.Epoch) })
		batch.Queue(db.sql(foreign), a.Lost)
	})
}

// binding reads and locks the source row.
func (db *DB) binding(ctx context.Context, t *transaction) (b Binding, pos delivery.Position, bound bool, err error) {
	// The lock on the table keeps two first calls from inserting at once.
	const lock = `LOCK TABLE {schema}.source IN SHARE ROW EXCLUSIVE MODE`
	const read = `SELECT system_id, timeline, database_oid, database_name, uuid, create_date, neutralized, slot, lsn::text, open_lsn::text, open_count
		FROM {schema}.source FOR UPDATE`
	var lsn, open string
	err = t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(lock))
		batch.Queue(db.sql(read)).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&b.SystemID, &b.Timeline, &b.DatabaseOID, &b.DatabaseName, &b.UUID, &b.CreateDate, &b.Neutralized, &b.Slot, &lsn, &open, &pos.Count)
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
	const insert = `INSERT INTO {schema}.source (system_id, timeline, database_oid, database_name, uuid, create_date, neutralized, slot, lsn)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::pg_lsn)`
	return t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(insert), b.SystemID, int64(b.Timeline), int64(b.DatabaseOID), b.DatabaseName, b.UUID, b.CreateDate, b.Neutralized, b.Slot, pos.LSN.String())
	})
}

func (db *DB) updateBinding(ctx context.Context, t *transaction, b Binding, pos delivery.Position) error {
	const update = `UPDATE {schema}.source SET system_id = $1, timeline = $2, database_oid = $3, database_name = $4, uuid = $5, create_date = $6,
		neutralized = $7, slot = $8, lsn = $9::text::pg_lsn, open_lsn = $10::text::pg_lsn, open_count = $11, bound_at = now(), updated_at = now()`
	return t.send(ctx, func(batch *pgx.Batch) {
		batch.Queue(db.sql(update), b.SystemID, int64(b.Timeline), int64(b.DatabaseOID), b.DatabaseName, b.UUID, b.CreateDate, b.Neutralized, b.Slot,
			pos.LSN.String(), pos.Open.String(), pos.Count)
	})
}

// BindingSQL returns the statement that ties a state without a binding to a source, for the script of `setup --dry-run`. lsn is an SQL expression for where
// the slot was made, and from, which may be empty, what it comes from.
func BindingSQL(cfg Config, b Binding, lsn, from string) string {
	cfg = cfg.WithDefaults()
	if from != "" {
		from = "\n    FROM " + from
	}
	return expand(fmt.Sprintf(`INSERT INTO {schema}.source (system_id, timeline, database_oid, database_name, uuid, create_date, slot, lsn)
    SELECT %s, %d, %d, %s, %s, %s, %s, %s%s;
`, literal(b.SystemID), b.Timeline, b.DatabaseOID, literal(b.DatabaseName), literal(b.UUID), literal(b.CreateDate), literal(b.Slot), lsn, from), cfg.Schema)
}

// Bound returns the binding, and false when there is none. It is for commands that show or compare without binding.
func (db *DB) Bound(ctx context.Context) (b Binding, bound bool, err error) {
	const read = `SELECT system_id, timeline, database_oid, database_name, uuid, create_date, neutralized, slot FROM {schema}.source`
	err = db.pool.QueryRow(ctx, db.sql(read)).Scan(&b.SystemID, &b.Timeline, &b.DatabaseOID, &b.DatabaseName, &b.UUID, &b.CreateDate, &b.Neutralized, &b.Slot)
	if noRows(err) {
		return Binding{}, false, nil
	}
	return b, err == nil, db.translate("read binding", err)
}

// RecallPublication returns what [DB.RememberPublication] was given last; false when that is nothing since the place in the source was taken on.
func (db *DB) RecallPublication(ctx context.Context) (m cdc.PublicationMemory, known bool, err error) {
	const read = `SELECT publication FROM {schema}.source`
	var text []byte
	err = db.pool.QueryRow(ctx, db.sql(read)).Scan(&text)
	switch {
	case noRows(err):
		return m, false, ErrNotBound
	case err != nil || text == nil:
		return m, false, db.translate("recall the publication", err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, false, fmt.Errorf("recall the publication: %w", err)
	}
	return m, true, nil
}

// RememberPublication notes how the source's publication was found, for the process after this one.
func (db *DB) RememberPublication(ctx context.Context, m cdc.PublicationMemory) error {
	const write = `UPDATE {schema}.source SET publication = $1 WHERE publication IS DISTINCT FROM $1`
	_, err := db.pool.Exec(ctx, db.sql(write), m)
	return db.translate("remember the publication", err)
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
