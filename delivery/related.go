package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"walhook/cdc"
	"walhook/rules"
)

// Loader fetches rows that rules refer to, as they are now or later than all that the stream has brought. Errors that a retry may mend
// have a method Temporary() bool that returns true.
type Loader interface {
	// Begin tells of transactions before rows are fetched for any of them: what is fetched from then on reflects them.
	Begin(ctx context.Context, txs []*cdc.Tx) error
	// Load fetches the rows that a link leads to from ids, with few queries however many there are, and calls found once for
	// each id. It returns an error of found as it is.
	Load(ctx context.Context, link *rules.Link, ids []int64, found func(id int64, rows []cdc.Row) error) error
}

const (
	// window is how many changes related rows are fetched for at once, at most.
	window = 1000
	// windowBytes bounds the rows that are fetched for several changes, changeBytes those for a single one, and
	// aheadBytes the changes of a large transaction that are read ahead for it (invariant 9).
	windowBytes, changeBytes, aheadBytes = 2 << 20, 8 << 20, 1 << 20
	// maxLevels bounds how often rows are fetched to find more by: a path of a condition, and then one of a payload.
	maxLevels = 32
)

// related fetches the rows that rules refer to ahead of the changes that need them: for many changes at once, of many
// transactions or of a part of a large one, level by level, as far as memory allows (invariant 9).
//
// When rows of a link can't be fetched and no retry mends it, for want of a privilege, planning goes on without them: events
// that need them are parked, the rest is delivered.
type related struct {
	loader  Loader // nil when no rule refers to anything
	matcher *rules.Matcher
	report  func(error) // may be nil
	gather  *gatherer   // what the changes of a transaction are

	batch ahead  // of all transactions in memory, from prepare on
	has   *ahead // whose changes rows were fetched for
	rows  relatedRows
	width int // how many changes to fetch for at once: what fitted last time

	refs []rules.Ref // scratch
	asks []*ask      // scratch
}

// ahead are changes in the order in which they are planned.
type ahead struct {
	changes []upcoming
	next    int // the next one to be planned
	fetched int // what those before it need is in rows
}

// upcoming is a change that is to be planned.
type upcoming struct {
	tx *cdc.Tx
	c  *cdc.Change
}

// ask collects what is to be fetched over one link.
type ask struct {
	link *rules.Link
	ids  []int64
}

// prepare takes note of transactions that are then planned in this order.
func (r *related) prepare(ctx context.Context, txs []*cdc.Tx) error {
	if r.loader == nil {
		return nil
	}
	clear(r.batch.changes)
	r.batch = ahead{changes: r.batch.changes[:0]}
	r.drop()
	if err := r.loader.Begin(ctx, txs); err != nil {
		return fmt.Errorf("fetch related rows: %w", err)
	}
	for _, tx := range txs {
		if tx.Spilled() {
			continue // changes reads ahead
		}
		for c, err := range r.gather.changes(tx) {
			if err != nil {
				return fmt.Errorf("read transaction %d at %s: %w", tx.XID, tx.CommitLSN, err)
			}
			r.batch.changes = append(r.batch.changes, upcoming{tx, c})
		}
	}
	return nil
}

// drop forgets what was fetched.
func (r *related) drop() {
	r.has = nil
	r.rows.reset()
}

// info is what rules see of a transaction.
func (r *related) info(tx *cdc.Tx) rules.TxInfo {
	info := rules.TxInfo{XID: tx.XID, LSN: tx.CommitLSN, Time: tx.CommitTime}
	if r.loader != nil {
		info.Related = &r.rows
	}
	return info
}

// changes yields a transaction's changes from an ordinal on, with the related rows of each at hand.
func (r *related) changes(ctx context.Context, tx *cdc.Tx, from uint64) iter.Seq2[*cdc.Change, error] {
	return func(yield func(*cdc.Change, error) bool) {
		if tx.Spilled() && r.loader != nil {
			r.piecemeal(ctx, tx, from, yield)
			return
		}
		for c, err := range r.gather.changes(tx) {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err == nil && c.Ordinal < from {
				continue
			}
			if err == nil && r.loader != nil {
				err = r.reach(ctx, c)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// reach has at hand what a change of the batch needs.
func (r *related) reach(ctx context.Context, c *cdc.Change) error {
	a := &r.batch
	for a.next < len(a.changes) && a.changes[a.next].c != c {
		a.next++
	}
	if a.next == len(a.changes) {
		return errors.New("related rows were not prepared for this transaction")
	}
	err := r.at(ctx, a)
	a.next++
	return err
}

// piecemeal is changes for a large transaction, whose changes are copied a piece at a time.
func (r *related) piecemeal(ctx context.Context, tx *cdc.Tx, from uint64, yield func(*cdc.Change, error) bool) {
	var piece ahead
	size := 0
	pass := func() bool {
		for ; piece.next < len(piece.changes); piece.next++ {
			err := r.at(ctx, &piece)
			if !yield(piece.changes[piece.next].c, err) || err != nil {
				return false
			}
		}
		piece, size = ahead{changes: piece.changes[:0]}, 0
		r.drop()
		return true
	}
	for c, err := range r.gather.changes(tx) {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		if c.Ordinal < from {
			continue
		}
		piece.changes = append(piece.changes, upcoming{tx, c.Clone()})
		if size += c.Size(); len(piece.changes) < window && size < aheadBytes {
			continue
		}
		if !pass() {
			return
		}
	}
	pass()
}

// at has at hand what the next change needs.
func (r *related) at(ctx context.Context, a *ahead) error {
	if r.has == a && a.next < a.fetched {
		return nil
	}
	if r.width == 0 {
		r.width = window
	}
	for n := min(r.width, len(a.changes)-a.next); ; n = max(n/4, 1) {
		r.rows.reset()
		if r.rows.max = windowBytes; n == 1 {
			r.rows.max = changeBytes
		}
		err := r.fetch(ctx, a.changes[a.next:a.next+n])
		var large *cdc.TooManyRowsError
		switch {
		case err == nil:
			if r.rows.bytes < windowBytes/4 {
				r.width = min(2*r.width, window)
			}
		case !errors.As(err, &large) && !errors.Is(err, errFull):
			return err
		case n > 1:
			r.width = max(n/4, 1)
			continue
		case large == nil:
			err = fmt.Errorf("the related rows of this record take more than %d MiB", changeBytes>>20)
			fallthrough
		default:
			r.rows.failure = err // of this change alone: it is parked
		}
		r.has, a.fetched = a, a.next+n
		return nil
	}
}

// fetch loads what changes need, level by level, until nothing is missing.
func (r *related) fetch(ctx context.Context, changes []upcoming) error {
	var rest []upcoming
	for range maxLevels {
		for _, a := range r.asks {
			a.link, a.ids = nil, a.ids[:0]
		}
		r.asks = r.asks[:0]
		last := changes
		changes = rest[:0]
		for _, u := range last {
			r.refs = r.matcher.Missing(r.refs[:0], r.info(u.tx), u.c)
			if r.collect() {
				changes = append(changes, u)
			}
		}
		if len(changes) == 0 {
			return nil
		}
		rest = changes
		for _, a := range r.asks {
			if err := r.load(ctx, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// collect sorts refs by link. It reports false when there is nothing that could be fetched.
func (r *related) collect() (any bool) {
next:
	for _, ref := range r.refs {
		if r.rows.failed[ref.Link] != nil {
			continue
		}
		any = true
		for _, a := range r.asks {
			if a.link == ref.Link {
				a.ids = append(a.ids, ref.ID)
				continue next
			}
		}
		n := len(r.asks)
		if n < cap(r.asks) && r.asks[:n+1][n] != nil {
			r.asks = r.asks[:n+1] // with the room that it had
		} else {
			r.asks = append(r.asks, &ask{})
		}
		r.asks[n].link = ref.Link
		r.asks[n].ids = append(r.asks[n].ids, ref.ID)
	}
	return any
}

// load fetches over one link. Errors that no retry mends are kept with the link.
func (r *related) load(ctx context.Context, a *ask) error {
	err := r.loader.Load(ctx, a.link, compacted(a.ids), func(id int64, rows []cdc.Row) error {
		return r.rows.add(rules.Ref{Link: a.link, ID: id}, rows)
	})
	var large *cdc.TooManyRowsError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errFull), errors.As(err, &large):
		return err
	case ctx.Err() != nil || isTemporary(err):
		return fmt.Errorf("fetch related rows: %w", err)
	}
	r.rows.fail(a.link, err)
	if r.report != nil {
		r.report(err)
	}
	return nil
}

// why says what kept rows that a change needs from being fetched; nil when nothing did.
func (r *related) why(tx *cdc.Tx, c *cdc.Change) error {
	switch {
	case r.loader == nil:
		return nil
	case r.rows.failure != nil:
		return r.rows.failure
	case len(r.rows.failed) == 0:
		return nil
	}
	for _, ref := range r.matcher.Missing(nil, r.info(tx), c) {
		if err := r.rows.failed[ref.Link]; err != nil {
			return err
		}
	}
	return nil
}
