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
	"walhook/status"
)

// slotEvery is how often the slot is looked at, unless the slot guard wants to see more.
const slotEvery = 10 * time.Second

// slotWatch looks at the slot and at the end of WAL over a connection of its own, so that a stream that stands
// still is noticed although the stream itself tells nothing, and a slot that fills the server's disk although the
// state database is away. It raises alarms, and calls the slot guard.
type slotWatch struct {
	dsn      string
	live     *cdc.Live
	slot     string
	log      zerolog.Logger
	system   string // the cluster and the database that the slot belongs to
	database uint32
	progress func() cdc.Progress // of the stream
	gap      func() string
	missed   string // what gap has said of a slot that is lost

	publication publicationLook

	limit   cdc.GuardConfig
	guard   *cdc.Guard
	alarms  *cdc.Alarms
	clock   status.LagClock
	pace    cdc.WALPace
	warned  bool          // that the server's own limit comes first
	tripped chan struct{} // closed when the guard has decided to act
	verdict cdc.Health    // what it has seen then; read after tripped, as stream
	stream  cdc.Progress

	mu        sync.Mutex
	last      status.SlotState
	confirmed time.Time // see confirmedAt
}

// slotWatchConfig is what a watch needs to know.
type slotWatchConfig struct {
	dsn      string
	slot     string
	system   string
	database uint32
	guard    cdc.GuardConfig
	alarm    cdc.AlarmConfig
	progress func() cdc.Progress
	gap      func() string // since when changes are missed and what they concern, once the slot is lost or gone

	publication publicationConfig

	log  zerolog.Logger
	gate *cdc.Gate
}

func newSlotWatch(c slotWatchConfig) (*slotWatch, error) {
	live, err := cdc.NewLive(c.dsn, "slot", c.gate)
	if err != nil {
		return nil, err
	}
	w := &slotWatch{
		dsn: c.dsn, live: live, slot: c.slot, log: c.log, system: c.system, database: c.database, progress: c.progress, gap: c.gap,
		publication: publicationLook{publicationConfig: c.publication},
		limit:       c.guard, guard: cdc.NewGuard(c.guard), alarms: cdc.NewAlarms(c.alarm), tripped: make(chan struct{}),
	}
	w.last.Headroom = -1
	if !c.guard.Off() {
		w.last.Guard = &status.SlotGuard{MaxRetained: c.guard.MaxRetained, Action: string(c.guard.Action)}
	}
	return w, nil
}

// Run looks until ctx is cancelled. It never fails: what it cannot see is part of what it tells.
func (w *slotWatch) Run(ctx context.Context) error {
	defer w.live.Close()
	if g := w.limit; !g.Off() {
		w.log.Warn().Str("max_retained", status.Bytes(g.MaxRetained)).Str("action", string(g.Action)).Dur("after_ms", g.WithDefaults().After).
			Msg("the slot guard is on")
	}
	return periodic.Now(ctx, w.limit.Every(slotEvery), func() error { w.look(ctx); return nil })
}

// look asks the server once. A look that fails changes no figure.
func (w *slotWatch) look(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, slotEvery)
	defer cancel()
	health, err := w.live.Health(asking, w.slot)
	if err == nil && !w.bound(health) {
		err = w.another(health)
		w.guard.Forget()
	}
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	look := cdc.Look{At: now, Limit: w.limit.MaxRetained}
	if err != nil {
		look.Err = err
	} else {
		look.Health, look.Lag = health, w.lag(now, health)
		look.Gap = w.missing(health)
		w.pace.Observe(now, health)
		w.compare(health)
		w.judge(now, health)
		look.Publication, look.PublicationNews = w.publication.look(asking, w.live, now)
	}
	// Whoever stays away on purpose, which he has said, has not lost sight of the slot.
	if away := (*cdc.AwayError)(nil); !errors.As(err, &away) {
		w.report(w.alarms.Look(look))
	}
	w.note(look)
}

// missing says what is missed when the slot is lost or gone.
func (w *slotWatch) missing(h *cdc.Health) string {
	switch lost := h.Slot == nil || h.Slot.Lost(); {
	case !lost:
		w.missed = ""
	case w.missed == "":
		w.missed = w.gap()
	}
	return w.missed
}

// confirmedAt is when WAL ended at the position that the slot was seen to be confirmed up to last; the zero time when it was not seen.
func (w *slotWatch) confirmedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.confirmed
}

// bound says that the server is the one that the slot belongs to.
func (w *slotWatch) bound(h *cdc.Health) bool {
	return h.SystemID == w.system && h.DatabaseOID == w.database
}

func (w *slotWatch) another(h *cdc.Health) error {
	return fmt.Errorf("another server answers: its system identifier is %s and the database's oid %d, the state belongs to %s and %d", h.SystemID, h.DatabaseOID, w.system, w.database)
}

// compare warns once of a guard that cannot act in time.
func (w *slotWatch) compare(h *cdc.Health) {
	if w.limit.MaxRetained == 0 || h.KeepMax < 0 || h.KeepMax > w.limit.MaxRetained {
		w.warned = false
		return
	}
	if !w.warned {
		w.log.Warn().Str("max_retained", status.Bytes(w.limit.MaxRetained)).Str("max_slot_wal_keep_size", status.Bytes(h.KeepMax)).
			Str("hint", "lower source.guard.max_retained, or raise max_slot_wal_keep_size").
			Msg("the server takes the slot before the slot guard would act")
	}
	w.warned = true
}

// lag is how long ago the slot's confirmed position was the end of WAL. The clock knows what it has seen itself; after a start
// the age of the oldest transaction that waits tells more.
func (w *slotWatch) lag(now time.Time, h *cdc.Health) time.Duration {
	if h.Slot == nil || h.End == 0 || h.InRecovery {
		return 0
	}
	w.clock.Observe(now, h.Slot.Confirmed, h.End)
	_, age := w.progress().Lag(now)
	return max(w.clock.Lag(now), age)
}

// report logs each alarm once when it is raised and once when it is over.
func (w *slotWatch) report(raised, cleared []cdc.Alarm) {
	for _, a := range raised {
		w.log.Error().Str("alarm", string(a.Name)).Str("finding", a.Message).Str("hint", a.Hint).Msg("slot alarm")
	}
	for _, a := range cleared {
		w.log.Info().Str("alarm", string(a.Name)).Time("since", a.Since).Msg("slot alarm is over")
	}
}

// note remembers a look for the status pages.
func (w *slotWatch) note(look cdc.Look) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.last
	s.Alarms = nil
	for _, a := range w.alarms.Raised() {
		s.Alarms = append(s.Alarms, status.SlotAlarm{Name: string(a.Name), Since: a.Since.UTC(), Message: a.Message, Hint: a.Hint})
	}
	h := look.Health
	if h == nil {
		s.Error = look.Err.Error()
		return
	}
	s.At, s.Error, s.Missing, s.CurrentWAL = look.At, "", false, h.End
	s.Retained, s.Behind, s.BehindFor, s.Headroom = h.Retained, h.Behind, look.Lag, -1
	s.Active, s.WALStatus, s.Reason, s.Restart, s.Confirmed, s.InactiveSince, s.CatalogAge, s.Failover = false, "", "", 0, 0, time.Time{}, 0, false
	s.Spilled, s.Written, s.Growth = h.Spilled, w.pace.Written(), w.pace.Growth()
	if h.Slot == nil {
		s.Error, s.Missing = "there is no such slot", true
		return
	}
	if !h.InRecovery { // of a standby the lag is not known
		w.confirmed = look.At.Add(-look.Lag)
	}
	s.Active, s.WALStatus, s.Headroom = h.Slot.PID != 0, h.Slot.WALStatus, h.Safe()
	s.Reason, s.Restart, s.Confirmed, s.CatalogAge, s.Failover = h.Slot.Reason, h.Slot.Restart, h.Slot.Confirmed, h.Slot.CatalogAge, h.Slot.Failover
	if !s.Active {
		s.InactiveSince = h.Slot.InactiveSince
	}
	if h.Slot.Lost() {
		s.WALStatus = "lost"
	}
}

func (w *slotWatch) state() status.SlotState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}
