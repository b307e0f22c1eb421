package delivery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"walhook/cdc"
	"walhook/rules"
)

// Scanner looks at rows of the source as they are now.
type Scanner interface {
	// Bounds returns the least and the greatest key of a table; ok is false when it has no rows.
	Bounds(ctx context.Context, schema, table, key string) (least, greatest int64, ok bool, err error)
	// Scan reads rows in the order of their key. [cdc.IsTimeout] tells of an error that a smaller range may mend.
	Scan(ctx context.Context, s cdc.Scan) (*cdc.Scanned, error)
}

// SchedulerConfig is what a [Scheduler] works with.
type SchedulerConfig struct {
	ID        Identity
	Rules     *rules.Set
	Endpoints map[string]EndpointConfig
	Store     ScheduleStore
	Scanner   Scanner
	Loader    Loader // of related rows

	// Reached waits until the stream has been handled up to an LSN, or for so long as it seems worth waiting: what an event shows of a record must not be
	// followed by older changes of it. It may be nil.
	Reached func(ctx context.Context, lsn cdc.LSN)
	// Queued is called after deliveries were queued, with their endpoints. It may be nil.
	Queued func(endpoints []string)

	Now   func() time.Time                           // default time.Now
	Sleep func(ctx context.Context, d time.Duration) // default: until the time has passed or ctx has ended
	Trace ScheduleTrace
}

// ScheduleTrace observes a [Scheduler]. Its functions may be nil.
type ScheduleTrace struct {
	// Ran is called at the end of each run; crossed is for how many records its condition has come to hold since this process took the run up.
	Ran func(rule string, s ScheduleState, crossed int, took time.Duration)
	// Capped is called when a run has sent as many events as it may: the others are found by the next one.
	Capped func(rule string, most int)
	// Failed is called when a run cannot begin or go on; it is tried again after a pause.
	Failed func(rule string, err error, retry time.Duration)
	// Parked is called for each event that was parked.
	Parked func(p *Parked)
}

// Scheduler runs rules on schedule (C10): at set times it looks for records for which a rule's condition has come to hold, and queues an event for each
// of them, once per record and crossing.
//
// Which records hold is kept in the store; what has been sent and what is remembered of it commit together, by the reader of the slot alone
// (invariant 2). A run that is cut short goes on where it stood, with the same now() and so the same ids (invariant 3). Runs that were missed while
// nobody read are made up for by a single one.
//
// It reads little at a time, from a range of keys, each in a transaction of its own, and rests as long as it has read: it takes at most half of one
// session's time of the source (invariant 9).
type Scheduler struct {
	cfg     SchedulerConfig
	backoff map[string]time.Duration // by rule, while it fails
	retry   map[string]time.Time
	kept    time.Time // when the store was last told of the rules
}

// NewScheduler returns a scheduler for the active rules on schedule of a set.
func NewScheduler(cfg SchedulerConfig) *Scheduler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = func(ctx context.Context, d time.Duration) {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		}
	}
	return &Scheduler{cfg: cfg, backoff: map[string]time.Duration{}, retry: map[string]time.Time{}}
}

const (
	// scheduleLook is how often the clock is looked at, at least: it may be set, or the machine have slept.
	scheduleLook = 30 * time.Second
	// scheduleKeep is how often the store is told which rules there are.
	scheduleKeep = time.Hour
	// Pauses after failures.
	scheduleRetryMin, scheduleRetryMax = time.Second, time.Minute
)

// Run runs what is due until ctx is cancelled, which is no error, or another process reads the slot ([ErrSuperseded]).
func (s *Scheduler) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		next, err := s.Look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		s.cfg.Sleep(ctx, min(max(next.Sub(s.cfg.Now()), 0), scheduleLook))
	}
	return nil
}

// Look runs each rule that is due, one after the other, and returns when to look again.
func (s *Scheduler) Look(ctx context.Context) (next time.Time, err error) {
	scheduled := s.cfg.Rules.Scheduled()
	next = s.cfg.Now().Add(scheduleLook)
	if now := s.cfg.Now(); now.Sub(s.kept) >= scheduleKeep || now.Before(s.kept) {
		names := make([]string, len(scheduled))
		for i, r := range scheduled {
			names[i] = r.Name
		}
		if err := s.cfg.Store.KeepSchedules(ctx, names); err == nil {
			s.kept = now
		}
	}
	for _, r := range scheduled {
		if at := s.retry[r.Name]; s.cfg.Now().Before(at) {
			next = earlier(next, at)
			continue
		}
		err := s.attend(ctx, r)
		switch {
		case ctx.Err() != nil:
			return next, nil
		case errors.Is(err, ErrSuperseded):
			return next, err
		case err != nil:
			next = earlier(next, s.failed(ctx, r, err))
			continue
		}
		delete(s.backoff, r.Name)
		next = earlier(next, r.Schedule.Times.Next(s.cfg.Now()))
	}
	return next, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// failed puts a rule off.
func (s *Scheduler) failed(ctx context.Context, r *rules.Rule, err error) time.Time {
	pause := min(max(2*s.backoff[r.Name], scheduleRetryMin), scheduleRetryMax)
	s.backoff[r.Name] = pause
	again := s.cfg.Now().Add(pause)
	s.retry[r.Name] = again
	if s.cfg.Trace.Failed != nil {
		s.cfg.Trace.Failed(r.Name, err, pause)
	}
	// That it cannot be noted either is not worth another word.
	_ = s.cfg.Store.NoteSchedule(ctx, r.Name, r.Schedule.Times.Next(s.cfg.Now()), err.Error())
	return again
}

// attend brings one rule up to date.
func (s *Scheduler) attend(ctx context.Context, r *rules.Rule) error {
	st, err := s.cfg.Store.Schedule(ctx, r.Name)
	if err != nil {
		return err
	}
	now := s.cfg.Now().UTC().Truncate(time.Microsecond)
	last := r.Schedule.Times.Last(now)
	begin := st
	switch {
	case st.Condition != r.Condition():
		// A rule that begins: what holds already is taken down at once, so that what comes to hold before its first set time is sent then.
		begin = ScheduleState{Condition: r.Condition(), SetAt: last, RunAt: st.RunAt, Stock: true}
		if r.Schedule.SendFirst {
			begin.Stock = false
			return s.cfg.Store.Advance(ctx, &ScheduleStep{Rule: r.Name, From: st, To: begin, Next: r.Schedule.Times.Next(now)})
		}
	case st.Running:
		return s.run(ctx, r, st)
	case !last.After(st.SetAt):
		return s.cfg.Store.NoteSchedule(ctx, r.Name, r.Schedule.Times.Next(now), "")
	default:
		begin.Stock = false
	}
	begin.SetAt, begin.RunAt, begin.Running, begin.DoneTo, begin.Rows, begin.Fired = last, after(st.RunAt, now), true, math.MinInt64, 0, 0
	if err := s.cfg.Store.Advance(ctx, &ScheduleStep{Rule: r.Name, From: st, To: begin, Next: r.Schedule.Times.Next(now)}); err != nil {
		return err
	}
	return s.run(ctx, r, begin)
}

// after makes times of runs grow, whatever the clock does: they are part of ids.
func after(last, now time.Time) time.Time {
	if least := last.Add(time.Microsecond); least.After(now) {
		return least
	}
	return now
}

// endpointsOf lists the endpoints of deliveries.
func endpointsOf(deliveries []*Delivery) []string {
	var all []string
	for _, d := range deliveries {
		if !slices.Contains(all, d.Endpoint) {
			all = append(all, d.Endpoint)
		}
	}
	return all
}

// newRuleChange is a row that a scheduled rule looks at.
func newRuleChange(rel *cdc.Relation, row cdc.Row, id int64, n int) *cdc.Change {
	return &cdc.Change{Op: cdc.Schedule, Rel: rel, Key: fmt.Sprint(id), After: row, Ordinal: uint64(n), Writes: 1}
}
