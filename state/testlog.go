package state

import (
	"context"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// opTest is delivery.op of tests that a person has sent.
const opTest = "test"

// LogTest puts a test that was sent to an endpoint on record, with its attempt: a row of the log like all others, but for its number, which it has none of. It was in no queue and is in none, and
// counts for nothing: it is never replayed, and no proof of completeness looks at it.
func (db *DB) LogTest(ctx context.Context, o *delivery.Outcome) error {
	const reserve = `UPDATE {schema}.source SET last_seq = last_seq + 1 RETURNING last_seq`
	const log = `INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, again, format, headers)
		VALUES ($1, (now() AT TIME ZONE 'UTC')::date, $2, $3, '', '', $4, '', '', $5, false, '0/0', 0, $6, now(), $7, $8, 0, 0, true, $9, $10::text::json)`
	return db.withPartitions(ctx, func() error {
		return db.transact(ctx, "log a test", func(t *transaction) error {
			d := *o.Delivery
			if err := t.send(ctx, func(b *pgx.Batch) {
				b.Queue(db.sql(reserve)).QueryRow(func(row pgx.Row) error {
					err := row.Scan(&d.Seq)
					if noRows(err) {
						return ErrNotBound
					}
					return err
				})
			}); err != nil {
				return err
			}
			attempt := *o
			attempt.Delivery = &d
			w := writing{attempts: []*delivery.Outcome{&attempt}}
			return t.send(ctx, func(b *pgx.Batch) {
				b.Queue(db.sql(log), d.Seq, d.ID, d.Endpoint, clean(d.Event), opTest, d.CommitAt.UTC(), d.ContentType, nonNil(d.Body), formatOf(&d), headersOf(&d))
				w.queueAttempts(db, b)
			})
		})
	})
}
