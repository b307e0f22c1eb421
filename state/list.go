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
	Oldest   bool      // of commands that work on many in the queue: the Limit is for those that were enqueued first; else they go in the order of the queue's key

	// Priorities are those of rules, by name: lanes that what is sent again opens have them, and others are raised to them. Default: PriorityNormal.
	Priorities map[string]delivery.Priority

	// Progress is told by commands that work on many how many are done, after each of their transactions. May be nil.
	Progress func(done int64)

	// Rest, when not nil, is made by commands that work on many the filter that does what they have left: After and Before are set.
	Rest *Filter
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
	Disabled          bool      `json:"disabled,omitempty"` // its endpoint is paused or disabled
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

// listed are the columns of a Listed, from log row d, queue row q, lane l, row w of waiting, dead letter x and last attempt a.
const listedFrom = `
	SELECT d.seq, d.id, d.endpoint, d.lane, d.rule, d.event, d.model, d.record, d.op, d.commit_lsn::text, d.xid, d.commit_at, d.enqueued_at, d.content_type, d.epoch, d.sequence, d.format, d.headers,
		coalesce(q.attempts, x.attempts, a.number, 0),
		CASE WHEN d.op = '` + opTest + `' THEN 'test' WHEN q.attempts = 0 THEN 'pending' WHEN q.attempts > 0 THEN 'retrying' WHEN x.seq IS NOT NULL THEN 'dead'
			WHEN a.result = 'delivered' THEN 'delivered' WHEN w.seq IS NOT NULL THEN 'waiting'
			WHEN ` + sentLater + ` THEN 'again' ELSE coalesce(` + unsent + `, 'discarded') END,
		coalesce(l.held, false), d.late, CASE WHEN q.seq IS NOT NULL THEN l.due ELSE w.due END, coalesce(x.reason, a.reason, ''), coalesce(x.status, a.status, 0),
		CASE WHEN x.seq IS NOT NULL THEN x.died_at WHEN a.result = 'delivered' THEN a.at END, octet_length(d.body),
		EXISTS (SELECT FROM {schema}.endpoint e WHERE e.name = d.endpoint AND (e.disabled_at IS NOT NULL OR e.paused_at IS NOT NULL))`

const listedJoins = `
	LEFT JOIN LATERAL (SELECT number, result, reason, class, status, at FROM {schema}.attempt t WHERE t.seq = d.seq AND t.day >= %s
		ORDER BY t.at DESC LIMIT 1) a ON true`

func scanListed(row pgx.CollectableRow) (l Listed, err error) {
	var lsn string
	var xid int64
	var due, ended *time.Time
	var format *string
	var headers []byte
	d := &l.Delivery
	err = row.Scan(&d.Seq, &d.ID, &d.Endpoint, &d.Lane, &d.Rule, &d.Event, &d.Model, &d.Record, &d.Op, &lsn, &xid, &d.CommitAt, &d.Enqueued, &d.ContentType, &d.Epoch, &d.Sequence, &format, &headers,
		&d.Attempts, &l.State, &l.Held, &l.Late, &due, &l.Reason, &l.Status, &ended, &l.Bytes, &l.Disabled)
	if err != nil {
		return l, err
	}
	if err := setFormat(d, format, headers); err != nil {
		return l, err
	}
	d.XID, l.Due, l.Ended = uint32(xid), timeOf(due), timeOf(ended)
	d.CommitAt, d.Enqueued = d.CommitAt.UTC(), d.Enqueued.UTC()
	d.CommitLSN, err = parseLSN(lsn)
	return l, err
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
	const read = `SELECT ` + attemptColumns + `
		FROM {schema}.attempt t WHERE t.seq IN (SELECT seq FROM {schema}.delivery WHERE id = $1 UNION SELECT $2) ORDER BY t.at`
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
		&dns, &connect, &tls, &first, &total, &a.Result, &a.Reason, &a.Process, &a.Batch, &a.BatchPosition, &a.BatchSize)
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
