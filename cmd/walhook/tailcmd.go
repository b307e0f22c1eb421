package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// tailFlags say what a tail shows.
type tailFlags struct {
	rule, when string
	models     []string
	eachWrite  bool
	all        bool
	limit      int
	period     time.Duration
	asJSON     bool
}

func (a *app) tailCommand() *cobra.Command {
	var f tailFlags
	c := &cobra.Command{
		Use:   "tail",
		Short: "Show live changes as they are committed, and try expressions on them",
		Long: `tail prints what is committed: each transaction with its records, and of each write the fields that changed, before and
after. It shows the tables of the publication, or those of --model. --rule shows what a rule of the configuration matches, --when what
an expression holds for. Writes that change nothing that counts are left out, unless --all is given; columns with secrets always.

It reads through a temporary replication slot of its own, from now on: what walhook run reads is not touched, nothing is sent or written, and
the slot goes with the session. A tail whose output stands still keeps no WAL: it drops what it cannot show and says how much; when
the process itself is stopped, the server ends its session, and with it the slot, after a minute.

Only published tables can be seen: add others with a rule and walhook setup.`,
		Example: "  walhook tail\n  walhook tail --model sale.order --model sale.order.line\n  walhook tail --model sale.order --when 'became(\"state\", \"sale\")'\n" +
			"  walhook tail --rule order_confirmed --json | jq .changes",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				t, err := w.newTail(cmd.Context(), a, &f)
				if err != nil {
					return err
				}
				ctx := cmd.Context()
				if f.period > 0 {
					limited, cancel := context.WithTimeout(ctx, f.period)
					defer cancel()
					ctx = limited
				}
				return t.run(ctx)
			})
		},
	}
	c.Flags().StringVar(&f.rule, "rule", "", "show what this rule matches")
	c.Flags().StringVar(&f.when, "when", "", "show what this condition holds for; with --rule in place of the rule's own")
	c.Flags().StringArrayVar(&f.models, "model", nil, "show changes of this model or table; may be given several times")
	c.Flags().BoolVar(&f.eachWrite, "each-write", false, "show every single write of a row instead of the net change")
	c.Flags().BoolVar(&f.all, "all", false, "show writes that change nothing that counts, too")
	c.Flags().IntVar(&f.limit, "limit", 0, "end after so many changes")
	c.Flags().DurationVar(&f.period, "for", 0, "end after this time, 30s or 5m")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON, one change in a line")
	c.MarkFlagsMutuallyExclusive("rule", "model")
	return c
}

// tailing shows changes.
type tailing struct {
	*workbench
	*viewer
	app     *app
	out     *terminal
	flags   *tailFlags
	tables  []*catalog.Table // to look at
	set     *rules.Set       // that changes must match; nil for all
	matcher *rules.Matcher
	shown   int
	noted   map[string]bool // tables of which it was said that they have no values before
}

// newTail works out what to look at.
func (w *workbench) newTail(ctx context.Context, a *app, f *tailFlags) (*tailing, error) {
	if f.limit < 0 || f.period < 0 {
		return nil, usagef("", "--limit and --for must not be negative")
	}
	t := &tailing{workbench: w, app: a, out: a.terminal(), flags: f, viewer: &viewer{catalog: w.catalog, lang: "en_US", images: w.imaged()}, noted: map[string]bool{}}
	published, err := cdc.Published(ctx, w.conn, w.cfg.Source.Publication)
	if err != nil {
		return nil, environmentError(err, "")
	}
	if t.logins, err = w.catalog.Logins(ctx, w.conn); err != nil {
		return nil, environmentError(err, "")
	}
	if err := t.compile(); err != nil {
		return nil, err
	}
	if t.set == nil && len(f.models) == 0 {
		for _, name := range published {
			if table := w.catalog.Table(name[0], name[1]); table != nil {
				t.tables = append(t.tables, table)
			}
		}
	}
	for _, table := range t.tables {
		if !slices.Contains(published, [2]string{table.Schema, table.Name}) {
			return nil, environmentError(fmt.Errorf("table %s is not in publication %q, so nothing of it is streamed", table, w.cfg.Source.Publication),
				fmt.Sprintf("add a rule on it and run walhook setup; or as the owner of both, until walhook setup takes it out again: ALTER PUBLICATION %s ADD TABLE ONLY %s.%s",
					quoteName(w.cfg.Source.Publication), quoteName(table.Schema), quoteName(table.Name)))
		}
	}
	if len(t.tables) == 0 {
		return nil, environmentError(fmt.Errorf("publication %q has no tables", w.cfg.Source.Publication), "run `walhook setup`")
	}
	return t, nil
}

// compile finds the tables, and compiles the condition.
func (t *tailing) compile() error {
	f := t.flags
	if f.rule != "" {
		return t.compileRule()
	}
	for _, name := range f.models {
		table, err := t.table(name)
		if err != nil {
			return err
		}
		if !slices.Contains(t.tables, table) {
			t.tables = append(t.tables, table)
		}
	}
	if f.when == "" {
		return nil
	}
	if len(t.tables) == 0 {
		return usagef("walhook tail --model sale.order --when …", "--when needs --model or --rule: fields are those of a model")
	}
	var configs []rules.Config
	for i, table := range t.tables {
		c := rules.Config{Name: f.models[i], On: []string{"create", "write", "unlink"}, When: f.when, Endpoint: "none", EachWrite: f.eachWrite}
		if m := t.workbench.catalog.ModelOf(table); m != nil {
			c.Model = m.Name
		} else {
			c.Table = table.Schema + "." + table.Name
		}
		configs = append(configs, c)
	}
	set, err := t.compileConfigs(configs)
	if err != nil {
		return whenProblems(err)
	}
	t.set, t.matcher = set, set.NewMatcher()
	return nil
}

// compileRule takes a rule of the configuration.
func (t *tailing) compileRule() error {
	at, err := t.cfg.ruleIndex(t.flags.rule)
	if err != nil {
		return err
	}
	edit := func(c *rules.Config) {
		c.Sample = nil
		if t.flags.eachWrite {
			c.EachWrite, c.Ignore = true, nil
		}
		if t.flags.when != "" {
			c.When = t.flags.when
		}
	}
	if t.flags.when != "" { // its mistakes are on the command line
		c := t.cfg.Rules[at]
		c.Active = nil
		edit(&c)
		t.set, err = t.compileConfigs([]rules.Config{c})
		err = whenProblems(err)
	} else {
		t.set, err = t.workbench.compile([]int{at}, edit)
	}
	if err != nil {
		return err
	}
	t.matcher = t.set.NewMatcher()
	t.tables = append(t.tables, t.set.Rules()[0].Table)
	return nil
}

// table finds a model's table, or a table.
func (t *tailing) table(name string) (*catalog.Table, error) {
	cat := t.workbench.catalog
	if m := cat.Model(name); m != nil {
		return m.Table, nil
	}
	schema, table, ok := strings.Cut(name, ".")
	if !ok {
		schema, table = "public", name
	}
	if found := cat.Table(schema, table); found != nil {
		return found, nil
	}
	var names []string
	for _, m := range cat.Models {
		names = append(names, m.Name)
	}
	for _, o := range cat.Tables {
		names = append(names, o.Name)
	}
	hint := ""
	if s := nearest(name, names); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return nil, usagef(hint, "there is no model or table %q", name)
}

// whenProblems shows mistakes in an expression of the command line with a caret.
func whenProblems(err error) error {
	var all []error
	for _, e := range flatten(err) {
		var p *rules.Problem
		if errors.As(e, &p) {
			text := "--when: " + p.Message
			if s := p.Snippet(); s != "" {
				text += "\n    " + strings.ReplaceAll(s, "\n", "\n    ")
			}
			e = usagef(p.Suggest, "%s", text)
		}
		all = append(all, e)
	}
	return errors.Join(all...)
}

// wants chooses tables for the decoder.
func (t *tailing) wants(schema, table string) (net, raw bool) {
	for _, o := range t.tables {
		if o.Schema == schema && o.Name == table {
			return !t.flags.eachWrite, t.flags.eachWrite
		}
	}
	return false, false
}

// errEnough ends a tail at its limit.
var errEnough = errors.New("enough")

func (t *tailing) run(ctx context.Context) error {
	note := func(format string, args ...any) {
		if _, err := fmt.Fprintf(t.app.stderr, format+"\n", args...); err != nil {
			return // nobody reads what is said aside
		}
	}
	err := cdc.Tail(ctx, cdc.TailConfig{
		DSN: t.cfg.Source.DSN.reveal(), Publication: t.cfg.Source.Publication, Want: t.wants, Limits: t.cfg.source().Limits,
		Waiting: func() { note("waiting for transactions that run, before a temporary slot can begin") },
		Started: func(start cdc.LSN) {
			note("watching %s from %s on; stop with Ctrl-C", plural(len(t.tables), "table"), start)
		},
	}, func(tx *cdc.Tx, dropped int) error {
		if dropped > 0 {
			note("%s left out: the output stood still", plural(dropped, "transaction"))
		}
		return t.transaction(ctx, tx)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return environmentError(err, "")
}

// transaction prints what is to be seen of a transaction.
func (t *tailing) transaction(ctx context.Context, tx *cdc.Tx) error {
	var b strings.Builder
	lines := json.NewEncoder(&b)
	lines.SetEscapeHTML(false)
	related := &lazyRows{ctx: ctx}
	if t.set != nil {
		related.loader = t.loader(t.set)
	}
	first := true
	flush := func() error {
		_, err := io.WriteString(t.app.stdout, b.String())
		b.Reset()
		return err
	}
	for c, err := range tx.Changes() {
		if err != nil {
			return err
		}
		v := t.change(tx, c, related)
		if v == nil {
			continue
		}
		if t.flags.asJSON {
			if err := lines.Encode(v); err != nil {
				return fmt.Errorf("write JSON: %w", err)
			}
		} else {
			if first {
				fmt.Fprintf(&b, "%s\n", t.out.paint(dim, t.heading(tx, v)))
			}
			t.out.change(&b, v)
		}
		first = false
		t.shown++
		if t.flags.limit > 0 && t.shown >= t.flags.limit {
			return errors.Join(flush(), errEnough)
		}
		if b.Len() > 64<<10 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

func (t *tailing) heading(tx *cdc.Tx, v *changeView) string {
	text := fmt.Sprintf("%s  transaction %d", tx.CommitTime.Local().Format("15:04:05.000"), tx.XID)
	switch {
	case v.User != "":
		text += " by " + plainLine(v.User)
	case v.UserID != 0:
		text += fmt.Sprintf(" by user %d", v.UserID)
	}
	return text
}

// change is what is shown of a change; nil for nothing.
func (t *tailing) change(tx *cdc.Tx, c *cdc.Change, related *lazyRows) *changeView {
	v := t.view(tx, c)
	if t.set == nil {
		if v.silent && !t.flags.all {
			return nil
		}
	} else if !t.match(tx, c, related, v) {
		return nil
	}
	if v.Note != "" && !t.flags.asJSON { // once for each table
		if t.noted[v.Table] {
			v.Note = ""
		}
		t.noted[v.Table] = true
	}
	return v
}

// match says whether a change matches what was asked for.
func (t *tailing) match(tx *cdc.Tx, c *cdc.Change, related *lazyRows, v *changeView) bool {
	info := rules.TxInfo{XID: tx.XID, LSN: tx.CommitLSN, Time: tx.CommitTime, Related: related}
	matches := t.matcher.Match(nil, info, c)
	for _, m := range matches {
		var missing *rules.MissingError
		switch {
		case m.Echo:
			v.Ignored = append(v.Ignored, m.Rule.Name)
		case m.Err == nil && t.flags.rule != "":
			v.Rules = append(v.Rules, m.Rule.Name)
		case errors.As(m.Err, &missing) && errors.Is(m.Err, rules.ErrNoOldRow):
			v.Error = "cannot tell: " + missing.Error()
		case m.Err != nil:
			v.Error = "the condition fails: " + reasonOf(m.Err)
		}
	}
	return len(matches) > 0
}
