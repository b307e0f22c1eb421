package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/rules"
)

// workbench is what the commands for people who write rules work with: the live schema, and rows of the source as they are now. It reads with
// walhook's own login, sends nothing and writes nothing.
type workbench struct {
	cfg      *Config
	catalog  *catalog.Catalog
	identity delivery.Identity
	conn     *pgx.Conn
	live     *cdc.Live
	end      cdc.LSN // end of WAL: what made-up transactions say that they were committed at
}

// withWorkbench opens the source for a command.
func (a *app) withWorkbench(ctx context.Context, do func(*workbench) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	w := &workbench{cfg: cfg}
	conn, err := connect(ctx, "source.dsn", cfg.Source.DSN.reveal())
	if err != nil {
		return err
	}
	defer closeConn(conn)
	w.conn = conn
	if w.catalog, err = cfg.loadCatalog(ctx, conn); err != nil {
		return environmentError(err, "")
	}
	if w.catalog, err = w.catalog.WithUsers(ctx, conn, rules.Logins(cfg.Rules)); err != nil {
		return environmentError(err, "")
	}
	if w.end, err = cdc.EndOfWAL(ctx, conn); err != nil {
		return environmentError(err, "")
	}
	id, err := cdc.ReadIdentity(ctx, conn, "")
	if err != nil {
		return environmentError(err, "")
	}
	w.identity = delivery.Identity{SystemID: id.SystemID, DatabaseOID: id.DatabaseOID}
	if w.live, err = cdc.NewLive(cfg.Source.DSN.reveal(), "command", nil); err != nil {
		return environmentError(err, "")
	}
	defer w.live.Close()
	return do(w)
}

// loader fetches related rows as run does.
func (w *workbench) loader(set *rules.Set) delivery.Loader { return newRelatedRows(w.live, set) }

// ruleIndex finds a rule by its name.
func (c *Config) ruleIndex(name string) (int, error) {
	var names []string
	for i, r := range c.Rules {
		if r.Name == name {
			return i, nil
		}
		names = append(names, r.Name)
	}
	hint := "walhook rules list names them all"
	if s := nearest(name, names); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return 0, usagef(hint, "there is no rule %q in the configuration", name)
}

// compile compiles rules of the configuration, by their place in it, each as edit leaves it. Other rules, and their mistakes, do not matter. Inactive rules
// are taken for active: who asks about one wants to know what it would do.
func (w *workbench) compile(places []int, edit func(*rules.Config)) (*rules.Set, error) {
	configs := make([]rules.Config, len(places))
	for i, at := range places {
		configs[i] = w.cfg.Rules[at]
		configs[i].Active = nil
		if edit != nil {
			edit(&configs[i])
		}
	}
	set, err := w.compileConfigs(configs)
	if err == nil {
		return set, nil
	}
	for _, e := range flatten(err) {
		var p *rules.Problem
		if errors.As(e, &p) && p.Rule < len(places) {
			p.Rule = places[p.Rule]
		}
	}
	return nil, w.cfg.ruleProblems(err)
}

// imaged are the tables that images are kept of, as schema.table. Mistakes in [images] are for check to tell.
func (w *workbench) imaged() map[string]bool {
	tables, _ := w.cfg.imageTables(w.catalog)
	all := map[string]bool{}
	for _, t := range tables {
		all[t.String()] = true
	}
	return all
}

// compileConfigs compiles rules that need not be in the configuration.
func (w *workbench) compileConfigs(configs []rules.Config) (*rules.Set, error) {
	return w.cfg.settings().Compile(configs, w.catalog)
}

// tx is a made-up transaction.
func (w *workbench) tx(at time.Time, changes ...*cdc.Change) *cdc.Tx {
	return cdc.NewTx(0, w.end, w.end, at, changes)
}

// planned is what follows from a made-up transaction.
type planned struct {
	deliveries       []*delivery.Delivery
	parked           []*delivery.Parked
	matched, sampled []string
	ignored          []string // of matched, those that ignore_users leaves out
}

// plan asks the planner, as run does.
func (w *workbench) plan(ctx context.Context, set *rules.Set, loader delivery.Loader, tx *cdc.Tx) (*planned, error) {
	return w.planFor(ctx, set, w.cfg.Endpoints, loader, tx)
}

// planFor is plan for other endpoints.
func (w *workbench) planFor(ctx context.Context, set *rules.Set, endpoints map[string]delivery.EndpointConfig, loader delivery.Loader, tx *cdc.Tx) (*planned, error) {
	planner := delivery.NewPlanner(w.identity, set, endpoints, loader)
	if err := planner.Prepare(ctx, []*cdc.Tx{tx}); err != nil {
		return nil, environmentError(err, "")
	}
	out := &planned{}
	for step, err := range planner.Plan(ctx, tx, 0) {
		if err != nil {
			return nil, environmentError(err, "")
		}
		out.deliveries = append(out.deliveries, step.Deliveries...)
		out.parked = append(out.parked, step.Parked...)
		out.matched = append(out.matched, step.Matched...)
		out.sampled = append(out.sampled, step.Sampled...)
		out.ignored = append(out.ignored, step.Ignored...)
	}
	return out, nil
}

// recordFlags choose a record, and the write that is imagined.
type recordFlags struct {
	id     string
	last   bool
	op     string
	before string
	set    []string

	message, messageFile string
}

func (f *recordFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.id, "id", "", "the record's id, or the primary key of a row; the parts of a composite one joined by commas")
	c.Flags().BoolVar(&f.last, "last", false, "the newest record")
	c.Flags().StringVar(&f.op, "op", "", "imagine a create, write, archive, unarchive or unlink (default the first of these that the rule is on)")
	c.Flags().StringVar(&f.before, "before", "", `imagine a write: JSON of fields as they were before, '{"state": "draft"}'`)
	c.Flags().StringArrayVar(&f.set, "set", nil, "imagine a write: --set field=value, as it would be after; may be given several times")
	c.Flags().StringVar(&f.message, "message", "", `of a rule on message: what is sent, '{"event": "stock.low", "data": {"qty": 3}}'`)
	c.Flags().StringVar(&f.messageFile, "message-file", "", "the same, from a file")
	c.MarkFlagsMutuallyExclusive("message", "message-file")
	for _, other := range []string{"id", "last", "op", "before", "set"} {
		c.MarkFlagsMutuallyExclusive("message", other)
		c.MarkFlagsMutuallyExclusive("message-file", other)
	}
}

// imagined is a change that is made up from a record as it is now.
type imagined struct {
	change  *cdc.Change
	example string // the column of which the value before is made up too; "" when it was given or none is needed
	turn    string // archive or unarchive, if it is imagined
	note    string // what else is made up
}

// imagine makes up the change of a rule's record.
func (f *recordFlags) imagine(ctx context.Context, w *workbench, r *rules.Rule) (*imagined, error) {
	if hears := slices.Contains(r.Ops(), cdc.Message); hears || f.message != "" || f.messageFile != "" {
		return f.imagineMessage(r, hears)
	}
	if f.last == (f.id != "") {
		return nil, usagef("walhook rules preview RULE --id 42, or --last", "name the record with --id, or take the newest with --last")
	}
	op, toTurn, err := f.operation(r)
	if err != nil {
		return nil, err
	}
	row, key, err := w.live.Current(ctx, r.Table.Schema, r.Table.Name, f.id)
	if errors.Is(err, cdc.ErrNoRow) {
		if f.last {
			return nil, &failure{err: fmt.Errorf("%s has no records", r.Model), code: exitFailed}
		}
		return nil, &failure{err: fmt.Errorf("there is no %s with the id %s", r.Model, f.id), code: exitFailed, hint: "--last takes the newest"}
	}
	if errors.Is(err, cdc.ErrBadKey) {
		return nil, usagef("--id takes the primary key of "+r.Table.Name, "%v", err)
	}
	if err != nil {
		return nil, environmentError(err, "")
	}
	draft := newRowDraft(r, row)
	c := &cdc.Change{Op: op, Rel: row.Relation(), Key: key, Writes: 1}
	out := &imagined{change: c}
	switch op {
	case cdc.Create:
		c.After = row
	case cdc.Unlink:
		c.Before = row
	case cdc.Schedule:
		for _, text := range f.set {
			if err := draft.setText("--set", text); err != nil {
				return nil, err
			}
		}
		c.After = draft.row()
	default:
		before, after := draft, draft.clone()
		if len(r.IgnoreUsers) > 0 {
			before.writeAnew()
		}
		if err := before.setJSON("--before", f.before); err != nil {
			return nil, err
		}
		for _, text := range f.set {
			if err := after.setText("--set", text); err != nil {
				return nil, err
			}
		}
		switch {
		case toTurn != "":
			if out.turn = toTurn; f.op == "" {
				out.turn = turnOf(r, after)
			}
			if out.note, err = turn(r, out.turn, before, after); err != nil {
				return nil, err
			}
		case f.before == "" && len(f.set) == 0:
			out.example = before.differ()
		}
		c.Before, c.After = before.row(), after.row()
	}
	c.Raw = r.EachWrite
	return out, nil
}

// operation is which one to imagine. turn is archive or unarchive where it is to be such a write; of a rule that is on both, and none was asked for,
// either of them.
func (f *recordFlags) operation(r *rules.Rule) (op cdc.Op, turn string, err error) {
	if r.Schedule != nil {
		return cdc.Schedule, "", f.scheduled()
	}
	known := []cdc.Op{cdc.Create, cdc.Write, cdc.Unlink}
	given := f.before != "" || len(f.set) > 0
	if _, turns := turns[f.op]; turns {
		return cdc.Write, f.op, nil
	}
	if f.op != "" {
		i := slices.IndexFunc(known, func(op cdc.Op) bool { return op.String() == f.op })
		switch {
		case i < 0:
			return 0, "", usagef("the operations are create, write, archive, unarchive and unlink", "unknown operation %q", f.op)
		case given && known[i] != cdc.Write:
			return 0, "", usagef("leave --op out", "--before and --set imagine a write, not a %s", f.op)
		}
		return known[i], "", nil
	}
	if given {
		return cdc.Write, "", nil
	}
	for _, op := range known {
		if listed := turnsOf(r); op == cdc.Unlink && len(listed) > 0 {
			return cdc.Write, listed[0], nil
		}
		if slices.Contains(r.On, op.String()) {
			return op, "", nil
		}
	}
	return 0, "", usagef("give it on = [\"create\"], or another operation", "rule %q is on no change of a record, so there is nothing to imagine", r.Name)
}
