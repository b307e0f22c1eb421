package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
)

// backtestFlags say what rules are tried on.
type backtestFlags struct {
	since   string
	slot    string
	diff    bool
	samples int
	asJSON  bool

	reserve, release, limit string
}

func (a *app) rulesBacktest() *cobra.Command {
	f := backtestFlags{}
	c := &cobra.Command{
		Use:   "backtest [RULE…]",
		Short: "Try rules on changes that were recorded, or that a reserved slot has kept",
		Long: `backtest runs rules (all, or those that are named) on changes of the past and reports what would have followed: how often each
matched or failed, when, what it would have sent, and to whom. It sends nothing and writes nothing, and touches neither queue nor position.

The changes are those that walhook run records while [record] keep is set. Or a slot is reserved beforehand: --reserve makes one
that keeps WAL from now on, up to --limit, and --slot reads it later, as often as wanted, until --release drops it. A running walhook drops
a reserved slot that keeps more than its limit; while none runs, nobody does, and the server's own max_slot_wal_keep_size is all that bounds it.

--diff compares with what was really delivered: which events the rules, as they are written now, would add or leave out. Related records
are read as they are now, not as they were then.`,
		Example: "  walhook rules backtest --since 2d\n  walhook rules backtest order_confirmed --since 12h --diff\n  walhook rules backtest --reserve walhook_try --limit 1GiB\n" +
			"  walhook rules backtest order_confirmed --slot walhook_try\n  walhook rules backtest --release walhook_try",
		RunE: func(cmd *cobra.Command, names []string) error {
			if f.reserve != "" || f.release != "" {
				return a.reservation(cmd.Context(), &f, names)
			}
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				r, err := w.backtest(cmd.Context(), &f, names)
				if err != nil {
					return err
				}
				if f.asJSON {
					return a.printJSON(r)
				}
				return a.terminal().backtest(r)
			})
		},
	}
	c.Flags().StringVar(&f.since, "since", "1d", "recorded changes of the last 30m, 12h, 2d …, or since a time, 2026-03-01T09:30:00Z")
	c.Flags().StringVar(&f.slot, "slot", "", "take the changes that this reserved slot has kept")
	c.Flags().BoolVar(&f.diff, "diff", false, "compare with what was really delivered")
	c.Flags().IntVar(&f.samples, "samples", 1, "show so many payloads of each rule")
	c.Flags().StringVar(&f.reserve, "reserve", "", "make a slot of this name, which keeps WAL from now on")
	c.Flags().StringVar(&f.limit, "limit", "1GiB", "with --reserve: how much WAL it may keep")
	c.Flags().StringVar(&f.release, "release", "", "drop a slot that was reserved")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("reserve", "release", "slot", "since")
	c.MarkFlagsMutuallyExclusive("reserve", "release", "diff")
	return c
}

// backtested is what came of a backtest, as --json prints it.
type backtested struct {
	Source       string           `json:"source"` // "recorded" or the slot's name
	From         time.Time        `json:"from"`   // of the first change
	To           time.Time        `json:"to"`
	Transactions int              `json:"transactions"`
	Changes      int              `json:"changes"`
	Rules        []*ruleBacktest  `json:"rules"`
	Endpoints    []endpointTested `json:"endpoints"`
	Notes        []string         `json:"notes,omitempty"`
}

// endpointTested is how much an endpoint would have got.
type endpointTested struct {
	Endpoint   string `json:"endpoint"`
	Deliveries int    `json:"deliveries"`
	Bytes      int64  `json:"bytes"`
}

// ruleBacktest is what came of one rule.
type ruleBacktest struct {
	Rule       string         `json:"rule"`
	Looked     int            `json:"looked"`  // changes of its table
	Matched    int            `json:"matched"` //
	Failed     int            `json:"failed"`
	Sampled    int            `json:"sampled_out,omitempty"`
	Ignored    int            `json:"ignored,omitempty"`
	Deliveries int            `json:"deliveries"`
	Errors     []string       `json:"errors,omitempty"` // different ones, at most five
	When       map[string]int `json:"when"`             // matches by hour, or by day where it is more than two days
	Samples    []sampleEvent  `json:"samples,omitempty"`
	New        []diffEvent    `json:"new,omitempty"`  // with --diff: would be sent, and was not
	Gone       []diffEvent    `json:"gone,omitempty"` // was sent, and would not be
	NewCount   int            `json:"new_count"`
	GoneCount  int            `json:"gone_count"`
	Same       int            `json:"same"`

	at map[time.Time]int
}

// sampleEvent is a payload.
type sampleEvent struct {
	At     time.Time `json:"at"`
	Event  string    `json:"event"`
	Record string    `json:"record"`
	Body   any       `json:"body"`
}

// diffEvent is a delivery that is there on one side only.
type diffEvent struct {
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Endpoint string    `json:"endpoint"`
	Event    string    `json:"event"`
	Record   string    `json:"record"`
}

// maxDiff bounds the events that a report names; all are counted.
const maxDiff = 20

// backtesting is one run.
type backtesting struct {
	*workbench
	flags   *backtestFlags
	planner *delivery.Planner
	report  *backtested
	rules   map[string]*ruleBacktest
	tables  map[string][]*ruleBacktest
	ends    map[string]*endpointTested
	planned map[string]map[string]bool // by rule: ids of deliveries, with --diff
	new     map[string]diffEvent
	seen    map[string]bool // ids that were really delivered
}

// backtest runs rules on changes of the past.
func (w *workbench) backtest(ctx context.Context, f *backtestFlags, names []string) (*backtested, error) {
	var places []int
	for _, name := range names {
		at, err := w.cfg.ruleIndex(name)
		if err != nil {
			return nil, err
		}
		places = append(places, at)
	}
	if len(names) == 0 {
		for i, r := range w.cfg.Rules {
			if r.Active == nil || *r.Active {
				places = append(places, i)
			}
		}
	}
	if len(places) == 0 {
		return nil, usagef("write [[rules]] first", "there are no active rules")
	}
	set, err := w.compile(places, nil)
	if err != nil {
		return nil, err
	}
	b := &backtesting{workbench: w, flags: f, report: &backtested{Rules: []*ruleBacktest{}, Endpoints: []endpointTested{}}, rules: map[string]*ruleBacktest{}, tables: map[string][]*ruleBacktest{},
		ends: map[string]*endpointTested{}, planned: map[string]map[string]bool{}, new: map[string]diffEvent{}, seen: map[string]bool{}}
	b.planner = delivery.NewPlanner(w.identity, set, w.cfg.Endpoints, w.loader(set))
	for _, r := range set.Rules() {
		one := &ruleBacktest{Rule: r.Name, When: map[string]int{}, at: map[time.Time]int{}}
		b.report.Rules = append(b.report.Rules, one)
		b.rules[r.Name], b.planned[r.Name] = one, map[string]bool{}
		if r.Table != nil {
			table := r.Table.Schema + "." + r.Table.Name
			b.tables[table] = append(b.tables[table], one)
		}
	}
	if f.slot != "" {
		err = b.fromSlot(ctx, set)
	} else {
		err = b.fromRecord(ctx)
	}
	if err != nil {
		return nil, err
	}
	b.finish()
	return b.report, nil
}

// fromRecord takes recorded changes.
func (b *backtesting) fromRecord(ctx context.Context) error {
	since, err := moment("--since", b.flags.since, time.Now())
	if err != nil {
		return err
	}
	db, err := b.openState(ctx)
	if err != nil {
		return err
	}
	defer closeState(db)
	b.report.Source = "recorded"
	held, err := db.RecordState(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	if held.Changes == 0 {
		hint := "write [record] keep = \"7d\" into the configuration and restart walhook run; or reserve a slot: walhook rules backtest --reserve NAME"
		if b.cfg.Record.config().On() {
			hint = "walhook run records from its start on: is it running, and has anything changed since?"
		}
		return &failure{err: errors.New("no changes are recorded"), code: exitFailed, hint: hint}
	}
	if held.Since.After(since) {
		b.note("changes are recorded since %s only", held.Since.Format(time.DateTime))
	}
	open := transactionOf{limit: maxBacktestTx}
	if err := db.Recorded(ctx, since, func(r *delivery.Recorded) error {
		return r.Each(func(c delivery.RecordedChange) error {
			if c.CommitAt.Before(since) {
				return nil
			}
			if done := open.add(c); done != nil {
				return b.transaction(ctx, done)
			}
			return nil
		})
	}); err != nil {
		return environmentError(err, "")
	}
	if done := open.take(); done != nil {
		if err := b.transaction(ctx, done); err != nil {
			return environmentError(err, "")
		}
	}
	if b.flags.diff {
		return b.compare(ctx, db)
	}
	return nil
}

// maxBacktestTx bounds the changes of one transaction that are held at once. Lines of a larger one may be rolled up in several events.
const maxBacktestTx = 20_000

// transactionOf puts recorded changes together to transactions again.
type transactionOf struct {
	changes []*cdc.Change
	of      delivery.RecordedChange
	limit   int
}

// add takes a change, and returns the transaction that ended before it.
func (t *transactionOf) add(c delivery.RecordedChange) (done *cdc.Tx) {
	if len(t.changes) > 0 && (t.of.CommitLSN != c.CommitLSN || len(t.changes) >= t.limit) {
		done = t.take()
	}
	t.of = c
	t.changes = append(t.changes, c.Change)
	return done
}

func (t *transactionOf) take() *cdc.Tx {
	if len(t.changes) == 0 {
		return nil
	}
	tx := cdc.NewTx(t.of.XID, t.of.CommitLSN, t.of.CommitLSN, t.of.CommitAt, t.changes)
	t.changes = nil
	return tx
}

func (b *backtesting) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(b.report.Notes, text) {
		b.report.Notes = append(b.report.Notes, text)
	}
}

// openState opens the state, which holds what was recorded and delivered.
func (w *workbench) openState(ctx context.Context) (*state.DB, error) {
	db, err := state.Open(ctx, w.cfg.state(currentBuild().Version))
	if err != nil {
		return nil, environmentError(err, "")
	}
	if err := db.Check(ctx); err != nil {
		closeState(db)
		return nil, environmentError(err, "")
	}
	return db, nil
}

// transaction plans a transaction and counts what follows.
func (b *backtesting) transaction(ctx context.Context, tx *cdc.Tx) error {
	r := b.report
	if r.Transactions == 0 {
		r.From = tx.CommitTime
	}
	r.Transactions++
	r.To = tx.CommitTime
	if err := b.planner.Prepare(ctx, []*cdc.Tx{tx}); err != nil {
		return err
	}
	for c, err := range tx.Changes() {
		if err != nil {
			return err
		}
		if c.Rel == nil {
			continue
		}
		r.Changes++
		for _, one := range b.tables[c.Rel.Schema+"."+c.Rel.Name] {
			one.Looked++
		}
	}
	for step, err := range b.planner.Plan(ctx, tx, 0) {
		if err != nil {
			return err
		}
		b.step(tx, step)
	}
	return nil
}

// step counts what follows from one change.
func (b *backtesting) step(tx *cdc.Tx, s *delivery.Step) {
	for _, name := range s.Matched {
		one := b.rules[name]
		one.Matched++
		one.at[tx.CommitTime.Truncate(time.Hour)]++
	}
	for _, name := range s.Sampled {
		b.rules[name].Sampled++
	}
	for _, name := range s.Ignored {
		b.rules[name].Ignored++
	}
	for _, p := range s.Parked {
		one := b.rules[p.Rule]
		if one == nil { // a message that no rule could be asked about
			b.note("a malformed message: %s", p.Error)
			continue
		}
		one.Failed++
		if len(one.Errors) < 5 && !slices.Contains(one.Errors, p.Error) {
			one.Errors = append(one.Errors, p.Error)
		}
	}
	for _, d := range s.Deliveries {
		one := b.rules[d.Rule]
		one.Deliveries++
		end := b.ends[d.Endpoint]
		if end == nil {
			end = &endpointTested{Endpoint: d.Endpoint}
			b.ends[d.Endpoint] = end
		}
		end.Deliveries++
		end.Bytes += int64(len(d.Body))
		if b.flags.diff {
			b.planned[d.Rule][d.ID] = true
			b.new[d.ID] = diffEvent{d.ID, d.CommitAt, d.Endpoint, d.Event, d.Model + "/" + d.Record}
		}
		if len(one.Samples) < b.flags.samples {
			one.Samples = append(one.Samples, sampleEvent{tx.CommitTime, d.Event, d.Model + "/" + d.Record, asRaw(slices.Clone(d.Body))})
		}
	}
}

// finish sorts what was counted.
func (b *backtesting) finish() {
	layout := "2006-01-02 15:00"
	if b.report.To.Sub(b.report.From) > 48*time.Hour {
		layout = time.DateOnly
	}
	for _, one := range b.report.Rules {
		for at, n := range one.at {
			one.When[at.UTC().Format(layout)] += n
		}
	}
	for _, end := range b.ends {
		b.report.Endpoints = append(b.report.Endpoints, *end)
	}
	slices.SortFunc(b.report.Endpoints, func(x, y endpointTested) int { return strings.Compare(x.Endpoint, y.Endpoint) })
}
