package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// salesCatalog has orders with lines and tags, products that inherit from templates, and users that inherit from partners.
func salesCatalog() *catalog.Catalog {
	inverse := func(model, field string) func(*catalog.Field) {
		return func(f *catalog.Field) { f.Relation, f.RelationField, f.Stored = model, field, true }
	}
	pairs := func(model, table, from, to string) func(*catalog.Field) {
		return func(f *catalog.Field) {
			f.Relation, f.RelationTable, f.Column1, f.Column2, f.Stored = model, table, from, to, true
		}
	}
	id := fieldSpec{"id", "integer", tInt4, nil}
	name := fieldSpec{"name", "char", tVarchar, nil}
	translated := func(f *catalog.Field) { f.Translated = true }
	models := []*catalog.Model{
		modelOf(1, "sale.order", "sale_order", []fieldSpec{id, name, {"state", "selection", tVarchar, options("draft", "Quotation", "sale", "Sales Order")}, {"amount_total", "monetary", tNumeric, nil},
			{"partner_id", "many2one", tInt4, toModel("res.partner")}, {"user_id", "many2one", tInt4, toModel("res.users")}, {"access_token", "char", tVarchar, nil}, {"write_uid", "many2one", tInt4, toModel("res.users")},
			{"order_line", "one2many", nil, inverse("sale.order.line", "order_id")}, {"tag_ids", "many2many", nil, pairs("crm.tag", "sale_order_tag_rel", "order_id", "tag_id")},
			{"website_ids", "many2many", nil, toModel("crm.tag")}, {"message_ids", "one2many", nil, inverse("mail.message", "res_id")}}),
		modelOf(2, "sale.order.line", "sale_order_line", []fieldSpec{id, name, {"sequence", "integer", tInt4, nil}, {"order_id", "many2one", tInt4, toModel("sale.order")}, {"product_id", "many2one", tInt4, toModel("product.product")},
			{"qty", "float", tNumeric, nil}, {"price_unit", "float", tNumeric, nil}, {"state", "selection", tVarchar, options("draft", "Draft", "sale", "Sold")}, {"tax_ids", "many2many", nil, pairs("crm.tag", "line_tag_rel", "line_id", "tag_id")}}),
		modelOf(3, "product.product", "product_product", []fieldSpec{id, {"default_code", "char", tVarchar, nil}, {"product_tmpl_id", "many2one", tInt4, toModel("product.template")}, {"active", "boolean", tBool, nil}}),
		modelOf(4, "product.template", "product_template", []fieldSpec{id, {"name", "char", tJSON, translated}, {"list_price", "float", tNumeric, nil}, {"access_token", "char", tVarchar, nil},
			{"product_variant_ids", "one2many", nil, inverse("product.product", "product_tmpl_id")}, {"type", "selection", tVarchar, options("consu", "Goods", "service", "Service")}}),
		modelOf(5, "res.partner", "res_partner", []fieldSpec{id, name, {"email", "char", tVarchar, nil}, {"active", "boolean", tBool, nil}, {"country_id", "many2one", tInt4, toModel("res.country")}, {"parent_id", "many2one", tInt4, toModel("res.partner")},
			{"child_ids", "one2many", nil, inverse("res.partner", "parent_id")}}),
		modelOf(6, "res.country", "res_country", []fieldSpec{id, {"code", "char", tVarchar, nil}, {"name", "char", tJSON, translated}}),
		modelOf(7, "res.users", "res_users", []fieldSpec{id, {"login", "char", tVarchar, nil}, {"partner_id", "many2one", tInt4, toModel("res.partner")}, {"password", "char", tVarchar, nil}}),
		modelOf(8, "crm.tag", "crm_tag", []fieldSpec{id, name, {"active", "boolean", tBool, nil}}),
		modelOf(9, "mail.message", "mail_message", []fieldSpec{id, {"res_id", "many2one_reference", tInt4, nil}}),
	}
	models[2].Inherits = []catalog.Delegation{{Model: "product.template", Field: "product_tmpl_id"}}
	models[6].Inherits = []catalog.Delegation{{Model: "res.partner", Field: "partner_id"}}
	tables := []*catalog.Table{
		{OID: 20, Schema: "public", Name: "sale_order_tag_rel", PrimaryKey: []string{"order_id", "tag_id"}, Columns: []catalog.Column{{Name: "order_id", Type: tInt4}, {Name: "tag_id", Type: tInt4}}},
		{OID: 21, Schema: "public", Name: "line_tag_rel", PrimaryKey: []string{"line_id", "tag_id"}, Columns: []catalog.Column{{Name: "line_id", Type: tInt4}, {Name: "tag_id", Type: tInt4}}},
	}
	for _, m := range models {
		tables = append(tables, m.Table)
	}
	return catalog.New(tables, models, &catalog.Odoo{})
}

// shop is a database in memory. It knows only what it was asked for.
type shop struct {
	t      testing.TB
	rows   map[string][]record
	pairs  map[string][][2]string
	cat    *catalog.Catalog
	asked  map[Ref]bool
	rounds int
}

func newShop(t testing.TB, cat *catalog.Catalog) *shop {
	s := &shop{t: t, cat: cat, rows: map[string][]record{
		"sale_order_line": {{"id": "12", "order_id": "42", "product_id": "2", "sequence": "1", "name": "Desk", "qty": "1", "price_unit": "100.50", "state": "sale"},
			{"id": "11", "order_id": "42", "product_id": "1", "sequence": "2", "name": "Chair", "qty": "4.0", "price_unit": "10", "state": "draft"},
			{"id": "13", "order_id": "42", "sequence": "3", "name": "A note"}, {"id": "14", "order_id": "43", "product_id": "1", "qty": "7"}},
		"product_product":  {{"id": "1", "default_code": "CHAIR", "product_tmpl_id": "8"}, {"id": "2", "default_code": "DESK", "product_tmpl_id": "9", "active": "t"}},
		"product_template": {{"id": "8", "name": `{"en_US": "Chair", "fr_FR": "Chaise"}`, "list_price": "12.00", "type": "consu"}, {"id": "9", "name": `{"en_US": "Desk"}`, "list_price": "99", "type": "service"}},
		"res_partner":      {{"id": "7", "name": "Azure", "email": "a@example.com", "country_id": "75", "active": "t"}, {"id": "8", "name": "Brandon", "parent_id": "7"}, {"id": "9", "name": "Colleen", "parent_id": "7", "active": "f"}},
		"res_country":      {{"id": "75", "code": "FR", "name": `{"en_US": "France"}`}},
		"res_users":        {{"id": "2", "login": "admin", "partner_id": "8"}},
		"crm_tag":          {{"id": "5", "name": "Urgent", "active": "t"}, {"id": "6", "name": "Old", "active": "f"}},
	}, pairs: map[string][][2]string{"sale_order_tag_rel": {{"42", "5"}, {"42", "6"}, {"43", "5"}}, "line_tag_rel": {{"12", "5"}, {"11", "5"}, {"11", "6"}}}}
	s.asked = map[Ref]bool{}
	return s
}

func (s *shop) Rows(l *Link, id int64) (rows []cdc.Row, fetched bool) {
	if !s.asked[Ref{l, id}] {
		return nil, false
	}
	table := s.cat.Table(l.Schema, l.Table)
	rel := relationOf(table)
	key := strconv.FormatInt(id, 10)
	for _, r := range s.rows[l.Table] {
		wanted := l.By != "" && r[l.By] == key
		if l.Rel != nil {
			wanted = slices.Contains(s.pairs[l.Rel.Table], [2]string{key, r["id"]})
		}
		if !wanted || l.Many() && !l.Archived && r["active"] == "f" {
			continue
		}
		for name := range r {
			if !slices.Contains(l.Columns, name) { // as if it had not been read
				r = with(r, name, "")
				delete(r, name)
			}
		}
		rows = append(rows, rowOf(s.t, rel, r))
	}
	if l.Many() && l.Limit > 0 && len(rows) > l.Limit {
		rows = rows[:l.Limit]
	}
	return rows, true
}

// fetch asks for what is missing until nothing is.
func (s *shop) fetch(m *Matcher, c *cdc.Change) TxInfo {
	s.asked, s.rounds = map[Ref]bool{}, 0
	tx := testTx
	tx.Related = s
	for {
		refs := m.Missing(nil, tx, c)
		if len(refs) == 0 {
			return tx
		}
		for _, ref := range refs {
			if s.asked[ref] {
				s.t.Fatalf("%v is asked for again", ref)
			}
			s.asked[ref] = true
		}
		if s.rounds++; s.rounds > 20 {
			s.t.Fatal("no end of rows to fetch")
		}
	}
}

var shopOrder = record{"id": "42", "name": "S00042", "state": "sale", "amount_total": "140.50", "partner_id": "7", "user_id": "2", "write_uid": "2"}

// shown is what a payload's single member gives for a change, as JSON.
func shown(t *testing.T, model string, payload Payload, c func(*cdc.Relation) *cdc.Change) string {
	t.Helper()
	cat := salesCatalog()
	set := mustCompile(t, cat, Config{Model: model, On: []string{"create", "write", "unlink"}, Payload: payload})
	m := set.NewMatcher()
	change := c(relationOf(cat.Model(model).Table))
	tx := newShop(t, cat).fetch(m, change)
	out := map[string]any{}
	for i, o := range set.Rules()[0].Outputs() {
		v, err := m.Eval(set.Rules()[0], i, tx, change)
		if err != nil {
			return err.Error()
		}
		out[o.Name] = v
	}
	text, err := json.Marshal(out["x"])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPaths(t *testing.T) {
	order := func(rel *cdc.Relation) *cdc.Change { return created(t, rel, shopOrder) }
	moved := func(rel *cdc.Relation) *cdc.Change {
		return wrote(t, rel, with(shopOrder, "partner_id", "8"), shopOrder)
	}
	lonely := func(rel *cdc.Relation) *cdc.Change {
		return created(t, rel, record{"id": "99", "partner_id": "1000"})
	}
	gone := func(rel *cdc.Relation) *cdc.Change { return unlinked(t, rel, shopOrder) }
	variant := func(rel *cdc.Relation) *cdc.Change {
		return created(t, rel, record{"id": "1", "default_code": "CHAIR", "product_tmpl_id": "8"})
	}
	user := func(rel *cdc.Relation) *cdc.Change {
		return created(t, rel, record{"id": "2", "login": "admin", "partner_id": "8"})
	}
	const so, pp = "sale.order", "product.product"
	for _, tc := range []struct {
		model  string
		change func(*cdc.Relation) *cdc.Change
		member any
		want   string
	}{
		// One row after the other.
		{so, order, "partner_id.name", `"Azure"`},
		{so, order, "partner_id.country_id.code", `"FR"`},
		{so, order, "after.partner_id.country_id.name", `"France"`},
		{so, order, `ref("partner_id.country_id").code`, `"FR"`},
		{so, order, `ref("partner_id").country_id.code`, `"FR"`},
		{so, order, `ref("partner_id").country_id`, `75`},
		{so, order, "partner_id", `7`},
		{so, order, "partner_id.parent_id.name", `null`},
		{so, order, "user_id.partner_id.parent_id.country_id.code", `"FR"`},
		{so, lonely, "partner_id.name", `null`},
		{so, lonely, "partner_id.country_id.code", `null`},
		{so, lonely, "partner_id.active", `null`},
		{so, lonely, "user_id.login", `null`},
		{so, moved, `before.partner_id.name + " to " + after.partner_id.name`, `"Brandon to Azure"`},
		{so, gone, "partner_id.country_id.code", `"FR"`},
		{so, gone, "after.partner_id.name", `null`},
		// In expressions.
		{so, order, `partner_id.country_id.code == "FR" && amount_total > 100`, `true`},
		{so, order, `upper(partner_id.name) + "/" + name`, `"AZURE/S00042"`},
		{so, order, `let partner_id = {"name": "mine"}; partner_id.name`, `"mine"`},
		{so, lonely, `partner_id.name ?? "nobody"`, `"nobody"`},
		{so, order, `label("order_line.state")`, `["Sold","Draft",null]`},
		{so, order, `label("state")`, `"Sales Order"`},
		// Inherited fields.
		{pp, variant, "list_price", `"12.00"`},
		{pp, variant, "name", `"Chair"`},
		{pp, variant, map[string]any{"value": "name", "lang": "fr_FR"}, `"Chaise"`},
		{pp, variant, "after.list_price * 2", `"24.00"`},
		{pp, variant, `label("product_tmpl_id.type")`, `"Goods"`},
		{"res.users", user, "email", `null`},
		{"res.users", user, "name", `"Brandon"`},
		{"res.users", user, "country_id.code", `null`},
		{"res.users", user, "parent_id.country_id.code", `"FR"`},
		{so, order, "user_id.name", `"Brandon"`},
		// Many rows.
		{so, order, "order_line.product_id.default_code", `["DESK","CHAIR",null]`},
		{so, order, "order_line.product_id.name", `["Desk","Chair",null]`},
		{so, order, "order_line.qty", `["1","4.0",null]`},
		{so, order, "order_line", `[12,11,13]`},
		{so, order, "tag_ids", `[5]`},
		{so, order, "tag_ids.name", `["Urgent"]`},
		{so, order, "order_line.tax_ids.name", `["Urgent","Urgent"]`},
		{so, order, "partner_id.child_ids.name", `["Brandon"]`},
		{so, lonely, "order_line.product_id.default_code", `[]`},
		{so, lonely, "partner_id.child_ids.name", `[]`},
		{so, order, `sum(order_line.qty)`, `"5.0"`},
		{so, order, `join(order_line.product_id.default_code, "+")`, `"DESK+CHAIR+"`},
		{so, order, `any(order_line.price_unit, # > 100)`, `true`},
		{so, order, `max(order_line.price_unit) + min(order_line.qty)`, `"101.50"`},
		// Options.
		{so, lonely, map[string]any{"value": "partner_id.country_id.code", "default": "XX"}, `"XX"`},
		{so, order, map[string]any{"value": "partner_id.country_id.code", "default": "XX"}, `"FR"`},
		{so, lonely, map[string]any{"value": "state", "default": false}, `false`},
		{so, lonely, map[string]any{"value": "amount_total * 2", "default": int64(0)}, `0`},
		// Objects.
		{so, order, map[string]any{"city": "partner_id.name", "deep": map[string]any{"fields": map[string]any{"value": "name"}}}, `{"city":"Azure","deep":{"value":"S00042"}}`},
		// Rows as objects.
		{so, order, map[string]any{"each": "order_line", "fields": map[string]any{"sku": "product_id.default_code", "qty": "qty"}}, `[{"qty":"1","sku":"DESK"},{"qty":"4.0","sku":"CHAIR"},{"qty":null,"sku":null}]`},
		{so, order, map[string]any{"each": "order_line", "fields": []any{"id", "name", "order_id"}}, `[{"id":12,"name":"Desk","order_id":42},{"id":11,"name":"Chair","order_id":42},{"id":13,"name":"A note","order_id":42}]`},
		{so, order, map[string]any{"each": "order_line", "where": "qty > 0 && product_id.type == \"consu\"", "fields": []any{"name"}}, `[{"name":"Chair"}]`},
		{so, order, map[string]any{"each": "order_line", "where": `parent.state == state && after.amount_total > 100`, "fields": map[string]any{"of": "parent.name", "by": "parent.partner_id.name", "total": "qty * price_unit", "id": "id", "label": `label("state")`}},
			`[{"by":"Azure","id":12,"label":"Sold","of":"S00042","total":"100.50"}]`},
		{so, order, map[string]any{"each": "order_line", "limit": int64(2), "fields": []any{"id"}}, `[{"id":12},{"id":11}]`},
		{so, order, map[string]any{"each": "order_line", "fields": map[string]any{"taxes": map[string]any{"each": "tax_ids", "fields": map[string]any{"tag": "name", "line": "parent.name", "order": "parent.parent.name"}}, "n": "tax_ids.name"}},
			`[{"n":["Urgent"],"taxes":[{"line":"Desk","order":"S00042","tag":"Urgent"}]},{"n":["Urgent"],"taxes":[{"line":"Chair","order":"S00042","tag":"Urgent"}]},{"n":[],"taxes":[]}]`},
		{so, order, map[string]any{"each": "order_line", "fields": map[string]any{"share": "round(price_unit / max(parent.order_line.price_unit), 2)"}}, `[{"share":"1.00"},{"share":"0.10"},{"share":null}]`},
		{so, order, map[string]any{"each": "tag_ids", "archived": true, "fields": []any{"name"}}, `[{"name":"Urgent"},{"name":"Old"}]`},
		{so, order, map[string]any{"each": "partner_id.child_ids", "fields": []any{"name"}}, `[{"name":"Brandon"}]`},
		{pp, variant, map[string]any{"each": "product_variant_ids", "fields": []any{"default_code", "name", "list_price"}}, `[{"default_code":"CHAIR","list_price":"12.00","name":"Chair"}]`},
		{so, lonely, map[string]any{"each": "order_line", "fields": []any{"name"}}, `[]`},
	} {
		t.Run(fmt.Sprint(tc.member), func(t *testing.T) {
			got := shown(t, tc.model, Payload{"x": tc.member, "other": "id"}, tc.change)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Conditions follow relations, and inherited fields by themselves.
func TestPathsInConditions(t *testing.T) {
	cat := salesCatalog()
	order := created(t, relationOf(cat.Model("sale.order").Table), shopOrder)
	variant := created(t, relationOf(cat.Model("product.product").Table), record{"id": "1", "product_tmpl_id": "8"})
	for _, tc := range []struct {
		model  string
		change *cdc.Change
		when   string
		want   bool
		rounds int
	}{
		{"sale.order", order, `ref("partner_id.country_id").code == "FR"`, true, 2},
		{"sale.order", order, `ref("partner_id.country_id").code == "DE"`, false, 2},
		{"sale.order", order, `after.state == "draft" && ref("partner_id.country_id").code == "FR"`, false, 0},
		{"sale.order", order, `ref("partner_id").parent_id == nil && ref("user_id").name == "Brandon"`, true, 2},
		{"sale.order", order, `after.partner_id.country_id.code in ["FR", "BE"]`, true, 2},
		{"sale.order", order, `any(after.order_line.product_id.type, # == "service")`, true, 3},
		{"product.product", variant, `after.list_price > 10 && after.name == "Chair"`, true, 1},
		{"product.product", variant, `after["list_price"] > 12`, false, 1},
	} {
		set := mustCompile(t, cat, Config{Model: tc.model, On: []string{"create"}, When: tc.when, Fields: []string{"id"}})
		m, s := set.NewMatcher(), newShop(t, cat)
		tx := s.fetch(m, tc.change)
		got := m.Match(nil, tx, tc.change)
		if len(got) == 1 && got[0].Err != nil {
			t.Errorf("%s: %v", tc.when, got[0].Err)
		}
		if (len(got) == 1) != tc.want || s.rounds != tc.rounds {
			t.Errorf("%s: %d matches after %d rounds, want %v after %d", tc.when, len(got), s.rounds, tc.want, tc.rounds)
		}
	}
}

// What a payload needs is fetched when the condition holds, and in one round with all others of its level.
func TestMissingLevels(t *testing.T) {
	cat := salesCatalog()
	order := created(t, relationOf(cat.Model("sale.order").Table), shopOrder)
	payload := Payload{"country": "partner_id.country_id.code", "by": "user_id.name", "lines": map[string]any{"each": "order_line", "fields": map[string]any{"sku": "product_id.default_code", "name": "product_id.name"}}}
	set := mustCompile(t, cat,
		Config{Name: "french", On: []string{"create"}, When: `ref("partner_id.country_id").code == "FR"`, Payload: payload},
		Config{Name: "german", On: []string{"create"}, When: `ref("partner_id.country_id").code == "DE"`, Payload: Payload{"tags": "tag_ids.name"}})
	m, s := set.NewMatcher(), newShop(t, cat)
	tx := s.fetch(m, order)
	if s.rounds != 5 { // partner, country; lines and user, products and the user's partner, templates
		t.Errorf("%d rounds", s.rounds)
	}
	for ref := range s.asked {
		if ref.Link.Table == "crm_tag" {
			t.Error("the tags were fetched for a rule that does not match")
		}
	}
	if got := matched(m, order); !slices.Equal(got, []string{"!french", "!german"}) {
		t.Errorf("without related rows: %v", got)
	}
	if got := m.Match(nil, tx, order); len(got) != 1 || got[0].Rule.Name != "french" || got[0].Err != nil {
		t.Errorf("got %+v", got)
	}
	var links []string
	for _, l := range set.Links() {
		links = append(links, fmt.Sprintf("%v %v%v %d", l, l.Columns, l.Order, l.Limit))
	}
	slices.Sort(links)
	want := []string{
		"public.crm_tag by public.sale_order_tag_rel [id name][id] 10001",
		"public.product_product [default_code id product_tmpl_id][] 0",
		"public.product_template [id name][] 0",
		"public.res_country [code id][] 0",
		"public.res_partner [country_id id name][] 0",
		"public.res_users [id partner_id][] 0",
		"public.sale_order_line by order_id [id product_id][sequence id] 1001",
	}
	if diff := cmp.Diff(want, links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	var tables []string
	for _, table := range set.Related() {
		tables = append(tables, table.Name)
	}
	if want := []string{"crm_tag", "product_product", "product_template", "res_country", "res_partner", "res_users", "sale_order_line", "sale_order_tag_rel"}; !slices.Equal(tables, want) {
		t.Errorf("related tables %v", tables)
	}
}

// Arrays have an end, and say where they were cut.
func TestTruncated(t *testing.T) {
	cat := salesCatalog()
	order := created(t, relationOf(cat.Model("sale.order").Table), shopOrder)
	each := func(pairs ...any) map[string]any {
		out := map[string]any{"each": "order_line", "fields": []any{"id"}}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i].(string)] = pairs[i+1]
		}
		return out
	}
	for _, tc := range []struct {
		lines  int
		member any
		want   int
		cut    bool
	}{
		{1000, each(), 1000, false}, {1001, each(), 1000, true}, {3, each("limit", int64(3)), 3, false}, {4, each("limit", int64(3)), 3, true}, {1500, each("limit", int64(2000)), 1500, false},
		{1000, each("where", "sequence % 100 == 0"), 10, false}, {1001, each("where", "sequence % 100 == 0"), 10, true}, {900, each("where", "sequence % 100 == 0", "limit", int64(9)), 9, false},
		{900, each("where", "sequence % 100 == 0", "limit", int64(8)), 8, true},
		{1001, "order_line.name", 1000, true}, {1000, "order_line.name", 1000, false},
	} {
		s := newShop(t, cat)
		s.rows["sale_order_line"] = nil
		for i := range tc.lines {
			s.rows["sale_order_line"] = append(s.rows["sale_order_line"], record{"id": strconv.Itoa(i + 1), "order_id": "42", "sequence": strconv.Itoa(i + 1)})
		}
		set := mustCompile(t, cat, Config{On: []string{"create"}, Payload: Payload{"x": tc.member}})
		m, r := set.NewMatcher(), set.Rules()[0]
		tx := s.fetch(m, order)
		if err := m.Begin(r, tx, order); err != nil {
			t.Fatal(err)
		}
		n := 0
		cut, err := m.Each(r, &r.Outputs()[0], func() error { n++; return nil })
		if err != nil || n != tc.want || cut != tc.cut {
			t.Errorf("%v of %d lines: %d, cut %v, %v; want %d, cut %v", tc.member, tc.lines, n, cut, err, tc.want, tc.cut)
		}
	}
	// All arrays of a body together.
	s := newShop(t, cat)
	s.rows["sale_order"], s.rows["sale_order_line"] = []record{{"id": "42"}}, nil
	for i := range 150 {
		s.rows["sale_order_line"] = append(s.rows["sale_order_line"], record{"id": strconv.Itoa(i + 1), "order_id": "42"})
	}
	nested := mustCompile(t, cat, Config{On: []string{"create"}, Payload: Payload{"x": map[string]any{"each": "order_line", "fields": map[string]any{"all": map[string]any{"each": "order_id.order_line", "fields": []any{"id"}}}}}})
	nm, nr := nested.NewMatcher(), nested.Rules()[0]
	if err := nm.Begin(nr, s.fetch(nm, order), order); err != nil {
		t.Fatal(err)
	}
	var outer, inner, cuts int
	outerCut, err := nm.Each(nr, &nr.Outputs()[0], func() error {
		outer++
		cut, err := nm.Each(nr, &nr.Outputs()[0].Members[0], func() error { inner++; return nil })
		if cut {
			cuts++
		}
		return err
	})
	if err != nil || !outerCut || cuts != 1 || outer+inner != maxVisits {
		t.Errorf("%d and %d rows, cut %v, %d times, %v", outer, inner, outerCut, cuts, err)
	}
	s = newShop(t, cat)
	for i := range maxRelated + 1 {
		s.rows["sale_order_line"] = append(s.rows["sale_order_line"], record{"id": strconv.Itoa(i + 100), "order_id": "42", "qty": "1"})
	}
	set := mustCompile(t, cat, Config{On: []string{"create"}, Payload: Payload{"x": "sum(order_line.qty)"}})
	m := set.NewMatcher()
	if v, err := m.Eval(set.Rules()[0], 0, s.fetch(m, order), order); err == nil || !strings.Contains(err.Error(), "order_line has more than 10000 rows") {
		t.Errorf("a sum over some of the lines: %v, %v", v, err)
	}
}

// What is shown of the record itself is what changes are told of; a path shows the many2one that it begins with.
func TestReadsOfPaths(t *testing.T) {
	cat := salesCatalog()
	rel := relationOf(cat.Model("sale.order").Table)
	set := mustCompile(t, cat, Config{On: []string{"write", "unlink"}, Payload: Payload{"total": "amount_total", "c": "partner_id.country_id.code", "o": map[string]any{"n": "name"}, "l": map[string]any{"each": "order_line", "where": "parent.state == state", "fields": map[string]any{"u": "parent.user_id.name"}}}})
	var got []string
	for _, i := range set.Rules()[0].Reads(rel) {
		got = append(got, rel.Columns[i].Name)
	}
	if want := []string{"id", "name", "state", "amount_total", "partner_id", "user_id"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	needs := set.Needs()
	if !needs[0].Full || !slices.Contains(needs[0].Why, `rule "r" is on unlink and sends fields of the deleted row`) {
		t.Errorf("needs %+v", needs)
	}
	set = mustCompile(t, cat, Config{On: []string{"write"}, EachWrite: true, Payload: Payload{"was": "before.partner_id.name"}})
	if want := []string{`rule "r" reads before.partner_id`}; !slices.Equal(set.Needs()[0].Why, want) {
		t.Errorf("needs %+v", set.Needs())
	}
}

// What a payload shows as a digest alone is not shown in the changes either.
func TestReadsOfDigests(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	settings := Settings{Functions: map[string]Function{"pseudonym": {Args: []string{"x"}, Expr: `sha256("salt" + x)`}, "twice": {Args: []string{"x"}, Expr: `pseudonym(pseudonym(x))`}, "same": {Args: []string{"x"}, Expr: "x"}}}
	for _, tc := range []struct {
		payload Payload
		want    []string
	}{
		{Payload{"a": "sha256(name)"}, nil},
		{Payload{"a": "sha256(after.name + before.name)"}, nil},
		{Payload{"a": "let n = name; sha256(n) + string(priority)"}, nil},
		{Payload{"a": `pseudonym(name)`, "b": "twice(token_ref)", "c": "same(state)"}, []string{"state"}},
		{Payload{"a": map[string]any{"value": "sha256(name)", "default": ""}, "b": map[string]any{"fields": map[string]any{"c": `"x" + sha256(state)`}}}, nil},
		{Payload{"a": "sha256(name)", "b": "name"}, []string{"name"}},
		{Payload{"a": "sha256(name)", "b": "upper(name)", "c": "state"}, []string{"name", "state"}},
		{Payload{"a": "amount_total > 10000"}, []string{"amount_total"}},
	} {
		c := rule(Config{On: []string{"write"}, Payload: tc.payload})
		set, err := settings.Compile([]Config{c}, cat)
		if err != nil {
			t.Fatal(render(err))
		}
		var got []string
		for _, i := range set.Rules()[0].Reads(rel) {
			got = append(got, rel.Columns[i].Name)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v: the changes show %v, want %v", tc.payload, got, tc.want)
		}
	}
}

// A field that holds a value for each language or company has no order that anybody would expect.
func TestOrderByKeyedFields(t *testing.T) {
	home := modelOf(1, "shop", "shop", []fieldSpec{{"id", "integer", tInt4, nil}, {"item_ids", "one2many", nil, func(f *catalog.Field) { f.Relation, f.RelationField, f.Stored = "item", "shop_id", true }}})
	item := modelOf(2, "item", "item", []fieldSpec{{"id", "integer", tInt4, nil}, {"shop_id", "many2one", tInt4, toModel("shop")}, {"name", "char", tJSON, func(f *catalog.Field) { f.Translated = true }},
		{"price", "float", tJSON, func(f *catalog.Field) { f.CompanyDependent = true }}, {"code", "char", tVarchar, func(f *catalog.Field) { f.Translated = true }}})
	cat := catalog.New([]*catalog.Table{home.Table, item.Table}, []*catalog.Model{home, item}, &catalog.Odoo{})
	for order, want := range map[string]string{"name": "for each language", "code, name desc": "for each language", "price": "for each company", "code desc": ""} {
		_, err := Compile([]Config{rule(Config{Model: "shop", Payload: Payload{"x": map[string]any{"each": "item_ids", "order": order, "fields": []any{"name"}}}})}, cat)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", order, err)
		case want != "":
			problems := []error{nil}
			if err != nil {
				problems = flattenErrors(err)
			}
			p, ok := problems[0].(*Problem)
			if !ok || p.Path != "payload.x.order" || !strings.Contains(p.Message, want) || p.Suggest == "" {
				t.Errorf("%s: %v", order, err)
			}
		}
	}
}

// A column that repeats a secret of another record under a harmless name is a secret: no rule reads it, nothing shows it.
func TestRepeatedSecrets(t *testing.T) {
	cat := repeatingCatalog()
	table := cat.Table("public", "device")
	rel := relationOf(table)
	set := mustCompile(t, cat, Config{Model: "device", Rollup: []any{"child_ids"}})
	for _, column := range []string{"note", "again", "inherited"} {
		if set.Keeps(rel, column) {
			t.Errorf("%s is kept", column)
		}
		if slices.Contains(set.Rules()[0].Reads(rel), rel.Column(column)) {
			t.Errorf("%s is shown", column)
		}
		for _, l := range set.Links() {
			if slices.Contains(l.Columns, column) {
				t.Errorf("%s of %s is looked up", column, l.Table)
			}
		}
		for _, member := range []any{column, "parent_id." + column, "upper(after." + column + ")", map[string]any{"each": "child_ids", "fields": []any{column}}} {
			_, err := Compile([]Config{rule(Config{Model: "device", Payload: Payload{"x": member}})}, cat)
			if err == nil || !strings.Contains(err.Error(), "holds a secret") {
				t.Errorf("%v: %v", member, err)
			}
		}
	}
	for _, column := range []string{"id", "login", "parent_id"} {
		if !set.Keeps(rel, column) {
			t.Errorf("%s is not kept", column)
		}
	}
	elsewhere := cdc.NewRelation(9, "other", "unknown", 'f', []cdc.Column{{Name: "id", Type: tInt4}, {Name: "password", Type: tText}}, []string{"id"})
	if !set.Keeps(elsewhere, "id") || set.Keeps(elsewhere, "password") {
		t.Error("a table that the catalog does not know goes by names")
	}
}

// repeatingCatalog has stored fields that are related to secrets: directly, by way of another one, and by way of an inherited one.
func repeatingCatalog() *catalog.Catalog {
	related := func(path string) func(*catalog.Field) { return func(f *catalog.Field) { f.Related = path } }
	id := fieldSpec{"id", "integer", tInt4, nil}
	users := modelOf(1, "res.users", "res_users", []fieldSpec{id, {"login", "char", tVarchar, nil}, {"password", "char", tVarchar, nil}})
	members := modelOf(2, "member", "member", []fieldSpec{id, {"user_id", "many2one", tInt4, toModel("res.users")}})
	members.Inherits = []catalog.Delegation{{Model: "res.users", Field: "user_id"}}
	device := modelOf(3, "device", "device", []fieldSpec{id, {"user_id", "many2one", tInt4, toModel("res.users")}, {"member_id", "many2one", tInt4, toModel("member")}, {"parent_id", "many2one", tInt4, toModel("device")},
		{"child_ids", "one2many", nil, func(f *catalog.Field) { f.Relation, f.RelationField, f.Stored = "device", "parent_id", true }},
		{"login", "char", tVarchar, related("user_id.login")}, {"note", "char", tVarchar, related("user_id.password")}, {"again", "char", tVarchar, related("parent_id.note")}, {"inherited", "char", tVarchar, related("member_id.password")},
		{"circle", "char", tVarchar, related("parent_id.circle")}})
	return catalog.New([]*catalog.Table{users.Table, members.Table, device.Table}, []*catalog.Model{users, members, device}, &catalog.Odoo{})
}
