package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/rules"
	"walhook/state"
)

// explanation is why a rule matches a change or not, as --json prints it.
type explanation struct {
	Rule      string        `json:"rule"`
	Model     string        `json:"model"`
	Record    string        `json:"record"`
	Op        string        `json:"op"`
	Matches   bool          `json:"matches"`
	Sent      bool          `json:"sent"`    // a request to an endpoint would follow
	Verdict   string        `json:"verdict"` // in a sentence
	Steps     []explainStep `json:"steps"`   // what was looked at, in this order
	Condition *explainPart  `json:"condition,omitempty"`
	Notes     []string      `json:"notes,omitempty"`
}

// explainStep is one thing that decides.
type explainStep struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

// explainPart is a piece of the condition.
type explainPart struct {
	Text   string         `json:"text"`
	Offset int            `json:"offset"`
	Value  any            `json:"value"`
	Error  string         `json:"error,omitempty"`
	Needed bool           `json:"needed"` // false: the rest had decided already
	Parts  []*explainPart `json:"parts,omitempty"`
}

func (a *app) rulesExplain() *cobra.Command {
	var flags recordFlags
	var asJSON bool
	var parked string
	c := &cobra.Command{
		Use:   "explain RULE",
		Short: "Tell why a rule matches a record's change, or why it does not",
		Long: `explain takes a record as it is now, imagines that it was just created (or written, with --before or --set; or unlinked, with
--op unlink), and shows what the rule makes of it: whether it is on this operation, which changed fields count, and every piece of
its condition with the value that it had. For a rule on schedule it is the record as a run would see it now; for one on message, the
message that --message or --message-file gives. --parked takes the change of a parked event instead, as it was. Nothing is sent or written.

The walhook role must be allowed to read the rule's table, which run does not need.`,
		Example: "  walhook rules explain order_confirmed --id 42 --before '{\"state\": \"draft\"}'\n  walhook rules explain order_confirmed --last --set state=cancel\n" +
			"  walhook rules explain order_confirmed --parked evt_0123456789abcdef0123456789abcdef",
		Args: oneArgument("the name of a rule"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				e, err := w.explain(cmd.Context(), args[0], &flags, parked)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(e)
				}
				return a.terminal().explanation(e)
			})
		},
	}
	flags.register(c)
	c.Flags().StringVar(&parked, "parked", "", "the id of a parked event: explain its change")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("parked", "id")
	c.MarkFlagsMutuallyExclusive("parked", "last")
	c.MarkFlagsMutuallyExclusive("parked", "message")
	c.MarkFlagsMutuallyExclusive("parked", "message-file")
	return c
}

// explain compiles the rule with its pieces, and evaluates them.
func (w *workbench) explain(ctx context.Context, name string, flags *recordFlags, parked string) (*explanation, error) {
	at, err := w.cfg.ruleIndex(name)
	if err != nil {
		return nil, err
	}
	set, err := w.compile([]int{at}, func(c *rules.Config) { c.Traced = true })
	if err != nil {
		return nil, err
	}
	r := set.Rules()[0]
	var tx *cdc.Tx
	im := &imagined{}
	if parked != "" {
		if tx, im.change, err = w.parkedChange(ctx, parked, r); err != nil {
			return nil, err
		}
	} else {
		if im, err = flags.imagine(ctx, w, r); err != nil {
			return nil, err
		}
		tx = w.tx(time.Now().UTC(), im.change)
	}
	real, err := w.plan(ctx, set, w.loader(set), tx)
	if err != nil {
		return nil, err
	}
	e := (&explainer{w, w.loader(set)}).reasons(ctx, set, r, tx, im.change, real)
	e.Notes = w.exampleNotes(r, im)
	return e, nil
}

// exampleNotes says what was made up.
func (w *workbench) exampleNotes(r *rules.Rule, im *imagined) (notes []string) {
	if im.example != "" {
		notes = append(notes, fmt.Sprintf("a write is imagined that has just set %s: say with --before or --set what it changes", im.example))
	}
	if im.note != "" {
		notes = append(notes, im.note)
	}
	if im.change.Op == cdc.Schedule {
		notes = append(notes, onceNote)
	}
	if at, err := w.cfg.ruleIndex(r.Name); err == nil {
		if active := w.cfg.Rules[at].Active; active != nil && !*active {
			notes = append(notes, "the rule is not active: run does not look at it")
		}
	}
	return notes
}

// parkedChange reads the change of a parked event.
func (w *workbench) parkedChange(ctx context.Context, id string, r *rules.Rule) (*cdc.Tx, *cdc.Change, error) {
	db, err := state.Open(ctx, w.cfg.state(currentBuild().Version))
	if err != nil {
		return nil, nil, environmentError(err, "")
	}
	defer closeState(db)
	list, err := db.ListParked(ctx, state.Filter{IDs: []string{id}, Limit: 1})
	if err != nil {
		return nil, nil, environmentError(err, "")
	}
	if len(list) == 0 {
		return nil, nil, &failure{err: fmt.Errorf("there is no parked event %s", id), code: exitFailed, hint: "walhook deliveries list --state parked"}
	}
	c, err := cdc.DecodeChange(list[0].Change)
	if err != nil {
		return nil, nil, err
	}
	if c.Rel.Schema != r.Table.Schema || c.Rel.Name != r.Table.Name {
		return nil, nil, usagef("name the rule "+list[0].Rule, "event %s is a change of %s, and rule %q is on %s", id, c.Rel, r.Name, r.Table)
	}
	p := &list[0]
	return cdc.NewTx(p.XID, p.CommitLSN, p.CommitLSN, p.CommitAt, []*cdc.Change{c}), c, nil
}

// explainer finds out why.
type explainer struct {
	*workbench
	loader delivery.Loader
}

// reasons puts together what decides, in the order in which the matcher looks at it.
func (x *explainer) reasons(ctx context.Context, set *rules.Set, r *rules.Rule, tx *cdc.Tx, c *cdc.Change, real *planned) *explanation {
	e := &explanation{Rule: r.Name, Model: r.Model, Record: c.Key, Op: r.Op(c), Matches: len(real.matched) > 0}
	step := func(name string, ok bool, format string, args ...any) bool {
		e.Steps = append(e.Steps, explainStep{name, ok, fmt.Sprintf(format, args...)})
		return ok
	}
	why := ""
	blame := func(text string) {
		if why == "" {
			why = text
		}
	}
	listed := r.Lists(c) || unheard(r, c) != ""
	step("operation", listed, "the rule is on %s, this is %s", strings.Join(r.On, ", "), an(e.Op))
	switch turns := len(turnsOf(r)) > 0 && c.Op == cdc.Write; {
	case !listed && turns:
		step("archive", false, "%s", turned(r, c))
		blame(turned(r, c))
	case !listed:
		blame("it is not on " + e.Op)
	case turns && e.Op != c.Op.String():
		step(e.Op, true, "%s", turned(r, c))
	}
	if why := unheard(r, c); why != "" {
		step("message", false, "%s", why)
		blame(why)
	}
	m := set.NewMatcher()
	info := rules.TxInfo{XID: tx.XID, LSN: tx.CommitLSN, Time: tx.CommitTime, Related: &lazyRows{ctx: ctx, loader: x.loader}}
	if c.Op == cdc.Write && !c.Raw {
		switch columns, known := m.Differing(r, info, c); {
		case !known:
			step("changes", false, "the old row is not in WAL, so that a write that changes nothing cannot be told apart")
			blame("the old row is not known")
		case len(columns) == 0:
			step("changes", false, "no field that counts has changed (write_date, write_uid, secrets%s do not)", andIgnored(r))
			blame("the write changes nothing that counts")
		default:
			step("changes", true, "%s", shortList(columns, 8))
		}
	}
	if part := m.Explain(r, info, c); part != nil {
		e.Condition = partOf(part)
		held := part.Err == nil && part.Value == true
		text := "it holds"
		if !held {
			text = "it does not hold"
		}
		if part.Err != nil {
			text = "it fails: " + reasonOf(part.Err)
		}
		if !step("condition", held, "%s", text) {
			blame(blameOf(part))
		}
	} else if strings.TrimSpace(r.When) == "" {
		step("condition", true, "there is none: every %s that gets here matches", c.Op)
	}
	e.outcome(x.workbench, r, c, real, why)
	return e
}

// outcome says what follows.
func (e *explanation) outcome(w *workbench, r *rules.Rule, c *cdc.Change, real *planned, why string) {
	switch {
	case len(real.parked) > 0:
		e.Verdict = "the event would be parked: " + real.parked[0].Error
	case !e.Matches && why == "":
		e.Verdict = "does not match: something that the rule or its endpoint says besides the condition leaves this change out"
	case !e.Matches:
		e.Verdict = "does not match: " + why
	case real.onlyEchoes():
		e.Verdict = "matches, and is not sent: " + leftOut(c)
	case len(real.sampled) > 0:
		e.Verdict = fmt.Sprintf("matches, and is not sent: sample = %g leaves this record out", r.Handling.Sample)
	case r.Splits() && len(real.deliveries) == 0:
		e.Verdict = "matches, and is not sent: the record has no lines that split would send"
	case r.Handling.Test:
		e.Verdict = "matches, and is not sent: the rule is in test mode, its events are only logged"
	case len(real.deliveries) == 0:
		e.Verdict = "matches, and is not sent: the rule holds it back or drops it during a module upgrade"
	default:
		var to []string
		for _, d := range real.deliveries {
			name := d.Endpoint
			if c := w.cfg.Endpoints[name]; !c.IsActive() {
				name += " (not active: it waits)"
			}
			if !slices.Contains(to, name) {
				to = append(to, name)
			}
		}
		e.Sent = len(real.deliveries) > 0
		e.Verdict = "matches, and goes to " + strings.Join(to, ", ")
		if r.Handling.Wait > 0 {
			e.Verdict += fmt.Sprintf(", once no further event of the record has come for %s", r.Handling.Wait)
		}
	}
}

func andIgnored(r *rules.Rule) string {
	if len(r.Ignore) == 0 {
		return ""
	}
	return " and what the rule ignores: " + strings.Join(r.Ignore, ", ")
}

// shortList names the first n of a list.
func shortList(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// blameOf finds the smallest piece that made the condition false: of a chain of && the one that did not hold.
func blameOf(p *rules.Part) string {
	for _, sub := range p.Parts {
		if sub.Needed && (sub.Err != nil || sub.Value == false) && p.Value != true && !strings.HasPrefix(p.Text, "!") && !strings.HasPrefix(p.Text, "not ") {
			return blameOf(&sub)
		}
	}
	if p.Err != nil {
		return fmt.Sprintf("%s fails: %s", p.Text, reasonOf(p.Err))
	}
	return p.Text + " is " + valueShown(p.Value)
}

// reasonOf is an error without the rule's name, which is known here.
func reasonOf(err error) string {
	var eval *rules.EvalError
	if errors.As(err, &eval) {
		return eval.Err.Error()
	}
	return err.Error()
}

func partOf(p *rules.Part) *explainPart {
	out := &explainPart{Text: p.Text, Offset: p.Offset, Value: jsonValue(p.Value), Needed: p.Needed}
	if p.Err != nil {
		out.Error = reasonOf(p.Err)
	}
	for i := range p.Parts {
		out.Parts = append(out.Parts, partOf(&p.Parts[i]))
	}
	return out
}

// lazyRows fetches related rows when a piece of a condition asks for them.
type lazyRows struct {
	ctx    context.Context
	loader delivery.Loader
	known  map[rules.Ref][]cdc.Row
}

// Rows implements [rules.Related]. Rows that cannot be fetched are not there: the piece that needs them says so.
func (l *lazyRows) Rows(link *rules.Link, id int64) ([]cdc.Row, bool) {
	ref := rules.Ref{Link: link, ID: id}
	if rows, ok := l.known[ref]; ok {
		return rows, true
	}
	var rows []cdc.Row
	err := l.loader.Load(l.ctx, link, []int64{id}, func(_ int64, found []cdc.Row) error {
		rows = append(rows, found...)
		return nil
	})
	if err != nil {
		return nil, false
	}
	if l.known == nil {
		l.known = map[rules.Ref][]cdc.Row{}
	}
	l.known[ref] = rows
	return rows, true
}
