package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/state"
)

func (a *app) deliveriesVerify() *cobra.Command {
	var from, to, since, until, endpoint string
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that every delivery is accounted for",
		Long: `verify proves from walhook's tables that nothing is missing: per endpoint and epoch, that every number that was given out is
delivered, pending, dead, or given up with a reason that table gap holds (walhook deliveries gaps), that no number and no event
was given out twice, and that whatever is pending can be sent. Without a range it looks at all that the log holds.

--from and --to are LSNs of commits, both included; an event that was parked and evaluated later counts where it was enqueued.
It changes nothing, reads in small portions and may run beside walhook. What it cannot tell, it says: what retention has
dropped, and events that are parked as their rule failed, which have no number yet.

The exit status is 1 when something is missing.`,
		Example: "  walhook deliveries verify\n  walhook deliveries verify --endpoint erp --since 2d\n  walhook deliveries verify --from 2/A0001F28 --to 2/B4C0D1E0 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := verifyOptions(from, to, since, until, endpoint, time.Now())
			if err != nil {
				return err
			}
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				if endpoint != "" {
					if err := cfg.knownEndpoint(cmd.Context(), db, endpoint); err != nil {
						return err
					}
				}
				return a.verifyDeliveries(cmd.Context(), db, opts, asJSON)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "only transactions that were committed at this LSN or later")
	f.StringVar(&to, "to", "", "only transactions that were committed at this LSN or earlier")
	f.StringVar(&since, "since", "", "only what was queued since: 2h, 3d, 2026-03-01 or 2026-03-01T12:00:00Z")
	f.StringVar(&until, "until", "", "only what was queued before: as --since")
	f.StringVar(&endpoint, "endpoint", "", "only this endpoint")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// isLSN is what an LSN looks like: pglogrepl reads as far as it understands, and takes more digits than there are.
var isLSN = regexp.MustCompile("^[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}$")

// verifyOptions reads the flags.
func verifyOptions(from, to, since, until, endpoint string, now time.Time) (o state.VerifyOptions, err error) {
	o.Endpoint = endpoint
	for _, b := range []struct {
		flag, text string
		lsn        *cdc.LSN
	}{{"--from", from, &o.From}, {"--to", to, &o.To}} {
		if b.text == "" {
			continue
		}
		if err := b.lsn.Scan(b.text); err != nil || !isLSN.MatchString(b.text) {
			return o, usagef("an LSN is two hexadecimal numbers, such as 2/A0001F28; walhook deliveries show prints those of deliveries", "%s: %q is no LSN", b.flag, b.text)
		}
		*b.lsn = max(*b.lsn, 1) // 0/0 is before every commit, as 0/1 is, and set
	}
	if o.Since, err = moment("--since", since, now); err != nil {
		return o, err
	}
	if o.Until, err = moment("--until", until, now); err != nil {
		return o, err
	}
	if o.To > 0 && o.From > o.To || !o.Until.IsZero() && o.Since.After(o.Until) {
		return o, usagef("", "the range ends before it begins")
	}
	return o, nil
}

// verifyDeliveries verifies and prints what was found.
func (a *app) verifyDeliveries(ctx context.Context, db *state.DB, opts state.VerifyOptions, asJSON bool) error {
	position, err := db.Position(ctx)
	if err != nil {
		return environmentError(err, "")
	}
	if opts.From > position.Position.LSN {
		return &failure{err: fmt.Errorf("the range begins after the position %s: nothing to verify", position.Position.LSN), code: exitFailed, hint: "walhook status shows the position"}
	}
	p := newProgress(a.stderr, bulkResult{}, "places of the log looked at")
	opts.Progress = func(done, of int64) {
		p.of = grouped(of)
		p.show(done)
	}
	v, err := db.Verify(ctx, opts)
	p.end()
	switch {
	case errors.Is(err, state.ErrLogDropped):
		return &failure{err: err, code: exitFailed, hint: "do it again"}
	case err != nil:
		return environmentError(err, "")
	}
	if asJSON {
		err = a.printJSON(v)
	} else {
		err = a.printVerified(v)
	}
	if err == nil && !v.Intact {
		return errQuiet(exitFailed)
	}
	return err
}

// printVerified prints the balance, what is wrong, and what could not be told.
func (a *app) printVerified(v *state.Verified) error {
	var reasons []string
	columns := map[string]bool{}
	for _, l := range v.Ledgers {
		for reason := range l.Gaps {
			columns[reason] = true
		}
		for name, n := range map[string]int64{"ended": l.Untold, "lost": l.Lost, "missing": l.Missing} {
			columns[name] = columns[name] || n > 0
		}
	}
	for _, name := range append(slices.Clone(state.GapReasons), "ended", "lost", "missing") {
		if columns[name] {
			reasons = append(reasons, name)
		}
	}
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ENDPOINT\tEPOCH\tNUMBERS\tMATCHED\tDELIVERED\tPENDING\tDEAD"+strings.ToUpper(joinTabs(reasons)))
	for _, l := range v.Ledgers {
		numbers := "-"
		if l.Last > 0 {
			numbers = fmt.Sprintf("%d-%d", l.First, l.Last)
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%d\t%d\t%d", l.Endpoint, l.Epoch, numbers, l.Matched, l.Delivered, l.Pending, l.Dead)
		own := map[string]int64{"ended": l.Untold, "lost": l.Lost, "missing": l.Missing}
		maps.Copy(own, l.Gaps)
		for _, name := range reasons {
			fmt.Fprintf(table, "\t%d", own[name])
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range v.Findings {
		fmt.Fprintln(a.stdout, findingText(&f))
	}
	for _, kind := range slices.Sorted(maps.Keys(v.Counts)) {
		if n := v.Counts[kind]; n > 1 {
			fmt.Fprintf(a.stdout, "%s: %s in all\n", kind, grouped(n))
		}
	}
	for _, text := range v.Limits {
		fmt.Fprintln(a.stdout, "note: "+text)
	}
	if v.Parked > 0 {
		fmt.Fprintf(a.stdout, "note: %s parked, as the rule failed, without a number as yet: walhook deliveries list --state parked\n", plurals(v.Parked, "event is", "events are"))
	}
	what := fmt.Sprintf("%s of the log and %s", plural(int(v.Rows), "row"), plurals(v.Queue, "pending delivery", "pending deliveries"))
	if v.From != "" {
		what += fmt.Sprintf(", from %s to %s", v.From, v.To)
	}
	verdict := "nothing is missing, and nothing is there twice: "
	if !v.Intact {
		verdict = "NOT in order: "
	}
	_, err := fmt.Fprintln(a.stdout, verdict+what)
	return err
}

// joinTabs puts a tab before each.
func joinTabs(names []string) string {
	var s strings.Builder
	for _, n := range names {
		s.WriteString("\t" + n)
	}
	return s.String()
}

// findingTexts say what a finding means.
var findingTexts = map[state.FindingKind]string{
	state.MissingNumber:    "is neither in the log nor in table gap",
	state.LostDelivery:     "is in the log, and neither pending, dead, delivered nor given up",
	state.NumberTwice:      "was given to two deliveries",
	state.NumberBeyond:     "was never given out, and is in the log",
	state.EventTwice:       "is the second number of one event",
	state.QueueWithoutLog:  "is pending, and its delivery is gone from the log",
	state.QueueWithoutLane: "is pending in a lane that is not there: it is never sent",
	state.DeadAndQueued:    "is a dead letter, and pending as well",
	state.LaneWithoutQueue: "is a lane in which nothing waits",
	state.LaneOfNobody:     "is a lane of a process that is not there: it is never sent",
	state.LaneHeld:         "is a lane that waits for a dead letter that is not there",
}

func findingText(f *state.Finding) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: endpoint %s", f.Kind, f.Endpoint)
	switch {
	case f.First > 0 && f.First == f.Last:
		fmt.Fprintf(&s, ", number %d of epoch %d", f.First, f.Epoch)
	case f.First > 0:
		fmt.Fprintf(&s, ", numbers %d to %d of epoch %d", f.First, f.Last, f.Epoch)
	}
	if f.Lane != "" {
		fmt.Fprintf(&s, ", lane %s", f.Lane)
	}
	if f.Seq > 0 {
		fmt.Fprintf(&s, ", seq %d", f.Seq)
	}
	if f.ID != "" {
		fmt.Fprintf(&s, ", %s", f.ID)
	}
	return s.String() + " " + findingTexts[f.Kind]
}
