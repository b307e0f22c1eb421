package cdc

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Equal says that two values have the same state and text. Numbers that differ
// only in how they are written (1.0 and 1.00) are not equal.
func (v Value) Equal(o Value) bool {
	return v.State == o.State && (v.State != Present || bytes.Equal(v.Text, o.Text))
}

// Any converts a value to the Go type that [Kind] documents: nil for NULL, [ErrUnknown] for a value
// that WAL does not hold, a *[ValueError] for text that is not of the type's form.
// What it returns does not point into the transaction's memory. JSON and XML are passed
// on as the server validated them.
func (v Value) Any() (any, error) {
	switch v.State {
	case Null:
		return nil, nil
	case Unknown:
		return nil, ErrUnknown
	}
	if v.Type == nil {
		return string(v.Text), nil
	}
	x, err := convert(v.Type, v.Text)
	if err != nil {
		return nil, &ValueError{Type: v.Type.Name, Text: string(v.Text[:min(len(v.Text), 64)]), Reason: err.Error()}
	}
	return x, nil
}

func convert(typ *Type, text []byte) (any, error) {
	switch typ.Kind {
	case KindBool:
		return parseBool(text)
	case KindInt:
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return nil, numberError(err, "an integer")
		}
		return n, nil
	case KindFloat:
		// float4 too is read with 64 bits: 1.1 stays 1.1.
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return nil, numberError(err, "a floating-point number")
		}
		return f, nil
	case KindNumeric:
		n, ok := ParseNumeric(string(text))
		if !ok {
			return nil, errors.New("not a number")
		}
		return n, nil
	case KindDate:
		return parseDate(text)
	case KindTimestamp:
		return parseTimestamp(text, false)
	case KindTimestampTZ:
		return parseTimestamp(text, true)
	case KindJSON:
		return json.RawMessage(bytes.Clone(text)), nil
	case KindBytes:
		return parseBytes(text)
	case KindArray:
		return parseArray(typ, text)
	}
	return string(text), nil
}

// numberError says what strconv found wrong, without repeating the text.
func numberError(err error, what string) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("out of the range of %s of 64 bits", what)
	}
	return fmt.Errorf("not %s", what)
}

func parseBool(text []byte) (any, error) {
	if len(text) == 1 {
		switch text[0] {
		case 't':
			return true, nil
		case 'f':
			return false, nil
		}
	}
	return nil, errors.New("not t or f")
}

// parseBytes reads bytea in both of its output forms: \x and hexadecimal digits, or escape,
// where a backslash is \\ and other bytes may be \ and three octal digits.
func parseBytes(text []byte) (any, error) {
	if bytes.HasPrefix(text, []byte(`\x`)) {
		out := make([]byte, hex.DecodedLen(len(text)-2))
		if _, err := hex.Decode(out, text[2:]); err != nil {
			return nil, errors.New("not hexadecimal")
		}
		return out, nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\':
			out = append(out, text[i])
		case i+1 < len(text) && text[i+1] == '\\':
			out = append(out, '\\')
			i++
		default:
			if i+3 >= len(text) {
				return nil, errors.New("escape is cut off")
			}
			n, err := strconv.ParseUint(string(text[i+1:i+4]), 8, 8)
			if err != nil {
				return nil, errors.New("escape is not octal")
			}
			out = append(out, byte(n))
			i += 3
		}
	}
	return out, nil
}
