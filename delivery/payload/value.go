package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"
	"unicode/utf8"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// appendValue writes a value that is not Unknown. It copies PostgreSQL's text where that is JSON
// already, so that numbers keep their digits. Text that is not what its type
// promises becomes a string: the output is valid JSON whatever comes in.
func appendValue(dst []byte, v cdc.Value, content catalog.Content) []byte {
	if content == catalog.ContentBoolean {
		if isTrue(v) {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	}
	if v.State != cdc.Present {
		return append(dst, "null"...)
	}
	switch kindOf(v.Type) {
	case cdc.KindBool:
		switch string(v.Text) {
		case "t", "true":
			return append(dst, "true"...)
		case "f", "false":
			return append(dst, "false"...)
		}
	case cdc.KindInt, cdc.KindFloat, cdc.KindNumeric:
		if isNumber(v.Text) {
			return append(dst, v.Text...)
		}
	case cdc.KindTimestamp:
		if isTimestamp(v.Text) {
			return appendTimestamp(dst, v.Text)
		}
	case cdc.KindTimestampTZ:
		return appendTimestampTZ(dst, v)
	case cdc.KindJSON:
		return appendJSON(dst, v.Text)
	case cdc.KindBytes:
		return appendBytes(dst, v.Text, content)
	case cdc.KindArray:
		return appendArray(dst, v)
	}
	return appendString(dst, v.Text)
}

// kindOf is the kind of a type that may be unknown.
func kindOf(t *cdc.Type) cdc.Kind {
	if t == nil {
		return cdc.KindOther
	}
	return t.Kind
}

// isTrue reads a boolean as Odoo does: NULL is false.
func isTrue(v cdc.Value) bool {
	return v.State == cdc.Present && (string(v.Text) == "t" || string(v.Text) == "true")
}

// timestampShape is how PostgreSQL writes timestamps of the years 1 to 9999, with
// DateStyle ISO; up to six decimals can follow.
const timestampShape = "0000-00-00 00:00:00"

// isTimestamp recognises timestampShape; infinity, BC and five-digit years don't
// have it.
func isTimestamp(text []byte) bool {
	if len(text) < len(timestampShape) {
		return false
	}
	for i, c := range []byte(timestampShape) {
		if c == '0' && (text[i] < '0' || text[i] > '9') || c != '0' && text[i] != c {
			return false
		}
	}
	fraction := text[len(timestampShape):]
	if len(fraction) == 0 {
		return true
	}
	if fraction[0] != '.' || len(fraction) < 2 || len(fraction) > 7 {
		return false
	}
	for _, c := range fraction[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// appendTimestamp writes a text of timestampShape, which is in UTC, as RFC 3339.
func appendTimestamp(dst, text []byte) []byte {
	dst = append(dst, '"')
	dst = append(dst, text[:len("0000-00-00")]...)
	dst = append(dst, 'T')
	dst = append(dst, text[len("0000-00-00 "):]...)
	return append(dst, 'Z', '"')
}

// appendTimestampTZ writes a timestamp with time zone. The sessions that read from the source
// have TimeZone UTC (trap 9), so that the offset is +00; others are converted.
func appendTimestampTZ(dst []byte, v cdc.Value) []byte {
	if utc, ok := bytes.CutSuffix(v.Text, []byte("+00")); ok && isTimestamp(utc) {
		return appendTimestamp(dst, utc)
	}
	if parsed, err := v.Any(); err == nil {
		if at, ok := parsed.(time.Time); ok {
			return appendTime(dst, at)
		}
	}
	return appendString(dst, v.Text)
}

// appendTime writes an instant as RFC 3339 in UTC, as a string of PostgreSQL's if RFC 3339 cannot say it.
func appendTime(dst []byte, at time.Time) []byte {
	dst = append(dst, '"')
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

// appendJSON embeds a json or jsonb value. Inside JSON, bytes that are not UTF-8
// can only be part of strings.
func appendJSON(dst, text []byte) []byte {
	if !json.Valid(text) {
		return appendString(dst, text)
	}
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	return append(dst, text...)
}

// appendBytes writes bytea as base64. Odoo stores base64 text in its binary
// columns: encoding that once more would leave receivers with two layers.
func appendBytes(dst, text []byte, content catalog.Content) []byte {
	digits, ok := bytes.CutPrefix(text, []byte(`\x`))
	if !ok {
		return appendString(dst, text)
	}
	decoded, err := hex.AppendDecode(make([]byte, 0, len(digits)/2), digits)
	if err != nil {
		return appendString(dst, text)
	}
	dst = append(dst, '"')
	if content == catalog.ContentBase64 && isBase64(decoded) {
		dst = append(dst, decoded...)
	} else {
		dst = base64.StdEncoding.AppendEncode(dst, decoded)
	}
	return append(dst, '"')
}

// isBase64 says that all bytes are of the standard alphabet, in groups of four.
func isBase64(b []byte) bool {
	body := bytes.TrimRight(b, "=")
	if len(b)%4 != 0 || len(b)-len(body) > 2 {
		return false
	}
	for _, c := range body {
		if !('A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == '/') {
			return false
		}
	}
	return true
}

// appendArray writes an array, nested for more dimensions.
func appendArray(dst []byte, v cdc.Value) []byte {
	elements, err := v.Any()
	if err != nil {
		return appendString(dst, v.Text)
	}
	out, err := appendAny(dst, elements, v.Type.Elem)
	if err != nil {
		return appendString(dst, v.Text)
	}
	return out
}
