package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// deliveryLine is one delivery, dead letter or parked event as --json prints it.
type deliveryLine struct {
	Seq       int64     `json:"seq"`
	Epoch     int64     `json:"epoch,omitempty"`    // parked events, and what is older than numbers, have none
	Sequence  int64     `json:"sequence,omitempty"` // the number within endpoint and epoch
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Endpoint  string    `json:"endpoint,omitempty"` // parked events have none
	Rule      string    `json:"rule"`
	Event     string    `json:"event,omitempty"`
	Model     string    `json:"model"`
	Record    string    `json:"record"`
	Op        string    `json:"op,omitempty"`
	LSN       string    `json:"lsn"`
	XID       uint32    `json:"xid"`
	Committed time.Time `json:"committed_at"`
	Queued    time.Time `json:"queued_at"`
	Attempts  int       `json:"attempts"`
	Due       time.Time `json:"due_at,omitzero"`
	Ended     time.Time `json:"ended_at,omitzero"`
	Status    int       `json:"status,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Held      bool      `json:"held,omitempty"`
	Late      bool      `json:"late,omitempty"`
	Bytes     int       `json:"bytes"`
}

func lineOfDelivery(l *state.Listed) deliveryLine {
	return deliveryLine{
		Seq: l.Seq, Epoch: l.Epoch, Sequence: l.Sequence, ID: l.ID, State: string(l.State), Endpoint: l.Endpoint, Rule: l.Rule, Event: l.Event, Model: l.Model, Record: l.Record, Op: l.Op,
		LSN: l.CommitLSN.String(), XID: l.XID, Committed: l.CommitAt, Queued: l.Enqueued, Attempts: l.Attempts, Due: l.Due, Ended: l.Ended,
		Status: l.Status, Reason: l.Reason, Held: l.Held, Late: l.Late, Bytes: l.Bytes,
	}
}

var errParkedFilter = usagef("select them by --rule, --model, --record, --error, --since and --until", "a parked event has no endpoint yet, and no answer: --endpoint, --class and --status do not fit")

// parkedState is what deliveries list calls events whose rule failed; they are no deliveries yet.
const parkedState = "parked"

func lineOfParked(p *state.ParkedEvent) deliveryLine {
	return deliveryLine{
		Seq: p.N, ID: p.ID, State: parkedState, Rule: p.Rule, Model: p.Model, Record: p.Record, LSN: p.CommitLSN.String(), XID: p.XID,
		Committed: p.CommitAt, Queued: p.ParkedAt, Reason: p.Error, Bytes: len(p.Change),
	}
}

func (a *app) deliveriesCommand() *cobra.Command {
	return group("deliveries", "Look at deliveries, and send or discard what failed",
		"  walhook deliveries list --state dead\n  walhook deliveries show msg_0123…\n  walhook deliveries retry --endpoint erp --yes",
		a.deliveriesList(), a.deliveriesShow(), a.deliveriesRetry(), a.deliveriesDiscard())
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
next), dead (will not be tried again by itself), delivered, discarded, again (sent again later under the same id), and parked:
events whose rule failed to evaluate, so that no delivery exists yet.`,
		Example: "  walhook deliveries list --state dead --endpoint erp\n  walhook deliveries list --state dead --class timeout --since 2h --json\n  walhook deliveries list --state parked",
		RunE: func(cmd *cobra.Command, ids []string) error {
			return a.withState(cmd.Context(), func(_ *Config, db *state.DB) error {
				f, err := flags.filter(ids, time.Now())
				if err != nil {
					return err
				}
				lines, err := listLines(cmd.Context(), db, f)
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
				return a.printDeliveries(lines, f)
			})
		},
	}
	flags.register(c)
	flags.registerFailure(c)
	c.Flags().StringVar(&flags.state, "state", "", "pending, retrying, dead, delivered, discarded, again or parked (default any but parked)")
	c.Flags().IntVar(&flags.limit, "limit", 50, "at most so many")
	c.Flags().Int64Var(&flags.before, "before", 0, "the next page: seq of the last line of the one before")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func listLines(ctx context.Context, db *state.DB, f state.Filter) ([]deliveryLine, error) {
	lines := []deliveryLine{}
	switch f.State {
	case parkedState:
		if f.Endpoint != "" || f.Class != "" || f.Status != 0 {
			return nil, errParkedFilter
		}
		list, err := db.ListParked(ctx, f)
		if err != nil {
			return nil, environmentError(err, "")
		}
		for i := range list {
			lines = append(lines, lineOfParked(&list[i]))
		}
	case "", state.Pending, state.Retrying, state.Dead, state.Delivered, state.Discarded, state.Again:
		list, err := db.ListDeliveries(ctx, f)
		if err != nil {
			return nil, environmentError(err, "")
		}
		for i := range list {
			lines = append(lines, lineOfDelivery(&list[i]))
		}
	default:
		known := []string{"pending", "retrying", "dead", "delivered", "discarded", "again", parkedState}
		hint := "states: pending, retrying, dead, delivered, discarded, again, parked"
		if s := nearest(string(f.State), known); s != "" {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		return nil, usagef(hint, "unknown state %q", f.State)
	}
	return lines, nil
}

func (a *app) printDeliveries(lines []deliveryLine, f state.Filter) error {
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
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s/%s\t%d\t%s\t%s\n", l.ID, name, orDash(l.Endpoint), event, l.Model, l.Record, l.Attempts, l.Queued.Format("2006-01-02 15:04:05"), orDash(shorten(l.Reason, 80)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if f.Limit > 0 && len(lines) == f.Limit {
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

// attemptLine is one attempt as `deliveries show --json` prints it. Secrets were masked before it was logged.
type attemptLine struct {
	Number          int                 `json:"number"`
	At              time.Time           `json:"at"`
	Result          delivery.Result     `json:"result"`
	Status          int                 `json:"status,omitempty"`
	Reason          string              `json:"reason,omitempty"`
	Error           string              `json:"error,omitempty"`
	Class           string              `json:"class,omitempty"`
	Method          string              `json:"method"`
	URL             string              `json:"url"`
	RequestHeaders  map[string][]string `json:"request_headers,omitempty"`
	ResponseHeaders map[string][]string `json:"response_headers,omitempty"`
	ResponseBody    string              `json:"response_body,omitempty"`
	ResponseCut     bool                `json:"response_cut,omitempty"`
	Milliseconds    float64             `json:"total_ms"`
	Phases          map[string]float64  `json:"phases_ms,omitempty"` // dns, connect, tls, first_byte
}

func lineOfAttempt(t *state.Attempted) attemptLine {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	l := attemptLine{
		Number: t.Number, At: t.At, Result: t.Result, Status: t.Attempt.Status, Reason: t.Reason, Error: t.Error, Class: t.Class, Method: t.Method, URL: t.URL,
		RequestHeaders: t.RequestHeaders, ResponseHeaders: t.ResponseHeaders, ResponseBody: string(t.ResponseBody), ResponseCut: t.ResponseCut, Milliseconds: ms(t.Total),
	}
	for name, d := range map[string]time.Duration{"dns": t.DNS, "connect": t.Connect, "tls": t.TLS, "first_byte": t.FirstByte} {
		if d > 0 {
			if l.Phases == nil {
				l.Phases = map[string]float64{}
			}
			l.Phases[name] = ms(d)
		}
	}
	return l
}

// since writes when something was, and how long ago.
func since(now, t time.Time) string {
	return t.Format("2006-01-02 15:04:05") + " UTC (" + status.Age(max(now.Sub(t), 0)) + " ago)"
}
