package rules

import (
	"errors"
	"strings"
	"testing"

	"walhook/cdc"
)

// said is a message with values for its columns.
func said(t testing.TB, values record) *cdc.Change {
	t.Helper()
	rel := cdc.MessageRelation()
	return &cdc.Change{Op: cdc.Message, Rel: rel, Key: values[cdc.MessageID], After: rowOf(t, rel, values), Raw: true, Writes: 1}
}

// Rules on message take messages by name and by model, and look into their data without ever failing on what is not there.
func TestMessageRules(t *testing.T) {
	low := record{"event": "stock.low", "model": "product.product", "id": "42", "record": "42", "data": `{"qty": 3.10, "tags": ["a"], "note": null}`}
	bare := record{"event": "stock.low"}
	for _, c := range []struct {
		name    string
		config  Config
		message record
		want    bool
	}{
		{"all", Config{}, low, true},
		{"by name", Config{Messages: []string{"stock.low"}}, low, true},
		{"another name", Config{Messages: []string{"stock.high", "order.*"}}, low, false},
		{"by pattern", Config{Messages: []string{"order.*", "stock.*"}}, low, true},
		{"a pattern stops at a slash", Config{Messages: []string{"stock*"}}, record{"event": "stock/low"}, false},
		{"by model", Config{Model: "sale.order"}, record{"event": "x", "model": "sale.order"}, true},
		{"another model", Config{Model: "sale.order"}, low, false},
		{"a model, and the message has none", Config{Model: "sale.order"}, bare, false},
		{"no model, and the message has one", Config{}, low, true},
		{"data", Config{When: `message.data.qty == 3.1 && message.data.tags[0] == "a"`}, low, true},
		{"data that is not there", Config{When: `message.data.qty > 1`}, bare, false},
		{"deep in data that is not there", Config{When: `message.data.a.b.c == nil`}, bare, true},
		{"null in data", Config{When: `message.data.note == nil && !message.data.note`}, low, true},
		{"event", Config{When: `message.event startsWith "stock." && op == "message"`}, low, true},
		{"model and id", Config{When: `model == "product.product" && id == "42"`}, low, true},
		{"message.model and message.id", Config{When: `message.model == "product.product" && message.id == "42"`}, low, true},
		{"no id", Config{When: `id == nil && model == nil`}, bare, true},
		{"the transaction", Config{When: `tx.xid == 4711 && now().Year() == 2026`}, bare, true},
		{"data with members of odd names", Config{When: `message.data["a b"] == nil`}, low, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.On = []string{"message"}
			c.config.Name, c.config.Endpoint = "r", "erp"
			set, err := Compile([]Config{c.config}, testCatalog())
			if err != nil {
				t.Fatal(err)
			}
			m := set.NewMatcher()
			got := m.Match(nil, testTx, said(t, c.message))
			if len(got) == 1 && got[0].Err != nil {
				t.Fatal(got[0].Err)
			}
			if len(got) == 1 != c.want {
				t.Errorf("matched %v", got)
			}
			if len(set.Needs()) != 0 || len(set.Listening()) != 1 {
				t.Errorf("needs %v, listening %v", set.Needs(), set.Listening())
			}
			rel := cdc.MessageRelation()
			if net, raw := set.Wants(rel.Schema, rel.Name); net || !raw {
				t.Errorf("wants net %v, raw %v", net, raw)
			}
		})
	}
}

// What the data holds is not known before: a comparison that cannot be made is an error of that event.
func TestMessageRuleFails(t *testing.T) {
	set, err := Compile([]Config{{Name: "r", On: []string{"message"}, Endpoint: "erp", When: `message.data.qty > 1`}}, testCatalog())
	if err != nil {
		t.Fatal(err)
	}
	got := set.NewMatcher().Match(nil, testTx, said(t, record{"event": "a", "data": `{"qty": "many"}`}))
	var failed *EvalError
	if len(got) != 1 || !errors.As(got[0].Err, &failed) || !strings.Contains(failed.Error(), "cannot compare text with number") {
		t.Errorf("matched %v", got)
	}
}

func TestMessageRuleProblems(t *testing.T) {
	for _, c := range []struct{ config, message, hint string }{
		{`table`, "a message is about a model, or nothing", `write model = "…"`},
		{`before.x == 1`, "there is no before", "message.data"},
		{`after.event == "a"`, "there is no after", "message.data"},
		{`changed("event")`, "changed has nothing to compare", "message.data"},
		{`user.id == 1`, "does not say who has sent it", "data"},
		{`message.evnt == "a"`, `unknown field "evnt" of message`, `did you mean "event"?`},
		{`message == nil`, "is a whole row", "write message."},
		{`problem == nil`, `unknown name "problem"`, ""},
		{`message.problem == nil`, `unknown field "problem" of message`, ""},
		{`message.event > 3`, "cannot compare text with whole number", ""},
	} {
		config := Config{Name: "r", On: []string{"message"}, Endpoint: "erp", When: c.config}
		if c.config == "table" {
			config.When, config.Table = "", "plain"
		}
		_, err := Compile([]Config{config}, testCatalog())
		var p *Problem
		if !errors.As(err, &p) || !strings.Contains(p.Message, c.message) || !strings.Contains(p.Suggest, c.hint) {
			t.Errorf("%s: %v (%v)", c.config, err, p)
		}
	}
	for _, c := range []struct {
		edit    func(*Config)
		message string
	}{
		{func(c *Config) { c.On = []string{"message", "create"} }, "stands alone"},
		{func(c *Config) { c.Messages = []string{} }, "the list is empty"},
		{func(c *Config) { c.Messages = []string{"a b"} }, "is no name of a message"},
		{func(c *Config) { c.Model = "sale.ordr" }, `unknown model "sale.ordr"`},
		{func(c *Config) { c.EachWrite = true }, "each_write has no meaning here"},
		{func(c *Config) { c.Every = "1h" }, "every has no meaning here"},
		{func(c *Config) { c.On, c.Model, c.Messages = []string{"create"}, "sale.order", []string{"x"} }, "messages has no meaning here"},
	} {
		config := Config{Name: "r", On: []string{"message"}, Endpoint: "erp"}
		c.edit(&config)
		if _, err := Compile([]Config{config}, testCatalog()); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("want %q: %v", c.message, err)
		}
	}
}

// An event is named and laned by what the message says.
func TestMessageIsAbout(t *testing.T) {
	set, err := Compile([]Config{{Name: "a", On: []string{"message"}, Endpoint: "erp"}, {Name: "b", On: []string{"message"}, Endpoint: "erp", Event: "own.name", Model: "sale.order"}}, testCatalog())
	if err != nil {
		t.Fatal(err)
	}
	a, b := set.Rules()[0], set.Rules()[1]
	c := said(t, record{"event": "stock.low", "model": "sale.order", "id": "7"})
	if a.EventOf(c) != "stock.low" || a.About(c) != "sale.order" || b.EventOf(c) != "own.name" || a.Op(c) != "message" {
		t.Errorf("%q %q %q %q", a.EventOf(c), a.About(c), b.EventOf(c), a.Op(c))
	}
	if MessageProblem(c) != "" || MessageProblem(said(t, record{"problem": "odd"})) != "odd" {
		t.Error("the problem is lost")
	}
}

// A rule on messages of a model looks into the record that a message names, as any rule looks into related records.
func TestMessageLooksIntoItsRecord(t *testing.T) {
	cat := testCatalog()
	set, err := Compile([]Config{
		{Name: "order", On: []string{"message"}, Model: "sale.order", Endpoint: "erp", When: `ref("record").amount_total > 3 && ref("record.partner_id").name == "Ann"`,
			Payload: Payload{"customer": "record.partner_id.name", "qty": "message.data.qty", "same": "data.qty"}},
		{Name: "partner", On: []string{"message"}, Model: "res.partner", Endpoint: "erp", Payload: Payload{"name": "record.name"}},
	}, cat)
	if err != nil {
		t.Fatal(err)
	}
	orders, partners := relationOf(cat.Model("sale.order").Table), relationOf(cat.Model("res.partner").Table)
	rows := rowsByTable{"sale_order": {42: rowOf(t, orders, record{"id": "42", "amount_total": "5", "partner_id": "7"})}, "res_partner": {7: rowOf(t, partners, record{"id": "7", "name": "Ann"})}}
	m, tx := set.NewMatcher(), testTx
	c := said(t, record{"event": "x", "model": "sale.order", "id": "42", "record": "42", "data": `{"qty": 1}`})
	if missing := m.Missing(nil, tx, c); len(missing) != 1 || missing[0].Link.Table != "sale_order" || missing[0].ID != 42 {
		t.Errorf("missing %v", missing)
	}
	tx.Related = rows
	if got := m.Match(nil, tx, c); len(got) != 1 || got[0].Err != nil || got[0].Rule.Name != "order" {
		t.Errorf("matched %v", got)
	}
	if tables := set.Related(); len(tables) != 2 {
		t.Errorf("looks into %v", tables)
	}
	_, err = Compile([]Config{{Name: "r", On: []string{"message"}, Endpoint: "erp", When: `ref("record").name == "x"`}}, cat)
	if err == nil || !strings.Contains(err.Error(), `unknown field "record"`) {
		t.Errorf("a record without a model: %v", err)
	}
}
