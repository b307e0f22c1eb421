package state

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// writing lays the outcomes of one Finish out in columns: what ended, what is tried again, the log of attempts, dead letters,
// endpoints to disable.
type writing struct {
	process int64
	repeats bool // outcomes may have been written before

	ended, retried queueRows
	attempts       []*delivery.Outcome
	dead           []*delivery.Outcome
	disable        []*delivery.Outcome
	counted        []*delivery.Outcome // of lanes we own
	told           []delivery.Notice   // filled while the statements run
}

// queueRows are keys of queue rows.
type queueRows struct {
	endpoints, lanes []string
	seqs             []int64
}

func (q *queueRows) add(d *delivery.Delivery) {
	q.endpoints, q.lanes, q.seqs = append(q.endpoints, d.Endpoint), append(q.lanes, d.Lane), append(q.seqs, d.Seq)
}

// add sorts an outcome in. Of lanes that are no longer ours only the attempt is logged.
func (w *writing) add(o *delivery.Outcome, owned bool) {
	if o.Result == delivery.Released {
		return
	}
	if o.Attempt != nil {
		w.attempts = append(w.attempts, o)
	}
	if !owned || o.Result == delivery.Regrouped {
		return
	}
	w.counted = append(w.counted, o)
	switch o.Result {
	case delivery.Delivered:
		w.ended.add(o.Delivery)
	case delivery.Dead:
		w.dead = append(w.dead, o)
	case delivery.Retry:
		w.retried.add(o.Delivery)
	}
	if o.Disable != "" {
		w.disable = append(w.disable, o)
	}
}

const endQueued = `WITH gone AS (
		DELETE FROM {schema}.queue q USING unnest($1::text[], $2::text[], $3::bigint[]) u (endpoint, lane, seq)
		WHERE q.endpoint = u.endpoint AND q.lane = u.lane AND q.seq = u.seq RETURNING q.endpoint, q.bytes
	)
	INSERT INTO {schema}.tally (endpoint, pending, pending_bytes) SELECT endpoint, -count(*), -sum(bytes) FROM gone GROUP BY endpoint`

const retryQueued = `UPDATE {schema}.queue q SET attempts = q.attempts + 1 FROM unnest($1::text[], $2::text[], $3::bigint[]) u (endpoint, lane, seq)
	WHERE q.endpoint = u.endpoint AND q.lane = u.lane AND q.seq = u.seq`

// queue adds the statements to a batch.
func (w *writing) queue(db *DB, b *pgx.Batch) {
	if r := w.ended; len(r.seqs) > 0 {
		b.Queue(db.sql(endQueued), r.endpoints, r.lanes, r.seqs)
	}
	if r := w.retried; len(r.seqs) > 0 {
		b.Queue(db.sql(retryQueued), r.endpoints, r.lanes, r.seqs)
	}
	if len(w.attempts) > 0 {
		w.queueAttempts(db, b)
	}
	w.queueDead(db, b)
	w.queueDisabled(db, b)
}

// insertAttempts unnests its arrays in the list of columns, see enqueue.
const insertAttempts = `INSERT INTO {schema}.attempt (day, seq, number, at, endpoint, process, result, reason, class, method, url, request_headers,
		status, response_headers, response_body, response_cut, error, dns_us, connect_us, tls_us, first_byte_us, total_us, batch, batch_position, batch_size)
	SELECT u.day, u.seq, u.number, u.at, u.endpoint, $20, u.result, u.reason, u.class, u.method, u.url, u.request::json,
		u.status, u.response::json, u.body, u.cut, u.error, u.dns, u.connect, u.tls, u.first, u.total,
		nullif(u.batch, ''), nullif(u.position, 0), nullif(u.size, 0)
	FROM (SELECT (SELECT (now() AT TIME ZONE 'UTC')::date) AS day, unnest($1::bigint[]) AS seq, unnest($2::integer[]) AS number, unnest($3::timestamptz[]) AS at,
		unnest($4::text[]) AS endpoint, unnest($5::text[]) AS result, unnest($6::text[]) AS reason, unnest($7::text[]) AS class, unnest($8::text[]) AS method,
		unnest($9::text[]) AS url, unnest($10::text[]) AS request, unnest($11::integer[]) AS status, unnest($12::text[]) AS response, unnest($13::bytea[]) AS body,
		unnest($14::boolean[]) AS cut, unnest($15::text[]) AS error, unnest($16::integer[]) AS dns, unnest($17::integer[]) AS connect, unnest($18::integer[]) AS tls,
		unnest($19::integer[]) AS first, unnest($21::integer[]) AS total, unnest($22::text[]) AS batch, unnest($23::integer[]) AS position, unnest($24::integer[]) AS size) u`

// insertNewAttempts leaves out what is in the log.
const insertNewAttempts = insertAttempts + `
	WHERE NOT EXISTS (SELECT FROM {schema}.attempt a WHERE a.seq = u.seq AND a.number = u.number AND a.at = u.at)`

func (w *writing) queueAttempts(db *DB, b *pgx.Batch) {
	n := len(w.attempts)
	seq, number, at := make([]int64, n), make([]int32, n), make([]time.Time, n)
	endpoint, result, reason, class := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	method, url, failure := make([]string, n), make([]string, n), make([]string, n)
	request, response := make(headerList, n), make(headerList, n)
	status, body, cut := make([]int32, n), make([][]byte, n), make([]bool, n)
	dns, connect, tls, first, total := make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	batch, position, size := make([]string, n), make([]int32, n), make([]int32, n)
	for i, o := range w.attempts {
		d, a := o.Delivery, o.Attempt
		seq[i], number[i], at[i], endpoint[i], result[i] = d.Seq, int32(max(a.Number, 1)), a.At, d.Endpoint, string(o.Result)
		reason[i], class[i], method[i], url[i], failure[i] = clean(o.Reason), clean(string(a.Class)), clean(a.Method), clean(a.URL), clean(a.Error)
		request[i], response[i] = a.RequestHeaders, a.ResponseHeaders
		status[i], body[i], cut[i] = int32(a.Status), nonNil(a.ResponseBody), a.ResponseCut
		dns[i], connect[i], tls[i] = micros(a.DNS), micros(a.Connect), micros(a.TLS)
		first[i], total[i] = micros(a.FirstByte), micros(a.Total)
		batch[i], position[i], size[i] = clean(a.Batch), int32(a.BatchPosition), int32(a.BatchSize)
	}
	statement := insertAttempts
	if w.repeats {
		statement = insertNewAttempts
	}
	b.Queue(db.sql(statement), seq, number, at, endpoint, result, reason, class, method, url, request, status, response, body, cut, failure,
		dns, connect, tls, first, w.process, total, batch, position, size)
}

// queueDead moves deliveries from the queue to the dead letters, with a full copy. One whose queue row is gone has ended before.
func (w *writing) queueDead(db *DB, b *pgx.Batch) {
	const bury = `WITH gone AS (
			DELETE FROM {schema}.queue WHERE endpoint = $3 AND lane = $4 AND seq = $1 RETURNING day, attempts, bytes
		), tallied AS (
			INSERT INTO {schema}.tally (endpoint, pending, pending_bytes, dead, dead_bytes) SELECT $3, -1, -bytes, 1, bytes FROM gone
		)
		INSERT INTO {schema}.dead_letter (seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at,
			content_type, body, attempts, reason, class, status, holds, epoch, sequence, format, headers)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce((SELECT d.late FROM {schema}.delivery d WHERE d.day = gone.day AND d.seq = $1), false),
			$10::text::pg_lsn, $11, $12, $13, $14, $15, gone.attempts + $16, $17, $18, $19, $20, $21, $22, $23, $24::text::json
		FROM gone`
	for _, o := range w.dead {
		d := o.Delivery
		made, status, class := 0, 0, ""
		if a := o.Attempt; a != nil {
			made, status, class = 1, a.Status, string(a.Class)
		}
		b.Queue(db.sql(bury), d.Seq, d.ID, d.Endpoint, d.Lane, d.Rule, d.Event, d.Model, d.Record, d.Op, d.CommitLSN.String(), int64(d.XID), d.CommitAt, d.Enqueued,
			d.ContentType, nonNil(d.Body), made, clean(o.Reason), clean(class), status, o.Hold, d.Epoch, d.Sequence, formatOf(d), headersOf(d))
	}
}

// queueDisabled disables endpoints, in order of their names; the first reason stays.
func (w *writing) queueDisabled(db *DB, b *pgx.Batch) {
	slices.SortStableFunc(w.disable, func(x, y *delivery.Outcome) int { return strings.Compare(x.Delivery.Endpoint, y.Delivery.Endpoint) })
	for _, o := range w.disable {
		db.queueDisable(b, o.Delivery.Endpoint, o.Disable, &w.told)
	}
}

// micros is a duration in microseconds, at most about 35 minutes.
func micros(d time.Duration) int32 { return int32(min(max(d.Microseconds(), 0), math.MaxInt32)) }
