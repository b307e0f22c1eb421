package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/state"
)

func (a *app) setupCommand() *cobra.Command {
	var ownerDSN string
	var dryRun, adopt, asJSON bool
	c := &cobra.Command{
		Use:   "setup",
		Short: "Create publication, slot, replica identities, grants and state schema",
		Long: `setup creates what check misses, in an order that never harms Odoo: identities, publication and grants as the
tables' owner, the state schema and the slot as walhook's own role. It may be run again at any time and does
only what is missing. A statement that would wait for a lock gives up after three seconds, lets Odoo pass,
and tries again.

The tables' owner (Odoo's own login, or a superuser) is needed for the first part: give its login with --dsn. It is
used for this command only. Or print the SQL with --dry-run and let the owner or a DBA run it in psql. With the
owner's login in --dsn, --dry-run plans all of it in one go, also where walhook's role may read nothing yet.

When the state schema lies in Odoo's database and walhook's role may not create schemas there, the
owner lends it CREATE on the database while the schema is made, and takes it back.

A copy of the database is refused when the state in it belongs to the original. After a deliberate move to another server or database,
--adopt takes the new one: the slot is made there, and the state goes on with what is pending.`,
		Example: `  walhook setup --dsn postgres://odoo@db.internal/odoo
  walhook setup --dry-run --dsn postgres://odoo@db.internal/odoo > setup.sql && psql -d odoo -v ON_ERROR_STOP=1 -f setup.sql
  walhook setup`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON && !dryRun {
				return usagef("walhook setup --dry-run --json", "--json is for --dry-run: a setup that changes something tells it as it goes")
			}
			cfg, err := a.load()
			if err != nil {
				return err
			}
			s := &setup{app: a, cfg: cfg, out: a.stdout, dryRun: dryRun, adopt: adopt}
			if asJSON {
				return s.plan(cmd.Context(), ownerDSN)
			}
			return s.run(cmd.Context(), ownerDSN)
		},
	}
	c.Flags().StringVar(&ownerDSN, "dsn", "", "login of the tables' owner, for this command only (default the one of source.dsn)")
	c.Flags().BoolVar(&adopt, "adopt", false, "take the source although the state belonged to another one: only after a deliberate move")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print the SQL, in sections by login, and change nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "with --dry-run: print JSON")
	return c
}

// setup is one run of the command.
type setup struct {
	app    *app
	cfg    *Config
	out    io.Writer
	dryRun bool
	adopt  bool

	role        string    // that streams
	owner, repl *pgx.Conn // may be the same; repl is nil in a dry run of a role that cannot log in yet
	survey      *survey
	planned     []cdc.Step
	changes     int // statements that were run
}

func (s *setup) run(ctx context.Context, ownerDSN string) error {
	s.role = targetOf(s.cfg.Source.DSN.reveal()).user
	repl, err := connect(ctx, "source.dsn", s.cfg.Source.DSN.reveal())
	switch {
	case err == nil:
		defer closeConn(repl)
		s.repl, s.owner = repl, repl
	case !s.dryRun || ownerDSN == "":
		return err
	}
	if ownerDSN != "" {
		owner, err := connect(ctx, "--dsn", ownerDSN)
		if err != nil {
			return err
		}
		defer closeConn(owner)
		s.owner = owner
		if err := sameServer(ctx, s.repl, owner); err != nil {
			return err
		}
	}
	more, err := s.metadataNeeds(ctx)
	if err != nil {
		return err
	}
	if s.survey, err = s.cfg.look(ctx, s.owner, s.role, more...); err != nil {
		var privilege *catalog.PrivilegeError
		if s.dryRun && errors.As(err, &privilege) {
			s.say("-- walhook cannot plan before it may read what Odoo says of its models.")
			s.say("-- As the owner of the tables, or as a superuser:")
			s.say("%s", privilege.Hint())
			s.say("-- Then run walhook setup --dry-run again: it prints the rest.")
			s.say("-- Or give the owner's login: walhook setup --dry-run --dsn OWNER_DSN plans and records everything in one go.")
		}
		return err
	}
	if s.repl != nil {
		if err := s.survey.facts.OnStandby(ctx, s.repl); err != nil {
			return environmentError(err, "")
		}
	}
	if err := s.cfg.recall(ctx, s.survey.facts, s.survey.catalog); err != nil && !s.adopt {
		return err
	}
	blocking := s.blocking()
	steps := cdc.SetupSteps(s.survey.facts, s.survey.needs, s.role)
	s.planned = steps
	if s.dryRun {
		ready, bound := s.stateReady(ctx)
		return errors.Join(s.script(steps, ready, bound), blocking)
	}
	if blocking != nil {
		return blocking
	}
	return s.apply(ctx, s.possible(steps))
}

// possible leaves out what walhook works without when that is all that is another login's to do: an installation that was set up by hand, or by an
// earlier version, is no worse than it was.
func (s *setup) possible(steps []cdc.Step) []cdc.Step {
	foreign := func(steps []cdc.Step) bool {
		return slices.ContainsFunc(steps, func(step cdc.Step) bool { return len(step.Foreign()) > 0 })
	}
	required := cdc.SetupSteps(s.survey.facts, cdc.Required(s.survey.needs), s.role)
	if !foreign(steps) || foreign(required) {
		return steps
	}
	s.say("note: some tables are not streamed, which is for their owner to change: walhook check tells what walhook does not see then, and how to change it")
	return required
}

// sameServer refuses an owner's login that leads elsewhere.
func sameServer(ctx context.Context, repl, owner *pgx.Conn) error {
	if repl == nil {
		return nil
	}
	const where = `SELECT current_database() || ' of cluster ' || system_identifier FROM pg_catalog.pg_control_system()`
	var a, b string
	if err := repl.QueryRow(ctx, where).Scan(&a); err != nil {
		return environmentError(fmt.Errorf("identify source.dsn: %w", err), "")
	}
	if err := owner.QueryRow(ctx, where).Scan(&b); err != nil {
		return environmentError(fmt.Errorf("identify --dsn: %w", err), "")
	}
	if a != b {
		return usagef("give --dsn the same host and database as source.dsn, with the owner's login", "--dsn leads to database %s, source.dsn to %s", b, a)
	}
	return nil
}

// metadataNeeds asks for SELECT on those of Odoo's own tables that the streaming role may not read yet.
func (s *setup) metadataNeeds(ctx context.Context) ([]cdc.TableNeed, error) {
	if s.repl == nil || s.repl == s.owner {
		return nil, nil
	}
	cat, err := catalog.Load(ctx, s.repl)
	var privilege *catalog.PrivilegeError
	var schema string
	var tables []string
	switch {
	case errors.As(err, &privilege):
		schema, tables = privilege.Schema, privilege.Tables
	case err != nil:
		return nil, environmentError(err, "")
	case cat.Odoo != nil:
		schema, tables = cat.Odoo.Schema, cat.Odoo.Unread
	}
	var needs []cdc.TableNeed
	for _, table := range tables {
		needs = append(needs, cdc.TableNeed{Schema: schema, Table: table, ReadOnly: true, Why: []string{"Odoo's models and fields"}})
	}
	return needs, nil
}

// blocking joins the findings that setup cannot do away with.
func (s *setup) blocking() error {
	var all []error
	for _, f := range cdc.Preflight(s.survey.facts, s.survey.needs) {
		if f.Severity == cdc.SeverityError && !f.Setup {
			all = append(all, environmentError(errors.New(f.Message), f.Hint))
		}
	}
	return errors.Join(all...)
}

// apply runs the owner's steps, makes the state schema, and the slot last: from then on the server keeps WAL, so
// everything else should be there.
func (s *setup) apply(ctx context.Context, steps []cdc.Step) error {
	db, err := state.Open(ctx, s.cfg.state(currentBuild().Version))
	if err != nil {
		hint, err := s.cfg.stateUnreachable(err)
		return environmentError(err, hint)
	}
	defer closeState(db)
	if err := s.refuseCopy(ctx, db); err != nil {
		return err
	}
	byOwner, byRole := split(steps)
	if len(byOwner) > 0 && s.owner == s.repl && s.survey.facts.InRecovery {
		return environmentError(errors.New("source.dsn leads to a standby: publication, identities and grants are changed on the primary"),
			"walhook setup --dsn with the login of the tables' owner on the primary")
	}
	if err := s.steps(ctx, byOwner); err != nil {
		return err
	}
	if err := s.state(ctx, db); err != nil {
		return err
	}
	if err := s.refuseCopy(ctx, db); err != nil { // before the slot: it would keep WAL for nobody
		return err
	}
	created := s.survey.facts.Slot == nil
	if err := s.steps(ctx, byRole); err != nil {
		return err
	}
	facts, err := cdc.Inspect(ctx, s.repl, s.cfg.Source.Slot, s.cfg.Source.Publication, s.survey.needs)
	if err != nil {
		return environmentError(err, "")
	}
	at, err := s.cfg.bind(ctx, db, facts, s.survey.catalog, created, s.adopt)
	var mismatch *state.MismatchError
	switch {
	case errors.As(err, &mismatch) && mismatch.Neutralized():
		s.say("note: %s", mismatch)
	case err != nil:
		var position *cdc.PositionError
		if errors.As(err, &position) {
			position.Remedy = strings.ReplaceAll(position.Remedy, "walhook setup; then: ", "") + // that was this
				"\nEverything is set up, and what is left is: walhook run --adopt"
			return err
		}
		s.say("everything is set up, but walhook cannot run yet")
		return err
	}
	if at.fresh {
		s.changes++
		s.say("ok  state bound to %s, from %s on", facts.Database, at.lsn)
	}
	if a := at.adoption; a != nil {
		s.changes++
		s.say("ok  state adopted: it goes on at %s, epoch %d; it had ended at %s", a.To, a.Epoch, a.From)
		if hint := oldSlot(a); hint != "" {
			s.say("    %s", hint)
		}
	}
	if s.changes == 0 {
		s.say("nothing to do: everything is set up")
	} else {
		s.say("done: walhook run")
	}
	return nil
}

// refuseCopy keeps setup off a database whose state belongs to another one.
func (s *setup) refuseCopy(ctx context.Context, db *state.DB) error {
	var version *state.VersionError
	if errors.As(db.Check(ctx), &version) {
		return nil // no schema yet, or an older one: it is looked at again after Migrate
	}
	stored, bound, err := db.Bound(ctx)
	if err != nil || !bound || s.adopt {
		return environmentError(err, "")
	}
	found := bindingOf(s.survey.facts, s.survey.catalog, s.cfg.Source.Slot)
	found.Neutralized = false // a copy for testing may be set up; run has its say
	return environmentError(slotToMake(stored.Mismatch(s.cfg.State.Schema, found), s.survey.facts), "")
}

func (s *setup) steps(ctx context.Context, steps []cdc.Step) error {
	err := cdc.Apply(ctx, cdc.Logins{Owner: s.owner, Replication: s.repl}, steps, cdc.ApplyOptions{Report: func(r cdc.Report) {
		switch r.State {
		case "done":
			s.changes++
			s.say("ok  %s", r.Step.Brief())
			if r.Step.Why != "" {
				s.say("    %s", r.Step.Why)
			}
		case "waiting", "retry":
			for _, b := range r.Waiting {
				s.say("..  waiting for %s", b)
			}
		}
	}})
	return environmentError(err, "")
}

// state makes the schema or brings it up to date, with CREATE lent by the owner where that is needed.
func (s *setup) state(ctx context.Context, db *state.DB) (err error) {
	if db.Check(ctx) != nil {
		s.changes++
		defer func() {
			if err == nil {
				s.say("ok  state schema %s", s.cfg.State.Schema)
			}
		}()
	}
	if s.lends() && s.repl != s.owner {
		database, role := pgx.Identifier{s.survey.facts.Database}.Sanitize(), pgx.Identifier{s.role}.Sanitize()
		if _, err := s.owner.Exec(ctx, "GRANT CREATE ON DATABASE "+database+" TO "+role); err != nil {
			return environmentError(fmt.Errorf("lend CREATE on the database to %s: %w", s.role, err), "--dsn needs the login of the database's owner, or a superuser's")
		}
		defer func() {
			// Taken back also when the migration failed or was interrupted.
			_, e := s.owner.Exec(context.WithoutCancel(ctx), "REVOKE CREATE ON DATABASE "+database+" FROM "+role)
			if e != nil {
				err = errors.Join(err, environmentError(fmt.Errorf("take CREATE on the database back from %s: %w", s.role, e), "as its owner: REVOKE CREATE ON DATABASE "+database+" FROM "+role))
			}
		}()
	}
	return environmentError(db.Migrate(ctx), "")
}

// lends says whether the schema must be made with a right that walhook's role does not have.
func (s *setup) lends() bool {
	return s.cfg.stateInSource() && targetOf(s.cfg.State.DSN.reveal()).user == s.role && !s.survey.facts.Role.Create && !s.survey.facts.Role.Superuser
}

func (s *setup) say(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

// split separates the steps of the owner from those of the streaming role.
func split(steps []cdc.Step) (owner, role []cdc.Step) {
	for _, step := range steps {
		if step.As == cdc.AsReplication {
			role = append(role, step)
		} else {
			owner = append(owner, step)
		}
	}
	return owner, role
}
