package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// mend is what retry and discard have in common: they work on dead letters, on parked events, on what waits for its window, or on the queue.
type mend struct {
	bulk
	kinds status.Kinds
}

func (m *mend) register(c *cobra.Command) {
	m.bulk.register(c)
	m.flags.registerFailure(c)
	c.Flags().BoolVar(&m.kinds.Parked, "parked", false, "parked events instead of dead letters")
	c.Flags().BoolVar(&m.kinds.Waiting, "waiting", false, "deliveries that wait for their rule's debounce instead of dead letters")
	c.Flags().BoolVar(&m.kinds.Retrying, "retrying", false, "deliveries that have failed and wait for their next attempt instead of dead letters")
	c.Flags().BoolVar(&m.kinds.Pending, "pending", false, "deliveries in the queue that were never tried instead of dead letters; goes with --retrying")
}

// act is what retry and discard do.
func (a *app) act(cmd *cobra.Command, m *mend, action, verb string, ids []string) error {
	f, err := m.filter(cmd, ids)
	if err != nil {
		return err
	}
	if action == status.ActionRetry && (m.kinds.Pending || m.kinds.Retrying) {
		verb = "made due"
	}
	ctx := cmd.Context()
	return a.withOwnState(ctx, func(cfg *Config, db *state.DB) error {
		jobs, err := cfg.desk(db).jobs(action, m.kinds, f)
		if err != nil {
			return err
		}
		return m.run(ctx, a, db, verb, jobs...)
	})
}

func (a *app) deliveriesRetry() *cobra.Command {
	m := &mend{}
	c := &cobra.Command{
		Use:   "retry [ID…]",
		Short: "Send dead letters and waiting deliveries now, or evaluate parked events again",
		Long: `retry puts dead letters back into the queue, with their old ids and numbers and no attempts; the running walhook
sends them. Those that hold their record go first, others after what the record has waiting, with the header
Webhook-Late: true.

With --parked it evaluates events again whose rule had failed, by the rules as they are now. Events that match are
queued, events that match no more are dropped, and those that fail again stay parked.

With --waiting it sends deliveries now that wait for a further event of their record (debounce).

With --retrying it makes deliveries due now that have failed and wait for their next attempt; their attempts keep their
count. --pending does so with those that wait behind one of these. What a dead letter holds goes when that is retried or
discarded; what is due already goes by itself, unless the endpoint is paused or fails (walhook endpoints list).` + bulkHelp,
		Example: "  walhook deliveries retry msg_0123…\n  walhook deliveries retry --endpoint erp --since 2h\n  walhook deliveries retry --endpoint erp --class timeout --yes\n  walhook deliveries retry --retrying --endpoint erp --yes\n  walhook deliveries retry --parked --rule invoice_posted --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.act(cmd, m, status.ActionRetry, "queued again", ids)
		},
	}
	m.register(c)
	return c
}

func (a *app) deliveriesDiscard() *cobra.Command {
	m := &mend{}
	c := &cobra.Command{
		Use:   "discard [ID…]",
		Short: "Give dead letters, parked events or deliveries in the queue up",
		Long: `discard deletes dead letters, with --parked events whose rule had failed, with --waiting deliveries that wait for a
further event of their record (debounce), with --pending deliveries in the queue that were never tried, and with --retrying
those that have failed and wait for their next attempt; what a process has in hand is left. They are never sent; that their numbers will not arrive is noted in the state's
table gap. Records that waited behind one go on.` + bulkHelp,
		Example: "  walhook deliveries discard msg_0123…\n  walhook deliveries discard --endpoint old --all --yes\n  walhook deliveries discard --parked --rule typo --yes\n  walhook deliveries discard --endpoint old --pending --retrying --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.act(cmd, m, status.ActionDiscard, "discarded", ids)
		},
	}
	m.register(c)
	return c
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
