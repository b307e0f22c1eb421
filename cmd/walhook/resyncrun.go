package main

import (
	"context"
	"sync"
	"time"

	"walhook/cdc"
	"walhook/delivery"
)

// waymarkEvery is how often the reader notes where WAL stands at which time.
const waymarkEvery = time.Minute

// repair tells of what a resync has found to be gone, and notes waymarks, beside the stream of this process. It returns what waits until it has ended.
// It begins once the stream is attached, as this is the right source then (invariants 5 and 8).
func (m *member) repair(ctx context.Context, source *cdc.Source) (wait func()) {
	id := m.at.identity
	s := delivery.NewResyncer(delivery.ResyncConfig{
		ID: delivery.Identity{SystemID: id.SystemID, DatabaseOID: id.DatabaseOID}, Rules: m.survey.rules, Endpoints: m.cfg.Endpoints, Store: m.process.Gones(), Before: m.p.db, Loader: newRelatedRows(m.lookups, m.survey.rules),
		Handled: func() cdc.LSN { return source.Progress().Handled }, Queued: m.engine.Nudge,
		Told: func(page *delivery.GonePage, deliveries int) {
			m.p.log.Info().Int64("resync", page.Resync).Str("rule", page.Rule).Int("records", len(page.Gone)).Int("deliveries", deliveries).Msg("deletions that a resync has found were queued")
		},
		Failed: func(err error, retry time.Duration) {
			withHint(m.p.warn(err), err).Dur("retry_in_ms", retry).Msg("deletions that a resync has found could not be queued")
		},
	})
	var parts sync.WaitGroup
	begin := func(part func()) {
		parts.Go(func() {
			select {
			case <-m.verified:
				part()
			case <-ctx.Done():
			}
		})
	}
	begin(func() {
		// That another process reads now ends the stream, too.
		if err := s.Run(ctx); err != nil && ctx.Err() == nil {
			withHint(m.p.log.Warn(), err).Msg("what a resync has found is not told any more by this process")
		}
	})
	begin(func() {
		for m.mark(ctx); ; m.mark(ctx) {
			select {
			case <-time.After(waymarkEvery):
			case <-ctx.Done():
				return
			}
		}
	})
	return parts.Wait
}

// mark notes one waymark. One that could not be noted makes a later gap look longer, and nothing else.
func (m *member) mark(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, waymarkEvery/2)
	defer cancel()
	w, err := m.lookups.Waymark(limited)
	if err == nil {
		err = m.process.NoteWaymark(limited, w)
	}
	if err != nil && ctx.Err() == nil {
		m.p.log.Debug().Err(err).Msg("no waymark noted")
	}
}
