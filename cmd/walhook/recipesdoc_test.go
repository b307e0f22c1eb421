package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"walhook/rules/recipes"
)

// docs/recipes.md lists every recipe as it is. UPDATE_DOCS=1 writes the list anew.
func TestRecipesDocument(t *testing.T) {
	const file, from, to = "../../docs/recipes.md", "<!-- recipes: written by a test -->\n", "<!-- end of recipes -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begins := strings.Cut(string(text), from)
	_, tail, ends := strings.Cut(rest, to)
	if !begins || !ends {
		t.Fatalf("%s has no place for the list", file)
	}
	want := head + from + recipeTables() + to + tail
	if string(text) == want {
		return
	}
	if os.Getenv("UPDATE_DOCS") == "" {
		t.Fatalf("%s does not list the recipes as they are: UPDATE_DOCS=1 go test -run TestRecipesDocument ./cmd/walhook", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func recipeTables() string {
	var b strings.Builder
	group := ""
	for _, r := range recipes.All() {
		if r.Group != group {
			group = r.Group
			fmt.Fprintf(&b, "\n## %s\n\n| recipe | model | what happened |\n|---|---|---|\n", group)
		}
		var models []string
		for i := range r.Variants {
			if m := "`" + modelOf(r.Variants[i].Rule) + "`"; i == 0 || m != models[0] {
				models = append(models, m)
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | **%s.** %s |\n", r.Name, strings.Join(models, " or "), r.Title, r.About)
	}
	return b.String() + "\n"
}
