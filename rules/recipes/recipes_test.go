package recipes

import (
	"strings"
	"testing"
)

func TestAll(t *testing.T) {
	all := All()
	if len(all) < 40 {
		t.Errorf("%d recipes", len(all))
	}
	seen, group := map[string]bool{}, map[string]bool{}
	last := ""
	for _, r := range all {
		if seen[r.Name] {
			t.Errorf("%s is there twice", r.Name)
		}
		seen[r.Name] = true
		if r.Group != last {
			if group[r.Group] {
				t.Errorf("%s: the group %s is torn apart", r.Name, r.Group)
			}
			group[r.Group], last = true, r.Group
		}
		if found, ok := Find(r.Name); !ok || found.Title != r.Title {
			t.Errorf("%s is not found", r.Name)
		}
		if len(r.Variants) > 1 {
			for _, v := range r.Variants {
				if !strings.HasPrefix(v.For, "Odoo ") {
					t.Errorf("%s: for %q", r.Name, v.For)
				}
			}
		}
	}
	if _, ok := Find("nothing"); ok {
		t.Error("nothing is found")
	}
}

func TestWithEndpoint(t *testing.T) {
	v := Variant{Rule: "[[rules]]\nname     = \"a\"\nendpoint = \"erp\"\n\n[rules.payload]\nname = \"name\"\nendpoint = \"x\"\n"}
	want := "[[rules]]\nname     = \"b \\\"c\\\"\"\nendpoint = \"shop\"\n\n[rules.payload]\nname = \"name\"\nendpoint = \"x\"\n"
	if got := v.WithEndpoint("shop", `b "c"`); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := v.WithEndpoint("shop", ""); !strings.Contains(got, "name     = \"a\"\nendpoint = \"shop\"") {
		t.Errorf("got\n%s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for what, text := range map[string]string{
		"no heading":     "[[rules]]\nname = \"a\"\n",
		"no comment":     "# A\ngroup: B\n#\n# C\n\n[[rules]]\n",
		"no rule":        "# A\n# group: B\n#\n# C\n\nname = \"a\"\n",
		"other endpoint": "# A\n# group: B\n#\n# C\n\n[[rules]]\nname = \"a\"\nmodel = \"m\"\nendpoint = \"x\"\n",
		"no model":       "# A\n# group: B\n#\n# C\n\n[[rules]]\nname = \"a\"\nendpoint = \"erp\"\n",
		"two names":      "# A\n# group: B\n#\n# C\n\n## Odoo 1\n\n[[rules]]\nname = \"a\"\nmodel = \"m\"\nendpoint = \"erp\"\n\n## Odoo 2\n\n[[rules]]\nname = \"b\"\nmodel = \"m\"\nendpoint = \"erp\"\n",
	} {
		if r, err := parse(text); err == nil {
			t.Errorf("%s: %+v", what, r)
		}
	}
}
