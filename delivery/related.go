package delivery

import (
	"context"
	"fmt"
	"iter"

	"walhook/cdc"
	"walhook/rules"
)

// Loader fetches rows that rules refer to, as they are now, with few queries however many there are. Errors that a retry
// may mend have a method Temporary() bool that returns true.
type Loader interface {
	Load(ctx context.Context, refs []rules.Ref) (rules.Related, error)
}

// window is how many changes of a spilled transaction related rows are fetched for at once.
const window = 1000

// related fetches the rows that rules refer to ahead of the changes that need them: for many
// transactions at once, or for a large transaction piece by piece (invariant 9).
//
// When they can't be fetched and no retry mends it, for want of a privilege, planning goes on without them: events
// that need them are parked, the rest is delivered.
type related struct {
	loader  Loader // nil when no rule refers to anything
	matcher *rules.Matcher
	report  func(error) // may be nil

	refs     []rules.Ref // scratch
	prepared fetched     // for transactions in memory
	windowed fetched     // for the next changes of the spilled transaction being read
}

// fetched is what one fetch brought.
type fetched struct {
	rows    rules.Related
	failure error // why rows is nil although something is needed
}

// prepare fetches what transactions in memory need.
func (r *related) prepare(ctx context.Context, txs []*cdc.Tx) error {
	if r.loader == nil {
		return nil
	}
	r.refs = r.refs[:0]
	for _, tx := range txs {
		if tx.Spilled() {
			continue // changes does it
		}
		for c, err := range tx.Changes() {
			if err != nil {
				return fmt.Errorf("read transaction %d at %s: %w", tx.XID, tx.CommitLSN, err)
			}
			r.refs = r.matcher.Refs(r.refs, c)
		}
	}
	return r.load(ctx, &r.prepared)
}

// load fetches what refs name.
func (r *related) load(ctx context.Context, into *fetched) error {
	*into = fetched{}
	if len(r.refs) == 0 {
		return nil
	}
	rows, err := r.loader.Load(ctx, r.refs)
	switch {
	case err == nil:
		into.rows = rows
	case ctx.Err() != nil || isTemporary(err):
		return fmt.Errorf("fetch related rows: %w", err)
	default:
		into.failure = err
		if r.report != nil {
			r.report(err)
		}
	}
	return nil
}

// of is what was fetched for the transaction's current change.
func (r *related) of(tx *cdc.Tx) *fetched {
	if tx.Spilled() {
		return &r.windowed
	}
	return &r.prepared
}

// info is what rules see of a transaction.
func (r *related) info(tx *cdc.Tx) rules.TxInfo {
	return rules.TxInfo{XID: tx.XID, LSN: tx.CommitLSN, Time: tx.CommitTime, Related: r.of(tx).rows}
}

// changes yields a transaction's changes from an ordinal on, with the related rows of each at hand.
func (r *related) changes(ctx context.Context, tx *cdc.Tx, from uint64) iter.Seq2[*cdc.Change, error] {
	return func(yield func(*cdc.Change, error) bool) {
		ahead := tx.Spilled() && r.loader != nil
		var look func() (*cdc.Change, error, bool)
		if ahead {
			// A second reader runs ahead of this one, and collects.
			var stop func()
			look, stop = iter.Pull2(tx.Changes())
			defer stop()
		}
		n := 0
		for c, err := range tx.Changes() {
			if err == nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err == nil && c.Ordinal < from {
				continue
			}
			if err == nil && ahead && n%window == 0 {
				err = r.loadWindow(ctx, look, from)
			}
			n++
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// loadWindow fetches what the next changes of a reader need.
func (r *related) loadWindow(ctx context.Context, look func() (*cdc.Change, error, bool), from uint64) error {
	r.refs = r.refs[:0]
	for n := 0; n < window; {
		c, err, ok := look()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if c.Ordinal < from {
			continue
		}
		r.refs = r.matcher.Refs(r.refs, c)
		n++
	}
	return r.load(ctx, &r.windowed)
}
