package catalog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
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

// newOdooReader prepares to read Odoo's own metadata; it is nil when the database is not Odoo's.
func newOdooReader(c Config, meta *metadata) (*odooReader, error) {
	schema, ok := meta.odooSchema()
	if !ok {
		return nil, nil
	}
	if err := meta.check(schema); err != nil {
		return nil, err
	}
	return &odooReader{
		config: c, meta: meta, schema: schema, odoo: &Odoo{Schema: schema, Unread: meta.unread(schema)},
		fields: map[string][]*Field{}, byID: map[int64]*Field{}, modelOf: map[int64]string{},
		options: map[int64]optionAt{}, inherits: map[string][]Delegation{},
	}, nil
}

// OdooSchema finds the schema that Odoo's tables are in, without loading them; "" when the database is not Odoo's. Without SELECT on
// Odoo's own metadata the error is a [*PrivilegeError].
func OdooSchema(ctx context.Context, conn *pgx.Conn) (string, error) {
	meta := newMetadata()
	var q queries
	meta.queue(&q)
	if err := q.run(ctx, conn.PgConn()); err != nil {
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
	config Config
	meta   *metadata
	schema string

	odoo     *Odoo
	models   []*Model
	fields   map[string][]*Field // by model
	byID     map[int64]*Field
	modelOf  map[int64]string // of a field
	options  map[int64]optionAt
	inherits map[string][]Delegation // by model, as ir_model_inherit says
}

// optionAt is the place of an option: slices move as they grow.
type optionAt struct {
	field *Field
	index int
}

func (r *odooReader) queue(q *queries) {
	const model, field, option = "ir_model", "ir_model_fields", "ir_model_fields_selection"
	text, flag, from := r.text, r.flag, r.from
	q.queue(model, "SELECT "+text(model, "model")+", "+text(model, "name")+", "+flag(model, "transient")+from(model), r.scanModel)
	q.queue(field, "SELECT id, "+text(field, "model")+", "+text(field, "name")+", "+text(field, "field_description")+", "+text(field, "ttype")+
		", "+flag(field, "store")+", "+text(field, "relation")+", "+text(field, "relation_field")+", "+text(field, "relation_table")+
		", "+text(field, "column1")+", "+text(field, "column2")+", "+flag(field, "translate")+", "+flag(field, "company_dependent")+", "+r.related()+from(field), r.scanField)
	if r.meta.has(r.schema, option) {
		q.queue(option, "SELECT id, field_id, "+text(option, "value")+", "+text(option, "name")+", "+r.translations(option, "name")+from(option)+
			" ORDER BY field_id, sequence, id", r.scanOption)
	}
	if r.meta.has(r.schema, "ir_config_parameter") {
		q.queue("ir_config_parameter", "SELECT key::text, coalesce(value::text, '')"+from("ir_config_parameter")+
			" WHERE key IN ('database.uuid', 'database.create_date', 'database.is_neutralized')", r.scanParameter)
	}
	r.queueSettings(q)
	if r.meta.readable(r.schema, "ir_module_module") {
		q.queue("ir_module_module", "SELECT coalesce(latest_version::text, '')"+from("ir_module_module")+
			" WHERE name = 'base'", func(row *record) error {
			r.odoo.Version = row.text()
			return nil
		})
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

func (r *odooReader) scanModel(row *record) error {
	r.models = append(r.models, &Model{Name: row.name(), Label: row.text(), Transient: row.flag()})
	return nil
}

func (r *odooReader) scanField(row *record) error {
	id, model := row.number(), row.name()
	f := &Field{Name: row.name(), Label: row.name(), Type: row.name(), Stored: row.flag(), Relation: row.name(), RelationField: row.name(),
		RelationTable: row.name(), Column1: row.name(), Column2: row.name(), Translated: row.flag(), CompanyDependent: row.flag(), Related: row.name()}
	r.fields[model] = append(r.fields[model], f)
	r.byID[id], r.modelOf[id] = f, model
	return nil
}

// related selects the path of related fields as far as the role may read it: nothing depends on it but [Catalog.Resolve].
func (r *odooReader) related() string {
	if !r.meta.can(r.schema, "ir_model_fields", "related") {
		return "''"
	}
	return r.text("ir_model_fields", "related")
}

// translations selects the texts of a translated column as JSON, "" where en_US is all there is.
func (r *odooReader) translations(table, column string) string {
	if r.meta.typeOf(r.schema, table, column) != "jsonb" {
		return "''"
	}
	return fmt.Sprintf(`CASE WHEN jsonb_typeof(%[1]s) = 'object' AND EXISTS (SELECT FROM jsonb_object_keys(%[1]s) AS k WHERE k <> 'en_US') THEN %[1]s::text ELSE '' END`, column)
}

func (r *odooReader) scanOption(row *record) error {
	id, f := row.number(), r.byID[row.number()]
	if f == nil || f.Type != "selection" {
		return nil
	}
	o := Option{Value: row.name(), Label: row.name()}
	if err := eachText(row.value(), func(lang, text []byte) { o.translate(row.intern(lang), string(text)) }); err != nil {
		return fmt.Errorf("label of option %d: %w", id, err)
	}
	r.options[id] = optionAt{f, len(f.Selection)}
	f.Selection = append(f.Selection, o)
	return nil
}

// eachText goes through the texts of a JSON object as jsonb writes it; of "" and of other values there is nothing.
func eachText(object []byte, found func(key, text []byte)) error {
	if len(object) == 0 || bytes.IndexByte(object, '\\') < 0 && plainTexts(object, found) {
		return nil
	}
	return eachTextOfJSON(object, found)
}

func eachTextOfJSON(object []byte, found func(key, text []byte)) error {
	var texts map[string]any
	if err := json.Unmarshal(object, &texts); err != nil {
		return err
	}
	for key, text := range texts {
		if text, ok := text.(string); ok {
			found([]byte(key), []byte(text))
		}
	}
	return nil
}

// plainTexts is eachText for what nearly all labels are: {"en_US": "New", "fr_FR": "Nouveau"}, without escapes and without other values. It is false, and has
// perhaps found some, of anything else.
func plainTexts(object []byte, found func(key, text []byte)) bool {
	rest, ok := bytes.CutPrefix(object, []byte(`{"`))
	for ok {
		key, after, more := bytes.Cut(rest, []byte(`": "`))
		text, end, closed := bytes.Cut(after, []byte(`"`))
		if !more || !closed || bytes.IndexByte(key, '"') >= 0 {
			return false
		}
		found(key, text)
		if string(end) == "}" {
			return true
		}
		rest, ok = bytes.CutPrefix(end, []byte(`, "`))
	}
	return false
}

// translate adds a label. Keys that begin with "_" are translations that wait for approval.
func (o *Option) translate(lang, label string) {
	if label == "" || label == o.Label || lang == "en_US" || strings.HasPrefix(lang, "_") {
		return
	}
	if o.Labels == nil {
		o.Labels = map[string]string{}
	}
	o.Labels[lang] = label
}

func (r *odooReader) scanParameter(row *record) error {
	switch key, value := row.text(), row.text(); key {
	case "database.uuid":
		r.odoo.UUID = value
	case "database.create_date":
		r.odoo.CreateDate = value
	case "database.is_neutralized":
		r.odoo.Neutralized = Truthy(value)
	}
	return nil
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
		if m.Table = tableOf(m.Name, r.config.Tables[m.Name], m.Fields, func(name string) *Table { return byName[name] }); m.Table == nil {
			out.tableless[m.Name] = true
			continue
		}
		columns := make(map[string]*Column, len(m.Table.Columns))
		for i := range m.Table.Columns {
			columns[m.Table.Columns[i].Name] = &m.Table.Columns[i]
		}
		for _, f := range m.Fields {
			m.redirect(f)
			// A column can outlive the field's being stored in it: its values are stale.
			if f.Stored {
				f.Column = columns[f.Name]
			}
		}
		slices.SortFunc(m.Fields, func(a, b *Field) int { return strings.Compare(a.Name, b.Name) })
		m.delegate(r.inherits[m.Name], r.fields)
		out.models = append(out.models, m)
	}
	r.properties()
	slices.SortFunc(out.models, func(a, b *Model) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
