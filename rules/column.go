package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unsafe"

	"walhook/cdc"
)

// column is how a value of a row travels through a program: as PostgreSQL's
// text, parsed no earlier and no further than an operator asks for. NULL is nil and booleans are bool, never a column.
//
// A column is valid until the frame that it lies in moves on to the next
// change; what leaves a program is turned into plain values by [plain]. It is a
// struct around a pointer so that an interface holds it without allocating, and
// so that expr's virtual machine does not take it for a pointer to be followed.
type column struct{ *cell }

// cell is a slot of a frame that holds one column of one row.
type cell struct {
	generation uint64    // the stamp of the row that seen was read from
	seen       any       // nil, a bool or the column itself
	value      cdc.Value // of a column; State Present

	parsed parsed
	num    num
	order  num
	moment moment
	whole  any // of JSON, arrays, bytea
}

// parsed says which of a cell's parsed forms is filled in.
type parsed uint8

const (
	parsedNum parsed = 1 << iota
	parsedOrder
	parsedMoment
	parsedWhole
)

// text views the bytes as a string without copying. It must not outlive the change.
func (c *cell) text() string {
	return unsafe.String(unsafe.SliceData(c.value.Text), len(c.value.Text))
}

func (c *cell) kind() cdc.Kind {
	if c.value.Type == nil {
		return cdc.KindText
	}
	return c.value.Type.Kind
}

func (c *cell) number() num {
	if c.parsed&parsedNum == 0 {
		n, ok := parseNum(c.text())
		if !ok {
			raise("cannot read %q as a number", excerpt(c.text()))
		}
		c.num = n
		c.parsed |= parsedNum
	}
	return c.num
}

// ordered is number for who compares only, and does not see decimals that say nothing: PostgreSQL's quotients have twenty of them, mostly
// zeros, which would take a number of any size.
func (c *cell) ordered() num {
	if c.parsed&(parsedNum|parsedOrder) == 0 {
		if text := c.text(); len(text) > maxSmall {
			if cut, ok := withoutZeros(text); ok {
				c.order, ok = parseNum(cut)
				if ok {
					c.parsed |= parsedOrder
				}
			}
		}
	}
	if c.parsed&parsedOrder != 0 {
		return c.order
	}
	return c.number()
}

// withoutZeros cuts zeros from the end of a number's decimals. It reports false when there are none.
func withoutZeros(s string) (string, bool) {
	if strings.IndexByte(s, '.') < 0 || s[len(s)-1] != '0' || strings.ContainsAny(s, "eE") {
		return s, false
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), "."), true
}

func (c *cell) time() moment {
	if c.parsed&parsedMoment == 0 {
		m, ok := parseMoment(c.text())
		if !ok {
			raise("cannot read %q as a date", excerpt(c.text()))
		}
		c.moment = m
		c.parsed |= parsedMoment
	}
	return c.moment
}

// structured returns what lies inside of JSON, arrays and bytea: nil, bool,
// string, num, []any, map[string]any, []byte …
func (c *cell) structured() any {
	if c.parsed&parsedWhole == 0 {
		switch c.kind() {
		case cdc.KindJSON:
			c.whole = parseJSON(c.value.Text)
		default:
			v, err := c.value.Any()
			if err != nil {
				panic(err)
			}
			c.whole = inward(v)
		}
		c.parsed |= parsedWhole
	}
	return c.whole
}

// parseJSON keeps the digits of numbers. JSON's null is nil, as SQL's.
func parseJSON(text []byte) any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		panic(fmt.Errorf("cannot read JSON: %w", err))
	}
	if _, err := d.Token(); err != io.EOF {
		raise("cannot read JSON: text after the value")
	}
	return inward(v)
}

// inward turns values that came from outside (cdc, encoding/json) into what
// programs calculate with.
func inward(v any) any {
	switch v := v.(type) {
	case json.Number:
		return numberOf(string(v))
	case cdc.Numeric:
		return numberOf(string(v))
	case float64:
		return number{new(floatNum(v))}
	case json.RawMessage:
		return parseJSON(v)
	case []any:
		for i := range v {
			v[i] = inward(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = inward(v[k])
		}
	}
	return v
}

func numberOf(s string) any {
	n, ok := parseNum(s)
	if !ok {
		raise("cannot read %q as a number", excerpt(s))
	}
	return number{&n}
}

// number is a num inside an interface, held as [column] is.
type number struct{ *num }

// plain turns a program's result into values that outlive the change: nil, bool,
// int64, cdc.Numeric, string, []byte, time.Time, json.RawMessage, []any and map[string]any. Dates and durations are texts.
func plain(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case string:
		return strings.Clone(v)
	case number:
		return plainNum(*v.num)
	case num:
		return plainNum(v)
	case moment:
		return plainMoment(v)
	case []byte:
		return bytes.Clone(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = plain(v[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k := range v {
			out[strings.Clone(k)] = plain(v[k])
		}
		return out
	case column:
		if v.kind() == cdc.KindDate {
			return strings.Clone(v.text())
		}
		out, err := v.value.Any() // a copy
		if err != nil {
			panic(err)
		}
		return out
	case time.Duration:
		return v.String()
	}
	return v // nil, bool, time.Time
}

func plainNum(n num) any {
	if i, ok := n.int64(); ok {
		return i
	}
	return cdc.Numeric(n.text())
}

func plainMoment(m moment) any {
	switch {
	case m.inf > 0:
		return "infinity"
	case m.inf < 0:
		return "-infinity"
	case m.day:
		return m.date()
	}
	return m.at
}

// excerpt shortens a value for an error message.
func excerpt(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// raise ends a program with an error. The functions of a program have no other
// way: expr's virtual machine recovers it and adds the place in the expression.
func raise(format string, args ...any) {
	panic(fmt.Errorf(format, args...))
}
