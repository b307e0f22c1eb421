package acceptance

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

const odooRules = `
[endpoints.erp]
url = "{{receiver}}/erp"
secrets = ["` + secret + `"]

[[rules]]
name = "customer_created"
model = "res.partner"
on = ["create"]
endpoint = "erp"

[[rules]]
name = "order_confirmed"
model = "sale.order"
on = ["create", "write"]
when = 'entered("state", ["sale", "done"])'
endpoint = "erp"

[[rules]]
name = "order_cancelled"
model = "sale.order"
on = ["write"]
when = 'before.state != "cancel" && after.state == "cancel"'
endpoint = "erp"

[[rules]]
name = "draft_order_deleted"
model = "sale.order"
on = ["unlink"]
when = 'before.state in ["draft", "cancel"]'
endpoint = "erp"

[[rules]]
name = "invoice_posted"
model = "account.move"
on = ["create", "write"]
when = 'after.move_type == "out_invoice" && became("state", "posted")'
endpoint = "erp"

[[rules]]
name = "invoice_paid"
model = "account.move"
on = ["write"]
when = 'after.move_type in ["out_invoice", "out_receipt"] && after.state == "posted" && entered("payment_state", ["paid", "in_payment"])'
endpoint = "erp"

[[rules]]
name = "delivery_done"
model = "stock.picking"
on = ["write"]
when = 'became("state", "done") && ref("picking_type_id").code == "outgoing"'
endpoint = "erp"

[[rules]]
name = "price_changed"
model = "product.template"
on = ["write"]
when = 'changed("list_price")'
endpoint = "erp"
fields = ["id", "list_price"]

[[rules]]
name = "stock_changed"
model = "stock.quant"
on = ["create", "write", "unlink"]
when = 'op != "write" || before.quantity != after.quantity'
endpoint = "erp"

[[rules]]
name = "lead_won"
model = "crm.lead"
on = ["write"]
when = 'changed("stage_id") && ref("stage_id").is_won'
endpoint = "erp"

[[rules]]
name = "partner_archived"
model = "res.partner"
on = ["write"]
when = 'before.active && !after.active'
endpoint = "erp"
`

// rulesFor adds one rule per watched table that takes everything: "and no other" is then about
// every change of these tables, not about the chosen ones alone.
func rulesFor() string {
	var b strings.Builder
	b.WriteString(odooRules)
	for _, table := range watched {
		fmt.Fprintf(&b, "\n[[rules]]\nname = \"all_%s\"\nmodel = %q\non = [\"create\", \"write\", \"unlink\"]\nendpoint = \"erp\"\n", table, strings.ReplaceAll(table, "_", "."))
	}
	return b.String()
}

func TestRecordedOdoo18(t *testing.T) { recorded(t, "18") }
func TestRecordedOdoo16(t *testing.T) { recorded(t, "16") }

// recorded plays a recorded workload and compares what arrives with what must.
func recorded(t *testing.T, version string) {
	want := expectations(t, version)
	seen := map[string]int{}
	for _, e := range want {
		seen[e.Rule]++
	}
	t.Logf("expected: %v", seen)
	for _, rule := range []string{"customer_created", "order_confirmed", "order_cancelled", "draft_order_deleted", "invoice_posted", "invoice_paid",
		"delivery_done", "price_changed", "stock_changed", "lead_won", "partner_archived"} {
		if seen[rule] == 0 {
			t.Errorf("the workload of %s has no %s: the test would prove nothing about it", version, rule)
		}
	}

	r := newReceiver(t)
	in := install(t, pgtest.Odoo(t, version), r, rulesFor())
	if out, err := in.walhook("check"); err == nil {
		t.Errorf("check finds nothing missing before setup:\n%s", out)
	}
	in.must("setup", "--dsn", in.owner)
	if out := in.must("setup", "--dsn", in.owner); !strings.Contains(out, "nothing to do") {
		t.Errorf("setup is not idempotent:\n%s", out)
	}
	in.must("check")
	p := in.run()
	pgtest.PlayWorkload(t, version, in.super)
	in.wait(fmt.Sprintf("%d events", len(want)), 60*time.Second, func() bool { return r.count() >= len(want) }, p)
	in.drained(p, 30*time.Second)

	// Per record and rule the order is that of the commits; across records any order is allowed.
	got := map[string][]received{}
	ids := map[string]bool{}
	for _, e := range r.all() {
		if ids[e.ID] {
			t.Errorf("id %s came twice", e.ID)
		}
		ids[e.ID] = true
		k := e.Data.Rule + " " + e.Data.ID.String()
		got[k] = append(got[k], e)
	}
	if r.count() != len(want) {
		t.Errorf("received %d events, want %d", r.count(), len(want))
	}
	for _, w := range want {
		k := w.Rule + " " + w.Key
		if len(got[k]) == 0 {
			t.Errorf("missing: %s %s of %s %s", w.Rule, w.Op, w.Table, w.Key)
			continue
		}
		g := got[k][0]
		got[k] = got[k][1:]
		compare(t, w, g)
		if t.Failed() && len(ids) > 0 {
			t.Logf("first difference: %s %s of %s %s", w.Rule, w.Op, w.Table, w.Key)
			return
		}
	}
	for k, rest := range got {
		for _, e := range rest {
			t.Errorf("not expected: %s (%s %s)", k, e.Data.Op, e.Type)
		}
	}
}

// compare holds an event against what the triggers saw.
func compare(t *testing.T, w expected, g received) {
	t.Helper()
	if g.Data.Op != w.Op || g.Data.Model != strings.ReplaceAll(w.Table, "_", ".") {
		t.Errorf("%s %s: %s of %s, want %s", w.Rule, w.Key, g.Data.Op, g.Data.Model, w.Op)
	}
	row := w.After
	if w.Op == "unlink" {
		row = w.Before
	}
	complete(t, w, g, row)
	for field, value := range g.Data.Record {
		same(t, w, field, value, row[field])
	}
	if w.Op != "write" {
		return
	}
	for field := range g.Data.Record {
		c, changed := g.Data.Changes[field]
		if want := !reflect.DeepEqual(canonical(w.Before[field], false), canonical(w.After[field], false)); changed != want && field != "write_date" && field != "write_uid" {
			t.Errorf("%s %s: %s changed: %t, want %t (%s → %s)", w.Rule, w.Key, field, changed, want, w.Before[field], w.After[field])
		}
		if changed {
			same(t, w, field, c.Before, w.Before[field])
			same(t, w, field, c.After, w.After[field])
		}
	}
}

// complete holds the columns that a record shows against the table's: none may go missing unsaid.
func complete(t *testing.T, w expected, g received, row map[string]json.RawMessage) {
	t.Helper()
	if w.Rule == "price_changed" { // which names its fields
		if len(g.Data.Record) != 2 {
			t.Errorf("%s %s: %d fields, want 2", w.Rule, w.Key, len(g.Data.Record))
		}
		return
	}
	for column := range row {
		_, shown := g.Data.Record[column]
		if hidden := w.hidden[column] || slices.Contains(g.Data.Omitted, column); shown == hidden {
			t.Errorf("%s %s: %s is shown: %t, want %t", w.Rule, w.Key, column, shown, !hidden)
		}
	}
}

func same(t *testing.T, w expected, field string, got, want json.RawMessage) {
	t.Helper()
	if !reflect.DeepEqual(canonical(got, w.booleans[field]), canonical(want, w.booleans[field])) {
		t.Errorf("%s %s: %s is %s, want %s", w.Rule, w.Key, field, got, want)
	}
}

// canonical makes values comparable that JSON writes in several ways: numbers by value, moments with or without Z, a
// boolean that is NULL as the false that Odoo means.
func canonical(raw json.RawMessage, boolean bool) any {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if len(raw) == 0 || d.Decode(&v) != nil {
		return nil
	}
	return simplify(v, boolean)
}

func simplify(v any, boolean bool) any {
	switch v := v.(type) {
	case nil:
		if boolean {
			return false
		}
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return r.RatString()
		}
	case string:
		for _, layout := range []string{"2006-01-02T15:04:05.999999999", time.RFC3339Nano} {
			if at, err := time.Parse(layout, v); err == nil {
				return at.UTC().Format(time.RFC3339Nano)
			}
		}
	case []any:
		for i := range v {
			v[i] = simplify(v[i], false)
		}
	case map[string]any:
		for k := range v {
			v[k] = simplify(v[k], false)
		}
	}
	return v
}
