package catalog

import "walhook/cdc"

// Catalog is one immutable snapshot of a database's metadata.
type Catalog struct {
	Tables []*Table // ordinary and partitioned tables outside the system schemas, sorted by schema and name
	Models []*Model // Odoo's models that are stored in a table, sorted by name; empty on other databases
	Odoo   *Odoo    // nil when the database is not Odoo's

	tables    map[tableName]*Table
	models    map[string]*Model
	byTable   map[*Table]*Model
	tableless map[string]bool // models of ir_model that no table stores
}

// tableName is a key, not joined: both parts may hold dots.
type tableName struct{ schema, table string }

// Odoo is what an Odoo database says about itself.
type Odoo struct {
	Schema      string // that holds Odoo's tables: "public"
	Version     string // ir_module_module.latest_version of base, "18.0.1.3"; "" when unreadable
	UUID        string // ir_config_parameter database.uuid
	CreateDate  string // ir_config_parameter database.create_date
	Neutralized bool   // ir_config_parameter database.is_neutralized
}

// Table is a table as pg_catalog describes it now.
type Table struct {
	OID         uint32
	Schema      string
	Name        string
	Owner       string
	Identity    byte // relreplident: 'd', 'f', 'i', 'n'
	Columns     []Column
	PrimaryKey  []string // column names in the key's order; empty when there is none
	Partitioned bool
	Unlogged    bool // never in WAL
	Inherited   bool // has INHERITS children (ir_actions): a publication must name it with ONLY

	columns map[string]*Column
}

// Column is a live column.
type Column struct {
	Name      string
	Type      *cdc.Type
	NotNull   bool
	Generated bool // GENERATED ALWAYS AS (…): the database computes it, and WAL does not hold it

	content Content
}

// Model is an Odoo model and the table it is stored in.
type Model struct {
	Name      string // "sale.order"
	Label     string // "Sales Order", in en_US
	Table     *Table
	Transient bool
	Fields    []*Field // stored in a column of Table or not, sorted by name

	fields map[string]*Field
}

// Field is a field of a model.
type Field struct {
	Name             string
	Label            string // en_US
	Type             string // ttype: char, many2one, monetary …
	Stored           bool
	Column           *Column // nil when the field has no column in its model's table (one2many, computed, attachments, company-dependent before 18)
	Relation         string  // comodel of relational fields
	RelationField    string  // inverse of one2many
	RelationTable    string  // of stored many2many, with its two columns
	Column1, Column2 string
	Translated       bool
	CompanyDependent bool     // jsonb per company (18+)
	Selection        []Option // in sequence order; nil unless selection
}

// Option is one value of a selection field.
type Option struct{ Value, Label string }
