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

// Bounds of what one look at the source reads.
const (
	scanRows  = 500
	scanBytes = 2 << 20
	// crossingsAtOnce bounds the records that are remembered and compared at once.
	crossingsAtOnce = 10_000
	// A look goes over so many keys, and over twice or half as many when that took little or long: tables have gaps, and a condition that no index helps
	// with reads all of them.
	firstWidth, leastWidth = 10_000, 16
	quickLook, slowLook    = 200 * time.Millisecond, 2 * time.Second
	// longestRest bounds the pause after a look.
	longestRest = time.Second
)

// scheduledRun is one run of one rule under way.
type scheduledRun struct {
	*Scheduler
	rule    *rules.Rule
	planner *Planner
	matcher *rules.Matcher
	filter  *cdc.Filter
	key     string
	columns []string
	at      ScheduleState // as the store has it
	width   int64
	capped  bool
	crossed int
	known   []int64 // of the range that is looked at: records that are remembered
}

// run looks at the rule's table from where the run stands to its end.
func (s *Scheduler) run(ctx context.Context, r *rules.Rule, at ScheduleState) error {
	began := s.cfg.Now()
	matcher := s.cfg.Rules.NewMatcherOf(r)
	run := &scheduledRun{Scheduler: s, rule: r, matcher: matcher, filter: matcher.Filter(r, at.RunAt), key: r.Table.PrimaryKey[0], columns: r.Columns(), at: at,
		width: firstWidth, planner: newPlannerOf(s.cfg.ID, s.cfg.Rules, r, s.cfg.Endpoints, s.cfg.Loader)}
	least, greatest, any, err := s.cfg.Scanner.Bounds(ctx, r.Table.Schema, r.Table.Name, run.key)
	if err != nil {
		return err
	}
	// Keys at the ends of what there is are left to the last look, so that the arithmetic has room.
	least, greatest = max(least, math.MinInt64/4), min(greatest, math.MaxInt64/4)
	for run.at.Running {
		until, from := int64(math.MaxInt64), max(run.at.DoneTo, least-1)
		if any && from < greatest && greatest-from > run.width {
			until = from + run.width
		}
		looked := time.Now()
		if err := run.look(ctx, until); err != nil {
			if !cdc.IsTimeout(err) || run.width <= leastWidth {
				return err
			}
			run.width = max(min(run.width, max(greatest-from, 0))/8, leastWidth)
			continue
		}
		took := time.Since(looked)
		switch {
		case took < quickLook && run.width < math.MaxInt64/4:
			run.width *= 2
		case took > slowLook:
			run.width = max(run.width/2, leastWidth)
		}
		if run.at.Running {
			s.cfg.Sleep(ctx, min(took, longestRest))
		}
		if ctx.Err() != nil {
			return nil // the next one goes on
		}
	}
	if s.cfg.Trace.Capped != nil && run.capped {
		s.cfg.Trace.Capped(r.Name, r.Schedule.Most)
	}
	if s.cfg.Trace.Ran != nil {
		s.cfg.Trace.Ran(r.Name, run.at, run.crossed, s.cfg.Now().Sub(began))
	}
	return nil
}

// look reads rows from where the run stands up to a key, or to where a limit ends it, and commits what follows from them.
func (r *scheduledRun) look(ctx context.Context, until int64) error {
	found, err := r.cfg.Scanner.Scan(ctx, cdc.Scan{Schema: r.rule.Table.Schema, Table: r.rule.Table.Name, Key: r.key, Columns: r.columns, Filter: r.filter,
		After: r.at.DoneTo, Until: until, Rows: scanRows, Bytes: scanBytes})
	if err != nil {
		return err
	}
	if r.known, err = r.cfg.Store.Crossings(ctx, r.rule.Name, r.at.DoneTo, found.Last, crossingsAtOnce); err != nil {
		return err
	}
	if n := len(r.known); n == crossingsAtOnce && r.known[n-1] < found.Last { // there may be more: the rest is for another look
		found.Last = r.known[n-1]
		for len(found.Keys) > 0 && found.Keys[len(found.Keys)-1] > found.Last {
			found.Keys, found.Rows = found.Keys[:len(found.Keys)-1], found.Rows[:len(found.Rows)-1]
		}
	}
	return r.judge(ctx, found)
}

// judge tells which of the rows hold, compares them with what is remembered, and commits the difference.
func (r *scheduledRun) judge(ctx context.Context, found *cdc.Scanned) error {
	tx := cdc.NewTx(0, found.LSN, found.LSN, r.at.RunAt, nil)
	var changes []*cdc.Change // that are planned
	holds := map[int64]bool{}
	for i, id := range found.Keys {
		c := newRuleChange(found.Rel, found.Rows[i], id, len(changes))
		if r.rule.LooksAround() {
			changes = append(changes, c) // planning fetches what the condition looks at
			continue
		}
		ok, err := r.matcher.Holds(r.rule, rules.TxInfo{LSN: found.LSN, Time: r.at.RunAt}, c)
		var failed *rules.EvalError
		switch {
		case err != nil && !errors.As(err, &failed):
			return fmt.Errorf("rule %q on %s %d: %w", r.rule.Name, found.Rel, id, err)
		case !ok && err == nil:
			continue
		}
		holds[id] = true
		if !r.remembered(id) {
			changes = append(changes, c)
		}
	}
	p := r.part()
	if len(changes) > 0 && (!r.at.Stock || r.rule.LooksAround()) {
		if err := r.plan(ctx, tx, changes, holds, p); err != nil {
			return err
		}
	} else {
		for _, c := range changes {
			id, _ := c.ID()
			p.Crossed = append(p.Crossed, id)
		}
	}
	for _, id := range r.known {
		if !holds[id] {
			p.Forgot = append(p.Forgot, id)
		}
	}
	p.To.Rows += int64(len(found.Keys))
	if p.To.DoneTo = found.Last; found.Last == math.MaxInt64 {
		p.To.Running, p.To.DoneTo = false, 0
	}
	return r.commit(ctx, p)
}

func (r *scheduledRun) remembered(id int64) bool {
	_, found := slices.BinarySearch(r.known, id)
	return found
}

// part begins a part of the run.
func (r *scheduledRun) part() *ScheduleStep {
	return &ScheduleStep{Rule: r.rule.Name, From: r.at, To: r.at, Next: r.rule.Schedule.Times.Next(r.cfg.Now())}
}

// plan makes the events of rows that are not remembered, or finds out which of them hold. What becomes too much for one SQL transaction is committed
// on the way.
func (r *scheduledRun) plan(ctx context.Context, tx *cdc.Tx, changes []*cdc.Change, holds map[int64]bool, p *ScheduleStep) error {
	lsn := tx.CommitLSN
	tx = cdc.NewTx(0, lsn, lsn, tx.CommitTime, changes)
	if err := r.planner.Prepare(ctx, []*cdc.Tx{tx}); err != nil {
		return err
	}
	bytes, waited := 0, false
	for step, err := range r.planner.Plan(ctx, tx, 0) {
		if err != nil {
			return err
		}
		if len(step.Matched)+len(step.Parked) == 0 {
			continue
		}
		id, _ := changes[step.Ordinal].ID()
		holds[id] = true
		if r.remembered(id) {
			continue
		}
		if r.at.Stock {
			p.Crossed = append(p.Crossed, id)
			continue
		}
		if p.To.Fired >= int64(r.rule.Schedule.Most) {
			r.capped = true // it is not remembered, so that the next run finds it
			continue
		}
		if !waited && r.cfg.Reached != nil {
			r.cfg.Reached(ctx, lsn)
			waited = true
		}
		p.take(step, id)
		for _, d := range step.Deliveries {
			bytes += len(d.Body)
		}
		if len(p.Deliveries)+len(p.Parked) >= maxBatch || bytes >= maxBatchBytes {
			if err := r.commit(ctx, p); err != nil {
				return err
			}
			*p, bytes = *r.part(), 0
		}
	}
	return nil
}

// take adds what follows from one row.
func (p *ScheduleStep) take(step *Step, id int64) {
	p.Crossed = append(p.Crossed, id)
	p.Deliveries = append(p.Deliveries, step.Deliveries...)
	p.Parked = append(p.Parked, step.Parked...)
	p.To.Fired++
	for _, list := range []struct {
		names []string
		into  *map[string]int64
	}{{step.Matched, &p.Matched}, {step.Sampled, &p.Sampled}} {
		for _, name := range list.names {
			if *list.into == nil {
				*list.into = map[string]int64{}
			}
			(*list.into)[name]++
		}
	}
}

// commit stores a part and hands its deliveries on. A part in the middle of a look leaves the run where it stands: what it has sent is remembered, so
// that the look can be repeated.
func (r *scheduledRun) commit(ctx context.Context, p *ScheduleStep) error {
	now := time.Now()
	for _, e := range p.Parked {
		e.ParkedAt = now
	}
	if err := r.cfg.Store.Advance(ctx, p); err != nil {
		return err
	}
	r.at = p.To
	r.crossed += len(p.Crossed)
	if len(p.Deliveries) > 0 && r.cfg.Queued != nil {
		r.cfg.Queued(endpointsOf(p.Deliveries))
	}
	if r.cfg.Trace.Parked != nil {
		for _, e := range p.Parked {
			r.cfg.Trace.Parked(e)
		}
	}
	return nil
}

// newPlannerOf returns a planner that knows one rule alone.
func newPlannerOf(id Identity, set *rules.Set, r *rules.Rule, endpoints map[string]EndpointConfig, loader Loader) *Planner {
	p := NewPlanner(id, set, endpoints, loader)
	p.matcher = set.NewMatcherOf(r)
	if p.related.matcher != nil {
		p.related.matcher = p.matcher
	}
	p.related.gather.on = false // rows that are looked at are no changes of a transaction
	return p
}
