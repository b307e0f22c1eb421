package main

import (
	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

func (a *app) replayCommand() *cobra.Command {
	b := &bulk{}
	test := false
	c := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Send deliveries again that were delivered",
		Long: `replay puts deliveries that a receiver has taken back into the queue: for a receiver that has lost data. They keep their
ids, numbers and bodies, go after what their records have waiting, and carry the header Webhook-Late: true. A receiver that
deduplicates on webhook-id must be told to take them. The running walhook sends them, in the order of their records; nothing is
sent by this command itself. What the log still holds can be replayed ([state] retention); dead letters are for: walhook
deliveries retry. Those that wait to be sent again already are left out. With --test it sends what rules in test mode have
made, which nobody has sent yet.

By id it acts at once. A selection by flags is counted first: on a terminal it asks, elsewhere it needs --yes. It works in
small transactions: when it is interrupted, what is done stays done, and it says with which --after and --before to go on.`,
		Example: "  walhook replay msg_0123…\n  walhook replay --endpoint erp --since 2026-03-01T10:00:00Z --until 2026-03-01T12:00:00Z\n  walhook replay --rule invoice_posted --since 2d --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if test {
				b.flags.State = string(state.Test)
			}
			f, err := b.filter(cmd, ids)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withOwnState(ctx, func(cfg *Config, db *state.DB) error {
				jobs, err := cfg.desk(db).jobs(status.ActionReplay, status.Kinds{}, f)
				if err != nil {
					return err
				}
				return b.run(ctx, a, db, "queued again", jobs...)
			})
		},
	}
	b.register(c)
	c.Flags().BoolVar(&test, "test", false, "deliveries of rules in test mode, which were never sent, instead of delivered ones")
	c.Flags().IntVar(&b.flags.Status, "status", 0, "only those that were answered with this HTTP status")
	c.Flags().Int64Var(&b.flags.After, "after", 0, "only those after this seq, to go on as an interrupted replay says")
	c.Flags().Int64Var(&b.flags.Before, "before", 0, "only those before this seq, as --after")
	return c
}
