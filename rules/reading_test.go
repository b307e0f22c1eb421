package rules

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// valuesCatalog is [testCatalog] with languages, companies and fields that hold one value for each of them.
func valuesCatalog() *catalog.Catalog {
	small := testCatalog()
	translated := func(f *catalog.Field) { f.Translated = true }
	perCompany := func(f *catalog.Field) { f.CompanyDependent = true }
	product := modelOf(20, "product.product", "product_product", []fieldSpec{
		{"id", "integer", tInt4, nil}, {"name", "char", tJSON, translated}, {"old_name", "char", tVarchar, translated}, {"description", "html", tJSON, translated},
		{"company_id", "many2one", tInt4, toModel("res.company")}, {"active", "boolean", tBool, nil}, {"cost_method", "selection", tJSON, func(f *catalog.Field) {
			options("fifo", "First in", "avco", "Average")(f)
			f.CompanyDependent = true
			f.Selection[0].Labels = map[string]string{"fr_FR": "Premier entré"}
		}},
		{"standard_price", "float", tJSON, perCompany}, {"barcode", "char", tJSON, perCompany}, {"taxed", "boolean", tJSON, perCompany}, {"since", "date", tJSON, perCompany},
		{"checked_at", "datetime", tJSON, perCompany}, {"term_id", "many2one", tJSON, func(f *catalog.Field) { f.CompanyDependent, f.Relation = true, "res.country" }}, {"old_cost", "float", nil, func(f *catalog.Field) { f.CompanyDependent = true }},
		{"kind", "selection", tVarchar, func(f *catalog.Field) {
			options("consu", "Goods", "service", "Service", "odd", "")(f)
			f.Selection[0].Labels = map[string]string{"fr_FR": "Biens"}
		}},
		{"write_uid", "many2one", tInt4, toModel("res.users")},
	})
	company := modelOf(21, "res.company", "res_company", []fieldSpec{{"id", "integer", tInt4, nil}, {"name", "char", tVarchar, nil}})
	return catalog.New(append(small.Tables, product.Table, company.Table), append(small.Models, product, company), &catalog.Odoo{
		Languages: []catalog.Language{{Code: "de_DE", Name: "German / Deutsch"}, {Code: "en_US", Name: "English (US)", Active: true}, {Code: "fr_FR", Name: "French / Français", Active: true}},
		Companies: []catalog.Company{{ID: 2, Name: "My Company"}, {ID: 5, Name: "Filiale"}},
		Defaults: []catalog.Default{
			{Model: "product.product", Field: "standard_price", JSON: "1.50"}, {Model: "product.product", Field: "standard_price", Company: 5, JSON: "5"},
			{Model: "product.template", Field: "barcode", JSON: `"not mine"`}, {Model: "product.product", Field: "cost_method", JSON: `"fifo"`},
		},
	})
}

// What a field that holds several values is seen as: the text of a language, the value of a company.
func TestReadings(t *testing.T) {
	cat := valuesCatalog()
	rel := relationOf(cat.Table("public", "product_product"))
	chair := record{
		"id": "42", "name": `{"en_US": "Chair", "fr_FR": "Chaise \"pliante\" \u20ac", "_de_DE": "Stuhl", "_fr_FR": "Siège"}`, "old_name": "Chaise", "company_id": "5", "kind": "consu",
		"standard_price": `{"2": 7.50, "5": 9}`, "barcode": `{"5": "00123"}`, "taxed": `{"5": true}`, "since": `{"5": "2026-03-01"}`, "checked_at": `{"5": "2026-03-01T08:00:00"}`, "term_id": `{"5": 3}`, "cost_method": `{"5": "avco"}`,
	}
	bare := record{"id": "42"}
	change := func(edits ...string) *cdc.Change { return created(t, rel, with(chair, edits...)) }
	for _, tc := range []struct {
		lang, expr string
		change     *cdc.Change
		want       any
	}{
		// Translated fields.
		{"", `name`, change(), "Chair"}, {"fr_FR", `name`, change(), `Chaise "pliante" €`}, {"de_DE", `name`, change(), "Chair"}, {"fr_FR", `upper(after.name)`, change(), `CHAISE "PLIANTE" €`},
		{"fr_FR", `after.name == "Chaise \"pliante\" €"`, change(), true}, {"fr_FR", `name.en_US`, change(), "Chair"}, {"", `after.name["fr_FR"]`, change(), `Chaise "pliante" €`}, {"", `after.name.de_DE`, change(), nil},
		{"", `after.name?._de_DE`, change(), "Stuhl"}, {"", `name`, created(t, rel, bare), nil}, {"", `before.name`, change(), nil}, {"", `len(after.name)`, change(), int64(5)},
		{"", `name`, change("name", `{"fr_FR": "Chaise"}`), nil}, {"fr_FR", `name`, change("name", `{"fr_FR": "Chaise"}`), "Chaise"}, {"fr_FR", `name`, change("name", `{"fr_FR": null, "en_US": "Chair"}`), "Chair"},
		{"fr_FR", `name`, change("name", `{"fr_FR": "", "en_US": "Chair"}`), ""}, {"", `name`, change("name", `{}`), nil}, {"", `name`, change("name", ` { "x" : {"en_US": "no", "a": [1, "}"]} , "en_US" : "Chair" } `), "Chair"},
		{"fr_FR", `old_name`, change(), "Chaise"}, {"", `plainText(description)`, change("description", `{"en_US": "<p>a &amp; b</p><p>c</p>"}`), "a & b\nc"},
		// Company-dependent fields: the record's company, that of the configuration, the defaults.
		{"", `standard_price`, change(), digits("9")}, {"", `after.standard_price + 1`, change(), int64(10)}, {"", `standard_price`, change("company_id", "2"), digits("7.50")}, {"", `standard_price["2"]`, change(), digits("7.50")},
		{"", `after.standard_price["7"]`, change(), nil}, {"", `standard_price`, created(t, rel, record{"id": "42", "standard_price": `{"2": 7.50}`}), digits("7.50")}, {"", `standard_price`, created(t, rel, bare), digits("1.50")},
		{"", `standard_price`, change("standard_price", `{"2": 7}`), digits("5")}, {"", `standard_price`, change("standard_price", `{"2": 7}`, "company_id", "3"), digits("1.50")}, {"", `before.standard_price`, change(), nil},
		{"", `barcode`, change(), "00123"}, {"", `barcode`, created(t, rel, bare), nil}, {"", `barcode`, change("barcode", `{"5": false}`), nil}, {"", `taxed`, change(), true}, {"", `taxed`, created(t, rel, bare), false}, {"", `taxed`, change("taxed", `{"5": false}`), false},
		{"", `since`, change(), "2026-03-01"}, {"", `after.since + duration("1d")`, change(), "2026-03-02"}, {"", `checked_at`, change(), testTime("2026-03-01T08:00:00Z")}, {"", `term_id`, change(), int64(3)}, {"", `cost_method`, change(), "avco"}, {"", `label("cost_method")`, change(), "Average"},
		{"fr_FR", `label("cost_method")`, created(t, rel, bare), "Premier entré"},
		// What cannot be made sense of is shown as it is.
		{"", `string(after.name)`, change("name", `"Chair"`), `"Chair"`}, {"", `string(after.name)`, change("name", `["Chair"]`), `["Chair"]`},
		// Labels.
		{"", `label("kind")`, change(), "Goods"}, {"fr_FR", `label("kind")`, change(), "Biens"}, {"fr_FR", `label("kind")`, change("kind", "service"), "Service"}, {"", `label("kind")`, change("kind", "gone"), "gone"}, {"", `label("kind")`, change("kind", "odd"), "odd"}, {"", `label("kind")`, created(t, rel, bare), nil},
		// Booleans.
		{"", `active`, created(t, rel, bare), false}, {"", `after.active == false`, created(t, rel, bare), true}, {"", `before.active`, created(t, rel, bare), nil}, {"", `after.active == nil`, created(t, rel, bare), false},
	} {
		t.Run(tc.lang+" "+tc.expr, func(t *testing.T) {
			set, err := Settings{}.Compile([]Config{rule(Config{Model: "product.product", Lang: tc.lang, Payload: Payload{"x": tc.expr}})}, cat)
			if err != nil {
				t.Fatal(render(err))
			}
			got, err := set.NewMatcher().Eval(set.Rules()[0], 0, testTx, tc.change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A many2one can depend on the company, too: a path goes to what it points to for the record's company.
func TestPathsThroughCompanies(t *testing.T) {
	cat := valuesCatalog()
	rel, countries := relationOf(cat.Table("public", "product_product")), relationOf(cat.Table("public", "res_country"))
	set := mustCompile(t, cat, Config{Model: "product.product", When: `ref("term_id").code != "XX"`, Payload: Payload{"code": "term_id.code", "id": "term_id", "two": `after.term_id["2"]`}})
	tx := testTx
	tx.Related = rowsByTable{"res_country": {3: rowOf(t, countries, record{"id": "3", "code": "FR"}), 4: rowOf(t, countries, record{"id": "4", "code": "BE"})}}
	m := set.NewMatcher()
	for _, tc := range []struct {
		company, terms string
		want           []any
	}{
		{"5", `{"2": 4, "5": 3}`, []any{"FR", int64(3), int64(4)}}, {"2", `{"2": 4, "5": 3}`, []any{"BE", int64(4), int64(4)}}, {"7", `{"2": 4}`, []any{nil, nil, int64(4)}}, {"2", `{"2": false}`, []any{nil, nil, false}},
	} {
		c := created(t, rel, record{"id": "42", "company_id": tc.company, "term_id": tc.terms})
		if got := m.Match(nil, tx, c); len(got) != 1 || got[0].Err != nil {
			t.Errorf("%s: matches %+v", tc.terms, got)
		}
		var missing []Ref
		if id, ok := tc.want[1].(int64); ok {
			missing = []Ref{{set.Links()[0], id}}
		}
		if got := m.Missing(nil, testTx, c); !slices.Equal(got, missing) {
			t.Errorf("%s of company %s: missing is %v, want %v", tc.terms, tc.company, got, missing)
		}
		for i, want := range tc.want {
			if got, err := m.Eval(set.Rules()[0], i, tx, c); err != nil || got != want {
				t.Errorf("%s of company %s: output %d is %v, %v, want %v", tc.terms, tc.company, i, got, err, want)
			}
		}
	}
}

// The company of the configuration is that of records without one, by its name or its id; the language of the configuration is that of rules without one.
func TestSettings(t *testing.T) {
	cat := valuesCatalog()
	rel := relationOf(cat.Table("public", "product_product"))
	c := created(t, rel, record{"id": "42", "standard_price": `{"2": 7.50, "5": 9, "6": 8}`, "name": `{"en_US": "Chair", "fr_FR": "Chaise"}`})
	for _, tc := range []struct {
		settings Settings
		want     []any
	}{
		{Settings{}, []any{digits("7.50"), "Chair"}}, {Settings{Company: "Filiale", Lang: "fr_FR"}, []any{digits("9"), "Chaise"}}, {Settings{Company: "5", Lang: "en_US"}, []any{digits("9"), "Chair"}},
	} {
		set, err := tc.settings.Compile([]Config{rule(Config{Model: "product.product", Fields: []string{"standard_price", "name"}})}, cat)
		if err != nil {
			t.Fatal(render(err))
		}
		for i, want := range tc.want {
			if got, err := set.NewMatcher().Eval(set.Rules()[0], i, testTx, c); err != nil || got != want {
				t.Errorf("%+v: output %d is %v, %v, want %v", tc.settings, i, got, err, want)
			}
		}
	}
}

// changed compares what the rule sees: its own language, its record's company.
func TestChangedReadings(t *testing.T) {
	cat := valuesCatalog()
	rel := relationOf(cat.Table("public", "product_product"))
	set := mustCompile(t, cat,
		Config{Name: "english", Model: "product.product", When: `changed("name")`}, Config{Name: "french", Lang: "fr_FR", Model: "product.product", When: `changed("name")`},
		Config{Name: "price", Model: "product.product", When: `changed("standard_price")`}, Config{Name: "became", Model: "product.product", When: `became("standard_price", 9)`}, Config{Name: "any", Model: "product.product"})
	m := set.NewMatcher()
	names := func(before, after string) *cdc.Change {
		return wrote(t, rel, record{"id": "42", "name": before}, record{"id": "42", "name": after})
	}
	prices := func(company, before, after string) *cdc.Change {
		return wrote(t, rel, record{"id": "42", "company_id": company, "standard_price": before}, record{"id": "42", "company_id": company, "standard_price": after})
	}
	for i, tc := range []struct {
		change *cdc.Change
		want   string
	}{
		{names(`{"en_US": "Chair", "fr_FR": "Chaise"}`, `{"en_US": "Chair", "fr_FR": "Siège"}`), "french any"},
		{names(`{"en_US": "Chair", "fr_FR": "Chaise"}`, `{"en_US": "Seat", "fr_FR": "Chaise"}`), "english any"},
		{names(`{"en_US": "Chair"}`, `{"en_US": "Seat"}`), "english french any"},
		{names(`{"en_US": "Chair"}`, `{"en_US": "Chair", "fr_FR": "Chair"}`), "any"},
		{names(`{"en_US": "Chair"}`, `{"en_US": "Chair", "_fr_FR": "Siège"}`), "any"},
		{names(`{"en_US": "Chair"}`, absent), ""},
		{prices("2", `{"2": 1}`, `{"2": 9}`), "price became any"},
		{prices("2", `{"2": 1, "5": 2}`, `{"2": 1, "5": 3}`), "any"},
		{prices("2", `{"2": 9.0}`, `{"2": 9.00}`), "any"},
		{prices("2", `{"2": 1.5}`, `{}`), "any"}, // the default is 1.50
	} {
		if got := strings.Join(matched(m, tc.change), " "); got != tc.want {
			t.Errorf("%d: got %q, want %q", i, got, tc.want)
		}
	}
}

// A language that is not installed is taken with a warning; a company that is none is an error.
func TestSettingsProblems(t *testing.T) {
	cat := valuesCatalog()
	var b strings.Builder
	for _, s := range []Settings{{Lang: "fr_FT"}, {Lang: "de_DE"}, {Lang: "fr"}, {Lang: "French"}, {Lang: "xx_XX"}, {Company: "Filialle"}, {Company: "7"}, {Company: "Somebody"}} {
		set, err := s.Compile([]Config{rule(Config{Model: "product.product", Lang: "fr_FRR", When: `after.name.fr_BE == "" && after.name["_fr_FR"] == nil && after.name.fr_FR != ""`})}, cat)
		fmt.Fprintf(&b, "%+v %s\n", s, strings.Repeat("-", 40))
		if err != nil {
			b.WriteString(render(err))
			continue
		}
		for _, p := range set.Warnings() {
			fmt.Fprintf(&b, "warning: %s\n", p)
			if s := p.Snippet(); s != "" {
				b.WriteString(s + "\n")
			}
			fmt.Fprintf(&b, "hint: %s\n", p.Hint())
		}
	}
	_, err := Compile([]Config{rule(Config{Model: "product.product", When: `after.standard_price.x > 1`}), rule(Config{Name: "s", Model: "product.product", When: `after.old_cost > 1`}), rule(Config{Name: "t", Model: "product.product", When: `after.name > 5`})}, cat)
	b.WriteString(render(err))
	golden(t, "settings.golden", b.String())
}

// Of databases whose languages and companies cannot be read nothing is known, and nothing is said.
func TestSettingsUnread(t *testing.T) {
	set, err := Settings{Lang: "xx_XX", Company: "3"}.Compile([]Config{rule(Config{})}, testCatalog())
	if err != nil || len(set.Warnings()) > 0 {
		t.Errorf("got %v, %v", set.Warnings(), err)
	}
	if _, err := (Settings{Company: "Filiale"}).Compile(nil, testCatalog()); err == nil || !strings.Contains(err.Error(), `company "Filiale" cannot be looked up`) {
		t.Errorf("got %v", err)
	}
}

func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{"en_US": "Chair", "fr_FR": "\"}"}`, `{"1": 7.5, "2": {"a": [1, "]"]}}`, `{}`, `{"a":`, `[1]`, `{"a" 1}`, `{"a": "\`, `{,}`, `{"a":1,}`, `{"a"}`, `{"a": }`} {
		f.Add([]byte(s))
	}
	as := &reading{typ: typeOfNum, company: true, home: "1"}
	text := &reading{typ: typeOfText, lang: "fr_FR"}
	f.Fuzz(func(t *testing.T, b []byte) {
		v := cdc.Value{State: cdc.Present, Type: tJSON, Text: b}
		as.read(v, nil)
		text.read(v, nil)
	})
}

func TestReadingsDoNotAllocate(t *testing.T) {
	as := &reading{typ: typeOfText, lang: "fr_FR"}
	v := cdc.Value{State: cdc.Present, Type: tJSON, Text: []byte(`{"en_US": "Chair", "fr_FR": "Chaise"}`)}
	if n := testing.AllocsPerRun(100, func() { as.read(v, nil) }); n != 0 {
		t.Errorf("reading a translation allocates %v times", n)
	}
}

// digits is a number with decimals as payloads have it.
func digits(s string) cdc.Numeric { return cdc.Numeric(s) }

// userCatalog has users with a partner that holds their names, as Odoo's.
func userCatalog() *catalog.Catalog {
	small := testCatalog()
	users := modelOf(30, "res.users", "res_users", []fieldSpec{{"id", "integer", tInt4, nil}, {"login", "char", tVarchar, nil}, {"partner_id", "many2one", tInt4, toModel("res.partner")},
		{"name", "char", nil, func(f *catalog.Field) { f.Related = "partner_id.name" }}})
	users.Inherits = []catalog.Delegation{{Model: "res.partner", Field: "partner_id"}}
	tables, models := []*catalog.Table{users.Table}, []*catalog.Model{users}
	for _, m := range small.Models {
		if m.Name != "res.users" {
			models = append(models, m)
		}
	}
	for _, t := range small.Tables {
		if t.Name != "res_users" {
			tables = append(tables, t)
		}
	}
	return catalog.New(tables, models, &catalog.Odoo{})
}

// rowsByTable are related rows by table and id.
type rowsByTable map[string]map[int64]cdc.Row

func (r rowsByTable) Rows(l *Link, id int64) ([]cdc.Row, bool) {
	if row, ok := r[l.Table][id]; ok {
		return []cdc.Row{row}, true
	}
	return nil, true
}

// Who wrote a record: the id stands in it, login and name are looked up. Who deleted it is not known.
func TestUser(t *testing.T) {
	cat := userCatalog()
	rel, users, partners := relationOf(cat.Table("public", "sale_order")), relationOf(cat.Table("public", "res_users")), relationOf(cat.Table("public", "res_partner"))
	tx := testTx
	tx.Related = rowsByTable{"res_users": {2: rowOf(t, users, record{"id": "2", "login": "admin", "partner_id": "3"})}, "res_partner": {3: rowOf(t, partners, record{"id": "3", "name": "Mitchell"})}}
	set := mustCompile(t, cat, Config{Name: "admins", When: `user.login == "admin" && user.id == 2`, Payload: Payload{"by": "user.name", "login": "user.login", "id": "user.id"}})
	m := set.NewMatcher()
	gone := with(full, "write_uid", "9")
	for _, tc := range []struct {
		change *cdc.Change
		match  int
		want   []any // by, id, login
	}{
		{wrote(t, rel, draft, full), 1, []any{"Mitchell", int64(2), "admin"}}, {created(t, rel, full), 1, []any{"Mitchell", int64(2), "admin"}}, {unlinked(t, rel, full), 0, []any{nil, nil, nil}}, {wrote(t, rel, draft, gone), 0, []any{nil, int64(9), nil}},
	} {
		if got := m.Match(nil, tx, tc.change); len(got) != tc.match {
			t.Errorf("%s: %d matches", tc.change.Op, len(got))
		}
		for i, o := range set.Rules()[0].Outputs() {
			want := map[string]any{"by": tc.want[0], "id": tc.want[1], "login": tc.want[2]}[o.Name]
			if got, err := m.Eval(set.Rules()[0], i, tx, tc.change); err != nil || got != want {
				t.Errorf("%s: %s is %v, %v, want %v", tc.change.Op, o.Name, got, err, want)
			}
		}
	}
	_, err := Compile([]Config{rule(Config{When: `user.nmae == "x" && user.login > 5`}), rule(Config{Name: "p", Table: "Stock Level", When: `user.login == "x"`}),
		rule(Config{Name: "q", Model: "res.users", When: `changed("login", "name") || became("name", "x") || changed("nmae")`})}, cat)
	if err == nil {
		t.Fatal("accepted")
	}
	golden(t, "user.golden", render(err))
}

// NULL and what is odd inside of a column never raise in fields that hold several values, in any language and for any company.
func TestReadingsNeverRaise(t *testing.T) {
	cat := valuesCatalog()
	rel := relationOf(cat.Table("public", "product_product"))
	stored := map[string][]string{
		"texts":   {"name", "barcode"},
		"numbers": {"standard_price", "term_id"},
		"dates":   {"since", "checked_at"},
		"others":  {"taxed", "active", "cost_method", "kind"},
	}
	templates := map[string][]string{
		"texts":   {`%s == "a"`, `%s != nil`, `%s < "b"`, `upper(%s)`, `slug(%s)`, `len(%s)`, `%s contains "a"`, `%s in ["a"]`, `%s ?? "none"`, `plainText(%s)`, `default(%s, "x")`, `%s["2"]`, `f(%s)`},
		"numbers": {`%s == 5`, `%s > 5`, `%s + 1`, `fixed(%s, 2)`, `round(%s, 1)`, `%s["2"]`, `%s ?? 0`, `padLeft(%s, 3, "0")`, `f(%s)`},
		"dates":   {`%s < now()`, `%s == nil`, `%s + duration("1d")`, `dateIn(%s, "Asia/Tokyo")`, `timeIn(%s, "Asia/Tokyo")`, `(%s).Year()`, `string(%s)`},
		"others":  {`!%s || true`, `%s == nil`, `%s ?? "none"`, `f(%s)`},
	}
	values := []string{"", "{}", `{"en_US": null, "2": null}`, `{"fr_FR": null}`, `{"5": false, "2": false}`, `null`}
	settings := Settings{Functions: map[string]Function{"f": {Args: []string{"x"}, Expr: `x == nil ? 1 : 2`}}}
	for kind, columns := range stored {
		for _, column := range columns {
			for _, template := range templates[kind] {
				for _, row := range []string{"before", "after"} {
					expr := strings.ReplaceAll(template, "%s", row+"."+column)
					if strings.HasPrefix(expr, "!") && column != "taxed" && column != "active" || strings.Contains(expr, `["2"]`) && column == "name" {
						continue
					}
					set, err := settings.Compile([]Config{rule(Config{Model: "product.product", Lang: "fr_FR", Payload: Payload{"x": expr, "y": fmt.Sprintf("changed(%q)", column)}})}, cat)
					if err != nil {
						t.Fatal(render(err))
					}
					m := set.NewMatcher()
					for _, v := range values {
						r := record{"id": "42"}
						if v != "" && rel.Columns[rel.Column(column)].Type == tJSON {
							r[column] = v
						}
						for _, c := range []*cdc.Change{created(t, rel, r), unlinked(t, rel, r), wrote(t, rel, record{"id": "42"}, r), wrote(t, rel, r, record{"id": "42"})} {
							for i := range 2 {
								if _, err := m.Eval(set.Rules()[0], i, testTx, c); err != nil {
									t.Errorf("%s of %s on %s: %v", expr, v, c.Op, err)
								}
							}
						}
					}
				}
			}
		}
	}
}

// A translated column costs little more than another one, and conditions without any cost nothing for it: BenchmarkMatchQuiet.
func BenchmarkMatchTranslated(b *testing.B) {
	cat := valuesCatalog()
	rel := relationOf(cat.Table("public", "product_product"))
	set := mustCompile(b, cat, Config{Model: "product.product", Lang: "fr_FR", When: `after.name == "Tisch"`})
	c := wrote(b, rel, record{"id": "42", "name": `{"en_US": "Chair", "fr_FR": "Chaise"}`}, record{"id": "42", "name": `{"en_US": "Seat", "fr_FR": "Chaise"}`})
	m := set.NewMatcher()
	b.ReportAllocs()
	for b.Loop() {
		if got := m.Match(nil, testTx, c); len(got) != 0 {
			b.Fatal("matches")
		}
	}
}
