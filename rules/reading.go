package rules

import (
	"walhook/cdc"
	"walhook/cdc/catalog"
)

// DefaultLang is the language that Odoo always has, and that it shows where there is no translation.
const DefaultLang = "en_US"

// reading is how a stored value becomes the one that rules and receivers see. Most columns are seen as they are stored, and have
// none (nil). The others are Odoo's ways of keeping several values in one column, or of leaving one out:
//
//   - a translated field (jsonb since Odoo 16) is its text in the rule's language, or else in en_US. Other keys are not looked at:
//     those that start with "_" are translations that wait for approval;
//   - a company-dependent field (jsonb since Odoo 18) is the value of the record's company, or else the default that ir_default holds;
//   - a boolean that is NULL is false.
//
// It yields a [cdc.Value] of its own type, without a copy where the text needs none. A value that it cannot make sense of stays
// as it is stored: what is odd in the data is shown, not hidden.
type reading struct {
	typ      *cdc.Type
	lang     string               // of a translated field
	company  bool                 // of a company-dependent field
	home     string               // id of the company of records that have none
	defaults map[string]cdc.Value // of a company-dependent field, by company; "" for those that have none of their own
}

// Types that readings yield.
var (
	typeOfBool = cdc.BuiltinType(16)
	typeOfInt  = cdc.BuiltinType(23)
	typeOfText = cdc.BuiltinType(25)
	typeOfDate = cdc.BuiltinType(1082)
	typeOfTime = cdc.BuiltinType(1114)
	typeOfNum  = cdc.BuiltinType(1700)
)

var valueFalse = cdc.Value{State: cdc.Present, Type: typeOfBool, Text: []byte("f")}

// booleans read a NULL as false.
var booleans = &reading{typ: typeOfBool}

// locale is what readings depend on besides the field.
type locale struct {
	lang string // of translated fields
	home string // id of the company of records that have none
	cat  *catalog.Catalog
}

// reading says how a column is seen in the language of the expression; nil means as it is stored.
func (x *expression) reading(s shape, column string) *reading { return s.reading(column, x.locale) }

// slot returns the slot of a column of the record as the expression sees it.
func (x *expression) slot(column string) int {
	return x.watched.slotAs(column, x.reading(x.shape, column))
}

func (s shape) reading(column string, l locale) *reading {
	if s.model == nil {
		return nil
	}
	f := s.model.Field(column)
	if f == nil || f.Column == nil {
		return nil
	}
	switch kind := kindOf(f.Column); {
	case kind == cdc.KindBool && f.Type == "boolean":
		return booleans
	case kind != cdc.KindJSON:
		return nil
	case f.Translated:
		return &reading{typ: typeOfText, lang: l.lang}
	case f.CompanyDependent:
		as := &reading{typ: companyType(f.Type), company: true, home: l.home}
		as.defaults = l.defaults(as, s.model.Name, f.Name)
		return as
	}
	return nil
}

// keyed says that a column holds one value per language or company, which can be read one by one.
func (s shape) keyed(column string) bool {
	as := s.reading(column, locale{})
	return as != nil && as != booleans
}

// companyType is the type of a company-dependent field's single values.
func companyType(ttype string) *cdc.Type {
	switch ttype {
	case "boolean":
		return typeOfBool
	case "integer", "many2one", "many2one_reference":
		return typeOfInt
	case "float", "monetary":
		return typeOfNum
	case "date":
		return typeOfDate
	case "datetime":
		return typeOfTime
	}
	return typeOfText
}

// id tells the readings of one column apart.
func (r *reading) id() string {
	switch {
	case r == nil || r == booleans:
		return ""
	case r.company:
		return "company"
	}
	return r.lang
}

// read returns what is seen of a stored value, in a row that there is. c is the change at hand: the company of a company-dependent value is
// that of the record which the rule is about, also where the value is a related record's.
func (r *reading) read(v cdc.Value, c *cdc.Change) cdc.Value {
	switch {
	case r == nil || v.State == cdc.Unknown:
		return v
	case r == booleans:
		if v.State == cdc.Null {
			return valueFalse
		}
		return v
	case r.company:
		return r.ofCompany(v, c)
	}
	return r.inLanguage(v)
}

func (r *reading) inLanguage(v cdc.Value) cdc.Value {
	if v.State != cdc.Present {
		return v
	}
	wanted, other, ok := members2(v.Text, r.lang, DefaultLang)
	if !ok {
		return v
	}
	for _, token := range [...][]byte{wanted, other} {
		if text, ok := unquoted(token); ok {
			return cdc.Value{State: cdc.Present, Type: typeOfText, Text: text}
		}
	}
	return cdc.Value{State: cdc.Null, Type: typeOfText}
}

func (r *reading) ofCompany(v cdc.Value, c *cdc.Change) cdc.Value {
	company := companyOf(c, r.home)
	if v.State == cdc.Present {
		token, _, ok := members2(v.Text, company, "")
		if !ok {
			return v
		}
		if token != nil {
			return r.typed(token)
		}
	}
	for _, key := range [...]string{company, ""} {
		if v, ok := r.defaults[key]; ok {
			return v
		}
	}
	return r.none()
}

// none is a value that is not there: of a boolean false.
func (r *reading) none() cdc.Value {
	if r.typ == typeOfBool {
		return valueFalse
	}
	return cdc.Value{State: cdc.Null, Type: r.typ}
}

// typed turns a JSON value into the text form that PostgreSQL has for its type. Odoo writes false for what is empty.
func (r *reading) typed(token []byte) cdc.Value {
	present := func(text []byte) cdc.Value { return cdc.Value{State: cdc.Present, Type: r.typ, Text: text} }
	switch text, quoted := unquoted(token); {
	case quoted && r.typ == typeOfTime && len(text) > len("2006-01-02") && text[len("2006-01-02")] == 'T':
		text = append([]byte(nil), text...)
		text[len("2006-01-02")] = ' '
		return present(text)
	case quoted:
		return present(text)
	case string(token) == "true" && r.typ == typeOfBool:
		return present([]byte("t"))
	case string(token) == "null", string(token) == "false":
		return r.none()
	}
	return present(token)
}

// companyOf returns the id of the company that the changed record belongs to, as text.
func companyOf(c *cdc.Change, home string) string {
	if c == nil {
		return home
	}
	row := c.Row()
	rel := row.Relation()
	if rel == nil {
		return home
	}
	i := rel.Column("company_id")
	if i < 0 || rel.Columns[i].Type == nil || rel.Columns[i].Type.Kind != cdc.KindInt {
		return home
	}
	if v := row.Value(i); v.State == cdc.Present {
		return string(v.Text)
	}
	return home
}

// ShowsStored says that receivers see all columns as they are stored: Shown changes nothing.
func (r *Rule) ShowsStored() bool { return len(r.readings) == 0 }

// Shown returns what a receiver sees of column i of the change's relation, in a row of it that there is: of a translated column the text in the rule's
// language, of a company-dependent one the value of the record's company. Other values are returned as they are.
func (r *Rule) Shown(c *cdc.Change, i int, v cdc.Value) cdc.Value {
	if r.ShowsStored() {
		return v
	}
	return r.readings[c.Rel.Columns[i].Name].read(v, c)
}

// Shown is [Rule.Shown] for a value that is a column of the record and can have a language of its own.
func (o *Output) Shown(c *cdc.Change, v cdc.Value) cdc.Value { return o.as.read(v, c) }

// Shown returns what a receiver sees of a line's column, as [Rule.Shown] does for the record's. c is the change of the line.
func (u *Rollup) Shown(c *cdc.Change, column string, v cdc.Value) cdc.Value {
	return u.readings[column].read(v, c)
}

// readings lists the columns that are not seen as they are stored, besides booleans.
func (s shape) readings(l locale) map[string]*reading {
	var out map[string]*reading
	for i := range s.table.Columns {
		name := s.table.Columns[i].Name
		if !s.keyed(name) {
			continue
		}
		if out == nil {
			out = make(map[string]*reading)
		}
		out[name] = s.reading(name, l)
	}
	return out
}
