package delivery

import (
	"testing"

	"walhook/cdc"
)

// A table that is called otherwise for a while has the images of its rows still, without what is secret under its own name.
func TestRenamedTableKeepsItsSecrets(t *testing.T) {
	keep := func(rel *cdc.Relation, column string) bool { return rel.Name != "doc" || column != "pin" }
	relation := func(oid uint32, name string, columns ...string) *cdc.Relation {
		var list []cdc.Column
		for n, c := range columns {
			list = append(list, cdc.Column{Name: c, Type: cdc.BuiltinType(25), Number: int16(n + 1)})
		}
		return cdc.NewRelation(oid, "public", name, 'd', list, []string{"id"})
	}
	k := NewImages(nil, []ImageTable{{ID: 7, Schema: "public", Name: "doc"}}, keep)
	doc := relation(100, "doc", "id", "name", "pin")
	table := k.table(&cdc.Change{Rel: doc, Key: "1"})
	if _, err := k.shape(table, doc); err != nil {
		t.Fatal(err)
	}
	for _, away := range []*cdc.Relation{relation(100, "away", "id", "name", "pin"), relation(100, "away", "id", "name", "pin", "more")} {
		if k.table(&cdc.Change{Rel: away, Key: "1"}) != table {
			t.Fatalf("%s is not followed", away)
		}
		n, err := k.shape(table, away)
		if err != nil || n != 0 || len(table.shapes) != 1 {
			t.Errorf("%s has shape %d of %d, %v", away, n, len(table.shapes), err)
		}
	}
	if other := relation(101, "away", "id", "name", "pin"); k.table(&cdc.Change{Rel: other, Key: "1"}) != nil {
		t.Error("another table is followed")
	}

	for _, tc := range []struct {
		oid  uint32
		name string
		want bool
	}{{101, "away", false}, {101, "doc", true}, {101, "away", true}, {102, "doc_old", false}} {
		if got := k.Follow(tc.oid, "public", tc.name); got != tc.want {
			t.Errorf("%d, %s: followed %t", tc.oid, tc.name, got)
		}
	}
	stored := NewImages(nil, []ImageTable{{ID: 7, Schema: "public", Name: "doc", Shapes: table.Shapes}}, keep)
	if !stored.Follow(100, "public", "away") {
		t.Error("a table that has images is not followed from the start")
	}
}
