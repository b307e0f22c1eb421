package cdc

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSetupOptional: tables that rules only look rows up in are published where nothing else must be changed for it, and read in any case.
func TestSetupOptional(t *testing.T) {
	e := newEstate(t, estateSchema)
	needs := []TableNeed{{Schema: "Shop", Table: "Order"}}
	for _, name := range []string{"ir_model", "rel", "frozen", "loose", "seen", "partner"} {
		needs = append(needs, TableNeed{Schema: "public", Table: name, Optional: true, Read: true, Why: []string{"rules look related records up in it"}})
	}
	needs[1].Columns = []string{"id", "model"}
	role := quoteIdent(e.role)
	steps := SetupSteps(e.inspect(needs), needs, e.role)
	want := []string{
		`owner: CREATE PUBLICATION "` + e.slot + `" FOR TABLE ONLY "Shop"."Order", ONLY "public"."ir_model", ONLY "public"."rel" WITH (publish = 'insert, update, delete, truncate'); COMMENT ON PUBLICATION "` + e.slot + `" IS (a record)`,
		`owner: GRANT USAGE ON SCHEMA "Shop" TO ` + role,
		`owner: GRANT SELECT ON TABLE "Shop"."Order" TO ` + role,
		`owner: GRANT SELECT ON TABLE "public"."rel", "public"."frozen", "public"."loose", "public"."seen", "public"."partner" TO ` + role,
		`owner: GRANT SELECT ("id", "model") ON TABLE "public"."ir_model" TO ` + role,
		`replication: SELECT pg_create_logical_replication_slot('` + e.slot + `', 'pgoutput')`,
	}
	if diff := cmp.Diff(want, sqlOf(steps)); diff != "" {
		t.Fatalf("steps (-want +got):\n%s", diff)
	}
	e.apply(steps)
	codes := func() (list []string) {
		for _, f := range Preflight(e.inspect(needs), needs) {
			if strings.HasPrefix(f.Code, "no_") || strings.HasPrefix(f.Code, "not_s") || strings.HasPrefix(f.Code, "publication") || f.Severity == SeverityError {
				list = append(list, f.Code)
			}
		}
		return list
	}
	if got := codes(); got != nil {
		t.Errorf("found %q", got)
	}
	facts := e.inspect(needs)
	if again := SetupSteps(facts, needs, e.role); len(again) != 0 {
		t.Errorf("a second time: %q", sqlOf(again))
	}
	for _, c := range []struct {
		link Link
		want bool
	}{
		{Link{Schema: "public", Table: "ir_model", By: "id"}, true},
		{Link{Schema: "public", Table: "ir_model", Rel: &LinkRelation{"public", "rel", "a", "b"}}, true},
		{Link{Schema: "public", Table: "rel", By: "id"}, false},     // has no id
		{Link{Schema: "public", Table: "partner", By: "id"}, false}, // shows rows of another table too
		{Link{Schema: "public", Table: "frozen", By: "id"}, false},
		{Link{Schema: "public", Table: "ir_model", Rel: &LinkRelation{"public", "loose", "a", "b"}}, false},
	} {
		if got := facts.StreamsLink(&c.link); got != c.want {
			t.Errorf("%s: %v, want %v", &c.link, got, c.want)
		}
	}
	// One that is no longer published is a warning, and not kept; a grant on the columns that are read is enough.
	pub := quoteIdent(e.slot)
	for _, sql := range []string{"ALTER PUBLICATION " + pub + " DROP TABLE ONLY rel", "REVOKE SELECT ON ir_model, frozen FROM " + role, "GRANT SELECT (id, model) ON ir_model TO " + role} {
		if _, err := e.ownerConn.Exec(context.Background(), sql); err != nil {
			t.Fatal(err)
		}
	}
	facts = e.inspect(needs)
	if got := codes(); !slices.Equal(got, []string{"no_select", "not_streamed"}) {
		t.Errorf("found %q", got)
	}
	if facts.StreamsLink(&Link{Schema: "public", Table: "ir_model", Rel: &LinkRelation{"public", "rel", "a", "b"}}) {
		t.Error("what is not published is kept")
	}
	for _, f := range Preflight(facts, needs) {
		if f.Code == "no_select" && (f.Severity != SeverityError || !strings.Contains(f.Message, "frozen")) || f.Code == "not_streamed" && (f.Severity != SeverityWarning || !f.Setup || !strings.Contains(f.Message, "public.rel")) {
			t.Errorf("%+v", f)
		}
	}
}
