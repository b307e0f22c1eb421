package state

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/delivery"
)

// Alerts name the endpoint that is told about other endpoints.
type Alerts struct {
	Endpoint string                  // "" for none
	Config   delivery.EndpointConfig // of that endpoint
}

// about says whether the alert endpoint is told about an endpoint: about itself it is not, that would have no end.
func (a Alerts) about(endpoint string) bool { return a.Endpoint != "" && a.Endpoint != endpoint }

// lockSource locks the source row. A transaction that tells something does so before it locks any lane, as Enqueue does: the
// notice's number comes from that row.
func (db *DB) lockSource(ctx context.Context, t *transaction) error {
	return t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(`SELECT FROM {schema}.source FOR UPDATE`)) })
}

// tell enqueues notices for the alert endpoint, in a transaction that has locked the source row, as its last statements: a lane that
// the transaction deletes as empty must not be the notice's. They take their numbers, and no heed of the endpoint's limit, which they
// exceed by little. Without a source nothing has a number, and nothing is told.
func (db *DB) tell(ctx context.Context, t *transaction, notices ...delivery.Notice) error {
	for _, n := range notices {
		if err := db.tellOne(ctx, t, n); err != nil {
			return err
		}
	}
	return nil
}

func (db *DB) tellOne(ctx context.Context, t *transaction, n delivery.Notice) error {
	const usage = `SELECT coalesce(sum(pending), 0)::bigint, coalesce(sum(pending_bytes), 0)::bigint, coalesce(sum(dead), 0)::bigint FROM {schema}.queue_usage WHERE endpoint = $1`
	number := `UPDATE {schema}.source SET last_seq = last_seq + 1, ` + takeNumbers("$1", "$2") + `
		RETURNING system_id, database_oid, lsn::text, last_seq, epoch, (numbers ->> ($1::text[])[1])::bigint`
	to := db.alerts().Endpoint
	var id delivery.Identity
	var lsn string
	var seq, epoch, sequence, oid int64
	bound := true
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(usage), n.Endpoint).QueryRow(func(row pgx.Row) error { return row.Scan(&n.Pending, &n.PendingBytes, &n.Dead) })
		b.Queue(db.sql(number), []string{to}, []int64{1}).QueryRow(func(row pgx.Row) error {
			err := row.Scan(&id.SystemID, &oid, &lsn, &seq, &epoch, &sequence)
			if noRows(err) {
				bound = false
				return nil
			}
			return err
		})
	}); err != nil || !bound {
		return err
	}
	id.DatabaseOID = uint32(oid)
	at, err := parseLSN(lsn)
	if err != nil {
		return err
	}
	d, err := n.Delivery(id, at, to, db.alerts().Config)
	if err != nil {
		return err
	}
	d.Seq, d.Epoch, d.Sequence = seq, epoch, sequence
	return t.send(ctx, func(b *pgx.Batch) { db.enqueueOne(b, d, at) })
}

// enqueueOne logs and queues a delivery that has its numbers.
func (db *DB) enqueueOne(b *pgx.Batch, d *delivery.Delivery, lsn cdc.LSN) {
	const (
		open = `INSERT INTO {schema}.lane AS l (endpoint, key, due) VALUES ($1, $2, now()) ON CONFLICT (endpoint, key) DO UPDATE SET owner = l.owner WHERE false`
		log  = `INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, format, headers)
			VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2, $3, $4, $5, $6, $7, $8, $9, false, $10::text::pg_lsn, 0, $11, now(), $12, $13, $14, $15, $16, $17::text::json)`
		queue = `INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes) VALUES ($1, $2, $3, (now() AT TIME ZONE 'UTC')::date, $4)`
	)
	b.Queue(db.sql(open), d.Endpoint, d.Lane)
	b.Queue(db.sql(log), d.Seq, d.ID, d.Endpoint, d.Lane, d.Rule, d.Event, d.Model, d.Record, d.Op, lsn.String(), d.CommitAt.UTC().Round(time.Microsecond), d.ContentType, d.Body, d.Epoch, d.Sequence, formatOf(d), headersOf(d))
	b.Queue(db.sql(queue), d.Endpoint, d.Lane, d.Seq, len(d.Body))
	y := tally{}
	u := y.at(d.Endpoint)
	u.Pending, u.PendingBytes = 1, int64(len(d.Body))
	y.queue(db, b)
}
