package rules

import (
	"testing"

	"pgregory.net/rapid"

	"walhook/cdc"
)

// What is quiet matches nothing; and what matches nothing is quiet, where it depends on the row alone.
func TestQuiet(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	quiet, loud := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		set, err := Compile([]Config{rule(Config{When: drawExpression(rt, "bool", 3), On: []string{"create", "write", "unlink"}})}, cat)
		if err != nil {
			rt.Fatalf("%s", render(err))
		}
		m, judge := set.NewMatcher(), set.NewMatcher()
		for range 10 {
			c := drawChange(rt, t, rel)
			matches := m.Match(nil, testTx, c)
			if judge.Quiet(testTx, c) != (len(matches) == 0) {
				rt.Fatalf("%s: quiet is %t, and %d rules match", set.Rules()[0].When, !(len(matches) == 0), len(matches))
			}
			if len(matches) == 0 {
				quiet++
			} else {
				loud++
			}
		}
	})
	if quiet == 0 || loud == 0 {
		t.Errorf("%d quiet, %d not", quiet, loud)
	}
}

// Where other rows, other changes or other readers have a say, nothing is quiet.
func TestQuietIsCertain(t *testing.T) {
	cat := testCatalog()
	orders := relationOf(cat.Table("public", "sale_order"))
	write := wrote(t, orders, record{"id": "1", "state": "draft"}, record{"id": "1", "state": "sent"})
	for name, tc := range map[string]struct {
		config Config
		change *cdc.Change
		want   bool
	}{
		"the row alone":   {Config{When: `after.state == "sale"`}, write, true},
		"a match":         {Config{When: `after.state == "sent"`}, write, false},
		"a failure":       {Config{When: `after.name == "x"`}, blind(t, orders, record{"id": "1", "name": "x"}), false},
		"a related row":   {Config{When: `ref("partner_id").name == "x"`}, write, false},
		"another table":   {Config{When: `after.state == "sale"`}, created(t, relationOf(cat.Table("public", "res_partner")), record{"id": "1"}), false},
		"a table emptied": {Config{When: `after.state == "sale"`}, &cdc.Change{Op: cdc.Truncate, Rel: orders}, false},
	} {
		if got := mustCompile(t, cat, tc.config).NewMatcher().Quiet(testTx, tc.change); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	lines := rollupCatalog()
	set := mustCompile(t, lines, Config{When: `after.state == "sale"`, Rollup: []any{"order_line"}})
	for _, table := range []string{"sale_order", "sale_order_line"} {
		rel := relationOf(lines.Table("public", table))
		if set.NewMatcher().Quiet(testTx, created(t, rel, record{"id": "1"})) {
			t.Errorf("a row of %s is quiet although it is gathered", table)
		}
	}
}
