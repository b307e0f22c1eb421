package cdc

import (
	"strings"
	"testing"
)

// An optional table is published and granted by setup; that it is not so stops nothing, and is told of once.
func TestOptionalTables(t *testing.T) {
	facts := func() *Facts {
		f := soundFacts()
		for _, name := range []string{"ir_model", "res_lang"} {
			f.Tables = append(f.Tables, TableFacts{Schema: "public", Name: name, Exists: true, Kind: "r", Owner: "odoo", PrimaryKey: []string{"id"}, Identity: "d", Usage: true, Select: true})
		}
		f.Tables = append(f.Tables, TableFacts{Schema: "public", Name: "keyless", Exists: true, Kind: "r", Owner: "odoo", Identity: "d", Usage: true, Select: true})
		return f
	}
	needs := soundNeeds
	for _, name := range []string{"ir_model", "res_lang", "keyless"} {
		needs = append(needs, TableNeed{Schema: "public", Table: name, Optional: true, Why: []string{"rules follow"}})
	}
	find := func(f *Facts, code string) (found []Finding) {
		for _, x := range Preflight(f, needs) {
			if x.Severity != SeverityInfo && (code == "" || x.Code == code) {
				found = append(found, x)
			}
		}
		return found
	}
	all := find(facts(), "")
	if len(all) != 1 || all[0].Code != "not_streamed" || all[0].Severity != SeverityWarning || !all[0].Setup ||
		!strings.Contains(all[0].Message, "public.ir_model, public.res_lang, whose") ||
		!strings.HasSuffix(all[0].Hint, `ALTER PUBLICATION "walhook" ADD TABLE ONLY "public"."ir_model", ONLY "public"."res_lang"`) {
		t.Errorf("found %+v", all)
	}
	steps := strings.Join(sqlOf(SetupSteps(facts(), needs, "walhook")), "\n")
	if !strings.Contains(steps, `"public"."ir_model"`) || strings.Contains(steps, "keyless") || strings.Contains(steps, "REPLICA IDENTITY") {
		t.Errorf("setup runs\n%s", steps)
	}
	published := facts()
	for i := range published.Tables {
		published.Tables[i].Published = published.Tables[i].Name != "keyless"
		if published.Tables[i].Published && i > 0 {
			published.Publication.Tables = append(published.Publication.Tables, PublishedTable{Schema: "public", Name: published.Tables[i].Name})
		}
	}
	if found := find(published, ""); len(found) != 0 {
		t.Errorf("published, found %+v", found)
	}
	// Whether SELECT is vital is the need's to say.
	published.Tables[1].Select = false
	if found := find(published, "no_select"); len(found) != 1 || found[0].Severity != SeverityWarning {
		t.Errorf("found %+v", found)
	}
	needs[1].Read = true
	if found := find(published, "no_select"); len(found) != 1 || found[0].Severity != SeverityError {
		t.Errorf("found %+v", found)
	}
}
