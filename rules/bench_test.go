package rules

import (
	"fmt"
	"testing"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// twenty conditions of the usual kinds that do not match benchChange.
func quietRules() []Config {
	conditions := []string{
		`before.state != "sale" && after.state == "sale"`, `after.amount_total > 10000`, `changed("partner_id")`, `entered("state", ["sale", "done"])`,
		`became("state", "cancel")`, `after.state == "cancel" && before.state != "cancel"`, `before.locked != after.locked`, `after.priority > 5`,
		`after.name startsWith "X"`, `after.state in ["sale", "cancel"]`, `after.partner_id == nil`, `changed("name", "user_id")`, `before.amount_total < after.amount_total`,
		`after.weight > 0.5`, `after.locked && after.priority == 3`, `after.date_order > now()`, `!(after.state == "draft")`, `after.name == "nobody"`,
		`before.state == "sale" && before.amount_total != after.amount_total`, `after.validity_date < date("2020-01-01")`,
	}
	configs := make([]Config, len(conditions))
	for i, c := range conditions {
		configs[i] = rule(Config{Name: fmt.Sprintf("quiet_%d", i), On: []string{"create", "write"}, When: c})
	}
	return configs
}

func benchChange(t testing.TB, rel *cdc.Relation) *cdc.Change {
	after := record{}
	for k, v := range full {
		after[k] = v
	}
	after["state"], after["note"], after["locked"] = "draft", "other", "f"
	before := record{}
	for k, v := range after {
		before[k] = v
	}
	before["note"] = "note"
	return wrote(t, rel, before, after)
}

func benchmarkMatch(b *testing.B, cat *catalog.Catalog, configs []Config, want int) {
	set := mustCompile(b, cat, configs...)
	m, c := set.NewMatcher(), benchChange(b, relationOf(cat.Table("public", "sale_order")))
	var matches []Match
	b.ReportAllocs()
	for b.Loop() {
		if matches = m.Match(matches[:0], testTx, c); len(matches) != want {
			b.Fatalf("%d matches", len(matches))
		}
	}
}

func BenchmarkMatchQuiet(b *testing.B)  { benchmarkMatch(b, testCatalog(), quietRules(), 0) }
func BenchmarkMatchOne(b *testing.B)    { benchmarkMatch(b, testCatalog(), quietRules()[:1], 0) }
func BenchmarkMatchAlways(b *testing.B) { benchmarkMatch(b, testCatalog(), []Config{{}}, 1) }

// With 1,000 rules on 200 other models, nothing of note is added to BenchmarkMatchQuiet.
func BenchmarkMatchManyRules(b *testing.B) {
	small := testCatalog()
	tables, models := small.Tables, small.Models
	configs := quietRules()
	for i := range 200 {
		m := modelOf(uint32(100+i), fmt.Sprintf("x.model%d", i), fmt.Sprintf("x_model%d", i), orderFields)
		tables, models = append(tables, m.Table), append(models, m)
		for j := range 5 {
			configs = append(configs, rule(Config{Name: fmt.Sprintf("other_%d_%d", i, j), Model: m.Name, When: `before.state != "sale" && after.state == "sale"`}))
		}
	}
	benchmarkMatch(b, catalog.New(tables, models, &catalog.Odoo{}), configs, 0)
}

func BenchmarkMatchUnwatched(b *testing.B) {
	cat := testCatalog()
	set := mustCompile(b, cat, quietRules()...)
	rel := relationOf(cat.Table("public", "res_partner"))
	m, c := set.NewMatcher(), wrote(b, rel, record{"id": "1"}, record{"id": "1", "name": "x"})
	var matches []Match
	b.ReportAllocs()
	for b.Loop() {
		if matches = m.Match(matches[:0], testTx, c); len(matches) != 0 {
			b.Fatal("match")
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	cat, configs := testCatalog(), quietRules()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(configs, cat); err != nil {
			b.Fatal(err)
		}
	}
}

// Conditions that do not match allocate nothing.
func TestMatchAllocates(t *testing.T) {
	cat := testCatalog()
	routed := rule(Config{Name: "routed", On: []string{"create", "write"}, When: "after.partner_id % 256 == 250"})
	for _, config := range append(quietRules(), routed) {
		set := mustCompile(t, cat, config)
		m, c := set.NewMatcher(), benchChange(t, relationOf(cat.Table("public", "sale_order")))
		if got := m.Match(nil, testTx, c); len(got) != 0 {
			t.Errorf("%s matches (%v)", config.When, got[0].Err)
		}
		if n := testing.AllocsPerRun(100, func() { m.Match(nil, testTx, c) }); n != 0 {
			t.Errorf("%s allocates %v times", config.When, n)
		}
	}
}

// BenchmarkCondition is the cost of one condition that does not hold, by its kind.
func BenchmarkCondition(b *testing.B) {
	for _, c := range []struct{ name, when string }{
		{"text", `after.state == "sale"`}, {"list", `after.state in ["sale", "done"]`}, {"number", `after.amount_total > 100000000`}, {"date", `after.date_order > now()`}, {"changed", `changed("partner_id", "name")`},
		{"became", `became("state", "cancel")`}, {"before", `before.state != "sale" && after.state == "sale"`}, {"loop", `any([1, 2, 3], # > 5)`},
	} {
		b.Run(c.name, func(b *testing.B) {
			benchmarkMatch(b, testCatalog(), []Config{rule(Config{On: []string{"create", "write"}, When: c.when})}, 0)
		})
	}
}
