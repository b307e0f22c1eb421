package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/state"
	"walhook/status"
)

func (a *app) deliveriesShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show a delivery with its body and every attempt",
		Example: "  walhook deliveries show msg_0123456789abcdef0123456789abcdef\n  walhook deliveries show msg_… --json | jq .body",
		Args:    oneArgument("the id of a delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withState(cmd.Context(), func(cfg *Config, db *state.DB) error {
				detail, err := cfg.desk(db).Delivery(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(detail)
				}
				return a.printDetail(detail, cfg.masks(detail.Rule))
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

// bodyText shows a body of asRaw to people: JSON indented, other texts as they are. Lines but the first have a prefix.
func bodyText(body json.RawMessage, prefix string) (string, error) {
	var text string
	if json.Unmarshal(body, &text) == nil {
		return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+prefix), nil
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, body, prefix, "  "); err != nil {
		return "", fmt.Errorf("print body: %w", err)
	}
	return pretty.String(), nil
}

func headerLists(headers map[string]string) map[string][]string {
	lists := make(map[string][]string, len(headers))
	for name, value := range headers {
		lists[name] = []string{value}
	}
	return lists
}

func (a *app) printDetail(d *status.DeliveryDetail, masks func(rel *cdc.Relation, column string) bool) error {
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
	if d.Op == "test" {
		what += ", sent by walhook endpoints send-test"
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
	row("format", d.Format)
	if d.Op == "test" { // it stands for no change of any record
		row("sent", since(now, d.Committed))
	} else {
		row("record", d.Model+"/"+d.Record)
		row("committed", since(now, d.Committed)+fmt.Sprintf(", transaction %d at %s", d.XID, d.LSN))
		row("queued", since(now, d.Queued))
	}
	if !d.Due.IsZero() {
		row("due", d.Due.Format("2006-01-02 15:04:05")+" UTC")
	}
	row("reason", d.Reason)
	if err := table.Flush(); err != nil {
		return err
	}
	if len(d.Body) > 0 {
		text, err := bodyText(d.Body, "  ")
		if err != nil {
			return err
		}
		if len(d.Headers) > 0 {
			fmt.Fprintln(a.stdout, "\nheaders")
			printHeaders(a.stdout, "  ", headerLists(d.Headers))
		}
		fmt.Fprintf(a.stdout, "\nbody\n  %s\n", text)
	}
	if len(d.Change) > 0 {
		change, err := cdc.DecodeChange(d.Change)
		if err != nil {
			return fmt.Errorf("print change: %w", err)
		}
		fmt.Fprintf(a.stdout, "\n%s of %s\n  %s\n", change.Op, change.Rel, changeText(change, masks))
	}
	for _, t := range d.Attempts {
		result := fmt.Sprintf("%s %s", t.Method, t.URL)
		fmt.Fprintf(a.stdout, "\nattempt %d, %s, %.0f ms: %s\n  %s\n", t.Number, t.At.Format("2006-01-02 15:04:05")+" UTC", t.Milliseconds, attemptResult(t), result)
		if t.Batch != "" {
			fmt.Fprintf(a.stdout, "  number %d of %d in batch %s\n", t.BatchPosition, t.BatchSize, t.Batch)
		}
		printHeaders(a.stdout, "  > ", t.RequestHeaders)
		printHeaders(a.stdout, "  < ", t.ResponseHeaders)
		printAnswer(a.stdout, "  < ", &t)
	}
	return nil
}

// printHeaders writes headers in the order of their names, each line after a prefix.
func printHeaders(w io.Writer, prefix string, headers map[string][]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		fmt.Fprintf(w, "%s%s: %s\n", prefix, name, strings.Join(headers[name], ", "))
	}
}

// printAnswer writes the body of an answer, as far as it is kept.
func printAnswer(w io.Writer, prefix string, t *status.AttemptLine) {
	if t.ResponseBody == "" {
		return
	}
	cut := ""
	if t.ResponseCut {
		cut = " …"
	}
	fmt.Fprintf(w, "%s%s%s\n", prefix, strings.ReplaceAll(strings.TrimRight(t.ResponseBody, "\n"), "\n", "\n"+prefix), cut)
}

func attemptResult(t status.AttemptLine) string {
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
