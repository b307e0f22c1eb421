package rules

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// render shows problems as a command would.
func render(err error) string {
	var b strings.Builder
	for _, e := range flattenErrors(err) {
		p := e.(*Problem)
		fmt.Fprintf(&b, "error: %s\n", p)
		for line := range strings.Lines(p.Snippet()) {
			b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
		}
		if p.Hint() != "" {
			fmt.Fprintf(&b, "hint: %s\n", p.Hint())
		}
	}
	return b.String()
}

// wrongConditions are what people write by mistake.
var wrongConditions = []string{
	// Names.
	`before.stat != "sale"`, `after.amount_totl > 5 && after.nmae == ""`, `after["stat"] == "sale"`, `state == "sale"`, `stat == "sale"`, `old.state == "sale"`,
	`befor.state == "sale"`, `after.state == null`, `after.active == True`, `after.display_name == "x"`, `after.order_line == nil`, `after.tag_ids == nil`, `after.image == nil`,
	`after.access_token != nil`, `changed("access_token")`, `after == before`, `keys(after)`, `len(after) > 3`, `after in [before]`, `$env.after.state == "x"`, `get(after, "state") == "sale"`,
	`toJSON(after) contains "x"`, `after[before.state] == "x"`, `after["st" + "ate"] == "x"`, `map(after, #)`, `{"a": after} != nil`, `(after ?? before).state == "x"`, `let x = after; x.state == "x"`,
	`let before = 1; before > 2`, `let a = 1; let a = 2; a > 2`, `tx == nil`, `tx.time > now() && tx.id == 5`, `user == 2`, `user.login == "admin"`, `now > after.date_order`, `changed`,
	// Functions.
	`changd("state")`, `changed()`, `changed(after.state)`, `changed("stat")`, `changed("state", "nmae")`, `became("state")`, `became("stat", "sale")`, `became("state", "sael")`, `became("state", ["sale"])`,
	`became(after.state, "sale")`, `entered("state", "sale")`, `entered("state", [])`, `entered("state", ["sale", "done"])`, `entered("state", ["sael", "done"])`, `entered("state", ["done"])`, `entered("amount_total", ["x"])`,
	`became("amount_total", "x")`, `label("name") == "x"`, `label("stat") == "x"`, `label(after.state) == "x"`, `ref("partner_id") == nil`, `ref("partner_id").nmae == "x"`, `ref("partner").name == "x"`, `ref("state").name == "x"`,
	`ref(after.partner_id).name == "x"`, `ref("partner_id").signup_token == "x"`, `ref("partner_id").country_id.code == "FR"`, `ref("order_line").name == "x"`, `lower(after.name).trim() == "x"`, `after.name.lower() == "x"`,
	`lookup("res.partner", 5) == nil`, `uuid() == ""`, `frobnicate(1)`, `date() > now()`, `date("2026-02-30") > now()`, `date("tomorrow") > now()`, `duration("5 days") > duration("1h")`, `now().In(timezone("Mars/Base")).Hour() > 5`,
	`round(after.amount_total, after.priority) > 5`, `sort(after.sizes, "up")[0] == 1`, `after.date_order.Local() > now()`, `lower(after.name, 1) == ""`,
	// Values.
	`after.state == "sael"`, `"sael" != before.state`, `after.state == "Sales Order"`, `after.state in ["sael", "sent"]`, `after.state in ["sale", "archived"]`, `after.state == ""`, `op == "insert"`, `op in ["create", "delete"]`, `op == "wrte"`,
	// Types.
	`after.name > 5`, `after.amount_total == "5"`, `after.amount_total > "5"`, `after.priority contains "5"`, `after.date_order > "2026-01-01"`, `now() - after.date_order > 5`, `after.locked == 1`, `after.locked == "true"`, `!after.name`,
	`after.partner_id == "Azure"`, `after.partner_id.name == "Azure"`, `after.name + 5 == ""`, `after.name % 2 == 0`, `after.name && true`, `after.amount_total ? true : false`, `after.sizes contains 38`, `"38" in after.sizes`, `lower(after.amount_total) == ""`,
	`abs(after.name) > 1`, `len(after.amount_total) > 1`, `any(after.name, # == "x")`, `any(after.sizes, # == "x")`, `after.name matches "("`, `after.name`, `after.amount_total`, `now()`, `"sale"`, `after.note[after.name] == ""`,
	// Syntax.
	`after.state = "sale"`, `after.state <> "sale"`, `after.state == "sale" & true`, `after.state is null`, `after.state == "sale" AND true`, `after.state ==`, `(after.state == "sale"`, `after.state == "sale`, `after.state == 'it's'`, `after..state`, `after.state == "sale" true`,
	"// the state\nafter.locked &&\n\tafter.größe == 1", `"ß" == after.nmae`, `1 == 99999999999999999999`, `after.name like "x"`, `#`, `.state`, `after.state == "sale";;`, `after.name == b"x"`,
	`1<(1<(1<(1<(1<(1<(1<(1<(1<(1<(1<(1<(1<2)<3)<3)<3)<3)<3)<3)<3)<3)<3)<3)<3)<3`,
}

func TestWrongConditions(t *testing.T) {
	cat := testCatalog()
	var b strings.Builder
	for _, when := range wrongConditions {
		_, err := Compile([]Config{rule(Config{When: when})}, cat)
		fmt.Fprintf(&b, "%s\n", strings.Repeat("-", 80))
		if err == nil {
			fmt.Fprintf(&b, "%s\naccepted\n", when)
			continue
		}
		b.WriteString(render(err))
	}
	golden(t, "conditions.golden", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
	}
}

func TestWrongConfigs(t *testing.T) {
	cat := testCatalog()
	order := Config{Name: "x", Model: "sale.order", On: []string{"write"}, Endpoint: "erp"}
	edit := func(f func(*Config)) []Config {
		c := order
		f(&c)
		return []Config{c}
	}
	translated := Config{Name: "x", Model: "product.template", On: []string{"write"}, Endpoint: "erp"}
	tests := [][]Config{
		{{}},
		edit(func(c *Config) { c.Name = "two words" }),
		edit(func(c *Config) { c.Name = strings.Repeat("x", 101) }),
		{order, order},
		edit(func(c *Config) { c.Name = "walhook" }),
		edit(func(c *Config) { c.Table = "sale_order" }),
		edit(func(c *Config) { c.Model = "sale.odrer" }),
		edit(func(c *Config) { c.Model = "sale_order" }),
		edit(func(c *Config) { c.Model = "sale.wizard" }),
		edit(func(c *Config) { c.Model, c.Table = "", "sale.order" }),
		edit(func(c *Config) { c.Model, c.Table = "", "stock level" }),
		edit(func(c *Config) { c.Model, c.Table = "", "keyless" }),
		edit(func(c *Config) { c.Model, c.Table = "", "other.keyless" }),
		edit(func(c *Config) { c.Model, c.Table = "", "scratch" }),
		edit(func(c *Config) {
			c.Model = ""
			c.Table = "Stock Level"
			c.When = `after.qtty > 1 && after.total > 1 && ref("shop").name == ""`
		}),
		edit(func(c *Config) { c.On = nil }),
		edit(func(c *Config) { c.On = []string{"write", "update", "schedule", "write", "craete"} }),
		edit(func(c *Config) { c.Endpoint = "" }),
		edit(func(c *Config) { c.Endpoints = []string{"a"} }),
		edit(func(c *Config) { c.Endpoint = ""; c.Endpoints = []string{"a", "", "a"} }),
		edit(func(c *Config) { c.Event = "sale order confirmed" }),
		edit(func(c *Config) { c.Fields, c.Payload = []string{"name"}, Payload{"name": "name"} }),
		edit(func(c *Config) { c.Fields = []string{} }),
		edit(func(c *Config) { c.Fields = []string{"name", "nmae", "name", "order_line", "access_token"} }),
		edit(func(c *Config) {
			c.Payload = Payload{"a": "", "b": "nmae", "c": "after.nmae", "d": "partner_id.nmae", "e": "access_token", "f": "partner_id.country_id.code", "g": "state.x", "h": "partner_idd.name", "i": "upper(name)", "": "name", "j": "after"}
		}),
		edit(func(c *Config) { c.Ignore = []string{"nmae", "note"} }),
		edit(func(c *Config) { c.Ignore = []string{"note"}; c.EachWrite = true }),
		edit(func(c *Config) { part := 0.0; c.Sample, c.Priority, c.Debounce = &part, "hihg", "30" }),
		edit(func(c *Config) { part := math.NaN(); c.Sample, c.Priority, c.DebounceMax = &part, "first", "5m" }),
		edit(func(c *Config) { c.Debounce, c.DebounceMax = "30s", "5s" }),
		edit(func(c *Config) { c.Debounce, c.DebounceMax = "10ms", "400h" }),
		edit(func(c *Config) { c.Debounce, c.DebounceMax = "10m", "400h" }),
		edit(func(c *Config) { c.Name = ""; c.On = []string{"x"}; c.Endpoint = ""; c.When = "after.nmae ==" }),
		edit(func(c *Config) { *c = translated; c.When = `after.name == "Table"` }),
		edit(func(c *Config) { *c = translated; c.When = `after.name contains "Table" || changed("list_pric")` }),
		edit(func(c *Config) { *c = translated; c.When = `before.standard_price < 5` }),
		edit(func(c *Config) { c.When = strings.Repeat("(", 5000) }),
		edit(func(c *Config) { c.When = strings.Repeat("x", 9000) }),
	}
	var b strings.Builder
	for i, configs := range tests {
		_, err := Compile(configs, cat)
		fmt.Fprintf(&b, "%d %s\n", i, strings.Repeat("-", 78))
		if err == nil {
			b.WriteString("accepted\n")
			continue
		}
		for line := range strings.Lines(render(err)) {
			if len(line) > 300 {
				line = line[:300] + "…\n"
			}
			b.WriteString(line)
		}
	}
	golden(t, "configs.golden", b.String())
}

// Every problem of every rule is reported, each once, with its place.
func TestProblemsAreJoined(t *testing.T) {
	_, err := Compile([]Config{
		rule(Config{Name: "a", When: `after.nmae == after.stat`}),
		rule(Config{Name: "b", Model: "sale.odrer"}),
		rule(Config{Name: "c", Fields: []string{"x"}, When: `after.name > 5`}),
	}, testCatalog())
	var got []string
	for _, e := range flattenErrors(err) {
		p := e.(*Problem)
		got = append(got, fmt.Sprintf("%d %s %d", p.Rule, p.Path, p.Offset))
	}
	if want := []string{"0 when 6", "0 when 20", "1 model -1", "2 when 11", "2 fields[0] -1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// wrongPayloads are members that people write by mistake.
var wrongPayloads = []any{
	// Paths.
	"partner_id.nmae", "partner_id.country_id.cdoe", "partner_idd.name", "partner_id.country.code", "name.x", "state.name", "partner_id.email.x", "order_line.product_id.nmae", "order_lin.name", "user_id.password", "user_id.emial", "access_token",
	"website_ids.name", "website_ids", "message_ids.res_id", "partner_id.parent_id.parent_id.parent_id.parent_id.parent_id.parent_id.name", "partner_id.child_ids.parent_id.child_ids.access_token", `ref("partner_id.nmae").code`,
	`ref("partner_id.name").code`, `ref("order_line.product_id").name`, `ref("partner_id.country_id")`, "after.partner_id.nmae", "before.order_line.nmae", `label("partner_id.name")`, `label("order_line.stat")`, "order_line.state == \"sale\"",
	`partner_id.country_id.code > 5`, `order_line.qty > 5`, "parent.name", "product_tmpl_id.name", "nmae + 1",
	"order_line.product_id.access_token", map[string]any{"each": "order_line", "where": `product_id.access_token != ""`, "order": "access_token", "fields": []any{"name"}}, `label("access_token")`, `ref("user_id").password`,
	// Values that are tables.
	5, true, []any{"name"}, map[string]any{}, map[string]any{"value": 5}, map[string]any{"value": "nmae"}, map[string]any{"value": "after.nmae"}, map[string]any{"value": "name", "defualt": "x"}, map[string]any{"value": "name", "default": []any{}}, map[string]any{"value": "name", "lang": 5},
	map[string]any{"value": "name", "currency": "state"}, map[string]any{"city": "partner_id.ctiy", "deep": map[string]any{"x": "nmae", "": "name"}}, map[string]any{"fields": []any{"name"}, "order": "id"},
	// Rows.
	map[string]any{"each": "order_lines", "fields": []any{"name"}}, map[string]any{"each": "partner_id", "fields": []any{"name"}}, map[string]any{"each": "name", "fields": []any{"name"}}, map[string]any{"each": 5}, map[string]any{"each": "order_line"}, map[string]any{"each": "order_line", "fields": "name"},
	map[string]any{"each": "order_line", "fields": []any{}}, map[string]any{"each": "order_line", "fields": []any{"nmae", 5, "name", "name", "product_id.name"}}, map[string]any{"each": "order_line", "wher": "qty > 0", "fields": []any{"name"}},
	map[string]any{"each": "order_line", "where": "qyt > 0", "fields": []any{"name"}}, map[string]any{"each": "order_line", "where": "qty", "fields": []any{"name"}}, map[string]any{"each": "order_line", "where": 5, "fields": []any{"name"}}, map[string]any{"each": "order_line", "where": `name > 5 || changed("name")`, "fields": []any{"name"}},
	map[string]any{"each": "order_line", "order": "sequenc desc", "fields": []any{"name"}}, map[string]any{"each": "order_line", "order": "sequence down, name, name", "fields": []any{"name"}}, map[string]any{"each": "order_line", "order": 5, "limit": int64(0), "archived": "yes", "fields": []any{"name"}},
	map[string]any{"each": "order_line", "limit": int64(10_001), "fields": map[string]any{"sku": "product_id.defualt_code", "p": "parent.nmae", "state": `label("stat")`, "b": `became("state", "sale")`, "t": map[string]any{"each": "tax_id", "fields": []any{"name"}}}},
	map[string]any{"each": "order_line.tax_ids", "fields": []any{"name"}}, map[string]any{"each": "website_ids", "fields": []any{"name"}}, map[string]any{"each": "partner_id.name.x", "fields": []any{"name"}}, map[string]any{"each": "order_line", "where": "", "fields": map[string]any{}},
}

func TestWrongPayloads(t *testing.T) {
	cat := salesCatalog()
	var b strings.Builder
	for _, member := range wrongPayloads {
		_, err := Compile([]Config{rule(Config{Payload: Payload{"x": member}})}, cat)
		text, _ := json.Marshal(member)
		fmt.Fprintf(&b, "%s\n%s\n", strings.Repeat("-", 80), text)
		if err == nil {
			b.WriteString("accepted\n")
			continue
		}
		b.WriteString(render(err))
	}
	deep := map[string]any{"name": "name"}
	for range 12 {
		deep = map[string]any{"deeper": deep}
	}
	for _, c := range []Config{{Payload: Payload{"x": deep}}, {Exclude: []string{"nmae", "name", "name", "order_line", "access_token"}}, {Exclude: []string{"name"}, Fields: []string{"name"}}, {Fields: []string{"partner_id.name"}}} {
		_, err := Compile([]Config{rule(c)}, cat)
		b.WriteString(strings.Repeat("-", 80) + "\n" + render(err))
	}
	golden(t, "payloads.golden", b.String())
}
