package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/internal/pgtest"
	"walhook/rules"
	"walhook/state"
)

// Lines that were gathered with a parked change show nothing but their keys as soon as an endpoint of its rule hides anything: paths name members
// of a body, and which of them a line's column becomes is not known here.
func TestParkedLinesAreRedacted(t *testing.T) {
	text, number := &cdc.Type{Name: "varchar", Kind: cdc.KindText}, &cdc.Type{Name: "int4", Kind: cdc.KindInt}
	row := func(rel *cdc.Relation, values ...string) cdc.Row {
		var all []cdc.Value
		for i, v := range values {
			all = append(all, cdc.Value{State: cdc.Present, Type: rel.Columns[i].Type, Text: []byte(v)})
		}
		r, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, all))
		if !ok {
			t.Fatal("no row")
		}
		return r
	}
	columns := []cdc.Column{{Name: "id", Type: number}, {Name: "name", Type: text}, {Name: "email", Type: text}}
	order := cdc.NewRelation(1, "public", "sale_order", 'f', columns, []string{"id"})
	line := cdc.NewRelation(2, "public", "sale_order_line", 'f', columns, []string{"id"})
	change, err := cdc.EncodeChange(&cdc.Change{Op: cdc.Create, Rel: order, Key: "42", Writes: 1, After: row(order, "42", "own-name", "own-email"),
		Gathered: &cdc.Gathered{For: "rolled", Own: true, Lines: []cdc.Line{
			{Of: "order_line", Op: cdc.Create, Change: &cdc.Change{Op: cdc.Create, Rel: line, Key: "4711", Writes: 1, After: row(line, "4711", "line-name", "line-email")}},
			{Of: "child_ids", Op: cdc.Create, Change: &cdc.Change{Op: cdc.Create, Rel: order, Key: "4712", Writes: 1, After: row(order, "4712", "child-name", "child-email")}},
		}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		redact       []string
		shown, hides string
	}{
		{nil, "own-name own-email line-name line-email child-name child-email", ""},
		{[]string{"lines.*.*.record.email"}, "own-name own-email 4711 4712", "line-name line-email child-name child-email"},
		{[]string{"email"}, "own-name 4711 4712", "own-email line-name line-email child-name child-email"},
	} {
		cfg := &Config{Endpoints: map[string]delivery.EndpointConfig{"erp": {Redact: tt.redact}}, Rules: []rules.Config{{Name: "rolled", Endpoint: "erp", Fields: []string{"name"}}}}
		got := string(cfg.shownChange(&state.ParkedEvent{Parked: delivery.Parked{Rule: "rolled", Change: change}}))
		for _, want := range strings.Fields(tt.shown) {
			if !strings.Contains(got, want) {
				t.Errorf("redact %v hides %s: %s", tt.redact, want, got)
			}
		}
		for _, secret := range strings.Fields(tt.hides) {
			if strings.Contains(got, secret) {
				t.Errorf("redact %v shows %s: %s", tt.redact, secret, got)
			}
		}
	}
}

// A malformed message goes to no endpoint, so none hides what is wrong with it; of a rule that is gone all but the key is masked.
func TestParkedOfNoRule(t *testing.T) {
	change, err := cdc.EncodeChange(cdc.NewMessage([]byte("{broken-content")), nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{Endpoints: map[string]delivery.EndpointConfig{"erp": {Redact: []string{"email"}}}}
	for rule, shown := range map[string]bool{delivery.NoticeRule: true, "removed": false} {
		got := string(cfg.shownChange(&state.ParkedEvent{Parked: delivery.Parked{Rule: rule, Change: change}}))
		if strings.Contains(got, "broken-content") != shown || (cfg.masks(rule) == nil) != shown {
			t.Errorf("%s: %s", rule, got)
		}
	}
}

// What tables with secrets are needed for does not need the secrets; other tables are read whole, as is that of parameters.
func TestSpareSecrets(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE res_users (id int PRIMARY KEY, login text, password text, active bool); CREATE TABLE ir_config_parameter (id int PRIMARY KEY, key text, value text);
		CREATE TABLE payment_provider (id int PRIMARY KEY, name text, stripe_secret_key text); CREATE TABLE plain (id int PRIMARY KEY, name text)`)
	cat, err := catalog.Load(t.Context(), pgtest.Connect(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range spareSecrets(cat, []cdc.TableNeed{{Schema: "public", Table: "res_users", Full: true}, {Schema: "public", Table: "res_users", Columns: []string{"id"}},
		{Schema: "public", Table: "payment_provider", Optional: true}, {Schema: "public", Table: cdc.ParameterTable}, {Schema: "public", Table: "plain"}, {Schema: "public", Table: "gone"}}) {
		got[n.Table] += strings.Join(n.Columns, ",") + ";"
	}
	want := map[string]string{"res_users": "id,login,active;id;", "payment_provider": "id,name;", cdc.ParameterTable: ";", "plain": ";", "gone": ";"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Only mistakes of rules end check with the status of a wrong configuration.
func TestCheckStatus(t *testing.T) {
	for severity, want := range map[cdc.Severity]int{cdc.SeverityError: exitUsage, cdc.SeverityWarning: exitOK} {
		r := &report{OK: severity != cdc.SeverityError}
		r.add(severity, "rule", "about a rule", "correct it")
		if got := exitCode(r.exit()); got != want {
			t.Errorf("%s: %d, want %d", severity, got, want)
		}
	}
}
