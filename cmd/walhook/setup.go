package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/state"
)

func (a *app) setupCommand() *cobra.Command {
	var ownerDSN string
	var dryRun bool
	c := &cobra.Command{
		Use:   "setup",
		Short: "Create publication, slot, replica identities, grants and state schema",
		Long: `setup creates what check misses, in an order that never harms Odoo: identities, publication and grants as the
tables' owner, the state schema and the slot as walhook's own role. It may be run again at any time and does
only what is missing. A statement that would wait for a lock gives up after three seconds, lets Odoo pass,
and tries again.

The tables' owner (Odoo's own login, or a superuser) is needed for the first part: give its login with --dsn. It is
used for this command only. Or print the SQL with --dry-run and let the owner or a DBA run it in psql.

When the state schema lies in Odoo's database and walhook's role may not create schemas there, the
owner lends it CREATE on the database while the schema is made, and takes it back.`,
		Example: `  walhook setup --dsn postgres://odoo@db.internal/odoo
  walhook setup --dry-run > setup.sql && psql -d odoo -f setup.sql
  walhook setup`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			s := &setup{app: a, cfg: cfg, dryRun: dryRun}
			return s.run(cmd.Context(), ownerDSN)
		},
	}
	c.Flags().StringVar(&ownerDSN, "dsn", "", "login of the tables' owner, for this command only (default the one of source.dsn)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print the SQL, in sections by login, and change nothing")
	return c
}

// setup is one run of the command.
type setup struct {
	app    *app
	cfg    *Config
	dryRun bool

	role        string    // that streams
	owner, repl *pgx.Conn // may be the same; repl is nil in a dry run of a role that cannot log in yet
	survey      *survey
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
		}
		return err
	}
	blocking := s.blocking()
	steps := cdc.SetupSteps(s.survey.facts, s.survey.needs, s.role)
	if s.dryRun {
		return errors.Join(s.script(steps, s.stateReady(ctx)), blocking)
	}
	if blocking != nil {
		return blocking
	}
	return s.apply(ctx, steps)
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
	_, err := catalog.Load(ctx, s.repl)
	var privilege *catalog.PrivilegeError
	if !errors.As(err, &privilege) {
		if err != nil {
			return nil, environmentError(err, "")
		}
		return nil, nil
	}
	var needs []cdc.TableNeed
	for _, table := range privilege.Tables {
		needs = append(needs, cdc.TableNeed{Schema: privilege.Schema, Table: table, ReadOnly: true, Why: []string{"Odoo's models and fields"}})
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
		return environmentError(err, "")
	}
	defer closeState(db)
	if err := s.refuseCopy(ctx, db); err != nil {
		return err
	}
	byOwner, byRole := split(steps)
	if err := s.steps(ctx, byOwner); err != nil {
		return err
	}
	if err := s.state(ctx, db); err != nil {
		return err
	}
	existed := s.survey.facts.Slot != nil
	if err := s.steps(ctx, byRole); err != nil {
		return err
	}
	facts, err := cdc.Inspect(ctx, s.repl, s.cfg.Source.Slot, s.cfg.Source.Publication, s.survey.needs)
	if err != nil {
		return environmentError(err, "")
	}
	at, err := s.cfg.bind(ctx, db, facts, s.survey.catalog, false)
	if err != nil {
		return err
	}
	if at.fresh {
		s.changes++
		s.say("ok  state bound to %s, from %s on", facts.Database, at.lsn)
		if existed {
			s.say("    the slot is older than the state: what a former state had queued is not sent")
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
	if db.Check(ctx) != nil {
		return nil // no schema yet, or an older one: Migrate has its say
	}
	stored, bound, err := db.Bound(ctx)
	if err != nil || !bound {
		return environmentError(err, "")
	}
	if diff := bindingOf(s.survey.facts, s.survey.catalog, s.cfg.Source.Slot).differences(stored); len(diff) > 0 {
		return environmentError(&state.MismatchError{Schema: s.cfg.State.Schema, Differences: diff}, "")
	}
	return nil
}

func (s *setup) steps(ctx context.Context, steps []cdc.Step) error {
	err := cdc.Apply(ctx, cdc.Logins{Owner: s.owner, Replication: s.repl}, steps, cdc.ApplyOptions{Report: func(r cdc.Report) {
		switch r.State {
		case "done":
			s.changes++
			s.say("ok  %s", r.Step.SQL)
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
	fmt.Fprintf(s.app.stdout, format+"\n", args...)
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

// stateReady says whether the state schema is there, of this program's version.
func (s *setup) stateReady(ctx context.Context) bool {
	db, err := state.Open(ctx, s.cfg.state(currentBuild().Version))
	if err != nil {
		return false // the role or the database is not there yet either
	}
	defer closeState(db)
	return db.Check(ctx) == nil
}

// script prints the SQL that is missing. A superuser can run it as a whole; otherwise each login runs its own part.
func (s *setup) script(steps []cdc.Step, stateReady bool) error {
	if len(steps) == 0 && stateReady {
		s.say("-- nothing to do: everything is set up")
		return nil
	}
	byOwner, byRole := split(steps)
	f := s.survey.facts
	database, role := pgx.Identifier{f.Database}.Sanitize(), pgx.Identifier{s.role}.Sanitize()
	var b strings.Builder
	fmt.Fprintf(&b, "-- walhook setup of database %s, slot %s, publication %s, role %s.\n", f.Database, f.SlotName, f.PublicationName, s.role)
	b.WriteString("-- A superuser can run it as a whole: psql -d " + f.Database + " -v ON_ERROR_STOP=1 -f setup.sql\n")
	b.WriteString("-- Otherwise each part is for the login that it names, in this order.\n")
	if !f.Role.Exists {
		fmt.Fprintf(&b, "\n-- 0. As a superuser: the role does not exist yet. Choose its password.\n-- CREATE ROLE %s LOGIN REPLICATION PASSWORD '…';\n", role)
	}
	migration, err := state.MigrationSQL(s.cfg.state(currentBuild().Version))
	if err != nil {
		return fmt.Errorf("write the state schema's SQL: %w", err)
	}
	lends := s.lends() && !stateReady
	if len(byOwner) > 0 || lends {
		owner := f.DatabaseOwner
		fmt.Fprintf(&b, "\n-- 1. As the owner of the tables and of the database (%s), or as a superuser\n", owner)
		b.WriteString(cdc.Script(byOwner))
		if lends {
			fmt.Fprintf(&b, "-- lent while the state schema is made; taken back in part 3\nGRANT CREATE ON DATABASE %s TO %s;\n", database, role)
		}
		b.WriteString("RESET lock_timeout;\n")
	}
	here := s.cfg.stateInSource() && !stateReady
	if here || len(byRole) > 0 {
		fmt.Fprintf(&b, "\n-- 2. As %s\nSET ROLE %s;\n", s.role, role)
		if here {
			b.WriteString(migration)
		}
		b.WriteString(cdc.Script(byRole))
		b.WriteString("RESET statement_timeout;\nRESET ROLE;\n")
	}
	if lends {
		fmt.Fprintf(&b, "\n-- 3. As the owner of the database (%s), or as a superuser\nREVOKE CREATE ON DATABASE %s FROM %s;\n", f.DatabaseOwner, database, role)
	}
	if !s.cfg.stateInSource() && !stateReady {
		to := targetOf(s.cfg.State.DSN.reveal())
		fmt.Fprintf(&b, "\n-- In the state's database, as %s\n\\connect \"host=%s port=%d dbname=%s user=%s\"\n%s", to.user, to.host, to.port, to.database, to.user, migration)
	}
	if _, err := fmt.Fprint(s.app.stdout, b.String()); err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	return nil
}
