package payload

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"slices"
	"strings"
)

// Masked is what takes the place of a value that is not to be shown.
const Masked = "***"

// Redaction masks members of bodies for whoever looks at the log; what is sent is untouched. Paths begin at the record, or at data for what
// lies beside it: "email", "lines.*.price". A "*" is any member or element; elements of arrays need none. A member of changes is
// masked with the column that it is about.
type Redaction struct {
	paths [][]string
}

// NewRedaction reads paths; nil when there are none.
func NewRedaction(paths []string) *Redaction {
	if len(paths) == 0 {
		return nil
	}
	r := &Redaction{}
	for _, p := range paths {
		r.paths = append(r.paths, strings.Split(p, "."))
	}
	return r
}

// Body returns a body as it may be shown: written in a format, as [Format.String] names it. Columns may be shown in changes under other names than the
// record's own: renamed says so, and all of changes is masked then. Of what a template wrote nothing is shown, as nobody knows which of it is what.
func (r *Redaction) Body(body []byte, format string, renamed bool) []byte {
	if r == nil || len(body) == 0 {
		return body
	}
	shown, _ := r.apply(body, format, renamed)
	return shown
}

// Values are the texts and numbers in a body that [Redaction.Body] masks, for whoever looks for them elsewhere.
func (r *Redaction) Values(body []byte, format string) []string {
	if r == nil || len(body) == 0 {
		return nil
	}
	_, values := r.apply(body, format, false)
	return values
}

// Columns says of a column of the record whether it is masked, for changes that are no body yet.
func (r *Redaction) Column(name string) bool {
	return r != nil && slices.ContainsFunc(r.paths, func(p []string) bool { return p[0] == name || p[0] == "*" })
}

func (r *Redaction) apply(body []byte, format string, renamed bool) (shown []byte, values []string) {
	name, encoding, _ := strings.Cut(format, "+")
	m := &masker{}
	if name == FormatTemplate {
		return []byte(Masked), nil
	}
	paths := r.absolute(name, renamed)
	switch encoding {
	case EncodingXML:
		shown = m.xml(body, paths)
	case EncodingForm:
		shown = m.form(body, paths)
	default:
		shown = m.json(body, paths)
	}
	return shown, m.values
}

// absolute are the paths from a body's top.
func (r *Redaction) absolute(format string, renamed bool) [][]string {
	var data []string
	switch format {
	case FormatRaw, FormatOdoo:
		return r.paths
	case FormatBinary:
	default:
		data = []string{"data"}
	}
	below := func(parts ...string) []string { return append(slices.Clone(data), parts...) }
	var all [][]string
	for _, p := range r.paths {
		all = append(all, below(p...), below(append([]string{"record"}, p...)...), below("changes", p[0], "*"))
	}
	if renamed {
		all = append(all, below("changes", "*", "*"))
	}
	return all
}

// masker masks values and collects them.
type masker struct{ values []string }

func (m *masker) json(raw []byte, paths [][]string) []byte {
	if slices.ContainsFunc(paths, func(p []string) bool { return len(p) == 0 }) {
		m.collect(raw)
		return []byte(`"` + Masked + `"`)
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '{' && raw[0] != '[' {
		return raw
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	open, err := dec.Token()
	if err != nil {
		return []byte(`"` + Masked + `"`) // no JSON, whatever its format says
	}
	out, array := []byte{raw[0]}, open == json.Delim('[')
	for first := true; dec.More(); first = false {
		if !first {
			out = append(out, ',')
		}
		inner := elementPaths(paths)
		if !array {
			key, err := dec.Token()
			if err != nil {
				return []byte(`"` + Masked + `"`)
			}
			name, _ := key.(string)
			out = append(appendString(out, name), ':')
			inner = memberPaths(paths, name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return []byte(`"` + Masked + `"`)
		}
		if len(inner) > 0 {
			value = m.json(value, inner)
		}
		out = append(out, value...)
	}
	return append(out, raw[len(raw)-1])
}

// memberPaths are what is left of paths inside a member.
func memberPaths(paths [][]string, name string) (inner [][]string) {
	for _, p := range paths {
		if p[0] == name || p[0] == "*" {
			inner = append(inner, p[1:])
		}
	}
	return inner
}

// elementPaths are what is left of paths inside an element of an array.
func elementPaths(paths [][]string) (inner [][]string) {
	for _, p := range paths {
		if p[0] == "*" {
			p = p[1:]
		}
		inner = append(inner, p)
	}
	return inner
}

// collect notes the texts and numbers of a value.
func (m *masker) collect(raw []byte) {
	v, err := decodeValue(raw)
	if err != nil {
		return
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			m.values = append(m.values, v)
		case json.Number:
			m.values = append(m.values, string(v))
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		}
	}
	walk(v)
}

// form masks the values of a body of appendForm.
func (m *masker) form(body []byte, paths [][]string) []byte {
	var out []byte
	for i, pair := range strings.Split(string(body), "&") {
		if i > 0 {
			out = append(out, '&')
		}
		name, value, _ := strings.Cut(pair, "=")
		out = append(append(out, name...), '=')
		if plain, err := url.QueryUnescape(name); err != nil || hits(paths, formParts(plain), isIndex) {
			if text, err := url.QueryUnescape(value); err == nil {
				m.values = append(m.values, text)
			}
			value = Masked
		}
		out = append(out, value...)
	}
	return out
}

// formParts takes a name of a form apart: "data[record][name]".
func formParts(name string) []string {
	first, rest, nested := strings.Cut(name, "[")
	parts := []string{first}
	if nested {
		parts = append(parts, strings.Split(strings.TrimSuffix(rest, "]"), "][")...)
	}
	for i, p := range parts {
		if plain, err := url.PathUnescape(p); err == nil {
			parts[i] = plain
		}
	}
	return parts
}

func isIndex(part string) bool { return strings.Trim(part, "0123456789") == "" }

// hits says whether something lies on a path or below one. An element of an array has a part of its own, which paths may leave out.
func hits(paths [][]string, parts []string, isElement func(string) bool) bool {
	return slices.ContainsFunc(paths, func(p []string) bool { return hit(p, parts, isElement) })
}

func hit(path, parts []string, isElement func(string) bool) bool {
	switch {
	case len(path) == 0:
		return true
	case len(parts) == 0:
		return false
	case path[0] == "*" || path[0] == parts[0]:
		return hit(path[1:], parts[1:], isElement)
	}
	return isElement(parts[0]) && hit(path, parts[1:], isElement)
}

// xml masks the text of elements in a body of appendXML.
func (m *masker) xml(body []byte, paths [][]string) []byte {
	dec := xml.NewDecoder(bytes.NewReader(body))
	var out []byte
	var parts []string
	done, inside := int64(0), 0 // how deep inside an element that is masked
	for {
		before := dec.InputOffset()
		token, err := dec.Token()
		if err == io.EOF {
			return append(out, body[done:]...)
		}
		if err != nil {
			return []byte(Masked) // no XML, whatever its format says
		}
		switch t := token.(type) {
		case xml.StartElement:
			name := t.Name.Local
			for _, a := range t.Attr {
				if name == "member" && a.Name.Local == "name" {
					name = a.Value
				}
			}
			parts = append(parts, name)
			if inside > 0 {
				inside++
			} else if hits(paths, parts[1:], isItem) {
				inside = 1
				out = append(append(out, body[done:dec.InputOffset()]...), Masked...)
				done = dec.InputOffset()
			}
		case xml.CharData:
			if inside > 0 {
				m.values = append(m.values, string(t))
			}
		case xml.EndElement:
			parts = parts[:len(parts)-1]
			if inside > 0 {
				if inside--; inside == 0 {
					done = before
				}
			}
		}
	}
}

func isItem(part string) bool { return part == "item" }
