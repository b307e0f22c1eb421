package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// languages is a database with one model and two languages.
func languages() *catalog.Catalog {
	table := &catalog.Table{Schema: "public", Name: "sale_order", Identity: 'f', PrimaryKey: []string{"id"}, Columns: []catalog.Column{{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "phone", Type: cdc.BuiltinType(1043)}}}
	order := &catalog.Model{Name: "sale.order", Table: table}
	for i := range table.Columns {
		order.Fields = append(order.Fields, &catalog.Field{Name: table.Columns[i].Name, Type: "char", Stored: true, Column: &table.Columns[i]})
	}
	return catalog.New([]*catalog.Table{table}, []*catalog.Model{order}, &catalog.Odoo{
		Languages: []catalog.Language{{Code: "en_US", Active: true}, {Code: "fr_FR", Active: true}},
		Companies: []catalog.Company{{ID: 1, Name: "My Company"}},
	})
}

// What is wrong with languages, companies and functions has its place in the file, down to the character; braces of a function are no variables.
func TestOdooSectionAndFunctions(t *testing.T) {
	text := whole("[endpoints.e]\nurl = \"https://e/\"\n[odoo]\nlang = \"fr_FT\"\ncompany = \"Mein Company\"\n" +
		"[functions]\ne164 = { args = [\"phone\"], expr = 'replace(phon, \" \", \"${X}\")' }\n[functions.twice]\nargs = [\"x\", \"len\"]\nexpr = 'x +'\n" +
		"[[rules]]\nname = \"r\"\nmodel = \"sale.order\"\non = [\"create\"]\nlang = \"fr_FRR\"\nwhen = 'e164(after.phone, 1) == \"\"'\nendpoint = \"e\"\n")
	cfg, err := parseConfig("w.toml", []byte(text), variables())
	if err != nil {
		t.Fatal(err)
	}
	_, err = cfg.compile(languages())
	var got []string
	for _, e := range flatten(err) {
		got = append(got, e.Error()+"\n"+hintOf(e))
	}
	want := []string{
		"w.toml:5:11: unknown company \"Mein Company\"\n    5 | company = \"Mein Company\"\n      |           ^~~~~~~~~~~~~~\ndid you mean \"My Company\"?",
		"w.toml:9:14: \"len\" has a meaning already, an argument cannot have this name\n    9 | args = [\"x\", \"len\"]\n      |              ^~~~~\nchoose another name",
		"w.toml:10:11: the expression ends too early\n   10 | expr = 'x +'\n      |           ^\n",
		"w.toml:7:44: unknown name \"phon\"\n    7 | e164 = { args = [\"phone\"], expr = 'replace(phon, \" \", \"${X}\")' }\n      |                                            ^\ndid you mean \"phone\"?",
		"w.toml:16:9: rule \"r\": e164 takes 1 argument, not 2\n   16 | when = 'e164(after.phone, 1) == \"\"'\n      |         ^\nwrite e164(phone)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	cfg, err = parseConfig("w.toml", []byte(strings.NewReplacer("phon,", "phone,", "x +'", "x + x'", `, "len"`, "", ", 1)", ")", "Mein", "My").Replace(text)), variables())
	if err != nil {
		t.Fatal(err)
	}
	set, err := cfg.compile(languages())
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, e := range cfg.ruleWarnings(set) {
		got = append(got, e.Error()+"\n"+hintOf(e))
	}
	want = []string{
		"w.toml:4:8: language \"fr_FT\" is not installed in this database: texts are in en_US\n    4 | lang = \"fr_FT\"\n      |        ^~~~~~~\ndid you mean \"fr_FR\"?",
		"w.toml:15:8: rule \"r\": language \"fr_FRR\" is not installed in this database: texts are in en_US\n   15 | lang = \"fr_FRR\"\n      |        ^~~~~~~~\ndid you mean \"fr_FR\"?",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
