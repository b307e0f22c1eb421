package main

import (
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// withHint adds the remedy that an error knows.
func withHint(e *zerolog.Event, err error) *zerolog.Event {
	e = e.Err(err)
	if hint := hintOf(err); hint != "" {
		e = e.Str("hint", hint)
	}
	return e
}

// sourceTrace logs what the stream does: attached, lost, and what a person should know.
func (p *pipeline) sourceTrace() cdc.Trace {
	log := p.log
	return cdc.Trace{
		Connected: func(s cdc.Session) {
			p.current().verify()
			p.current().rows.lookups.Forget()
			log.Info().Str("database", s.Database).Str("server", s.Server).Stringer("start", s.Start).Stringer("end", s.End).Int("reconnects", s.Reconnects).Msg("streaming")
		},
		Disconnected: func(err error, retry time.Duration) {
			withHint(p.warn(err), err).Dur("retry_in_ms", retry).Msg("stream lost")
		},
		Batch: func(b cdc.Batch) {
			p.noteHandler(nil)
			log.Debug().Int("transactions", b.Transactions).Int("changes", b.Changes).Int64("bytes", b.Bytes).Stringer("last", b.Last).Stringer("durable", b.Durable).Dur("took_ms", b.Duration).Msg("batch")
		},
		Retry: func(err error, n int, retry time.Duration) {
			p.noteHandler(err)
			withHint(p.warn(err), err).Int("failures", n).Dur("retry_in_ms", retry).Msg("batch not committed")
		},
		Truncated: func(table *cdc.Relation, tx *cdc.Tx) {
			log.Error().Stringer("table", table).Uint32("xid", tx.XID).Stringer("lsn", tx.CommitLSN).Time("at", tx.CommitTime).Msg("a watched table was truncated: its rows are gone without an event each")
		},
		Spilled: func(tx *cdc.Tx) {
			log.Info().Uint32("xid", tx.XID).Stringer("lsn", tx.CommitLSN).Msg("a large transaction went to a temporary file")
		},
		Ended: func(pid int) {
			log.Warn().Int("backend", pid).Msg("the session that a former reader has left at the slot was ended")
		},
		Advanced:  func(lsn cdc.LSN) { log.Debug().Stringer("lsn", lsn).Msg("idle position written") },
		Confirmed: func(lsn cdc.LSN) { log.Debug().Stringer("lsn", lsn).Msg("confirmed") },
	}
}

// ingestTrace logs parked events, one line each: somebody has to mend a rule.
func (p *pipeline) ingestTrace() delivery.IngestTrace {
	log := p.log
	return delivery.IngestTrace{
		Enqueued: func(deliveries, parked, lanes int, took time.Duration) {
			log.Debug().Int("deliveries", deliveries).Int("parked", parked).Int("lanes", lanes).Dur("took_ms", took).Msg("enqueued")
		},
		Staged:  func(stage delivery.Stage, took time.Duration) { p.server.Stage(stage, took) },
		Upgrade: p.noteUpgrade,
		Parked: func(e *delivery.Parked) {
			if e.Held {
				log.Debug().Str("id", e.ID).Str("rule", e.Rule).Str("model", e.Model).Str("record", e.Record).Msg("event held")
				return
			}
			hint := "mend the rule, walhook reload, and: walhook deliveries retry " + e.ID
			if e.Rule == delivery.NoticeRule {
				hint = "mend what sends the message; walhook deliveries show " + e.ID + " shows it, and walhook deliveries discard " + e.ID + " puts it away"
			}
			log.Error().Str("id", e.ID).Str("rule", e.Rule).Str("model", e.Model).Str("record", e.Record).Stringer("lsn", e.CommitLSN).
				Str("error", e.Error).Str("hint", hint).Msg("event parked")
		},
		ImageFailed: func(err error) {
			withHint(log.Error(), err).Msg("the image of a row could not be read: what it was before is not known")
		},
		RelatedFailed: func(err error) { withHint(log.Error(), err).Msg("related rows could not be read") },
	}
}

// engineTrace logs one wide line for every attempt.
func (p *pipeline) engineTrace() delivery.Trace {
	log := p.log
	return delivery.Trace{
		Sent: func(d *delivery.Delivery, waited, took, whole time.Duration) {
			p.server.Sent(d.Endpoint, waited, took, whole)
		},
		AttemptDone: func(d *delivery.Delivery, a *delivery.Attempt, o delivery.Outcome) {
			p.server.Attempt(d.Endpoint, string(o.Result), a.Total)
			var e *zerolog.Event
			switch o.Result {
			case delivery.Delivered:
				e = log.Info()
			case delivery.Retry:
				e = log.Warn().Time("next", o.Next)
			case delivery.Dead:
				e = log.Error().Bool("hold", o.Hold)
			default:
				e = log.Debug()
			}
			if o.Reason != "" {
				e = e.Str("reason", o.Reason)
			}
			if a.Class != "" {
				e = e.Str("class", a.Class)
			}
			if a.Batch != "" {
				e = e.Str("batch", a.Batch).Int("batch_size", a.BatchSize)
			}
			e.Str("id", d.ID).Str("endpoint", d.Endpoint).Str("rule", d.Rule).Str("event", d.Event).Str("model", d.Model).Str("record", d.Record).
				Stringer("lsn", d.CommitLSN).Int("attempt", a.Number).Str("result", string(o.Result)).Int("status", a.Status).
				Int("bytes", len(d.Body)).Dur("took_ms", a.Total).Dur("age_ms", a.At.Sub(d.CommitAt)).Msg("attempt")
		},
		ClaimFailed: func(endpoint string, err error, retry time.Duration) {
			withHint(p.warn(err), err).Str("endpoint", endpoint).Dur("retry_in_ms", retry).Msg("queue not read")
		},
		Finished: func(int, time.Duration) { p.noteResults(nil) },
		FinishFailed: func(err error, waiting int, retry time.Duration) {
			p.noteResults(err)
			withHint(p.warn(err), err).Int("waiting", waiting).Dur("retry_in_ms", retry).Msg("outcomes not committed")
		},
		Disabled: func(endpoint, reason string) {
			log.Error().Str("endpoint", endpoint).Str("reason", reason).Str("hint", "walhook endpoints resume "+endpoint).Msg("endpoint disabled")
		},
		Enabled: func(endpoint string) { log.Info().Str("endpoint", endpoint).Msg("endpoint resumed") },
		Paused: func(endpoint, reason string) {
			log.Warn().Str("endpoint", endpoint).Str("reason", reason).Str("hint", "walhook endpoints resume "+endpoint).Msg("endpoint paused")
		},
		BreakerOpened: func(endpoint, reason string, failures int, until time.Time) {
			if reason == status.ResumedReason {
				log.Info().Str("endpoint", endpoint).Msg("endpoint resumed: the next delivery is a probe")
				return
			}
			log.Warn().Str("endpoint", endpoint).Str("reason", reason).Int("failures", failures).Time("probe_at", until).Msg("endpoint fails: nothing is sent but probes")
		},
		BreakerClosed: func(endpoint string) { log.Info().Str("endpoint", endpoint).Msg("endpoint answers again") },
		FlowFailed:    func(err error, retry time.Duration) { p.failing("flow", "state of endpoints not read", err) },
		LeaseLost: func(until time.Time) {
			e := log.Error()
			if p.gate.Away() != nil {
				e = log.Info() // as was to be expected
			}
			e.Time("until", until).Msg("lease ran out: nothing is sent")
		},
		LeaseRegained: func(until time.Time) { log.Info().Time("until", until).Msg("lease regained") },
	}
}

// stateTrace logs what the upkeep of the state does.
func (p *pipeline) stateTrace() state.Trace {
	log := p.log
	return state.Trace{
		RenewFailed: func(err error) { p.failing("lease", "lease not renewed", err) },
		Expired: func(ids []int64, n int64) {
			log.Warn().Ints64("processes", ids).Int64("lanes", n).Msg("took over from dead processes")
		},
		Partitions: func(made int) { log.Debug().Int("made", made).Msg("partitions added") },
		Dropped: func(d state.DroppedPartition) {
			if d.Size {
				log.Warn().Str("partition", d.Name).Int64("bytes", d.Bytes).Str("hint", "the log has reached retention_size in [state]").Msg("a day of the log was dropped before its time")
				return
			}
			log.Info().Str("partition", d.Name).Int64("bytes", d.Bytes).Msg("retention dropped a day of the log")
		},
		LogFull:       func(s status.LogState) { logFull(log, s) },
		UpkeepFailed:  func(task string, err error) { p.failing(task, "upkeep failed", err) },
		RecordFull:    func(full bool) { recordFull(log, full) },
		Queue:         func(a state.QueueAlarm) { queueAlarm(log, a) },
		CommitInDoubt: func(err error) { withHint(p.warn(err), err).Msg("the outcome of a commit is unknown: looking it up") },
	}
}

// isClosed says that something was closed before, which is as good.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
