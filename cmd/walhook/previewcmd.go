package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
)

// previewed is one request that a rule would send, as --json prints it.
type previewed struct {
	Rule        string              `json:"rule"`
	Endpoint    string              `json:"endpoint"`
	Event       string              `json:"event"`
	Op          string              `json:"op"`
	Model       string              `json:"model"`
	Record      string              `json:"record"`
	Matches     bool                `json:"matches"` // the condition holds for this record as it is now
	Method      string              `json:"method"`
	URL         string              `json:"url"`
	Headers     map[string][]string `json:"headers"`
	ContentType string              `json:"content_type,omitempty"`
	Bytes       int                 `json:"bytes"`
	Body        json.RawMessage     `json:"body,omitempty"` // JSON as it is, other bodies as a string
	Notes       []string            `json:"notes,omitempty"`

	raw []byte
}

func (a *app) rulesPreview() *cobra.Command {
	var flags recordFlags
	var asJSON, raw, all bool
	var endpoint string
	c := &cobra.Command{
		Use:   "preview RULE",
		Short: "Show the request that a rule would send for a real record",
		Long: `preview builds what the rule would send for a record as it is now, by the same code as run: body, headers and signature, as the
endpoint would get them. Nothing is sent, and nothing is written. Whether the rule's condition holds is said, and does not matter otherwise;
"walhook rules explain" tells why.

A rule that is on schedule is shown the record as a run would see it now, one on message the message that --message or
--message-file gives. A rule that is on create is shown a create. For one that is only on write, a write is imagined: say with --before or --set what it
changes. The walhook role must be allowed to read the rule's table, which run does not need. Credentials are masked.`,
		Example: "  walhook rules preview order_confirmed --id 42\n  walhook rules preview order_confirmed --last --all-endpoints\n" +
			"  walhook rules preview price_changed --id 7 --before '{\"list_price\": 10}'\n" +
			"  walhook rules preview stock_low --message '{\"event\": \"stock.low\", \"data\": {\"qty\": 3}}'\n  walhook rules preview order_confirmed --last --raw | jq .data.record",
		Args: oneArgument("the name of a rule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				list, err := w.preview(cmd.Context(), args[0], &flags)
				if err != nil {
					return err
				}
				split := w.cfg.ruleNamed(args[0]).Split != nil
				if list, err = choose(list, endpoint, all || (asJSON || split && !raw) && endpoint == "", split && !raw); err != nil {
					return err
				}
				switch {
				case raw:
					_, err = a.stdout.Write(list[0].raw)
					return err
				case asJSON:
					return a.printJSON(list)
				}
				return a.printPreviews(list)
			})
		},
	}
	flags.register(c)
	c.Flags().StringVar(&endpoint, "endpoint", "", "of the rule's endpoints, this one (default the first)")
	c.Flags().BoolVar(&all, "all-endpoints", false, "the requests to all of them")
	c.Flags().BoolVar(&raw, "raw", false, "print the body alone, byte for byte")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, for all endpoints")
	c.MarkFlagsMutuallyExclusive("raw", "json")
	c.MarkFlagsMutuallyExclusive("raw", "all-endpoints")
	c.MarkFlagsMutuallyExclusive("endpoint", "all-endpoints")
	return c
}

// choose takes one endpoint's request, or all. Of a rule that splits an endpoint can have several.
func choose(list []*previewed, endpoint string, all, several bool) ([]*previewed, error) {
	if all {
		return list, nil
	}
	var names []string
	var chosen []*previewed
	for _, p := range list {
		if endpoint == "" || p.Endpoint == endpoint {
			if chosen = append(chosen, p); !several {
				return chosen, nil
			}
		}
		if !slices.Contains(names, p.Endpoint) {
			names = append(names, p.Endpoint)
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	return nil, usagef("the rule sends it to "+strings.Join(names, ", "), "nothing would be sent to endpoint %q", endpoint)
}

// preview builds the requests of a rule for a record.
func (w *workbench) preview(ctx context.Context, name string, flags *recordFlags) ([]*previewed, error) {
	at, err := w.cfg.ruleIndex(name)
	if err != nil {
		return nil, err
	}
	set, err := w.compile([]int{at}, nil)
	if err != nil {
		return nil, err
	}
	r := set.Rules()[0]
	im, err := flags.imagine(ctx, w, r)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	real, err := w.plan(ctx, set, w.loader(set), w.tx(now, im.change))
	if err != nil {
		return nil, err
	}
	// What is shown does not depend on the condition, nor on what keeps a matching event from being sent.
	open, err := w.compile([]int{at}, func(c *rules.Config) {
		c.When, c.Sample, c.Messages, c.IgnoreUsers = "", nil, nil, nil
		if op := im.operation(); !r.Lists(im.change) && !slices.Contains(c.On, op) {
			c.On = append(slices.Clip(c.On), op)
		}
	})
	if err != nil {
		return nil, err
	}
	shown, err := w.plan(ctx, open, w.loader(open), w.tx(now, im.change))
	if err != nil {
		return nil, err
	}
	if len(shown.parked) > 0 {
		return nil, &failure{err: errors.New(shown.parked[0].Error), code: exitFailed, hint: "an event that fails like this is parked, see walhook deliveries list --state parked"}
	}
	if len(shown.deliveries) == 0 && r.Splits() && len(shown.matched) > 0 {
		return nil, &failure{err: fmt.Errorf("rule %q sends nothing for this %s: the record has no lines that split would send", name, im.change.Op), code: exitFailed,
			hint: "choose a record with lines by --id; or look at where and other of split"}
	}
	if len(shown.deliveries) == 0 {
		if why := unheard(r, im.change); why != "" {
			return nil, &failure{err: fmt.Errorf("rule %q sends nothing for this message", name), code: exitFailed, hint: why}
		}
		return nil, &failure{err: fmt.Errorf("rule %q sends nothing for this %s", name, im.change.Op), code: exitFailed,
			hint: "a write that changes no field that counts is not sent: say with --before or --set what it changes; walhook rules explain " + name + " tells more"}
	}
	notes := previewNotes(r, im, real)
	var list []*previewed
	for _, d := range shown.deliveries {
		p, err := w.request(d, r, im.change, notes)
		if err != nil {
			return nil, err
		}
		p.Matches = len(real.matched) > 0
		list = append(list, p)
	}
	return list, nil
}

// previewNotes says what is different when run does it.
func previewNotes(r *rules.Rule, im *imagined, real *planned) (notes []string) {
	if im.example != "" {
		notes = append(notes, fmt.Sprintf("the value of %s before the write is made up: give your own with --before or --set", im.example))
	}
	if im.note != "" {
		notes = append(notes, im.note)
	}
	switch {
	case unheard(r, im.change) != "":
		notes = append(notes, unheard(r, im.change))
	case !r.Lists(im.change):
		notes = append(notes, "the rule is not on "+im.operation())
	case len(real.parked) > 0:
		notes = append(notes, "the rule fails on it: "+real.parked[0].Error)
	case len(real.matched) == 0:
		notes = append(notes, fmt.Sprintf("for %s the condition does not hold: walhook rules explain %s tells why", happening(im.change), r.Name))
	case len(real.sampled) > 0:
		notes = append(notes, "the rule's sample leaves this record out")
	case real.onlyEchoes():
		notes = append(notes, leftOut(im.change)+": run does not send it")
	}
	if im.change.Op == cdc.Schedule {
		notes = append(notes, onceNote)
	}
	if !r.IsActive() {
		notes = append(notes, "the rule is not active")
	}
	if r.Handling.Test {
		notes = append(notes, "the rule is in test mode: its events are logged, and not sent")
	}
	if r.Handling.Wait > 0 {
		notes = append(notes, fmt.Sprintf("it waits %s for a later event of the same record", r.Handling.Wait))
	}
	return notes
}

// request builds what the endpoint would get.
func (w *workbench) request(d *delivery.Delivery, r *rules.Rule, c *cdc.Change, notes []string) (*previewed, error) {
	endpoint := w.cfg.Endpoints[d.Endpoint]
	req, err := delivery.PreviewOf(endpoint, currentBuild().Version, d)
	if err != nil {
		return nil, &failure{err: err, code: exitUsage}
	}
	p := &previewed{
		Rule: r.Name, Endpoint: d.Endpoint, Event: d.Event, Op: d.Op, Model: d.Model, Record: d.Record, Method: req.Method, URL: req.URL, Headers: req.Headers,
		ContentType: strings.Join(req.Headers["Content-Type"], ""), Bytes: len(req.Body), Body: asRaw(req.Body), Notes: slices.Clone(notes), raw: req.Body,
	}
	if req.Packed > 0 {
		p.Notes = append(p.Notes, fmt.Sprintf("the body is sent compressed, as %d bytes instead of %d, with Content-Encoding: gzip; signatures are over the compressed bytes", req.Packed, len(req.Body)))
	}
	if req.TooLarge != "" {
		p.Notes = append(p.Notes, req.TooLarge+": the delivery would be dead at once")
	}
	if !endpoint.IsActive() {
		p.Notes = append(p.Notes, fmt.Sprintf("endpoint %q is not active: the delivery would wait", d.Endpoint))
	}
	return p, nil
}

func (a *app) printPreviews(list []*previewed) error {
	t := a.terminal()
	for i, p := range list {
		var b strings.Builder
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s\n", t.paint(bold, fmt.Sprintf("%s of %s/%s to %s: %s", p.Op, p.Model, p.Record, p.Endpoint, p.Event)))
		for _, note := range p.Notes {
			fmt.Fprintf(&b, "%s %s\n", t.paint(yellow, "note:"), note)
		}
		fmt.Fprintf(&b, "\n%s %s\n", p.Method, p.URL)
		printHeaders(&b, "", p.Headers)
		fmt.Fprintf(&b, "\n%s\n", t.pretty(p.raw))
		if _, err := io.WriteString(a.stdout, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// jsonKey is a member's name at the beginning of a line of indented JSON.
var jsonKey = regexp.MustCompile(`(?m)^(\s*)("(?:[^"\\]|\\.)*")(:)`)

// pretty indents JSON, digits and order kept. Other texts stay as they are, without what could steer a terminal.
func (t *terminal) pretty(body []byte) string {
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") != nil {
		lines := strings.Split(string(body), "\n")
		for i := range lines {
			lines[i] = plainLine(lines[i])
		}
		return strings.Join(lines, "\n")
	}
	if !t.colours {
		return out.String()
	}
	return jsonKey.ReplaceAllString(out.String(), "$1\x1b["+string(cyan)+"m$2\x1b[0m$3")
}
