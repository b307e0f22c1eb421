package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"walhook/state"
)

func (a *app) replayCommand() *cobra.Command {
	b := &bulk{}
	c := &cobra.Command{
		Use:   "replay [ID…]",
		Short: "Send deliveries again that were delivered",
		Long: `replay puts deliveries that a receiver has taken back into the queue: for a receiver that has lost data. They keep their
ids, numbers and bodies, go after what their records have waiting, and carry the header Webhook-Late: true. A receiver that
deduplicates on webhook-id must be told to take them. The running walhook sends them, in the order of their records; nothing is
sent by this command itself. What the log still holds can be replayed ([state] retention); dead letters are for: walhook
deliveries retry. Those that wait to be sent again already are left out.

By id it acts at once. A selection by flags is counted first: on a terminal it asks, elsewhere it needs --yes. It works in
small transactions: when it is interrupted, what is done stays done, and it says with which --after and --before to go on.`,
		Example: "  walhook replay msg_0123…\n  walhook replay --endpoint erp --since 2026-03-01T10:00:00Z --until 2026-03-01T12:00:00Z\n  walhook replay --rule invoice_posted --since 2d --yes",
		RunE: func(cmd *cobra.Command, ids []string) error {
			f, err := b.filter(cmd, ids)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withOwnState(ctx, func(cfg *Config, db *state.DB) error {
				if err := cfg.configured(f.Endpoint); err != nil {
					return err
				}
				return b.run(ctx, a, db, "queued again", job{
					noun: "delivered webhook", sends: true,
					count: func(ctx context.Context, limit int) (int64, error) { return db.CountDelivered(ctx, f, limit) },
					run: func(ctx context.Context, progress func(int64)) (did, error) {
						f.Progress = progress
						n, rest, err := db.Replay(ctx, f)
						return did{done: n, rest: rest}, err
					},
				})
			})
		},
	}
	b.register(c)
	c.Flags().Int64Var(&b.flags.after, "after", 0, "only those after this seq, to go on as an interrupted replay says")
	c.Flags().Int64Var(&b.flags.before, "before", 0, "only those before this seq, as --after")
	return c
}

// configured refuses an endpoint to which nothing could be sent.
func (c *Config) configured(endpoint string) error {
	if _, ok := c.Endpoints[endpoint]; ok || endpoint == "" {
		return nil
	}
	hint := "walhook endpoints list"
	if s := nearest(endpoint, slices.Sorted(maps.Keys(c.Endpoints))); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return usagef(hint, "there is no endpoint %q in the configuration", endpoint)
}
