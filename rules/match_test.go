package rules

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// matched lists the rules that apply, with "!" before those that failed.
func matched(m *Matcher, c *cdc.Change) []string {
	var out []string
	for _, match := range m.Match(nil, testTx, c) {
		name := match.Rule.Name
		if match.Err != nil {
			name = "!" + name
		}
		out = append(out, name)
	}
	return out
}

func with(r record, pairs ...string) record {
	r = maps.Clone(r)
	for i := 0; i < len(pairs); i += 2 {
		r[pairs[i]] = pairs[i+1]
	}
	return r
}

func TestMatch(t *testing.T) {
	cat := testCatalog()
	rel, partner := relationOf(cat.Table("public", "sale_order")), relationOf(cat.Table("public", "res_partner"))
	off := false
	set := mustCompile(t, cat,
		Config{Name: "all"},
		Config{Name: "off", Active: &off},
		Config{Name: "creates", On: []string{"create"}},
		Config{Name: "sold", On: []string{"create", "write"}, When: `entered("state", ["sale", "done"])`},
		Config{Name: "ignores", On: []string{"write"}, Ignore: []string{"note", "priority"}},
		Config{Name: "raw", EachWrite: true},
		Config{Name: "raw_sold", On: []string{"write"}, EachWrite: true, When: `after.state == "sale"`},
		Config{Name: "partners", Model: "res.partner"},
		Config{Name: "by_table", Table: "sale_order", On: []string{"unlink"}},
	)
	m := set.NewMatcher()
	raw := func(c *cdc.Change) *cdc.Change { c.Raw = true; return c }
	tests := []struct {
		name   string
		change *cdc.Change
		want   []string
	}{
		{"create", created(t, rel, full), []string{"all", "creates", "sold"}},
		{"create of another model", created(t, partner, record{"id": "1"}), []string{"partners"}},
		{"write", wrote(t, rel, draft, full), []string{"all", "sold", "ignores"}},
		{"unlink", unlinked(t, rel, full), []string{"all", "by_table"}},
		{"nothing changed", wrote(t, rel, full, full), nil},
		{"only touched", wrote(t, rel, full, with(full, "write_date", "2026-03-01 10:30:00", "write_uid", "9", "message_main_attachment_id", "5")), nil},
		{"only a secret", wrote(t, rel, full, with(full, "access_token", "x")), nil},
		{"zeros were added to a number", wrote(t, rel, full, with(full, "amount_total", "1250.5000", "weight", "1e-1")), nil},
		{"NULL became false", wrote(t, rel, with(record{"id": "42"}), with(record{"id": "42"}, "locked", "f")), nil},
		{"true became false", wrote(t, rel, with(full, "locked", "t"), with(full, "locked", "f")), []string{"all", "ignores"}},
		{"ignored columns", wrote(t, rel, full, with(full, "note", "x", "priority", "9")), []string{"all"}},
		{"an ignored and another column", wrote(t, rel, full, with(full, "note", "x", "name", "y")), []string{"all", "ignores"}},
		{"unchanged TOAST", wrote(t, rel, full, with(full, "note", absent)), nil},
		{"old row unknown, condition holds or is not there", blind(t, rel, full), []string{"!all", "!sold", "!ignores"}},
		{"old row unknown, condition cannot hold", blind(t, rel, draft), []string{"!all", "!ignores"}},
		{"raw write without a change", raw(wrote(t, rel, full, full)), []string{"raw", "raw_sold"}},
		{"raw write, old row unknown", raw(blind(t, rel, full)), []string{"raw", "raw_sold"}},
		{"raw create", raw(created(t, rel, draft)), []string{"raw"}},
		{"truncate", &cdc.Change{Op: cdc.Truncate, Rel: rel}, nil},
		{"table of no rule", created(t, relationOf(cat.Table("public", "res_users")), record{"id": "1"}), nil},
		{"table unknown to the catalog", created(t, cdc.NewRelation(99, "public", "new", 'd', []cdc.Column{{Name: "id", Type: tInt4}}, []string{"id"}), record{"id": "1"}), nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 { // the second time from the caches
				if diff := cmp.Diff(tc.want, matched(m, tc.change)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		})
	}
}

// Without the old row it cannot be known whether a net write changed anything: it says so.
func TestMatchWithoutOldRow(t *testing.T) {
	cat := testCatalog()
	set := mustCompile(t, cat, Config{Name: "all", On: []string{"write"}})
	got := set.NewMatcher().Match(nil, testTx, blind(t, relationOf(cat.Table("public", "sale_order")), full))
	var e *EvalError
	if len(got) != 1 || !errors.As(got[0].Err, &e) || !errors.Is(e, ErrNoOldRow) || !strings.Contains(e.Hint(), "REPLICA IDENTITY FULL") {
		t.Fatalf("got %+v", got)
	}
	if want := `rule "all", when: whether this write changed anything: the old row is not in WAL`; e.Error() != want {
		t.Errorf("got %q, want %q", e, want)
	}
}

// A column that vanishes fails the rules that read it, and no other; it may come back.
func TestMatchAfterDDL(t *testing.T) {
	cat := testCatalog()
	table := cat.Table("public", "sale_order")
	set := mustCompile(t, cat,
		Config{Name: "total", When: `after.amount_total > 1`}, Config{Name: "change", When: `changed("amount_total")`},
		Config{Name: "state", When: `after.state == "sale"`}, Config{Name: "sums", Fields: []string{"name", "amount_total"}})
	m := set.NewMatcher()
	whole := relationOf(table)
	var cols []cdc.Column
	for _, c := range table.Columns {
		if c.Name != "amount_total" {
			cols = append(cols, cdc.Column{Name: c.Name, Type: c.Type})
		}
	}
	slices.Reverse(cols) // positions are a relation's own affair
	cols = append(cols, cdc.Column{Name: "x_new", Type: tText})
	dropped := cdc.NewRelation(1, "public", "sale_order", 'f', cols, []string{"id"})
	less := func(r record) record { r = maps.Clone(r); delete(r, "amount_total"); return r }

	if diff := cmp.Diff([]string{"total", "change", "state", "sums"}, matched(m, created(t, whole, full))); diff != "" {
		t.Error(diff)
	}
	c := wrote(t, dropped, less(draft), with(less(full), "x_new", "1"))
	if diff := cmp.Diff([]string{"!total", "!change", "state", "sums"}, matched(m, c)); diff != "" {
		t.Error(diff)
	}
	if err := m.Match(nil, testTx, c)[0].Err; !errors.Is(err, ErrNoColumn) {
		t.Errorf("got %v", err)
	}
	if v, err := m.Eval(set.Rules()[3], 1, testTx, c); !errors.Is(err, ErrNoColumn) {
		t.Errorf("got %v, %v", v, err)
	}
	if diff := cmp.Diff([]string{"total", "state", "sums"}, matched(m, wrote(t, whole, with(full, "name", "x"), full))); diff != "" {
		t.Error(diff)
	}
	// DDL in the middle of the transaction: the two versions of the row have different shapes.
	mixed := wrote(t, dropped, nil, with(less(full), "x_new", "1"))
	mixed.Before = rowOf(t, whole, full)
	if diff := cmp.Diff([]string{"!total", "!change", "state", "sums"}, matched(m, mixed)); diff != "" {
		t.Error(diff)
	}
	mixed.After = rowOf(t, dropped, less(full))
	mixed.After, mixed.Before = rowOf(t, whole, full), rowOf(t, dropped, less(full))
	mixed.Rel = whole
	if diff := cmp.Diff([]string{"total", "!change", "state", "sums"}, matched(m, mixed)); diff != "" {
		t.Error(diff)
	}
}

// A Set is shared; every goroutine has a Matcher of its own.
func TestMatchersInParallel(t *testing.T) {
	cat := testCatalog()
	set := mustCompile(t, cat, append(quietRules(), Config{Name: "sum", Payload: Payload{"x": `sum(map(after.sizes, # * 2)) + after.amount_total`}})...)
	c := benchChange(t, relationOf(cat.Table("public", "sale_order")))
	rule := set.Rules()[len(set.Rules())-1]
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			m := set.NewMatcher()
			for range 200 {
				if got := matched(m, c); len(got) != 1 || got[0] != "sum" {
					t.Errorf("got %v", got)
				}
				if v, err := m.Eval(rule, 0, testTx, c); err != nil || v != cdc.Numeric("1406.50") {
					t.Errorf("got %v, %v", v, err)
				}
			}
		})
	}
	group.Wait()
}

type relatedRows map[int64]cdc.Row

func (r relatedRows) Rows(l *Link, id int64) ([]cdc.Row, bool) {
	if l.Schema != "public" || l.Table != "res_partner" {
		return nil, false
	}
	if row, ok := r[id]; ok {
		return []cdc.Row{row}, true
	}
	return nil, true
}

func TestRelated(t *testing.T) {
	cat := testCatalog()
	set := mustCompile(t, cat,
		Config{Name: "vip", On: []string{"create", "write"}, When: `after.state == "sale" && ref("partner_id").credit > 100`},
		Config{Name: "mail", On: []string{"create", "write"}, When: `after.state == "draft"`, Payload: Payload{"who": "partner_id.email", "name": `ref("partner_id").name`}},
		Config{Name: "late", When: `tx.xid == 4711 && ref("user_id").login == "x"`, On: []string{"unlink"}})
	m := set.NewMatcher()
	rel, partner := relationOf(cat.Table("public", "sale_order")), relationOf(cat.Table("public", "res_partner"))
	links := set.Links()
	want := Ref{links[0], 7}
	for _, tc := range []struct {
		name   string
		change *cdc.Change
		want   []Ref
	}{
		{"the condition reads it", created(t, rel, full), []Ref{want}},
		{"the payload reads it", created(t, rel, draft), []Ref{want}},
		{"no rule can match", created(t, rel, with(full, "state", "cancel")), nil},
		{"nothing changed", wrote(t, rel, full, full), nil},
		{"NULL", created(t, rel, record{"id": "42", "state": "sale"}), nil},
		{"the condition depends on the transaction", unlinked(t, rel, with(full, "user_id", "3")), []Ref{{links[1], 3}}},
		{"another table", created(t, partner, record{"id": "42"}), nil},
	} {
		if got := m.Missing(nil, testTx, tc.change); !slices.Equal(tc.want, got) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
	if diff := cmp.Diff([]*Link{{Schema: "public", Table: "res_partner", By: "id", Columns: []string{"credit", "email", "id", "name"}},
		{Schema: "public", Table: "res_users", By: "id", Columns: []string{"id", "login"}}}, links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	rows := relatedRows{7: rowOf(t, partner, record{"id": "7", "name": "Azure", "email": "a@example.com", "credit": "100.01"}), 8: rowOf(t, partner, record{"id": "8"})}
	tx := testTx
	tx.Related = rows
	if got := m.Missing(nil, tx, created(t, rel, full)); len(got) > 0 {
		t.Errorf("%v is missing although it was fetched", got)
	}
	for partnerID, n := range map[string]int{"7": 1, "8": 0, "9": 0} {
		if got := m.Match(nil, tx, created(t, rel, with(full, "partner_id", partnerID))); len(got) != n || n == 1 && got[0].Err != nil {
			t.Errorf("partner %s: %+v", partnerID, got)
		}
	}
	for partnerID, want := range map[string][2]any{"7": {"Azure", "a@example.com"}, "8": {nil, nil}, "9": {nil, nil}} {
		for i, w := range want {
			if got, err := m.Eval(set.Rules()[1], i, tx, created(t, rel, with(draft, "partner_id", partnerID))); err != nil || got != w {
				t.Errorf("partner %s: %v, %v", partnerID, got, err)
			}
		}
	}
	if diff := cmp.Diff([]*catalog.Table{cat.Table("public", "res_partner"), cat.Table("public", "res_users")}, set.Related(), cmp.Comparer(func(a, b *catalog.Table) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestNeedsAndWants(t *testing.T) {
	cat := testCatalog()
	off := false
	tests := []struct {
		name   string
		config Config
		full   bool
		why    []string
	}{
		{"create", Config{On: []string{"create"}, When: `after.state == "sale" && before.state == nil`}, false, nil},
		{"create, transitions", Config{On: []string{"create"}, When: `became("state", "sale")`}, false, nil},
		{"write", Config{On: []string{"write"}, When: `after.state == "sale"`}, true, []string{"is on write and must tell writes that change nothing from others"}},
		{"each write", Config{On: []string{"write"}, EachWrite: true, When: `after.state == "sale"`}, false, nil},
		{"each write with before", Config{On: []string{"write"}, EachWrite: true, When: `changed("state")`, Payload: Payload{"was": "before.name"}}, true, []string{"reads before.name, before.state"}},
		{"unlink, key only", Config{On: []string{"unlink"}, Fields: []string{"id"}}, false, nil},
		{"unlink, key in the condition", Config{On: []string{"unlink"}, When: `before.id > 5`, Fields: []string{"id"}}, false, nil},
		{"unlink, fields", Config{On: []string{"unlink"}, Fields: []string{"id", "name"}}, true, []string{"is on unlink and sends fields of the deleted row"}},
		{"unlink, label", Config{On: []string{"unlink"}, Payload: Payload{"s": `label("state")`}}, true, []string{"is on unlink and sends fields of the deleted row"}},
		{"unlink, whole", Config{On: []string{"unlink"}, When: `before.state == "sale"`}, true, []string{"reads before.state", "is on unlink and sends fields of the deleted row"}},
		{"after of unlink", Config{On: []string{"unlink"}, When: `after.state == nil`, Fields: []string{"id"}}, false, nil},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			set := mustCompile(t, cat, tc.config)
			for i := range tc.why {
				tc.why[i] = `rule "r" ` + tc.why[i]
			}
			want := []Need{{Table: cat.Table("public", "sale_order"), Net: !tc.config.EachWrite, Raw: tc.config.EachWrite, Full: tc.full, Why: tc.why}}
			if diff := cmp.Diff(want, set.Needs(), cmp.Comparer(func(a, b *catalog.Table) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if net, raw := set.Wants("public", "sale_order"); net != want[0].Net || raw != want[0].Raw {
				t.Errorf("wants net %v, raw %v", net, raw)
			}
		})
	}
	set := mustCompile(t, cat, Config{Name: "a", Active: &off}, Config{Name: "b", Model: "res.partner"}, Config{Name: "c", Table: "Stock Level", On: []string{"create"}})
	if n := set.Needs(); len(n) != 2 || n[0].Table.Name != "Stock Level" || n[1].Table.Name != "res_partner" {
		t.Errorf("needs of inactive rules, or in the wrong order: %+v", n)
	}
	if net, raw := set.Wants("public", "sale_order"); net || raw {
		t.Error("an inactive rule wants changes")
	}
	if net, raw := set.Wants("public", "nothing"); net || raw {
		t.Error("a rule wants an unknown table")
	}
}

func TestOutputs(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	column := func(names ...string) []int {
		var out []int
		for _, n := range names {
			out = append(out, rel.Column(n))
		}
		slices.Sort(out)
		return out
	}
	set := mustCompile(t, cat,
		Config{Name: "fields", Fields: []string{"state", "name"}, Event: "sold"},
		Config{Name: "payload", Payload: Payload{"total": "amount_total", "b": " name ", "a": `after.weight > before.priority && ref("partner_id").name == "x"`, "operation": "op"}},
		Config{Name: "whole"},
		Config{Name: "table", Table: "Stock Level", On: []string{"create"}, Payload: Payload{"key": "id", "qty": "qty"}, Endpoints: []string{"a", "b"}, Endpoint: ""})
	rules := set.Rules()
	want := [][][2]string{
		{{"state", "state"}, {"name", "name"}},
		{{"a", ""}, {"b", "name"}, {"operation", ""}, {"total", "amount_total"}},
		{},
		{{"key", ""}, {"qty", "qty"}},
	}
	for i, r := range rules {
		got := [][2]string{}
		for _, o := range r.Outputs() {
			got = append(got, [2]string{o.Name, o.Column})
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.Name, diff)
		}
		if r.WholeRecord() != (r.Name == "whole") {
			t.Errorf("%s: WholeRecord is %v", r.Name, r.WholeRecord())
		}
	}
	if diff := cmp.Diff(column("state", "name"), rules[0].Reads(rel)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(column("amount_total", "name", "weight", "priority", "partner_id"), rules[1].Reads(rel)); diff != "" {
		t.Error(diff)
	}
	if got := rules[2].Reads(rel); len(got) != len(rel.Columns)-1 || slices.Contains(got, rel.Column("access_token")) {
		t.Errorf("whole record reads %v of %d columns", got, len(rel.Columns))
	}
	if got := rules[0].EventName(cdc.Write); got != "sold" {
		t.Errorf("event %q", got)
	}
	if got := rules[2].EventName(cdc.Unlink); got != "sale.order.unlink" {
		t.Errorf("event %q", got)
	}
	if r := rules[3]; r.Model != "Stock Level" || r.Odoo != nil || !slices.Equal(r.Endpoints, []string{"a", "b"}) || r.EventName(cdc.Create) != "Stock Level.create" {
		t.Errorf("rule on a plain table: %+v", r)
	}
	stock := relationOf(rules[3].Table)
	c := created(t, stock, record{"shop": "1", "sku": "A", "qty": "1.50"})
	c.Key = "1,A"
	for i, want := range []any{"1,A", cdc.Numeric("1.50")} {
		if got, err := set.NewMatcher().Eval(rules[3], i, testTx, c); err != nil || got != want {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
	}
}
