package main

import (
	"fmt"

	"walhook/cdc/catalog"
)

// misplaced are the mistakes in [odoo] tables, each with its place in the file.
func (c *Config) misplaced(cat *catalog.Catalog) (problems []error) {
	if cat.Odoo == nil {
		return nil // nothing is looked for there
	}
	config := catalog.Config{Tables: c.Odoo.Tables}
	for _, model := range config.Misplaced(cat) {
		path, table := "odoo.tables."+model, c.Odoo.Tables[model]
		t := cat.Table(cat.Odoo.Schema, table)
		hint := ""
		switch {
		case cat.Model(model) == nil && !cat.Tableless(model):
			var names []string
			for _, m := range cat.Models {
				names = append(names, m.Name)
			}
			if s := nearest(model, names); s != "" {
				hint = fmt.Sprintf("did you mean %q?", s)
			}
			problems = append(problems, c.Doc.problem(path, false, fmt.Sprintf("there is no model %q", model), hint))
		case t == nil:
			var names []string
			for _, t := range cat.Tables {
				names = append(names, t.Name)
			}
			if s := nearest(table, names); s != "" {
				hint = fmt.Sprintf("did you mean %q?", s)
			}
			problems = append(problems, c.Doc.problem(path, true, fmt.Sprintf("there is no table %q that could store %s", table, model), hint))
		default:
			problems = append(problems, c.Doc.problem(path, true, fmt.Sprintf("table %s has no column \"id\", so it stores no model", table), "name the table that the model's class names (_table)"))
		}
	}
	return problems
}
