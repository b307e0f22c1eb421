package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc/catalog"
)

// A table that no images can be kept of is a mistake in the file, not a line in the log.
func TestImagesSection(t *testing.T) {
	key := []string{"id"}
	cat := catalog.New([]*catalog.Table{{Schema: "public", Name: "good", PrimaryKey: key}, {Schema: "public", Name: "parted", PrimaryKey: key, Partitioned: true},
		{Schema: "public", Name: "parent", PrimaryKey: key, Inherited: true}, {Schema: "public", Name: "quick", PrimaryKey: key, Unlogged: true}, {Schema: "public", Name: "keyless"}},
		nil, &catalog.Odoo{Schema: "public"})
	cfg, err := parseConfig("w.toml", []byte(whole("[images]\ntables = [\"good\", \"parted\", \"parent\", \"quick\", \"keyless\", \"good\", \"godo\"]\n[endpoints.e]\nurl = \"https://e/\"\n")), variables())
	if err != nil {
		t.Fatal(err)
	}
	tables, problems := cfg.imageTables(cat)
	var got []string
	for _, p := range problems {
		got = append(got, p.Error()+" | "+hintOf(p))
	}
	const full = "take it out, and let walhook setup give it REPLICA IDENTITY FULL"
	want := []string{
		"w.toml:2:19: table public.parted has partitions or other tables below it: no images are kept of such | " + full,
		"w.toml:2:29: table public.parent has partitions or other tables below it: no images are kept of such | " + full,
		"w.toml:2:39: table public.quick is unlogged: WAL holds none of its changes | take it out",
		"w.toml:2:48: table public.keyless has no primary key: its rows cannot be told apart | take it out",
		"w.toml:2:59: table public.good is named twice | take one of them out",
		"w.toml:2:67: there is no model and no table \"godo\" | did you mean \"good\"?",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(tables) != 1 || tables[0].Name != "good" {
		t.Errorf("%v\n%s", tables, diff)
	}
}
