package state

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// Reasons why numbers of a sequence never arrive, in the table gap.
const (
	gapDiscarded = "discarded" // a person discarded the dead letter
	gapDropped   = "dropped"   // the oldest, when a limit was reached
	gapParked    = "parked"    // never enqueued, while the endpoint was over its limit
	// A later event came within the window of the rule, and a rule in test mode sends nothing.
	gapSuperseded = "superseded"
	gapTest       = "test"
)

// missing is a number that will never arrive.
type missing struct {
	endpoint        string
	epoch, sequence int64
	lsn             string // commit LSN of its transaction
	at              time.Time
}

func missingOf(d *delivery.Delivery) missing {
	return missing{d.Endpoint, d.Epoch, d.Sequence, d.CommitLSN.String(), d.CommitAt}
}

// noteGaps writes runs of numbers. One that begins where a gap of the same reason ends makes it longer: a queue that stays over its limit
// leaves one row, not a row for each batch.
const noteGaps = `
WITH runs AS (
	SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[])
		r (endpoint, epoch, first, last, first_lsn, last_lsn, first_at, last_at)
), longer AS (
	UPDATE {schema}.gap g SET last = r.last, last_lsn = r.last_lsn::pg_lsn, last_at = r.last_at, noted_at = now() FROM runs r
	WHERE g.endpoint = r.endpoint AND g.epoch = r.epoch AND g.last = r.first - 1 AND g.reason = $9
	RETURNING r.endpoint, r.epoch, r.first
)
INSERT INTO {schema}.gap AS g (endpoint, epoch, first, last, reason, first_lsn, last_lsn, first_at, last_at)
SELECT r.endpoint, r.epoch, r.first, r.last, $9, r.first_lsn::pg_lsn, r.last_lsn::pg_lsn, r.first_at, r.last_at FROM runs r
WHERE NOT EXISTS (SELECT FROM longer l WHERE l.endpoint = r.endpoint AND l.epoch = r.epoch AND l.first = r.first)
ON CONFLICT (endpoint, epoch, first) DO UPDATE SET last = greatest(g.last, excluded.last), noted_at = now()`

// noteGaps queues what says that numbers will never arrive. Deliveries from before there were numbers have none to miss.
func (db *DB) noteGaps(b *pgx.Batch, list []missing, reason string) {
	list = slices.DeleteFunc(list, func(m missing) bool { return m.sequence == 0 })
	slices.SortFunc(list, func(a, b missing) int {
		return cmp.Or(cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.sequence, b.sequence))
	})
	var endpoints, firstLSN, lastLSN []string
	var epochs, first, last []int64
	var firstAt, lastAt []time.Time
	for i, m := range list {
		if i > 0 && list[i-1].endpoint == m.endpoint && list[i-1].epoch == m.epoch && list[i-1].sequence+1 == m.sequence {
			n := len(last) - 1
			last[n], lastLSN[n], lastAt[n] = m.sequence, m.lsn, m.at
			continue
		}
		endpoints, epochs, first, last = append(endpoints, m.endpoint), append(epochs, m.epoch), append(first, m.sequence), append(last, m.sequence)
		firstLSN, lastLSN, firstAt, lastAt = append(firstLSN, m.lsn), append(lastLSN, m.lsn), append(firstAt, m.at), append(lastAt, m.at)
	}
	if len(endpoints) > 0 {
		b.Queue(db.sql(noteGaps), endpoints, epochs, first, last, firstLSN, lastLSN, firstAt, lastAt, reason)
	}
}

// dropGaps removes gaps that have not grown for as long as the log is kept: the log no longer has their neighbours. Those of deliveries that the log
// still has stay with it.
func (db *DB) dropGaps(ctx context.Context) error {
	const drop = `DELETE FROM {schema}.gap WHERE noted_at < least(now() - $1::interval, $2)`
	var since time.Time
	err := db.read(ctx, "list partitions", func(tx pgx.Tx) error {
		list, err := db.partitions(ctx, tx, false)
		since = list.since("delivery")
		return err
	})
	if err != nil {
		return err
	}
	_, err = db.pool.Exec(ctx, db.sql(drop), db.cfg.Retention, since)
	return db.translate("drop old gaps", err)
}
