package cdc

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSetupColumns: where it is known what is read of a table, setup grants no more, and teardown takes it back. Rows are then read without the
// other columns.
func TestSetupColumns(t *testing.T) {
	e := newEstate(t, `CREATE TABLE users (id int PRIMARY KEY, login text, name text, password text); INSERT INTO users VALUES (1, 'a', 'A', 'hash')`)
	needs := []TableNeed{{Schema: "public", Table: "users", ReadOnly: true, Columns: []string{"login", "id", "vanished"}}}
	grants := func() (list []string) {
		for _, s := range sqlOf(SetupSteps(e.inspect(needs), needs, e.role)) {
			if strings.Contains(s, "GRANT") {
				list = append(list, s)
			}
		}
		return list
	}
	to := ` ON TABLE "public"."users" TO ` + quoteIdent(e.role)
	if diff := cmp.Diff([]string{`owner: GRANT SELECT ("id", "login")` + to}, grants()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, f := range Preflight(e.inspect(needs), needs) {
		if f.Code == "no_select" && !strings.Contains(f.Hint, `GRANT SELECT ("id", "login")`+to) {
			t.Errorf("%+v", f)
		}
	}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	if again := grants(); again != nil {
		t.Errorf("a second time: %q", again)
	}
	needs = append(needs, TableNeed{Schema: "public", Table: "users", Optional: true, Read: true, Columns: []string{"id", "name"}})
	if diff := cmp.Diff([]string{`owner: GRANT SELECT ("name")` + to}, grants()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	if _, err := e.roleConn.Exec(t.Context(), "SELECT id, login, name FROM users"); err != nil {
		t.Error(err)
	}
	if _, err := e.roleConn.Exec(t.Context(), "SELECT password FROM users"); err == nil {
		t.Error("the role may read the password")
	}
	live, err := NewLive(e.roleConn.Config().ConnString(), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	row, _, err := live.Current(t.Context(), "public", "users", "1")
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, c := range row.Relation().Columns {
		columns = append(columns, c.Name)
	}
	if !slices.Equal(columns, []string{"id", "login", "name"}) {
		t.Errorf("read %q", columns)
	}
	down, _ := TeardownSteps(e.inspect(nil), e.role)
	e.apply(ownerSteps(down))
	if left := e.text("SELECT coalesce(string_agg(attname || attacl::text, ' '), '') FROM pg_attribute WHERE attrelid = 'users'::regclass AND attacl IS NOT NULL"); left != "" {
		t.Errorf("left %s", left)
	}
}
