package rules

import (
	"strings"
	"testing"

	"walhook/cdc/catalog"
)

// rollupCatalog adds to the test database the lines of orders and their tags.
func rollupCatalog() *catalog.Catalog {
	inverse := func(model, field string) func(*catalog.Field) {
		return func(f *catalog.Field) { f.Stored, f.Relation, f.RelationField = true, model, field }
	}
	pairs := func(table string) func(*catalog.Field) {
		return func(f *catalog.Field) {
			f.Stored, f.Relation, f.RelationTable, f.Column1, f.Column2 = table != "", "crm.tag", table, "order_id", "tag_id"
		}
	}
	order := modelOf(1, "sale.order", "sale_order", []fieldSpec{
		{"id", "integer", tInt4, nil}, {"name", "char", tVarchar, nil}, {"state", "selection", tVarchar, nil}, {"access_token", "char", tVarchar, nil},
		{"order_line", "one2many", nil, inverse("sale.order.line", "order_id")}, {"messages", "one2many", nil, inverse("mail.message", "res_id")},
		{"tag_ids", "many2many", nil, pairs("sale_order_tag_rel")}, {"old_ids", "many2many", nil, pairs("old_rel")}, {"found_ids", "many2many", nil, pairs("")},
	})
	line := modelOf(2, "sale.order.line", "sale_order_line", []fieldSpec{
		{"id", "integer", tInt4, nil}, {"order_id", "many2one", tInt4, toModel("sale.order")}, {"name", "char", tVarchar, nil}, {"note", "html", tText, nil},
		{"api_key", "char", tVarchar, nil}, {"write_date", "datetime", tTimestamp, nil},
	})
	message := modelOf(3, "mail.message", "mail_message", []fieldSpec{{"id", "integer", tInt4, nil}, {"res_id", "many2one_reference", tInt4, nil}})
	integer := []catalog.Column{{Name: "order_id", Type: tInt4}, {Name: "tag_id", Type: tInt4}}
	rel := &catalog.Table{OID: 4, Schema: "public", Name: "sale_order_tag_rel", Identity: 'd', PrimaryKey: []string{"order_id", "tag_id"}, Columns: integer}
	old := &catalog.Table{OID: 5, Schema: "public", Name: "old_rel", Identity: 'd', Columns: integer}
	plain := &catalog.Table{OID: 6, Schema: "public", Name: "plain", Identity: 'f', PrimaryKey: []string{"id"}, Columns: []catalog.Column{{Name: "id", Type: tInt4}}}
	return catalog.New([]*catalog.Table{order.Table, line.Table, message.Table, rel, old, plain}, []*catalog.Model{order, line, message}, &catalog.Odoo{Schema: "public"})
}

// B9: what a rollup asks of the database, and shows of lines: no secret, and nothing large unless it is named.
func TestRollupNeeds(t *testing.T) {
	set := mustCompile(t, rollupCatalog(),
		Config{Name: "all", Rollup: []any{"order_line", "tag_ids"}},
		Config{Name: "named", Rollup: map[string]any{"order_line": []any{"note", "name"}, "tag_ids": true}})
	full := map[string]bool{}
	for _, n := range set.Needs() {
		full[n.Table.Name] = n.Full
		if n.Full && len(n.Why) == 0 {
			t.Errorf("%s: no reason is given", n.Table)
		}
	}
	if len(full) != 3 || !full["sale_order"] || !full["sale_order_line"] || full["sale_order_tag_rel"] {
		t.Errorf("needs: %v", full)
	}
	for table, want := range map[string]bool{"sale_order": true, "sale_order_line": true, "sale_order_tag_rel": true, "mail_message": false} {
		if net, raw := set.Wants("public", table); net != want || raw {
			t.Errorf("wants %s: %v, %v", table, net, raw)
		}
	}
	if related := set.Related(); len(related) != 1 || related[0].Name != "sale_order" {
		t.Errorf("looks into %v", related)
	}
	for _, r := range set.Rules() {
		var shown []string
		for _, u := range r.Rollups() {
			shown = append(shown, u.Field+": "+strings.Join(u.Columns(), " "))
		}
		want := map[string]string{"all": "order_line: name, tag_ids: tag_id", "named": "order_line: note name, tag_ids: tag_id"}[r.Name]
		if got := strings.Join(shown, ", "); got != want {
			t.Errorf("%s shows %s, want %s", r.Name, got, want)
		}
	}
}

// Mistakes about lines, upgrades and cascades have a place and a remedy; a noisy model earns a warning.
func TestRollupProblems(t *testing.T) {
	for _, tt := range []struct {
		name               string
		config             Config
		path, message, fix string
	}{
		{"misspelt", Config{Rollup: []any{"order_lines"}}, "rollup[0]", `unknown field "order_lines" of sale.order`, `did you mean "order_line"?`},
		{"not to many", Config{Rollup: []any{"state"}}, "rollup[0]", `field "state" of sale.order is selection`, "its fields of that kind are"},
		{"a number", Config{Rollup: []any{int64(1)}}, "rollup[0]", "1 is no name of a field", "write the name in quotes"},
		{"twice", Config{Rollup: []any{"tag_ids", "tag_ids"}}, "rollup[1]", "listed twice", ""},
		{"text", Config{Rollup: "order_line"}, "rollup", "rollup takes a list of fields or a table", `rollup = ["order_line"]`},
		{"empty", Config{Rollup: []any{}}, "rollup", "no field is named", "or remove it"},
		{"empty columns", Config{Rollup: map[string]any{"order_line": []any{}}}, "rollup.order_line", "come in a list", `rollup = ["order_line"]`},
		{"misspelt column", Config{Rollup: map[string]any{"order_line": []any{"nam"}}}, "rollup.order_line[0]", `unknown field "nam" of sale.order.line`, `did you mean "name"?`},
		{"a secret", Config{Rollup: map[string]any{"order_line": []any{"api_key"}}}, "rollup.order_line[0]", "holds a secret", "secrets never leave"},
		{"columns of pairs", Config{Rollup: map[string]any{"tag_ids": []any{"name"}}}, "rollup.tag_ids", "is many2many", `rollup = ["tag_ids"]`},
		{"computed", Config{Rollup: []any{"found_ids"}}, "rollup[0]", "has no table of its own", "roll up a stored field"},
		{"a reference", Config{Rollup: []any{"messages"}}, "rollup[0]", "mail.message.res_id does not point to sale.order alone", `model = "mail.message"`},
		{"no primary key", Config{Rollup: []any{"old_ids"}}, "rollup[0]", "has no primary key", "ALTER TABLE"},
		{"no writes", Config{On: []string{"create"}, Rollup: []any{"order_line"}}, "rollup", "the rule is not on write", `add "write" to on`},
		{"each write", Config{EachWrite: true, Rollup: []any{"order_line"}}, "rollup", "each_write sends single writes", "remove one"},
		{"plain table", Config{Table: "plain", Rollup: []any{"lines"}}, "rollup", "plain is a plain table", "Odoo models"},
		{"not rolled up", Config{When: `rolled("order_line")`}, "when", `does not roll up a field "order_line"`, `rollup = ["order_line"]`},
		{"misspelt in a condition", Config{Rollup: []any{"order_line"}, When: `lines("order_lin").added > 1`}, "when", `does not roll up`, `did you mean "order_line"?`},
		{"no such count", Config{Rollup: []any{"order_line"}, When: `lines("order_line").add > 1`}, "when", "", ""},
		{"no cascade", Config{When: "cascade != nil"}, "when", "no record of sale.order is deleted because another one is", "always be nil"},
		{"misspelt word", Config{Upgrades: "hld"}, "upgrades", `unknown word "hld"`, `did you mean "hold"?`},
	} {
		config := rule(tt.config)
		if config.Table != "" {
			config.Model = ""
		}
		_, err := Compile([]Config{config}, rollupCatalog())
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		found := false
		for _, e := range flattenErrors(err) {
			p, ok := e.(*Problem)
			found = found || ok && p.Path == tt.path && strings.Contains(p.Message, tt.message) && strings.Contains(p.Suggest, tt.fix)
		}
		if !found {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	set := mustCompile(t, rollupCatalog(), Config{Name: "noise", Model: "mail.message", Upgrades: "drop"}, Config{Name: "orders", Upgrades: "send"})
	if w := set.Warnings(); len(w) != 1 || w[0].Name != "noise" || w[0].Path != "model" || !strings.Contains(w[0].Message, "for its own sake") || w[0].Suggest == "" {
		t.Errorf("warnings: %v", w)
	}
	if !set.MindsUpgrades() {
		t.Error("upgrades are dropped, and not minded")
	}
	for table, want := range map[string]bool{"bus_bus": true, "ir_cron_trigger": true, "ir_model_data": true, "queue_job_channel": true, "sale_order": false, "stock_quant": false, "ir_attachment": false} {
		if Noisy(table) != want {
			t.Errorf("%s: noisy %v", table, !want)
		}
	}
}
