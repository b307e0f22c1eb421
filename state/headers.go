package state

import (
	"slices"
	"unicode/utf8"
)

// headerTexts makes JSON of headers: {"Name": ["value", ...], ...}, sorted by name. All texts of a batch lie in a few buffers, as
// encoding/json with its reflection made a sixth of all that walhook allocates for a delivery.
type headerTexts struct {
	buf   []byte
	names []string // scratch
}

// headerBuffer is the size of a buffer.
const headerBuffer = 32 << 10

// add returns the JSON of one list of headers, to be stored as a text. Invalid UTF-8 is replaced; the type json, unlike jsonb, takes \u0000.
func (t *headerTexts) add(h map[string][]string) []byte {
	if len(h) == 0 {
		return []byte("{}")
	}
	t.names = t.names[:0]
	size := 2
	for name, values := range h {
		t.names = append(t.names, name)
		size += len(name) + 8
		for _, v := range values {
			size += len(v) + 4
		}
	}
	slices.Sort(t.names)
	if cap(t.buf)-len(t.buf) < size {
		t.buf = make([]byte, 0, max(size, headerBuffer)) // what was returned keeps the last one
	}
	start := len(t.buf)
	b := append(t.buf, '{')
	for i, name := range t.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSON(b, name), ':', '[')
		for j, v := range h[name] {
			if j > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, v)
		}
		b = append(b, ']')
	}
	t.buf = append(b, '}')
	return t.buf[start:len(t.buf):len(t.buf)]
}

// appendJSON appends a text as a JSON string.
func appendJSON(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	plain := 0 // what is before it has been appended
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(append(b, s[plain:i]...), '\\', c)
		case c < ' ':
			b = append(append(b, s[plain:i]...), '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			i++
			continue
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			b = utf8.AppendRune(append(b, s[plain:i]...), utf8.RuneError)
		}
		i++
		plain = i
	}
	return append(append(b, s[plain:]...), '"')
}
