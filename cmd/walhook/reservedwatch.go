package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/internal/periodic"
	"walhook/state"
	"walhook/status"
)

// reservedEvery is how often reserved slots are looked at.
const reservedEvery = 10 * time.Second

// reservedWatch upholds the limits of slots that were reserved for backtests: one that keeps more WAL than it may is dropped. Each running process
// looks; which of them drops a slot makes no difference.
type reservedWatch struct {
	db       *state.DB
	dsn      string
	system   string // the cluster and the database that the state belongs to
	database uint32
	own      string // the slot that is streamed from, which is never touched here
	gate     *cdc.Gate
	log      zerolog.Logger
	failing  func(task, message string, err error)
	seen     *reservedSlots
}

// reservedSlots are the slots that were reserved, as the watch has seen them last. The zero value is none.
type reservedSlots struct {
	mu   sync.Mutex
	list []status.ReservedSlot
}

func (s *reservedSlots) set(list []status.ReservedSlot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
}

func (s *reservedSlots) get() []status.ReservedSlot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list
}

// reservedOf is a reservation in the words of the pages, before anybody has looked at the slot.
func reservedOf(r *state.Reservation) status.ReservedSlot {
	return status.ReservedSlot{Slot: r.Slot, Since: r.MadeAt.UTC(), MaxRetained: r.MaxRetained, Ended: r.Ended}
}

func (p *pipeline) watchReserved(ctx context.Context) error {
	w := &reservedWatch{
		db: p.db, dsn: p.cfg.Source.DSN.reveal(), own: p.cfg.Source.Slot, gate: p.gate, log: p.log, failing: p.failing, seen: &p.reserved,
		system: p.current().at.identity.SystemID, database: p.current().at.identity.DatabaseOID,
	}
	return w.Run(ctx)
}

// Run looks until ctx is cancelled. What it cannot see it looks at again.
func (w *reservedWatch) Run(ctx context.Context) error {
	live, err := cdc.NewLive(w.dsn, "reserved", w.gate)
	if err != nil {
		return err
	}
	defer live.Close()
	return periodic.Now(ctx, reservedEvery, func() error {
		if err := w.look(ctx, live); err != nil && ctx.Err() == nil {
			w.failing("reserved", "reserved slots not looked at", err)
		}
		return nil
	})
}

// look looks once. Without reservations it asks the state alone.
func (w *reservedWatch) look(ctx context.Context, live *cdc.Live) error {
	ctx, cancel := context.WithTimeout(ctx, reservedEvery)
	defer cancel()
	list, err := w.db.Reservations(ctx)
	if err != nil {
		return err
	}
	open := false
	var seen []status.ReservedSlot
	defer func() { w.seen.set(seen) }()
	for _, r := range list {
		if !r.Made() { // a slot of its name may be anybody's; check tells of it
			continue
		}
		seen = append(seen, reservedOf(&r))
		if r.Ended != "" || r.Slot == w.own {
			continue
		}
		open = true
		h, err := live.Health(ctx, r.Slot)
		if err != nil {
			return err
		}
		if h.SystemID == w.system && h.DatabaseOID == w.database {
			s := &seen[len(seen)-1]
			if h.Slot == nil {
				s.Ended = "it is gone"
			} else if h.Slot.Confirmed != r.Start {
				s.Ended = "another slot has its name"
			} else if h.Measured() {
				s.Retained = &h.Retained
			}
		}
		if h.SystemID != w.system || h.DatabaseOID != w.database || !h.Measured() || h.Slot.Confirmed != r.Start || h.Retained <= r.MaxRetained {
			continue
		}
		drop := cdc.SlotDrop{Slot: r.Slot, SystemID: w.system, DatabaseOID: w.database, Over: r.MaxRetained, Confirmed: r.Start}
		if h.Slot.PID != 0 {
			drop.Own = h.Slot.PID // a backtest that reads it: it can't go on without the slot
		}
		if err := live.DropSlot(ctx, drop); err != nil {
			return err
		}
		reason := fmt.Sprintf("it kept %s of WAL, more than its limit of %s", cdc.BytesText(h.Retained), cdc.BytesText(r.MaxRetained))
		w.log.Warn().Str("slot", r.Slot).Int64("retained", h.Retained).Int64("limit", r.MaxRetained).Msg("a slot that was reserved for backtests was dropped: it kept too much WAL")
		if err := w.db.EndReservation(ctx, r.Slot, reason); err != nil {
			return err
		}
	}
	if !open {
		live.Close() // no connection is kept for nothing
	}
	return nil
}

// reserved refuses to forget slots that were reserved: nobody would know of them, and they would keep WAL for ever.
func (t *teardown) reserved(ctx context.Context) error {
	if t.db == nil || t.keepState {
		return nil
	}
	list, err := t.db.Reservations(ctx)
	if err != nil {
		return nil // an older schema, or what is left of one, has none
	}
	var problems []error
	for _, r := range list {
		if r.Ended == "" {
			problems = append(problems, environmentError(fmt.Errorf("slot %q is reserved for backtests, and would keep WAL with nobody knowing of it", r.Slot), "walhook rules backtest --release "+r.Slot))
		}
	}
	return errors.Join(problems...)
}
