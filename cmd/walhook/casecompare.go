package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"walhook/cdc"
)

// comparison collects in which ways a payload is not what a case says. What the case does not name may be anything, unless it is exact.
type comparison struct {
	exact    bool
	null     []string // dotted members that must be null
	problems []string
}

func (k *comparison) differ(path, format string, args ...any) {
	k.problems = append(k.problems, path+": "+fmt.Sprintf(format, args...))
}

// members compares two objects.
func (k *comparison) members(path string, want, got map[string]any) {
	named := map[string]bool{}
	for _, name := range k.null {
		rest, ok := strings.CutPrefix("payload."+name, path+".")
		if !ok || strings.Contains(rest, ".") {
			continue
		}
		named[rest] = true
		if v, there := got[rest]; !there {
			k.missing(path+"."+rest, got)
		} else if v != nil {
			k.differ(path+"."+rest, "is %s, should be null", shownJSON(v))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		named[name] = true
		v, there := got[name]
		if !there {
			k.missing(path+"."+name, got)
			continue
		}
		k.value(path+"."+name, want[name], v)
	}
	if !k.exact {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !named[name] {
			k.differ(path+"."+name, "should not be there, is %s", shownJSON(got[name]))
		}
	}
}

func (k *comparison) missing(path string, got map[string]any) {
	names := slices.Sorted(maps.Keys(got))
	if s := nearest(path[strings.LastIndexByte(path, '.')+1:], names); s != "" {
		k.differ(path, "is missing; did you mean %q?", s)
		return
	}
	k.differ(path, "is missing; there are %s", orDash(shortList(names, 10)))
}

// value compares what TOML says with what JSON has.
func (k *comparison) value(path string, want, got any) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			k.differ(path, "is %s, should be an object", shownJSON(got))
			return
		}
		k.members(path, w, g)
		return
	case []any:
		g, ok := got.([]any)
		if !ok {
			k.differ(path, "is %s, should be a list", shownJSON(got))
			return
		}
		if len(w) != len(g) {
			k.differ(path, "has %s, should have %d", plural(len(g), "element"), len(w))
		}
		for i := range min(len(w), len(g)) {
			k.value(fmt.Sprintf("%s[%d]", path, i), w[i], g[i])
		}
		return
	}
	if !sameScalar(want, got) {
		k.differ(path, "is %s, should be %s", shownJSON(got), shownScalar(want))
	}
}

// sameScalar compares numbers by value, and dates and times as payloads write them.
func sameScalar(want, got any) bool {
	if n, ok := got.(json.Number); ok {
		text, number := numberText(want)
		if _, isText := want.(string); !number || isText {
			return false
		}
		return cdc.Numeric(text).Cmp(cdc.Numeric(n)) == 0
	}
	switch w := want.(type) {
	case time.Time:
		at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got))
		return err == nil && at.Equal(w)
	case toml.LocalDate, toml.LocalDateTime:
		return shownScalar(w) == shownScalar(got)
	}
	return reflect.DeepEqual(want, got)
}

func shownScalar(v any) string {
	switch v := v.(type) {
	case toml.LocalDate:
		return shownJSON(v.String())
	case toml.LocalDateTime:
		return shownJSON(v.AsTime(time.UTC).Format(time.RFC3339Nano))
	}
	return shownJSON(v)
}

// sameNames compares two lists without regard to their order.
func sameNames(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}
