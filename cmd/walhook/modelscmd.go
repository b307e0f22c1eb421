package main

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"walhook/cdc/catalog"
)

// modelLine is a model, or a table that is none, as `walhook models --json` prints it. It is a contract with scripts.
type modelLine struct {
	Model     string               `json:"model,omitempty"` // "" for a table that stores no model
	Label     string               `json:"label,omitempty"`
	Table     string               `json:"table"` // with its schema, unless that is public
	Fields    int                  `json:"fields"`
	Display   string               `json:"display,omitempty"`
	Transient bool                 `json:"transient,omitempty"`
	Inherits  []catalog.Delegation `json:"inherits,omitempty"`
}

func (a *app) modelsCommand() *cobra.Command {
	var asJSON, all bool
	c := &cobra.Command{
		Use:   "models [PATTERN]",
		Short: "List Odoo's models that rules can watch",
		Long: `models lists the models of the database that source.dsn leads to, with their tables: what model = "…" of a rule can name. PATTERN is a
part of the model's name, its label or its table, in any case; * and ? stand for any letters and for one.

Abstract models and reports have no table, and nothing of them is in the write-ahead log. Wizards (transient models) are left out
unless PATTERN or --all asks for them. Of tables that store no model (many2many relations, and all of a database that is not Odoo's), which
table = "…" of a rule can name, those are listed that PATTERN or --all asks for.`,
		Example: "  walhook models\n  walhook models sale\n  walhook models 'stock.*' --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCatalog(cmd.Context(), func(cat *catalog.Catalog) error {
				pattern := ""
				if len(args) == 1 {
					pattern = args[0]
				}
				lines, wizards := modelLines(cat, pattern, all)
				switch {
				case len(lines) == 0 && pattern != "":
					return noModel(cat, pattern, fmt.Sprintf("no model or table matches %q", pattern))
				case asJSON:
					return a.printJSON(lines)
				}
				return a.printModels(lines, wizards)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "wizards too, and tables that store no model")
	return c
}

// withCatalog reads the metadata of the source with walhook's own login.
func (a *app) withCatalog(ctx context.Context, do func(*catalog.Catalog) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	conn, err := connect(ctx, "source.dsn", cfg.Source.DSN.reveal())
	if err != nil {
		return err
	}
	defer closeConn(conn)
	cat, err := cfg.loadCatalog(ctx, conn)
	if err != nil {
		return environmentError(err, "")
	}
	return do(cat)
}

// modelLines lists what matches, sorted by model, tables without one last. wizards are left out models.
func modelLines(cat *catalog.Catalog, pattern string, all bool) (lines []modelLine, wizards int) {
	lines = []modelLine{}
	for _, m := range cat.Models {
		switch {
		case !matches(pattern, m.Name, m.Label, m.Table.Name):
		case m.Transient && !all && pattern == "":
			wizards++
		default:
			lines = append(lines, modelLine{Model: m.Name, Label: m.Label, Table: tableText(m.Table), Fields: len(m.Fields), Display: m.Display, Transient: m.Transient, Inherits: m.Inherits})
		}
	}
	for _, t := range cat.Tables {
		if cat.ModelOf(t) == nil && matches(pattern, tableText(t)) && (all || pattern != "" || cat.Odoo == nil) {
			lines = append(lines, modelLine{Table: tableText(t), Fields: len(t.Columns)})
		}
	}
	slices.SortStableFunc(lines, func(a, b modelLine) int {
		if (a.Model == "") != (b.Model == "") {
			return cmp.Compare(b.Model, a.Model)
		}
		return cmp.Compare(a.Model, b.Model)
	})
	return lines, wizards
}

// matches says that a pattern fits one of the texts: whole with * and ?, else a part of it. Case does not matter.
func matches(pattern string, texts ...string) bool {
	pattern = strings.ToLower(pattern)
	return slices.ContainsFunc(texts, func(text string) bool {
		text = strings.ToLower(text)
		if !strings.ContainsAny(pattern, "*?") {
			return strings.Contains(text, pattern)
		}
		ok, err := path.Match(strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(pattern), strings.ReplaceAll(text, "/", "|"))
		return ok && err == nil
	})
}

// tableText is a table's name as a rule's table key takes it.
func tableText(t *catalog.Table) string {
	if t.Schema == "public" {
		return t.Name
	}
	return t.String()
}

// noModel is the error for a name that means nothing, with the nearest one that does.
func noModel(cat *catalog.Catalog, name, message string) error {
	if cat.Tableless(name) {
		return &failure{err: fmt.Errorf("model %s is stored in no table: it is abstract, or a report that reads from others", name), code: exitFailed,
			hint: "nothing of it is in the write-ahead log; watch the models that it is made from"}
	}
	var names []string
	for _, m := range cat.Models {
		names = append(names, m.Name)
	}
	for _, t := range cat.Tables {
		names = append(names, tableText(t))
	}
	hint := "walhook models lists them all"
	if s := nearest(name, names); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	} else if cat.Odoo == nil {
		hint = "the database is not Odoo's; walhook models lists its tables"
	}
	return &failure{err: fmt.Errorf("%s", message), code: exitFailed, hint: hint}
}

func (a *app) printModels(lines []modelLine, wizards int) error {
	t := a.terminal()
	var rows [][]string
	for _, l := range lines {
		label := l.Label
		if l.Transient {
			label += " (wizard)"
		}
		for _, d := range l.Inherits {
			label += fmt.Sprintf(" (inherits %s by %s)", d.Model, d.Field)
		}
		rows = append(rows, []string{orDash(l.Model), l.Table, fmt.Sprint(l.Fields), oneLine(label)})
	}
	if err := t.table([]string{"MODEL", "TABLE", "FIELDS", "LABEL"}, rows); err != nil {
		return err
	}
	if wizards > 0 {
		fmt.Fprintf(a.stderr, "%d wizards are left out: --all lists them\n", wizards)
	}
	return nil
}
