package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// zeroMeans are the keys whose zero or empty value says something, by their path with "*" for names that the user chooses. Every other
// key is left out for its default: who writes 0 means 0, and would get something else. Keys that tell 0 from nothing themselves are
// pointers in their struct, and their packages judge them.
var zeroMeans = map[string]bool{
	"endpoints.*.batch.wait":    true, // what is there goes
	"endpoints.*.hmac.prefix":   true, // none
	"endpoints.*.headers.*":     true, // a header without a value
	"endpoints.*.query.*":       true,
	"endpoints.*.auth.params.*": true,
}

// tableNeeds are the tables that ask for something as soon as they are there, and the key that must be in them.
var tableNeeds = map[string]struct{ key, hint string }{
	"endpoints.*.hmac":  {"secrets", `hmac = { secrets = ["${SECRET}"], … }, or secrets_file; without a signature, leave hmac out`},
	"endpoints.*.auth":  {"type", `type is "basic", "bearer", "api_key", "oauth2" or "oauth1"; without credentials, leave auth out`},
	"endpoints.*.rate":  {"limit", `rate = { limit = 50, per = "1s" }; without a limit, leave rate out`},
	"endpoints.*.batch": {"size", `batch = { size = 100, wait = "2s" }; without batches, leave batch out`},
	"source.guard":      {"max_retained", `guard = { max_retained = "20GiB", action = "stop" }; without a limit, leave guard out`},
}

// checkZeros complains about keys that are in the file with a value that would pass for an absent one, and about empty tables that
// ask for something. Rules and functions are for rules.Compile.
func (c *Config) checkZeros() (problems []error) {
	for i := range c.Doc.entries {
		e := &c.Doc.entries[i]
		if e.name == "" || e.parts[0] == "rules" || e.parts[0] == "functions" {
			continue
		}
		value := valueAt(reflect.ValueOf(c).Elem(), e.parts)
		if !value.IsValid() || !isNothing(value) {
			continue
		}
		name := pattern(e.parts)
		switch e.kind {
		case unstable.Table, unstable.InlineTable:
			if need, ok := tableNeeds[name]; ok && c.Doc.isEmptyTable(e.path) {
				problems = append(problems, c.Doc.problem(e.path, true, fmt.Sprintf("%s is empty: it needs %s", e.name, need.key), need.hint))
			}
		case unstable.Bool:
		default:
			if zeroMeans[name] || zeroMeans[name[:strings.LastIndexByte(name, '.')+1]+"*"] {
				continue
			}
			problems = append(problems, c.Doc.problem(e.path, true, emptiness(e, c.Doc), "leave the key out for the default"))
		}
	}
	return problems
}

// emptiness names the value that is none.
func emptiness(e *entry, d *document) string {
	switch {
	case e.kind == unstable.Array:
		return e.name + " is an empty list"
	case e.kind != unstable.String:
		return string(d.text[e.value.from:e.value.to]) + " is out of range"
	case e.text == "" || strings.Contains(e.text, "$"):
		return e.name + " is empty" // a variable's value is not shown
	}
	return e.text + " is out of range"
}

// isEmptyTable says whether nothing is in a table.
func (d *document) isEmptyTable(path string) bool {
	return !slices.ContainsFunc(d.entries, func(e entry) bool { return strings.HasPrefix(e.path, path+".") })
}

// valueAt is the decoded value of a key; the zero Value when the structs have no such key, such as those that name files.
func valueAt(v reflect.Value, parts []string) reflect.Value {
	for _, part := range parts {
		switch v.Kind() {
		case reflect.Map:
			v = v.MapIndex(reflect.ValueOf(part))
		case reflect.Struct:
			v = fieldOf(v, part)
		default:
			return reflect.Value{}
		}
		if !v.IsValid() {
			return v
		}
	}
	return v
}

func fieldOf(v reflect.Value, key string) reflect.Value {
	for f := range v.Type().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("toml"), ","); name == key && f.IsExported() {
			return v.FieldByIndex(f.Index)
		}
	}
	return reflect.Value{}
}

// isNothing says whether a value cannot be told from an absent one.
func isNothing(v reflect.Value) bool {
	if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}
