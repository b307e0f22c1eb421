package rules

import (
	"testing"

	"walhook/cdc"
)

// A further condition is added to a rule's own, whatever their last lines end in.
func TestForRows(t *testing.T) {
	cat := changesCatalog()
	c := rule(Config{Name: "r", Model: "res.partner", On: []string{"write"}, When: "after.name == \"A\" // the first"}).ForRows("after.active // those that are there")
	set, err := Compile([]Config{c}, cat)
	if err != nil {
		t.Fatal(err)
	}
	rel, m := relationOf(cat.Table("public", "res_partner")), set.NewMatcher()
	for _, tt := range []struct {
		name, active string
		want         int
	}{{"A", "t", 1}, {"A", "f", 0}, {"B", "t", 0}} {
		change := created(t, rel, record{"id": "1", "name": tt.name, "active": tt.active})
		change.Origin = cdc.FromSnapshot
		if matches := m.Match(nil, testTx, change); len(matches) != tt.want || tt.want == 1 && matches[0].Err != nil {
			t.Errorf("%+v: %+v", tt, matches)
		}
	}
}
