package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/state"
)

// stateReady says whether the state schema is there, of this program's version, and whether it belongs to a source.
func (s *setup) stateReady(ctx context.Context) (ready, bound bool) {
	db, err := state.Open(ctx, s.cfg.state(currentBuild().Version))
	if err != nil {
		return false, false // the role or the database is not there yet either
	}
	defer closeState(db)
	if db.Check(ctx) != nil {
		return false, false
	}
	_, bound, err = db.Bound(ctx)
	return true, bound && err == nil
}

// nothingToDo is a script without statements.
const nothingToDo = "-- nothing to do: everything is set up"

// script prints the SQL that is missing. A superuser can run it as a whole; otherwise each login runs its own part.
//
// The statement that makes the slot also tells the state where it begins: a state that finds a slot without having been told must take
// itself for lost (invariant 1).
func (s *setup) script(steps []cdc.Step, stateReady, bound bool) error {
	if len(steps) == 0 && stateReady && bound {
		s.say(nothingToDo)
		return nil
	}
	byOwner, byRole := split(steps)
	f := s.survey.facts
	database, role := pgx.Identifier{f.Database}.Sanitize(), pgx.Identifier{s.role}.Sanitize()
	var b strings.Builder
	fmt.Fprintf(&b, "-- walhook setup of database %s, slot %s, publication %s, role %s.\n", f.Database, f.SlotName, f.PublicationName, s.role)
	b.WriteString("-- A superuser can run it as a whole: psql -d " + f.Database + " -v ON_ERROR_STOP=1 -f setup.sql\n")
	tell := !s.cfg.stateInSource() && !bound && makesSlot(byRole)
	elsewhere := tell || !s.cfg.stateInSource() && !stateReady
	to, source := targetOf(s.cfg.State.DSN.reveal()), targetOf(s.cfg.Source.DSN.reveal())
	toState, toSource := connectSQL(to), connectSQL(source)
	if elsewhere {
		fmt.Fprintf(&b, "-- On its way it connects as %s to %s and as %s to %s: where these need a password, have it in ~/.pgpass (or in PGPASSWORD).\n", to.user, to.database, source.user, source.database)
	}
	b.WriteString("-- Otherwise each part is for the login that it names, in this order.\n")
	if !f.Role.Exists {
		fmt.Fprintf(&b, "\n-- 0. As a superuser: the role does not exist yet. Choose its password.\n-- CREATE ROLE %s LOGIN REPLICATION PASSWORD '…';\n", role)
		fmt.Fprintf(&b, "--    So that Odoo can duplicate, rename or drop the database while walhook runs:\n-- GRANT %s TO %s;\n", role, pgx.Identifier{f.DatabaseOwner}.Sanitize())
	}
	migration, err := state.MigrationSQL(s.cfg.state(currentBuild().Version))
	if err != nil {
		return fmt.Errorf("write the state schema's SQL: %w", err)
	}
	lends := s.lends() && !stateReady
	if f.InRecovery {
		b.WriteString("-- It begins on the primary; the slot is made on the standby, once that has replayed the rest. While it is made, a superuser asks the primary\n-- to write which transactions are running: SELECT pg_log_standby_snapshot();\n")
	}
	if len(byOwner) > 0 || lends {
		owner := f.DatabaseOwner
		fmt.Fprintf(&b, "\n-- 1. As the owner of the tables and of the database (%s), or as a superuser\n", owner)
		b.WriteString(cdc.Script(byOwner))
		if hand := cdc.HandOver(f, s.survey.needs); hand != "" {
			b.WriteString("-- made by a superuser, it goes to the owner, who can alter it from then on\n" + hand + ";\n")
		}
		if lends {
			fmt.Fprintf(&b, "-- lent while the state schema is made; taken back in part 3\nGRANT CREATE ON DATABASE %s TO %s;\n", database, role)
		}
		b.WriteString("RESET lock_timeout;\n")
	}
	if elsewhere { // before the slot: where this login fails nothing keeps WAL for nobody
		fmt.Fprintf(&b, "\n-- In the state's database, as %s\n%s", to.user, toState)
		if !stateReady {
			b.WriteString(migration)
		}
		if tell {
			fmt.Fprintf(&b, "\n-- Back in the source, as %s\n%s", source.user, toSource)
		}
	}
	if f.InRecovery && !tell && len(byRole) > 0 {
		fmt.Fprintf(&b, "\n-- On the standby, as %s\n%s", source.user, toSource)
	}
	here := s.cfg.stateInSource() && !stateReady
	if here || len(byRole) > 0 {
		fmt.Fprintf(&b, "\n-- 2. As %s\nSET ROLE %s;\n", s.role, role)
		if here {
			b.WriteString(migration)
		}
		b.WriteString(s.slotSQL(byRole, bound))
		b.WriteString("RESET statement_timeout;\nRESET ROLE;\n")
	}
	if lends {
		fmt.Fprintf(&b, "\n-- 3. As the owner of the database (%s), or as a superuser\nREVOKE CREATE ON DATABASE %s FROM %s;\n", f.DatabaseOwner, database, role)
	}
	if tell {
		fmt.Fprintf(&b, "\n-- In the state's database, as %s: where the slot begins, as this session of psql has noted\n%s%s", to.user, toState, s.bindingSQL(":'walhook_lsn'", ""))
	}
	if !bound && !makesSlot(byRole) {
		b.WriteString("\n-- The slot is there already, and the state does not know since when. Start with: walhook run --adopt\n")
	}
	if _, err := fmt.Fprint(s.out, b.String()); err != nil {
		return fmt.Errorf("write script: %w", err)
	}
	return nil
}

// slotSQL makes the slot, and has a state in the same database begin where it does. For one elsewhere psql takes a note of that.
func (s *setup) slotSQL(steps []cdc.Step, bound bool) string {
	if bound || !makesSlot(steps) {
		return cdc.Script(steps)
	}
	call := cdc.CreateSlotCall(s.cfg.Source.Slot, s.survey.facts.MakesFailover())
	sql := "SELECT lsn AS walhook_lsn FROM " + call + " \\gset\n"
	if s.cfg.stateInSource() {
		sql = s.bindingSQL("lsn", call)
	}
	return "-- The slot keeps WAL from here on until walhook has processed it; the state begins where it does.\n" +
		"-- It waits until the transactions that are open now have ended.\nSET statement_timeout = '60s';\n" + sql
}

// makesSlot says that one of the steps makes the slot.
func makesSlot(steps []cdc.Step) bool { return slices.ContainsFunc(steps, cdc.Step.CreatesSlot) }

func (s *setup) bindingSQL(lsn, from string) string {
	b := bindingOf(s.survey.facts, s.survey.catalog, s.cfg.Source.Slot)
	return state.BindingSQL(s.cfg.state(currentBuild().Version), b, lsn, from)
}
