package catalog_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/cdc/catalog"
	"walhook/internal/pgtest"
)

// way spells what a name of a model resolves to: "partner_id.email = res.partner.email", with a "?" where no column holds it and
// a "!" where it is a secret; "" when there is no such field.
func way(t testing.TB, cat *catalog.Catalog, model, name string) string {
	t.Helper()
	m := cat.Model(model)
	if m == nil {
		t.Fatalf("no model %s", model)
	}
	found, ok := cat.Resolve(m, name)
	if !ok {
		return ""
	}
	var path []string
	for _, step := range found.Steps {
		if step.Type != "many2one" || step.Column == nil {
			t.Errorf("%s.%s goes through %s, which is %s", model, name, step.Name, step.Type)
		}
		path = append(path, step.Name)
	}
	text := strings.Join(append(path, found.Field.Name), ".") + " = " + found.Model.Name + "." + found.Field.Name
	if found.Field.Column == nil {
		text += "?"
	}
	if found.Secret {
		text += "!"
	}
	return text
}

func checkWays(t *testing.T, cat *catalog.Catalog, want map[string]string) {
	t.Helper()
	for of, want := range want {
		i := strings.LastIndexByte(of, '.')
		if got := way(t, cat, of[:i], of[i+1:]); got != want {
			t.Errorf("%s is %q, want %q", of, got, want)
		}
	}
}

func checkDisplay(t *testing.T, cat *catalog.Catalog, want map[string]string) {
	t.Helper()
	for model, want := range want {
		if got := cat.Model(model).Display; got != want {
			t.Errorf("records of %s are called by %q, want %q", model, got, want)
		}
	}
}

// Odoo 14 and 15 keep translations and company-dependent values in tables of their own.
func TestLoadOdoo15(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, readFile(t, "testdata/odoo14.sql")+"; "+readFile(t, "testdata/odoo15.sql"))
	cat := load(t, conn)
	if diff := cmp.Diff([]catalog.Delegation{{Model: "res.partner", Field: "partner_id"}}, cat.Model("res.users").Inherits); diff != "" {
		t.Errorf("res.users inherits (-want +got):\n%s", diff)
	}
	for _, name := range []string{"res.partner", "sale.order"} {
		if inherits := cat.Model(name).Inherits; inherits != nil {
			t.Errorf("%s inherits %v", name, inherits)
		}
	}
	checkWays(t, cat, map[string]string{
		"res.users.email":           "partner_id.email = res.partner.email",
		"res.users.login":           "login = res.users.login",
		"res.users.contact_address": "partner_id.contact_address = res.partner.contact_address?",
		"res.users.signup_token":    "partner_id.signup_token = res.partner.signup_token!",
		"res.users.nothing":         "",
		"sale.order.x_parent_email": "user_id.partner_id.parent_id.email = res.partner.email",
		"sale.order.x_note":         "user_id.partner_id.signup_token = res.partner.signup_token!",
		"sale.order.x_circle":       "x_circle = sale.order.x_circle?",
		"sale.order.x_nowhere":      "x_nowhere = sale.order.x_nowhere?",
		"sale.order.access_token":   "access_token = sale.order.access_token!",
		"sale.order.order_line":     "order_line = sale.order.order_line?",
	})
	checkDisplay(t, cat, map[string]string{"res.partner": "display_name", "res.users": "name", "sale.order": "name", "x_my_model": "x_name", "mail.notification": ""})

	if diff := cmp.Diff([]catalog.Language{{"de_DE", "German / Deutsch", false}, {"en_US", "English (US)", true}, {"fr_FR", "French / Français", true}}, cat.Odoo.Languages); diff != "" {
		t.Errorf("languages (-want +got):\n%s", diff)
	}
	if l := cat.Odoo.Language("fr_FR"); l == nil || !l.Active || cat.Odoo.Language("fr") != nil {
		t.Errorf("fr_FR is %+v", l)
	}
	if diff := cmp.Diff([]catalog.Company{{1, "Main", 1}, {2, "Branch", 2}}, cat.Odoo.Companies); diff != "" {
		t.Errorf("companies (-want +got):\n%s", diff)
	}
	states := cat.Model("sale.order").Field("state").Selection
	for i, want := range []struct{ en, fr string }{{"Quotation", "Devis"}, {"Quotation Sent", "Quotation Sent"}, {"Sales Order", "Bon de commande"}} {
		if states[i].In("en_US") != want.en || states[i].In("fr_FR") != want.fr || states[i].In("de_DE") != want.en {
			t.Errorf("state %s is %+v", states[i].Value, states[i])
		}
	}

	partner := cat.Model("res.partner")
	for name, want := range map[string]bool{"trust": true, "property_payment_term_id": true, "x_limit": true, "property_since": true, "contact_address": false, "email": false} {
		if f := partner.Field(name); f.CompanyDependent != want || want && f.Column != nil {
			t.Errorf("%s is %+v", name, f)
		}
	}
	if cat.Model("res.users").Field("trust").CompanyDependent {
		t.Error("an inherited field is taken for a company-dependent one of its own")
	}
	for _, d := range []struct {
		field   string
		company int64
		want    string
	}{
		{"trust", 1, `"normal"`}, {"trust", 2, `"good \"old\" one"`}, {"property_payment_term_id", 1, "7"}, {"property_payment_term_id", 2, ""}, {"x_limit", 1, ""},
		{"property_since", 9, `"2026-01-02 03:04:05"`}, {"property_check", 1, "true"}, {"property_count", 1, "-3"}, {"email", 1, ""},
	} {
		if got, ok := cat.Odoo.Default("res.partner", d.field, d.company); got != d.want || ok != (d.want != "") {
			t.Errorf("default of %s in company %d is %s, want %s", d.field, d.company, got, d.want)
		}
	}
	type key struct {
		columns, to string
		onDelete    byte
	}
	var keys []key
	for _, f := range table(t, cat, "public", "sale_order").ForeignKeys {
		keys = append(keys, key{strings.Join(f.Columns, ","), f.References.String(), f.OnDelete})
	}
	if diff := cmp.Diff([]key{{"partner_id", "public.res_partner", 'a'}, {"user_id", "public.res_users", 'c'}}, keys, cmp.AllowUnexported(key{})); diff != "" {
		t.Errorf("foreign keys (-want +got):\n%s", diff)
	}
}

// What the role may not read besides the models and fields is left out and named.
func TestLoadWithoutCourtesies(t *testing.T) {
	dsn := pgtest.Database(t)
	owner := connect(t, dsn)
	exec(t, owner, readFile(t, "testdata/odoo14.sql")+"; "+readFile(t, "testdata/odoo15.sql"))
	role := pgx.Identifier{"Poor reader of " + owner.Config().Database}.Sanitize()
	exec(t, owner, "CREATE ROLE "+role+"; GRANT SELECT ON ir_model, ir_model_fields_selection, ir_config_parameter, ir_module_module TO "+role+
		"; GRANT SELECT (id, model, name, field_description, ttype, store, relation, relation_field, relation_table, column1, column2, translate) ON ir_model_fields TO "+role)
	t.Cleanup(func() { exec(t, owner, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	reader := connect(t, dsn)
	exec(t, reader, "SET ROLE "+role)
	cat := load(t, reader)
	if diff := cmp.Diff([]string{"ir_property", "ir_translation", "res_lang", "res_company"}, cat.Odoo.Unread); diff != "" {
		t.Errorf("unread (-want +got):\n%s", diff)
	}
	// Without the column "related" nothing is known of inheritance, and names that need no privilege are.
	checkWays(t, cat, map[string]string{"res.users.email": "email = res.users.email?"})
	partner := cat.Model("res.partner")
	if !partner.Field("trust").CompanyDependent || !partner.Field("property_payment_term_id").CompanyDependent || partner.Field("x_limit").CompanyDependent {
		t.Error("company-dependent fields are not told by their names")
	}
	if cat.Odoo.Languages != nil || cat.Odoo.Companies != nil || cat.Odoo.Defaults != nil || cat.Model("sale.order").Field("state").Selection[0].Label != "Quotation" {
		t.Errorf("read %+v", cat.Odoo)
	}
}

// Tables of that name that are not Odoo's are passed over.
func TestLoadOddTables(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, readFile(t, "testdata/odoo14.sql")+`; CREATE TABLE res_lang (x int); CREATE TABLE res_company (id int, name jsonb);
CREATE TABLE ir_property (fields_id int); CREATE TABLE ir_model_inherit (a int); CREATE TABLE ir_default (field_id int); CREATE TABLE ir_translation (name text)`)
	if cat := load(t, conn); cat.Model("sale.order") == nil || cat.Odoo.Companies != nil {
		t.Errorf("read %+v", cat.Odoo)
	}
}

// A class may name any table, and nothing in the database says so.
func TestConfiguredTables(t *testing.T) {
	conn := connect(t, pgtest.Database(t))
	exec(t, conn, readFile(t, "testdata/odoo14.sql")+`; CREATE TABLE legacy_orders (id int PRIMARY KEY, name text); CREATE TABLE keyless (x int)`)
	config := catalog.Config{Tables: map[string]string{"sale.order": "legacy_orders", "mail.notification": "no_such_table", "x_my_model": "keyless", "no.such.model": "legacy_orders"}}
	cat, err := config.Load(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	if m := cat.Model("sale.order"); m.Table.Name != "legacy_orders" || m.Field("name").Column != m.Table.Column("name") || cat.ModelOf(table(t, cat, "public", "sale_order")) != nil {
		t.Errorf("sale.order lies in %s", m.Table)
	}
	if m := cat.Model("mail.notification"); m.Table.Name != "mail_message_res_partner_needaction_rel" {
		t.Errorf("mail.notification lies in %s", m.Table)
	}
	if diff := cmp.Diff([]string{"mail.notification", "no.such.model", "x_my_model"}, config.Misplaced(cat)); diff != "" {
		t.Errorf("misplaced (-want +got):\n%s", diff)
	}
	for _, bad := range []map[string]string{{"": "x"}, {"x": ""}} {
		if (catalog.Config{Tables: bad}).Validate() == nil {
			t.Errorf("%v is valid", bad)
		}
	}
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
}

// The same of the registries of four real versions.
func checkInheritance(t *testing.T, cat *catalog.Catalog, version string) {
	t.Helper()
	type ways = map[string]string
	checkWays(t, cat, ways{
		"res.users.email":           "partner_id.email = res.partner.email",
		"res.users.name":            "partner_id.name = res.partner.name",
		"product.product.name":      "product_tmpl_id.name = product.template.name",
		"product.product.lst_price": "lst_price = product.product.lst_price?", // computed, and not the template's
		"product.product.categ_id":  "product_tmpl_id.categ_id = product.template.categ_id",
		"mail.mail.subject":         "mail_message_id.subject = mail.message.subject",
		"ir.cron.code":              "ir_actions_server_id.code = ir.actions.server.code",
	})
	checkWays(t, cat, map[string]ways{
		"16": {"account.payment.date": "move_id.date = account.move.date"},
		"17": {"account.payment.date": "move_id.date = account.move.date"},
		"18": {"account.payment.date": "date = account.payment.date"},
		"19": {"account.payment.date": "date = account.payment.date", "hr.employee.job_title": "current_version_id.job_title = hr.version.job_title"},
	}[version])
	checkDisplay(t, cat, map[string]string{"product.product": "name", "product.category": "complete_name", "res.users": "name", "res.partner.bank": "acc_number", "sale.order": "name",
		"res.partner": map[bool]string{true: "display_name", false: "complete_name"}[version == "16"]})
}
