package payload

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// products is a model with fields that hold several values in one column.
func products() *catalog.Catalog {
	table := &catalog.Table{OID: 9, Schema: "public", Name: "product_product", Identity: 'f', PrimaryKey: []string{"id"}}
	model := &catalog.Model{Name: "product.product", Table: table}
	for _, f := range []struct {
		name, ttype string
		oid         int
		field       catalog.Field
	}{
		{"id", "integer", oidInt4, catalog.Field{}}, {"name", "char", oidJSONB, catalog.Field{Translated: true}}, {"standard_price", "float", oidJSONB, catalog.Field{CompanyDependent: true}},
		{"taxed", "boolean", oidJSONB, catalog.Field{CompanyDependent: true}}, {"company_id", "many2one", oidInt4, catalog.Field{Relation: "res.company"}}, {"active", "boolean", oidBool, catalog.Field{}},
		{"since", "date", oidDate, catalog.Field{}},
		{"kind", "selection", oidText, catalog.Field{Selection: []catalog.Option{{Value: "consu", Label: "Goods", Labels: map[string]string{"fr_FR": "Biens"}}}}},
	} {
		table.Columns = append(table.Columns, catalog.Column{Name: f.name, Type: cdc.BuiltinType(uint32(f.oid))})
		field := f.field
		field.Name, field.Type, field.Stored = f.name, f.ttype, true
		model.Fields = append(model.Fields, &field)
	}
	for i := range table.Columns {
		model.Fields[i].Column = &table.Columns[i]
	}
	return catalog.New([]*catalog.Table{table}, []*catalog.Model{model}, &catalog.Odoo{
		Companies: []catalog.Company{{ID: 1, Name: "My Company"}}, Defaults: []catalog.Default{{Model: "product.product", Field: "standard_price", JSON: "2.50"}},
	})
}

// A body shows one value of a field that holds several, and its changes are those of what it shows.
func TestBodiesShowWhatIsSeen(t *testing.T) {
	before := map[string]string{"id": "42", "name": `{"en_US": "Chair", "fr_FR": "Chaise"}`, "standard_price": `{"1": 7.0}`, "since": "2026-03-01", "kind": "consu"}
	after := with(before, "name", `{"en_US": "Seat", "fr_FR": "Chaise", "_fr_FR": "Siège"}`, "standard_price", `{"1": 7.00, "2": 9}`, "taxed", `{"1": true}`, "active", "f")
	tests := []struct {
		name    string
		config  rules.Config
		dialect Dialect
		before  map[string]string
		want    string // record and changes
	}{
		{"whole, English", rules.Config{}, Standard, before,
			`"record":{"id":42,"name":"Seat","standard_price":7.00,"taxed":true,"company_id":null,"active":false,"since":"2026-03-01","kind":"consu"},"changes":{"name":{"before":"Chair","after":"Seat"},"taxed":{"before":false,"after":true}}`},
		{"whole, French", rules.Config{Lang: "fr_FR"}, Standard, before,
			`"record":{"id":42,"name":"Chaise","standard_price":7.00,"taxed":true,"company_id":null,"active":false,"since":"2026-03-01","kind":"consu"},"changes":{"taxed":{"before":false,"after":true}}`},
		{"whole, from the default", rules.Config{Fields: []string{"standard_price"}}, Standard, with(before, "standard_price", null),
			`"record":{"standard_price":7.00},"changes":{"standard_price":{"before":2.50,"after":7.00}}`},
		{"payload", rules.Config{Lang: "fr_FR", Payload: rules.Payload{
			"name": "name", "english": map[string]any{"value": "name", "lang": "en_US"}, "stored": "name.en_US", "other": `standard_price["2"]`, "kind": `label("kind")`, "due": `after.since + duration("30d")`, "since": "after.since", "at": `after.since + duration("1h")`,
		}}, Standard, before,
			`"record":{"at":"2026-03-01T01:00:00Z","due":"2026-03-31","english":"Seat","kind":"Biens","name":"Chaise","other":9,"since":"2026-03-01","stored":"Seat"},"changes":{}`},
		{"as Odoo writes it", rules.Config{Fields: []string{"name", "standard_price", "taxed", "company_id", "active", "since"}}, Odoo, before,
			`"record":{"name":"Seat","standard_price":7.0,"taxed":true,"company_id":false,"active":false,"since":"2026-03-01"},"changes":{"name":{"before":"Chair","after":"Seat"},"taxed":{"before":false,"after":true}}`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			tc.config.Model = "product.product"
			r, m := compile(t, products(), tc.config)
			body, err := BuildIn(tc.dialect, nil, m, r, "e", commit, write(tc.before, after)(t, relation(r.Table)))
			if err != nil {
				t.Fatal(err)
			}
			_, got, _ := strings.Cut(string(body), `"op":"write",`)
			got, _, _ = strings.Cut(got, `,"rule"`)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
