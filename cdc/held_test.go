package cdc

import (
	"strings"
	"testing"

	"walhook/internal/pgtest"
)

// TestHeldPrivileges: what the role was granted by others is listed with what takes it back, and what teardown takes back is not.
func TestHeldPrivileges(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE ROLE held_reader; CREATE TABLE early (id int); CREATE TABLE "By Setup" (id int); CREATE SCHEMA apart; CREATE TABLE apart.thing (id int);
		CREATE SCHEMA dropped; CREATE TABLE dropped.queue (id int);
		GRANT SELECT ON early, "By Setup", apart.thing, dropped.queue TO held_reader; GRANT USAGE ON SCHEMA apart, dropped TO held_reader`)
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY held_reader; DROP ROLE held_reader") })
	conn := pgtest.Connect(t, dsn)
	defer conn.Close(t.Context())
	pgtest.Exec(t, dsn, `DO $$ BEGIN EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO held_reader', current_database()); END $$`)
	f := &Facts{Publication: &Publication{Comment: record{Made: true, Select: []tableName{{"public", "By Setup"}}, Connect: true}.comment()}}
	held, err := HeldPrivileges(t.Context(), conn, f, "held_reader", "dropped")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(held, "\n")
	for _, want := range []string{"REVOKE CREATE ON DATABASE ", `REVOKE USAGE ON SCHEMA "apart" FROM "held_reader"`, `REVOKE SELECT ON TABLE "apart"."thing", "public"."early" FROM "held_reader"`} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in:\n%s", want, all)
		}
	}
	if len(held) != 3 {
		t.Errorf("%d lines:\n%s", len(held), all)
	}
	for _, line := range held { // they are exact
		_, sql, _ := strings.Cut(line, "nobody needs it: ")
		pgtest.Exec(t, dsn, sql)
	}
	if held, err = HeldPrivileges(t.Context(), conn, f, "held_reader", "dropped"); err != nil || len(held) != 0 {
		t.Errorf("after the REVOKEs: %v, %v", held, err)
	}
}
