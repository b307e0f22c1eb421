package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/state"
)

func (a *app) teardownCommand() *cobra.Command {
	t := &teardown{app: a}
	c := &cobra.Command{
		Use:   "teardown",
		Short: "Remove everything that setup has made",
		Long: `teardown undoes setup: it drops the slot, takes the tables out of the publication, sets their replica identities back to
what they were, takes back what walhook's role was granted, and drops the publication and the state schema with all that
waits in it. Setup has recorded what it changed in the publication's comment, also when a DBA ran the SQL of
setup --dry-run; what somebody else has made or changed since stays, and is named.

It shows first what goes and what would be lost, and asks; where there is no terminal it needs --yes. It
refuses to work under a walhook that runs. As setup it needs the tables' owner (--dsn), gives up
after three seconds behind a lock, lets Odoo pass and tries again; after an interruption run it once more.`,
		Example: `  walhook teardown --dry-run
  walhook teardown --dsn postgres://odoo@db.internal/odoo
  walhook teardown --dsn postgres://odoo@db.internal/odoo --keep-state --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if t.cfg, err = a.load(); err != nil {
				return err
			}
			return t.run(cmd.Context())
		},
	}
	f := c.Flags()
	f.StringVar(&t.ownerDSN, "dsn", "", "login of the tables' owner, for this command only (default the one of source.dsn)")
	f.BoolVar(&t.dryRun, "dry-run", false, "print what goes, what is left and the SQL, and change nothing")
	f.BoolVar(&t.yes, "yes", false, "do not ask")
	f.BoolVar(&t.keepState, "keep-state", false, "leave the state schema and what waits in it")
	f.BoolVar(&t.json, "json", false, "with --dry-run: print JSON")
	return c
}

// teardown is one run of the command.
type teardown struct {
	app                          *app
	cfg                          *Config
	dryRun, yes, keepState, json bool

	ownerDSN    string
	role        string    // that streams
	owner, repl *pgx.Conn // may be the same
	db          *state.DB // nil when there is no state to look at
}

func (t *teardown) run(ctx context.Context) error {
	if t.json && !t.dryRun {
		return usagef("walhook teardown --dry-run --json", "--json goes with --dry-run")
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	defer t.close()
	p, err := t.plan(ctx)
	if err != nil {
		return err
	}
	if t.json {
		return errors.Join(t.app.printJSON(p), p.running(t.cfg))
	}
	line := ""
	if t.dryRun {
		line = "-- " // a comment of the script
	}
	if err := p.print(t.app.stdout, line); err != nil {
		return err
	}
	if t.dryRun {
		return errors.Join(t.script(p), p.running(t.cfg))
	}
	if err := p.running(t.cfg); err != nil {
		return err
	}
	if err := t.reserved(ctx); err != nil {
		return err
	}
	if p.empty() {
		return nil
	}
	if owners := cdc.Owners(p.steps); len(owners) > 0 {
		return environmentError(fmt.Errorf("nothing was removed: role %q may not change what belongs to %s", t.owner.Config().User, strings.Join(owners, ", ")),
			"run `walhook teardown --dsn` with the login of the tables' owner or of a superuser, or let them run the SQL of `walhook teardown --dry-run`")
	}
	if err := t.confirm(os.Stdin); err != nil {
		return err
	}
	return t.apply(ctx, p)
}

// connect opens what can be opened: when walhook's own role or the state's database is gone already, the rest can
// still be removed.
func (t *teardown) connect(ctx context.Context) error {
	dsn := t.cfg.Source.DSN.reveal()
	t.role = targetOf(dsn).user
	repl, err := connect(ctx, "source.dsn", dsn)
	if err == nil {
		t.repl, t.owner = repl, repl
	} else if t.ownerDSN == "" {
		return err
	}
	if t.ownerDSN != "" {
		owner, err := connect(ctx, "--dsn", t.ownerDSN)
		if err != nil {
			t.close()
			return err
		}
		if err := sameServer(ctx, t.repl, owner); err != nil {
			closeConn(owner)
			t.close()
			return err
		}
		t.owner = owner
	}
	cfg := t.cfg.state(currentBuild().Version)
	if t.repl == nil {
		t.repl = t.owner
		if t.cfg.stateInSource() {
			cfg.DSN = t.ownerDSN
		}
	}
	if t.keepState {
		return nil
	}
	t.db, err = state.Open(ctx, cfg)
	if err == nil || isCode(err, "3D000") { // no such database: nothing is left there
		return nil
	}
	t.close()
	return environmentError(fmt.Errorf("the state cannot be looked at: %w", err), "mend state.dsn, or leave the state where it is: --keep-state")
}

func (t *teardown) close() {
	if t.owner != nil {
		closeConn(t.owner)
	}
	if t.repl != nil && t.repl != t.owner {
		closeConn(t.repl)
	}
	if t.db != nil {
		closeState(t.db)
	}
}

// confirm asks on a terminal.
func (t *teardown) confirm(in io.Reader) error {
	if t.yes {
		return nil
	}
	if f, ok := in.(*os.File); ok && !isatty.IsTerminal(f.Fd()) {
		return usagef("look at what is printed above, and add --yes", "nothing was removed: there is no terminal to ask on")
	}
	fmt.Fprint(t.app.stdout, "\nRemove all this? Type yes: ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the answer: %w", err)
		}
		return &failure{err: errors.New("nothing was removed"), code: exitFailed}
	}
	return nil
}

// apply removes the slot first, for which the server keeps WAL, and the state last.
func (t *teardown) apply(ctx context.Context, p *teardownPlan) error {
	err := cdc.Apply(ctx, cdc.Logins{Owner: t.owner, Replication: t.repl}, p.steps, cdc.ApplyOptions{Report: func(r cdc.Report) {
		switch r.State {
		case "done":
			fmt.Fprintf(t.app.stdout, "ok  %s\n", r.Step.Brief())
		case "waiting", "retry":
			for _, b := range r.Waiting {
				fmt.Fprintf(t.app.stdout, "..  waiting for %s\n", b)
			}
		}
	}})
	if err != nil {
		return environmentError(err, "")
	}
	if p.State != nil {
		if _, err := t.db.Drop(ctx); err != nil {
			return environmentError(err, "")
		}
		fmt.Fprintf(t.app.stdout, "ok  DROP SCHEMA %s CASCADE\n", pgx.Identifier{p.State.Schema}.Sanitize())
	}
	fmt.Fprintln(t.app.stdout, "done")
	return nil
}

// script prints the SQL, in sections by login.
func (t *teardown) script(p *teardownPlan) error {
	byOwner, byRole := split(p.steps)
	var b strings.Builder
	section := func(who, sql string) {
		if sql != "" {
			fmt.Fprintf(&b, "\n-- %s\n%s", who, sql)
		}
	}
	section(fmt.Sprintf("As %s, or as a superuser, in database %s", t.role, p.Database), cdc.Script(byRole))
	section("The rest of the source", cdc.Script(byOwner))
	if p.State != nil {
		sql := fmt.Sprintf("DROP SCHEMA %s CASCADE;\n", pgx.Identifier{p.State.Schema}.Sanitize())
		if to := targetOf(t.cfg.State.DSN.reveal()); !t.cfg.stateInSource() {
			sql = connectSQL(to) + sql
		}
		section(fmt.Sprintf("As %s, in database %s", t.db.Role(), p.State.Database), sql)
	}
	_, err := io.WriteString(t.app.stdout, b.String())
	return err
}
