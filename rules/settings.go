package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// Settings are what all rules have in common. The zero value means the documented defaults.
type Settings struct {
	// Lang is the language of translated fields and of labels where a rule names none, as "fr_FR"; default [DefaultLang].
	Lang string
	// Company is the company, by its id or its name, whose values records have that belong to none; default the one with the
	// lowest id.
	Company string
	// Functions are the user's own, by their names.
	Functions map[string]Function
}

// common is what Settings come to for one catalog.
type common struct {
	locale    locale
	functions map[string]*function
}

// prepare checks the settings. What is allowed and ill-advised goes to the Set's warnings.
func (s Settings) prepare(set *Set, cat *catalog.Catalog) (common, []error) {
	c := ruleCompiler{index: -1, cat: cat, set: set, locale: locale{lang: DefaultLang, cat: cat}}
	c.locale.lang = c.language("odoo.lang", s.Lang)
	c.locale.home = c.home(s.Company)
	functions := c.compileFunctions(s.Functions)
	set.warnings = append(set.warnings, c.warnings...)
	return common{locale: c.locale, functions: functions}, c.problems
}

// Warnings are what is allowed in the rules and probably a mistake, such as a language that is not installed.
func (s *Set) Warnings() []*Problem { return s.warnings }

// language reads the language of a rule or of an entry of its payload: its own, or else the one that holds around it. One that is not
// installed is taken, with a warning: it may be installed tomorrow, and until then everything is in en_US.
func (c *ruleCompiler) language(path, lang string) string {
	if lang == "" {
		return c.locale.lang
	}
	if message, remedy := c.locale.unknownLang(lang); message != "" {
		c.warn(path, message, remedy)
	}
	return lang
}

func (c *ruleCompiler) warn(path, message, remedy string) { c.warnIn(path, "", -1, message, remedy) }

func (c *ruleCompiler) warnIn(path, expr string, offset int, message, remedy string) {
	c.warnings = append(c.warnings, &Problem{Rule: c.index, Name: c.config.Name, Path: path, Message: message, Suggest: remedy, Offset: offset, Expr: expr})
}

// unknownLang says what is wrong with a language; nothing where the database's languages cannot be read.
func (l locale) unknownLang(lang string) (message, remedy string) {
	if l.cat == nil || l.cat.Odoo == nil || len(l.cat.Odoo.Languages) == 0 || lang == DefaultLang {
		return "", ""
	}
	languages := l.cat.Odoo.Languages
	if i := slices.IndexFunc(languages, func(o catalog.Language) bool { return o.Code == lang }); i >= 0 && languages[i].Active {
		return "", ""
	}
	var installed []string
	for _, o := range languages {
		if o.Active {
			installed = append(installed, o.Code)
		}
	}
	remedy = didYouMean(lang, installed)
	for _, o := range languages {
		if remedy == "" && o.Active && (strings.HasPrefix(o.Code, lang+"_") || strings.HasPrefix(strings.ToLower(o.Name), strings.ToLower(lang))) {
			remedy = fmt.Sprintf("did you mean %q?", o.Code)
		}
	}
	if remedy == "" {
		remedy = "installed are " + oneOf(installed)
	}
	return fmt.Sprintf("language %q is not installed in this database: texts are in %s", lang, DefaultLang), remedy
}

// home finds the company of records that have none. Its id is known as text, which is how the keys of company-dependent values are written.
func (c *ruleCompiler) home(name string) string {
	var companies []catalog.Company
	if c.cat.Odoo != nil {
		companies = c.cat.Odoo.Companies
	}
	id, err := strconv.ParseInt(name, 10, 64)
	number := err == nil
	var names []string
	for _, o := range companies {
		if name == "" || name == o.Name || number && id == o.ID {
			return strconv.FormatInt(o.ID, 10)
		}
		names = append(names, o.Name)
	}
	switch {
	case name == "":
		return "1"
	case len(companies) == 0 && number:
		return name
	case len(companies) == 0:
		c.fail("odoo.company", fmt.Sprintf("company %q cannot be looked up: there are no companies that can be read", name), `write its id, as in company = "1"`)
		return "1"
	}
	remedy := didYouMean(name, names)
	if remedy == "" {
		remedy = "there are " + oneOf(names)
	}
	c.fail("odoo.company", fmt.Sprintf("unknown company %q", name), remedy)
	return "1"
}

// defaults are the values of a company-dependent field for records without one of their own: by company, "" for all others.
func (l locale) defaults(as *reading, model, field string) map[string]cdc.Value {
	if l.cat == nil || l.cat.Odoo == nil {
		return nil
	}
	var out map[string]cdc.Value
	for _, d := range l.cat.Odoo.Defaults {
		if d.Model != model || d.Field != field {
			continue
		}
		if out == nil {
			out = make(map[string]cdc.Value)
		}
		key := ""
		if d.Company != 0 {
			key = strconv.FormatInt(d.Company, 10)
		}
		out[key] = as.typed([]byte(d.JSON))
	}
	return out
}
