package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// spot is where members stand in a rule's payload.
type spot struct {
	key    string // in the rule, for problems: "payload.lines.fields"
	keys   []string
	path   string // in the record: "lines"
	shape  shape  // whose fields plain names mean
	scope  *place // its rows; nil: the record
	record shape
	depth  int
}

// maxNesting bounds the depth of a payload.
const maxNesting = 10

func (at spot) under(key string) spot {
	at.key, at.keys = at.key+"."+key, append(slices.Clip(at.keys), key)
	at.depth++
	return at
}

// outputs compiles fields or payload.
func (c *ruleCompiler) outputs(r *Rule, s shape) {
	given := c.config.Fields != nil || c.config.Payload != nil
	switch {
	case c.config.Fields != nil && c.config.Payload != nil:
		c.fail("payload", "a rule has fields or payload, not both", "name the fields in payload: "+`amount_total = "amount_total"`)
	case c.config.Fields != nil && len(c.config.Fields) == 0:
		c.fail("fields", "the list is empty", "leave fields out to send the whole record")
	case c.config.Payload != nil && len(c.config.Payload) == 0:
		c.fail("payload", "the table is empty", "leave payload out to send the whole record")
	}
	at := spot{key: "fields", shape: s, record: s}
	names := make([]any, len(c.config.Fields))
	for i, name := range c.config.Fields {
		names[i] = name
	}
	r.outputs = c.named(r, at, names)
	at.key = "payload"
	r.outputs = append(r.outputs, c.members(r, at, c.config.Payload)...)
	for i, name := range c.config.Exclude {
		path := fmt.Sprintf("exclude[%d]", i)
		if slices.Index(c.config.Exclude, name) < i {
			c.fail(path, fmt.Sprintf("field %q is listed twice", name), "")
		} else if s.table.Column(name) == nil {
			_, message, remedy := s.field(name)
			c.fail(path, message, remedy)
		}
	}
	if given && len(c.config.Exclude) > 0 {
		c.fail("exclude", "exclude leaves fields out of the whole record, and this rule names its fields", "remove exclude, fields or payload")
	}
}

// named compiles a list of names of fields.
func (c *ruleCompiler) named(r *Rule, at spot, names []any) (out []Output) {
	for i, v := range names {
		path := fmt.Sprintf("%s[%d]", at.key, i)
		name, ok := v.(string)
		switch {
		case !ok:
			c.fail(path, "the name of a field must be text in quotes", "")
		case slices.Index(names, v) < i:
			c.fail(path, fmt.Sprintf("field %q is listed twice", name), "")
		case strings.Contains(name, ".") && at.shape.table.Column(name) == nil:
			c.fail(path, fmt.Sprintf("%q is a path: in a list stand names of fields", name), fmt.Sprintf("give it a name in a table: %s = %q", name[strings.LastIndexByte(name, '.')+1:], name))
		default:
			o := Output{Name: name, Path: joined(at.path, name), key: path}
			if at.scope == nil && len(at.keys) == 0 {
				o.key = "fields." + name
			}
			if c.plain(r, &o, at, path, name) {
				out = append(out, o)
			}
		}
	}
	return out
}

// members compiles the members of an object.
func (c *ruleCompiler) members(r *Rule, at spot, table map[string]any) (out []Output) {
	if at.depth > maxNesting {
		c.fail(at.key, fmt.Sprintf("the payload is nested more than %d levels deep", maxNesting), "")
		return nil
	}
	for _, key := range c.inOrder(at.keys, table) {
		if key == "" {
			c.fail(at.key, "a key is empty", "")
			continue
		}
		to := at.under(key)
		o := Output{Name: key, Path: joined(at.path, key), key: to.key}
		to.path = o.Path
		if c.member(r, &o, to, table[key]) {
			out = append(out, o)
		}
	}
	return out
}

func joined(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// inOrder lists a table's keys in the order of the file; those that it does not name come last, sorted.
func (c *ruleCompiler) inOrder(parents []string, table map[string]any) []string {
	var out []string
	for _, path := range c.config.PayloadOrder {
		if n := len(parents); len(path) > n && slices.Equal(path[:n], parents) && !slices.Contains(out, path[n]) {
			if _, ok := table[path[n]]; ok {
				out = append(out, path[n])
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

// member compiles what a key stands for.
func (c *ruleCompiler) member(r *Rule, o *Output, at spot, v any) bool {
	switch v := v.(type) {
	case string:
		return c.text(r, o, at, at.key, v)
	case map[string]any:
		return c.structured(r, o, at, v)
	case []any:
		c.fail(at.key, "a member of a payload is text or a table, not a list", `write an array as an expression: "[name, state]"; rows of other records as { each = "order_line", fields = ["name"] }`)
	default:
		c.fail(at.key, "a member of a payload is text or a table", fmt.Sprintf("write a constant as an expression in quotes: \"%v\"", v))
	}
	return false
}

// structured compiles a member that is a table: with value, with each, or an object.
func (c *ruleCompiler) structured(r *Rule, o *Output, at spot, table map[string]any) bool {
	_, value := table["value"]
	_, each := table["each"]
	fields, explicit := table["fields"].(map[string]any)
	switch {
	case each:
		return c.each(r, o, at, table)
	case value:
		return c.valued(r, o, at, table)
	case explicit && len(table) == 1:
		at = at.under("fields")
		table = fields
	case table["fields"] != nil && len(c.strange(table, eachKeys)) == 0:
		c.fail(at.key, "the table has no each: whose fields are these?", `write { each = "order_line", fields = … }`)
		return false
	}
	o.Kind = OutputObject
	if len(table) == 0 {
		c.fail(at.key, "the table is empty", "write the members of the object into it")
		return false
	}
	n := len(c.problems)
	o.Members = c.members(r, at, table)
	if _, option := table["default"]; option && len(c.problems) > n && len(c.strange(table, valueKeys)) == 0 {
		c.problems = c.problems[:n] // it was not meant as an object with a member called default
		c.fail(at.key, "the table has no value: what is default to stand in for?", fmt.Sprintf(`write { value = "partner_id.name", default = %#v }`, table["default"]))
	}
	return len(c.problems) == n
}

// The options of a member that is no object.
var (
	valueKeys = []string{"value", "default", "lang"}
	eachKeys  = []string{"each", "where", "fields", "order", "limit", "archived"}
)

// strange lists the keys of a table that are none of known, sorted.
func (c *ruleCompiler) strange(table map[string]any, known []string) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if !slices.Contains(known, key) {
			out = append(out, key)
		}
	}
	return out
}

// refuse complains about options that are none.
func (c *ruleCompiler) refuse(at spot, table map[string]any, known []string, what string) {
	for _, key := range c.strange(table, known) {
		remedy := didYouMean(key, known)
		if remedy == "" {
			remedy = fmt.Sprintf("the options are %s; an object with a member called %q is written { fields = { … } }", oneOf(known), known[0])
		}
		c.fail(at.key+"."+key, fmt.Sprintf("unknown option %q of %s", key, what), remedy)
	}
}

// valued compiles { value = …, default = …, lang = … }.
func (c *ruleCompiler) valued(r *Rule, o *Output, at spot, table map[string]any) bool {
	n := len(c.problems)
	c.refuse(at, table, valueKeys, "a value")
	text, ok := table["value"].(string)
	if !ok {
		c.fail(at.key+".value", "value must be text in quotes: a field, a path or an expression", "")
		return false
	}
	switch v := table["default"].(type) {
	case nil, string, bool, int64, float64:
		o.Default = v
	default:
		c.fail(at.key+".default", "default must be text, a number, true or false", "")
	}
	around := c.locale
	if lang, given := table["lang"]; given {
		if lang, ok := lang.(string); ok {
			c.locale.lang = c.language(at.key+".lang", lang)
		} else {
			c.fail(at.key+".lang", `lang must be text in quotes, as "fr_FR"`, "")
		}
	}
	done := c.text(r, o, at, at.key+".value", text)
	c.locale = around
	return done && len(c.problems) == n
}
