package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"walhook/cdc/catalog"
	"walhook/rules"
	"walhook/rules/recipes"
)

func (a *app) recipesCommand() *cobra.Command {
	return group("recipes", "Ready-made rules for business events of Odoo",
		"  walhook recipes list\n  walhook recipes show order_confirmed\n  walhook recipes add order_confirmed invoice_paid --endpoint erp",
		a.recipesList(), a.recipesShow(), a.recipesAdd())
}

// recipeLine is a recipe as --json prints it.
type recipeLine struct {
	Name     string          `json:"name"`
	Group    string          `json:"group"`
	Title    string          `json:"title"`
	About    string          `json:"about"`
	Model    string          `json:"model"`
	Fits     *bool           `json:"fits,omitempty"`   // with --available
	Reason   string          `json:"reason,omitempty"` // why it does not
	Variants []recipeVariant `json:"variants,omitempty"`
}

type recipeVariant struct {
	For  string `json:"for,omitempty"`
	Rule string `json:"rule"` // TOML
}

func (a *app) recipesList() *cobra.Command {
	var of string
	var available, asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the recipes",
		Long: "list needs neither a database nor a configuration. With --available it compiles each recipe against the database of the configuration, and says which ones\n" +
			"can be used there, and why others cannot: mostly, a module is not installed.",
		Example: "  walhook recipes list\n  walhook recipes list --group Sales\n  walhook recipes list --available",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var lines []recipeLine
			var groups []string
			for _, r := range recipes.All() {
				groups = append(groups, r.Group)
				if of == "" || strings.EqualFold(of, r.Group) {
					lines = append(lines, recipeLine{Name: r.Name, Group: r.Group, Title: r.Title, About: r.About, Model: r.Model})
				}
			}
			if len(lines) == 0 {
				hint := "walhook recipes list shows all groups"
				if s := nearest(of, groups); s != "" {
					hint = fmt.Sprintf("did you mean %q?", s)
				}
				return usagef(hint, "there is no group %q", of)
			}
			if available {
				err := a.withWorkbench(cmd.Context(), func(w *workbench) error {
					for i := range lines {
						r, _ := recipes.Find(lines[i].Name)
						v, err := w.variant(a, &r, recipes.Endpoint)
						fits := err == nil
						lines[i].Fits = &fits
						switch {
						case err != nil:
							lines[i].Reason = err.Error()
						default:
							lines[i].Model = v.model
						}
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			if asJSON {
				return a.printJSON(lines)
			}
			t := a.terminal()
			heading, rows := []string{"RECIPE", "GROUP", "MODEL", "WHAT HAPPENED"}, [][]string{}
			if available {
				heading = []string{"RECIPE", "GROUP", "MODEL", "HERE", "WHAT HAPPENED"}
			}
			for _, l := range lines {
				row := []string{l.Name, l.Group, l.Model, l.Title}
				if available {
					here := "yes"
					if !*l.Fits {
						here, row[3] = "no", l.Reason
					}
					row = []string{l.Name, l.Group, l.Model, here, row[3]}
				}
				rows = append(rows, row)
			}
			return t.table(heading, rows)
		},
	}
	c.Flags().StringVar(&of, "group", "", "only this group, such as Sales")
	c.Flags().BoolVar(&available, "available", false, "ask the database which ones fit")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// findRecipe finds a recipe by the name that a person wrote.
func findRecipe(name string) (recipes.Recipe, error) {
	r, ok := recipes.Find(name)
	if ok {
		return r, nil
	}
	hint := "walhook recipes list names them all"
	if s := nearest(name, recipes.Names()); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return r, usagef(hint, "there is no recipe %q", name)
}

func (a *app) recipesShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Print a recipe as TOML",
		Long:    "show prints the rule, ready to be copied into a configuration; where versions of Odoo differ, a rule for each.",
		Example: "  walhook recipes show order_confirmed",
		Args:    oneArgument("the name of a recipe"),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := findRecipe(args[0])
			if err != nil {
				return err
			}
			if asJSON {
				line := recipeLine{Name: r.Name, Group: r.Group, Title: r.Title, About: r.About, Model: r.Model}
				for _, v := range r.Variants {
					line.Variants = append(line.Variants, recipeVariant(v))
				}
				return a.printJSON(line)
			}
			var b strings.Builder
			b.WriteString(comment(r.Title + ". " + r.About))
			for _, v := range r.Variants {
				b.WriteByte('\n')
				if v.For != "" {
					b.WriteString(comment("For " + v.For + ":"))
				}
				b.WriteString(v.Rule)
			}
			_, err = fmt.Fprint(a.stdout, b.String())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// comment wraps a text as comment lines of TOML.
func comment(text string) string {
	const columns = 100
	var b strings.Builder
	line := "#"
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > columns {
			b.WriteString(line + "\n")
			line = "#"
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
	return b.String()
}

func (a *app) recipesAdd() *cobra.Command {
	var endpoint, as string
	var dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "add NAME...",
		Short: "Add recipes to the configuration",
		Long: "add writes the rule for your version of Odoo at the end of the configuration file. It compiles it against the database first, and changes nothing when it does not fit.\n" +
			"From then on the rule is yours: change it as you like.",
		Example: "  walhook recipes add order_confirmed --endpoint erp\n  walhook recipes add invoice_posted invoice_paid --endpoint accounting\n  walhook recipes add stock_low --endpoint shop --as stock_low_shop --dry-run",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usagef("walhook recipes list names them all", "name a recipe")
			case as != "" && len(args) > 1:
				return usagef("add one recipe at a time", "--as names one rule, and there are %d recipes", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withWorkbench(cmd.Context(), func(w *workbench) error {
				to, err := w.cfg.recipeEndpoint(endpoint)
				if err != nil {
					return err
				}
				return a.addRecipes(w, args, adding{endpoint: to, as: as, dryRun: dryRun, json: asJSON})
			})
		},
	}
	c.Flags().StringVar(&endpoint, "endpoint", "", "the endpoint of the rule (default the only one, when there is but one)")
	c.Flags().StringVar(&as, "as", "", "the name of the rule (default the recipe's)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be added")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// recipeEndpoint says where recipes are to be sent.
func (c *Config) recipeEndpoint(name string) (string, error) {
	names := endpointNames(c)
	slices.Sort(names)
	switch {
	case name == "" && len(names) == 1:
		return names[0], nil
	case name == "":
		return "", usagef("--endpoint NAME, one of: "+strings.Join(names, ", "), "say which endpoint the rule sends to")
	}
	if _, ok := c.Endpoints[name]; ok {
		return name, nil
	}
	hint := "the endpoints are: " + strings.Join(names, ", ")
	if s := nearest(name, names); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	return "", usagef(hint, "there is no endpoint %q in the configuration", name)
}

// fitting is the variant of a recipe that a database has the fields for.
type fitting struct {
	model string
	rule  string // TOML, for the endpoint
}

// variant finds the variant of a recipe that compiles against the database. The configuration is read with the rule at its end, so that the rule
// is judged as it will be.
func (w *workbench) variant(a *app, r *recipes.Recipe, endpoint string) (*fitting, error) {
	var first error
	for _, v := range r.Variants {
		text := v.WithEndpoint(endpoint, "")
		err := w.try(a, text)
		if err == nil {
			return &fitting{model: modelOf(text), rule: text}, nil
		}
		// The variant of which the model is there has more to say than one without.
		if first == nil || w.catalog.Model(modelOf(text)) != nil && w.catalog.Model(r.Model) == nil {
			first = w.unfit(modelOf(text), err)
		}
	}
	return nil, first
}

// try compiles a rule alone, with the endpoints and settings of the configuration.
func (w *workbench) try(a *app, rule string) error {
	one, err := parseConfig("recipe", []byte("[source]\ndsn = \"postgres://localhost/x\"\n[endpoints.x]\nurl = \"http://localhost\"\n"+
		strings.Replace(rule, "endpoint = ", "endpoint = \"x\" # ", 1)), a.env)
	if err != nil {
		return err
	}
	_, err = w.cfg.settings().Compile(one.Rules, w.catalog)
	return err
}

// unfit says in the words of somebody who knows Odoo's modules why a rule does not compile.
func (w *workbench) unfit(model string, err error) error {
	if w.catalog.Odoo == nil {
		return errors.New("this is not a database of Odoo")
	}
	if w.catalog.Model(model) == nil && !w.catalog.Tableless(model) {
		return fmt.Errorf("there is no model %s here: its module is not installed", model)
	}
	problems := flatten(err)
	var p *rules.Problem
	if errors.As(problems[0], &p) {
		return fmt.Errorf("it does not fit this version or its modules: %s", p.Message)
	}
	return problems[0]
}

func modelOf(rule string) string {
	_, rest, _ := strings.Cut(rule, "\nmodel")
	_, rest, _ = strings.Cut(rest, `"`)
	model, _, _ := strings.Cut(rest, `"`)
	return model
}

// recipeHint names what can be used instead.
func recipeHint(cat *catalog.Catalog) string {
	if cat.Odoo == nil {
		return "recipes are for databases of Odoo"
	}
	return "walhook recipes list --available shows which ones fit this database"
}
