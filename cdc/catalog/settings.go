package catalog

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Language is a language that Odoo knows. Texts are translated into active ones.
type Language struct {
	Code   string // "fr_FR"
	Name   string // "French / Français"
	Active bool
}

// Company is a company of the database.
type Company struct {
	ID       int64
	Name     string
	Currency int64 // id in res_currency
}

// Default is the value that a company-dependent field has in a company for records without one of their own. It comes
// from ir_default since 18, and before from the rows of ir_property that name no record.
type Default struct {
	Model, Field string
	Company      int64  // 0: for companies that have none of their own
	JSON         string // the value: 7, "standard", true
}

// Default finds the default of a company-dependent field in a company, as JSON. It is false when there is none: the value is NULL then.
func (o *Odoo) Default(model, field string, company int64) (text string, ok bool) {
	for _, d := range o.Defaults {
		if d.Model != model || d.Field != field {
			continue
		}
		switch d.Company {
		case company:
			return d.JSON, true
		case 0:
			text, ok = d.JSON, true
		}
	}
	return text, ok
}

// Language finds a language by its code; nil when there is none.
func (o *Odoo) Language(code string) *Language {
	for i := range o.Languages {
		if o.Languages[i].Code == code {
			return &o.Languages[i]
		}
	}
	return nil
}

// queueSettings reads what the role may and the version has.
func (r *odooReader) queueSettings(q *queries) {
	can := func(table string) bool { return r.meta.whole(r.schema, table) }
	if can("res_lang") {
		q.queue("res_lang", "SELECT "+r.text("res_lang", "code")+", "+r.text("res_lang", "name")+", "+r.flag("res_lang", "active")+r.from("res_lang")+
			" ORDER BY 1", r.scanLanguage)
	}
	if can("res_company") {
		q.queue("res_company", "SELECT id, "+r.text("res_company", "name")+", coalesce(currency_id, 0)"+r.from("res_company")+" ORDER BY id", r.scanCompany)
	}
	if can("ir_model_inherit") && r.meta.can(r.schema, "ir_model", "id") {
		q.queue("ir_model_inherit", "SELECT m.model::text, p.model::text, f.name::text"+r.from("ir_model_inherit")+" i"+
			" JOIN "+r.table("ir_model")+" m ON m.id = i.model_id JOIN "+r.table("ir_model")+" p ON p.id = i.parent_id"+
			" JOIN "+r.table("ir_model_fields")+" f ON f.id = i.parent_field_id", r.scanInherit)
	}
	if can("ir_default") && r.meta.typeOf(r.schema, "ir_model_fields", "company_dependent") != "" {
		q.queue("ir_default", "SELECT d.field_id, coalesce(d.company_id, 0), d.json_value::text"+r.from("ir_default")+" d"+
			" WHERE d.user_id IS NULL AND coalesce(d.condition::text, '') = '' AND d.json_value IS NOT NULL ORDER BY d.id", r.scanDefault)
	}
	if can("ir_property") {
		q.queue("ir_property", "SELECT DISTINCT fields_id"+r.from("ir_property"), r.scanPropertyField)
		q.queue("ir_property", "SELECT fields_id, coalesce(company_id, 0), coalesce(type::text, ''), coalesce(value_text::text, ''),"+
			" value_float::float8, value_integer::int8, coalesce(value_datetime::text, ''), coalesce(value_reference::text, '')"+r.from("ir_property")+
			" WHERE coalesce(res_id::text, '') = '' ORDER BY id", r.scanProperty)
	}
	if can("ir_translation") && r.meta.typeOf(r.schema, "ir_model_fields_selection", "name") != "jsonb" {
		q.queue("ir_translation", "SELECT res_id, lang::text, value::text"+r.from("ir_translation")+
			" WHERE type = 'model' AND name = 'ir.model.fields.selection,name' AND value <> '' AND res_id IS NOT NULL AND lang IS NOT NULL", r.scanTranslation)
	}
}

func (r *odooReader) table(name string) string { return pgx.Identifier{r.schema, name}.Sanitize() }

func (r *odooReader) scanLanguage(row *record) error {
	r.odoo.Languages = append(r.odoo.Languages, Language{Code: row.text(), Name: row.text(), Active: row.flag()})
	return nil
}

func (r *odooReader) scanCompany(row *record) error {
	r.odoo.Companies = append(r.odoo.Companies, Company{ID: row.number(), Name: row.text(), Currency: row.number()})
	return nil
}

func (r *odooReader) scanInherit(row *record) error {
	model := row.name()
	r.inherits[model] = append(r.inherits[model], Delegation{Model: row.name(), Field: row.name()})
	return nil
}

// scanDefault takes the defaults of company-dependent fields; those of others are for new records only.
func (r *odooReader) scanDefault(row *record) error {
	field := row.number()
	d := Default{Company: row.number(), JSON: row.text()}
	if f := r.byID[field]; f != nil && f.CompanyDependent {
		d.Model, d.Field = r.modelOf[field], f.Name
		r.odoo.Defaults = append(r.odoo.Defaults, d)
	}
	return nil
}

func (r *odooReader) scanPropertyField(row *record) error {
	if f := r.byID[row.number()]; f != nil && !f.Stored && f.Related == "" {
		f.CompanyDependent = true
	}
	return nil
}

// scanProperty takes a property that names no record.
func (r *odooReader) scanProperty(row *record) error {
	field := row.number()
	d := Default{Company: row.number()}
	kind, text := row.text(), row.text()
	float, integer := row.float(), row.integer()
	at, reference := row.text(), row.text()
	f := r.byID[field]
	if f == nil || f.Stored {
		return nil
	}
	d.Model, d.Field = r.modelOf[field], f.Name
	if d.JSON = propertyJSON(kind, text, at, reference, float, integer); d.JSON != "" {
		r.odoo.Defaults = append(r.odoo.Defaults, d)
	}
	return nil
}

// propertyJSON is the value of a property, which has a column for each kind; "" when it has none.
func propertyJSON(kind, text, at, reference string, float *float64, integer *int64) string {
	switch kind {
	case "float":
		if float != nil {
			return strconv.FormatFloat(*float, 'f', -1, 64)
		}
	case "integer", "boolean":
		if integer != nil && kind == "boolean" {
			return strconv.FormatBool(*integer != 0)
		}
		if integer != nil {
			return strconv.FormatInt(*integer, 10)
		}
	case "many2one":
		if _, id, ok := strings.Cut(reference, ","); ok {
			return id
		}
	case "date", "datetime":
		text = at
		fallthrough
	default:
		if quoted, err := json.Marshal(text); err == nil && text != "" {
			return string(quoted)
		}
	}
	return ""
}

func (r *odooReader) scanTranslation(row *record) error {
	if at, ok := r.options[row.number()]; ok {
		at.field.Selection[at.index].translate(row.name(), row.text())
	}
	return nil
}

// companyDependent are fields that are company-dependent under another name than property_…, while Odoo
// kept them in ir_property (to 17). Until a value is set there is no row that would tell.
var companyDependent = map[string][]string{
	"account.analytic.plan": {"default_applicability"},
	"account.cash.rounding": {"loss_account_id", "profit_account_id"},
	"product.product":       {"standard_price"},
	"product.template":      {"project_id", "project_template_id", "responsible_id", "service_to_purchase"},
	"res.partner":           {"barcode", "credit_limit", "receipt_reminder_email", "reminder_date_before_receipt", "trust"},
	"sale.order.template":   {"journal_id"},
}

// properties finds the company-dependent fields of a version that keeps them in ir_property, where no column says so.
func (r *odooReader) properties() {
	if !r.meta.has(r.schema, "ir_property") || r.meta.typeOf(r.schema, "ir_model_fields", "company_dependent") != "" {
		return
	}
	for _, m := range r.models {
		for _, f := range m.Fields {
			if !f.Stored && f.Related == "" && !m.Transient &&
				(strings.HasPrefix(f.Name, "property_") || slices.Contains(companyDependent[m.Name], f.Name)) {
				f.CompanyDependent = true
			}
		}
	}
}

// Validate complains about names that cannot be right. Whether the tables are there is for [Config.Misplaced].
func (c Config) Validate() error {
	for model, table := range c.Tables {
		if model == "" || table == "" {
			return fmt.Errorf("tables: %q = %q: give the name of a model and the name of its table", model, table)
		}
	}
	return nil
}

// Misplaced lists the models of Tables that the database does not have, or not in that table, sorted.
func (c Config) Misplaced(cat *Catalog) (models []string) {
	for model, table := range c.Tables {
		if m := cat.Model(model); m == nil || m.Table.Name != table {
			models = append(models, model)
		}
	}
	slices.SortFunc(models, cmp.Compare)
	return models
}
