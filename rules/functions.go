package rules

import (
	"encoding/base64"
	"strings"
	"time"
	"unicode/utf8"
)

// builtinNames are the functions of expr that rules may call. They keep expr's
// names and meaning; NULL where a text is expected is "", where a list is expected an
// empty one, and among numbers it is left out or gives NULL.
var builtinNames = func() map[string]bool {
	names := map[string]bool{"now": true, "date": true, "duration": true, "timezone": true}
	for _, loop := range []string{"all", "none", "any", "one", "filter", "map", "find", "findIndex", "findLast", "findLastIndex",
		"count", "sum", "groupBy", "sortBy", "reduce"} {
		names[loop] = true
	}
	for name := range functions {
		names[name] = true
	}
	return names
}()

// functions are the implementations, but of loops and of what depends on the transaction. The number
// of arguments has been checked.
var functions = map[string]func(args ...any) any{
	"len":         func(a ...any) any { return length(a[0]) },
	"abs":         rounder("abs", func(n num, _ int) num { return n.abs() }),
	"ceil":        rounder("ceil", func(n num, _ int) num { return n.round(0, up) }),
	"floor":       rounder("floor", func(n num, _ int) num { return n.round(0, down) }),
	"round":       rounder("round", func(n num, decimals int) num { return n.round(decimals, halfAway) }),
	"int":         func(a ...any) any { return toNumber("int", a[0], true) },
	"float":       func(a ...any) any { return toNumber("float", a[0], false) },
	"string":      func(a ...any) any { return textForm(a[0]) },
	"upper":       func(a ...any) any { return strings.ToUpper(text("upper", a[0])) },
	"lower":       func(a ...any) any { return strings.ToLower(text("lower", a[0])) },
	"trim":        trim,
	"trimPrefix":  func(a ...any) any { return strings.TrimPrefix(text("trimPrefix", a[0]), optional(a, " ")) },
	"trimSuffix":  func(a ...any) any { return strings.TrimSuffix(text("trimSuffix", a[0]), optional(a, " ")) },
	"split":       func(a ...any) any { return split("split", strings.SplitN, a) },
	"splitAfter":  func(a ...any) any { return split("splitAfter", strings.SplitAfterN, a) },
	"replace":     replace,
	"repeat":      repeat,
	"join":        join,
	"indexOf":     func(a ...any) any { return index(strings.Index, "indexOf", a) },
	"lastIndexOf": func(a ...any) any { return index(strings.LastIndex, "lastIndexOf", a) },
	"hasPrefix":   func(a ...any) any { return textTests["startsWith"](a[0], a[1]) },
	"hasSuffix":   func(a ...any) any { return textTests["endsWith"](a[0], a[1]) },
	"toBase64": func(a ...any) any {
		return limited(base64.StdEncoding.EncodeToString([]byte(text("toBase64", a[0]))))
	},
	"fromBase64": fromBase64,
	"fromJSON":   fromJSON,
	"max":        func(a ...any) any { return extreme(1, a) },
	"min":        func(a ...any) any { return extreme(-1, a) },
	"mean":       mean,
	"median":     median,
	"first":      func(a ...any) any { return member(a[0], 0) },
	"last":       func(a ...any) any { return member(a[0], -1) },
	"take":       func(a ...any) any { return slice(listOf("take", a[0]), nil, a[1]) },
	"keys":       keys,
	"values":     values,
	"toPairs":    toPairs,
	"fromPairs":  fromPairs,
	"reverse":    reverse,
	"uniq":       uniq,
	"concat":     concat,
	"flatten":    func(a ...any) any { return limitedList(flatten(nil, listOf("flatten", a[0]))) },
	"sort":       func(a ...any) any { return sorted(listOf("sort", a[0]), listOf("sort", a[0]), optional(a, "asc")) },
	"bitand":     bits2("bitand", func(a, b int64) int64 { return a & b }),
	"bitor":      bits2("bitor", func(a, b int64) int64 { return a | b }),
	"bitxor":     bits2("bitxor", func(a, b int64) int64 { return a ^ b }),
	"bitnand":    bits2("bitnand", func(a, b int64) int64 { return a &^ b }),
	"bitshl":     bits2("bitshl", func(a, b int64) int64 { return a << shiftCount(b) }),
	"bitshr":     bits2("bitshr", func(a, b int64) int64 { return a >> shiftCount(b) }),
	"bitushr":    bits2("bitushr", func(a, b int64) int64 { return int64(uint64(a) >> shiftCount(b)) }),
	"bitnot":     func(a ...any) any { return bits2("bitnot", func(x, _ int64) int64 { return ^x })(a[0], 0) },
}

// text reads an argument that should be text; NULL is "".
func text(function string, v any) string {
	c, v := classify(v)
	switch c {
	case classNull:
		return ""
	case classText:
		return asText(v)
	}
	raise("%s needs a text, not %s", function, c)
	return ""
}

// optional reads a text from the second argument, if there is one.
func optional(args []any, otherwise string) string {
	if len(args) < 2 {
		return otherwise
	}
	return text("this function", args[1])
}

// whole reads an argument that should be a whole number.
func whole(function string, v any) int64 {
	c, v := classify(v)
	if c == classNumber {
		if n, ok := asNum(v).whole(); ok {
			return n
		}
	}
	raise("%s needs a whole number, not %s", function, c)
	return 0
}

// length counts characters, elements, members or bytes; NULL has none.
func length(v any) int {
	c, v := classify(v)
	switch c {
	case classNull:
		return 0
	case classText:
		return utf8.RuneCountInString(asText(v))
	case classList:
		return len(v.([]any))
	case classObject:
		return len(v.(map[string]any))
	case classBytes:
		return len(v.([]byte))
	}
	raise("len needs a text or a list, not %s", c)
	return 0
}

func rounder(function string, f func(n num, decimals int) num) func(args ...any) any {
	return func(args ...any) any {
		c, v := classify(args[0])
		switch c {
		case classNull:
			return nil
		case classNumber:
			decimals := 0
			if len(args) > 1 {
				decimals = int(min(max(whole(function, args[1]), 0), 100))
			}
			return boxed(f(asNum(v), decimals))
		}
		raise("%s needs a number, not %s", function, c)
		return nil
	}
}

// toNumber reads texts as numbers. NULL and "" are NULL.
func toNumber(function string, v any, cut bool) any {
	c, v := classify(v)
	n := num{}
	switch c {
	case classNull:
		return nil
	case classNumber:
		n = asNum(v)
	case classText:
		s := strings.TrimSpace(asText(v))
		if s == "" {
			return nil
		}
		var ok bool
		if n, ok = parseNum(s); !ok {
			raise("%s cannot read %q as a number", function, excerpt(s))
		}
	default:
		raise("%s needs a number or a text, not %s", function, c)
	}
	if cut {
		n = n.round(0, toZero)
	}
	return boxed(n)
}

// textForm is string(): the digits of a number, dates as in payloads, NULL as "".
func textForm(v any) string {
	if col, ok := v.(column); ok {
		if c, _ := classify(v); c != classTime {
			return col.text()
		}
	}
	c, v := classify(v)
	switch c {
	case classNull:
		return ""
	case classText:
		return asText(v)
	case classBool:
		if v.(bool) {
			return "true"
		}
		return "false"
	case classNumber:
		return asNum(v).text()
	case classDuration:
		return v.(time.Duration).String()
	case classTime:
		if col, ok := v.(column); ok && len(col.text()) == len("2006-01-02") {
			return col.text()
		}
		m := asMoment(v)
		if s, ok := plainMoment(m).(string); ok {
			return s
		}
		return m.at.UTC().Format(time.RFC3339Nano)
	}
	raise("string cannot write %s", c)
	return ""
}

func trim(a ...any) any {
	if len(a) > 1 {
		return strings.Trim(text("trim", a[0]), text("trim", a[1]))
	}
	return strings.TrimSpace(text("trim", a[0]))
}

func split(function string, f func(s, sep string, n int) []string, a []any) any {
	n := -1
	if len(a) > 2 {
		n = int(min(whole(function, a[2]), maxList+1))
	}
	if n < 0 {
		n = maxList + 1 // one too many is enough to fail
	}
	s := text(function, a[0])
	if s == "" {
		return emptyList()
	}
	parts := f(s, text(function, a[1]), n)
	list := make([]any, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	return limitedList(list)
}

func replace(a ...any) any {
	s, from, to, n := text("replace", a[0]), text("replace", a[1]), text("replace", a[2]), -1
	if len(a) > 3 {
		n = int(min(whole("replace", a[3]), maxText))
	}
	if count := strings.Count(s, from); len(s)+count*len(to) > maxText {
		raise("a text of more than %d bytes", maxText)
	}
	return strings.Replace(s, from, to, n)
}

func repeat(a ...any) any {
	s, n := text("repeat", a[0]), whole("repeat", a[1])
	if n < 0 || n > maxText || int64(len(s))*n > maxText {
		raise("repeat makes at most %d bytes", maxText)
	}
	return strings.Repeat(s, int(n))
}

func join(a ...any) any {
	var b strings.Builder
	for i, e := range listOf("join", a[0]) {
		if i > 0 {
			b.WriteString(optional(a, ""))
		}
		b.WriteString(textForm(e))
		limited(b.String())
	}
	return b.String()
}

// index counts characters, as len and slices do.
func index(f func(s, sub string) int, function string, a []any) any {
	s := text(function, a[0])
	i := f(s, text(function, a[1]))
	if i <= 0 {
		return i
	}
	return utf8.RuneCountInString(s[:i])
}

func fromBase64(a ...any) any {
	b, err := base64.StdEncoding.DecodeString(text("fromBase64", a[0]))
	if err != nil {
		raise("fromBase64: %w", err)
	}
	return string(b)
}

func fromJSON(a ...any) any {
	s := limited(text("fromJSON", a[0]))
	if strings.TrimSpace(s) == "" {
		return nil
	}
	return parseJSON([]byte(s))
}
