package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"walhook/cdc/catalog"
)

// fieldLine is a field as `walhook fields --json` prints it. It is a contract with scripts.
type fieldLine struct {
	Field            string       `json:"field"`
	Type             string       `json:"type,omitempty"` // Odoo's; "" for a column without a field
	Label            string       `json:"label,omitempty"`
	Relation         string       `json:"relation,omitempty"`       // the model that it points to
	Inverse          string       `json:"inverse,omitempty"`        // of one2many: the field there
	RelationTable    string       `json:"relation_table,omitempty"` // of many2many
	Column           string       `json:"column,omitempty"`         // the column's type, when the field is stored in one
	Path             string       `json:"path,omitempty"`           // where an inherited or related field is stored: "partner_id.email"
	Where            string       `json:"where,omitempty"`          // where else it is, in words, when there is neither
	Required         bool         `json:"required,omitempty"`
	Translated       bool         `json:"translated,omitempty"`
	CompanyDependent bool         `json:"company_dependent,omitempty"`
	Secret           bool         `json:"secret,omitempty"`
	Options          []optionLine `json:"options,omitempty"`
}

type optionLine struct {
	Value  string            `json:"value"`
	Label  string            `json:"label"`
	Labels map[string]string `json:"labels,omitempty"`
}

func (a *app) fieldsCommand() *cobra.Command {
	var asJSON bool
	var ttype string
	c := &cobra.Command{
		Use:   "fields MODEL [PATTERN]",
		Short: "List the fields of a model, and where they are stored",
		Long: `fields lists the fields of a model (or of a table, for rules with table = "…") in the database that source.dsn leads to. PATTERN is a part
of a field's name or label; * and ? stand for any letters and for one.

STORED says what rules can read: the type of the column; "= partner_id.email" for an inherited or related field, which is read
along that path; the rows or the relation table of one2many and many2many fields. Others are computed by Odoo when they are
read, kept as attachments, or kept per company in ir_property (to Odoo 17): rules cannot read these.

Secrets (passwords, tokens, keys) are marked: they never leave the database, whatever a rule says.`,
		Example: "  walhook fields sale.order\n  walhook fields res.partner mail\n  walhook fields sale.order --type selection --json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withCatalog(cmd.Context(), func(cat *catalog.Catalog) error {
				all, err := fieldLines(cat, args[0])
				if err != nil {
					return err
				}
				pattern := ""
				if len(args) == 2 {
					pattern = args[1]
				}
				lines := []fieldLine{}
				for _, l := range all {
					if matches(pattern, l.Field, l.Label) && (ttype == "" || l.Type == ttype) {
						lines = append(lines, l)
					}
				}
				switch {
				case len(lines) == 0 && len(all) > 0:
					return noField(all, args[0], pattern, ttype)
				case asJSON:
					return a.printJSON(lines)
				}
				return a.printFields(lines)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; it has the labels of selections, too, in all languages")
	c.Flags().StringVar(&ttype, "type", "", "only fields of this type: char, many2one, selection …")
	return c
}

// noField is the error for a filter that leaves nothing.
func noField(all []fieldLine, of, pattern, ttype string) error {
	var names, types []string
	for _, l := range all {
		names, types = append(names, l.Field), append(types, l.Type)
	}
	hint := "walhook fields " + of + " lists them all"
	if s := nearest(pattern, names); s != "" {
		hint = fmt.Sprintf("did you mean %q?", s)
	} else if s := nearest(ttype, types); s != "" {
		hint = fmt.Sprintf("did you mean --type %s?", s)
	}
	return &failure{err: fmt.Errorf("no field of %s matches", of), code: exitFailed, hint: hint}
}

// fieldLines describes the fields of a model or the columns of a table.
func fieldLines(cat *catalog.Catalog, name string) ([]fieldLine, error) {
	if m := cat.Model(name); m != nil {
		return modelFields(cat, m), nil
	}
	schema, table, qualified := strings.Cut(name, ".")
	if !qualified {
		schema, table = "public", name
	}
	t := cat.Table(schema, table)
	if t == nil {
		t = cat.Table("public", name) // a name may hold dots
	}
	if t == nil {
		return nil, noModel(cat, name, fmt.Sprintf("there is no model or table %q", name))
	}
	if m := cat.ModelOf(t); m != nil {
		return modelFields(cat, m), nil
	}
	lines := []fieldLine{}
	for i := range t.Columns {
		lines = append(lines, columnLine(t, &t.Columns[i]))
	}
	return lines, nil
}

func modelFields(cat *catalog.Catalog, m *catalog.Model) (lines []fieldLine) {
	for _, f := range m.Fields {
		lines = append(lines, lineOfField(cat, m, f))
	}
	for i := range m.Table.Columns {
		if c := &m.Table.Columns[i]; m.Field(c.Name) == nil {
			lines = append(lines, columnLine(m.Table, c))
		}
	}
	return lines
}

// columnLine is a column that is no field.
func columnLine(t *catalog.Table, c *catalog.Column) fieldLine {
	return fieldLine{Field: c.Name, Column: c.Type.Name, Required: c.NotNull, Secret: t.Content(c.Name) == catalog.ContentSecret}
}

func lineOfField(cat *catalog.Catalog, m *catalog.Model, f *catalog.Field) fieldLine {
	l := fieldLine{Field: f.Name, Type: f.Type, Label: f.Label, Relation: f.Relation, Translated: f.Translated, CompanyDependent: f.CompanyDependent}
	for _, o := range f.Selection {
		l.Options = append(l.Options, optionLine(o))
	}
	found, _ := cat.Resolve(m, f.Name)
	l.Secret = found.Secret
	at := found.Field
	switch {
	case f.Column != nil:
		l.Column, l.Required = f.Column.Type.Name, f.Column.NotNull
	case len(found.Steps) > 0 && (at.Column != nil || at.Stored):
		for _, step := range found.Steps {
			l.Path += step.Name + "."
		}
		l.Path += at.Name
		l.Translated, l.CompanyDependent = at.Translated, at.CompanyDependent
	case f.Type == "one2many" && f.RelationField != "":
		l.Inverse, l.Where = f.RelationField, fmt.Sprintf("rows of %s by %s", f.Relation, f.RelationField)
	case f.Type == "many2many" && f.RelationTable != "":
		l.RelationTable, l.Where = f.RelationTable, fmt.Sprintf("table %s (%s, %s)", f.RelationTable, f.Column1, f.Column2)
	case at.CompanyDependent && at.Column == nil:
		l.CompanyDependent, l.Where = true, "per company in ir_property: not in a column, rules cannot read it"
	case f.Stored && f.Type == "binary":
		l.Where = "an attachment (ir.attachment)"
	case f.Related != "":
		l.Where = "computed from " + f.Related
	case m.Table.Column(f.Name) != nil:
		l.Where = "a column in which the field is not stored"
	case f.Stored && f.Type != "many2many":
		l.Where = "nowhere: its column is missing from " + m.Table.String() + " (upgrade the module)"
	default:
		l.Where = "computed"
	}
	return l
}

func (a *app) printFields(lines []fieldLine) error {
	t := a.terminal()
	var rows [][]string
	odoo := slices.ContainsFunc(lines, func(l fieldLine) bool { return l.Type != "" })
	for _, l := range lines {
		stored := l.Column
		switch {
		case l.Path != "":
			stored = "= " + l.Path
		case stored == "":
			stored = l.Where
		}
		rows = append(rows, []string{l.Field, orDash(l.Type), orDash(l.Relation), stored, oneLine(strings.Join(l.notes(odoo), "; "))})
	}
	for i := range rows {
		if lines[i].Secret {
			rows[i][len(rows[i])-1] = t.paint(red, rows[i][len(rows[i])-1])
		}
	}
	return t.table([]string{"FIELD", "TYPE", "RELATION", "STORED", "LABEL"}, rows)
}

// notes are the label, and what a rule's author must know besides.
func (l *fieldLine) notes(odoo bool) (notes []string) {
	for _, n := range []struct {
		is   bool
		text string
	}{{l.Label != "", l.Label}, {l.Secret, "secret: never sent"}, {l.Translated, "translated"}, {l.CompanyDependent, "per company"}, {l.Required, "required"}, {l.Type == "" && odoo, "a column without a field"}} {
		if n.is {
			notes = append(notes, n.text)
		}
	}
	if len(l.Options) > 0 {
		var values []string
		for _, o := range l.Options {
			values = append(values, o.Value)
		}
		notes = append(notes, strings.Join(values, ", "))
	}
	return notes
}
