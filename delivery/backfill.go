package delivery

import (
	"context"
	"fmt"
	"slices"

	"walhook/cdc"
	"walhook/rules"
)

// RowRules finds the rule of a job among those of this process, compiled to look at rows with the job's condition besides its own
// ([rules.Config.ForRows]). An error that is not Temporary fails the job.
type RowRules func(job *Job) (*rules.Set, *rules.Rule, error)

// RowSink makes events of rows that are there (A8, A7): those for which a rule's condition holds, judged as if they were created now. It
// implements [JobSink] for backfills and for the rows of resyncs.
type RowSink struct {
	ID        Identity
	Rules     RowRules
	Endpoints map[string]EndpointConfig
	Loader    func(set *rules.Set) Loader // of related rows
	Origin    cdc.Origin
	Source    ImageSource // says what may be read; nil: all that the rules know of
	Before    BeforeStore // what jobs that compare rows compare them with ([Job.Compares]); nil where there are none
}

var _ JobSink = (*RowSink)(nil)

// JobRuleError says that a job's rule is not what it was, so that the job cannot go on.
type JobRuleError struct {
	Rule, Problem, Remedy string
	Err                   error
}

func (e *JobRuleError) Error() string {
	text := fmt.Sprintf("rule %q %s", e.Rule, e.Problem)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns what is behind it.
func (e *JobRuleError) Unwrap() error { return e.Err }

// Hint returns the remedy.
func (e *JobRuleError) Hint() string { return e.Remedy }

// Open implements [JobSink].
func (s *RowSink) Open(ctx context.Context, job *Job) (JobWork, error) {
	set, rule, err := s.Rules(job)
	if err != nil {
		return nil, err
	}
	if rule.Table.Schema != job.Schema || rule.Table.Name != job.Table {
		return nil, &JobRuleError{Rule: rule.Name, Problem: fmt.Sprintf("is on %s now, the job goes through %s.%s", rule.Table, job.Schema, job.Table), Remedy: "cancel the job and make a new one"}
	}
	w := &rowWork{sink: s, rule: rule, endpoints: rule.Endpoints, columns: rule.Columns()}
	if job.Endpoints != nil {
		w.endpoints = slices.DeleteFunc(slices.Clone(rule.Endpoints), func(name string) bool { return !slices.Contains(job.Endpoints, name) })
		if len(w.endpoints) == 0 {
			return nil, &JobRuleError{Rule: rule.Name, Problem: fmt.Sprintf("does not send to %v any more", job.Endpoints), Remedy: "cancel the job, or add the endpoint to the rule again"}
		}
	}
	w.planner = newPlannerOf(s.ID, set, rule, s.Endpoints, s.Loader(set))
	w.planner.only = w.endpoints
	if err := w.mayRead(ctx, job, set); err != nil {
		return nil, err
	}
	if job.Compares() {
		w.filter = job.Filter
		w.compare = &comparison{store: s.Before, keep: set.Keeps, writes: slices.Contains(rule.Ops(), cdc.Write)}
		w.columns, err = w.compare.columns(ctx, job, w.columns)
		return w, err
	}
	filter, _ := w.planner.matcher.Narrowed(rule, job.Made)
	w.filter = bothFilters(filter, job.Filter)
	return w, nil
}

// mayRead makes sure that rows come with all that the rule reads and sends: a whole record has columns that came since the rules were compiled, too, as
// in WAL.
func (w *rowWork) mayRead(ctx context.Context, job *Job, set *rules.Set) error {
	if w.sink.Source == nil {
		return nil
	}
	rel, hidden, err := w.sink.Source.Shape(ctx, job.Schema, job.Table)
	if err != nil {
		return fmt.Errorf("job %d: %w", job.ID, err)
	}
	whole := w.rule.WholeRecord()
	hidden = slices.DeleteFunc(hidden, func(c string) bool { // columns with secrets are meant to be
		return !slices.Contains(w.columns, c) && (!whole || !set.Keeps(rel, c))
	})
	if len(hidden) > 0 {
		return fmt.Errorf("job %d: %w", job.ID, w.sink.Source.MayNotRead(job.Schema, job.Table, hidden))
	}
	for i := range rel.Columns {
		if c := rel.Columns[i].Name; whole && w.rule.Table.Column(c) == nil && set.Keeps(rel, c) {
			w.columns = append(w.columns, c)
		}
	}
	return nil
}

// bothFilters lets rows pass that two filters let pass; nil lets all of them.
func bothFilters(a, b *cdc.Filter) *cdc.Filter {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &cdc.Filter{Kind: cdc.FilterAll, Of: []cdc.Filter{*a, *b}}
}

// rowWork is a job under way.
type rowWork struct {
	sink      *RowSink
	rule      *rules.Rule
	planner   *Planner
	endpoints []string
	columns   []string
	filter    *cdc.Filter
	compare   *comparison // nil: each row is as if it was created now
}

// Request implements [JobWork].
func (w *rowWork) Request(job *Job) cdc.ChunkRequest {
	return cdc.ChunkRequest{Schema: job.Schema, Table: job.Table, Key: w.rule.Table.PrimaryKey, Columns: w.columns, Filter: w.filter}
}

// Endpoints implements [JobWork].
func (w *rowWork) Endpoints() []string { return w.endpoints }

// Close implements [JobWork].
func (w *rowWork) Close() {}

// Fill implements [JobWork]. The time of all events of a job is when it was made, so that planning a row again comes to the same (invariants 3 and 6).
func (w *rowWork) Fill(ctx context.Context, job *Job, chunk *cdc.Chunk, from int, fill *JobFill) error {
	changes := make([]*cdc.Change, 0, len(chunk.Rows)-from)
	if w.compare != nil {
		var err error
		if changes, fill.End, err = w.compare.changes(ctx, job, chunk, from); err != nil || fill.End {
			return err
		}
	} else {
		for i := from; i < len(chunk.Rows); i++ {
			changes = append(changes, &cdc.Change{Op: cdc.Create, Origin: w.sink.Origin, Rel: chunk.Rel, Key: chunk.Keys[i], After: chunk.Rows[i],
				Ordinal: uint64(i - from), Writes: 1})
		}
	}
	tx := cdc.NewTx(0, chunk.High, chunk.High, job.Made, changes)
	if err := w.planner.Prepare(ctx, []*cdc.Tx{tx}); err != nil {
		return err
	}
	b := fill.Batch
	for step, err := range w.planner.Plan(ctx, tx, 0) {
		if err != nil {
			return err
		}
		fill.Taken = int(step.Ordinal) + 1
		fill.Events += int64(len(step.Matched) - len(step.Sampled))
		b.Deliveries, b.Parked = append(b.Deliveries, step.Deliveries...), append(b.Parked, step.Parked...)
		tallyRules(&b.Matched, step.Matched)
		tallyRules(&b.Sampled, step.Sampled)
		for _, d := range step.Deliveries {
			d.Priority = PriorityLow // live events go first
			fill.Bytes += len(d.Body)
		}
		for _, p := range step.Parked {
			fill.Bytes += len(p.Change)
		}
		if fill.Full() {
			return nil
		}
	}
	fill.Taken = len(chunk.Rows) - from
	return nil
}
