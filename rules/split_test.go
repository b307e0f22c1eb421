package rules

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
)

// splitRule is a rule on orders that has no endpoint unless one is given.
func splitRule(s Split, edit func(*Config)) Config {
	c := Config{Name: "r", Model: "sale.order", On: []string{"create", "write"}, Split: &s}
	if s.Endpoints == nil || s.Other == nil {
		c.Endpoint = "erp"
	}
	if edit != nil {
		edit(&c)
	}
	return c
}

// showGroups compiles a rule and writes its groups of a change: each with key, endpoints and payload.
func showGroups(t *testing.T, c Config, change func(*cdc.Relation) *cdc.Change, fill func(*shop)) (got []string, err error) {
	t.Helper()
	cat := salesCatalog()
	set, err := Compile([]Config{c}, cat)
	if err != nil {
		t.Fatal(render(err))
	}
	m, r, s := set.NewMatcher(), set.Rules()[0], newShop(t, cat)
	if fill != nil {
		fill(s)
	}
	ch := change(relationOf(cat.Model(c.Model).Table))
	tx := s.fetch(m, ch)
	tx.Related = &kept{Related: s, rows: map[Ref][]cdc.Row{}}
	groups, err := m.Groups(r, tx, ch)
	for i, g := range groups {
		if g.Index != i+1 || g.Of != len(groups) {
			t.Errorf("group %d of %d says %d of %d", i+1, len(groups), g.Index, g.Of)
		}
		out := map[string]any{}
		for i := range r.Outputs() {
			if err := m.Begin(r, tx, ch); err != nil {
				t.Fatal(err)
			}
			m.Within(g)
			o := &r.Outputs()[i]
			if out[o.Name], err = m.evaluated(r, o); err != nil {
				t.Fatal(err)
			}
		}
		text, err := json.Marshal(out)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s > %s %s", g.Key, strings.Join(g.Endpoints, ","), text))
	}
	if err := m.Begin(r, tx, ch); err != nil || m.frame.group != nil {
		t.Errorf("a group outlives its body: %v", err)
	}
	return got, err
}

// kept remembers the rows that it was asked for.
type kept struct {
	Related
	rows map[Ref][]cdc.Row
}

func (k *kept) Rows(l *Link, id int64) ([]cdc.Row, bool) {
	if rows, ok := k.rows[Ref{l, id}]; ok {
		return rows, true
	}
	rows, ok := k.Related.Rows(l, id)
	k.rows[Ref{l, id}] = rows
	return rows, ok
}

// D1: the lines of a record in groups, and what the payload of each shows of them.
func TestSplit(t *testing.T) {
	order := func(rel *cdc.Relation) *cdc.Change { return created(t, rel, shopOrder) }
	write := func(rel *cdc.Relation) *cdc.Change {
		return wrote(t, rel, with(shopOrder, "state", "draft"), shopOrder)
	}
	lonely := func(rel *cdc.Relation) *cdc.Change { return created(t, rel, record{"id": "99"}) }
	gone := func(rel *cdc.Relation) *cdc.Change { return unlinked(t, rel, shopOrder) }
	text := func(s string) *string { return &s }
	lines := Payload{"l": map[string]any{"each": "order_line", "fields": []any{"id"}}, "n": "name"}
	for _, tt := range []struct {
		name   string
		split  Split
		edit   func(*Config)
		change func(*cdc.Relation) *cdc.Change
		want   []string
	}{
		{"each line", Split{Each: "order_line"}, nil, order, []string{
			`id 12 > erp {"l":[{"id":12}],"n":"S00042"}`, `id 11 > erp {"l":[{"id":11}],"n":"S00042"}`, `id 13 > erp {"l":[{"id":13}],"n":"S00042"}`}},
		{"by a path, to endpoints", Split{Each: "order_line", By: "product_id.product_tmpl_id.type", Endpoints: map[string]string{"service": "shop", "other": "none"}, Other: text("erp")}, nil, write, []string{
			`by service > shop {"l":[{"id":12}],"n":"S00042"}`, `by consu > erp {"l":[{"id":11}],"n":"S00042"}`, `null > erp {"l":[{"id":13}],"n":"S00042"}`}},
		{"by an inherited, translated field", Split{Each: "order_line", By: "product_id.name", Endpoints: map[string]string{"Chaise": "shop"}}, func(c *Config) { c.Lang = "fr_FR" }, order, []string{
			`by Desk > erp {"l":[{"id":12}],"n":"S00042"}`, `by Chaise > shop {"l":[{"id":11}],"n":"S00042"}`, `null > erp {"l":[{"id":13}],"n":"S00042"}`}},
		{"by an expression", Split{Each: "order_line", By: "qty != nil && qty >= 1"}, func(c *Config) { c.Endpoint, c.Endpoints = "", []string{"a", "b"} }, order, []string{
			`by true > a,b {"l":[{"id":12},{"id":11}],"n":"S00042"}`, `by false > a,b {"l":[{"id":13}],"n":"S00042"}`}},
		{"by a many2one", Split{Each: "order_line", By: "product_id", Where: "product_id != nil", Endpoints: map[string]string{"1": "shop"}}, nil, order, []string{
			`by 2 > erp {"l":[{"id":12}],"n":"S00042"}`, `by 1 > shop {"l":[{"id":11}],"n":"S00042"}`}},
		{"by a number", Split{Each: "order_line", By: "qty", Endpoints: map[string]string{"4": "shop"}}, nil, order, []string{
			`by 1 > erp {"l":[{"id":12}],"n":"S00042"}`, `by 4 > shop {"l":[{"id":11}],"n":"S00042"}`, `null > erp {"l":[{"id":13}],"n":"S00042"}`}},
		{"by a number that is worked out", Split{Each: "order_line", By: "qty * 2.50", Endpoints: map[string]string{"10": "shop"}}, nil, order, []string{
			`by 2.5 > erp {"l":[{"id":12}],"n":"S00042"}`, `by 10 > shop {"l":[{"id":11}],"n":"S00042"}`, `null > erp {"l":[{"id":13}],"n":"S00042"}`}},
		{"what the record says", Split{Each: "order_line", By: "parent.state == state"}, nil, order, []string{
			`by true > erp {"l":[{"id":12}],"n":"S00042"}`, `by false > erp {"l":[{"id":11},{"id":13}],"n":"S00042"}`}},
		{"others are dropped", Split{Each: "order_line", By: "state", Endpoints: map[string]string{"sale": "shop"}, Other: text("")}, nil, order, []string{
			`by sale > shop {"l":[{"id":12}],"n":"S00042"}`, `by draft >  {"l":[{"id":11}],"n":"S00042"}`, `null >  {"l":[{"id":13}],"n":"S00042"}`}},
		{"many2many, and lists without archived rows", Split{Each: "tag_ids", By: "name"}, func(c *Config) {
			c.Payload = Payload{"t": "tag_ids.name", "l": "order_line", "a": map[string]any{"each": "tag_ids", "archived": true, "fields": []any{"name"}}}
		}, order, []string{`by Urgent > erp {"a":[{"name":"Urgent"}],"l":[12,11,13],"t":["Urgent"]}`}},
		{"all ways to the lines", Split{Each: "order_line", By: "state"}, func(c *Config) {
			c.Payload = Payload{"p": "order_line.product_id.default_code", "s": "sum(order_line.qty)", "o": map[string]any{"each": "order_line", "order": "id", "where": "qty > 0", "limit": int64(1), "fields": map[string]any{"all": "parent.order_line.id", "tags": "tax_ids.name"}}}
		}, order, []string{
			`by sale > erp {"o":[{"all":[12],"tags":["Urgent"]}],"p":["DESK"],"s":1}`, `by draft > erp {"o":[{"all":[11],"tags":["Urgent"]}],"p":["CHAIR"],"s":"4.0"}`, `null > erp {"o":[],"p":[null],"s":0}`}},
		{"no lines", Split{Each: "order_line"}, nil, lonely, nil},
		{"none that count", Split{Each: "order_line", Where: "qty > 1000"}, nil, order, nil},
		{"a deleted record", Split{Each: "order_line"}, func(c *Config) { c.On = []string{"write", "unlink"} }, gone, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := splitRule(tt.split, func(c *Config) { c.Payload = lines })
			if tt.edit != nil {
				tt.edit(&c)
			}
			got, err := showGroups(t, c, tt.change, nil)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Invariant 9: too many lines or groups are an error, as are values that no lines can be grouped by; a list of the payload shows the group's lines, wherever
// they stand among all.
func TestInvariant9SplitIsBounded(t *testing.T) {
	order := func(rel *cdc.Relation) *cdc.Change { return created(t, rel, shopOrder) }
	of := func(n int) func(*shop) {
		return func(s *shop) {
			s.rows["sale_order_line"] = nil
			for i := range n {
				s.rows["sale_order_line"] = append(s.rows["sale_order_line"], record{"id": strconv.Itoa(i + 1), "order_id": "42", "qty": strconv.Itoa(i / 1500), "name": "x"})
			}
		}
	}
	last := Payload{"l": map[string]any{"each": "order_line", "limit": int64(1), "fields": []any{"id"}}}
	for _, tt := range []struct {
		split  Split
		lines  int
		groups int
		err    string
	}{
		{Split{Each: "order_line"}, 1000, 1000, ""},
		{Split{Each: "order_line"}, 1001, 0, "split.each: the lines make more than 1000 groups"},
		{Split{Each: "order_line", By: "qty"}, 3001, 3, ""},
		{Split{Each: "order_line", By: "name"}, 10_001, 0, "split.each: order_line has more than 10000 rows"},
		{Split{Each: "order_line", By: "[name]"}, 1, 0, "split.by: the value is a list or an object"},
		{Split{Each: "order_line", By: "1 / (int(qty) - int(qty))"}, 1, 0, "split.by"},
		{Split{Each: "order_line", Where: "1 / (int(qty) - int(qty)) > 1"}, 1, 0, "split.where"},
	} {
		got, err := showGroups(t, splitRule(tt.split, func(c *Config) { c.Payload = last }), order, of(tt.lines))
		if len(got) != tt.groups || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%+v of %d lines: %d groups, %v", tt.split, tt.lines, len(got), err)
		}
		if tt.lines == 3001 && got[2] != `by 2 > erp {"l":[{"id":3001}]}` {
			t.Errorf("the last group: %s", got[2])
		}
	}
}

// What a split reads is fetched and its tables are asked for, once the condition holds.
func TestSplitNeeds(t *testing.T) {
	cat := salesCatalog()
	set, err := Compile([]Config{splitRule(Split{Each: "order_line", By: "product_id.default_code"}, func(c *Config) { c.When = `after.state == "sale"` })}, cat)
	if err != nil {
		t.Fatal(render(err))
	}
	m, s := set.NewMatcher(), newShop(t, cat)
	rel := relationOf(cat.Model("sale.order").Table)
	if s.fetch(m, created(t, rel, with(shopOrder, "state", "draft"))); len(s.asked) != 0 {
		t.Errorf("asked for %v though the condition does not hold", s.asked)
	}
	if s.fetch(m, created(t, rel, shopOrder)); s.rounds != 2 {
		t.Errorf("%d rounds", s.rounds)
	}
	var tables []string
	for _, table := range set.Related() {
		tables = append(tables, table.Name)
	}
	if diff := cmp.Diff([]string{"product_product", "sale_order_line"}, tables); diff != "" {
		t.Error(diff)
	}
}

func TestSplitProblems(t *testing.T) {
	text := func(s string) *string { return &s }
	to := map[string]string{"sale": "shop"}
	for _, tt := range []struct {
		name               string
		config             Config
		path, message, fix string
	}{
		{"no field", splitRule(Split{}, nil), "split.each", "needs the field", `each = "order_line"`},
		{"misspelt", splitRule(Split{Each: "order_lin"}, nil), "split.each", `unknown field "order_lin"`, `did you mean "order_line"?`},
		{"one value", splitRule(Split{Each: "partner_id"}, nil), "split.each", "is many2one", ""},
		{"a path", splitRule(Split{Each: "partner_id.child_ids"}, nil), "split.each", "is a path", "make a rule on the model"},
		{"inherited", splitRule(Split{Each: "product_variant_ids"}, func(c *Config) { c.Model = "product.product" }), "split.each", "is kept in product.template", `model = "product.template"`},
		{"computed", splitRule(Split{Each: "website_ids"}, nil), "split.each", "no table holds its rows", ""},
		{"misspelt by", splitRule(Split{Each: "order_line", By: "product_id.nmae"}, nil), "split.by", `unknown field "nmae"`, `did you mean "name"?`},
		{"a secret", splitRule(Split{Each: "order_line", By: "order_id.access_token"}, nil), "split.by", "holds a secret", "secrets never leave"},
		{"many values", splitRule(Split{Each: "order_line", By: "tax_ids.name"}, nil), "split.by", "has many values", "many2one"},
		{"misspelt where", splitRule(Split{Each: "order_line", Where: "qyt > 1"}, nil), "split.where", `"qyt"`, `"qty"`},
		{"where is no condition", splitRule(Split{Each: "order_line", Where: "qty"}, nil), "split.where", "", ""},
		{"endpoints without by", splitRule(Split{Each: "order_line", Endpoints: to, Other: text("erp")}, nil), "split.endpoints", "there is no by", "by ="},
		{"nowhere to go", splitRule(Split{Each: "order_line", By: "state", Endpoints: to}, func(c *Config) { c.Endpoint = "" }), "split.endpoints", "nowhere to go", `other = "" to drop them`},
		{"two ways to go", splitRule(Split{Each: "order_line", By: "state", Endpoints: to, Other: text("erp")}, func(c *Config) { c.Endpoint = "erp" }), "split.other", "not to both", "remove one"},
		{"other of nothing", splitRule(Split{Each: "order_line", By: "state", Other: text("erp")}, nil), "split.other", "there is no endpoints", "the rule's endpoint"},
		{"no endpoints at all", splitRule(Split{Each: "order_line", By: "state", Endpoints: map[string]string{}}, nil), "split.endpoints", "the table is empty", "endpoints ="},
		{"an empty name", splitRule(Split{Each: "order_line", By: "state", Endpoints: map[string]string{"sale": ""}, Other: text("erp")}, nil), "split.endpoints.sale", "the name is empty", "where"},
		{"no endpoint", splitRule(Split{Each: "order_line"}, func(c *Config) { c.Endpoint = "" }), "endpoint", "a rule needs an endpoint", ""},
		{"deleted records only", splitRule(Split{Each: "order_line"}, func(c *Config) { c.On = []string{"unlink"} }), "split", "would never send anything", `add "create"`},
		{"debounce", splitRule(Split{Each: "order_line"}, func(c *Config) { c.Debounce = "30s" }), "debounce", "can't wait", "remove debounce"},
		{"a message", splitRule(Split{Each: "order_line"}, func(c *Config) { c.On = []string{"message"} }), "split", "a message has no lines", "remove split"},
	} {
		_, err := Compile([]Config{tt.config}, salesCatalog())
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
			t.Errorf("%s:\n%s", tt.name, render(err))
		}
	}
	plain := splitRule(Split{Each: "lines"}, func(c *Config) { c.Model, c.Table = "", "Stock Level" })
	if _, err := Compile([]Config{plain}, testCatalog()); err == nil || !strings.Contains(render(err), "is a plain table") {
		t.Errorf("a plain table: %v", err)
	}
	set, err := Compile([]Config{splitRule(Split{Each: "order_line"}, func(c *Config) { c.On = []string{"write", "unlink"} })}, salesCatalog())
	if err != nil {
		t.Fatal(render(err))
	}
	if w := set.Warnings(); len(w) != 1 || w[0].Path != "split" || !strings.Contains(w[0].Message, "nothing is sent when one is deleted") {
		t.Errorf("warnings: %v", w)
	}
}

// A split that does not fit the database any more parks the rule's events, though without it the rule had no endpoint.
func TestSplitThatDoesNotFit(t *testing.T) {
	other := "erp"
	config := splitRule(Split{Each: "order_line", By: "x_shipper", Endpoints: map[string]string{"dhl": "shop"}, Other: &other}, nil)
	cat := salesCatalog()
	set, unfit, err := Settings{}.CompileFitting([]Config{config}, cat)
	if err != nil || len(unfit) != 1 || !unfit[0].Parks || unfit[0].Problems[0].Path != "split.by" {
		t.Fatalf("%+v, %v", unfit, err)
	}
	got := set.NewMatcher().Match(nil, testTx, created(t, relationOf(cat.Model("sale.order").Table), shopOrder))
	if len(got) != 1 || got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "x_shipper") {
		t.Errorf("%+v", got)
	}
}
