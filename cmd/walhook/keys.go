package main

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"walhook/cdc/catalog"
	"walhook/rules"
)

// shape is what a place of the configuration accepts, in words for people.
type shape string

const (
	aText   shape = "text in quotes"
	aNumber shape = "a number"
	aWhole  shape = "a whole number"
	aBool   shape = "true or false"
	aList   shape = "a list in brackets"
	aTable  shape = "a table"
	aSize   shape = "a size, such as \"16MiB\""
	tables  shape = "a list of tables"
	aTime   shape = "a date and time without quotes"
	aThing  shape = "anything"
	aSecret shape = ""                // takes what its type takes; go-toml judges
	aTree   shape = "text or a table" // of a rule's payload: package rules judges
)

// keyTree is what the configuration structs accept: shapes and the keys of
// tables, read from their toml tags. It is what "unknown key" and "did you mean" are judged by.
type keyTree struct {
	shape shape
	keys  map[string]*keyTree // of a struct
	any   *keyTree            // of a map: what is under every name
	elem  *keyTree            // of a list
	free  bool                // takes anything: whoever reads it judges
}

var textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

// treeOf reads what a type accepts.
func treeOf(t reflect.Type) *keyTree {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[size]() {
		return &keyTree{shape: aSize}
	}
	if t == reflect.TypeFor[rules.Payload]() {
		member := &keyTree{shape: aTree}
		member.any, member.elem = member, member
		return &keyTree{shape: aTable, any: member}
	}
	if reflect.PointerTo(t).Implements(textUnmarshaler) {
		return &keyTree{shape: aText}
	}
	switch t.Kind() {
	case reflect.String:
		return &keyTree{shape: aText}
	case reflect.Bool:
		return &keyTree{shape: aBool}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &keyTree{shape: aWhole}
	case reflect.Float32, reflect.Float64:
		return &keyTree{shape: aNumber}
	case reflect.Slice, reflect.Array:
		elem := treeOf(t.Elem())
		if elem.shape == aTable {
			return &keyTree{shape: tables, keys: elem.keys, any: elem.any, elem: elem}
		}
		return &keyTree{shape: aList, elem: elem}
	case reflect.Interface:
		return &keyTree{shape: aSecret, free: true}
	case reflect.Map:
		return &keyTree{shape: aTable, any: treeOf(t.Elem())}
	case reflect.Struct:
		tree := &keyTree{shape: aTable, keys: map[string]*keyTree{}}
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
			switch {
			case f.Anonymous && name == "":
				for k, v := range treeOf(f.Type).keys {
					tree.keys[k] = v
				}
			case f.IsExported() && name != "" && name != "-":
				tree.keys[name] = treeOf(f.Type)
			}
		}
		return tree
	}
	return &keyTree{shape: aSecret}
}

// configKeys is the tree of the whole file, with the keys that name files.
func configKeys() *keyTree {
	root := treeOf(reflect.TypeFor[Config]())
	for path, target := range fileKeys {
		at := root
		parts := strings.Split(path, ".")
		for _, p := range parts[:len(parts)-1] {
			if p == "*" {
				at = at.any
			} else {
				at = at.keys[p]
			}
		}
		at.keys[parts[len(parts)-1]] = &keyTree{shape: aText}
		if target.list {
			at.keys[parts[len(parts)-1]] = &keyTree{shape: aSecret} // one file or a list of them
		}
	}
	return root
}

// paths lists every key as a dotted path, "*" standing for names that the user
// chooses.
func (t *keyTree) paths(prefix string) []string {
	if t.any != nil {
		if t.any.keys == nil {
			return []string{prefix}
		}
		return t.any.paths(joinPath(prefix, "*"))
	}
	if t.keys == nil {
		return []string{prefix}
	}
	var all []string
	for k, sub := range t.keys {
		all = append(all, sub.paths(joinPath(prefix, k))...)
	}
	slices.Sort(all)
	return all
}

// checkKeys complains about every key that the structs do not have and every value
// of the wrong shape. go-toml finds most of them too, one at a time; it takes keys of the wrong case for
// right, numbers for texts, and cannot say what was meant.
func checkKeys(doc *document) []error { return checkTree(doc, configKeys()) }

// checkTree is checkKeys for another kind of file.
func checkTree(doc *document, root *keyTree) []error {
	var problems []error
	refused := map[string]bool{}
	for i := range doc.entries {
		e := &doc.entries[i]
		if refused[parentOf(e)] {
			refused[e.path] = true
			continue
		}
		at, section, unknown := root, "", false
		for _, part := range e.parts {
			if at.free {
				break
			}
			next := at.any
			if next == nil {
				next = at.keys[part]
			}
			if next == nil {
				unknown = true
				break
			}
			at, section = next, joinPath(section, part)
		}
		if at.free {
			continue
		}
		if unknown {
			problems = append(problems, unknownKey(doc, e, root))
			refused[e.path] = true
			continue
		}
		if e.name == "" { // an element of a list
			if at.elem == nil || at.shape == tables {
				continue
			}
			at = at.elem
		}
		if got, ok := fits(e.kind, at.shape); !ok {
			problems = append(problems, doc.problem(e.path, true, fmt.Sprintf("%s must be %s, not %s", section, at.shape, got), shapeHint(e, at)))
			refused[e.path] = true
		}
	}
	return problems
}

// fits says whether a value has a shape, and names what it is.
func fits(kind unstable.Kind, s shape) (string, bool) {
	if s == aThing {
		return "", true
	}
	if s == aTree {
		return "", true
	}
	switch kind {
	case unstable.String:
		return "text", s == aText || s == aSize || s == aSecret
	case unstable.Bool:
		return "true or false", s == aBool || s == aSecret
	case unstable.Integer:
		return "a number", s == aWhole || s == aNumber || s == aSize || s == aSecret
	case unstable.Float:
		return "a number with a fraction", s == aNumber || s == aSecret
	case unstable.Array:
		return "a list", s == aList || s == tables || s == aSecret
	case unstable.ArrayTable:
		return "a list of tables ([[…]])", s == tables
	case unstable.Table, unstable.InlineTable:
		return "a table", s == aTable || s == tables && kind == unstable.InlineTable
	}
	return "a date or time", s == aTime || s == aSecret
}

func shapeHint(e *entry, at *keyTree) string {
	switch {
	case at.shape == aText && (e.kind == unstable.Integer || e.kind == unstable.Float || e.kind == unstable.Bool):
		return fmt.Sprintf("write it in quotes: %s = \"…\"", e.name)
	case at.shape == aList && e.kind == unstable.String && e.name != "":
		return fmt.Sprintf("write it in brackets: %s = [\"…\"]", e.name)
	case at.shape == tables && e.kind == unstable.Table:
		return fmt.Sprintf("write it in double brackets: [[%s]]", e.name)
	case at.shape == aTable && e.kind == unstable.ArrayTable:
		return fmt.Sprintf("write it in single brackets: [%s]", e.name)
	}
	return ""
}

// unknownKey names the first part of a path that is none, the table that it is not in, and what was probably meant.
func unknownKey(doc *document, e *entry, at *keyTree) error {
	section, unknown := "", e.name
	for _, part := range e.parts {
		next := at.any
		if next == nil {
			next = at.keys[part]
		}
		if next == nil {
			unknown = part
			break
		}
		at, section = next, joinPath(section, part)
	}
	var names []string
	for k := range at.keys {
		names = append(names, k)
	}
	slices.Sort(names)
	where := ""
	switch {
	case section == "rules":
		where = " in a rule"
	case section == "cases":
		where = " in a case"
	case section != "":
		where = " in [" + section + "]"
	}
	suggestion := "known keys: " + strings.Join(names, ", ")
	if len(names) == 0 {
		suggestion = section + " is no table"
	}
	if s := nearest(unknown, names); s != "" {
		suggestion = fmt.Sprintf("did you mean %q?", s)
	}
	return doc.problem(e.path, false, fmt.Sprintf("unknown key %q%s", unknown, where), suggestion)
}

// nearest is the name that was probably meant; a name that differs in case alone is always near.
func nearest(name string, names []string) string {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n
		}
	}
	return catalog.Suggest(name, names)
}

func parentOf(e *entry) string {
	if cut := strings.LastIndexAny(e.path, ".["); cut >= 0 {
		return e.path[:cut]
	}
	return ""
}

func joinPath(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
