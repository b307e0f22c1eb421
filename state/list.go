package state

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// State is what has become of a delivery.
type State string

// The states of a delivery. Which one holds follows from the tables: queue, dead_letter, attempt.
const (
	Pending   State = "pending"   // in the queue, not tried yet
	Retrying  State = "retrying"  // in the queue, failed at least once
	Dead      State = "dead"      // a dead letter
	Delivered State = "delivered" // taken by the receiver
	Discarded State = "discarded" // was a dead letter that someone discarded, or its attempts are past retention
	Again     State = "again"     // enqueued again later, under the same id
)

// Filter selects deliveries, dead letters or parked events. Zero fields select everything.
type Filter struct {
	State    State    // of ListDeliveries: any when empty
	IDs      []string // any of these
	Endpoint string
	Rule     string
	Record   string    // primary key as text
	Model    string    // "sale.order"
	Error    string    // part of the reason or error, in any case
	Class    string    // of the last failure: delivery.ClassTimeout …; parked events have none
	Status   int       // HTTP status of the last answer; parked events have none
	Since    time.Time // enqueued (parked) at or after
	Until    time.Time // enqueued (parked) before
	Before   int64     // keyset: Seq (N of parked events) less than this; 0 for the first page
	After    int64     // keyset of commands that work on many: Seq (N) greater than this
	Limit    int       // at most so many; 0 for 100

	// Progress is told by commands that work on many how many are done, after each of their transactions. May be nil.
	Progress func(done int64)
}

// Listed is one line of a list of deliveries.
type Listed struct {
	delivery.Delivery           // without Body in lists
	State             State     `json:"state"`
	Held              bool      `json:"held,omitempty"`     // its lane waits behind a dead letter
	Late              bool      `json:"late,omitempty"`     // sent again on request
	Due               time.Time `json:"due,omitzero"`       // of pending ones: not before
	Reason            string    `json:"reason,omitempty"`   // of the last failure
	Status            int       `json:"status,omitempty"`   // of the last answer
	Ended             time.Time `json:"ended_at,omitzero"`  // when it was delivered or died
	Bytes             int       `json:"bytes"`              // of the body
	Disabled          bool      `json:"disabled,omitempty"` // its endpoint is disabled
}

// Attempted is one logged attempt.
type Attempted struct {
	delivery.Attempt
	Result  delivery.Result
	Reason  string
	Process int64
}

// conditions builds a WHERE clause. column names are ours; values are parameters.
type conditions struct {
	text []string
	args []any
}

func (c *conditions) add(format string, value any) {
	c.args = append(c.args, value)
	c.text = append(c.text, fmt.Sprintf(format, len(c.args)))
}

func (c *conditions) where() string {
	if len(c.text) == 0 {
		return "true"
	}
	return strings.Join(c.text, " AND ")
}

// common adds what delivery, dead_letter and parked have in common.
func (f Filter) common(c *conditions, alias, time string) {
	if len(f.IDs) > 0 {
		c.add(alias+".id = ANY($%d)", f.IDs)
	}
	if f.Rule != "" {
		c.add(alias+".rule = $%d", f.Rule)
	}
	if f.Model != "" {
		c.add(alias+".model = $%d", f.Model)
	}
	if f.Record != "" {
		c.add(alias+".record = $%d", f.Record)
	}
	if !f.Since.IsZero() {
		c.add(alias+"."+time+" >= $%d", f.Since)
	}
	if !f.Until.IsZero() {
		c.add(alias+"."+time+" < $%d", f.Until)
	}
}

// contains is a condition on a part of a text, in any case.
func (c *conditions) contains(column, part string) {
	c.add("position(lower($%d::text) in lower("+column+")) > 0", part)
}

func (f Filter) limit() int {
	if f.Limit <= 0 {
		return 100
	}
	return f.Limit
}

// listed are the columns of a Listed, from log row d, queue row q, lane l, dead letter x and last attempt a.
const listedFrom = `
	SELECT d.seq, d.id, d.endpoint, d.lane, d.rule, d.event, d.model, d.record, d.op, d.commit_lsn::text, d.xid, d.commit_at, d.enqueued_at, d.content_type, d.epoch, d.sequence,
		coalesce(q.attempts, x.attempts, a.number, 0),
		CASE WHEN q.attempts = 0 THEN 'pending' WHEN q.attempts > 0 THEN 'retrying' WHEN x.seq IS NOT NULL THEN 'dead'
			WHEN a.result = 'delivered' THEN 'delivered'
			WHEN EXISTS (SELECT FROM {schema}.delivery n WHERE n.id = d.id AND n.seq > d.seq) THEN 'again' ELSE 'discarded' END,
		coalesce(l.held, false), d.late, CASE WHEN q.seq IS NOT NULL THEN l.due END, coalesce(x.reason, a.reason, ''), coalesce(x.status, a.status, 0),
		CASE WHEN x.seq IS NOT NULL THEN x.died_at WHEN a.result = 'delivered' THEN a.at END, octet_length(d.body),
		EXISTS (SELECT FROM {schema}.endpoint e WHERE e.name = d.endpoint AND e.disabled_at IS NOT NULL)`

const listedJoins = `
	LEFT JOIN LATERAL (SELECT number, result, reason, class, status, at FROM {schema}.attempt t WHERE t.seq = d.seq AND t.day >= %s
		ORDER BY t.at DESC LIMIT 1) a ON true`

func scanListed(row pgx.CollectableRow) (l Listed, err error) {
	var lsn string
	var xid int64
	var due, ended *time.Time
	d := &l.Delivery
	err = row.Scan(&d.Seq, &d.ID, &d.Endpoint, &d.Lane, &d.Rule, &d.Event, &d.Model, &d.Record, &d.Op, &lsn, &xid, &d.CommitAt, &d.Enqueued, &d.ContentType, &d.Epoch, &d.Sequence,
		&d.Attempts, &l.State, &l.Held, &l.Late, &due, &l.Reason, &l.Status, &ended, &l.Bytes, &l.Disabled)
	if err != nil {
		return l, err
	}
	d.XID, l.Due, l.Ended = uint32(xid), timeOf(due), timeOf(ended)
	d.CommitAt, d.Enqueued = d.CommitAt.UTC(), d.Enqueued.UTC()
	d.CommitLSN, err = parseLSN(lsn)
	return l, err
}

// ListDeliveries returns deliveries without their bodies, newest first. The next page starts Before the last one's Seq.
// Pending and dead ones are found by their small tables; the others by walking the log down from the newest, which
// takes longer the rarer they are.
func (db *DB) ListDeliveries(ctx context.Context, f Filter) ([]Listed, error) {
	var c conditions
	f.common(&c, "d", "enqueued_at")
	if f.Endpoint != "" {
		c.add("d.endpoint = $%d", f.Endpoint)
	}
	if f.Before > 0 {
		c.add("d.seq < $%d", f.Before)
	}
	if f.Error != "" {
		c.contains("coalesce(x.reason, a.reason, '')", f.Error)
	}
	if f.Class != "" {
		c.add("coalesce(x.class, a.class, '') = $%d", f.Class)
	}
	if f.Status != 0 {
		c.add("coalesce(x.status, a.status, 0) = $%d", f.Status)
	}
	if !f.Since.IsZero() && f.State != Dead {
		c.add("d.day >= $%d::date", f.Since.UTC().Truncate(24*time.Hour))
	}
	from := `{schema}.delivery d
		LEFT JOIN {schema}.queue q ON q.endpoint = d.endpoint AND q.lane = d.lane AND q.seq = d.seq AND q.day = d.day
		LEFT JOIN {schema}.dead_letter x ON x.seq = d.seq`
	day := "d.day"
	switch f.State {
	case "":
	case Pending, Retrying:
		c.add("(q.attempts > 0) = $%d", f.State == Retrying)
		from = `{schema}.queue q JOIN {schema}.delivery d ON d.day = q.day AND d.seq = q.seq LEFT JOIN {schema}.dead_letter x ON false`
	case Dead:
		from = `{schema}.dead_letter d JOIN {schema}.dead_letter x ON x.seq = d.seq LEFT JOIN {schema}.queue q ON false`
		day = "(d.enqueued_at AT TIME ZONE 'UTC')::date"
	case Delivered:
		c.text = append(c.text, "a.result = 'delivered'", "q.seq IS NULL", "x.seq IS NULL")
	case Discarded, Again:
		c.text = append(c.text, "a.result IS DISTINCT FROM 'delivered'", "q.seq IS NULL", "x.seq IS NULL")
		c.add("EXISTS (SELECT FROM {schema}.delivery n WHERE n.id = d.id AND n.seq > d.seq) = $%d", f.State == Again)
	default:
		return nil, fmt.Errorf("there is no state %q: use pending, retrying, dead, delivered, discarded or again", f.State)
	}
	statement := listedFrom + " FROM " + from + " LEFT JOIN {schema}.lane l ON l.endpoint = q.endpoint AND l.key = q.lane" +
		fmt.Sprintf(listedJoins, day) + " WHERE " + c.where() + fmt.Sprintf(" ORDER BY d.seq DESC LIMIT %d", f.limit())
	var list []Listed
	err := db.read(ctx, "list deliveries", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, expand(statement, db.cfg.Schema), c.args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanListed)
		return err
	})
	return list, err
}

// GetDelivery returns the newest delivery with an id, with its body, and all attempts that
// were ever made under the id, oldest first; [ErrNotFound] when the log and the dead letters have none.
func (db *DB) GetDelivery(ctx context.Context, id string) (*Listed, []Attempted, error) {
	for _, state := range []State{"", Dead} { // a dead letter may be older than the log
		list, err := db.ListDeliveries(ctx, Filter{State: state, IDs: []string{id}, Limit: 1})
		if err != nil {
			return nil, nil, err
		}
		if len(list) == 0 {
			continue
		}
		l := &list[0]
		attempts, err := db.attempts(ctx, l, state)
		return l, attempts, err
	}
	return nil, nil, fmt.Errorf("delivery %q: %w", id, ErrNotFound)
}

// attempts reads body and attempts of a delivery.
func (db *DB) attempts(ctx context.Context, l *Listed, from State) (list []Attempted, err error) {
	body := `SELECT body FROM {schema}.delivery WHERE seq = $1`
	if from == Dead {
		body = `SELECT body FROM {schema}.dead_letter WHERE seq = $1`
	}
	const read = `SELECT number, at, method, url, request_headers, status, response_headers, response_body, response_cut, error, class,
			dns_us, connect_us, tls_us, first_byte_us, total_us, result, reason, process
		FROM {schema}.attempt WHERE seq IN (SELECT seq FROM {schema}.delivery WHERE id = $1 UNION SELECT $2) ORDER BY at`
	err = db.read(ctx, "read delivery", func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, db.sql(body+" LIMIT 1"), l.Seq).Scan(&l.Body); err != nil && !noRows(err) {
			return err
		}
		rows, err := tx.Query(ctx, db.sql(read), l.ID, l.Seq)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scanAttempt)
		return err
	})
	return list, err
}

func scanAttempt(row pgx.CollectableRow) (a Attempted, err error) {
	var request, response []byte
	var dns, connect, tls, first, total int64
	err = row.Scan(&a.Number, &a.At, &a.Method, &a.URL, &request, &a.Attempt.Status, &response, &a.ResponseBody, &a.ResponseCut, &a.Error, &a.Class,
		&dns, &connect, &tls, &first, &total, &a.Result, &a.Reason, &a.Process)
	if err != nil {
		return a, err
	}
	a.At = a.At.UTC()
	for _, t := range []struct {
		to *time.Duration
		us int64
	}{{&a.DNS, dns}, {&a.Connect, connect}, {&a.TLS, tls}, {&a.FirstByte, first}, {&a.Total, total}} {
		*t.to = time.Duration(t.us) * time.Microsecond
	}
	if err := json.Unmarshal(request, &a.RequestHeaders); err != nil {
		return a, fmt.Errorf("read request headers: %w", err)
	}
	if err := json.Unmarshal(response, &a.ResponseHeaders); err != nil {
		return a, fmt.Errorf("read response headers: %w", err)
	}
	return a, nil
}
