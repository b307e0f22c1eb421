package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"walhook/cdc"
)

// appendAny writes what an expression or an array gave. typ is the type of an
// array's elements, nil for what expressions give; it tells a date from an instant. The error
// says that JSON has no form for the value, or that it is nested too deeply.
func appendAny(dst []byte, v any, typ *cdc.Type) ([]byte, error) { return appendNested(dst, v, typ, 0) }

// maxDepth bounds the nesting of values, for the receivers' parsers.
const maxDepth = 100

func appendNested(dst []byte, v any, typ *cdc.Type, depth int) ([]byte, error) {
	if depth > maxDepth {
		return dst, fmt.Errorf("the value is nested more than %d levels deep", maxDepth)
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case float64:
		return appendFloat(dst, v), nil
	case cdc.Numeric:
		if isNumber([]byte(v)) {
			return append(dst, v...), nil
		}
		return appendString(dst, string(v)), nil
	case string:
		return appendString(dst, v), nil
	case time.Time:
		if kindOf(typ) == cdc.KindDate {
			dst = append(dst, '"')
			return append(v.AppendFormat(dst, time.DateOnly), '"'), nil
		}
		return appendTime(dst, v), nil
	case time.Duration:
		return appendString(dst, v.String()), nil
	case json.RawMessage:
		return appendJSON(dst, v), nil
	case []byte:
		dst = append(dst, '"')
		return append(base64.StdEncoding.AppendEncode(dst, v), '"'), nil
	case []any:
		return appendList(dst, v, typ, depth)
	case map[string]any:
		return appendMap(dst, v, typ, depth)
	}
	return appendOther(dst, v)
}

func appendList(dst []byte, list []any, typ *cdc.Type, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendNested(dst, v, typ, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// appendMap writes members in the order of their names.
func appendMap(dst []byte, m map[string]any, typ *cdc.Type, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		var err error
		if dst, err = appendNested(dst, m[name], typ, depth+1); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// appendOther writes the rarer types that expressions can give, such as []string.
func appendOther(dst []byte, v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return dst, fmt.Errorf("write %T as JSON: %w", v, err)
	}
	return append(dst, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...), nil
}

// appendFloat writes the shortest digits that give the same float again.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if size := math.Abs(f); size != 0 && (size < 1e-6 || size >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, 64)
}
