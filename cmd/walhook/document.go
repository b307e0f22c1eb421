package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// document is the text of a configuration file with the place of every key and
// value in it, so that a complaint about "rules[2].when" can show the line.
//
// Paths are dotted, with the index of array elements in brackets:
// "endpoints.erp.retry.max", "rules[2].fields[0]". The document knows TOML's
// syntax and nothing of what keys mean.
type document struct {
	name    string // as the user gave it, for messages
	text    []byte
	public  bool           // it holds no secrets: complaints may show any line
	entries []entry        // in the order of the text
	index   map[string]int // path → entry
}

// entry is one key, table header or array element.
type entry struct {
	path  string
	parts []string // the path's keys without array indexes: endpoints, erp, retry, max
	name  string   // the last key as it is spelt; "" for array elements
	key   span     // of the key; of an array element, its value
	value span     // zero for table headers
	kind  unstable.Kind
	text  string // of strings: the value
}

// span is a range of bytes in the text.
type span struct{ from, to int }

// parseDocument indexes a text. The error is a *problem for what is not TOML.
func parseDocument(name string, text []byte) (*document, error) {
	d := &document{name: name, text: text, index: map[string]int{}}
	var p unstable.Parser
	p.Reset(text)
	x := indexer{doc: d, parser: &p, arrays: map[string]int{}}
	for p.NextExpression() {
		x.expression(p.Expression())
	}
	if err := p.Error(); err != nil {
		var syntax *unstable.ParserError
		if errors.As(err, &syntax) {
			r := p.Range(syntax.Highlight)
			return d, d.problemAt(span{int(r.Offset), int(r.Offset + r.Length)}, syntax.Message, d.syntaxHint(int(r.Offset)))
		}
		return d, fmt.Errorf("parse %s: %w", name, err)
	}
	return d, nil
}

// Format writes the file's name, whatever the verb: the text may hold secrets.
func (d *document) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, d.name) } // fmt.State keeps its own errors

// find returns the entry of a path, or else of what encloses it; nil when even
// the section is missing.
func (d *document) find(path string) *entry {
	for path != "" {
		if i, ok := d.index[path]; ok {
			return &d.entries[i]
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return nil
		}
		path = path[:cut]
	}
	return nil
}

// has says whether the very path is in the text.
func (d *document) has(path string) bool {
	_, ok := d.index[path]
	return ok
}

// keysBelow lists the paths of all keys in a table, as the keys they consist of, in the order of the text.
func (d *document) keysBelow(path string) (keys [][]string) {
	depth := strings.Count(path, ".") + 1
	for i := range d.entries {
		if e := &d.entries[i]; e.name != "" && len(e.parts) > depth && strings.HasPrefix(e.path, path+".") {
			keys = append(keys, e.parts[depth:])
		}
	}
	return keys
}

// position returns the line and column (in characters) of an offset, from 1.
func (d *document) position(offset int) (line, column int) {
	before := string(d.text[:min(offset, len(d.text))])
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, len([]rune(before[start:])) + 1
}

// offset is the inverse of go-toml's positions, whose columns count bytes.
func offsetOf(text []byte, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		next := slices.Index(text[at:], '\n')
		if next < 0 {
			return len(text)
		}
		at += next + 1
	}
	return min(at+max(column-1, 0), len(text))
}

// inside returns the offset in the text of byte n of a string value: quotes, escapes and the
// newline that opens a multi-line string are accounted for.
func (e *entry) inside(text []byte, n int) int {
	raw := string(text[e.value.from:e.value.to])
	at, escapes := 1, strings.HasPrefix(raw, `"`)
	if strings.HasPrefix(raw, `"""`) || strings.HasPrefix(raw, `'''`) {
		at = 3
		if strings.HasPrefix(raw[at:], "\r\n") {
			at += 2
		} else if strings.HasPrefix(raw[at:], "\n") {
			at++
		}
	}
	for decoded := 0; decoded < n && at < len(raw)-1; {
		if !escapes || raw[at] != '\\' {
			at, decoded = at+1, decoded+1
			continue
		}
		switch raw[at+1] {
		case 'u', 'U', 'x':
			digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[raw[at+1]]
			end := min(at+2+digits, len(raw))
			r, err := strconv.ParseUint(raw[at+2:end], 16, 32)
			if err != nil {
				return e.value.from
			}
			at, decoded = end, decoded+len(string(rune(r)))
		case ' ', '\t', '\r', '\n': // a line continuation is nothing in the value
			at++
			for at < len(raw) && strings.IndexByte(" \t\r\n", raw[at]) >= 0 {
				at++
			}
		default:
			at, decoded = at+2, decoded+1
		}
	}
	return e.value.from + at
}

// indexer walks the parser's expressions.
type indexer struct {
	doc    *document
	parser *unstable.Parser
	arrays map[string]int // path of an array of tables → how many so far
	prefix string         // path of the current table
	parts  []string       // and its keys
}

func (x *indexer) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table, unstable.ArrayTable:
		x.prefix, x.parts = "", nil
		it := n.Key()
		for it.Next() {
			key := it.Node()
			x.enter(string(key.Data))
			if it.IsLast() {
				if n.Kind == unstable.ArrayTable {
					i := x.arrays[x.prefix]
					x.arrays[x.prefix]++
					x.prefix += "[" + strconv.Itoa(i) + "]"
				}
				x.add(entry{path: x.prefix, parts: x.parts, name: string(key.Data), key: spanOf(key), kind: n.Kind})
			} else if i := x.arrays[x.prefix]; i > 0 {
				x.prefix += "[" + strconv.Itoa(i-1) + "]" // [rules.payload] belongs to the last [[rules]]
			}
		}
	case unstable.KeyValue:
		x.keyValue(n)
	}
}

func (x *indexer) enter(key string) {
	if x.prefix != "" {
		x.prefix += "."
	}
	x.prefix += key
	x.parts = append(slices.Clip(x.parts), key)
}

func (x *indexer) keyValue(n *unstable.Node) {
	prefix, parts := x.prefix, x.parts
	defer func() { x.prefix, x.parts = prefix, parts }()
	it := n.Key()
	for it.Next() {
		key := it.Node()
		x.enter(string(key.Data))
		value := span{}
		if it.IsLast() {
			value = x.valueSpan(n)
		}
		kind, text := unstable.Table, ""
		if it.IsLast() {
			kind, text = n.Value().Kind, string(n.Value().Data)
		}
		x.add(entry{path: x.prefix, parts: x.parts, name: string(key.Data), key: spanOf(key), value: value, kind: kind, text: text})
	}
	x.value(n.Value())
}

func (x *indexer) value(v *unstable.Node) {
	it := v.Children()
	switch v.Kind {
	case unstable.InlineTable:
		for it.Next() {
			x.keyValue(it.Node())
		}
	case unstable.Array:
		prefix := x.prefix
		for i := 0; it.Next(); i++ {
			child := it.Node()
			x.prefix = prefix + "[" + strconv.Itoa(i) + "]"
			at := spanOf(child)
			x.add(entry{path: x.prefix, parts: x.parts, key: at, value: at, kind: child.Kind, text: string(child.Data)})
			x.value(child)
		}
		x.prefix = prefix
	}
}

// valueSpan is the rest of a key-value's text behind its key.
func (x *indexer) valueSpan(n *unstable.Node) span {
	if v := n.Value(); v.Kind != unstable.Array && v.Kind != unstable.InlineTable {
		return spanOf(v)
	}
	all := spanOf(n)
	it := n.Key()
	from := all.from
	for it.Next() {
		from = spanOf(it.Node()).to
	}
	for from < all.to && strings.IndexByte(" \t=", x.doc.text[from]) >= 0 {
		from++
	}
	return span{from, all.to}
}

// add notes an entry. A path that is there already keeps its first place: what
// is defined twice is go-toml's to refuse.
func (x *indexer) add(e entry) {
	if _, taken := x.doc.index[e.path]; !taken {
		x.doc.index[e.path] = len(x.doc.entries)
	}
	x.doc.entries = append(x.doc.entries, e)
}

func spanOf(n *unstable.Node) span {
	return span{int(n.Raw.Offset), int(n.Raw.Offset + n.Raw.Length)}
}
