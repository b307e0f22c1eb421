package state

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/internal/failpoint"
)

// enqueueColumns are the arrays $1…$15, $26, $31, $33 and $34 of one statement: a delivery per element; the last two are empty when all are standard. enqueue writes position, log, queue and lanes in one
// statement, all or nothing: with the source row that its compare-and-set did not find, everything joins to nothing (invariant 2). It
// finds it only for the process that is the reader, see [Reader], and only at the position that the batch starts from.
//
//   - seq is given out under the lock on the source row, so its order is the order of commits.
//   - The row of a lane that exists is locked and left as it is, unless something of a higher priority comes into it. Only new ones are
//     returned: of a row that was raised, xmax is this transaction, which has locked it before.
//   - A delivery whose size is -1 is set aside, see aside.
//   - A lane gets an owner only while the process row is there, which is locked before any lane and for the rest of the transaction (see
//     expireOthers), and only at endpoints that are not disabled.
//
// Arrays are unnested in the list of columns, and not in FROM, where each of them would be written to a tuplestore and read from it again: that
// took a sixth of the statement's time.
//
// An id is not unique in the log: what was sent again is logged again. That a transaction read twice is enqueued once
// is the position's work.
const enqueue = `
WITH me AS (
	SELECT id FROM {schema}.process WHERE id = $19 FOR KEY SHARE
), source AS (
	UPDATE {schema}.source SET lsn = $23::text::pg_lsn, open_lsn = $24::text::pg_lsn, open_count = $25,
		last_seq = last_seq + cardinality($1::text[]), updated_at = now(),
		%[2]s
	WHERE reader = $19 AND lsn = $20::text::pg_lsn AND open_lsn = $21::text::pg_lsn AND open_count = $22 %[1]s
	RETURNING last_seq - cardinality($1::text[]) AS base, epoch, %[3]s AS last, ctid AS tid, (now() AT TIME ZONE 'UTC')::date AS day, (SELECT id FROM me) AS me
), logged AS (
	INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence, format, headers)
	SELECT u.seq, u.day, u.id, u.endpoint, u.lane, u.rule, u.event, u.model, u.record, u.op, false, u.lsn::pg_lsn, u.xid, u.commit_at, now(), u.content_type, u.body,
		u.epoch, u.last[u.which] - u.back, nullif(u.format, ''), nullif(u.headers, '')::json
	FROM (SELECT generate_series(s.base + 1, s.base + cardinality($1::text[])) AS seq, s.day, s.epoch, s.last, unnest($1::text[]) AS id, unnest($2::text[]) AS endpoint,
		unnest($3::text[]) AS lane, unnest($4::text[]) AS rule, unnest($5::text[]) AS event, unnest($6::text[]) AS model, unnest($7::text[]) AS record,
		unnest($8::text[]) AS op, unnest($9::text[]) AS lsn, unnest($10::bigint[]) AS xid, unnest($11::timestamptz[]) AS commit_at,
		unnest($12::text[]) AS content_type, unnest($13::bytea[]) AS body, unnest($26::bigint[]) AS back, unnest($31::integer[]) AS which,
		unnest($33::text[]) AS format, unnest($34::text[]) AS headers FROM source s) u
), queued AS (
	INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes)
	SELECT u.endpoint, u.lane, u.seq, u.day, u.bytes
	FROM (SELECT generate_series(s.base + 1, s.base + cardinality($1::text[])) AS seq, s.day, unnest($2::text[]) AS endpoint, unnest($3::text[]) AS lane,
		unnest($14::integer[]) AS bytes FROM source s) u
	WHERE u.bytes >= 0
), tallied AS (
	INSERT INTO {schema}.tally (endpoint, pending, pending_bytes)
	SELECT e.name, e.rows, e.bytes FROM source s CROSS JOIN unnest($27::text[], $29::bigint[], $30::bigint[]) e (name, rows, bytes) WHERE e.rows > 0
), lanes AS (
	INSERT INTO {schema}.lane AS l (endpoint, key, owner, due, priority)
	SELECT u.endpoint, u.key, CASE WHEN u.take AND u.endpoint <> ALL ((SELECT coalesce(array_agg(name), '{}') FROM {schema}.endpoint WHERE disabled_at IS NOT NULL OR paused_at IS NOT NULL)::text[])
		THEN u.me END, now(), u.priority
	FROM (SELECT s.me, unnest($15::text[]) AS endpoint, unnest($16::text[]) AS key, unnest($17::boolean[]) AS take, unnest($32::smallint[]) AS priority FROM source s) u
	ORDER BY u.endpoint COLLATE "C", u.key COLLATE "C"
	ON CONFLICT (endpoint, key) DO UPDATE SET priority = excluded.priority WHERE l.priority < excluded.priority
	RETURNING l.endpoint, l.key, CASE WHEN l.xmax = 0 THEN l.owner END AS owner
)
SELECT s.base, s.tid::text, now(), s.epoch, s.last,
	(SELECT coalesce(array_agg(endpoint), '{}') FROM lanes WHERE owner IS NOT NULL),
	(SELECT coalesce(array_agg(key), '{}') FROM lanes WHERE owner IS NOT NULL)
FROM source s`

// enqueueAtTID finds the source row by its place, enqueueAnywhere wherever it is.
var (
	enqueueAtTID    = fmt.Sprintf(enqueue, "AND ctid = $18::text::tid", takeNumbers("$27", "$28"), lastNumbers("$27"))
	enqueueAnywhere = fmt.Sprintf(enqueue, "AND $18::text IS NOT NULL", takeNumbers("$27", "$28"), lastNumbers("$27"))
)

// Enqueue implements [delivery.Store]. take is called once for every lane of the batch, whether it will be acquired or not; what it
// has reserved for lanes that are not returned, the caller takes back, also when Enqueue fails.
//
// Deliveries behind a lane that exists stay in the table until Finish or Claim hands them out. Deliveries of endpoints
// that are over their limit take their numbers and are not enqueued: their Seq stays 0, and the table gap tells.
func (p *Process) Enqueue(ctx context.Context, batch *delivery.Batch, take func(endpoint string, deliveries int) bool) ([]delivery.Lane, error) {
	return p.enqueueAfter(ctx, batch, take, nil)
}

// enqueueAfter is Enqueue for a batch that does not move the position: first, unless it is nil, runs before it in the same transaction, has the source row
// locked when it returns, and returns the position.
func (p *Process) enqueueAfter(ctx context.Context, batch *delivery.Batch, take func(endpoint string, deliveries int) bool,
	first func(context.Context, *transaction) (delivery.Position, error)) ([]delivery.Lane, error) {
	if p.lost.Load() {
		return nil, ErrLeaseLost
	}
	p.acquiring.RLock()
	defer p.acquiring.RUnlock()
	a, err := p.admit(ctx, batch.Deliveries)
	if err != nil {
		return nil, err
	}
	numbers := numberOff(batch.Deliveries)
	back := numbers.back(nil, a.admitted)
	queued, aside := setAside(a.admitted)
	more := pendingOf(queued)
	rows, bytes := more.columns(numbers.endpoints)
	within := *batch
	within.Deliveries = a.admitted
	g := groupByLane(queued)
	wanted := make([]bool, len(g.keys))
	for i, k := range g.keys {
		wanted[i] = take != nil && take(k.endpoint, len(g.lanes[k]))
	}
	formats, headers := formatColumns(a.admitted)
	args := append(p.enqueueArgs(&within, g, wanted), back, numbers.endpoints, numbers.counts, rows, bytes, numbers.which(a.admitted), g.priorities(), formats, headers)
	var r enqueued
	err = p.db.withPartitions(ctx, func() error {
		return p.db.transact(ctx, "enqueue", func(t *transaction) error {
			err := p.db.writeImages(ctx, t, batch.Images) // before anything else is locked: it may take minutes
			if err != nil {
				return err
			}
			if err = aside.lock(ctx, p.db, t); err != nil {
				return err
			}
			if first != nil {
				at, err := first(ctx, t)
				if err != nil {
					return err
				}
				within.From, within.To = at, at
				copy(args[positionArgs:], positionColumns(&within))
			}
			if r, err = p.enqueue(ctx, t, &within, args); err == nil && a.limited() {
				numbers.assign(a.parked, numbers.back(a.admitted, a.parked), r.epoch, r.last)
				err = a.note(ctx, p.db, t)
			}
			if err == nil {
				err = p.db.record(ctx, t, batch.Recorded)
			}
			if err == nil {
				err = p.db.noteUpgrade(ctx, t, batch.Upgrade)
			}
			if err == nil {
				err = p.step(ctx, t, batch.Job)
			}
			if err == nil {
				err = p.db.noteFilled(ctx, t, batch.Job)
			}
			if err == nil && !aside.empty() {
				r.assign(a.admitted, numbers, back)
				err = aside.write(ctx, p.db, t)
			}
			failpoint.Hit(failpoint.Enqueue)
			return err
		})
	})
	if err != nil {
		p.forget(err, r.acquired)
		return nil, err
	}
	failpoint.Hit(failpoint.Enqueued)
	p.adopted(r.acquired)
	p.mu.Lock()
	p.tid = r.tid
	p.mu.Unlock()
	p.db.stats.enqueued(batch, r.at)
	p.estimate.enqueued(more)
	p.estimate.enqueued(aside.grown())
	p.wakeRelease(aside.wait())
	r.assign(a.admitted, numbers, back)
	lanes := make([]delivery.Lane, len(r.acquired))
	for i, k := range r.acquired {
		lanes[i] = delivery.Lane{Endpoint: k.endpoint, Key: k.key, Deliveries: g.lanes[k], Priority: g.priority(k)}
	}
	return lanes, nil
}

// assign gives deliveries their place and their numbers.
func (r *enqueued) assign(deliveries []*delivery.Delivery, numbers numbering, back []int64) {
	for i, d := range deliveries {
		d.Seq, d.Enqueued = r.base+int64(i)+1, r.at
	}
	numbers.assign(deliveries, back, r.epoch, r.last)
}

// Advance moves the position on when nothing is to be delivered: idle progress (invariant 1).
func (p *Process) Advance(ctx context.Context, from, to delivery.Position) error {
	_, err := p.Enqueue(ctx, &delivery.Batch{From: from, To: to}, nil)
	return err
}

// enqueued is what the statement answers.
type enqueued struct {
	base     int64
	tid      string
	at       time.Time
	epoch    int64
	last     []int64 // numbers of the endpoints' sequences
	acquired []laneKey
}

// enqueue runs the statement, and writes the parked events.
func (p *Process) enqueue(ctx context.Context, t *transaction, batch *delivery.Batch, args []any) (r enqueued, err error) {
	for _, statement := range []string{enqueueAtTID, enqueueAnywhere} {
		if statement == enqueueAtTID && args[17] == "" {
			continue
		}
		var endpoints, keys []string
		found := true
		if err := t.send(ctx, func(b *pgx.Batch) {
			b.Queue(p.db.sql(statement), args...).QueryRow(func(row pgx.Row) error {
				err := row.Scan(&r.base, &r.tid, &r.at, &r.epoch, &r.last, &endpoints, &keys)
				if noRows(err) {
					found = false
					return nil
				}
				return err
			})
		}); err != nil {
			return r, err
		}
		if !found {
			continue
		}
		for i := range keys {
			r.acquired = append(r.acquired, laneKey{endpoints[i], keys[i]})
		}
		return r, p.db.park(ctx, t, batch.Parked)
	}
	return r, p.superseded(ctx, t, batch)
}

// superseded tells why no source row was found.
func (p *Process) superseded(ctx context.Context, t *transaction, batch *delivery.Batch) error {
	const read = `SELECT lsn::text, open_lsn::text, open_count, coalesce(reader, 0) FROM {schema}.source`
	var lsn, open string
	var count, reader int64
	err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(p.db.sql(read)).QueryRow(func(row pgx.Row) error { return row.Scan(&lsn, &open, &count, &reader) })
	})
	switch {
	case noRows(err):
		return ErrNotBound
	case err != nil:
		return err
	}
	if reader != p.id {
		return fmt.Errorf("%w: the reader is process %d now, this one is %d", delivery.ErrSuperseded, reader, p.id)
	}
	return fmt.Errorf("%w: the position is %s (open %s, %d), this batch starts from %s (open %s, %d)", delivery.ErrSuperseded,
		lsn, open, count, batch.From.LSN, batch.From.Open, batch.From.Count)
}

// enqueueArgs lays a batch out in columns.
func (p *Process) enqueueArgs(batch *delivery.Batch, g grouped, wanted []bool) []any {
	n := len(batch.Deliveries)
	text := make([]string, 10*n) // one allocation for ten columns
	column := func(i int) []string { return text[i*n : (i+1)*n : (i+1)*n] }
	id, endpoint, lane, rule, event := column(0), column(1), column(2), column(3), column(4)
	model, record, op, lsn, ctype := column(5), column(6), column(7), column(8), column(9)
	xid, at := make([]int64, n), make([]time.Time, n)
	body, bytes := make([][]byte, n), make([]int32, n)
	for i, d := range batch.Deliveries {
		id[i], endpoint[i], lane[i], rule[i], event[i] = d.ID, d.Endpoint, d.Lane, d.Rule, d.Event
		model[i], record[i], op[i], ctype[i] = d.Model, d.Record, d.Op, d.ContentType
		if i > 0 && d.CommitLSN == batch.Deliveries[i-1].CommitLSN {
			lsn[i] = lsn[i-1]
		} else {
			lsn[i] = d.CommitLSN.String()
		}
		xid[i], at[i] = int64(d.XID), d.CommitAt
		if body[i] = d.Body; body[i] == nil {
			body[i] = []byte{} // nil would be NULL
		}
		if bytes[i] = int32(len(d.Body)); d.Aside() {
			bytes[i] = -1
		}
	}
	laneEndpoints, laneKeys := splitKeys(g.keys)
	p.mu.Lock()
	tid := p.tid
	p.mu.Unlock()
	return append([]any{id, endpoint, lane, rule, event, model, record, op, lsn, xid, at, ctype, body, bytes,
		laneEndpoints, laneKeys, wanted, tid, p.id}, positionColumns(batch)...)
}

// positionArgs is where the positions begin in the statement's arguments, $20.
const positionArgs = 19

// positionColumns are the arguments $20…$25.
func positionColumns(batch *delivery.Batch) []any {
	return []any{batch.From.LSN.String(), batch.From.Open.String(), batch.From.Count, batch.To.LSN.String(), batch.To.Open.String(), batch.To.Count}
}

// park writes parked events. One that is parked already, as it was tried again, takes the new error.
func (db *DB) park(ctx context.Context, t *transaction, parked []*delivery.Parked) error {
	if len(parked) == 0 {
		return nil
	}
	const insert = `INSERT INTO {schema}.parked (id, rule, model, record, commit_lsn, xid, commit_at, error, change)
		VALUES ($1, $2, $3, $4, $5::text::pg_lsn, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET error = excluded.error, change = excluded.change, parked_at = now()`
	return t.send(ctx, func(b *pgx.Batch) {
		for _, e := range parked {
			b.Queue(db.sql(insert), e.ID, e.Rule, e.Model, e.Record, e.CommitLSN.String(), int64(e.XID), e.CommitAt, clean(e.Error), nonNil(e.Change))
		}
	})
}
