package catalog

import "walhook/cdc"

// Catalog is one immutable snapshot of a database's metadata.
type Catalog struct {
	Tables []*Table // ordinary and partitioned tables outside the system schemas, sorted by schema and name
	Models []*Model // Odoo's models that are stored in a table, sorted by name; empty on other databases
	Odoo   *Odoo    // nil when the database is not Odoo's
	Users  *Users   // those that were asked for, see [Catalog.WithUsers]; nil when none were

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

	Languages []Language // res_lang, sorted by code; empty when unreadable
	Companies []Company  // res_company, sorted by id; empty when unreadable
	Defaults  []Default  // of company-dependent fields: what holds for records without a value of their own
	Unread    []string   // tables of metadata that are there and that the role may not read, sorted: what they say is missing above
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
	ForeignKeys []ForeignKey

	columns map[string]*Column
}

// Column is a live column.
type Column struct {
	Name      string
	Type      *cdc.Type
	NotNull   bool
	Generated bool // GENERATED ALWAYS AS (…): the database computes it, and WAL does not hold it

	content Content
	number  int16 // pg_attribute.attnum
}

// Model is an Odoo model and the table it is stored in.
type Model struct {
	Name      string // "sale.order"
	Label     string // "Sales Order", in en_US
	Table     *Table
	Transient bool
	Fields    []*Field     // stored in a column of Table or not, sorted by name
	Inherits  []Delegation // _inherits, sorted by model; [Catalog.Resolve] follows them
	Display   string       // the field, own or inherited, that holds what Odoo shows as a record's name, without what code adds to it; "" when there is none

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
	Related          string // the path that a related or inherited field takes its value from: "partner_id.email"; most are not stored
	Translated       bool
	CompanyDependent bool     // a value per company: in a jsonb column since 18, and before in rows of ir_property, without a column
	Selection        []Option // in sequence order; nil unless selection
}

// Option is one value of a selection field.
type Option struct {
	Value  string
	Label  string            // en_US
	Labels map[string]string // by language, where another than Label; nil when there are none, or ir_translation (to 15) is unreadable
}

// In returns the label in a language, which is Label where it was not translated.
func (o Option) In(lang string) string {
	if label := o.Labels[lang]; label != "" {
		return label
	}
	return o.Label
}
