package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/state"
	"walhook/status"
)

func (a *app) deliveriesGaps() *cobra.Command {
	var f state.GapFilter
	var since, until string
	var asJSON bool
	c := &cobra.Command{
		Use:   "gaps",
		Short: "List numbers that will not arrive, and why",
		Long: `gaps lists the runs of numbers (Webhook-Sequence) of which a receiver need not wait: discarded by a person, dropped or parked
at a queue's limit, superseded by a later event of the same record (debounce), or of a rule in test mode. Every other number
arrives, or is pending or dead (walhook deliveries verify proves it).`,
		Example: "  walhook deliveries gaps\n  walhook deliveries gaps --endpoint erp --reason dropped --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if f.Reason != "" && !slices.Contains(state.GapReasons, f.Reason) {
				hint := "reasons: " + strings.Join(state.GapReasons, ", ")
				if s := nearest(f.Reason, state.GapReasons); s != "" {
					hint = fmt.Sprintf("did you mean %q?", s)
				}
				return usagef(hint, "unknown reason %q", f.Reason)
			}
			if f.Limit <= 0 {
				return usagef("", "--limit must be positive")
			}
			now := time.Now()
			if f.Since, err = moment("--since", since, now); err != nil {
				return err
			}
			if f.Until, err = moment("--until", until, now); err != nil {
				return err
			}
			return a.withState(cmd.Context(), func(_ *Config, db *state.DB) error {
				list, err := db.ListGaps(cmd.Context(), f)
				var key *state.GapKeyError
				switch {
				case errors.As(err, &key):
					return usagef(key.Hint(), "--after: %w", err)
				case err != nil:
					return environmentError(err, "")
				}
				if len(list) == 0 {
					asked := filterFlags{status.Selection{Endpoint: f.Endpoint}}
					if err := asked.warnUnknown(cmd.Context(), a, db); err != nil {
						return err
					}
				}
				if asJSON {
					return a.printJSON(append([]state.Gap{}, list...))
				}
				return a.printGaps(list, f)
			})
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.Endpoint, "endpoint", "", "only this endpoint")
	flags.StringVar(&f.Reason, "reason", "", "only this reason: "+strings.Join(state.GapReasons, ", "))
	flags.Int64Var(&f.Epoch, "epoch", 0, "only this epoch")
	flags.StringVar(&since, "since", "", "only those noted since: 2h, 3d, 2026-03-01 or 2026-03-01T12:00:00Z")
	flags.StringVar(&until, "until", "", "only those noted before: as --since")
	flags.IntVar(&f.Limit, "limit", 50, "at most so many")
	flags.StringVar(&f.After, "after", "", "the next page: as the end of the one before says")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printGaps(list []state.Gap, f state.GapFilter) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(a.stdout, "none")
		return err
	}
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ENDPOINT\tEPOCH\tNUMBERS\tREASON\tCOMMITTED AT LSN\tCOMMITTED\tNOTED")
	for _, g := range list {
		numbers, lsn := fmt.Sprint(g.First), g.FirstLSN
		if g.Last > g.First {
			numbers = fmt.Sprintf("%d-%d", g.First, g.Last)
		}
		if g.LastLSN != g.FirstLSN {
			lsn += " to " + g.LastLSN
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", g.Endpoint, g.Epoch, numbers, g.Reason, lsn, g.FirstAt.Format("2006-01-02 15:04:05"), g.Noted.Format("2006-01-02 15:04:05"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(list) == f.Limit {
		_, err := fmt.Fprintf(a.stdout, "more: --after %s\n", list[len(list)-1].Key())
		return err
	}
	return nil
}
