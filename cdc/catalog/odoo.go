package catalog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// loaded is what an Odoo database adds to its tables.
type loaded struct {
	odoo      *Odoo
	models    []*Model
	tableless map[string]bool
}

// loadOdoo reads Odoo's own metadata; nothing when the database is not Odoo's.
func loadOdoo(ctx context.Context, tx pgx.Tx, tables []*Table, meta *metadata) (loaded, error) {
	schema, ok := meta.odooSchema()
	if !ok {
		return loaded{}, nil
	}
	if err := meta.check(schema); err != nil {
		return loaded{}, err
	}
	r := odooReader{
		meta: meta, schema: schema, odoo: &Odoo{Schema: schema},
		fields: map[string][]*Field{}, byID: map[int32]*Field{},
	}
	var q queries
	r.queue(&q)
	if err := q.run(ctx, tx); err != nil {
		return loaded{}, err
	}
	return r.assemble(tables), nil
}

// OdooSchema finds the schema that Odoo's tables are in, without loading them; "" when the database is not Odoo's. Without SELECT on
// Odoo's own metadata the error is a [*PrivilegeError].
func OdooSchema(ctx context.Context, conn *pgx.Conn) (string, error) {
	meta := &metadata{tables: map[tableName]*metaTable{}}
	rows, err := conn.Query(ctx, selectMetadata, metadataTables)
	if err != nil {
		return "", fmt.Errorf("look for Odoo: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := meta.scan(rows); err != nil {
			return "", fmt.Errorf("look for Odoo: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("look for Odoo: %w", err)
	}
	schema, ok := meta.odooSchema()
	if !ok {
		return "", nil
	}
	return schema, meta.check(schema)
}

// odooReader collects rows of Odoo's metadata tables. Their columns differ between versions: names are
// varchar or jsonb by language, translate is a boolean or the way of
// translating, company_dependent and abstract came late. What is there is read.
type odooReader struct {
	meta   *metadata
	schema string

	odoo   *Odoo
	models []*Model
	fields map[string][]*Field // by model
	byID   map[int32]*Field
}

func (r *odooReader) queue(q *queries) {
	const model, field, option = "ir_model", "ir_model_fields", "ir_model_fields_selection"
	text, flag, from := r.text, r.flag, r.from
	q.queue(model, "SELECT "+text(model, "model")+", "+text(model, "name")+", "+flag(model, "transient")+from(model), r.scanModel)
	q.queue(field, "SELECT id, "+text(field, "model")+", "+text(field, "name")+", "+text(field, "field_description")+", "+text(field, "ttype")+
		", "+flag(field, "store")+", "+text(field, "relation")+", "+text(field, "relation_field")+", "+text(field, "relation_table")+
		", "+text(field, "column1")+", "+text(field, "column2")+", "+flag(field, "translate")+", "+flag(field, "company_dependent")+from(field), r.scanField)
	if r.meta.has(r.schema, option) {
		q.queue(option, "SELECT field_id, "+text(option, "value")+", "+text(option, "name")+from(option)+
			" ORDER BY field_id, sequence, id", r.scanOption)
	}
	if r.meta.has(r.schema, "ir_config_parameter") {
		q.queue("ir_config_parameter", "SELECT key::text, coalesce(value::text, '')"+from("ir_config_parameter")+
			" WHERE key IN ('database.uuid', 'database.create_date', 'database.is_neutralized')", r.scanParameter)
	}
	if r.meta.readable(r.schema, "ir_module_module") {
		q.queue("ir_module_module", "SELECT coalesce(latest_version::text, '')"+from("ir_module_module")+
			" WHERE name = 'base'", func(rows pgx.Rows) error { return rows.Scan(&r.odoo.Version) })
	}
}

func (r *odooReader) from(table string) string {
	return " FROM " + pgx.Identifier{r.schema, table}.Sanitize()
}

// text selects a column as text, never NULL. Of a translated one it takes en_US,
// or failing that the first language; keys that start with "_" are translations
// that wait for approval.
func (r *odooReader) text(table, column string) string {
	switch r.meta.typeOf(r.schema, table, column) {
	case "":
		return "''"
	case "jsonb":
		return fmt.Sprintf(`coalesce(%[1]s ->> 'en_US', (SELECT value FROM jsonb_each_text(%[1]s) WHERE key !~ '^_' ORDER BY key LIMIT 1), '')`, column)
	}
	return "coalesce(" + column + "::text, '')"
}

// flag selects a column as a boolean, never NULL. Of one that holds text, any
// text means true.
func (r *odooReader) flag(table, column string) string {
	switch r.meta.typeOf(r.schema, table, column) {
	case "":
		return "false"
	case "bool":
		return "coalesce(" + column + ", false)"
	}
	return "coalesce(" + column + "::text, '') <> ''"
}

func (r *odooReader) scanModel(rows pgx.Rows) error {
	m := &Model{}
	r.models = append(r.models, m)
	return rows.Scan(&m.Name, &m.Label, &m.Transient)
}

func (r *odooReader) scanField(rows pgx.Rows) error {
	var id int32
	var model string
	f := &Field{}
	err := rows.Scan(&id, &model, &f.Name, &f.Label, &f.Type, &f.Stored, &f.Relation, &f.RelationField,
		&f.RelationTable, &f.Column1, &f.Column2, &f.Translated, &f.CompanyDependent)
	r.fields[model] = append(r.fields[model], f)
	r.byID[id] = f
	return err
}

func (r *odooReader) scanOption(rows pgx.Rows) error {
	var id int32
	var o Option
	err := rows.Scan(&id, &o.Value, &o.Label)
	if f := r.byID[id]; f != nil && f.Type == "selection" {
		f.Selection = append(f.Selection, o)
	}
	return err
}

func (r *odooReader) scanParameter(rows pgx.Rows) error {
	var key, value string
	err := rows.Scan(&key, &value)
	switch key {
	case "database.uuid":
		r.odoo.UUID = value
	case "database.create_date":
		r.odoo.CreateDate = value
	case "database.is_neutralized":
		r.odoo.Neutralized = Truthy(value)
	}
	return err
}

// Truthy reads a parameter as Odoo does: anything that does not say no.
func Truthy(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "f", "false", "n", "no", "off":
		return false
	}
	return true
}

// assemble joins models with their tables and fields with their columns.
func (r *odooReader) assemble(tables []*Table) loaded {
	byName := make(map[string]*Table, len(tables))
	for _, t := range tables {
		if t.Schema == r.schema {
			byName[t.Name] = t
		}
	}
	out := loaded{odoo: r.odoo, tableless: map[string]bool{}}
	for _, m := range r.models {
		m.Fields = r.fields[m.Name]
		if m.Table = tableOf(m.Name, m.Fields, func(name string) *Table { return byName[name] }); m.Table == nil {
			out.tableless[m.Name] = true
			continue
		}
		columns := make(map[string]*Column, len(m.Table.Columns))
		for i := range m.Table.Columns {
			columns[m.Table.Columns[i].Name] = &m.Table.Columns[i]
		}
		for _, f := range m.Fields {
			// A column can outlive the field's being stored in it: its values are stale.
			if f.Stored {
				f.Column = columns[f.Name]
			}
		}
		slices.SortFunc(m.Fields, func(a, b *Field) int { return strings.Compare(a.Name, b.Name) })
		out.models = append(out.models, m)
	}
	slices.SortFunc(out.models, func(a, b *Model) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
