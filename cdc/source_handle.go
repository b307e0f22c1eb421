package cdc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walhook/internal/failpoint"
)

// handle calls the handler until the source stops (nil) or the handler fails for
// good. It runs in a goroutine of its own, for the whole Run: connections come and go
// beneath it.
//
// It is a group commit without a linger: whatever has arrived while the last batch was
// handled makes the next one.
func (s *Source) handle(ctx context.Context) error {
	h := handling{Source: s, done: s.feed.resume(), advanced: time.Now()}
	err := h.loop(ctx)
	if ctx.Err() != nil {
		return nil // the grace period of a stop is over; what was in flight will be read again
	}
	return err
}

func (h *handling) loop(ctx context.Context) error {
	s := h.Source
	for {
		if s.stopping() {
			return h.finish(ctx)
		}
		txs, bytes, mark := s.feed.take(s.cfg.BatchTransactions, s.cfg.BatchBytes)
		if len(txs) > 0 {
			if err := h.batch(ctx, txs, bytes); err != nil {
				if errors.Is(err, errStopping) {
					return h.finish(ctx)
				}
				return err
			}
		}
		h.done = max(h.done, mark)
		s.settle(h.done, time.Time{})
		if err := h.errand(ctx); err != nil {
			return err
		}
		wait, err := h.advance(ctx, s.cfg.IdleAdvance)
		if err != nil {
			return err
		}
		if len(txs) > 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.feed.ready:
		case <-s.waiting():
		case <-s.stop:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// handling is the state of the handler's goroutine.
type handling struct {
	*Source
	done     LSN       // everything that ended before it has been handled
	tried    LSN       // the end of the last batch that the handler was given: it may have kept one that it could not say so of
	advanced time.Time // when the durable position last moved, or was last tried
	failed   bool      // the last try to persist idle progress
}

// advanceBytes of WAL that nobody watches are progress enough to be persisted at once, lest the slot of a busy cluster keep all that is
// written in the time of IdleAdvance. It is far more than persisting it writes: a state in the source's cluster does not feed itself.
const advanceBytes = 16 << 20

// errStopping says that a batch was given up between two attempts, because the source stops.
var errStopping = errors.New("stopping")

// batch hands txs to the handler, again and again while it fails temporarily, and closes them.
func (h *handling) batch(ctx context.Context, txs []*Tx, bytes int64) (err error) {
	defer func() {
		for _, tx := range txs {
			err = errors.Join(err, tx.Close())
		}
	}()
	h.track.update(func(p *Progress) { p.OldestCommit = txs[0].CommitTime })
	last := txs[len(txs)-1]
	h.tried = last.EndLSN
	began := time.Now()
	pause := backoff{lo: h.cfg.RetryMin, hi: h.cfg.RetryMax}
	for n := 1; ; n++ {
		lsn, err := LSN(0), h.line.follow(ctx, h.Source)
		if err == nil {
			lsn, err = h.handler.Handle(ctx, txs)
		}
		if err == nil {
			if lsn > last.EndLSN {
				// Confirming it would lose what comes in between (invariant 1).
				return fmt.Errorf("handle transactions: position %s is past their end %s", lsn, last.EndLSN)
			}
			h.done = last.EndLSN
			h.settled(lsn)
			h.report(txs, bytes, lsn, time.Since(began))
			return nil
		}
		if !isTemporary(err) {
			return fmt.Errorf("handle transactions up to %s: %w", last.EndLSN, err)
		}
		if h.stopping() {
			return errStopping
		}
		retry := pause.next()
		h.track.update(func(p *Progress) { p.LastError, p.LastErrorAt = err.Error(), time.Now() })
		if h.trace.Retry != nil {
			h.trace.Retry(err, n, retry)
		}
		if !h.pause(ctx, err, retry) {
			return errStopping
		}
	}
}

// pause waits before the handler is called again; false means to stop. What failed because walhook stays away from the
// database is tried as soon as it comes back.
func (h *handling) pause(ctx context.Context, err error, d time.Duration) bool {
	var away *AwayError
	if errors.As(err, &away) {
		if !h.gate.Wait(ctx, h.stop) {
			return false
		}
		d = h.cfg.RetryMin
	}
	return sleep(ctx, h.stop, d)
}

// advance persists idle progress if it is time to, or if it is much (invariant 1), and says when to look again.
func (h *handling) advance(ctx context.Context, every time.Duration) (time.Duration, error) {
	due := every
	if !h.failed && h.done >= LSN(h.durable.Load())+advanceBytes {
		due = min(every, time.Second)
	}
	if wait := due - time.Since(h.advanced); wait > 0 {
		return wait, nil
	}
	h.advanced = time.Now()
	if !h.known.Load() || max(h.done, h.tried) <= LSN(h.durable.Load()) {
		return every, nil
	}
	lsn, err := LSN(0), h.line.follow(ctx, h.Source)
	if err == nil {
		lsn, err = h.handler.Advance(ctx, h.done)
	}
	h.failed = err != nil
	switch {
	case err != nil && isTemporary(err):
		h.track.update(func(p *Progress) { p.LastError, p.LastErrorAt = err.Error(), time.Now() })
		if h.trace.Retry != nil {
			h.trace.Retry(err, 1, every)
		}
		if h.stopping() || !failedAway(h.gate, err) {
			return every, nil
		}
		if h.pause(ctx, err, h.cfg.RetryMin) {
			h.advanced = time.Time{} // at once: until it worked, the process is not ready
		}
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("persist position %s: %w", h.done, err)
	case lsn > max(h.done, h.tried):
		return 0, fmt.Errorf("persist position %s: position %s is past it", h.done, lsn)
	}
	h.done = max(h.done, lsn)
	failpoint.Hit(failpoint.Advanced)
	h.settled(lsn)
	if h.trace.Advanced != nil {
		h.trace.Advanced(lsn)
	}
	return every, nil
}

// failedAway says that something failed because walhook stays away: it was refused, or its session was closed under it.
func failedAway(gate *Gate, err error) bool {
	var away *AwayError
	return errors.As(err, &away) || gate.Away() != nil
}

// finish persists how far processing has come, at an orderly stop.
func (h *handling) finish(ctx context.Context) error {
	_, err := h.advance(ctx, 0)
	return err
}

// settled takes note of what the handler has made durable and lets the reader confirm it.
func (h *handling) settled(lsn LSN) {
	if lsn > LSN(h.durable.Load()) {
		h.durable.Store(uint64(lsn))
		h.advanced = time.Now()
		h.wake()
	}
}

// settle updates the progress after a batch or a keepalive.
func (s *Source) settle(done LSN, lastCommit time.Time) {
	count, bytes, oldest := s.feed.load()
	s.track.update(func(p *Progress) {
		p.Handled = max(p.Handled, done)
		p.InFlight, p.Bytes, p.OldestCommit = count, bytes, oldest
		if count == 0 {
			p.CaughtUp = time.Now()
		}
		if !lastCommit.IsZero() {
			p.LastCommit = lastCommit
		}
	})
}

// report accounts for a batch.
func (h *handling) report(txs []*Tx, bytes int64, durable LSN, took time.Duration) {
	last := txs[len(txs)-1]
	b := Batch{Transactions: len(txs), Bytes: bytes, Last: last.EndLSN, Durable: durable, Duration: took}
	for _, tx := range txs {
		b.Changes += len(tx.changes)
		if tx.Spilled() {
			b.Spilled++
		}
	}
	h.track.update(func(p *Progress) { p.Transactions += int64(len(txs)); p.LastCommit = last.CommitTime })
	if h.trace.Batch != nil {
		h.trace.Batch(b)
	}
}
