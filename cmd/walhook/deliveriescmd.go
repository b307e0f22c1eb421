package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

func (a *app) deliveriesCommand() *cobra.Command {
	return group("deliveries", "Look at deliveries, and send or discard what failed",
		"  walhook deliveries list --state dead\n  walhook deliveries show msg_0123…\n  walhook deliveries retry --endpoint erp --yes",
		a.deliveriesList(), a.deliveriesShow(), a.deliveriesRetry(), a.deliveriesDiscard(), a.deliveriesVerify(), a.deliveriesGaps())
}

// withState opens the state for a command that changes nothing but it.
func (a *app) withState(ctx context.Context, do func(*Config, *state.DB) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	db, err := state.Open(ctx, cfg.state(currentBuild().Version))
	if err != nil {
		return environmentError(err, "")
	}
	if err := db.Check(ctx); err != nil {
		closeState(db)
		return environmentError(err, "")
	}
	if err := do(cfg, db); err != nil {
		closeState(db)
		return err
	}
	return db.Close()
}

// withOwnState is withState for a command that makes deliveries due or gives them up: the state must be that of the
// database of source.dsn (invariant 5).
func (a *app) withOwnState(ctx context.Context, do func(*Config, *state.DB) error) error {
	return a.withState(ctx, func(cfg *Config, db *state.DB) error {
		if err := cfg.sameSource(ctx, db); err != nil {
			return err
		}
		return do(cfg, db)
	})
}

func (a *app) deliveriesList() *cobra.Command {
	var flags filterFlags
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [ID…]",
		Short: "List deliveries, newest first",
		Long: `list shows what became of deliveries: pending (waits for its first attempt), retrying (failed, and waits for the
next), dead (will not be tried again by itself), delivered, discarded, again (sent again later under the same id), test (of a rule in
test mode, or sent by walhook endpoints send-test), and parked: events whose rule failed to evaluate, so that no delivery exists yet.`,
		Example: "  walhook deliveries list --state dead --endpoint erp\n  walhook deliveries list --state dead --class timeout --since 2h --json\n  walhook deliveries list --state parked",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				flags.IDs = ids
				if flags.Limit <= 0 {
					return usagef("", "--limit must be positive")
				}
				if err := oneOf("state", flags.State, deliveryStates); err != nil {
					return err
				}
				lines, err := cfg.desk(db).list(cmd.Context(), flags.Selection)
				if err != nil {
					return err
				}
				if len(lines) == 0 {
					if err := flags.warnUnknown(cmd.Context(), a, db); err != nil {
						return err
					}
				}
				if asJSON {
					return a.printJSON(lines)
				}
				return a.printDeliveries(lines, flags.Limit)
			})
		},
	}
	flags.register(c)
	flags.registerFailure(c)
	c.Flags().StringVar(&flags.State, "state", "", strings.Join(deliveryStates, ", ")+" (default any but parked)")
	c.Flags().IntVar(&flags.Limit, "limit", 50, "at most so many")
	c.Flags().Int64Var(&flags.Before, "before", 0, "the next page: seq of the last line of the one before")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printDeliveries(lines []status.DeliveryLine, limit int) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(a.stdout, "none")
		return err
	}
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATE\tENDPOINT\tEVENT\tRECORD\tATTEMPTS\tQUEUED\tREASON")
	for _, l := range lines {
		event, name := l.Event, l.State
		if event == "" {
			event = "rule " + l.Rule
		}
		if l.Held {
			name += " (held)"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", l.ID, name, orDash(l.Endpoint), event, orDash(strings.Trim(l.Model+"/"+l.Record, "/")), l.Attempts, l.Queued.Format("2006-01-02 15:04:05"), orDash(shorten(l.Reason, 80)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(lines) == limit {
		_, err := fmt.Fprintf(a.stdout, "more: --before %d\n", lines[len(lines)-1].Seq)
		return err
	}
	return nil
}

// shorten cuts a text for a column.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// since writes when something was, and how long ago.
func since(now, t time.Time) string {
	return t.Format("2006-01-02 15:04:05") + " UTC (" + status.Age(max(now.Sub(t), 0)) + " ago)"
}
