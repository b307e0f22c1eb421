package rules

import (
	"maps"
	"slices"
	"sort"
)

// listOf reads an argument that should be a list; NULL is an empty one.
func listOf(function string, v any) []any {
	c, v := classify(v)
	switch c {
	case classNull:
		return emptyList()
	case classList:
		return v.([]any)
	}
	raise("%s needs a list, not %s", function, c)
	return nil
}

// looped prepares a list for a loop and charges its length to the evaluation.
func looped(env, v any) any {
	list := listOf("a loop", v)
	env.(*frame).step(len(list) + 1)
	return list
}

// weighed charges what a new list or object holds to the evaluation, all the way down: the same list put
// into another one a thousand times counts a thousand times, as it will when the result is written out.
func weighed(env, v any) any {
	env.(*frame).weigh(v)
	return v
}

func (f *frame) weigh(v any) {
	switch v := v.(type) {
	case string:
		f.step(1 + len(v)>>10)
	case column:
		f.step(1 + len(v.value.Text)>>10)
	case []any:
		f.step(1)
		for i := range v {
			f.weigh(v[i])
		}
	case map[string]any:
		f.step(1)
		for k := range v {
			f.weigh(v[k])
		}
	default:
		f.step(1)
	}
}

// written charges a long text to the evaluation: one that a loop makes over and over is work, whatever becomes of it.
func written(env, v any) any {
	if s, ok := v.(string); ok {
		env.(*frame).step(len(s) >> 10)
	}
	return v
}

// makesList names the functions whose results must be weighed.
var makesList = map[string]bool{
	"split": true, "splitAfter": true, "keys": true, "values": true, "toPairs": true, "fromPairs": true, "reverse": true, "uniq": true,
	"concat": true, "flatten": true, "sort": true, "take": true,
}

func flatten(dst, list []any) []any {
	for _, v := range list {
		if c, inside := classify(v); c == classList {
			dst = limitedList(flatten(dst, inside.([]any)))
		} else {
			dst = append(dst, v)
		}
	}
	return dst
}

// object reads an argument that should be an object; NULL is an empty one.
func object(function string, v any) map[string]any {
	c, v := classify(v)
	switch c {
	case classNull:
		return nil
	case classObject:
		return v.(map[string]any)
	}
	raise("%s needs an object, not %s", function, c)
	return nil
}

// keys are sorted: the same input gives the same output.
func keys(a ...any) any {
	out := emptyList()
	for _, k := range slices.Sorted(maps.Keys(object("keys", a[0]))) {
		out = append(out, k)
	}
	return out
}

// values come in the order of their keys.
func values(a ...any) any {
	o, out := object("values", a[0]), emptyList()
	for _, k := range slices.Sorted(maps.Keys(o)) {
		out = append(out, o[k])
	}
	return out
}

func toPairs(a ...any) any {
	o, out := object("toPairs", a[0]), emptyList()
	for _, k := range slices.Sorted(maps.Keys(o)) {
		out = append(out, []any{k, o[k]})
	}
	return out
}

func fromPairs(a ...any) any {
	out := make(map[string]any)
	for _, p := range listOf("fromPairs", a[0]) {
		pair := listOf("fromPairs", p)
		if len(pair) != 2 {
			raise("fromPairs needs pairs, not a list of %d", len(pair))
		}
		out[textForm(pair[0])] = pair[1]
	}
	return out
}

func reverse(a ...any) any {
	out := slices.Clone(listOf("reverse", a[0]))
	slices.Reverse(out)
	return out
}

// uniq compares every element with those before it, so it takes short lists only.
func uniq(a ...any) any {
	list, out := listOf("uniq", a[0]), emptyList()
	if len(list) > 2000 {
		raise("uniq takes at most 2000 elements")
	}
	for _, v := range list {
		if !slices.ContainsFunc(out, func(o any) bool { return equal(o, v) }) {
			out = append(out, v)
		}
	}
	return out
}

func concat(a ...any) any {
	out := emptyList()
	for _, l := range a {
		out = limitedList(append(out, listOf("concat", l)...))
	}
	return out
}

// sorted orders list by the keys at the same indexes. It is stable, and NULLs come last in either order.
func sorted(list, by []any, order string) any {
	if order != "asc" && order != "desc" {
		raise(`unknown order %q: write "asc" or "desc"`, excerpt(order))
	}
	s := byKey{list: slices.Clone(list), keys: slices.Clone(by), desc: order == "desc"}
	sort.Stable(&s)
	return s.list
}

type byKey struct {
	list, keys []any
	desc       bool
}

// Len implements sort.Interface.
func (s *byKey) Len() int { return len(s.list) }

// Swap implements sort.Interface.
func (s *byKey) Swap(i, j int) {
	s.list[i], s.list[j] = s.list[j], s.list[i]
	s.keys[i], s.keys[j] = s.keys[j], s.keys[i]
}

// Less implements sort.Interface.
func (s *byKey) Less(i, j int) bool {
	order, ok := compare(s.keys[i], s.keys[j])
	if !ok {
		ci, _ := classify(s.keys[i])
		cj, _ := classify(s.keys[j])
		return ci != classNull && cj == classNull
	}
	if s.desc {
		return order > 0
	}
	return order < 0
}

// grouped turns what expr's groupBy makes into an object.
func grouped(v any) any {
	out := make(map[string]any)
	for k, list := range v.(map[any][]any) {
		out[k.(string)] = list
	}
	return out
}
