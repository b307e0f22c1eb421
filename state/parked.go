package state

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// ParkedEvent is a parked event in the order of parking.
type ParkedEvent struct {
	delivery.Parked
	N int64 // keyset for Filter.Before
}

const parkedColumns = `p.n, p.id, p.rule, p.model, p.record, p.commit_lsn::text, p.xid, p.commit_at, p.error, p.change, p.parked_at`

func scanParked(row pgx.CollectableRow) (p ParkedEvent, err error) {
	var lsn string
	var xid int64
	err = row.Scan(&p.N, &p.ID, &p.Rule, &p.Model, &p.Record, &lsn, &xid, &p.CommitAt, &p.Error, &p.Change, &p.ParkedAt)
	if err != nil {
		return p, err
	}
	p.XID, p.CommitAt, p.ParkedAt = uint32(xid), p.CommitAt.UTC(), p.ParkedAt.UTC()
	p.CommitLSN, err = parseLSN(lsn)
	return p, err
}

func (f Filter) selectParked() conditions {
	var c conditions
	f.common(&c, "p", "parked_at")
	if f.Error != "" {
		c.contains("p.error", f.Error)
	}
	if f.Before > 0 {
		c.add("p.n < $%d", f.Before)
	}
	if f.After > 0 {
		c.add("p.n > $%d", f.After)
	}
	return c
}

// ListParked returns parked events, newest first.
func (db *DB) ListParked(ctx context.Context, f Filter) (list []ParkedEvent, err error) {
	c := f.selectParked()
	statement := "SELECT " + parkedColumns + " FROM {schema}.parked p WHERE " + c.where() + " ORDER BY p.n DESC LIMIT " + itoa(f.limit())
	err = db.read(ctx, "list parked events", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, expand(statement, db.cfg.Schema), c.args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanParked)
		return err
	})
	return list, err
}

// CountParked returns how many parked events a filter selects, for a preview: it stops counting at limit.
func (db *DB) CountParked(ctx context.Context, f Filter, limit int) (n int64, err error) {
	c := f.selectParked()
	statement := "SELECT count(*) FROM (SELECT FROM {schema}.parked p WHERE " + c.where() + " LIMIT " + itoa(limit) + ") selected"
	err = db.read(ctx, "count parked events", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, expand(statement, db.cfg.Schema), c.args...).Scan(&n)
	})
	return n, err
}

// DiscardParked deletes parked events, all that the filter selects (Limit, when set, bounds them), oldest first in bounded transactions, and
// returns how many.
func (db *DB) DiscardParked(ctx context.Context, f Filter) (done int64, err error) {
	if err := db.boundParked(ctx, &f); err != nil {
		return 0, err
	}
	c := f.selectParked()
	n := len(c.args)
	statement := expand("DELETE FROM {schema}.parked WHERE n = ANY (ARRAY(SELECT p.n FROM {schema}.parked p WHERE "+c.where()+" ORDER BY p.n LIMIT $"+itoa(n+1)+" FOR UPDATE SKIP LOCKED))", db.cfg.Schema)
	for {
		size := int64(chunk)
		if f.Limit > 0 {
			size = min(size, int64(f.Limit)-done)
		}
		if size <= 0 {
			return done, nil
		}
		tag, err := db.pool.Exec(ctx, statement, append(c.args[:n:n], size)...)
		if err != nil || tag.RowsAffected() == 0 {
			return done, db.translate("discard parked events", err)
		}
		done += tag.RowsAffected()
		f.report(done, f.After) // those that are done are gone
	}
}

// boundParked leaves events out that are parked from now on: while a rule fails, there is no end of them.
func (db *DB) boundParked(ctx context.Context, f *Filter) error {
	if f.Before > 0 {
		return nil
	}
	const read = `SELECT coalesce(max(n), 0) + 1 FROM {schema}.parked`
	return db.translate("read parked events", db.pool.QueryRow(ctx, db.sql(read)).Scan(&f.Before))
}

// Evaluated is what a second evaluation of parked events came to.
type Evaluated struct {
	Deliveries []*delivery.Delivery // of events that match now; those that do not match any more have none
	Parked     []*delivery.Parked   // events that fail again, with their new error
}

// RetryParked takes parked events that the filter selects out of their table, oldest first, and has them evaluated: their deliveries are
// enqueued in the same transaction, at the end of their lanes and marked late, and those that fail again are parked again. evaluate is
// called with up to 1000 events at a time and must have no effects. Of several retries at once one has events in hand, so that none overtakes another. A *[FullError] ends it where a queue has no room for more. It returns how many events were taken, and how many of these failed again.
func (db *DB) RetryParked(ctx context.Context, f Filter, evaluate func(context.Context, []*delivery.Parked) (Evaluated, error)) (taken, failed int64, err error) {
	if err := db.boundParked(ctx, &f); err != nil {
		return 0, 0, err
	}
	c := f.selectParked()
	n := len(c.args)
	statement := expand("SELECT "+parkedColumns+" FROM {schema}.parked p WHERE p.n > $"+itoa(n+1)+" AND "+c.where()+
		" ORDER BY p.n LIMIT $"+itoa(n+2)+" FOR UPDATE", db.cfg.Schema)
	var after int64
	most := int64(chunk)
	for {
		size := most
		if f.Limit > 0 {
			size = min(size, int64(f.Limit)-taken)
		}
		if size <= 0 {
			return taken, failed, nil
		}
		var events []ParkedEvent
		var again int
		err := db.withPartitions(ctx, func() error {
			return db.transact(ctx, "retry parked events", func(t *transaction) error {
				if err := t.send(ctx, func(b *pgx.Batch) {
					// Evaluation may look up related rows, so the transaction may idle.
					b.Queue("SET LOCAL idle_in_transaction_session_timeout = '10min'")
					// First of all, so that whoever waits here holds nothing. Then come parked events, the source, lanes: of those that lock the source, only a batch that
					// parks an event anew, after the position was moved back, locks an event too; the server ends one of the two, and it comes again.
					b.Queue("SELECT pg_advisory_xact_lock($1)", db.lockKey("retry parked"))
					b.Queue(statement, append(c.args[:n:n], after, size)...).Query(func(rows pgx.Rows) (err error) {
						events, err = pgx.CollectRows(rows, scanParked)
						return err
					})
				}); err != nil || len(events) == 0 {
					return err
				}
				var err error
				again, err = db.retryParked(ctx, t, events, evaluate)
				return err
			})
		})
		if full := (*FullError)(nil); errors.As(err, &full) && len(events) > 1 {
			most = int64(len(events)) / 2 // there may be room for some of them
			continue
		}
		if err != nil || len(events) == 0 {
			return taken, failed, err
		}
		taken += int64(len(events))
		failed += int64(again)
		after = events[len(events)-1].N
		f.report(taken, after)
	}
}

// retryParked evaluates locked events and writes what they came to.
func (db *DB) retryParked(ctx context.Context, t *transaction, events []ParkedEvent, evaluate func(context.Context, []*delivery.Parked) (Evaluated, error)) (int, error) {
	const remove = `DELETE FROM {schema}.parked WHERE n = ANY($1)`
	list, gone := make([]*delivery.Parked, len(events)), make([]int64, 0, len(events))
	for i := range events {
		list[i] = &events[i].Parked
	}
	result, err := evaluate(ctx, list)
	if err != nil {
		return 0, err
	}
	ofDelivery := func(d *delivery.Delivery) (string, int64) { return d.Endpoint, int64(len(d.Body)) }
	_, full, err := fitting(ctx, db, result.Deliveries, ofDelivery)
	if err != nil {
		return 0, err
	}
	if full != nil { // an event's deliveries are enqueued together, or it stays parked
		return 0, full
	}
	again := make(map[string]bool, len(result.Parked))
	for _, p := range result.Parked {
		again[p.ID] = true
	}
	for _, e := range events { // those that fail again keep their row, and with it their place
		if !again[e.ID] {
			gone = append(gone, e.N)
		}
	}
	if err := t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(remove), gone) }); err != nil {
		return 0, err
	}
	if err := db.park(ctx, t, result.Parked); err != nil {
		return 0, err
	}
	return len(result.Parked), db.append(ctx, t, result.Deliveries)
}

// append enqueues deliveries behind the position's back: late ones, in lanes that nobody owns. They wait for no window; those of rules in
// test mode are only logged.
func (db *DB) append(ctx context.Context, t *transaction, deliveries []*delivery.Delivery) error {
	if len(deliveries) == 0 {
		return nil
	}
	reserve := `UPDATE {schema}.source SET last_seq = last_seq + $1, ` + takeNumbers("$2", "$3") + `
		RETURNING last_seq - $1, (now() AT TIME ZONE 'UTC')::date, now(), epoch, ` + lastNumbers("$2")
	const insert = `INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, format, headers)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, true, $11::text::pg_lsn, $12, $13, $14, $15, $16, $17, $18, $19, $20::text::json)`
	const queue = `INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes) VALUES ($1, $2, $3, $4, $5)`
	numbers := numberOff(deliveries)
	var base, epoch int64
	var day, at time.Time
	var last []int64
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(reserve), len(deliveries), numbers.endpoints, numbers.counts).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&base, &day, &at, &epoch, &last)
			if noRows(err) {
				return ErrNotBound
			}
			return err
		})
	}); err != nil {
		return err
	}
	numbers.assign(deliveries, numbers.back(nil, deliveries), epoch, last)
	var tests []missing
	queued := make([]*delivery.Delivery, 0, len(deliveries))
	for _, d := range deliveries {
		if d.Test {
			tests = append(tests, missingOf(d))
		} else {
			queued = append(queued, d)
		}
	}
	lanes := groupByLane(queued)
	endpoints, keys := splitKeys(lanes.keys)
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(openLanesFor), endpoints, keys, lanes.priorities(), make([]*int64, len(keys)))
		pendingOf(queued).queue(db, b)
		db.noteGaps(b, tests, gapTest)
		for i, d := range deliveries {
			d.Seq, d.Enqueued = base+int64(i)+1, at
			b.Queue(db.sql(insert), d.Seq, day, d.ID, d.Endpoint, d.Lane, d.Rule, d.Event, d.Model, d.Record, d.Op, d.CommitLSN.String(), int64(d.XID), d.CommitAt,
				at, d.ContentType, nonNil(d.Body), d.Epoch, d.Sequence, formatOf(d), headersOf(d))
			if !d.Test {
				b.Queue(db.sql(queue), d.Endpoint, d.Lane, d.Seq, day, len(d.Body))
			}
		}
	})
}

func itoa(n int) string { return strconv.Itoa(n) }
