package rules

import (
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// types of the test tables' columns.
var (
	tBool      = cdc.BuiltinType(16)
	tBytes     = cdc.BuiltinType(17)
	tInt8      = cdc.BuiltinType(20)
	tInt4      = cdc.BuiltinType(23)
	tText      = cdc.BuiltinType(25)
	tFloat8    = cdc.BuiltinType(701)
	tVarchar   = cdc.BuiltinType(1043)
	tDate      = cdc.BuiltinType(1082)
	tTime      = cdc.BuiltinType(1083)
	tTimestamp = cdc.BuiltinType(1114)
	tTimestTZ  = cdc.BuiltinType(1184)
	tInterval  = cdc.BuiltinType(1186)
	tNumeric   = cdc.BuiltinType(1700)
	tUUID      = cdc.BuiltinType(2950)
	tJSON      = cdc.BuiltinType(3802)
	tInts      = cdc.BuiltinType(1007)
	tTexts     = cdc.BuiltinType(1009)
)

type fieldSpec struct {
	name string
	ttyp string
	typ  *cdc.Type // nil: no column
	edit func(*catalog.Field)
}

func modelOf(oid uint32, name, table string, fields []fieldSpec) *catalog.Model {
	t := &catalog.Table{OID: oid, Schema: "public", Name: table, Identity: 'f', PrimaryKey: []string{"id"}}
	for _, f := range fields {
		if f.typ != nil {
			t.Columns = append(t.Columns, catalog.Column{Name: f.name, Type: f.typ})
		}
	}
	m := &catalog.Model{Name: name, Table: t}
	for _, f := range fields {
		field := &catalog.Field{Name: f.name, Type: f.ttyp, Stored: f.typ != nil}
		for i := range t.Columns {
			if t.Columns[i].Name == f.name {
				field.Column = &t.Columns[i]
			}
		}
		if f.edit != nil {
			f.edit(field)
		}
		m.Fields = append(m.Fields, field)
	}
	return m
}

func toModel(model string) func(*catalog.Field) {
	return func(f *catalog.Field) { f.Relation = model }
}

func options(pairs ...string) func(*catalog.Field) {
	return func(f *catalog.Field) {
		for i := 0; i < len(pairs); i += 2 {
			f.Selection = append(f.Selection, catalog.Option{Value: pairs[i], Label: pairs[i+1]})
		}
	}
}

var orderFields = []fieldSpec{
	{"id", "integer", tInt4, nil},
	{"name", "char", tVarchar, nil},
	{"state", "selection", tVarchar, options("draft", "Quotation", "sent", "Quotation Sent", "sale", "Sales Order", "cancel", "Cancelled")},
	{"amount_total", "monetary", tNumeric, nil},
	{"amount_tax", "monetary", tNumeric, nil},
	{"weight", "float", tFloat8, nil},
	{"priority", "integer", tInt4, nil},
	{"big", "integer", tInt8, nil},
	{"locked", "boolean", tBool, nil},
	{"date_order", "datetime", tTimestamp, nil},
	{"validity_date", "date", tDate, nil},
	{"signed_on", "datetime", tTimestTZ, nil},
	{"partner_id", "many2one", tInt4, toModel("res.partner")},
	{"user_id", "many2one", tInt4, toModel("res.users")},
	{"note", "html", tText, nil},
	{"meta", "json", tJSON, nil},
	{"token_ref", "char", tVarchar, nil},
	{"tags", "char", tTexts, nil},
	{"sizes", "char", tInts, nil},
	{"blob", "binary", tBytes, nil},
	{"ref_uuid", "char", tUUID, nil},
	{"span", "char", tInterval, nil},
	{"at_time", "char", tTime, nil},
	{"access_token", "char", tVarchar, nil},
	{"message_main_attachment_id", "many2one", tInt4, toModel("ir.attachment")},
	{"create_uid", "many2one", tInt4, toModel("res.users")},
	{"write_uid", "many2one", tInt4, toModel("res.users")},
	{"write_date", "datetime", tTimestamp, nil},
	{"display_name", "char", nil, nil},
	{"order_line", "one2many", nil, func(f *catalog.Field) { f.Relation, f.RelationField, f.Stored = "sale.order.line", "order_id", true }},
	{"tag_ids", "many2many", nil, func(f *catalog.Field) { f.Relation, f.RelationTable, f.Stored = "crm.tag", "sale_order_tag_rel", true }},
	{"image", "binary", nil, func(f *catalog.Field) { f.Stored = true }},
}

// testCatalog is a small Odoo database with a plain table, one without a primary key and an unlogged one.
func testCatalog() *catalog.Catalog {
	order := modelOf(1, "sale.order", "sale_order", orderFields)
	partner := modelOf(2, "res.partner", "res_partner", []fieldSpec{
		{"id", "integer", tInt4, nil}, {"name", "char", tVarchar, nil}, {"email", "char", tVarchar, nil}, {"active", "boolean", tBool, nil},
		{"credit", "monetary", tNumeric, nil}, {"country_id", "many2one", tInt4, toModel("res.country")}, {"signup_token", "char", tVarchar, nil},
	})
	country := modelOf(3, "res.country", "res_country", []fieldSpec{{"id", "integer", tInt4, nil}, {"code", "char", tVarchar, nil}})
	users := modelOf(4, "res.users", "res_users", []fieldSpec{{"id", "integer", tInt4, nil}, {"login", "char", tVarchar, nil}, {"password", "char", tVarchar, nil}})
	product := modelOf(5, "product.template", "product_template", []fieldSpec{
		{"id", "integer", tInt4, nil}, {"name", "char", tJSON, func(f *catalog.Field) { f.Translated = true }},
		{"list_price", "float", tNumeric, nil}, {"active", "boolean", tBool, nil},
		{"standard_price", "float", tJSON, func(f *catalog.Field) { f.CompanyDependent = true }},
	})
	wizard := modelOf(6, "sale.wizard", "sale_wizard", []fieldSpec{{"id", "integer", tInt4, nil}})
	wizard.Transient = true
	plain := &catalog.Table{OID: 7, Schema: "public", Name: "Stock Level", Identity: 'd', PrimaryKey: []string{"shop", "sku"}, Columns: []catalog.Column{
		{Name: "shop", Type: tInt4}, {Name: "sku", Type: tText}, {Name: "qty", Type: tNumeric}, {Name: "total", Type: tNumeric, Generated: true}}}
	keyless := &catalog.Table{OID: 8, Schema: "other", Name: "keyless", Identity: 'd', Columns: []catalog.Column{{Name: "x", Type: tInt4}}}
	unlogged := &catalog.Table{OID: 9, Schema: "public", Name: "scratch", Identity: 'd', Unlogged: true, PrimaryKey: []string{"x"}, Columns: []catalog.Column{{Name: "x", Type: tInt4}}}
	models := []*catalog.Model{country, order, partner, product, users, wizard}
	tables := []*catalog.Table{keyless, plain, unlogged}
	for _, m := range models {
		tables = append(tables, m.Table)
	}
	return catalog.New(tables, models, &catalog.Odoo{})
}

func relationOf(t *catalog.Table) *cdc.Relation {
	var cols []cdc.Column
	for _, c := range t.Columns {
		cols = append(cols, cdc.Column{Name: c.Name, Type: c.Type})
	}
	return cdc.NewRelation(t.OID, t.Schema, t.Name, t.Identity, cols, t.PrimaryKey)
}

const absent = "\x00" // as a value in a row: unchanged TOAST that WAL does not hold

type record map[string]string

// rowOf makes a full row; columns without a value are NULL.
func rowOf(t testing.TB, rel *cdc.Relation, v record) cdc.Row {
	t.Helper()
	encoded := make([]cdc.Value, len(rel.Columns))
	for i, c := range rel.Columns {
		text, given := v[c.Name]
		switch {
		case !given:
			encoded[i].State = cdc.Null
		case text != absent:
			encoded[i] = cdc.Value{State: cdc.Present, Text: []byte(text)}
		}
	}
	for name := range v {
		if rel.Column(name) < 0 {
			t.Fatalf("%s has no column %s", rel, name)
		}
	}
	row, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, encoded))
	if !ok {
		t.Fatal("row does not fit")
	}
	return row
}

func created(t testing.TB, rel *cdc.Relation, after record) *cdc.Change {
	return &cdc.Change{Op: cdc.Create, Rel: rel, Key: "42", After: rowOf(t, rel, after)}
}

func wrote(t testing.TB, rel *cdc.Relation, before, after record) *cdc.Change {
	return &cdc.Change{Op: cdc.Write, Rel: rel, Key: "42", Before: rowOf(t, rel, before), After: rowOf(t, rel, after)}
}

func unlinked(t testing.TB, rel *cdc.Relation, before record) *cdc.Change {
	return &cdc.Change{Op: cdc.Unlink, Rel: rel, Key: "42", Before: rowOf(t, rel, before)}
}

// blind is a write whose old row is not in WAL.
func blind(t testing.TB, rel *cdc.Relation, after record) *cdc.Change {
	c := wrote(t, rel, nil, after)
	c.Before = cdc.Row{Image: cdc.ImageUnknown}
	return c
}

var testTx = TxInfo{XID: 4711, LSN: 0x16B3748, Time: time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC)}

// rule fills in what every rule needs.
func rule(c Config) Config {
	if c.Name == "" {
		c.Name = "r"
	}
	if c.Model == "" && c.Table == "" {
		c.Model = "sale.order"
	}
	if c.On == nil {
		c.On = []string{"create", "write", "unlink"}
	}
	if c.Endpoint == "" && c.Endpoints == nil {
		c.Endpoint = "erp"
	}
	return c
}

func mustCompile(t testing.TB, cat *catalog.Catalog, configs ...Config) *Set {
	t.Helper()
	for i := range configs {
		configs[i] = rule(configs[i])
	}
	set, err := Compile(configs, cat)
	if err != nil {
		var b strings.Builder
		for _, e := range flattenErrors(err) {
			b.WriteString(e.Error() + "\n")
			if p, ok := e.(*Problem); ok {
				b.WriteString(p.Snippet() + "\n" + p.Suggest + "\n")
			}
		}
		t.Fatal(b.String())
	}
	return set
}

func flattenErrors(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
