package catalog

import (
	"fmt"
	"slices"
	"strings"
)

// metadataTables are the tables that Odoo describes itself in, in the order in
// which privileges are asked for: those without which nothing goes, then others.
var metadataTables = []string{"ir_model", "ir_model_fields", "ir_model_fields_selection", "ir_config_parameter",
	"ir_module_module", "ir_model_inherit", "ir_default", "ir_property", "ir_translation", "res_lang", "res_company"}

// required is how many of them walhook does not work without.
const required = 4

// metadataReads lists the columns of them that are read where they exist.
var metadataReads = map[string][]string{
	"ir_model": {"model", "name", "transient"},
	"ir_model_fields": {"id", "model", "name", "field_description", "ttype", "store", "relation", "relation_field",
		"relation_table", "column1", "column2", "translate", "company_dependent"},
	"ir_model_fields_selection": {"id", "field_id", "sequence", "value", "name"},
	"ir_config_parameter":       {"key", "value"},
	"ir_module_module":          {"name", "latest_version"},
	"ir_model_inherit":          {"model_id", "parent_id", "parent_field_id"},
	"ir_default":                {"field_id", "user_id", "company_id", "condition", "json_value"},
	"ir_property":               {"fields_id", "company_id", "res_id", "type", "value_text", "value_float", "value_integer", "value_datetime", "value_reference"},
	"ir_translation":            {"name", "type", "res_id", "lang", "value"},
	"res_lang":                  {"code", "name", "active"},
	"res_company":               {"id", "name", "currency_id"},
}

const selectMetadata = `
SELECT current_user, n.nspname, c.relname, pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       a.attname, t.typname, pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
  FROM ` + classes + `
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE ` + watchable + ` AND c.relname IN ('%s')`

// metadata says which of Odoo's metadata tables exist, with which columns, and
// what the role may read of them.
type metadata struct {
	role   string
	tables map[tableName]*metaTable
}

type metaTable struct {
	usage   bool // of the schema
	columns map[string]metaColumn
}

type metaColumn struct {
	typ      string // pg_type.typname
	readable bool
}

func newMetadata() *metadata { return &metadata{tables: map[tableName]*metaTable{}} }

func (m *metadata) queue(q *queries) {
	q.queue("privileges", fmt.Sprintf(selectMetadata, strings.Join(metadataTables, "', '")), m.scan)
}

func (m *metadata) scan(row *record) error {
	m.role = row.text()
	name := tableName{row.text(), row.text()}
	usage := row.flag()
	t := m.tables[name]
	if t == nil {
		t = &metaTable{usage: usage, columns: map[string]metaColumn{}}
		m.tables[name] = t
	}
	column := row.text()
	t.columns[column] = metaColumn{typ: row.text(), readable: row.flag()}
	return nil
}

// odooSchema finds the schema that Odoo lives in: public, or the first one by
// name that holds its registry of models and fields.
func (m *metadata) odooSchema() (string, bool) {
	var schemas []string
	for name := range m.tables {
		if name.table == "ir_model" && m.typeOf(name.schema, "ir_model", "model") != "" &&
			m.typeOf(name.schema, "ir_model_fields", "id") != "" &&
			m.typeOf(name.schema, "ir_model_fields", "model") != "" &&
			m.typeOf(name.schema, "ir_model_fields", "ttype") != "" {
			schemas = append(schemas, name.schema)
		}
	}
	if len(schemas) == 0 {
		return "", false
	}
	if slices.Contains(schemas, "public") {
		return "public", true
	}
	return slices.Min(schemas), true
}

// check returns a [*PrivilegeError] that names everything the role lacks, unless it can do
// without.
func (m *metadata) check(schema string) error {
	missing := &PrivilegeError{Role: m.role, Schema: schema, Usage: !m.tables[tableName{schema, "ir_model"}].usage, Tables: m.unread(schema)}
	if missing.Usage || slices.ContainsFunc(missing.Tables, func(t string) bool { return slices.Contains(metadataTables[:required], t) }) {
		return missing
	}
	return nil
}

// unread lists the tables that are there and may not be read.
func (m *metadata) unread(schema string) (tables []string) {
	for _, table := range metadataTables {
		if m.has(schema, table) && !m.readable(schema, table) {
			tables = append(tables, table)
		}
	}
	return tables
}

func (m *metadata) has(schema, table string) bool { return m.tables[tableName{schema, table}] != nil }

// readable says that the role may read the columns that are read of a table.
func (m *metadata) readable(schema, table string) bool {
	t := m.tables[tableName{schema, table}]
	if t == nil {
		return false
	}
	for _, name := range metadataReads[table] {
		if c, ok := t.columns[name]; ok && !c.readable {
			return false
		}
	}
	return true
}

// whole says that there is a table with all columns that are read of it, and the role may read them.
func (m *metadata) whole(schema, table string) bool {
	for _, name := range metadataReads[table] {
		if m.typeOf(schema, table, name) == "" {
			return false
		}
	}
	return m.readable(schema, table)
}

// typeOf returns the name of a column's type, or "" when there is no such column.
func (m *metadata) typeOf(schema, table, column string) string {
	if t := m.tables[tableName{schema, table}]; t != nil {
		return t.columns[column].typ
	}
	return ""
}

// can says that there is a column of this name and the role may read it.
func (m *metadata) can(schema, table, column string) bool {
	t := m.tables[tableName{schema, table}]
	return t != nil && t.columns[column].readable
}
