// Package recipes holds rules that are ready to be used: business events of Odoo, each with its condition and its payload.
//
// A recipe is a file of TOML with a heading: what it is called, to which group it belongs, what is to be known about it. Where versions of Odoo keep the same
// thing in different places, the recipe has variants; which one fits is told by compiling it against the database. The package knows no
// database and no configuration.
package recipes

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
)

// Recipe is a business event as a rule.
type Recipe struct {
	Name     string    // "order_confirmed"; that of the rule, too
	Group    string    // "Sales"
	Title    string    // what happened, in a line
	About    string    // what is to be known about it
	Model    string    // of the first variant
	Variants []Variant // in the order in which they are to be tried
}

// Variant is the rule for some versions of Odoo.
type Variant struct {
	For  string // "Odoo 18 and later"; "" when there is but one
	Rule string // TOML: one [[rules]] table, with [Endpoint]
}

// Endpoint is the endpoint that all recipes name, to be replaced by one's own.
const Endpoint = "erp"

// WithEndpoint returns the rule for another endpoint, and under another name when that is not empty.
func (v *Variant) WithEndpoint(endpoint, name string) string {
	text := v.Rule
	for key, value := range map[string]string{"endpoint": endpoint, "name": name} {
		if value == "" {
			continue
		}
		// The first of the key, which stands in [[rules]]: members of the payload may be called the same.
		at := strings.Index(text, "\n"+key) + 1
		end := at + strings.IndexByte(text[at:], '\n')
		head, _, _ := strings.Cut(text[at:end], "=")
		text = text[:at] + fmt.Sprintf("%s= %s", head, quote(value)) + text[end:]
	}
	return text
}

// quote writes a basic string of TOML.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

//go:embed rules/*.toml
var files embed.FS

var all = sync.OnceValue(func() []Recipe {
	names, err := files.ReadDir("rules")
	if err != nil {
		panic(err)
	}
	var out []Recipe
	for _, name := range names {
		text, err := files.ReadFile(path.Join("rules", name.Name()))
		if err != nil {
			panic(err)
		}
		r, err := parse(string(text))
		if err != nil {
			panic(fmt.Sprintf("%s: %v", name.Name(), err))
		}
		out = append(out, r)
	}
	return out
})

// All returns the recipes, group by group.
func All() []Recipe { return slices.Clone(all()) }

// Find returns a recipe by its name.
func Find(name string) (Recipe, bool) {
	i := slices.IndexFunc(all(), func(r Recipe) bool { return r.Name == name })
	if i < 0 {
		return Recipe{}, false
	}
	return all()[i], true
}

// Names returns the names of all recipes.
func Names() []string {
	var names []string
	for _, r := range all() {
		names = append(names, r.Name)
	}
	return names
}

// parse reads a recipe:
//
//	# Title
//	# group: Group
//	#
//	# What is to be known.
//
//	## For which versions; only where there are several
//
//	[[rules]]
//	…
func parse(text string) (r Recipe, err error) {
	heading, rest, found := strings.Cut(text, "\n\n")
	lines := strings.Split(heading, "\n")
	if !found || len(lines) < 4 {
		return r, fmt.Errorf("the heading is too short")
	}
	var about []string
	for i, line := range lines {
		line, ok := strings.CutPrefix(line, "#")
		line = strings.TrimSpace(line)
		switch {
		case !ok:
			return r, fmt.Errorf("line %d is no comment", i+1)
		case i == 0:
			r.Title = line
		case i == 1:
			r.Group = strings.TrimPrefix(line, "group: ")
		case line != "":
			about = append(about, line)
		}
	}
	r.About = strings.Join(about, " ")
	if label, ok := strings.CutPrefix(rest, "## "); ok {
		for _, part := range strings.Split("\n## "+label, "\n## ")[1:] {
			label, rule, _ := strings.Cut(part, "\n\n")
			r.Variants = append(r.Variants, Variant{For: label, Rule: strings.TrimSpace(rule) + "\n"})
		}
	} else {
		r.Variants = []Variant{{Rule: strings.TrimSpace(rest) + "\n"}}
	}
	r.Name, r.Model = member(r.Variants[0].Rule, "name"), member(r.Variants[0].Rule, "model")
	for _, v := range r.Variants {
		if !strings.HasPrefix(v.Rule, "[[rules]]\n") || member(v.Rule, "name") != r.Name || member(v.Rule, "endpoint") != Endpoint {
			return r, fmt.Errorf("the variant %q is no rule of the recipe's name for the endpoint %q", v.For, Endpoint)
		}
	}
	if r.Name == "" || r.Model == "" || r.Title == "" || r.Group == "" || r.About == "" {
		return r, fmt.Errorf("name, model, title, group or text is missing")
	}
	return r, nil
}

// member reads a plain text key of the [[rules]] table.
func member(rule, key string) string {
	for line := range strings.Lines(rule) {
		name, value, ok := strings.Cut(line, "=")
		if ok && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
		if strings.HasPrefix(line, "[rules.") {
			break
		}
	}
	return ""
}
