package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/rules"
)

// A payload is a tree of tables in TOML, inline or with headers, and its keys are sent in the order of the file.
func TestPayloadIsReadInOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "walhook.toml")
	text := `
[source]
dsn = "postgres://walhook@localhost/odoo"
[endpoints.erp]
url = "http://localhost:1/"
[[rules]]
name = "first"
model = "sale.order"
on = ["create"]
endpoint = "erp"
exclude = ["note"]
[[rules]]
name = "second"
model = "sale.order"
on = ["create"]
endpoint = "erp"
[rules.payload]
total = "amount_total"
"sku.code" = "name"
lines = { each = "order_line", limit = 5, archived = true, fields = { qty = "product_uom_qty", name = "name" } }
country = { value = "partner_id.country_id.code", default = 0.5 }
tags = { each = "tag_ids", fields = ["name", "id"] }
[rules.payload.address]
zip = "partner_id.zip"
deep.city = "partner_id.city"
[rules.payload.extra.value]
value = "id"
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := loadConfig(path, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	want := rules.Payload{
		"total": "amount_total", "sku.code": "name",
		"lines":   map[string]any{"each": "order_line", "limit": int64(5), "archived": true, "fields": map[string]any{"qty": "product_uom_qty", "name": "name"}},
		"country": map[string]any{"value": "partner_id.country_id.code", "default": 0.5},
		"tags":    map[string]any{"each": "tag_ids", "fields": []any{"name", "id"}},
		"address": map[string]any{"zip": "partner_id.zip", "deep": map[string]any{"city": "partner_id.city"}},
		"extra":   map[string]any{"value": map[string]any{"value": "id"}},
	}
	if diff := cmp.Diff(want, cfg.Rules[1].Payload); diff != "" {
		t.Errorf("payload (-want +got):\n%s", diff)
	}
	order := [][]string{{"total"}, {"sku.code"}, {"lines"}, {"lines", "each"}, {"lines", "limit"}, {"lines", "archived"}, {"lines", "fields"}, {"lines", "fields", "qty"}, {"lines", "fields", "name"},
		{"country"}, {"country", "value"}, {"country", "default"}, {"tags"}, {"tags", "each"}, {"tags", "fields"}, {"address"}, {"address", "zip"}, {"address", "deep"}, {"address", "deep", "city"}, {"extra", "value"}, {"extra", "value", "value"}}
	if diff := cmp.Diff(order, cfg.Rules[1].PayloadOrder); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if cfg.Rules[0].PayloadOrder != nil || !cmp.Equal(cfg.Rules[0].Exclude, []string{"note"}) {
		t.Errorf("the first rule: %+v", cfg.Rules[0])
	}
}
