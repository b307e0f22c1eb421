package rules

import (
	"bytes"
	"encoding/json"
)

// members2 finds up to two members of a JSON object, as it stands in WAL, in one pass and without an allocation: translated values are read
// for every event. A token is nil where there is no such member. ok is false for what is no object; what follows a fault is not looked at.
func members2(text []byte, one, other string) (first, second []byte, ok bool) {
	p := jsonScanner{rest: text}
	if !p.take('{') {
		return nil, nil, false
	}
	if p.take('}') {
		return nil, nil, true
	}
	for {
		key := p.value()
		if len(key) < 2 || key[0] != '"' || !p.take(':') {
			return nil, nil, false
		}
		value := p.value()
		if len(value) == 0 {
			return nil, nil, false
		}
		switch name := key[1 : len(key)-1]; {
		case string(name) == one:
			first = value
		case other != "" && string(name) == other:
			second = value
		}
		if !p.take(',') {
			return first, second, p.take('}')
		}
	}
}

// unquoted reads a JSON string. It is a view of the token unless that holds escapes.
func unquoted(token []byte) ([]byte, bool) {
	if len(token) < 2 || token[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(token, '\\') < 0 {
		return token[1 : len(token)-1], true
	}
	var s string
	if json.Unmarshal(token, &s) != nil {
		return nil, false
	}
	return []byte(s), true
}

// jsonScanner eats JSON from the left. It finds where values end and does not judge what is in them.
type jsonScanner struct{ rest []byte }

func (p *jsonScanner) blank() { p.rest = bytes.TrimLeft(p.rest, " \t\r\n") }

// take eats one sign, if it is next.
func (p *jsonScanner) take(c byte) bool {
	p.blank()
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// value eats a value and returns its text, nothing when it has no end.
func (p *jsonScanner) value() []byte {
	p.blank()
	depth := 0
	for i := 0; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '"':
			n := stringEnd(p.rest[i:])
			if n == 0 {
				return nil
			}
			if i += n - 1; depth == 0 {
				return p.cut(i + 1)
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return p.cut(i)
			}
			if depth--; depth == 0 {
				return p.cut(i + 1)
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return p.cut(i)
			}
		}
	}
	return nil
}

func (p *jsonScanner) cut(n int) []byte {
	value := p.rest[:n]
	p.rest = p.rest[n:]
	return value
}

// stringEnd returns the length of the string literal that text starts with, 0 when it has no end.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}
