package rules

import (
	"testing"

	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
)

// What the newest and an older Odoo keep in another model is found by the field's name, and the payloads of the documentation compile.
func TestPathsOnOtherSchemas(t *testing.T) {
	tax := map[string]string{"17": "tax_id", "19": "tax_ids"}
	for _, version := range []string{"17", "19"} {
		t.Run(version, func(t *testing.T) {
			cat, err := catalog.Load(t.Context(), pgtest.Connect(t, pgtest.OdooSchema(t, version)))
			if err != nil {
				t.Fatal(err)
			}
			each := func(field string, fields map[string]any) map[string]any {
				return map[string]any{"each": field, "fields": fields}
			}
			for _, c := range []Config{
				{Model: "sale.order", When: `ref("partner_id.country_id").code == "FR"`, Payload: Payload{"customer": "partner_id.name", "skus": "order_line.product_id.default_code", "status": `label("state")`, "by": "user_id.email",
					"lines": each("order_line", map[string]any{"sku": "product_id.default_code", "name": "product_id.name", "qty": "product_uom_qty", "taxes": tax[version] + ".name", "unit": "product_id.uom_id.name"})}},
				{Model: "account.move", Payload: Payload{"lines": map[string]any{"each": "invoice_line_ids", "where": `display_type == "product"`, "fields": []any{"name", "quantity"}}, "payments": "line_ids.account_id.name"}},
				{Model: "hr.employee", Fields: []string{"name", "job_title", "department_id"}},
				{Model: "hr.employee", When: `after.job_title == "CEO"`, Payload: Payload{"job": "job_id.name", "manager": "parent_id.name", "department": "department_id.name"}},
				{Model: "product.product", When: "after.list_price > 10", Fields: []string{"name", "list_price", "categ_id", "product_variant_ids"}},
				{Model: "res.users", Fields: []string{"login", "email", "name", "company_ids"}},
				{Model: "account.payment", When: `after.state in ["posted", "paid"]`, Fields: []string{"amount", "date", "state"}},
				{Model: "stock.picking", Payload: Payload{"moves": each("move_ids", map[string]any{"sku": "product_id.default_code", "lots": "move_line_ids.lot_id.name"}), "order": "sale_id.name"}},
			} {
				c.Endpoint, c.Name, c.On = "erp", "r", []string{"create"}
				if _, err := Compile([]Config{c}, cat); err != nil {
					t.Errorf("%s", render(err))
				}
			}
		})
	}
}
