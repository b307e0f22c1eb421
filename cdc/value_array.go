package cdc

import (
	"bytes"
	"errors"
	"fmt"
)

// maxDimensions is PostgreSQL's MAXDIM.
const maxDimensions = 6

// parseArray reads the text form of an array (manual, "Array Input and Output Syntax"):
// {1,NULL,"a \"b\""}, nested braces for further dimensions, and a leading [0:1]= for lower
// bounds other than 1, which are dropped.
func parseArray(typ *Type, text []byte) (any, error) {
	if typ.Elem == nil {
		return nil, errors.New("array of an unknown type")
	}
	p := arrayParser{typ: typ, text: text, delim: typ.Delim}
	if p.delim == 0 {
		p.delim = ','
	}
	if len(text) > 0 && text[0] == '[' {
		n := bytes.IndexByte(text, '=')
		if n < 0 || len(bytes.Trim(text[:n], "[]:-+0123456789")) > 0 {
			return nil, errors.New("malformed bounds of an array")
		}
		p.pos = n + 1
	}
	out, err := p.braces(1)
	if err == nil && p.pos != len(text) {
		err = errors.New("something follows the array")
	}
	if err != nil {
		return nil, fmt.Errorf("%w (at byte %d)", err, p.pos)
	}
	return out, nil
}

type arrayParser struct {
	typ   *Type
	text  []byte
	pos   int
	delim byte
	elem  []byte // scratch: an element without quotes and escapes
}

func (p *arrayParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *arrayParser) braces(depth int) ([]any, error) {
	if p.peek() != '{' {
		return nil, errors.New("no opening brace")
	}
	if depth > maxDimensions {
		return nil, errors.New("too many dimensions")
	}
	p.pos++
	out := []any{}
	if p.peek() == '}' {
		p.pos++
		return out, nil
	}
	for {
		var x any
		var err error
		if p.peek() == '{' {
			x, err = p.braces(depth + 1)
		} else {
			x, err = p.element()
		}
		if err != nil {
			return nil, err
		}
		out = append(out, x)
		switch p.peek() {
		case p.delim:
			p.pos++
		case '}':
			p.pos++
			return out, nil
		default:
			return nil, errors.New("no delimiter and no closing brace")
		}
	}
}

func (p *arrayParser) element() (any, error) {
	p.elem = p.elem[:0]
	if p.peek() == '"' {
		for p.pos++; ; p.pos++ {
			switch {
			case p.pos >= len(p.text):
				return nil, errors.New("quotation is cut off")
			case p.text[p.pos] == '"':
				p.pos++
				return convert(p.typ.Elem, p.elem)
			case p.text[p.pos] == '\\' && p.pos+1 < len(p.text):
				p.pos++
			}
			p.elem = append(p.elem, p.text[p.pos])
		}
	}
	escaped := false
	for ; p.pos < len(p.text); p.pos++ {
		c := p.text[p.pos]
		if c == p.delim || c == '}' {
			break
		}
		if c == '{' || c == '"' {
			return nil, errors.New("brace or quotation inside an element")
		}
		if c == '\\' && p.pos+1 < len(p.text) {
			p.pos++
			c, escaped = p.text[p.pos], true
		}
		p.elem = append(p.elem, c)
	}
	if len(p.elem) == 0 {
		return nil, errors.New("empty element")
	}
	if !escaped && bytes.EqualFold(p.elem, []byte("NULL")) {
		return nil, nil
	}
	return convert(p.typ.Elem, p.elem)
}
