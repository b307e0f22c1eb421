package cdc

import (
	"context"
	"errors"
)

// Errand is work that must not run beside the handling of transactions, but between it, by the same goroutine: what it stores is then in order with what
// the transactions have led to. It may be nil.
type Errand interface {
	// Waiting is sent to when there may be something to do while the stream is quiet.
	Waiting() <-chan struct{}
	// Due says that Do would do something. It is quick, and called before it.
	Due(handled LSN) bool
	// Do is called after each batch and when the stream says that there is nothing up to an LSN: everything before handled has been handled. It must be
	// quick, as transactions wait meanwhile. It returns the durable position, zero when it has stored none. An error with Temporary() is noted, and the
	// errand comes to its turn again; any other one ends the source.
	Do(ctx context.Context, handled LSN) (LSN, error)
}

// errand lets the errand do what there is to do.
func (h *handling) errand(ctx context.Context) error {
	if h.cfg.Errand == nil || !h.known.Load() || !h.cfg.Errand.Due(h.done) {
		return nil
	}
	lsn, err := LSN(0), h.line.follow(ctx, h.Source)
	if err == nil {
		lsn, err = h.cfg.Errand.Do(ctx, h.done)
	}
	switch {
	case err == nil && lsn > h.done:
		return errors.New("an errand has stored a position that the stream has not come to")
	case err == nil:
		h.settled(lsn)
		return nil
	case isTemporary(err):
		h.track.update(func(p *Progress) { p.LastError = err.Error() })
		return nil
	}
	return err
}

// waiting is when the errand has something to do.
func (s *Source) waiting() <-chan struct{} {
	if s.cfg.Errand == nil {
		return nil
	}
	return s.cfg.Errand.Waiting()
}
