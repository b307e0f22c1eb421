package rules

import (
	"bytes"
	"strings"
	"time"

	"walhook/cdc"
)

// class is what a value is to the operators.
type class uint8

const (
	classNull class = iota
	classBool
	classNumber
	classText
	classTime
	classDuration
	classBytes
	classList
	classObject
)

var classNames = [...]string{"NULL", "boolean", "number", "text", "date", "duration", "bytes", "list", "object"}

func (c class) String() string { return classNames[c] }

// classify says what v is, and returns what is inside when v is JSON or an array.
func classify(v any) (class, any) {
	switch x := v.(type) { // v is passed on as it is: putting x into an interface again would allocate
	case nil:
		return classNull, nil
	case column:
		switch x.kind() {
		case cdc.KindInt, cdc.KindFloat, cdc.KindNumeric:
			return classNumber, v
		case cdc.KindDate, cdc.KindTimestamp, cdc.KindTimestampTZ:
			return classTime, v
		case cdc.KindJSON, cdc.KindArray, cdc.KindBytes:
			return classify(x.structured())
		}
		return classText, v
	case bool:
		return classBool, v
	case int, int64, number, num:
		return classNumber, v
	case string:
		return classText, v
	case moment, time.Time:
		return classTime, v
	case time.Duration:
		return classDuration, v
	case []byte:
		return classBytes, v
	case []any:
		return classList, v
	case map[string]any:
		return classObject, v
	}
	raise("a value of type %T cannot be used here", v)
	return 0, nil
}

// asNum reads a value of classNumber.
func asNum(v any) num {
	switch v := v.(type) {
	case int:
		return intNum(int64(v))
	case int64:
		return intNum(v)
	case number:
		return *v.num
	case num:
		return v
	case column:
		return v.number()
	}
	return num{}
}

// ordering is asNum for comparisons.
func ordering(v any) num {
	if c, ok := v.(column); ok {
		return c.ordered()
	}
	return asNum(v)
}

// asText reads a value of classText. It can be a view, see [cell.text].
func asText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case column:
		return v.text()
	}
	return ""
}

// asMoment reads a value of classTime.
func asMoment(v any) moment {
	switch v := v.(type) {
	case moment:
		return v
	case time.Time:
		return moment{at: v}
	case column:
		return v.time()
	}
	return moment{}
}

// equal is the operator ==. NULL is a value like any other; values of different
// classes are not equal; numbers and dates are compared by value, whatever their types.
func equal(a, b any) bool {
	if b, ok := b.(string); ok { // the usual case: a column and a literal
		if a, ok := a.(column); ok && a.kind() == cdc.KindText {
			return a.text() == b
		}
	}
	ca, a := classify(a)
	cb, b := classify(b)
	if ca != cb {
		return false
	}
	switch ca {
	case classNull:
		return true
	case classBool:
		return a.(bool) == b.(bool)
	case classText:
		return asText(a) == asText(b)
	case classNumber:
		return ordering(a).cmp(ordering(b)) == 0
	case classTime:
		return asMoment(a).cmp(asMoment(b)) == 0
	case classDuration:
		return a.(time.Duration) == b.(time.Duration)
	case classBytes:
		return bytes.Equal(a.([]byte), b.([]byte))
	case classList:
		return equalLists(a.([]any), b.([]any))
	}
	return equalObjects(a.(map[string]any), b.(map[string]any))
}

func equalLists(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

func equalObjects(a, b map[string]any) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		w, ok := b[k]
		if !ok || !equal(v, w) {
			return false
		}
	}
	return true
}

// compare orders a and b for < > <= >=, sort, min and max. It reports false when
// one of them is NULL, and raises when they are not of one class that has an order.
func compare(a, b any) (order int, ok bool) {
	ca, a := classify(a)
	cb, b := classify(b)
	if ca == classNull || cb == classNull {
		return 0, false
	}
	if ca != cb {
		raise("cannot compare %s with %s", ca, cb)
	}
	switch ca {
	case classNumber:
		return ordering(a).cmp(ordering(b)), true
	case classText:
		return strings.Compare(asText(a), asText(b)), true
	case classTime:
		return asMoment(a).cmp(asMoment(b)), true
	case classDuration:
		return int(min(max(a.(time.Duration)-b.(time.Duration), -1), 1)), true
	}
	raise("%ss have no order", ca)
	return 0, false
}

func less(a, b any) bool           { c, ok := compare(a, b); return ok && c < 0 }
func lessOrEqual(a, b any) bool    { c, ok := compare(a, b); return ok && c <= 0 }
func greater(a, b any) bool        { c, ok := compare(a, b); return ok && c > 0 }
func greaterOrEqual(a, b any) bool { c, ok := compare(a, b); return ok && c >= 0 }
func notEqual(a, b any) bool       { return !equal(a, b) }

// contained is the operator "in": an element of a list, or a key of an object.
// Nothing is in NULL.
func contained(a, in any) bool {
	c, in := classify(in)
	switch c {
	case classNull:
		return false
	case classList:
		for _, e := range in.([]any) {
			if equal(a, e) {
				return true
			}
		}
		return false
	case classObject:
		ca, a := classify(a)
		if ca != classText {
			return false
		}
		_, ok := in.(map[string]any)[asText(a)]
		return ok
	}
	raise(`"in" needs a list, not %s`, c)
	return false
}

// truth is what conditions see: NULL is false.
func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case nil:
		return false
	}
	c, v := classify(v)
	switch c {
	case classNull:
		return false
	case classBool:
		return v.(bool)
	}
	raise("a condition must be true or false, this is %s", c)
	return false
}

func not(v any) bool { return !truth(v) }
