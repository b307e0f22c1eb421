package state

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
)

// given is what has been given out.
type given struct {
	epoch   int64
	lastSeq int64
	numbers map[int64]map[string]int64 // epoch -> endpoint -> last number; an epoch that was not noted is missing
}

// edge is what lies next to the range, of one endpoint: the rows that have a number of their own.
type edge struct{ before, after *numbered }

// numbered is the place of a number.
type numbered struct{ epoch, sequence int64 }

// bound finds the range in the log and what lies next to it.
func (v *verifier) bound(ctx context.Context, tx pgx.Tx) error {
	var err error
	if v.source, err = v.db.givenOut(ctx, tx); err != nil {
		return err
	}
	const oldest = `SELECT coalesce(min(seq), 0) FROM {schema}.delivery WHERE day >= $1`
	if err := tx.QueryRow(ctx, v.db.sql(oldest), v.result.LogSince).Scan(&v.first); err != nil {
		return err
	}
	v.last = v.source.lastSeq
	if v.first == 0 {
		v.first = v.last + 1
	}
	begin, end := v.first, v.last+1
	search := func(reached func(*logPlace) bool) (int64, error) { return v.search(ctx, tx, begin, end, reached) }
	current := v.source.epoch
	for _, b := range []struct {
		set     bool
		at      *int64
		back    int64
		reached func(*logPlace) bool
	}{
		{v.opts.From > 0, &v.first, 0, func(p *logPlace) bool { return p.epoch > current || p.epoch == current && p.lsn >= v.opts.From }},
		{v.opts.To > 0, &v.last, 1, func(p *logPlace) bool { return p.epoch > current || p.epoch == current && p.lsn > v.opts.To }},
		{!v.opts.Since.IsZero(), &v.first, 0, func(p *logPlace) bool { return !p.enqueued.Before(v.opts.Since) }},
		{!v.opts.Until.IsZero(), &v.last, 1, func(p *logPlace) bool { return !p.enqueued.Before(v.opts.Until) }},
	} {
		if !b.set {
			continue
		}
		seq, err := search(b.reached)
		if err != nil {
			return err
		}
		if seq -= b.back; b.back == 0 {
			*b.at = max(*b.at, seq)
		} else {
			*b.at = min(*b.at, seq)
		}
	}
	if v.first > v.last {
		v.last = v.first - 1
	}
	return v.lookAround(ctx, tx, begin, end)
}

// givenOut reads the ends of all sequences.
func (db *DB) givenOut(ctx context.Context, tx pgx.Tx) (g given, err error) {
	const now = `SELECT epoch, last_seq FROM {schema}.source`
	const ends = `SELECT epoch, numbers FROM {schema}.past_epoch UNION ALL SELECT epoch, numbers FROM {schema}.source`
	g.numbers = map[int64]map[string]int64{}
	if err = tx.QueryRow(ctx, db.sql(now)).Scan(&g.epoch, &g.lastSeq); noRows(err) {
		return g, ErrNotBound
	} else if err != nil {
		return g, err
	}
	rows, err := tx.Query(ctx, db.sql(ends))
	if err != nil {
		return g, err
	}
	var epoch int64
	var raw []byte
	_, err = pgx.ForEachRow(rows, []any{&epoch, &raw}, func() error {
		texts := map[string]string{}
		if err := json.Unmarshal(raw, &texts); err != nil {
			return fmt.Errorf("read numbers of epoch %d: %w", epoch, err)
		}
		g.numbers[epoch] = make(map[string]int64, len(texts))
		for endpoint, text := range texts {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("read the number of endpoint %q: %w", endpoint, err)
			}
			g.numbers[epoch][endpoint] = n
		}
		return nil
	})
	return g, err
}

// logPlace is a row of the log that was written when its transaction was read: of those, LSN and time grow with seq within an epoch.
type logPlace struct {
	seq, epoch int64
	lsn        cdc.LSN
	enqueued   time.Time
}

// search returns the first seq from which on every place is reached, by halving: the log has no index by LSN or time, which every
// delivery would have to enter.
func (v *verifier) search(ctx context.Context, tx pgx.Tx, begin, end int64, reached func(*logPlace) bool) (int64, error) {
	const next = `SELECT seq, epoch, commit_lsn::text, enqueued_at FROM {schema}.delivery WHERE seq >= $1 AND NOT late AND NOT again ORDER BY seq LIMIT 1`
	var failed error
	n := sort.Search(int(end-begin), func(i int) bool {
		if failed != nil {
			return true
		}
		var p logPlace
		var lsn string
		err := tx.QueryRow(ctx, v.db.sql(next), begin+int64(i)).Scan(&p.seq, &p.epoch, &lsn, &p.enqueued)
		if noRows(err) {
			return true
		}
		if err == nil {
			p.lsn, err = parseLSN(lsn)
		}
		failed = err
		return err == nil && reached(&p)
	})
	return begin + int64(n), failed
}

// lookAround finds the numbers next to the range, and opens the ledgers that must be there even if the log has nothing of them.
func (v *verifier) lookAround(ctx context.Context, tx pgx.Tx, begin, end int64) error {
	const before = `SELECT epoch, sequence FROM {schema}.delivery WHERE endpoint = $1 AND seq < $2 AND day >= $3 AND NOT again ORDER BY seq DESC LIMIT 1`
	const after = `SELECT epoch, sequence FROM {schema}.delivery WHERE endpoint = $1 AND seq > $2 AND day >= $3 AND NOT again ORDER BY seq LIMIT 1`
	v.edges = map[string]edge{}
	look := func(sql, endpoint string, seq int64) (*numbered, error) {
		var n numbered
		err := tx.QueryRow(ctx, v.db.sql(sql), endpoint, seq, v.result.LogSince).Scan(&n.epoch, &n.sequence)
		if noRows(err) {
			return nil, nil
		}
		return &n, err
	}
	for _, numbers := range v.source.numbers {
		for endpoint := range numbers {
			if _, known := v.edges[endpoint]; known || v.opts.Endpoint != "" && v.opts.Endpoint != endpoint {
				continue
			}
			var e edge
			var err error
			if v.first > begin {
				if e.before, err = look(before, endpoint, v.first); err != nil {
					return err
				}
			}
			if v.last < end-1 {
				if e.after, err = look(after, endpoint, v.last); err != nil {
					return err
				}
			}
			v.edges[endpoint] = e
		}
	}
	lowest, highest, err := v.epochs(ctx, tx, begin, end)
	if err != nil {
		return err
	}
	for epoch, numbers := range v.source.numbers {
		for endpoint := range numbers {
			e, wanted := v.edges[endpoint]
			if !wanted || epoch < lowest || epoch > highest || e.before != nil && e.before.epoch > epoch || e.after != nil && e.after.epoch < epoch {
				continue
			}
			if err := v.trim(ctx, tx, v.ledger(ledgerKey{endpoint, epoch})); err != nil {
				return err
			}
		}
	}
	return nil
}

// epochs returns which epochs the range reaches into, and notes between which LSNs it lies where it was bounded.
func (v *verifier) epochs(ctx context.Context, tx pgx.Tx, begin, end int64) (lowest, highest int64, err error) {
	const first = `SELECT epoch, commit_lsn::text FROM {schema}.delivery WHERE seq >= $1 AND NOT late AND NOT again ORDER BY seq LIMIT 1`
	const last = `SELECT epoch, commit_lsn::text FROM {schema}.delivery WHERE seq <= $1 AND NOT late AND NOT again ORDER BY seq DESC LIMIT 1`
	look := func(sql string, seq int64, lsn *cdc.LSN) (int64, error) {
		var epoch int64
		var text string
		err := tx.QueryRow(ctx, v.db.sql(sql), seq).Scan(&epoch, &text)
		if noRows(err) {
			return v.source.epoch, nil
		}
		if err == nil && epoch == v.source.epoch {
			*lsn, err = parseLSN(text)
		}
		return epoch, err
	}
	highest = v.source.epoch
	if v.first > begin {
		if lowest, err = look(first, v.first, &v.fromLSN); err != nil {
			return 0, 0, err
		}
	}
	if v.last < end-1 {
		if highest, err = look(last, v.last, &v.toLSN); err != nil {
			return 0, 0, err
		}
	}
	if v.opts.From > 0 {
		v.fromLSN, lowest = v.opts.From, v.source.epoch
	}
	if v.opts.To > 0 {
		v.toLSN, highest = v.opts.To, v.source.epoch
	}
	return lowest, highest, nil
}

// trim takes numbers out of a ledger's ends whose events were parked before or after the range: the log has no row of them, the gap has their LSN.
func (v *verifier) trim(ctx context.Context, tx pgx.Tx, l *Ledger) error {
	const around = `SELECT first, last, first_lsn::text, last_lsn::text FROM {schema}.gap WHERE endpoint = $1 AND epoch = $2 AND first <= $3 AND reason = 'parked' ORDER BY first DESC LIMIT 1`
	if l.Epoch != v.source.epoch {
		return nil
	}
	for _, up := range []bool{false, true} {
		at := &l.next
		if up {
			at = &l.end
		}
		for l.next > 0 && *at >= l.next && *at <= l.end && (up && v.toLSN > 0 || !up && v.fromLSN > 0) {
			var first, last int64
			var from, to string
			err := tx.QueryRow(ctx, v.db.sql(around), l.Endpoint, l.Epoch, *at).Scan(&first, &last, &from, &to)
			if noRows(err) || err == nil && last < *at {
				break
			}
			if err != nil {
				return err
			}
			begin, err := parseLSN(from)
			if err != nil {
				return err
			}
			end, err := parseLSN(to)
			if err != nil {
				return err
			}
			switch {
			case up && begin > v.toLSN:
				*at = first - 1
				continue
			case !up && end < v.fromLSN:
				*at = last + 1
				continue
			}
			break
		}
	}
	l.First = l.next
	return nil
}

// wholeEpoch says whether the log goes back to an epoch's beginning.
func (v *verifier) wholeEpoch(epoch int64) bool {
	return !time.UnixMilli(epoch).Before(v.result.LogSince)
}

// ledger returns, or opens, a ledger, with the numbers that must be in it as far as they are known.
func (v *verifier) ledger(k ledgerKey) *Ledger {
	l := v.ledgers[k]
	if l != nil {
		return l
	}
	l = &Ledger{Endpoint: k.endpoint, Epoch: k.epoch, Gaps: map[string]int64{}}
	v.ledgers[k] = l
	if k.epoch == 0 {
		return l
	}
	e := v.edges[k.endpoint]
	switch {
	case e.before != nil && e.before.epoch == k.epoch:
		l.next = e.before.sequence + 1
	case e.before != nil || v.wholeEpoch(k.epoch):
		l.next = 1
	default:
		l.Cut = true // begins with the first that is found
	}
	switch numbers, noted := v.source.numbers[k.epoch]; {
	case e.after != nil && e.after.epoch == k.epoch:
		l.end = e.after.sequence - 1
	case noted:
		l.end = numbers[k.endpoint]
	default:
		l.Open = true
	}
	l.First = l.next
	return l
}
