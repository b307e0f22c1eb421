package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/state"
)

// deliveryDetail is what `deliveries show --json` prints.
type deliveryDetail struct {
	deliveryLine
	Body     json.RawMessage `json:"body,omitempty"`   // of deliveries
	Change   json.RawMessage `json:"change,omitempty"` // of parked events
	Attempts []attemptLine   `json:"attempt_log"`
}

func (a *app) deliveriesShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a delivery with its body and every attempt",
		Example: "  walhook deliveries show msg_0123456789abcdef0123456789abcdef\n  walhook deliveries show msg_… --json | jq .body",
		Args:    oneArgument("the id of a delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withState(cmd.Context(), func(_ *Config, db *state.DB) error {
				detail := deliveryDetail{Attempts: []attemptLine{}}
				found, attempts, err := db.GetDelivery(cmd.Context(), args[0])
				switch {
				case err == nil:
					detail.deliveryLine, detail.Body = lineOfDelivery(found), asRaw(found.Body)
					for i := range attempts {
						detail.Attempts = append(detail.Attempts, lineOfAttempt(&attempts[i]))
					}
				case errors.Is(err, state.ErrNotFound):
					parked, e := db.ListParked(cmd.Context(), state.Filter{IDs: args, Limit: 1})
					if e != nil {
						return environmentError(e, "")
					}
					if len(parked) == 0 {
						return &failure{err: fmt.Errorf("there is no delivery %q", args[0]), code: exitFailed, hint: "walhook deliveries list; the log is kept for [state] retention"}
					}
					detail.deliveryLine, detail.Change = lineOfParked(&parked[0]), asRaw(parked[0].Change)
				default:
					return environmentError(err, "")
				}
				if asJSON {
					return a.printJSON(detail)
				}
				return a.printDetail(&detail)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// asRaw embeds JSON as it is, and other bodies as text.
func asRaw(body []byte) json.RawMessage {
	if len(body) == 0 {
		return nil
	}
	if json.Valid(body) {
		return body
	}
	text, err := json.Marshal(string(body))
	if err != nil {
		return nil
	}
	return text
}

func (a *app) printDetail(d *deliveryDetail) error {
	now := time.Now()
	table := tabwriter.NewWriter(a.stdout, 0, 4, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, value)
		}
	}
	row("id", d.ID)
	what := d.State
	if d.Held {
		what += ", its record waits until it is retried or discarded"
	}
	if d.Late {
		what += ", sent again on request"
	}
	row("state", what)
	row("endpoint", d.Endpoint)
	if d.Sequence > 0 {
		row("number", fmt.Sprintf("%d in epoch %d", d.Sequence, d.Epoch))
	}
	row("rule", d.Rule)
	row("event", d.Event)
	row("record", d.Model+"/"+d.Record)
	row("committed", since(now, d.Committed)+fmt.Sprintf(", transaction %d at %s", d.XID, d.LSN))
	row("queued", since(now, d.Queued))
	if !d.Due.IsZero() {
		row("due", d.Due.Format("2006-01-02 15:04:05")+" UTC")
	}
	row("reason", d.Reason)
	if err := table.Flush(); err != nil {
		return err
	}
	if len(d.Body) > 0 {
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, d.Body, "  ", "  "); err != nil {
			return fmt.Errorf("print body: %w", err)
		}
		fmt.Fprintf(a.stdout, "\nbody\n  %s\n", pretty.String())
	}
	if len(d.Change) > 0 {
		change, err := cdc.DecodeChange(d.Change)
		if err != nil {
			return fmt.Errorf("print change: %w", err)
		}
		fmt.Fprintf(a.stdout, "\n%s of %s\n  %s\n", change.Op, change.Rel, changeText(change))
	}
	for _, t := range d.Attempts {
		result := fmt.Sprintf("%s %s", t.Method, t.URL)
		fmt.Fprintf(a.stdout, "\nattempt %d, %s, %.0f ms: %s\n  %s\n", t.Number, t.At.Format("2006-01-02 15:04:05")+" UTC", t.Milliseconds, attemptResult(t), result)
		for _, name := range slices.Sorted(maps.Keys(t.RequestHeaders)) {
			fmt.Fprintf(a.stdout, "  > %s: %s\n", name, strings.Join(t.RequestHeaders[name], ", "))
		}
		for _, name := range slices.Sorted(maps.Keys(t.ResponseHeaders)) {
			fmt.Fprintf(a.stdout, "  < %s: %s\n", name, strings.Join(t.ResponseHeaders[name], ", "))
		}
		if t.ResponseBody != "" {
			cut := ""
			if t.ResponseCut {
				cut = " …"
			}
			fmt.Fprintf(a.stdout, "  < %s%s\n", strings.ReplaceAll(strings.TrimRight(t.ResponseBody, "\n"), "\n", "\n  < "), cut)
		}
	}
	return nil
}

func attemptResult(t attemptLine) string {
	out := string(t.Result)
	if t.Reason != "" {
		return out + ", " + t.Reason
	}
	if t.Status != 0 {
		return fmt.Sprintf("%s, status %d", out, t.Status)
	}
	return out
}

// oneArgument asks for exactly one argument, by what it is.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			return nil
		}
		return usagef(cmd.CommandPath()+" --help", "%s needs one argument: %s", cmd.CommandPath(), what)
	}
}
