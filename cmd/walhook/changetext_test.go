package main

import (
	"strings"
	"testing"

	"walhook/cdc"
)

func TestChangeText(t *testing.T) {
	text := &cdc.Type{Name: "text"}
	rel := cdc.NewRelation(7, "public", "res_partner", 'f', []cdc.Column{
		{Name: "id", Type: text, Key: true}, {Name: "name", Type: text}, {Name: "city", Type: text}, {Name: "note", Type: text}, {Name: "secret", Type: text},
	}, []string{"id"})
	row := func(texts ...string) cdc.Row {
		var values []cdc.Value
		for _, s := range texts {
			switch s {
			case "null":
				values = append(values, cdc.Value{State: cdc.Null})
			case "?":
				values = append(values, cdc.Value{})
			default:
				values = append(values, cdc.Value{State: cdc.Present, Text: []byte(s)})
			}
		}
		r, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, values))
		if !ok {
			t.Fatal("no row")
		}
		return r
	}
	before, after := row("5", "Old", "null", "a", "?"), row("5", "New", `C:\x "y"`, "a", "?")
	for name, tc := range map[string]struct {
		change cdc.Change
		want   string
	}{
		"write":  {cdc.Change{Op: cdc.Write, Before: before, After: after}, "name: Old -> New|city: NULL -> C:\\x \"y\"|id: 5|note: a|not known or left out: secret"},
		"create": {cdc.Change{Op: cdc.Create, After: row("5", " x", "", "a\nb", "?")}, "id: 5|name: \" x\"|city: \"\"|note: \"a\\nb\"|not known or left out: secret"},
		"unlink": {cdc.Change{Op: cdc.Unlink, Before: before}, "id: 5|name: Old|city: NULL|note: a|not known or left out: secret"},
	} {
		if got := strings.ReplaceAll(changeText(&tc.change, nil), "\n  ", "|"); got != tc.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, tc.want)
		}
	}
	masked := changeText(&cdc.Change{Op: cdc.Create, After: row("5", "x", "?", "a", "?")}, func(_ *cdc.Relation, column string) bool { return column == "city" || column == "note" })
	if want := "id: 5\n  name: x\n  not known or left out: secret\n  masked: redact: city, note"; masked != want {
		t.Errorf("%s, want\n%s", masked, want)
	}
}
