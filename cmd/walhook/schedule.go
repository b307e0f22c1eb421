package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
)

// reachPatience bounds how long a scheduled event waits for the stream to come as far as its record was read.
const reachPatience = 10 * time.Second

// schedule starts what looks for records at set times, beside the stream of this process, and returns what waits until it has ended. It begins once
// the stream is attached, as this is the right source then (invariants 5 and 8).
func (m *member) schedule(ctx context.Context, source *cdc.Source) (wait func(), err error) {
	live, err := cdc.NewLive(m.cfg.Source.DSN.reveal(), "schedule", m.p.gate)
	if err != nil {
		return nil, environmentError(err, "")
	}
	id := m.at.identity
	s := delivery.NewScheduler(delivery.SchedulerConfig{
		ID: delivery.Identity{SystemID: id.SystemID, DatabaseOID: id.DatabaseOID}, Rules: m.survey.rules, Endpoints: m.cfg.Endpoints,
		Store: m.process.Schedules(), Scanner: live, Loader: newRelatedRows(live, m.survey.rules),
		Reached: reached(source.Progress), Queued: m.engine.Nudge, Trace: m.p.scheduleTrace(),
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer live.Close()
		select {
		case <-m.verified:
		case <-ctx.Done():
			return
		}
		// That another process reads now ends the stream, too.
		if err := s.Run(ctx); err != nil && ctx.Err() == nil {
			withHint(m.p.log.Warn(), err).Msg("rules on schedule are not run any more by this process")
		}
	}()
	return func() { <-done }, nil
}

// reached waits until what the stream had to say up to an LSN has been handled, a moment at most.
func reached(progress func() cdc.Progress) func(context.Context, cdc.LSN) {
	return func(ctx context.Context, lsn cdc.LSN) {
		ctx, cancel := context.WithTimeout(ctx, reachPatience)
		defer cancel()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for progress().Handled < lsn {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// scheduleTrace logs what scheduled runs do.
func (p *pipeline) scheduleTrace() delivery.ScheduleTrace {
	log := p.log
	return delivery.ScheduleTrace{
		Ran: func(rule string, s delivery.ScheduleState, crossed int, took time.Duration) {
			if s.Stock {
				log.Info().Str("rule", rule).Int("records", crossed).Int64("rows", s.Rows).Dur("took_ms", took).
					Str("hint", "records that hold from now on are sent; to send those that held before, too: first = \"send\" from the beginning").
					Msg("what holds already was taken down, and not sent")
				return
			}
			e := log.Debug()
			if s.Fired > 0 {
				e = log.Info()
			}
			e.Str("rule", rule).Time("at", s.RunAt).Int64("rows", s.Rows).Int64("fired", s.Fired).Dur("took_ms", took).Msg("scheduled run")
		},
		Capped: func(rule string, most int) {
			log.Warn().Str("rule", rule).Int("max_per_run", most).Str("hint", "the others are sent by the next runs; raise max_per_run to send more at once").
				Msg("a scheduled run has sent as many events as it may")
		},
		Failed: func(rule string, err error, retry time.Duration) {
			withHint(p.warn(err), err).Str("rule", rule).Dur("retry_in_ms", retry).Msg("scheduled run failed")
		},
		Parked: p.ingestTrace().Parked,
	}
}

// scheduleNeeds adds the tables that scheduled rules look through, to what else is needed of tables.
func scheduleNeeds(set *rules.Set, needs []cdc.TableNeed) []cdc.TableNeed {
	for _, r := range set.Scheduled() {
		why := fmt.Sprintf("rule %q looks for records in it", r.Name)
		i := slices.IndexFunc(needs, func(n cdc.TableNeed) bool { return n.Schema == r.Table.Schema && n.Table == r.Table.Name })
		if i < 0 {
			needs = append(needs, cdc.TableNeed{Schema: r.Table.Schema, Table: r.Table.Name, ReadOnly: true, Why: []string{why}})
			continue
		}
		needs[i].Read, needs[i].Why = true, append(slices.Clip(needs[i].Why), why)
	}
	return needs
}

// messageNeeds lists the rules that need a server that sends messages.
func messageNeeds(set *rules.Set) (names []string) {
	for _, r := range set.Listening() {
		names = append(names, r.Name)
	}
	return names
}
