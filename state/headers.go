package state

import (
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// headerList is the headers of several requests or answers. It goes to the server as an array of texts, each JSON: {"Name": ["value", ...], ...},
// sorted by name. They are made where the driver encodes them: with a text for each, and encoding/json with its reflection, they were a sixth of all
// that walhook allocates for a delivery.
type headerList []map[string][]string

// size is about how many bytes they take, by the first of them, as most are alike.
func (l headerList) size() int {
	size := 0
	few := l[:min(len(l), 8)]
	for _, h := range few {
		size += 6
		for name, values := range h {
			size += len(name) + 6
			for _, v := range values {
				size += len(v) + 4
			}
		}
	}
	return size * len(l) / max(len(few), 1)
}

// appendTo appends the array in PostgreSQL's binary form.
func (l headerList) appendTo(buf []byte, element uint32) []byte {
	buf = appendHead(grown(buf, 20+l.size()), element, 0, len(l))
	var names []string
	for _, h := range l {
		at := len(buf)
		buf = append(buf, 0, 0, 0, 0)
		buf, names = appendHeaders(buf, h, names)
		binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
	}
	return buf
}

// appendHeaders appends JSON that may be stored as a text: invalid UTF-8 is replaced; the type json, unlike jsonb, takes \u0000. names is scratch.
func appendHeaders(b []byte, h map[string][]string, names []string) ([]byte, []string) {
	names = names[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
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
	return append(b, '}'), names
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
