package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
)

// mend is what retry and discard have in common: they select dead letters or parked events, show how many, and
// act only when that was meant.
type mend struct {
	flags  filterFlags
	parked bool
	all    bool
	yes    bool
	asJSON bool
}

// mended is what became of the selection, as --json prints it.
type mended struct {
	Selected int64 `json:"selected"`         // without --yes: how many it would be
	Done     int64 `json:"done"`             // retried or discarded
	Failed   int64 `json:"failed,omitempty"` // parked events that failed again, and are parked again
	Preview  bool  `json:"preview,omitempty"`
}

func (m *mend) register(c *cobra.Command) {
	m.flags.register(c)
	f := c.Flags()
	f.BoolVar(&m.parked, "parked", false, "parked events instead of dead letters")
	f.BoolVar(&m.all, "all", false, "all of them")
	f.BoolVar(&m.yes, "yes", false, "do it; without it, a selection by flags is only counted")
	f.IntVar(&m.flags.limit, "limit", 0, "at most so many, oldest first (default no limit)")
	f.BoolVar(&m.asJSON, "json", false, "print JSON")
}

// filter refuses to select everything by accident.
func (m *mend) filter(cmd *cobra.Command, ids []string) (state.Filter, error) {
	if len(ids) == 0 && m.flags.empty() && !m.all {
		return state.Filter{}, usagef(cmd.CommandPath()+" --help", "name ids, select by flags, or say --all")
	}
	return m.flags.filter(ids, time.Now())
}

// run counts, and acts on what was meant.
func (m *mend) run(ctx context.Context, a *app, db *state.DB, f state.Filter, verb string, act func(parked bool) (done, failed int64, err error)) error {
	dead, err := db.CountDead(ctx, f)
	if err != nil {
		return environmentError(err, "")
	}
	parked := int64(0)
	if m.parked || len(f.IDs) > 0 {
		if parked, err = countParked(ctx, db, f); err != nil {
			return environmentError(err, "")
		}
	}
	if m.parked && len(f.IDs) == 0 {
		dead = 0
	}
	out := mended{Selected: dead + parked}
	if out.Preview = len(f.IDs) == 0 && !m.yes; !out.Preview {
		for _, kind := range []struct {
			parked bool
			n      int64
		}{{false, dead}, {true, parked}} {
			if kind.n == 0 {
				continue
			}
			done, failed, err := act(kind.parked)
			if err != nil {
				return err
			}
			out.Done, out.Failed = out.Done+done-failed, out.Failed+failed
		}
	}
	if m.asJSON {
		return a.printJSON(out)
	}
	kind := "dead letter"
	if m.parked || dead == 0 && parked > 0 {
		kind = "parked event"
	}
	switch {
	case out.Selected == 0 && len(f.IDs) > 0:
		return &failure{err: fmt.Errorf("none of these is a dead letter or a parked event"), code: exitFailed, hint: "walhook deliveries list --state dead; walhook deliveries list --state parked"}
	case out.Selected == 0:
		_, err = fmt.Fprintf(a.stdout, "no %s is selected\n", kind)
	case out.Preview:
		_, err = fmt.Fprintf(a.stdout, "%s would be %s; add --yes to do it\n", plural(int(out.Selected), kind), verb)
	case out.Failed > 0:
		_, err = fmt.Fprintf(a.stdout, "%s %s; %d failed again and stay parked (walhook deliveries list --state parked)\n", plural(int(out.Done), kind), verb, out.Failed)
	default:
		_, err = fmt.Fprintf(a.stdout, "%s %s\n", plural(int(out.Done), kind), verb)
	}
	return err
}

// countParked counts by listing: parked events are few, or somebody has a lot to mend.
func countParked(ctx context.Context, db *state.DB, f state.Filter) (int64, error) {
	const page = 1000
	f.Limit = page
	for n := int64(0); ; {
		list, err := db.ListParked(ctx, f)
		if err != nil {
			return 0, err
		}
		n += int64(len(list))
		if len(list) < page {
			return n, nil
		}
		f.Before = list[len(list)-1].N
	}
}

func (a *app) deliveriesRetry() *cobra.Command {
	m := &mend{}
	c := &cobra.Command{
		Use:   "retry [ID…]",
		Short: "Send dead letters again, or evaluate parked events again",
		Long: `retry puts dead letters back into the queue, with their old ids and no attempts; the running walhook sends
them. Those that hold their record go first, others after what the record has waiting, with the header that says so.

With --parked it evaluates events again whose rule had failed, by the rules as they are now. Events that match are
queued, events that match no more are dropped, and those that fail again stay parked.

By id it acts at once; a selection by flags is counted first and needs --yes.`,
		Example: "  walhook deliveries retry msg_0123…\n  walhook deliveries retry --endpoint erp --since 2h\n  walhook deliveries retry --endpoint erp --since 2h --yes\n  walhook deliveries retry --parked --rule invoice_posted --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			f, err := m.filter(cmd, ids)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withState(ctx, func(cfg *Config, db *state.DB) error {
				return m.run(ctx, a, db, f, "queued again", func(parked bool) (int64, int64, error) {
					if parked {
						return cfg.retryParked(ctx, db, f)
					}
					n, err := db.RetryDead(ctx, f)
					return n, 0, environmentError(err, "")
				})
			})
		},
	}
	m.register(c)
	return c
}

func (a *app) deliveriesDiscard() *cobra.Command {
	m := &mend{}
	c := &cobra.Command{
		Use:   "discard [ID…]",
		Short: "Give dead letters or parked events up",
		Long: `discard deletes dead letters, or with --parked events whose rule had failed. They are never sent. Records that waited
behind one go on. By id it acts at once; a selection by flags is counted first and needs --yes.`,
		Example: "  walhook deliveries discard msg_0123…\n  walhook deliveries discard --endpoint old --all --yes\n  walhook deliveries discard --parked --rule typo --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			f, err := m.filter(cmd, ids)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withState(ctx, func(_ *Config, db *state.DB) error {
				return m.run(ctx, a, db, f, "discarded", func(parked bool) (int64, int64, error) {
					if parked {
						n, err := db.DiscardParked(ctx, f)
						return n, 0, environmentError(err, "")
					}
					n, err := db.DiscardDead(ctx, f)
					return n, 0, environmentError(err, "")
				})
			})
		},
	}
	m.register(c)
	return c
}

// retryParked evaluates parked events by the rules as they are now.
func (c *Config) retryParked(ctx context.Context, db *state.DB, f state.Filter) (taken, failed int64, err error) {
	conn, err := connect(ctx, "source.dsn", c.Source.DSN.reveal())
	if err != nil {
		return 0, 0, err
	}
	defer closeConn(conn)
	s, err := c.look(ctx, conn, "")
	if err != nil {
		return 0, 0, err
	}
	stored, bound, err := db.Bound(ctx)
	if err != nil {
		return 0, 0, environmentError(err, "")
	}
	if diff := bindingOf(s.facts, s.catalog, c.Source.Slot).differences(stored); bound && len(diff) > 0 {
		return 0, 0, environmentError(&state.MismatchError{Schema: c.State.Schema, Differences: diff}, "")
	}
	live, err := cdc.NewLive(c.Source.DSN.reveal())
	if err != nil {
		return 0, 0, environmentError(err, "")
	}
	defer live.Close()
	planner := delivery.NewPlanner(delivery.Identity{SystemID: stored.SystemID, DatabaseOID: stored.DatabaseOID}, s.rules, c.Endpoints, relatedRows{live})
	active := map[string]bool{}
	for _, r := range s.rules.Rules() {
		active[r.Name] = r.IsActive()
	}
	taken, failed, err = db.RetryParked(ctx, f, func(ctx context.Context, events []*delivery.Parked) (state.Evaluated, error) {
		var out state.Evaluated
		for _, p := range events {
			if !active[p.Rule] {
				again := *p
				again.Error = "the rule is no longer in the configuration, or not active"
				out.Parked = append(out.Parked, &again)
				continue
			}
			if err := evaluate(ctx, planner, p, &out); err != nil {
				return out, err
			}
		}
		return out, nil
	})
	return taken, failed, environmentError(err, "")
}

// evaluate plans the change of one parked event and keeps what follows from its own rule.
func evaluate(ctx context.Context, planner *delivery.Planner, p *delivery.Parked, out *state.Evaluated) error {
	change, err := cdc.DecodeChange(p.Change)
	if err != nil {
		return fmt.Errorf("parked event %s: %w", p.ID, err)
	}
	tx := cdc.NewTx(p.XID, p.CommitLSN, p.CommitLSN+1, p.CommitAt, []*cdc.Change{change})
	if err := planner.Prepare(ctx, []*cdc.Tx{tx}); err != nil {
		return err
	}
	for step, err := range planner.Plan(ctx, tx, 0) {
		if err != nil {
			return err
		}
		for _, d := range step.Deliveries {
			if d.Rule == p.Rule {
				out.Deliveries = append(out.Deliveries, d)
			}
		}
		for _, again := range step.Parked {
			if again.Rule == p.Rule {
				again.ParkedAt = time.Now()
				out.Parked = append(out.Parked, again)
			}
		}
	}
	return nil
}
