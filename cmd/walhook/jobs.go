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

// jobWorker is what works on jobs beside, and between, the stream of this process (A8, A7, A10).
type jobWorker struct {
	runner *delivery.JobRunner
	live   *cdc.Live // reads chunks
	rows   *cdc.Live // looks up what rows refer to, while the stream waits
}

// prepareJobs prepares the runner, which commits through the stream's own handler.
func (m *member) prepareJobs(ingest *delivery.Ingest, images *delivery.Images) (*jobWorker, error) {
	dsn := m.cfg.Source.DSN.reveal()
	live, err := cdc.NewLive(dsn, "chunks", m.p.gate)
	if err != nil {
		return nil, environmentError(err, "")
	}
	rows, err := cdc.NewLive(dsn, "chunks", m.p.gate)
	if err != nil {
		return nil, environmentError(err, "")
	}
	id := m.at.identity
	sink := func(origin cdc.Origin) *delivery.RowSink {
		return &delivery.RowSink{ID: delivery.Identity{SystemID: id.SystemID, DatabaseOID: id.DatabaseOID}, Endpoints: m.cfg.Endpoints, Origin: origin, Source: live, Before: m.p.db,
			Rules: func(j *delivery.Job) (*rules.Set, *rules.Rule, error) {
				return m.cfg.rowRule(m.survey, j.Rule, j.Where)
			},
			Loader: func(set *rules.Set) delivery.Loader { return newRelatedRows(rows, set) }}
	}
	sinks := map[delivery.JobKind]delivery.JobSink{delivery.JobBackfill: sink(cdc.FromSnapshot), delivery.JobResync: sink(cdc.FromResync)}
	sinks[delivery.JobImage] = delivery.NewImageSink(images, live)
	return &jobWorker{live: live, rows: rows, runner: delivery.NewJobRunner(delivery.JobRunnerConfig{
		Store: m.process.Jobs(), Reader: live, Progress: m.progress, Trace: m.p.jobTrace(), Sinks: sinks,
	}, ingest)}, nil
}

// run works on jobs from when the stream is attached, as this is the right source then (invariants 5 and 8), and returns what waits until it has ended.
func (j *jobWorker) run(ctx context.Context, m *member) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer j.live.Close()
		defer j.rows.Close()
		select {
		case <-m.verified:
		case <-ctx.Done():
			return
		}
		// That another process reads now ends the stream, too.
		if err := j.runner.Run(ctx); err != nil && ctx.Err() == nil {
			withHint(m.p.log.Warn(), err).Msg("jobs are not worked on any more by this process")
		}
	}()
	return func() { <-done }
}

// rowRule compiles one rule to look at rows, with a further condition.
func (c *Config) rowRule(s *survey, name, where string) (*rules.Set, *rules.Rule, error) {
	i := slices.IndexFunc(c.Rules, func(r rules.Config) bool { return r.Name == name })
	if i < 0 {
		return nil, nil, &delivery.JobRuleError{Rule: name, Problem: "is not in the configuration any more", Remedy: "walhook backfill cancel; or put the rule back, and walhook backfill resume"}
	}
	set, err := c.settings().Compile([]rules.Config{c.Rules[i].ForRows(where)}, s.catalog)
	if err != nil {
		return nil, nil, &delivery.JobRuleError{Rule: name, Problem: "does not fit", Err: err, Remedy: "correct the rule or the further condition; then walhook backfill resume"}
	}
	r := set.Rules()[0]
	switch {
	case !r.IsActive():
		return nil, nil, &delivery.JobRuleError{Rule: name, Problem: "is not active", Remedy: "active = true; then walhook backfill resume"}
	case !r.TellsOfRows():
		return nil, nil, &delivery.JobRuleError{Rule: name, Problem: fmt.Sprintf("is on %v alone: it has no events for records that there are", r.On), Remedy: "backfill rules on create or write"}
	case len(r.Table.PrimaryKey) == 0:
		return nil, nil, &delivery.JobRuleError{Rule: name, Problem: fmt.Sprintf("is on %s, which has no primary key to go through it by", r.Table), Remedy: "give the table a primary key"}
	}
	return set, r, nil
}

// jobEvery is how often the log says how far a job has come.
const jobEvery = time.Minute

// jobTrace logs what jobs do.
func (p *pipeline) jobTrace() delivery.JobTrace {
	told := map[int64]time.Time{}
	log := func(j *delivery.Job) func(text string) {
		return func(text string) {
			p.log.Info().Int64("job", j.ID).Str("kind", string(j.Kind)).Str("rule", j.Rule).Str("table", j.Schema+"."+j.Table).Int64("rows", j.Rows).Int64("events", j.Events).
				Int64("sent", j.Sent).Int64("parked", j.Parked).Msg(text)
		}
	}
	return delivery.JobTrace{
		Begun: func(j *delivery.Job) { log(j)("job begins, or goes on") },
		Step: func(j *delivery.Job, _ *delivery.JobStep) { // called by one goroutine at a time
			if now := time.Now(); now.Sub(told[j.ID]) >= jobEvery {
				if _, known := told[j.ID]; known {
					log(j)("job at work")
				}
				told[j.ID] = now
			}
		},
		Ended: func(j *delivery.Job) { log(j)("job is done") },
		Failed: func(j *delivery.Job, err error) {
			withHint(p.log.Error(), err).Int64("job", j.ID).Str("kind", string(j.Kind)).Str("rule", j.Rule).Msg("job failed: it goes on once it is resumed")
		},
		Retry: func(j *delivery.Job, err error, pause time.Duration) {
			withHint(p.warn(err), err).Int64("job", j.ID).Str("rule", j.Rule).Dur("retry_in_ms", pause).Msg("job cannot go on for now")
		},
	}
}
