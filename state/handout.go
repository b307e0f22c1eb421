package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// wanted is a lane that this transaction has locked and whose next deliveries are looked for.
type wanted struct {
	laneKey
	tid   string    // of the locked row
	after int64     // nothing up to this seq is pending: spares the index the dead entries in front
	due   time.Time // of a claimed lane
	back  bool      // after was lowered, as something has come back into it
	// priority is the lane's.
	priority delivery.Priority
}

// head is a queue row.
type head struct {
	seq             int64
	day             time.Time
	attempts, bytes int
	again           *time.Time // when a person put it back
}

// found is what waits in a lane.
type found struct {
	wanted
	heads []head // to hand out
	more  bool
}

// nextInLanes reads the first queue rows of lanes by the primary key.
const nextInLanes = `
SELECT u.n, q.seq, q.day, q.attempts, q.bytes, q.again_at
FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY u (endpoint, key, after, n)
CROSS JOIN LATERAL (
	SELECT seq, day, attempts, bytes, again_at FROM {schema}.queue
	WHERE endpoint = u.endpoint AND lane = u.key AND seq > u.after ORDER BY seq LIMIT $4
) q`

// heads looks for up to perLane queue rows of each lane, within [delivery.LaneBytes]. The statement must be a later
// one than that which locked the lanes: its snapshot then holds everything that was enqueued before the lock.
func (db *DB) heads(b *pgx.Batch, lanes []wanted, perLane int, result *[]found) {
	endpoints, keys, after := make([]string, len(lanes)), make([]string, len(lanes)), make([]int64, len(lanes))
	all := make([]found, len(lanes))
	for i, w := range lanes {
		endpoints[i], keys[i], after[i] = w.endpoint, w.key, w.after
		all[i].wanted = w
	}
	b.Queue(db.sql(nextInLanes), endpoints, keys, after, perLane+1).Query(func(rows pgx.Rows) error {
		var n int64
		var h head
		_, err := pgx.ForEachRow(rows, []any{&n, &h.seq, &h.day, &h.attempts, &h.bytes, &h.again}, func() error {
			f := &all[n-1]
			f.heads = append(f.heads, h)
			h.again = nil // not shared with the next row
			return nil
		})
		for i := range all {
			all[i].cut(perLane)
		}
		*result = all
		return err
	})
}

// cut leaves what may be handed out at once.
func (f *found) cut(perLane int) {
	size := 0
	for i, h := range f.heads {
		size += h.bytes
		if i == perLane || i > 0 && size > delivery.LaneBytes {
			f.heads, f.more = f.heads[:i], true
			return
		}
	}
}

// ration splits what was found into what one call hands out, within [delivery.HandoutBytes], and what it leaves. Lanes in which
// nothing waits are among the former. It writes over all.
func ration(all []found) (now, later []found) {
	size := 0
	now = all[:0]
	for _, f := range all {
		if len(f.heads) > 0 && size >= delivery.HandoutBytes {
			later = append(later, f)
			continue
		}
		for _, h := range f.heads {
			size += h.bytes
		}
		now = append(now, f)
	}
	return now, later
}

// logColumns are read by scanDelivery, in this order.
const logColumns = `seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn::text, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, format, headers`

func scanDelivery(row pgx.CollectableRow) (*delivery.Delivery, error) {
	var d delivery.Delivery
	var lsn string
	var xid int64
	var format *string
	var headers []byte
	err := row.Scan(&d.Seq, &d.ID, &d.Endpoint, &d.Lane, &d.Rule, &d.Event, &d.Model, &d.Record, &d.Op, &d.Late, &lsn, &xid, &d.CommitAt, &d.Enqueued, &d.ContentType, &d.Body, &d.Epoch, &d.Sequence, &format, &headers)
	if err != nil {
		return nil, err
	}
	if err := setFormat(&d, format, headers); err != nil {
		return nil, err
	}
	d.XID = uint32(xid)
	d.CommitAt = d.CommitAt.UTC()
	d.CommitLSN, err = parseLSN(lsn)
	return &d, err
}

// load queues the reading of the log rows behind heads into rows, by seq.
func (db *DB) load(b *pgx.Batch, lanes []found, rows map[int64]*delivery.Delivery) {
	const read = `SELECT ` + logColumns + ` FROM {schema}.delivery WHERE day = $1 AND seq = ANY($2)`
	days := map[time.Time][]int64{}
	for _, f := range lanes {
		for _, h := range f.heads {
			days[h.day] = append(days[h.day], h.seq)
		}
	}
	if len(days) > 0 {
		b.Queue(choosing)
	}
	for day, seqs := range days {
		b.Queue(db.sql(read), day, seqs).Query(func(r pgx.Rows) error {
			list, err := pgx.CollectRows(r, scanDelivery)
			for _, d := range list {
				rows[d.Seq] = d
			}
			return err
		})
	}
}

// assemble makes lanes of heads and log rows. Heads without a log row are returned as lost: someone has dropped their partition by hand.
func assemble(lanes []found, rows map[int64]*delivery.Delivery) (ready []delivery.Lane, lost []found) {
	for _, f := range lanes {
		lane := delivery.Lane{Endpoint: f.endpoint, Key: f.key, More: f.more, Priority: f.priority}
		gone := found{wanted: f.wanted}
		for _, h := range f.heads {
			d, ok := rows[h.seq]
			if !ok {
				gone.heads = append(gone.heads, h)
				continue
			}
			d.Attempts = h.attempts
			if h.again != nil {
				d.Enqueued = *h.again
			}
			lane.Deliveries = append(lane.Deliveries, d)
		}
		if len(lane.Deliveries) > 0 {
			ready = append(ready, lane)
		}
		if gone.more = len(lane.Deliveries) == 0; gone.more || len(gone.heads) > 0 {
			lost = append(lost, gone)
		}
	}
	return ready, lost
}

// bury turns queue rows whose delivery is lost into dead letters, so that they block nothing and are seen. A lane that
// had nothing else to hand out is freed, to be claimed again.
func (db *DB) bury(ctx context.Context, t *transaction, lost []found) error {
	const inter = `WITH gone AS (
			DELETE FROM {schema}.queue WHERE endpoint = $1 AND lane = $2 AND seq = ANY($3) RETURNING endpoint, lane, seq, attempts, bytes
		), tallied AS (
			INSERT INTO {schema}.tally (endpoint, pending, pending_bytes, dead) SELECT endpoint, -1, -bytes, 1 FROM gone
		)
		INSERT INTO {schema}.dead_letter (seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at,
			content_type, body, attempts, reason, class, status, holds)
		SELECT seq, 'lost_' || seq, endpoint, lane, '', '', '', '', '', false, '0/0', 0, now(), now(), '', '', attempts, $4, 'lost', 0, false FROM gone`
	return t.send(ctx, func(b *pgx.Batch) {
		for _, f := range lost {
			seqs := make([]int64, len(f.heads))
			for i, h := range f.heads {
				seqs[i] = h.seq
			}
			reason := "its row in the delivery log is gone"
			if len(f.heads) > 0 {
				reason = fmt.Sprintf("its row in the delivery log of %s is gone: was the partition dropped by hand?", f.heads[0].day.Format(time.DateOnly))
			}
			b.Queue(db.sql(inter), f.endpoint, f.key, seqs, reason)
			if f.more {
				b.Queue(db.sql(releaseLanes), []string{f.endpoint}, []string{f.key}, []float64{0}, []bool{false})
			}
		}
	})
}

// releaseLanes takes lanes out of this process's hands, due after so many seconds, or when they were where that is null. It is the database's clock that tells when that is.
const releaseLanes = `UPDATE {schema}.lane l SET owner = NULL, due = coalesce(now() + make_interval(secs => u.wait), l.due), held = u.held
	FROM unnest($1::text[], $2::text[], $3::float8[], $4::boolean[]) u (endpoint, key, wait, held)
	WHERE l.endpoint = u.endpoint AND l.key = u.key`

// deleteLanes removes locked lanes that have no queue rows, by their place.
const deleteLanes = `DELETE FROM {schema}.lane WHERE ctid = ANY($1::text[]::tid[])`
