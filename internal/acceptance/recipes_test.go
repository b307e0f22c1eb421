package acceptance

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// occasion is a recipe said again in SQL, and business that raises it in case the recorded one does not.
type occasion struct {
	condition
	versions string // of Odoo; "" for all
	business string // SQL that is committed after the recorded workload: one transaction for each line
}

// occasions are all recipes that a recorded database has the module for.
func occasions() []occasion {
	create, write, unlink := []string{"create"}, []string{"write"}, []string{"unlink"}
	both, all := []string{"create", "write"}, []string{"create", "write", "unlink"}
	of := func(rule, table string, ops []string, sql string) occasion {
		return occasion{condition: condition{rule, table, ops, sql}}
	}
	in := func(versions string, o occasion) occasion { o.versions = versions; return o }
	after := func(business string, o occasion) occasion { o.business = business; return o }
	kind := func(code string) string {
		return `EXISTS (SELECT FROM stock_picking_type t WHERE t.id = a.picking_type_id AND t.code = '` + code + `')`
	}
	internal := `EXISTS (SELECT FROM stock_location l WHERE l.id = coalesce(a.location_id, b.location_id) AND l.usage = 'internal')`
	became := func(column, value string) string {
		return fmt.Sprintf(`a.%[1]s = '%[2]s' AND b.%[1]s IS DISTINCT FROM '%[2]s'`, column, value)
	}
	return []occasion{
		after(`UPDATE sale_order SET state = 'sent' WHERE id = (SELECT min(id) FROM sale_order WHERE state = 'draft')`,
			of("quotation_sent", "sale_order", write, became("state", "sent"))),
		of("order_confirmed", "sale_order", both, `a.state IN ('sale', 'done') AND coalesce(b.state, '') NOT IN ('sale', 'done')`),
		of("order_cancelled", "sale_order", write, became("state", "cancel")),
		after("UPDATE sale_order SET delivery_status = 'pending' WHERE id = (SELECT min(id) FROM sale_order)\nUPDATE sale_order SET delivery_status = 'full' WHERE id = (SELECT min(id) FROM sale_order)",
			of("order_delivered", "sale_order", write, became("delivery_status", "full"))),
		of("order_to_invoice", "sale_order", write, became("invoice_status", "to invoice")),
		after("UPDATE sale_order SET invoice_status = 'invoiced' WHERE id = (SELECT min(id) FROM sale_order WHERE invoice_status <> 'invoiced')",
			of("order_invoiced", "sale_order", write, became("invoice_status", "invoiced"))),
		of("invoice_posted", "account_move", both, `a.move_type = 'out_invoice' AND `+became("state", "posted")),
		of("invoice_paid", "account_move", write, `a.move_type IN ('out_invoice', 'out_receipt') AND a.state = 'posted'
			AND a.payment_state IN ('paid', 'in_payment') AND coalesce(b.payment_state, '') NOT IN ('paid', 'in_payment')`),
		after("UPDATE account_move SET payment_state = 'partial', amount_residual = amount_residual + 1 WHERE id = (SELECT min(id) FROM account_move WHERE move_type = 'out_invoice')",
			of("invoice_partially_paid", "account_move", write, `a.move_type = 'out_invoice' AND a.payment_state = 'partial' AND a.amount_residual IS DISTINCT FROM b.amount_residual`)),
		after("UPDATE account_move SET move_type = 'out_refund', state = 'draft' WHERE id = (SELECT max(id) FROM account_move)\nUPDATE account_move SET state = 'posted' WHERE id = (SELECT max(id) FROM account_move)",
			of("credit_note_posted", "account_move", both, `a.move_type = 'out_refund' AND `+became("state", "posted"))),
		after("UPDATE account_move SET state = 'draft' WHERE id = (SELECT min(id) FROM account_move WHERE move_type = 'out_invoice' AND state = 'posted')",
			of("invoice_reset", "account_move", write, `a.move_type = 'out_invoice' AND b.state = 'posted' AND a.state IN ('draft', 'cancel')`)),
		after("UPDATE account_move SET move_type = 'in_invoice', state = 'draft' WHERE id = (SELECT max(id) FROM account_move)\nUPDATE account_move SET state = 'posted' WHERE id = (SELECT max(id) FROM account_move)",
			of("bill_posted", "account_move", both, `a.move_type = 'in_invoice' AND `+became("state", "posted"))),
		in("18", of("payment_posted", "account_payment", both, `a.payment_type = 'inbound' AND a.state IN ('in_process', 'paid') AND coalesce(b.state, '') NOT IN ('in_process', 'paid')`)),
		in("16", of("payment_posted", "account_move", both, `EXISTS (SELECT FROM account_payment p WHERE p.id = a.payment_id AND p.payment_type = 'inbound') AND `+became("state", "posted"))),
		of("customer_created", "res_partner", create, `a.parent_id IS NULL AND a.active`),
		of("customer_became", "res_partner", write, `coalesce(b.customer_rank, 0) = 0 AND a.customer_rank > 0`),
		after("UPDATE res_partner SET city = 'Gent' WHERE id = (SELECT min(id) FROM res_partner)",
			of("customer_address_changed", "res_partner", write, `(a.street, a.street2, a.zip, a.city, a.state_id, a.country_id) IS DISTINCT FROM (b.street, b.street2, b.zip, b.city, b.state_id, b.country_id)`)),
		after("UPDATE res_partner SET email = 'new@example.com' WHERE id = (SELECT min(id) FROM res_partner)",
			of("customer_email_changed", "res_partner", write, `a.email IS DISTINCT FROM b.email`)),
		of("customer_archived", "res_partner", write, `b.active AND NOT a.active`),
		of("customer_archived", "res_partner", unlink, `true`),
		after("INSERT INTO product_template SELECT (jsonb_populate_record(t, '{\"id\": 999999, \"sale_ok\": true}')).* FROM product_template t ORDER BY id LIMIT 1",
			of("product_created", "product_template", create, `a.sale_ok`)),
		of("product_price_changed", "product_template", write, `a.list_price IS DISTINCT FROM b.list_price`),
		in("18", of("product_cost_changed", "product_product", write, `coalesce(a.standard_price ->> '1', '0')::numeric <> coalesce(b.standard_price ->> '1', '0')::numeric`)),
		in("16", of("product_cost_changed", "ir_property", all, `EXISTS (SELECT FROM ir_model_fields f WHERE f.id = coalesce(a.fields_id, b.fields_id) AND f.name = 'standard_price')
			AND (n.op <> 'write' OR a.value_float IS DISTINCT FROM b.value_float)`)),
		after("UPDATE product_template SET active = false WHERE id = (SELECT min(id) FROM product_template WHERE active)",
			of("product_archived", "product_template", write, `b.active AND NOT a.active`)),
		after("UPDATE product_pricelist_item SET fixed_price = 6 WHERE id = 999999\nUPDATE product_pricelist_item SET write_date = now() WHERE id = 999999",
			of("pricelist_changed", "product_pricelist_item", all, `n.op <> 'write' OR (a.fixed_price, a.percent_price, a.min_quantity, a.date_start, a.date_end) IS DISTINCT FROM (b.fixed_price, b.percent_price, b.min_quantity, b.date_start, b.date_end)`)),
		of("stock_changed", "stock_quant", all, internal+` AND (n.op <> 'write' OR (a.quantity, a.reserved_quantity) IS DISTINCT FROM (b.quantity, b.reserved_quantity))`),
		after(`UPDATE stock_quant SET quantity = 12 WHERE id = (SELECT min(q.id) FROM stock_quant q JOIN stock_location l ON l.id = q.location_id WHERE l.usage = 'internal')
UPDATE stock_quant SET quantity = 9 WHERE id = (SELECT min(q.id) FROM stock_quant q JOIN stock_location l ON l.id = q.location_id WHERE l.usage = 'internal')`,
			of("stock_low", "stock_quant", write, internal+` AND b.quantity >= 10 AND a.quantity < 10`)),
		of("delivery_ready", "stock_picking", both, kind("outgoing")+` AND `+became("state", "assigned")),
		of("delivery_done", "stock_picking", write, kind("outgoing")+` AND `+became("state", "done")),
		after("UPDATE stock_picking SET backorder_id = (SELECT min(id) FROM stock_picking) WHERE id = (SELECT max(id) FROM stock_picking)",
			of("backorder_created", "stock_picking", both, `a.backorder_id IS NOT NULL AND b.backorder_id IS NULL`)),
		after(`UPDATE stock_picking SET state = 'assigned', picking_type_id = (SELECT min(id) FROM stock_picking_type WHERE code = 'incoming') WHERE id = (SELECT max(id) FROM stock_picking)
UPDATE stock_picking SET state = 'done' WHERE id = (SELECT max(id) FROM stock_picking)`,
			of("receipt_done", "stock_picking", write, kind("incoming")+` AND `+became("state", "done"))),
		after("UPDATE purchase_order SET state = 'draft' WHERE id = (SELECT min(id) FROM purchase_order)\nUPDATE purchase_order SET state = 'purchase' WHERE id = (SELECT min(id) FROM purchase_order)",
			of("purchase_confirmed", "purchase_order", both, `a.state IN ('purchase', 'done') AND coalesce(b.state, '') NOT IN ('purchase', 'done')`)),
		after("UPDATE purchase_order SET receipt_status = 'pending' WHERE id = (SELECT min(id) FROM purchase_order)\nUPDATE purchase_order SET receipt_status = 'full' WHERE id = (SELECT min(id) FROM purchase_order)",
			of("purchase_received", "purchase_order", write, became("receipt_status", "full"))),
		of("lead_created", "crm_lead", create, `a.active`),
		of("lead_stage_changed", "crm_lead", write, `a.stage_id IS DISTINCT FROM b.stage_id`),
		of("lead_won", "crm_lead", both, `(n.op = 'create' OR a.stage_id IS DISTINCT FROM b.stage_id) AND EXISTS (SELECT FROM crm_stage s WHERE s.id = a.stage_id AND s.is_won)`),
		of("lead_lost", "crm_lead", write, `b.active AND NOT a.active AND a.probability = 0`),
		after("UPDATE project_task SET stage_id = (SELECT min(id) FROM project_task_type) WHERE id = (SELECT min(id) FROM project_task)\nUPDATE project_task SET stage_id = (SELECT max(id) FROM project_task_type) WHERE id = (SELECT min(id) FROM project_task)",
			of("task_stage_changed", "project_task", write, `a.stage_id IS DISTINCT FROM b.stage_id`)),
		in("18", after("UPDATE project_task SET state = '01_in_progress' WHERE id = (SELECT min(id) FROM project_task)\nUPDATE project_task SET state = '1_done' WHERE id = (SELECT min(id) FROM project_task)",
			of("task_done", "project_task", write, became("state", "1_done")))),
		in("16", after("UPDATE project_task SET is_closed = NULL WHERE id = (SELECT min(id) FROM project_task)\nUPDATE project_task SET is_closed = true WHERE id = (SELECT min(id) FROM project_task)",
			of("task_done", "project_task", write, `a.is_closed AND NOT coalesce(b.is_closed, false)`))),
		in("16", of("employee_created", "hr_employee", create, `true`)),
		in("16", after("UPDATE hr_employee SET active = false WHERE id = (SELECT max(id) FROM hr_employee)",
			of("employee_left", "hr_employee", write, `b.active AND NOT a.active`))),
		in("16", of("production_done", "mrp_production", write, became("state", "done"))),
		in("16", after("SET session_replication_role = replica; INSERT INTO pos_order (id, company_id, pricelist_id, session_id, name, amount_tax, amount_total, amount_paid, amount_return, state) VALUES (999999, 1, 1, 1, 'Shop/1', 0, 5, 5, 0, 'draft')\n"+
			"UPDATE pos_order SET state = 'paid' WHERE id = 999999\nUPDATE pos_order SET state = 'done' WHERE id = 999999",
			of("pos_order_paid", "pos_order", both, `a.state IN ('paid', 'done', 'invoiced') AND coalesce(b.state, '') NOT IN ('paid', 'done', 'invoiced')`))),
		after("UPDATE payment_transaction SET state = 'done' WHERE id = 999999\nUPDATE payment_transaction SET state = 'done', amount = 6 WHERE id = 999999",
			of("online_payment_done", "payment_transaction", both, became("state", "done"))),
	}
}

func TestRecipes18(t *testing.T) { recipesPlayed(t, "18") }
func TestRecipes16(t *testing.T) { recipesPlayed(t, "16") }

// recipesPlayed adds every recipe that fits with `walhook recipes add`, plays the recorded business and what it lacks, and compares what arrives with what
// SQL finds in an audit of the same business.
func recipesPlayed(t *testing.T, version string) {
	t.Parallel()
	var list []occasion
	for _, o := range occasions() {
		if o.versions == "" || o.versions == version {
			list = append(list, o)
		}
	}
	rows := map[string][]string{ // that nothing in the recorded database could be changed to be
		"16": {"INSERT INTO payment_transaction (id, provider_id, currency_id, partner_id, reference, state, amount) VALUES (999999, 1, 1, 1, 'tx-1', 'draft', 5)",
			"INSERT INTO product_pricelist_item (id, pricelist_id, applied_on, base, compute_price, fixed_price) VALUES (999999, 1, '3_global', 'list_price', 'fixed', 5)"},
		"18": {"INSERT INTO payment_transaction (id, provider_id, payment_method_id, currency_id, partner_id, reference, state, amount) VALUES (999999, 1, 1, 1, 1, 'tx-1', 'draft', 5)",
			"INSERT INTO product_pricelist_item (id, pricelist_id, applied_on, display_applied_on, base, compute_price, fixed_price) VALUES (999999, 1, '3_global', '1_product', 'list_price', 'fixed', 5)"},
	}
	more := func(dsn string) {
		for _, row := range rows[version] {
			pgtest.Exec(t, dsn, "SET session_replication_role = replica; "+row) // what they refer to need not be there
		}
		for _, o := range list {
			for _, line := range strings.Split(o.business, "\n") {
				if line != "" {
					pgtest.Exec(t, dsn, line)
				}
			}
		}
	}
	audit := audited(t, version)
	more(audit.Config().ConnString())
	want := map[string]int{} // rule, operation and key → how often
	perRule := map[string]int{}
	for _, o := range list {
		events, err := o.events(audit, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", o.rule, err)
		}
		for _, e := range events {
			op := e.Op
			if op == "write" && slices.Contains([]string{"customer_archived", "product_archived", "employee_left"}, o.rule) {
				op = "archive"
			}
			want[fmt.Sprintf("%s %s %s", o.rule, op, e.Key)]++
			perRule[o.rule]++
		}
	}
	t.Logf("expected: %v", perRule)

	r := newReceiver(t)
	in := install(t, pgtest.Odoo(t, version), r, "[endpoints.erp]\nurl = \"{{receiver}}/erp\"\nsecrets = [\""+secret+"\"]\n")
	in.must("setup", "--dsn", in.owner) // grants what the role must read to know models and fields
	var available []struct {
		Name string
		Fits bool
	}
	if err := json.Unmarshal([]byte(in.must("recipes", "list", "--available", "--json")), &available); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range available {
		if a.Fits {
			names = append(names, a.Name)
		}
	}
	in.must(append([]string{"recipes", "add"}, names...)...)
	for _, name := range names {
		if perRule[name] == 0 && name != "order_lines_changed" && name != "invoice_overdue" { // which have tests of their own
			t.Errorf("nothing raises %s", name)
		}
	}
	text, err := os.ReadFile(in.config)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^debounce = .*\n`).ReplaceAll(text, nil) // every event is to be counted
	if err := os.WriteFile(in.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	in.must("setup", "--dsn", in.owner)
	p := in.run()
	pgtest.PlayWorkload(t, version, in.super)
	more(in.super)
	in.drained(p, 60*time.Second)
	if out := in.must("deliveries", "list", "--state", "parked", "--json"); strings.Contains(out, `"id"`) {
		t.Errorf("parked: %s", last(out, 3000))
	}
	got := map[string]int{}
	for _, e := range r.all() {
		if e.Data.Rule != "order_lines_changed" {
			got[fmt.Sprintf("%s %s %s", e.Data.Rule, e.Data.Op, e.Data.ID)]++
		}
		if len(e.Data.Record) == 0 {
			t.Errorf("%s of %s has no record", e.Data.Rule, e.Data.ID)
		}
	}
	for k, n := range want {
		if got[k] != n {
			t.Errorf("%s: %d times, want %d", k, got[k], n)
		}
	}
	for k, n := range got {
		if want[k] == 0 {
			t.Errorf("not expected: %s, %d times", k, n)
		}
	}
}
