package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/internal/pgtest"
)

// TestOwnerInTheRole: an owner that was granted walhook's role, so that Odoo can end walhook's sessions, sets up and tears down like any other,
// and nothing of walhook's becomes his by it.
func TestOwnerInTheRole(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.Server(t), checkConfig+orderRule)
	s.super("GRANT $ROLE TO $OWNER")
	s.setup()
	s.streams()
	r := s.check()
	if !r.OK || r.has("owner_cannot_end") || r.has("not_owner") || r.has("state_unreadable") {
		t.Errorf("check: %+v", r.Findings)
	}
	if got := s.text("SELECT pubowner::regrole || ' ' || (SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'walhook') FROM pg_publication"); got != s.expand("$OWNER $ROLE") {
		t.Errorf("publication and state belong to %s", got)
	}
	s.walhook("teardown", "--dsn", "$OWNER_DSN", "--yes")
	if got := s.text(`SELECT (SELECT count(*) FROM pg_publication) || ' ' || (SELECT count(*) FROM pg_namespace WHERE nspname = 'walhook')
		|| ' ' || (SELECT count(*) FROM pg_replication_slots WHERE slot_name = '$SLOT') || ' ' || pg_has_role('$OWNER', '$ROLE', 'USAGE')`); got != "0 0 0 true" {
		t.Errorf("publications, schemas, slots, membership after teardown: %s", got)
	}
}

// TestOwnerEndsSessions: check finds that the owner may not end walhook's sessions exactly when the server refuses it, of ordinary sessions and of
// the one that streams.
func TestOwnerEndsSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.Server(t), checkConfig+orderRule)
	s.setup()
	owner := s.held(s.env["OWNER_DSN"], nil)
	refuse := "ALTER ROLE $OWNER NOINHERIT"
	if s.server.Major() >= 16 {
		refuse = "GRANT $ROLE TO $OWNER WITH INHERIT FALSE" // each membership says for itself there
	}
	for _, c := range []struct {
		sql string
		can bool
	}{
		{"SELECT", false},
		{"GRANT $ROLE TO $OWNER", true},
		{"ALTER ROLE $ROLE SUPERUSER", false},
		{"ALTER ROLE $ROLE NOSUPERUSER REPLICATION; " + refuse, false},
		{"ALTER ROLE $OWNER INHERIT; REVOKE $ROLE FROM $OWNER; GRANT pg_signal_backend TO $OWNER", true},
	} {
		s.super(c.sql)
		if r := s.check(); r.has("owner_cannot_end") == c.can {
			t.Errorf("after %s: check: %+v", c.sql, r.Findings)
		}
		reader := s.held(s.env["WALHOOK_DSN"], map[string]string{"replication": "database"})
		if err := pglogrepl.StartReplication(t.Context(), reader.PgConn(), s.env["SLOT"], 0,
			pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'", "publication_names 'walhook'"}}); err != nil {
			t.Fatal(err)
		}
		for _, pid := range []uint32{reader.PgConn().PID(), s.held(s.env["WALHOOK_DSN"], nil).PgConn().PID()} {
			var ended bool
			err := owner.QueryRow(t.Context(), "SELECT pg_terminate_backend($1)", int32(pid)).Scan(&ended)
			var refused *pgconn.PgError
			if ended != c.can || !c.can && (!errors.As(err, &refused) || refused.Code != "42501") {
				t.Errorf("after %s: ended: %t, %v", c.sql, ended, err)
			}
			s.super(fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid))
		}
		s.await("SELECT NOT active FROM pg_replication_slots WHERE slot_name = '$SLOT'")
	}
}

// TestCheckOfCopy: on a copy nobody is told to end the original's reader.
func TestCheckOfCopy(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.Server(t), checkConfig+orderRule)
	s.setup()
	pgtest.Exec(t, s.server.DSN("postgres"), s.expand("CREATE DATABASE copy_$DB TEMPLATE $DB OWNER $OWNER"))
	t.Cleanup(func() { pgtest.DropDatabase(t, s.server.DSN("postgres"), s.expand("copy_$DB")) })
	reader := s.held(s.env["WALHOOK_DSN"], map[string]string{"replication": "database"})
	if err := pglogrepl.StartReplication(context.Background(), reader.PgConn(), s.env["SLOT"], 0,
		pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'", "publication_names 'walhook'"}}); err != nil {
		t.Fatal(err)
	}
	s.env["COPY_DSN"] = strings.Replace(s.env["WALHOOK_DSN"], "/"+s.env["DB"]+"?", "/copy_"+s.env["DB"]+"?", 1)
	s.amend("$WALHOOK_DSN", "$COPY_DSN")
	r := s.check()
	if !r.has("slot_foreign") || !r.has("state_of_another_source") {
		t.Errorf("not found to be a copy: %+v", r.Findings)
	}
	for _, f := range r.Findings {
		if f.Code == "slot_in_use" || strings.Contains(f.Hint, "pg_terminate_backend") {
			t.Errorf("on a copy: %+v", f)
		}
	}
}

// TestRuleTypoAsksNothingOfTheOwner: where everything is set up, a rule's mistake leaves the owner nothing to do.
func TestRuleTypoAsksNothingOfTheOwner(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.Server(t), checkConfig+orderRule)
	s.amend("after.state ==", "after.stat ==")
	if r := s.check(); !r.has("not_owner") { // the metadata's grants
		t.Errorf("before setup: %+v", r.Findings)
	}
	s.amend("after.stat ==", "after.state ==")
	s.setup()
	s.amend("after.state ==", "after.stat ==")
	if r := s.check(); !r.has("rule") || r.has("not_owner") {
		t.Errorf("after setup: %+v", r.Findings)
	}
	s.owner("DROP PUBLICATION walhook")
	if r := s.check(); !r.has("publication_missing") || !r.has("not_owner") {
		t.Errorf("without a publication: %+v", r.Findings)
	}
}

// TestSlotOlderThanPublicationIsMended follows the remedy that run ends with, to the letter.
func TestSlotOlderThanPublicationIsMended(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.Server(t), checkConfig+orderRule)
	s.setup()
	s.owner("DROP PUBLICATION walhook; INSERT INTO sale_order (name, state, partner_id, partner_invoice_id, partner_shipping_id, date_order) VALUES ('S1', 'draft', 1, 1, 1, now())")
	s.setup()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var errs strings.Builder
	if code := run(ctx, []string{"run", "--config", s.config, "--log-format", "json"}, io.Discard, &errs); code != exitEnvironment && code != exitFailed {
		t.Fatalf("status %d\n%s", code, errs.String())
	}
	_, hint, _ := strings.Cut(errs.String(), "hint: the slot is to be made again")
	drop, rest, _ := strings.Cut(hint, "; then: walhook resync")
	if !strings.Contains(rest, "walhook setup; then: walhook run --adopt") {
		t.Fatalf("the remedy does not end with adopting: %s", errs.String())
	}
	bySQL(s, finding{Hint: drop})
	if code := run(ctx, []string{"resync", "--config", s.config, "--yes"}, io.Discard, &errs); code != exitOK {
		t.Fatalf("resync: status %d\n%s", code, errs.String())
	}
	s.streams()
	if r := s.check(); !r.OK {
		t.Errorf("after the remedy: %+v", r.Findings)
	}
}

// TestHintOfRefusedLogin: only a role that the server does not know, or does not let log in, is to be made; and REPLICATION is the source's alone.
func TestHintOfRefusedLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, pgtest.Server(t), checkConfig)
	for key, want := range map[string]string{"source.dsn": " LOGIN REPLICATION PASSWORD", "state.dsn": " LOGIN PASSWORD"} {
		_, err := connect(t.Context(), key, s.server.DSNFor("nobody_there", "", s.env["DB"]))
		if hint := hintOf(err); !strings.Contains(hint, `CREATE ROLE "nobody_there"`+want) {
			t.Errorf("%s: %v\n%s", key, err, hint)
		}
	}
}
