package rules

import (
	"strings"
	"testing"

	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// recipe is a rule that people want, with the versions of the recorded Odoo databases that have its fields.
type recipe struct {
	Config
	versions string
}

// recipes are business events as rules.
var recipes = []recipe{
	{Config{Name: "sale_order_confirmed", Model: "sale.order", On: []string{"create", "write"}, When: `entered("state", ["sale", "done"])`,
		Payload: map[string]string{"order": "name", "customer": "partner_id.name", "mail": `ref("partner_id").email`, "total": "amount_total", "currency": "currency_id.name", "status": `label("state")`,
			"big": "after.amount_total > 10000", "net": `round(after.amount_total - after.amount_tax, 2)`, "on": "date_order", "due": "commitment_date"}}, "16 18"},
	{Config{Name: "sale_order_confirmed_written_out", Model: "sale.order", On: []string{"create", "write"}, When: `after.state in ["sale", "done"] && !(before.state in ["sale", "done"])`}, "16 18"},
	{Config{Name: "quotation_sent", Model: "sale.order", On: []string{"write"}, When: `before.state == "draft" && after.state == "sent"`}, "16 18"},
	{Config{Name: "sale_order_cancelled", Model: "sale.order", On: []string{"write"}, When: `before.state != "cancel" && after.state == "cancel"`}, "16 18"},
	{Config{Name: "sale_order_amount_changed", Model: "sale.order", On: []string{"write"}, When: `before.state == "sale" && after.state == "sale" && before.amount_total != after.amount_total`,
		Payload: map[string]string{"old": "before.amount_total", "new": "amount_total"}}, "16 18"},
	{Config{Name: "sale_order_delivered", Model: "sale.order", On: []string{"write"}, When: `became("delivery_status", "full")`}, "16 18"},
	{Config{Name: "sale_order_to_invoice", Model: "sale.order", On: []string{"write"}, When: `became("invoice_status", "to invoice")`}, "16 18"},
	{Config{Name: "invoice_posted", Model: "account.move", On: []string{"create", "write"}, When: `after.move_type == "out_invoice" && after.state == "posted" && before.state != "posted"`,
		Fields: []string{"name", "invoice_date", "invoice_date_due", "partner_id", "currency_id", "amount_untaxed", "amount_tax", "amount_total", "amount_residual", "payment_reference", "invoice_origin"}}, "16 18"},
	{Config{Name: "invoice_paid", Model: "account.move", On: []string{"write"}, When: `after.move_type in ["out_invoice", "out_receipt"] && after.state == "posted" && entered("payment_state", ["paid", "in_payment"])`}, "16 18"},
	{Config{Name: "invoice_partially_paid", Model: "account.move", On: []string{"write"}, When: `after.payment_state == "partial" && changed("amount_residual")`}, "16 18"},
	{Config{Name: "credit_note_posted", Model: "account.move", On: []string{"create", "write"}, When: `after.move_type == "out_refund" && became("state", "posted")`, Fields: []string{"name", "reversed_entry_id", "amount_total"}}, "16 18"},
	{Config{Name: "invoice_reset", Model: "account.move", On: []string{"write"}, When: `before.state == "posted" && after.state in ["cancel", "draft"]`}, "16 18"},
	{Config{Name: "bill_posted", Model: "account.move", On: []string{"create", "write"}, When: `after.move_type == "in_invoice" && became("state", "posted")`}, "16 18"},
	{Config{Name: "payment_received", Model: "account.payment", On: []string{"create", "write"}, When: `after.payment_type == "inbound" && entered("state", ["in_process", "paid"])`, Fields: []string{"name", "amount", "currency_id", "partner_id", "date", "memo"}}, "18"},
	{Config{Name: "payment_received_16", Model: "account.move", On: []string{"create", "write"}, When: `after.payment_id != nil && became("state", "posted") && ref("payment_id").payment_type == "inbound"`}, "16"},
	{Config{Name: "online_payment_done", Model: "payment.transaction", On: []string{"create", "write"}, When: `became("state", "done")`, Fields: []string{"reference", "amount", "currency_id", "partner_id"}}, "16 18"},
	{Config{Name: "delivery_done", Model: "stock.picking", On: []string{"write"}, When: `became("state", "done") && ref("picking_type_id").code == "outgoing"`, Payload: map[string]string{"name": "name", "origin": "origin", "customer": "partner_id.name", "done": "date_done"}}, "16 18"},
	{Config{Name: "delivery_ready", Model: "stock.picking", On: []string{"create", "write"}, When: `became("state", "assigned") && ref("picking_type_id").code == "outgoing"`}, "16 18"},
	{Config{Name: "tracking_number_set", Model: "stock.picking", On: []string{"write"}, When: `changed("carrier_tracking_ref") && after.carrier_tracking_ref != nil`}, ""},
	{Config{Name: "receipt_done", Model: "stock.picking", On: []string{"write"}, When: `became("state", "done") && ref("picking_type_id").code == "incoming"`}, "16 18"},
	{Config{Name: "stock_changed", Model: "stock.quant", On: []string{"create", "write", "unlink"}, When: `((after.quantity ?? 0) != (before.quantity ?? 0) || before.reserved_quantity != after.reserved_quantity) && ref("location_id").usage == "internal"`}, "16 18"},
	{Config{Name: "price_changed", Model: "product.template", On: []string{"write"}, When: `changed("list_price")`, Payload: map[string]string{"sku": "default_code", "name": "after.name.en_US", "french": `after.name.fr_FR ?? after.name.en_US`, "old": "before.list_price", "new": "list_price"}}, "16 18"},
	{Config{Name: "cost_changed", Model: "product.product", On: []string{"write"}, When: `changed("standard_price") && after.standard_price["1"] != before.standard_price["1"]`}, "18"},
	{Config{Name: "cost_changed_16", Model: "ir.property", On: []string{"create", "write", "unlink"}, When: `before.value_float != after.value_float && ref("fields_id").name == "standard_price"`}, "16"},
	{Config{Name: "pricelist_rule_changed", Model: "product.pricelist.item", On: []string{"create", "write", "unlink"}, When: `op != "write" || changed("fixed_price", "percent_price", "min_quantity", "date_start", "date_end")`}, "16 18"},
	{Config{Name: "product_created", Model: "product.template", On: []string{"create"}, When: `after.sale_ok == true`}, "16 18"},
	{Config{Name: "product_archived", Model: "product.template", On: []string{"write"}, When: `before.active == true && after.active == false`}, "16 18"},
	{Config{Name: "customer_created", Model: "res.partner", On: []string{"create"}, When: `after.parent_id == nil && after.active == true && after.customer_rank > 0`}, "16 18"},
	{Config{Name: "company_created", Model: "res.partner", On: []string{"create"}, When: `after.is_company`}, "16 18"},
	{Config{Name: "customer_updated", Model: "res.partner", On: []string{"write"}, When: `changed("name", "email", "phone", "street", "zip", "city", "country_id", "vat")`, Payload: map[string]string{"name": "name", "country": "country_id.code"}}, "16 18"},
	{Config{Name: "became_customer", Model: "res.partner", On: []string{"write"}, When: `before.customer_rank == 0 && after.customer_rank > 0`}, "16 18"},
	{Config{Name: "contact_gone", Model: "res.partner", On: []string{"write", "unlink"}, When: `op == "unlink" || became("active", false)`, Fields: []string{"id", "name", "email"}}, "16 18"},
	{Config{Name: "purchase_confirmed", Model: "purchase.order", On: []string{"create", "write"}, When: `entered("state", ["purchase", "done"])`, Fields: []string{"name", "partner_id", "partner_ref", "date_approve", "amount_total"}}, "16 18"},
	{Config{Name: "purchase_received", Model: "purchase.order", On: []string{"write"}, When: `became("receipt_status", "full")`}, "16 18"},
	{Config{Name: "lead_created", Model: "crm.lead", On: []string{"create"}, When: `after.active`, Fields: []string{"name", "type", "contact_name", "partner_name", "email_from", "phone", "team_id", "user_id", "expected_revenue", "stage_id"}}, "16 18"},
	{Config{Name: "lead_won", Model: "crm.lead", On: []string{"write"}, When: `changed("stage_id") && ref("stage_id").is_won`}, "16 18"},
	{Config{Name: "lead_lost", Model: "crm.lead", On: []string{"write"}, When: `before.active && !after.active && after.probability == 0`}, "16 18"},
	{Config{Name: "task_done", Model: "project.task", On: []string{"write"}, When: `became("state", "1_done")`}, "18"},
	{Config{Name: "task_done_16", Model: "project.task", On: []string{"write"}, When: `after.is_closed == true && before.is_closed != true`}, "16"},
	{Config{Name: "task_stage_changed", Model: "project.task", On: []string{"write"}, When: `changed("stage_id")`, Payload: map[string]string{"old": "before.stage_id", "new": "stage_id"}}, "16 18"},
	{Config{Name: "pos_order_paid", Model: "pos.order", On: []string{"create", "write"}, When: `entered("state", ["paid", "done", "invoiced"])`}, "16 18"},
	{Config{Name: "production_done", Model: "mrp.production", On: []string{"write"}, When: `became("state", "done")`, Fields: []string{"name", "product_id", "product_qty", "qty_producing", "origin"}}, "16 18"},
	{Config{Name: "employee_created", Model: "hr.employee", On: []string{"create"}, Fields: []string{"name", "work_email", "job_title", "department_id"}}, "16 18"},
	{Config{Name: "employee_left", Model: "hr.employee", On: []string{"write"}, When: `before.active == true && after.active == false`}, "16 18"},
	{Config{Name: "database_copied", Model: "ir.config_parameter", On: []string{"create", "write"}, When: `after.key in ["database.is_neutralized", "database.uuid"]`, Fields: []string{"key"}}, "16 18"},
	{Config{Name: "overdue_soon", Model: "account.move", On: []string{"create", "write"}, When: `after.invoice_date_due - now() < duration("7d") && after.amount_residual > 0`}, "16 18"},
}

// What people want of Odoo compiles against the real databases; what the database has no module for says so.
func TestRecipes(t *testing.T) {
	for _, version := range []string{"18", "16"} {
		t.Run(version, func(t *testing.T) {
			conn := pgtest.Connect(t, pgtest.Odoo(t, version))
			cat, err := catalog.Load(t.Context(), conn)
			if err != nil {
				t.Fatal(err)
			}
			var compiled, absent int
			for _, r := range recipes {
				set, err := Compile([]Config{rule(r.Config)}, cat)
				switch {
				case err == nil:
					compiled++
					if !strings.Contains(r.versions, version) {
						t.Errorf("%s is not expected to compile", r.Name)
					}
					if n := set.Needs(); len(n) != 1 || n[0].Table == nil {
						t.Errorf("%s needs %v", r.Name, n)
					}
				case cat.Model(r.Model) == nil:
					absent++
					if want := `unknown model "` + r.Model + `"`; !strings.Contains(err.Error(), want) {
						t.Errorf("%s: %v", r.Name, err)
					}
				case strings.Contains(r.versions, version):
					t.Errorf("%s", render(err))
				}
			}
			t.Logf("%d recipes compile, %d are for models that this database lacks", compiled, absent)
			if compiled < 15 {
				t.Errorf("only %d recipes compile", compiled)
			}
		})
	}
}
