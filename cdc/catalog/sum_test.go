package catalog_test

import (
	"testing"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
)

// The sum changes with what rules on a table may depend on, and with nothing else.
func TestSum(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, readFile(t, "testdata/odoo14.sql")+"; "+readFile(t, "testdata/odoo15.sql"))
	sum := func() [32]byte {
		cat := load(t, conn)
		return cat.Sum([]*catalog.Table{table(t, cat, "public", "sale_order"), table(t, cat, "public", "sale_order_tag_rel"), table(t, cat, "public", "sale_order")})
	}
	before := sum()
	for _, step := range []struct {
		sql     string
		differs bool
	}{
		{"SELECT 1", false},
		{"ALTER TABLE res_partner ADD x_other int; INSERT INTO ir_model_fields (model_id, state, model, name, field_description, ttype, store) VALUES (7, 'manual', 'res.partner', 'x_other', 'Other', 'integer', true)", false},
		{"UPDATE ir_model_fields SET field_description = field_description", false},
		{"ALTER TABLE sale_order ADD x_vip boolean", true},
		{"INSERT INTO ir_model_fields (model_id, state, model, name, field_description, ttype, store) VALUES (1, 'manual', 'sale.order', 'x_vip', 'VIP', 'boolean', true)", true},
		{"UPDATE ir_model_fields_selection SET name = 'Offer' WHERE value = 'draft'", true},
		{"UPDATE ir_translation SET value = 'Offre' WHERE res_id = 2 AND lang = 'fr_FR'", true},
		{"UPDATE res_lang SET active = true", true},
		{"UPDATE ir_property SET value_text = 'bad' WHERE fields_id = 107 AND company_id IS NULL", true},
		{"ALTER TABLE sale_order_tag_rel ADD x int", true},
		{"ALTER TABLE sale_order DROP x_vip", true},
		{"ALTER TABLE sale_order ALTER amount_total TYPE float8", true},
		{"ALTER TABLE sale_order DROP CONSTRAINT sale_order_user_id_fkey", true},
	} {
		exec(t, conn, step.sql)
		after := sum()
		if (before != after) != step.differs {
			t.Errorf("after %s the sum differs: %v", step.sql, before != after)
		}
		before = after
	}
}

func TestDiffers(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, "CREATE DOMAIN amount AS numeric; CREATE TABLE thing (id int PRIMARY KEY, name text, price amount, twice int GENERATED ALWAYS AS (id * 2) STORED)")
	thing := table(t, load(t, conn), "public", "thing")
	column := func(name string, oid uint32) cdc.Column { return cdc.Column{Name: name, Type: cdc.BuiltinType(oid)} }
	id, name, price := column("id", 23), column("name", 25), column("price", 1700)
	for what, tc := range map[string]struct {
		columns []cdc.Column
		differs bool
		lost    bool
	}{
		"the same":            {[]cdc.Column{id, name, price}, false, false},
		"another order":       {[]cdc.Column{price, id, name}, false, false},
		"a computed one":      {[]cdc.Column{id, name, price, column("twice", 23)}, false, false},
		"one more":            {[]cdc.Column{id, name, price, column("x", 25)}, true, false},
		"one less":            {[]cdc.Column{id, price}, true, true},
		"another name":        {[]cdc.Column{id, column("title", 25), price}, true, true},
		"another type":        {[]cdc.Column{id, column("name", 3802), price}, true, true},
		"a type that is gone": {[]cdc.Column{id, {Name: "name"}, price}, true, true},
	} {
		rel := cdc.NewRelation(1, "public", "thing", 'd', tc.columns, nil)
		if differs, lost := thing.Differs(rel), thing.Lost(rel); differs != tc.differs || lost != tc.lost {
			t.Errorf("%s: differs is %v, lost is %v", what, differs, lost)
		}
	}
}
