package main

import "fmt"

// demoStep is one business action of the demo: one transaction, as Odoo would write it.
type demoStep struct {
	title    string
	changes  []string // what it writes, for people
	sql      []string // statements of one transaction
	rollback bool     // Odoo changes its mind: the transaction is rolled back
	expect   []demoEvent
	nothing  string // why no webhook follows, for people; set when expect is empty
}

// demoEvent is a webhook that must follow from a step.
type demoEvent struct {
	endpoint, event, record string            // "erp", "order.confirmed", "sale.order/1"
	fields                  map[string]string // of the record, as JSON text
	changes                 map[string]string // of the changes, as JSON text
	refused                 int               // how often the receiver answers 503 first
	about                   string            // for people: which values to show
}

// stamp is what Odoo's ORM adds to every row that it writes.
const stamp = ", write_uid = 2, write_date = now() AT TIME ZONE 'UTC'"

// businessDay is the demo: a short day in an Odoo, with what must be delivered of it. The record ids follow from
// the order of the steps.
func businessDay() []demoStep {
	return []demoStep{
		{
			title:   "A customer is created",
			changes: []string{"res_partner 2   insert, then 2 updates", "                of computed fields"},
			sql: []string{
				`INSERT INTO res_partner (name, email, city, is_company, type, lang, create_uid, write_uid, create_date, write_date)
				 VALUES ('Deco Addict', 'deco@addict.example', 'Brüssel', true, 'contact', 'en_US', 2, 2, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')`,
				`UPDATE res_partner SET commercial_partner_id = 2, partner_share = true WHERE id = 2`,
				`UPDATE res_partner SET complete_name = 'Deco Addict' WHERE id = 2`,
			},
			expect: []demoEvent{{endpoint: "shop", event: "customer.created", record: "res.partner/2", fields: map[string]string{"name": `"Deco Addict"`, "city": `"Brüssel"`, "is_company": `true`}, about: "name city"}},
		},
		{
			title:   "A quotation is written",
			changes: []string{"sale_order 1    insert without amounts, then", "                3 updates", "sale_order_line 2 inserts, 2 updates"},
			sql: []string{
				`INSERT INTO sale_order (name, state, partner_id, partner_invoice_id, partner_shipping_id, currency_id, user_id, date_order, create_uid, write_uid, create_date, write_date)
				 VALUES ('S00001', 'draft', 2, 2, 2, 1, 2, now() AT TIME ZONE 'UTC', 2, 2, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')`,
				`INSERT INTO sale_order_line (order_id, product_id, name, product_uom_qty, price_unit, state, create_uid, write_uid)
				 VALUES (1, 1, 'Chair 1', 10, 101, 'draft', 2, 2), (1, 2, 'Chair 2', 2, 102, 'draft', 2, 2)`,
				`UPDATE sale_order_line AS l SET price_subtotal = v.total, price_total = v.total * 1.15 FROM (VALUES (1, 1010), (2, 204)) v (id, total) WHERE l.id = v.id`,
				`UPDATE sale_order SET amount_untaxed = 1214, amount_tax = 182.10, amount_total = 1396.10 WHERE id = 1`,
				`UPDATE sale_order SET invoice_status = 'no', currency_rate = 1.0 WHERE id = 1`,
				`UPDATE sale_order SET require_signature = true WHERE id = 1`,
			},
			expect: []demoEvent{{endpoint: "erp", event: "quotation.created", record: "sale.order/1", fields: map[string]string{"name": `"S00001"`, "amount_total": `1396.10`, "state": `"draft"`}, about: "name amount_total"}},
		},
		{
			title:   "Somebody saves it without a change",
			changes: []string{"sale_order 1    update of write_date alone"},
			sql:     []string{`UPDATE sale_order SET state = 'draft'` + stamp + ` WHERE id = 1`},
			nothing: "a write that changes nothing",
		},
		{
			title:   "The order is confirmed",
			changes: []string{"sale_order 1    2 updates: draft → sale", "sale_order_line 2 updates"},
			sql: []string{
				`UPDATE sale_order SET state = 'sale', date_order = now() AT TIME ZONE 'UTC'` + stamp + ` WHERE id = 1`,
				`UPDATE sale_order_line SET state = 'sale'` + stamp + ` WHERE order_id = 1`,
				`UPDATE sale_order SET invoice_status = 'to invoice' WHERE id = 1`,
			},
			expect: []demoEvent{{endpoint: "erp", event: "order.confirmed", record: "sale.order/1", fields: map[string]string{"name": `"S00001"`, "state": `"sale"`, "amount_total": `1396.10`},
				changes: map[string]string{"state": `{"before":"draft","after":"sale"}`}, about: "name amount_total"}},
		},
		{
			title:   "Odoo raises an error and rolls back",
			changes: []string{"account_move    insert, 1 update", "sale_order 1    update of its total", "res_partner     insert", "                … ROLLBACK"},
			sql: []string{
				`INSERT INTO account_move (name, state, move_type, partner_id, date, amount_total) VALUES ('INV/2026/09999', 'posted', 'out_invoice', 2, current_date, 999)`,
				`UPDATE sale_order SET amount_total = 0` + stamp + ` WHERE id = 1`,
				`INSERT INTO res_partner (name) VALUES ('Nobody')`,
			},
			rollback: true,
			nothing:  "what is rolled back never happened",
		},
		{
			title:   "The invoice is posted",
			changes: []string{"account_move 2  insert as draft, then", "                3 updates: state first, number last"},
			sql: []string{
				`INSERT INTO account_move (state, move_type, partner_id, date, payment_state, invoice_origin, create_uid, write_uid, create_date, write_date)
				 VALUES ('draft', 'out_invoice', 2, '2026-03-02', 'not_paid', 'S00001', 2, 2, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')`,
				`UPDATE account_move SET amount_untaxed = 1214, amount_tax = 182.10, amount_total = 1396.10, amount_residual = 1396.10 WHERE id = 2`,
				`UPDATE account_move SET state = 'posted', posted_before = true, invoice_date = '2026-03-02'` + stamp + ` WHERE id = 2`,
				`UPDATE account_move SET name = 'INV/2026/00001', sequence_number = 1, payment_reference = 'INV/2026/00001' WHERE id = 2`,
			},
			expect: []demoEvent{{endpoint: "erp", event: "invoice.posted", record: "account.move/2",
				fields: map[string]string{"name": `"INV/2026/00001"`, "invoice_date": `"2026-03-02"`, "amount_total": `1396.10`}, about: "name amount_total"}},
		},
		{
			title:   "The invoice is paid; the ERP fails twice",
			changes: []string{"account_move 2  2 updates: not_paid →", "                in_payment → paid"},
			sql: []string{
				`UPDATE account_move SET payment_state = 'in_payment', amount_residual = 0` + stamp + ` WHERE id = 2`,
				`UPDATE account_move SET payment_state = 'paid' WHERE id = 2`,
			},
			expect: []demoEvent{{endpoint: "erp", event: "invoice.paid", record: "account.move/2", refused: 2, fields: map[string]string{"payment_state": `"paid"`, "amount_residual": `0`},
				changes: map[string]string{"payment_state": `{"before":"not_paid","after":"paid"}`}, about: "name"}},
		},
		{
			title:   "All prices rise by 5 %",
			changes: []string{"product_template 25 updates in one statement"},
			sql:     []string{`UPDATE product_template SET list_price = list_price * 1.05` + stamp},
			expect:  priceRises(),
		},
	}
}

// priceRises expects each of the 25 products once.
func priceRises() []demoEvent {
	var all []demoEvent
	for n := 1; n <= 25; n++ {
		cents := (100 + n) * 105
		all = append(all, demoEvent{endpoint: "shop", event: "price.changed", record: fmt.Sprintf("product.template/%d", n), about: "sku was is",
			fields: map[string]string{"sku": fmt.Sprintf(`"FURN_%04d"`, n), "was": fmt.Sprint(100 + n), "is": fmt.Sprintf("%d.%02d", cents/100, cents%100)}})
	}
	return all
}
