package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
)

func (a *app) resyncCommand() *cobra.Command {
	r := &resync{app: a}
	margin := delivery.Duration(defaultMargin)
	c := &cobra.Command{
		Use:   "resync",
		Short: "Make a lost slot anew and repair the gap",
		Long: `resync is for when changes can no longer be read: the slot is missing, was given up by the server, was made again or moved by
hand, or the state was restored from an older dump. It makes the slot anew where there is none to go on with, puts on record what was
lost, begins a new epoch of the endpoints' sequences, and leaves the running of the repair to walhook run, beside the stream:

  - records that were written since (write_date; create_date for rules on create alone) are sent as they are now, with op
    "resync", to the rules whose condition holds for them as for a new record;
  - records that endpoints were told of, as far as the log reaches back, and that are gone, are sent as unlink, with "resync": true.
  - tables under [images] are compared with their rows as they were, which finds what was written past Odoo and all deletions, with the
    values before.

It says for each rule what cannot be known. Since when is worked out from what walhook has noted while it ran: transactions that were open
when the position was reached had begun before it, and write_date is their beginning. Where its role may not see others' transactions it
allows for --margin.

Without a gap it does nothing; after run --adopt has accepted one, it repairs that one, and with --since whatever is asked for. No walhook may
run while it makes a slot. It may be interrupted and run again at any time. On a copy of the database it refuses.`,
		Example: `  walhook resync --dry-run
  walhook resync
  walhook resync --since 2026-03-01T10:00:00Z --yes
  walhook resync list
  walhook resync show 1 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			r.margin, r.margins = margin.Std(), cmd.Flags().Changed("margin")
			if r.margin < 0 {
				return usagef("walhook resync --margin 1h", "--margin %s is negative", r.margin)
			}
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				r.cfg, r.db = cfg, db
				return r.run(cmd.Context())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&r.since, "since", "", "records written since then: 2h, 3d, 2026-03-01 or 2026-03-01T12:00:00Z (default from what the state has noted)")
	f.Var((*durationFlag)(&margin), "margin", "how long a transaction may have been open that walhook could not see")
	f.BoolVar(&r.dryRun, "dry-run", false, "say what would be done and what cannot be known, and change nothing")
	f.BoolVar(&r.yes, "yes", false, "do it without asking")
	f.BoolVar(&r.asJSON, "json", false, "print JSON")
	c.AddCommand(a.resyncList(), a.resyncShow())
	return c
}

func (a *app) resyncList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List resyncs, newest first",
		Example: "  walhook resync list\n  walhook resync list --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withState(cmd.Context(), func(_ *Config, db *state.DB) error {
				all, err := db.Resyncs(cmd.Context(), 0, 100)
				if err != nil {
					return environmentError(err, "")
				}
				if asJSON {
					return a.printJSON(all)
				}
				t := a.terminal()
				if len(all) == 0 {
					return t.say("there was no resync")
				}
				for i := range all {
					if err := t.say(resyncLine(&all[i])); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// resyncLine says in a line how a resync stands.
func resyncLine(r *state.Resync) string {
	how := "done"
	if !r.Done() {
		how = fmt.Sprintf("under way: %s and %s left", plural(int(r.JobsLeft), "rule"), plural(int(r.Left), "unlink"))
		if r.Stuck > 0 {
			how += fmt.Sprintf("; %s failed or paused: walhook backfill list", plural(int(r.Stuck), "rule"))
		}
	}
	return fmt.Sprintf("%d  %s  since %s, %d records and %d unlinks queued, %s", r.N, instant(r.Begun), instant(r.Since), r.Events, r.Unlinks, how)
}

func (a *app) resyncShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show [NUMBER]",
		Short:   "Show a resync, and what it could not know",
		Long:    "show prints a resync as it was begun, with what it could not know, and how it stands. Without a number, the newest.",
		Example: "  walhook resync show\n  walhook resync show 1 --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := int64(0)
			if len(args) > 0 {
				var err error
				if n, err = strconv.ParseInt(args[0], 10, 64); err != nil || n < 1 {
					return usagef("walhook resync list", "%q is no number of a resync", args[0])
				}
			}
			return a.withState(cmd.Context(), func(_ *Config, db *state.DB) error { return a.showResync(cmd.Context(), db, n, asJSON) })
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) showResync(ctx context.Context, db *state.DB, n int64, asJSON bool) error {
	all, err := db.Resyncs(ctx, n, 1)
	switch {
	case err != nil:
		return environmentError(err, "")
	case len(all) == 0 && n > 0:
		return usagef("walhook resync list", "there is no resync %d", n)
	case len(all) == 0:
		return a.terminal().say("there was no resync")
	case asJSON:
		return a.printJSON(all[0])
	}
	t := a.terminal()
	report := &resyncReport{}
	if err := json.Unmarshal(all[0].Report, report); err != nil {
		return fmt.Errorf("read the report of resync %d: %w", all[0].N, err)
	}
	if err := t.say(resyncLine(&all[0]), "\n"); err != nil {
		return err
	}
	return report.print(t.say)
}

// run looks, says what it would do, asks, and does it.
func (r *resync) run(ctx context.Context) error {
	conn, err := connect(ctx, "source.dsn", r.cfg.Source.DSN.reveal())
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if r.survey, err = r.cfg.look(ctx, conn, ""); err != nil {
		return err
	}
	_ = r.cfg.recall(ctx, r.survey.facts, r.survey.catalog) // that it is a copy is found again below
	r.survey.facts.Gap = ""                                 // the report says it
	if r.live, err = cdc.NewLive(r.cfg.Source.DSN.reveal(), "command", nil); err != nil {
		return environmentError(err, "")
	}
	defer r.live.Close()
	lost, err := r.plan(ctx)
	if err != nil {
		return err
	}
	if !lost {
		return r.nothing(ctx)
	}
	if !r.asJSON {
		if err := r.report.print(r.app.terminal().say); err != nil {
			return err
		}
	}
	if r.dryRun {
		if r.asJSON {
			return r.app.printJSON(r.report)
		}
		return r.app.terminal().say("\nnothing was done, as --dry-run says")
	}
	if err := r.agree(ctx); err != nil {
		return err
	}
	if err := r.apply(ctx, conn); err != nil {
		return err
	}
	if r.asJSON {
		return r.app.printJSON(r.report)
	}
	return r.app.terminal().say(fmt.Sprintf("\nresync %d: %s and %s are for walhook run to do, beside the stream; walhook resync show tells how it stands",
		r.report.Resync, plural(len(r.jobs()), "rule"), plural(len(r.gone), "unlink")))
}

// nothing says that there is no gap.
func (r *resync) nothing(ctx context.Context) error {
	all, err := r.db.Resyncs(ctx, 0, 1)
	if err != nil {
		return environmentError(err, "")
	}
	text := "nothing to repair: the slot goes on where the state ends. To send what was written since some time all the same: walhook resync --since TIME"
	if len(all) > 0 && !all[0].Done() {
		text = resyncLine(&all[0]) + "\nnothing else to repair: walhook run does it"
	}
	if r.asJSON {
		return r.app.printJSON(&resyncReport{Lost: []string{}, From: r.position.LSN.String(), DryRun: r.dryRun, Rules: []resyncRule{}, NotKnown: []string{}})
	}
	return r.app.terminal().say(text)
}

// agree asks on a terminal.
func (r *resync) agree(ctx context.Context) error {
	if r.yes {
		return nil
	}
	if r.asJSON || !isTerminal(r.app.stdin) {
		return usagef("look at walhook resync --dry-run, and add --yes", "nothing was done: there is no terminal to ask on")
	}
	fmt.Fprint(r.app.stderr, "\nGo on? [y/N] ")
	answer := make(chan string, 1)
	go func() { answer <- readLine(r.app.stdin) }() // stays behind when it is interrupted: the process ends then
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
	}
	return &failure{err: fmt.Errorf("nothing was done"), code: exitFailed}
}
