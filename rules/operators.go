package rules

import (
	"math"
	"regexp"
	"strings"
	"time"
)

// The operators that are not comparisons. NULL on either side of arithmetic gives NULL.

// operands classifies both sides; ok is false when one is NULL.
func operands(a, b any) (ca, cb class, x, y any, ok bool) {
	ca, x = classify(a)
	cb, y = classify(b)
	return ca, cb, x, y, ca != classNull && cb != classNull
}

func add(a, b any) any {
	ca, cb, a, b, ok := operands(a, b)
	switch {
	case !ok:
		return nil
	case ca == classNumber && cb == classNumber:
		return boxed(asNum(a).add(asNum(b)))
	case ca == classText && cb == classText:
		return limited(asText(a) + asText(b))
	case ca == classTime && cb == classDuration:
		return shift(asMoment(a), b.(time.Duration))
	case ca == classDuration && cb == classTime:
		return shift(asMoment(b), a.(time.Duration))
	case ca == classDuration && cb == classDuration:
		return a.(time.Duration) + b.(time.Duration)
	}
	raise("cannot add %s and %s", ca, cb)
	return nil
}

func subtract(a, b any) any {
	ca, cb, a, b, ok := operands(a, b)
	switch {
	case !ok:
		return nil
	case ca == classNumber && cb == classNumber:
		return boxed(asNum(a).sub(asNum(b)))
	case ca == classTime && cb == classDuration:
		return shift(asMoment(a), -b.(time.Duration))
	case ca == classDuration && cb == classDuration:
		return a.(time.Duration) - b.(time.Duration)
	case ca == classTime && cb == classTime:
		x, y := asMoment(a), asMoment(b)
		if x.inf != 0 || y.inf != 0 {
			raise("cannot subtract infinite dates")
		}
		return x.at.Sub(y.at)
	}
	raise("cannot subtract %s from %s", cb, ca)
	return nil
}

func shift(m moment, d time.Duration) any {
	if m.inf == 0 {
		m.at = m.at.Add(d)
		m.day = m.day && d%(24*time.Hour) == 0
	}
	return m
}

func multiply(a, b any) any {
	ca, cb, a, b, ok := operands(a, b)
	switch {
	case !ok:
		return nil
	case ca == classNumber && cb == classNumber:
		return boxed(asNum(a).mul(asNum(b)))
	case ca == classNumber && cb == classDuration:
		return stretch(b.(time.Duration), asNum(a))
	case ca == classDuration && cb == classNumber:
		return stretch(a.(time.Duration), asNum(b))
	}
	raise("cannot multiply %s and %s", ca, cb)
	return nil
}

func stretch(d time.Duration, by num) any {
	n, ok := intNum(int64(d)).mul(by).round(0, toZero).whole()
	if !ok {
		raise("duration out of range")
	}
	return time.Duration(n)
}

// numeric makes an operator of two numbers.
func numeric(verb string, f func(a, b num) num) func(a, b any) any {
	return func(a, b any) any {
		ca, cb, a, b, ok := operands(a, b)
		switch {
		case !ok:
			return nil
		case ca != classNumber || cb != classNumber:
			raise("cannot %s %s and %s", verb, ca, cb)
		}
		return boxed(f(asNum(a), asNum(b)))
	}
}

func negate(v any) any {
	c, v := classify(v)
	switch c {
	case classNull:
		return nil
	case classNumber:
		return boxed(asNum(v).neg())
	case classDuration:
		return -v.(time.Duration)
	}
	raise("cannot negate %s", c)
	return nil
}

// plus is the sign +, which does nothing to a number.
func plus(v any) any {
	c, _ := classify(v)
	if c != classNull && c != classNumber && c != classDuration {
		raise("cannot use + with %s", c)
	}
	return v
}

// boxed puts a number where the machine's values are.
func boxed(n num) any {
	if n.big == nil && n.scale == 0 && n.class == finite && n.coef == int64(int(n.coef)) {
		return int(n.coef)
	}
	kept := n // else each number would be moved to the heap
	return number{&kept}
}

// span is the operator "..": the whole numbers from a to b.
func span(a, b any) any {
	ca, cb, a, b, ok := operands(a, b)
	if !ok {
		return emptyList()
	}
	if ca != classNumber || cb != classNumber {
		raise(".. needs numbers, not %s and %s", ca, cb)
	}
	from, ok1 := asNum(a).whole()
	to, ok2 := asNum(b).whole()
	if !ok1 || !ok2 {
		raise(".. needs whole numbers")
	}
	if to < from {
		return emptyList()
	}
	if uint64(to)-uint64(from) >= maxList || to == math.MaxInt64 {
		raise("a range of more than %d numbers", maxList)
	}
	list := make([]any, 0, to-from+1)
	for ; from <= to; from++ {
		list = append(list, int(from))
	}
	return list
}

// member reads a key of an object or an element of a list. What is not there is NULL.
func member(base, key any) any {
	c, base := classify(base)
	ck, key := classify(key)
	switch {
	case c == classObject && ck == classText:
		return base.(map[string]any)[asText(key)]
	case c == classList && ck == classNumber:
		list := base.([]any)
		i, ok := asNum(key).whole()
		if i < 0 {
			i += int64(len(list))
		}
		if ok && i >= 0 && i < int64(len(list)) {
			return list[i]
		}
	}
	return nil
}

// slice is v[from:to] of a list, or of a text in characters; nil bounds are open.
func slice(v, from, to any) any {
	c, v := classify(v)
	switch c {
	case classNull:
		return nil
	case classText:
		runes := []rune(asText(v))
		i, j := bounds(len(runes), from, to)
		return string(runes[i:j])
	case classList:
		list := v.([]any)
		i, j := bounds(len(list), from, to)
		return list[i:j:j]
	}
	raise("cannot take a slice of %s", c)
	return nil
}

func bounds(n int, from, to any) (int, int) {
	bound := func(v any, open int) int {
		c, v := classify(v)
		if c == classNull {
			return open
		}
		i, ok := int64(0), false
		if c == classNumber {
			i, ok = asNum(v).whole()
		}
		if !ok {
			raise("a slice needs whole numbers")
		}
		if i < 0 {
			i += int64(n)
		}
		return int(min(max(i, 0), int64(n)))
	}
	i, j := bound(from, 0), bound(to, n)
	return min(i, j), j
}

// textTest makes an operator like contains: false when a side is NULL.
func textTest(name string, f func(a, b string) bool) func(a, b any) bool {
	return func(a, b any) bool {
		ca, cb, a, b, ok := operands(a, b)
		switch {
		case !ok:
			return false
		case ca != classText || cb != classText:
			raise("%s needs texts, not %s and %s", name, ca, cb)
		}
		return f(asText(a), asText(b))
	}
}

// textTests are the operators on texts.
var textTests = map[string]func(a, b any) bool{
	"contains":   textTest("contains", strings.Contains),
	"startsWith": textTest("startsWith", strings.HasPrefix),
	"endsWith":   textTest("endsWith", strings.HasSuffix),
	"matches": textTest("matches", func(s, pattern string) bool {
		re, err := regexp.Compile(pattern)
		if err != nil {
			panic(err)
		}
		return re.MatchString(s)
	}),
}

// matching is "matches" with a pattern that is written out.
func matching(re *regexp.Regexp) func(any) bool {
	return func(v any) bool {
		c, v := classify(v)
		switch c {
		case classNull:
			return false
		case classText:
			return re.MatchString(asText(v))
		}
		raise("matches needs a text, not %s", c)
		return false
	}
}

// arithmetic are the binary operators that yield values.
var arithmetic = map[string]func(a, b any) any{
	"+": add, "-": subtract, "*": multiply, "..": span,
	"/":  numeric("divide", num.div),
	"%":  numeric("take the remainder of", num.mod),
	"**": numeric("raise", num.pow),
	"^":  numeric("raise", num.pow),
}

// comparisons are the binary operators that yield booleans.
var comparisons = map[string]func(a, b any) bool{
	"==": equal, "!=": notEqual, "<": less, "<=": lessOrEqual, ">": greater, ">=": greaterOrEqual, "in": contained,
}

func limited(s string) string {
	if len(s) > maxText {
		raise("a text of more than %d bytes", maxText)
	}
	return s
}

func limitedList(l []any) []any {
	if len(l) > maxList {
		raise("a list of more than %d elements", maxList)
	}
	return l
}

func emptyList() []any { return []any{} }
