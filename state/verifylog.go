package state

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
)

// logged is a row of the log, as far as verifying needs it.
type logged struct {
	seq      int64
	day      time.Time
	key      ledgerKey
	sequence int64
	own      bool // not logged again: the number is its own
	late     bool
	state    State
}

// The states of a window's deliveries, by ranges of seq. Each is read along an index: to look every row up one by one takes three times as long.
const (
	loggedWindow = `SELECT d.seq, d.day, d.endpoint, d.epoch, d.sequence, NOT d.again, d.late, d.commit_lsn::text, q.seq IS NOT NULL
		FROM {schema}.delivery d LEFT JOIN {schema}.queue q ON q.endpoint = d.endpoint AND q.lane = d.lane AND q.seq = d.seq AND q.day = d.day
		WHERE d.seq > $1 AND d.seq <= $2 AND d.day >= $4 AND ($3 = '' OR d.endpoint = $3) AND ` + noTest + ` ORDER BY d.seq`
	waitingWindow   = `SELECT seq FROM {schema}.waiting WHERE seq > $1 AND seq <= $2`
	deadWindow      = `SELECT seq FROM {schema}.dead_letter WHERE seq > $1 AND seq <= $2`
	deliveredWindow = `SELECT seq FROM {schema}.attempt WHERE seq > $1 AND seq <= $2 AND result = 'delivered'`
	// An event that was enqueued twice would have been so soon after: as its transaction was read again. Looking through all days would take as
	// many times longer.
	twiceWindow = `SELECT d.seq, d.day FROM {schema}.delivery d WHERE d.seq > $1 AND d.seq <= $2 AND ($3 = '' OR d.endpoint = $3) AND NOT d.again
		AND EXISTS (SELECT FROM {schema}.delivery o WHERE o.id = d.id AND o.day BETWEEN d.day - 1 AND d.day AND o.seq < d.seq AND NOT o.again
			AND (o.epoch, o.sequence) <> (d.epoch, d.sequence))`
)

// window verifies the places of the log after one and up to another, and returns up to where it came: further when nothing is there.
func (v *verifier) window(ctx context.Context, tx pgx.Tx, after, to int64) (int64, error) {
	list, err := v.readLog(ctx, tx, after, to)
	if err != nil {
		return 0, err
	}
	if len(list) == 0 {
		const next = `SELECT coalesce(min(seq), $2) - 1 FROM {schema}.delivery WHERE seq > $1 AND day >= $3`
		err := tx.QueryRow(ctx, v.db.sql(next), to, v.last+1, v.result.LogSince).Scan(&to)
		return min(to, v.last), err
	}
	for _, w := range []struct {
		sql   string
		state State
	}{{deliveredWindow, Delivered}, {deadWindow, Dead}, {waitingWindow, Pending}} {
		if err := v.mark(ctx, tx, list, w.sql, after, to, w.state); err != nil {
			return 0, err
		}
	}
	v.result.Rows += int64(len(list))
	holes, twice := v.follow(list)
	if err := v.judgeTwice(ctx, tx, twice); err != nil {
		return 0, err
	}
	if err := v.sentTwice(ctx, tx, after, to); err != nil {
		return 0, err
	}
	var open []*logged // nothing says yet what became of them
	for i := range list {
		r := &list[i]
		l := v.ledger(r.key)
		if r.own {
			l.Matched++
			l.enter(r.state, "")
		} else {
			l.Again++
		}
		if r.state == "" {
			open = append(open, r)
		}
	}
	if err := v.settle(ctx, tx, open); err != nil {
		return 0, err
	}
	return to, v.fill(ctx, tx, holes)
}

// follow goes along the sequences: it returns numbers that the log passes over, and rows whose number was met before.
func (v *verifier) follow(list []logged) (holes []hole, twice []*logged) {
	for i := range list {
		r := &list[i]
		if !r.own || r.key.epoch == 0 {
			continue
		}
		l := v.ledger(r.key)
		switch {
		case l.next == 0 && r.late: // perhaps logged again before such rows were marked: no number to begin with
			r.own = false
			continue
		case l.next == 0:
			l.First = r.sequence
		case r.sequence < l.next && l.Cut && r.sequence < l.First:
			r.own = false
			continue
		case r.sequence < l.next:
			twice = append(twice, r)
		case r.sequence > l.next:
			holes = append(holes, hole{l, l.next, r.sequence - 1})
		}
		l.next = max(l.next, r.sequence+1)
	}
	return holes, twice
}

// readLog reads a window of the log.
func (v *verifier) readLog(ctx context.Context, tx pgx.Tx, after, to int64) ([]logged, error) {
	rows, err := tx.Query(ctx, v.db.sql(loggedWindow), after, to, v.opts.Endpoint, v.result.LogSince)
	if err != nil {
		return nil, err
	}
	var list []logged
	var r logged
	var queued bool
	var lsn string
	_, err = pgx.ForEachRow(rows, []any{&r.seq, &r.day, &r.key.endpoint, &r.key.epoch, &r.sequence, &r.own, &r.late, &lsn, &queued}, func() error {
		if r.state = ""; queued {
			r.state = Pending
		}
		if r.own && !r.late && r.key.epoch == v.source.epoch {
			at, err := parseLSN(lsn)
			if err != nil {
				return err
			}
			v.reach(at)
		}
		list = append(list, r)
		return nil
	})
	return list, err
}

// reach notes what was looked at.
func (v *verifier) reach(lsn cdc.LSN) {
	if v.seen[0] == 0 {
		v.seen[0] = lsn
	}
	v.seen[1] = max(v.seen[1], lsn)
}

// mark gives rows without a state the one that a query's seqs have. Of a delivery that is in the log twice under one seq, both have it.
func (v *verifier) mark(ctx context.Context, tx pgx.Tx, list []logged, sql string, after, to int64, state State) error {
	rows, err := tx.Query(ctx, v.db.sql(sql), after, to)
	if err != nil {
		return err
	}
	has := make([]bool, to-after+1)
	var seq int64
	if _, err = pgx.ForEachRow(rows, []any{&seq}, func() error { has[seq-after] = true; return nil }); err != nil {
		return err
	}
	for i := range list {
		// What was delivered once, by a process that had lost the lane, may be pending or dead all the same.
		if r := &list[i]; has[r.seq-after] && r.state != Pending {
			r.state = state
		}
	}
	return nil
}

// enter counts what became of a number.
func (l *Ledger) enter(s State, reason string) {
	switch {
	case s == Pending:
		l.Pending++
	case s == Dead:
		l.Dead++
	case s == Delivered:
		l.Delivered++
	case reason != "":
		l.Gaps[reason]++
	}
}

// judgeTwice looks at rows whose number was met before. It is theirs if the same delivery had it: walhook did not always write down
// which rows were logged again.
func (v *verifier) judgeTwice(ctx context.Context, tx pgx.Tx, list []*logged) error {
	const other = `SELECT u.n, d.id, EXISTS (SELECT FROM {schema}.delivery o WHERE o.id = d.id AND o.day <= d.day AND (o.seq < d.seq OR o.day < d.day)
			AND o.epoch = d.epoch AND o.sequence = d.sequence)
		FROM unnest($1::bigint[], $2::date[]) WITH ORDINALITY u (seq, day, n) JOIN {schema}.delivery d ON d.seq = u.seq AND d.day = u.day`
	return v.each(ctx, tx, other, list, func(r *logged, id string, same bool) {
		r.own = false // the number is another row's
		if !same {
			v.find(Finding{Kind: NumberTwice, Endpoint: r.key.endpoint, Epoch: r.key.epoch, First: r.sequence, Last: r.sequence, Seq: r.seq, ID: id}, 1)
		}
	})
}

// sentTwice finds deliveries that have two numbers.
func (v *verifier) sentTwice(ctx context.Context, tx pgx.Tx, after, to int64) error {
	rows, err := tx.Query(ctx, v.db.sql(twiceWindow), after, to, v.opts.Endpoint)
	if err != nil {
		return err
	}
	var found []*logged
	var seq int64
	var day time.Time
	if _, err := pgx.ForEachRow(rows, []any{&seq, &day}, func() error {
		found = append(found, &logged{seq: seq, day: day})
		return nil
	}); err != nil {
		return err
	}
	const whose = `SELECT u.n, d.id, true, d.endpoint, d.epoch, d.sequence FROM unnest($1::bigint[], $2::date[]) WITH ORDINALITY u (seq, day, n) JOIN {schema}.delivery d ON d.seq = u.seq AND d.day = u.day`
	for chunk := range slices.Chunk(found, 1000) {
		rows, err := tx.Query(ctx, v.db.sql(whose), seqsOf(chunk), daysOf(chunk))
		if err != nil {
			return err
		}
		var n int64
		var same bool
		f := Finding{Kind: EventTwice}
		if _, err := pgx.ForEachRow(rows, []any{&n, &f.ID, &same, &f.Endpoint, &f.Epoch, &f.First}, func() error {
			f.Last, f.Seq = f.First, chunk[n-1].seq
			v.find(f, 1)
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// each runs a query for rows, in portions, that answers with their place, an id and a verdict.
func (v *verifier) each(ctx context.Context, tx pgx.Tx, sql string, list []*logged, fn func(*logged, string, bool)) error {
	for chunk := range slices.Chunk(list, 1000) {
		rows, err := tx.Query(ctx, v.db.sql(sql), seqsOf(chunk), daysOf(chunk))
		if err != nil {
			return err
		}
		var n int64
		var id string
		var yes bool
		if _, err := pgx.ForEachRow(rows, []any{&n, &id, &yes}, func() error { fn(chunk[n-1], id, yes); return nil }); err != nil {
			return err
		}
	}
	return nil
}

func seqsOf(list []*logged) []int64 {
	seqs := make([]int64, len(list))
	for i, r := range list {
		seqs[i] = r.seq
	}
	return seqs
}

func daysOf(list []*logged) []time.Time {
	days := make([]time.Time, len(list))
	for i, r := range list {
		days[i] = r.day
	}
	return days
}
