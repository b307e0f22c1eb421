package catalog_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
)

// What the loader makes of a real database is compared with what its own SQL says, put
// another way, and with facts about the version.
func TestLoadRealOdoo(t *testing.T) {
	for _, version := range []string{"18", "16"} {
		t.Run(version, func(t *testing.T) {
			conn := connect(t, pgtest.Odoo(t, version))
			cat := load(t, conn)
			if !strings.HasPrefix(cat.Odoo.Version, version+".0.") || len(cat.Odoo.UUID) != 36 || cat.Odoo.CreateDate == "" || cat.Odoo.Neutralized {
				t.Errorf("Odoo says %+v of itself", cat.Odoo)
			}
			checkTables(t, conn, cat)
			checkModels(t, conn, cat)
			checkSaleOrder(t, cat)
			checkInheritance(t, cat, version)
			checkSettings(t, conn, cat, version)
			if version == "18" {
				checkOdoo18(t, cat)
			}
		})
	}
}

func checkTables(t *testing.T, conn *pgx.Conn, cat *catalog.Catalog) {
	t.Helper()
	type row struct {
		Table, Columns, Key string
	}
	rows, _ := conn.Query(context.Background(), `
WITH held AS (
    SELECT table_name, string_agg(column_name, ',' ORDER BY ordinal_position) AS columns FROM information_schema.columns WHERE table_schema = 'public' GROUP BY 1),
keys AS MATERIALIZED (
    SELECT k.table_name, string_agg(k.column_name, ',' ORDER BY k.ordinal_position) AS columns
      FROM information_schema.key_column_usage k
      JOIN (SELECT constraint_name, table_name FROM information_schema.table_constraints WHERE constraint_type = 'PRIMARY KEY' AND table_schema = 'public' OFFSET 0) p
     USING (constraint_name, table_name) GROUP BY 1)
SELECT t.table_name, held.columns, coalesce(keys.columns, '')
  FROM information_schema.tables t JOIN held USING (table_name) LEFT JOIN keys USING (table_name)
 WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY table_name COLLATE "C"`)
	want, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatal(err)
	}
	var got []row
	for _, table := range cat.Tables {
		var names []string
		for _, c := range table.Columns {
			names = append(names, c.Name)
			if c.Type.Kind == cdc.KindOther {
				t.Errorf("%s.%s is of type %s, which has no kind", table, c.Name, c.Type.Name)
			}
		}
		got = append(got, row{table.Name, strings.Join(names, ","), strings.Join(table.PrimaryKey, ",")})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

func checkModels(t *testing.T, conn *pgx.Conn, cat *catalog.Catalog) {
	t.Helper()
	// Every stored field of a simple type lies in a column of its model's table, except
	// attachments; a model's table is the right one if that holds.
	columnless := map[string]bool{"one2many": true, "many2many": true, "binary": true}
	var models, fields, options int
	for _, m := range cat.Models {
		models++
		for _, f := range m.Fields {
			fields++
			options += len(f.Selection)
			if f.Stored && f.Column == nil && !columnless[f.Type] {
				t.Errorf("stored field %s.%s (%s) has no column in %s", m.Name, f.Name, f.Type, m.Table)
			}
			if !f.Stored && f.Column != nil {
				t.Errorf("field %s.%s is not stored, yet in a column", m.Name, f.Name)
			}
			if f.Label == "" || f.Type == "" || strings.HasPrefix(f.Label, "{") {
				t.Errorf("field %s.%s has label %q and type %q", m.Name, f.Name, f.Label, f.Type)
			}
			if f.Column != nil && f.Translated && f.Column.Type.Kind != cdc.KindJSON {
				t.Errorf("translated field %s.%s lies in a column of type %s", m.Name, f.Name, f.Column.Type.Name)
			}
			if f.Type == "many2many" && f.Stored {
				rel := cat.Table(m.Table.Schema, f.RelationTable)
				if rel == nil || rel.Column(f.Column1) == nil || rel.Column(f.Column2) == nil {
					t.Errorf("many2many %s.%s: no table %s(%s, %s)", m.Name, f.Name, f.RelationTable, f.Column1, f.Column2)
				}
			}
			if f.Relation != "" && cat.Model(f.Relation) == nil && !cat.Tableless(f.Relation) {
				t.Errorf("%s.%s points to the unknown model %s", m.Name, f.Name, f.Relation)
			}
		}
		if !slices.IsSortedFunc(m.Fields, func(a, b *catalog.Field) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("fields of %s are not sorted", m.Name)
		}
	}
	var wantFields, wantOptions int
	err := conn.QueryRow(context.Background(), `
WITH stored AS (SELECT f.id, f.ttype FROM ir_model_fields f WHERE f.model = ANY ($1))
SELECT count(*), (SELECT count(*) FROM ir_model_fields_selection s JOIN stored ON s.field_id = stored.id WHERE ttype = 'selection') FROM stored`,
		modelNames(cat)).Scan(&wantFields, &wantOptions)
	if err != nil {
		t.Fatal(err)
	}
	if fields != wantFields || options != wantOptions || models < 200 {
		t.Errorf("%d models with %d fields and %d options, want %d and %d", models, fields, options, wantFields, wantOptions)
	}
	// Tables with an id that no model claims would be models missed. Odoo 19 signals
	// between its processes through tables that are none.
	for _, table := range cat.Tables {
		if table.Column("id") != nil && cat.ModelOf(table) == nil && !strings.HasPrefix(table.Name, "orm_signaling_") {
			t.Errorf("no model is stored in %s", table)
		}
	}
}

func modelNames(cat *catalog.Catalog) []string {
	var names []string
	for _, m := range cat.Models {
		names = append(names, m.Name)
	}
	return names
}

func checkSaleOrder(t *testing.T, cat *catalog.Catalog) {
	t.Helper()
	m := cat.Model("sale.order")
	if m == nil || m.Label != "Sales Order" || m.Transient || m.Table.Name != "sale_order" || cat.ModelOf(m.Table) != m {
		t.Fatalf("sale.order is %+v", m)
	}
	if got := m.Field("state").Selection; len(got) < 4 || got[0].Value != "draft" || got[0].Label != "Quotation" {
		t.Errorf("states are %v", got)
	}
	checkSaleOrderFields(t, cat)
}

func checkSaleOrderFields(t *testing.T, cat *catalog.Catalog) {
	t.Helper()
	m := cat.Model("sale.order")
	if f := m.Field("order_line"); f.Type != "one2many" || f.Relation != "sale.order.line" || f.RelationField != "order_id" || f.Column != nil {
		t.Errorf("order_line is %+v", f)
	}
	if f := m.Field("tag_ids"); f.RelationTable != "sale_order_tag_rel" || f.Column1 != "order_id" || f.Column2 != "tag_id" {
		t.Errorf("tag_ids is %+v", f)
	}
	if f := m.Field("partner_id"); f.Relation != "res.partner" || f.Column.Type.Kind != cdc.KindInt || !f.Column.NotNull {
		t.Errorf("partner_id is %+v", f)
	}
	for name, want := range map[string]catalog.Content{"note": catalog.ContentHTML, "access_token": catalog.ContentSecret, "name": catalog.ContentPlain, "require_signature": catalog.ContentBoolean} {
		if got := m.Table.Content(name); got != want {
			t.Errorf("content of %s is %d, want %d", name, got, want)
		}
	}
	if users := cat.Model("res.users"); users.Table.Content("password") != catalog.ContentSecret || users.Field("name").Column != nil {
		t.Errorf("res.users keeps its password or name in the open")
	}
}

// checkSettings compares with the database's own words what is read besides models and fields.
func checkSettings(t *testing.T, conn *pgx.Conn, cat *catalog.Catalog, version string) {
	t.Helper()
	var languages, companies, keys, cascades int
	err := conn.QueryRow(context.Background(), `SELECT (SELECT count(*) FROM res_lang), (SELECT count(*) FROM res_company), count(*), count(*) FILTER (WHERE confdeltype = 'c')
FROM pg_constraint WHERE contype = 'f'`).Scan(&languages, &companies, &keys, &cascades)
	if err != nil {
		t.Fatal(err)
	}
	var gotKeys, gotCascades int
	for _, table := range cat.Tables {
		for _, k := range table.ForeignKeys {
			gotKeys++
			if k.OnDelete == 'c' {
				gotCascades++
			}
			if len(k.Columns) != 1 || table.Column(k.Columns[0]) == nil {
				t.Errorf("a foreign key of %s is over %v", table, k.Columns)
			}
		}
	}
	if len(cat.Odoo.Languages) != languages || len(cat.Odoo.Companies) != companies || gotKeys != keys || gotCascades != cascades || keys < 1000 || cat.Odoo.Unread != nil {
		t.Errorf("%d languages, %d companies, %d foreign keys, %d cascades, want %d, %d, %d and %d; unread %v",
			len(cat.Odoo.Languages), len(cat.Odoo.Companies), gotKeys, gotCascades, languages, companies, keys, cascades, cat.Odoo.Unread)
	}
	// Who has values in ir_property is company-dependent; what 18 says of itself is right for it.
	receivable := cat.Model("res.partner").Field("property_account_receivable_id")
	if version == "16" {
		for _, name := range columnOf(t, conn, `SELECT DISTINCT f.model || ' ' || f.name FROM ir_property p JOIN ir_model_fields f ON f.id = p.fields_id`) {
			model, field, _ := strings.Cut(name, " ")
			if f := cat.Model(model).Field(field); !f.CompanyDependent || f.Column != nil {
				t.Errorf("%s is %+v", name, f)
			}
		}
	}
	if want := map[string]string{"16": "6", "18": "7"}[version]; !receivable.CompanyDependent || (receivable.Column == nil) != (version == "16") {
		t.Errorf("property_account_receivable_id is %+v", receivable)
	} else if got, _ := cat.Odoo.Default("res.partner", receivable.Name, 1); got != want {
		t.Errorf("its default is %q, want %q", got, want)
	}
	if got, _ := cat.Odoo.Default("res.partner", "trust", 1); got != `"normal"` {
		t.Errorf("the default of trust is %q", got)
	}
}

func columnOf(t *testing.T, conn *pgx.Conn, sql string) []string {
	t.Helper()
	rows, _ := conn.Query(context.Background(), sql)
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func checkOdoo18(t *testing.T, cat *catalog.Catalog) {
	t.Helper()
	if len(cat.Tables) != 548 {
		t.Errorf("%d tables, want 548", len(cat.Tables))
	}
	columns := map[string]int{"sale_order": 52, "account_move": 73, "res_partner": 83, "res_company": 112}
	for name, n := range columns {
		if got := len(table(t, cat, "public", name).Columns); got != n {
			t.Errorf("%s has %d columns, want %d", name, got, n)
		}
	}
	var translated, companyDependent int
	for _, m := range cat.Models {
		for _, f := range m.Fields {
			if f.Column != nil && f.Translated {
				translated++
			}
			if f.Column != nil && f.CompanyDependent {
				companyDependent++
			}
		}
	}
	if translated < 100 || companyDependent != 47 {
		t.Errorf("%d translated and %d company-dependent fields, want more than 100 and 47", translated, companyDependent)
	}
	if fr := cat.Model("sale.order").Field("state").Selection[0].In("fr_FR"); fr != "Devis" {
		t.Errorf("a quotation is %q in French", fr)
	}
	var inherits []string
	for _, m := range cat.Models {
		for _, d := range m.Inherits {
			inherits = append(inherits, m.Name+" "+d.Model+" "+d.Field)
		}
	}
	// What Odoo 18 writes down, and ir.cron, of which it does not.
	if diff := cmp.Diff([]string{"account.bank.statement.line account.move move_id", "account.setup.bank.manual.config res.partner.bank res_partner_bank_id", "crm.team mail.alias alias_id",
		"ir.cron ir.actions.server ir_actions_server_id", "mail.mail mail.message mail_message_id", "product.document ir.attachment ir_attachment_id",
		"product.product product.template product_tmpl_id", "project.project mail.alias alias_id", "quotation.document ir.attachment ir_attachment_id", "res.users res.partner partner_id"}, inherits); diff != "" {
		t.Errorf("delegations (-want +got):\n%s", diff)
	}
	if got := way(t, cat, "sale.order", "country_code"); got != "company_id.account_fiscal_country_id.code = res.country.code" {
		t.Errorf("country_code is %q", got)
	}
	if cost := cat.Model("product.product").Field("standard_price"); !cost.CompanyDependent || cost.Column.Type.Kind != cdc.KindJSON {
		t.Errorf("standard_price is %+v", cost)
	}
}

// A connection that has loaded before must not trip over what changed in between: module
// upgrades alter the registry's own columns.
func TestLoadAgainAfterUpgrade(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, readFile(t, "testdata/odoo14.sql"))
	before := load(t, conn)
	exec(t, conn, `
ALTER TABLE ir_model ALTER name TYPE jsonb USING jsonb_build_object('fr_FR', 'Commande', '_en_US', 'Pending', 'en_US', name);
ALTER TABLE ir_model_fields ALTER field_description TYPE jsonb USING jsonb_build_object('fr_FR', 'Champ', '_aa', 'Pending');
ALTER TABLE ir_model_fields ALTER translate TYPE varchar USING CASE WHEN translate THEN 'html_translate' END;
ALTER TABLE ir_model_fields ADD company_dependent boolean;
UPDATE ir_model_fields SET company_dependent = (name = 'name');
ALTER TABLE ir_model_fields_selection ALTER name TYPE jsonb USING jsonb_build_object('en_US', name);
ALTER TABLE sale_order ADD x_colour varchar, DROP amount_total;
INSERT INTO ir_model_fields (model_id, state, model, name, field_description, ttype, store) VALUES (1, 'manual', 'sale.order', 'x_colour', '{"en_US": "Colour"}', 'char', true);
DELETE FROM ir_module_module;`)
	cat := load(t, conn)
	m := cat.Model("sale.order")
	if m.Label != "Sales Order" || m.Field("name").Label != "Champ" || m.Field("state").Selection[0].Label != "Quotation" {
		t.Errorf("labels %q, %q, %v", m.Label, m.Field("name").Label, m.Field("state").Selection)
	}
	if !m.Field("note").Translated || m.Field("name").Translated || !m.Field("name").CompanyDependent || m.Field("state").CompanyDependent {
		t.Error("translate or company_dependent is read wrong")
	}
	if f := m.Field("x_colour"); f == nil || f.Column == nil || m.Table.Column("amount_total") != nil {
		t.Errorf("new field %+v", f)
	}
	if cat.Odoo.Version != "" {
		t.Errorf("version %q", cat.Odoo.Version)
	}
	if before.Model("sale.order").Field("x_colour") != nil {
		t.Error("the earlier catalog has changed")
	}
}

func BenchmarkLoadOdoo18(b *testing.B) {
	conn := connect(b, pgtest.Odoo(b, "18"))
	load(b, conn) // statements are prepared once per connection
	var worst time.Duration
	for b.Loop() {
		start := time.Now()
		load(b, conn)
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Milliseconds()), "ms/worst")
}
