package payload

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// appendOdoo writes a value of a column as Odoo's read(load=None) gives it and json.dumps(default=str) writes it: what a field's
// convert_to_record makes of NULL is 0 for integers and floats and False for all else, a many2one is its bare id, dates and datetimes are
// str() of Python's, without zone. What Python has no other form for is as in the format standard.
func appendOdoo(dst []byte, v cdc.Value, content catalog.Content) []byte {
	kind := kindOf(v.Type)
	if v.State != cdc.Present {
		switch {
		case content == catalog.ContentMany2one:
		case kind == cdc.KindInt:
			return append(dst, '0')
		case kind == cdc.KindFloat, kind == cdc.KindNumeric:
			return append(dst, "0.0"...)
		}
		return append(dst, "false"...)
	}
	switch kind {
	case cdc.KindFloat, cdc.KindNumeric:
		if isNumber(v.Text) {
			return appendPython(dst, string(v.Text))
		}
	case cdc.KindTimestamp:
		if isTimestamp(v.Text) {
			return appendNaive(dst, v.Text)
		}
	case cdc.KindTimestampTZ, cdc.KindArray:
		if x, err := v.Any(); err == nil {
			typ := v.Type
			if kind == cdc.KindArray {
				typ = v.Type.Elem
			}
			if out, err := appendOdooAny(dst, x, typ, 0); err == nil {
				return out
			}
		}
	}
	return appendValue(dst, v, content)
}

// appendNaive writes a text of timestampShape as str() writes a datetime: with six decimals or none.
func appendNaive(dst, text []byte) []byte {
	dst = append(append(dst, '"'), text...)
	if decimals := len(text) - len(timestampShape) - 1; decimals > 0 {
		if strings.Trim(string(text[len(timestampShape)+1:]), "0") == "" {
			dst = dst[:len(dst)-decimals-1]
		} else {
			dst = append(dst, "000000"[decimals:]...)
		}
	}
	return append(dst, '"')
}

// appendOdooAny is appendOdoo for what expressions and arrays give.
func appendOdooAny(dst []byte, v any, typ *cdc.Type, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "false"...), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return appendFloat(dst, v), nil
		}
		return appendRepr(dst, v), nil
	case cdc.Numeric:
		if isNumber([]byte(v)) {
			return appendPython(dst, string(v)), nil
		}
	case time.Time:
		if kindOf(typ) == cdc.KindDate {
			break
		}
		text := v.UTC().AppendFormat(nil, "2006-01-02 15:04:05.999999")
		if isTimestamp(text) {
			return appendNaive(dst, text), nil
		}
	case []any:
		if depth < maxDepth {
			return appendOdooList(dst, v, typ, depth)
		}
	case map[string]any:
		if depth < maxDepth {
			return appendOdooMap(dst, v, typ, depth)
		}
	}
	return appendNested(dst, v, typ, depth) // of what is nested too deeply, the error
}

func appendOdooMap(dst []byte, m map[string]any, typ *cdc.Type, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		var err error
		if dst, err = appendOdooAny(dst, m[name], typ, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

func appendOdooList(dst []byte, list []any, typ *cdc.Type, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendOdooAny(dst, v, typ, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendPython writes a number with a fraction as Python's repr(float) does, as long as that says the same number: digits beyond
// what a float holds are kept as they are.
func appendPython(dst []byte, digits string) []byte {
	f, err := strconv.ParseFloat(digits, 64)
	if err == nil {
		start := len(dst)
		dst = appendRepr(dst, f)
		if cdc.Numeric(dst[start:]).Cmp(cdc.Numeric(digits)) == 0 {
			return dst
		}
		dst = dst[:start]
	}
	return append(dst, digits...)
}

// appendRepr is Python's repr of a finite float: the shortest digits that give it again, an exponent below 1e-4 and from 1e16 on.
func appendRepr(dst []byte, f float64) []byte {
	if size := math.Abs(f); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if !strings.Contains(string(dst[start:]), ".") {
		dst = append(dst, ".0"...)
	}
	return dst
}

// writeOdoo writes what Odoo's action "Send Webhook Notification" (17 and later) posts of a record, to the byte what
// json.dumps(vals, sort_keys=True, default=str) makes of it. The members of the record go before the action's own.
func writeOdoo(dst []byte, e *envelope, a *About) ([]byte, error) {
	record, err := e.members()
	if err != nil {
		return dst, err
	}
	id := e.id(a)
	all := map[string]json.RawMessage{"_action": odooAction(a.Rule, a.Event), "_id": id, "_model": appendString(nil, a.Model), "id": id}
	for name, value := range record {
		all[name] = value
	}
	return appendDumps(dst, all)
}

// odooAction is the name of a server action, "name(#id)": that of the rule, with a number that is always the same for the name.
func odooAction(rule, event string) json.RawMessage {
	if rule == "" {
		rule = event
	}
	return appendString(nil, rule+"(#"+strconv.FormatUint(uint64(hashName(rule)), 10)+")")
}

// hashName is FNV-1a, cut to what an id of Odoo's can be.
func hashName(name string) uint32 {
	h := uint32(2166136261)
	for _, c := range []byte(name) {
		h = (h ^ uint32(c)) * 16777619
	}
	return h & math.MaxInt32
}

// appendDumps writes members as json.dumps(…, sort_keys=True) does: sorted at every level, ", " and ": " between, and nothing but ASCII.
func appendDumps(dst []byte, members map[string]json.RawMessage) ([]byte, error) {
	list := make(map[string]any, len(members))
	for name, raw := range members {
		v, err := decodeValue(raw)
		if err != nil {
			return dst, err
		}
		list[name] = v
	}
	return appendPythonJSON(dst, list), nil
}

// appendPythonJSON writes what decodeValue gave.
func appendPythonJSON(dst []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v)
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") {
			return appendPython(dst, string(v))
		}
		return append(dst, v...)
	case string:
		return appendASCII(dst, v)
	case []any:
		dst = append(dst, '[')
		for i, x := range v {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = appendPythonJSON(dst, x)
		}
		return append(dst, ']')
	case map[string]any:
		dst = append(dst, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = append(appendASCII(dst, name), ": "...)
			dst = appendPythonJSON(dst, v[name])
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// appendASCII writes a string as json.dumps does by default.
func appendASCII(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r == '\r':
			dst = append(dst, '\\', 'r')
		case r == '\t':
			dst = append(dst, '\\', 't')
		case r == '\b':
			dst = append(dst, '\\', 'b')
		case r == '\f':
			dst = append(dst, '\\', 'f')
		case r < ' ':
			dst = appendUnit(dst, uint16(r))
		case r < 0x7f:
			dst = append(dst, s[i])
		case r < 0x10000:
			dst = appendUnit(dst, uint16(r))
		default:
			r -= 0x10000
			dst = appendUnit(appendUnit(dst, uint16(0xd800+r>>10)), uint16(0xdc00+r&0x3ff))
		}
	}
	return append(dst, '"')
}

func appendUnit(dst []byte, u uint16) []byte {
	return append(dst, '\\', 'u', hexDigits[u>>12], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
}
