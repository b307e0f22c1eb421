package state

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
)

// hole is a run of numbers that the log passes over.
type hole struct {
	ledger      *Ledger
	first, last int64
}

// settle finds out what became of rows that are neither queued nor dead nor delivered themselves: logged again later, and then what; given up, with
// a reason; or nobody knows.
func (v *verifier) settle(ctx context.Context, tx pgx.Tx, open []*logged) error {
	const later = `SELECT u.n, d.id, coalesce(m.queued, false), coalesce(m.dead, false), coalesce(m.delivered, false),
			(SELECT g.reason FROM {schema}.gap g WHERE g.endpoint = d.endpoint AND g.epoch = d.epoch AND g.first <= d.sequence AND g.last >= d.sequence ORDER BY g.first DESC LIMIT 1)
		FROM unnest($1::bigint[], $2::date[]) WITH ORDINALITY u (seq, day, n)
		JOIN {schema}.delivery d ON d.seq = u.seq AND d.day = u.day
		LEFT JOIN LATERAL (
			SELECT bool_or(EXISTS (SELECT FROM {schema}.queue q WHERE q.endpoint = m.endpoint AND q.lane = m.lane AND q.seq = m.seq AND q.day = m.day)) AS queued,
				bool_or(EXISTS (SELECT FROM {schema}.dead_letter x WHERE x.seq = m.seq)) AS dead,
				bool_or(EXISTS (SELECT FROM {schema}.attempt t WHERE t.seq = m.seq AND t.day >= m.day AND t.result = 'delivered')) AS delivered
			FROM {schema}.delivery m WHERE m.id = d.id AND m.day >= d.day AND (m.seq > d.seq OR m.seq = d.seq AND m.day > d.day)
		) m ON true`
	for chunk := range slices.Chunk(open, 1000) {
		rows, err := tx.Query(ctx, v.db.sql(later), seqsOf(chunk), daysOf(chunk))
		if err != nil {
			return err
		}
		var n int64
		var id string
		var queued, dead, delivered bool
		var reason *string
		if _, err := pgx.ForEachRow(rows, []any{&n, &id, &queued, &dead, &delivered, &reason}, func() error {
			v.settled(chunk[n-1], id, queued, dead, delivered, reason)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// settled enters one row.
func (v *verifier) settled(r *logged, id string, queued, dead, delivered bool, reason *string) {
	l := v.ledger(r.key)
	enter := func(s State, reason string) {
		if r.own { // the number of a row that was logged again is counted where it was given out
			l.enter(s, reason)
		}
	}
	switch {
	case queued:
		enter(Pending, "")
	case dead:
		enter(Dead, "")
	case delivered:
		enter(Delivered, "")
	case reason != nil:
		enter("", *reason)
	case r.day.Before(v.result.AttemptsSince):
		if r.own {
			l.Untold++
		}
	default:
		if r.own {
			l.Lost++
		}
		v.find(Finding{Kind: LostDelivery, Endpoint: r.key.endpoint, Epoch: r.key.epoch, First: r.sequence, Last: r.sequence, Seq: r.seq, ID: id}, 1)
	}
}

// gapsIn returns the gaps that touch a run of numbers, in order. The numbers that the log passes over are in one gap each: those that overlap,
// such as that of a test delivery that was replayed and discarded, are of numbers that the log has. So at most one begins before the run and reaches into it.
const gapsIn = `SELECT first, last, reason FROM (
		(SELECT first, last, reason FROM {schema}.gap WHERE endpoint = $1 AND epoch = $2 AND first < $3 ORDER BY first DESC LIMIT 1)
		UNION ALL
		SELECT first, last, reason FROM {schema}.gap WHERE endpoint = $1 AND epoch = $2 AND first >= $3 AND first <= $4
	) g WHERE last >= $3 ORDER BY first`

// fill accounts for numbers that the log passes over: table gap tells why they are not there, or they are missing.
func (v *verifier) fill(ctx context.Context, tx pgx.Tx, holes []hole) error {
	for _, h := range holes {
		rows, err := tx.Query(ctx, v.db.sql(gapsIn), h.ledger.Endpoint, h.ledger.Epoch, h.first, h.last)
		if err != nil {
			return err
		}
		h.ledger.Matched += h.last - h.first + 1
		at := h.first
		var first, last int64
		var reason string
		if _, err := pgx.ForEachRow(rows, []any{&first, &last, &reason}, func() error {
			v.missing(h.ledger, at, first-1)
			if first, last = max(first, at), min(last, h.last); last >= first {
				h.ledger.Gaps[reason] += last - first + 1
				at = last + 1
			}
			return nil
		}); err != nil {
			return err
		}
		v.missing(h.ledger, at, h.last)
	}
	return nil
}

// missing notes numbers of which nothing is known.
func (v *verifier) missing(l *Ledger, first, last int64) {
	if n := last - first + 1; n > 0 {
		l.Missing += n
		v.find(Finding{Kind: MissingNumber, Endpoint: l.Endpoint, Epoch: l.Epoch, First: first, Last: last}, n)
	}
}

// close accounts for the numbers after the last one that the log has.
func (v *verifier) close(ctx context.Context, tx pgx.Tx) error {
	var holes []hole
	for k, l := range v.ledgers {
		switch {
		case k.epoch == 0 || l.next == 0: // nothing is known of its numbers
			continue
		case l.Open:
		case l.next <= l.end:
			holes = append(holes, hole{l, l.next, l.end})
			l.next = l.end + 1
		case l.next > l.end+1:
			v.find(Finding{Kind: NumberBeyond, Endpoint: l.Endpoint, Epoch: l.Epoch, First: l.end + 1, Last: l.next - 1}, l.next-1-l.end)
		}
		l.Last = l.next - 1
	}
	return v.fill(ctx, tx, holes)
}
