package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

func (a *app) backfillCommand() *cobra.Command {
	var (
		r                           status.BackfillRequest
		dryRun, yes, noWait, asJSON bool
	)
	c := &cobra.Command{
		Use:   "backfill RULE…",
		Short: "Send the records that there are already, as snapshot events",
		Long: `backfill sends an event for each record that a rule's condition holds for, judged as if the record were created now: changed,
became and entered hold as for an insert, before is null, and op is "snapshot". The type of the event is the rule's own, or <model>.snapshot.

A running walhook does the work, beside the stream and after live events; it goes on after a restart, and when another process takes over. A
receiver never gets an older state of a record after a newer one: the rows are read a piece at a time, and what is committed meanwhile is followed.

It counts first and asks; elsewhere than on a terminal it needs --yes. Then it shows how far the work has come. To interrupt that leaves the work
going on: walhook backfill list, show, pause, resume and cancel are for that.`,
		Example: `  walhook backfill sale_order_confirmed --dry-run
  walhook backfill sale_order_confirmed --where 'after.date_order >= date("2026-01-01")' --rate 50
  walhook backfill customer_created --endpoint crm --yes --no-wait
  walhook backfill list
  walhook backfill pause 3
  walhook backfill resume 3
  walhook backfill cancel 3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(cmd.CommandPath()+" --help", "%s needs the names of rules, or a command: list, show, pause, resume, cancel", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if yes && dryRun {
				return usagef("", "--yes and --dry-run contradict each other")
			}
			r.Rules = args
			return a.withOwnState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				b := backfilling{app: a, desk: cfg.desk(db), request: r, dryRun: dryRun, yes: yes, wait: !noWait && !asJSON, asJSON: asJSON}
				return b.run(cmd.Context())
			})
		},
	}
	f := c.Flags()
	f.StringVar(&r.Where, "where", "", "a further condition, in the language of rules: 'after.create_date > date(\"2026-01-01\")'")
	f.StringVar(&r.Endpoint, "endpoint", "", "only to this one of the rule's endpoints")
	f.Float64Var(&r.Rate, "rate", 0, "events a second, at most (default as many as the queues have room for)")
	f.Int64Var(&r.Limit, "limit", 0, "events of each rule, at most (default no limit)")
	f.BoolVar(&dryRun, "dry-run", false, "only count")
	f.BoolVar(&yes, "yes", false, "do it without asking")
	f.BoolVar(&noWait, "no-wait", false, "do not wait until it is done")
	f.BoolVar(&asJSON, "json", false, "print JSON, and do not wait")
	c.AddCommand(a.backfillList(), a.backfillShow(),
		a.backfillSet(status.JobPause, "Let a backfill rest", "  walhook backfill pause 3"),
		a.backfillSet(status.JobResume, "Let a backfill that rests, or has failed, go on where it stands", "  walhook backfill resume 3"),
		a.backfillSet(status.JobCancel, "End a backfill; what it has queued is sent", "  walhook backfill cancel 3"))
	return c
}

// backfilling is one call of the command.
type backfilling struct {
	*app
	desk                      *desk
	request                   status.BackfillRequest
	dryRun, yes, wait, asJSON bool
}

// backfillAnswer is what --json prints.
type backfillAnswer struct {
	Plans []status.BackfillPlan `json:"plans"`
	Jobs  []status.JobLine      `json:"jobs"` // none of a dry run
}

func (b *backfilling) run(ctx context.Context) error {
	plans, _, err := b.desk.Backfill(ctx, b.request, true)
	if err != nil {
		return err
	}
	if !b.asJSON {
		for _, p := range plans {
			fmt.Fprintln(b.stdout, planLine(p))
		}
	}
	switch {
	case b.dryRun && b.asJSON:
		return b.printJSON(backfillAnswer{Plans: plans, Jobs: []status.JobLine{}})
	case b.dryRun:
		return nil
	case !b.yes && (b.asJSON || !isTerminal(b.stdin)):
		return usagef("add --yes to do it, or --dry-run to count only", "records are not sent without confirmation")
	case !b.yes:
		if err := b.confirm(ctx); err != nil {
			return err
		}
	}
	_, jobs, err := b.desk.Backfill(ctx, b.request, false)
	if err != nil {
		return err
	}
	if b.asJSON {
		return b.printJSON(backfillAnswer{Plans: plans, Jobs: jobs})
	}
	ids := make([]int64, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
		fmt.Fprintf(b.stdout, "job %d: rule %s\n", j.ID, j.Rule)
	}
	if position, err := b.desk.db.Position(ctx); err == nil && position.Processes == 0 {
		_, err := fmt.Fprintln(b.stderr, "no walhook is running: the work begins when one does (walhook run)")
		return err
	}
	if !b.wait {
		return nil
	}
	return b.watch(ctx, ids)
}

func planLine(p status.BackfillPlan) string {
	how := "about "
	if p.Exact {
		how = ""
	}
	text := fmt.Sprintf("rule %s: %s%s of %s in %s, to %s", p.Rule, how, grouped(p.Selected), plural(int(p.Rows), "row"), p.Table, strings.Join(p.Endpoints, ", "))
	if !p.Exact {
		text += " (the whole condition is judged row by row)"
	}
	return text
}

var errNothingDone = errQuiet(exitFailed)

// confirm asks a person.
func (b *backfilling) confirm(ctx context.Context) error {
	fmt.Fprint(b.stderr, "Send them? [y/N] ")
	yes, err := b.answered(ctx)
	if err == nil && !yes {
		fmt.Fprintln(b.stdout, "nothing was done")
		return errNothingDone
	}
	return err
}

func (a *app) backfillList() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List backfills and other walks through tables, newest first",
		Example: "  walhook backfill list\n  walhook backfill list --all --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				lines, err := cfg.desk(db).ListJobs(cmd.Context(), all)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(lines)
				}
				return a.printJobs(lines, all)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "also those that are done or cancelled, for 30 days")
	return c
}

func (a *app) printJobs(lines []status.JobLine, all bool) error {
	if len(lines) == 0 {
		text := "no backfill is under way; --all lists those that have ended"
		if all {
			text = "no backfills"
		}
		_, err := fmt.Fprintln(a.stdout, text)
		return err
	}
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "JOB\tKIND\tSTATE\tRULE\tTABLE\tROWS\tOF\tEVENTS\tSENT\tPARKED\tMADE\tWAITS FOR")
	for _, l := range lines {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Kind, l.State, orDash(l.Rule), l.Table, grouped(l.Rows), grouped(l.Total), grouped(l.Events),
			grouped(l.Sent), grouped(l.Parked), l.Made.Format("2006-01-02 15:04:05"), orDash(orElse(l.Error, l.Waits)))
	}
	return table.Flush()
}

// jobID reads the argument of a command on one job.
func jobID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("walhook backfill list", "%q is no number of a job", text)
	}
	return id, nil
}

func (a *app) backfillShow() *cobra.Command {
	var asJSON, wait bool
	c := &cobra.Command{
		Use:     "show JOB",
		Short:   "Show one backfill",
		Example: "  walhook backfill show 3\n  walhook backfill show 3 --wait\n  walhook backfill show 3 --json",
		Args:    oneArgument("the number of a job"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := jobID(args[0])
			if err != nil {
				return err
			}
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				d := cfg.desk(db)
				line, err := d.Job(cmd.Context(), id)
				switch {
				case err != nil:
					return err
				case wait:
					b := backfilling{app: a, desk: d}
					if err := b.watch(cmd.Context(), []int64{id}); err != nil || !asJSON {
						return err
					}
					if line, err = d.Job(cmd.Context(), id); err != nil {
						return err
					}
				}
				if asJSON {
					return a.printJSON(line)
				}
				return a.printJob(line)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&wait, "wait", false, "show how far it comes until it has ended")
	return c
}

func (a *app) printJob(l *status.JobLine) error {
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, text)
		}
	}
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	line("job", fmt.Sprintf("%d, %s", l.ID, l.Kind))
	line("state", l.State)
	line("waits for", l.Waits)
	line("error", l.Error)
	line("rule", l.Rule)
	line("endpoints", strings.Join(l.Endpoints, ", "))
	line("table", l.Table)
	line("where", l.Where)
	if l.Rate > 0 {
		line("rate", fmt.Sprintf("%v events a second", l.Rate))
	}
	if l.Limit > 0 {
		line("limit", grouped(l.Limit)+" events")
	}
	line("rows", fmt.Sprintf("%s of %s", grouped(l.Rows), grouped(l.Total)))
	line("events", fmt.Sprintf("%s, %s deliveries, %s parked", grouped(l.Events), grouped(l.Sent), grouped(l.Parked)))
	line("up to key", strings.Join(l.After, ", "))
	line("made", moment(l.Made))
	line("begun", moment(l.Begun))
	line("last step", moment(l.Moved))
	line("ended", moment(l.Ended))
	return table.Flush()
}

// backfillSet is pause, resume or cancel.
func (a *app) backfillSet(action, short, example string) *cobra.Command {
	return &cobra.Command{
		Use:     action + " JOB",
		Short:   short,
		Example: example,
		Args:    oneArgument("the number of a job"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := jobID(args[0])
			if err != nil {
				return err
			}
			return a.withOwnState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				l, err := cfg.desk(db).SetJob(cmd.Context(), id, action)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "job %d is %s: %s of %s rows, %s events\n", l.ID, l.State, grouped(l.Rows), grouped(l.Total), grouped(l.Events))
				return err
			})
		},
	}
}
