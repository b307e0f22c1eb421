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

// mend is what retry and discard have in common: they work on dead letters, or on parked events.
type mend struct {
	bulk
	parked bool
}

func (m *mend) register(c *cobra.Command) {
	m.bulk.register(c)
	m.flags.registerFailure(c)
	c.Flags().BoolVar(&m.parked, "parked", false, "parked events instead of dead letters")
}

// jobs are what is to be done of dead letters and of parked events. Ids may be of either kind.
func (m *mend) jobs(f state.Filter, db *state.DB, dead, parked job) ([]job, error) {
	dead.noun, dead.count = "dead letter", func(ctx context.Context, limit int) (int64, error) { return db.CountDead(ctx, f, limit) }
	parked.noun, parked.count = "parked event", func(ctx context.Context, limit int) (int64, error) { return db.CountParked(ctx, f, limit) }
	switch {
	case len(f.IDs) > 0:
		return []job{dead, parked}, nil
	case !m.parked:
		return []job{dead}, nil
	case f.Endpoint != "" || f.Class != "" || f.Status != 0:
		return nil, errParkedFilter
	}
	return []job{parked}, nil
}

func (a *app) deliveriesRetry() *cobra.Command {
	m := &mend{}
	c := &cobra.Command{
		Use:   "retry [ID…]",
		Short: "Send dead letters again, or evaluate parked events again",
		Long: `retry puts dead letters back into the queue, with their old ids and numbers and no attempts; the running walhook
sends them. Those that hold their record go first, others after what the record has waiting, with the header
Webhook-Late: true.

With --parked it evaluates events again whose rule had failed, by the rules as they are now. Events that match are
queued, events that match no more are dropped, and those that fail again stay parked.` + bulkHelp,
		Example: "  walhook deliveries retry msg_0123…\n  walhook deliveries retry --endpoint erp --since 2h\n  walhook deliveries retry --endpoint erp --class timeout --yes\n  walhook deliveries retry --parked --rule invoice_posted --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			f, err := m.filter(cmd, ids)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withOwnState(ctx, func(cfg *Config, db *state.DB) error {
				jobs, err := m.jobs(f, db, job{sends: true, run: func(ctx context.Context, progress func(int64)) (did, error) {
					f.Progress = progress
					n, err := db.RetryDead(ctx, f)
					return did{done: n}, err
				}}, job{sends: true, run: func(ctx context.Context, progress func(int64)) (did, error) {
					f.Progress = progress
					taken, failed, err := cfg.retryParked(ctx, db, f)
					return did{done: taken - failed, failed: failed}, err
				}})
				if err != nil {
					return err
				}
				return m.run(ctx, a, db, "queued again", jobs...)
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
		Long: `discard deletes dead letters, or with --parked events whose rule had failed. They are never sent; that their numbers
will not arrive is noted in the state's table gap. Records that waited behind one go on.` + bulkHelp,
		Example: "  walhook deliveries discard msg_0123…\n  walhook deliveries discard --endpoint old --all --yes\n  walhook deliveries discard --parked --rule typo --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			f, err := m.filter(cmd, ids)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withOwnState(ctx, func(_ *Config, db *state.DB) error {
				jobs, err := m.jobs(f, db, job{run: func(ctx context.Context, progress func(int64)) (did, error) {
					f.Progress = progress
					n, err := db.DiscardDead(ctx, f)
					return did{done: n}, err
				}}, job{run: func(ctx context.Context, progress func(int64)) (did, error) {
					f.Progress = progress
					n, err := db.DiscardParked(ctx, f)
					return did{done: n}, err
				}})
				if err != nil {
					return err
				}
				return m.run(ctx, a, db, "discarded", jobs...)
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
	if !bound {
		return 0, 0, environmentError(state.ErrNotBound, "walhook setup")
	}
	live, err := cdc.NewLive(c.Source.DSN.reveal(), "lookups", nil)
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
