package rules

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Rules that no longer fit park what their condition lets through, and the others go on as if nothing had happened.
func TestCompileFitting(t *testing.T) {
	cat := testCatalog()
	off := false
	configs := []Config{
		{Name: "fine", When: `after.state == "sale"`, Fields: []string{"name"}},
		{Name: "payload", On: []string{"write"}, When: `entered("state", ["sale"])`, Payload: Payload{"a": "name", "b": "gone", "c": "lost", "d": `after.gone + 1`}},
		{Name: "fields", On: []string{"create"}, Fields: []string{"name", "gone"}},
		{Name: "when", On: []string{"write"}, When: `after.gone > 5`},
		{Name: "both", On: []string{"create"}, When: `after.gone > 5`, Fields: []string{"lost"}},
		{Name: "ignore", On: []string{"write"}, Ignore: []string{"gone"}},
		{Name: "model", Model: "gone.model", When: `after.x == 1`},
		{Name: "inactive", Active: &off, When: `after.gone > 5`},
		{Name: "last", On: []string{"create"}},
	}
	for i := range configs {
		configs[i] = rule(configs[i])
	}
	set, unfit, err := Settings{}.CompileFitting(configs, cat)
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Rule     int
		Name     string
		Parks    bool
		Problems []string
	}
	var got []line
	for _, u := range unfit {
		l := line{Rule: u.Rule, Name: u.Name, Parks: u.Parks}
		for _, p := range u.Problems {
			if p.Rule != u.Rule {
				t.Errorf("a problem of rule %d says that it is one of rule %d", u.Rule, p.Rule)
			}
			l.Problems = append(l.Problems, p.Path)
		}
		got = append(got, l)
		if u.Error() == "" || u.Name == "model" && !strings.Contains(u.Error(), "unknown model") {
			t.Errorf("%s: %s", u.Name, u.Error())
		}
	}
	want := []line{
		{1, "payload", true, []string{"payload.b", "payload.c", "payload.d"}},
		{2, "fields", true, []string{"fields[1]"}},
		{3, "when", true, []string{"when"}},
		{4, "both", true, []string{"when", "fields[0]"}},
		{5, "ignore", true, []string{"ignore[0]"}},
		{6, "model", false, []string{"model"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unfit rules (-want +got):\n%s", diff)
	}
	// What was given is not changed: the next schema may fit it.
	if configs[1].Payload == nil || configs[3].When == "" {
		t.Error("the configuration has changed")
	}

	m, rel := set.NewMatcher(), relationOf(cat.Table("public", "sale_order"))
	for _, tc := range []struct {
		state string
		want  []string
	}{
		{"sale", []string{"fine", "!payload", "!when", "!ignore"}},
		{"sent", []string{"!when", "!ignore"}},
	} {
		if diff := cmp.Diff(tc.want, matched(m, wrote(t, rel, with(full, "state", "draft"), with(full, "state", tc.state)))); diff != "" {
			t.Errorf("written to %s (-want +got):\n%s", tc.state, diff)
		}
	}
	if diff := cmp.Diff([]string(nil), matched(m, wrote(t, rel, full, full))); diff != "" {
		t.Errorf("written without a change (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"!fields", "!both", "last"}, matched(m, created(t, rel, with(full, "state", "draft")))); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	for _, match := range m.Match(nil, testTx, wrote(t, rel, with(full, "state", "draft"), with(full, "state", "sale"))) {
		if match.Rule.Name == "payload" && !strings.Contains(match.Err.Error(), `unknown field "gone" of sale.order`) {
			t.Errorf("the event is parked with %v", match.Err)
		}
	}
}

// Where everything fits nothing is different, and what no rule is at fault for is an error.
func TestCompileFittingAll(t *testing.T) {
	cat := testCatalog()
	set, unfit, err := Settings{}.CompileFitting([]Config{rule(Config{})}, cat)
	if err != nil || unfit != nil || len(set.Rules()) != 1 || set.Rules()[0].unfit != nil {
		t.Errorf("%v, %v", unfit, err)
	}
	if _, _, err := (Settings{Functions: map[string]Function{"f": {Expr: "1 +"}}}).CompileFitting([]Config{rule(Config{})}, cat); err == nil {
		t.Error("a function that is wrong is no error")
	}
	empty := catalog.New(nil, nil, nil)
	set, unfit, err = Settings{}.CompileFitting([]Config{rule(Config{}), rule(Config{Name: "s", On: []string{"schedule"}, Every: "1h", When: "gone"})}, empty)
	if err != nil || len(unfit) != 2 || unfit[0].Parks || unfit[1].Parks || len(set.Rules()) != 0 {
		t.Errorf("%v, %v", unfit, err)
	}
}

// What a rule gathers, and whose events it parks, stays as wide as it was when a column or a field is gone: nothing vanishes.
func TestCompileFittingRollup(t *testing.T) {
	for name, tc := range map[string]struct {
		rollup any
		paths  []string
		tables []string // that are still gathered from
	}{
		"a column":             {map[string]any{"order_line": []any{"name", "gone"}, "tag_ids": true}, []string{"rollup.order_line[1]"}, []string{"sale_order_line", "sale_order_tag_rel"}},
		"two columns":          {map[string]any{"order_line": []any{"gone", "lost"}}, []string{"rollup.order_line[0]", "rollup.order_line[1]"}, []string{"sale_order_line"}},
		"a field":              {map[string]any{"order_line": []any{"name"}, "gone_ids": []any{"name"}}, []string{"rollup.gone_ids"}, []string{"sale_order_line"}},
		"a field of a list":    {[]any{"gone_ids", "order_line", "lost_ids", "tag_ids"}, []string{"rollup[0]", "rollup[2]"}, []string{"sale_order_line", "sale_order_tag_rel"}},
		"all fields":           {[]any{"gone_ids"}, []string{"rollup[0]"}, nil},
		"lines that are pairs": {map[string]any{"tag_ids": []any{"name"}}, []string{"rollup.tag_ids"}, []string{"sale_order_tag_rel"}},
	} {
		given, err := json.Marshal(tc.rollup)
		if err != nil {
			t.Fatal(err)
		}
		set, unfit, err := Settings{}.CompileFitting([]Config{rule(Config{Rollup: tc.rollup})}, rollupCatalog())
		if err != nil || len(unfit) != 1 || !unfit[0].Parks {
			t.Errorf("%s: %v, %v", name, unfit, err)
			continue
		}
		var paths []string
		for _, p := range unfit[0].Problems {
			paths = append(paths, p.Path)
		}
		if !slices.Equal(paths, tc.paths) {
			t.Errorf("%s: problems at %q, want %q", name, paths, tc.paths)
		}
		if set.Gathers() != (tc.tables != nil) {
			t.Errorf("%s: gathers %v", name, set.Gathers())
		}
		for _, table := range []string{"sale_order_line", "sale_order_tag_rel"} {
			if net, _ := set.Wants("public", table); net != slices.Contains(tc.tables, table) {
				t.Errorf("%s: wants %s: %v", name, table, net)
			}
		}
		if net, _ := set.Wants("public", "sale_order"); !net {
			t.Errorf("%s: the rule's own table is not wanted", name)
		}
		if after, err := json.Marshal(tc.rollup); err != nil || !bytes.Equal(given, after) {
			t.Errorf("%s: the configuration has changed: %s, %v", name, after, err)
		}
	}
	// Every column of a line counts then, those too that a rule must name: the one that is gone may have another name now.
	cat := rollupCatalog()
	set, _, err := Settings{}.CompileFitting([]Config{rule(Config{Rollup: map[string]any{"order_line": []any{"gone"}}})}, cat)
	if err != nil {
		t.Fatal(err)
	}
	line := relationOf(cat.Table("public", "sale_order_line"))
	before := record{"id": "1", "order_id": "42", "name": "Desk", "note": "<p>a</p>", "api_key": "k", "write_date": "2026-03-01 10:00:00"}
	for column, want := range map[string]int{"name": 1, "note": 1, "api_key": 0, "write_date": 0} {
		after := with(before, column, "2026-03-01 11:00:00")
		if got := set.NewMatcher().Contributions(nil, wrote(t, line, before, after)); len(got) != want {
			t.Errorf("%s of a line changed: %d contributions, want %d", column, len(got), want)
		}
	}
	gathered := wrote(t, relationOf(cat.Table("public", "sale_order")), record{"id": "42"}, record{"id": "42"})
	gathered.Gathered = &cdc.Gathered{For: "r", Lines: []cdc.Line{{Of: "order_line", Op: cdc.Write, Change: wrote(t, line, before, with(before, "name", "x"))}}}
	m := set.NewMatcher()
	m.Gather()
	if got := m.Match(nil, testTx, gathered); len(got) != 1 || got[0].Err == nil || !strings.Contains(got[0].Err.Error(), "does not fit the database any more") {
		t.Errorf("the event of a line: %+v", got)
	}
}

// A rule that says less than before of what it takes takes more, not less.
func TestCompileFittingWidens(t *testing.T) {
	cat := testCatalog() // whose orders cannot be archived
	set, unfit, err := Settings{}.CompileFitting([]Config{
		rule(Config{Name: "archive", On: []string{"archive"}}), rule(Config{Name: "both", On: []string{"create", "archive", "unarchive"}}), rule(Config{Name: "write", On: []string{"unarchive", "write"}}),
		rule(Config{Name: "echo", On: []string{"write"}, IgnoreUsers: []any{int64(3), "gone"}}),
		rule(Config{Name: "split", On: []string{"write"}, Split: &Split{Each: "gone_ids", Where: "x > 1"}}),
		{Name: "message", Model: "gone.model", On: []string{"message"}, Endpoint: "erp", When: `ref("record").x == 1`, Messages: []string{"stock.*"}},
	}, cat)
	if err != nil {
		t.Fatal(err)
	}
	if len(unfit) != 6 {
		t.Errorf("unfit: %v", unfit)
	}
	for _, u := range unfit {
		if !u.Parks {
			t.Errorf("%s is not watched any more: %v", u.Name, u)
		}
	}
	m, rel := set.NewMatcher(), relationOf(cat.Table("public", "sale_order"))
	if diff := cmp.Diff([]string{"!archive", "!both", "!write", "!echo", "!split"}, matched(m, wrote(t, rel, with(full, "name", "x", "write_uid", "3"), with(full, "write_uid", "3")))); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	for _, match := range m.Match(nil, testTx, wrote(t, rel, with(full, "name", "x", "write_uid", "3"), with(full, "write_uid", "3"))) {
		if match.Echo {
			t.Errorf("%s leaves the event out", match.Rule.Name)
		}
	}
	if diff := cmp.Diff([]string{"!both"}, matched(m, created(t, rel, full))); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"!message"}, matched(m, said(t, record{"event": "stock.low", "model": "gone.model"}))); diff != "" {
		t.Errorf("a message (-want +got):\n%s", diff)
	}
}
