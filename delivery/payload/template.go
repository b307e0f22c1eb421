package payload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode/utf8"
)

// Template makes bodies of receivers' own forms: a text/template of Go's over the event. It can be used by several goroutines.
//
// What it can do to walhook is bounded: its output by [maxOutput], its work by [maxSteps], which are counted and not timed, so that the same
// event comes to the same end each time. It sees what the payload shows and nothing else; it has no clock and no files.
type Template struct {
	tmpl *template.Template
	test *template.Template // takes missing names for empty
}

const (
	maxOutput = 4 << 20 // bytes, of a body and of each text that a function makes
	maxSteps  = 50_000  // rounds of loops, branches taken, templates called
)

// ParseTemplate reads a template. Name is what errors call it, followed by the line.
func ParseTemplate(name, text string) (*Template, error) {
	if at := invalidUTF8(text); at >= 0 {
		line := text[strings.LastIndexByte(text[:at], '\n')+1 : at]
		return nil, fmt.Errorf("%s:%d:%d: byte 0x%02x is no UTF-8: save the template as UTF-8", name, 1+strings.Count(text[:at], "\n"), 1+utf8.RuneCountInString(line), text[at])
	}
	t, err := template.New(name).Funcs(templateFuncs).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	if err := checkRoot(t); err != nil {
		return nil, err
	}
	for _, one := range t.Templates() {
		if one.Tree != nil {
			countSteps(one.Root)
		}
	}
	test, err := t.Clone()
	if err != nil {
		return nil, err
	}
	return &Template{tmpl: t, test: test.Option("missingkey=zero")}, nil
}

// countSteps puts an empty text at the beginning of every list of nodes: the writer is called for it, and sees loops that write nothing.
func countSteps(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.IfNode:
			countSteps(n.List)
			countSteps(n.ElseList)
		case *parse.RangeNode:
			countSteps(n.List)
			countSteps(n.ElseList)
		case *parse.WithNode:
			countSteps(n.List)
			countSteps(n.ElseList)
		}
	}
	list.Nodes = append([]parse.Node{&parse.TextNode{NodeType: parse.NodeText, Pos: list.Pos}}, list.Nodes...)
}

// execute writes a body. Of what is to be JSON, it makes sure that it is.
func (t *Template) execute(e *envelope, a *About, isJSON bool) ([]byte, error) {
	data, err := e.templateData(a)
	if err != nil {
		return nil, err
	}
	out, err := run(t.tmpl, data)
	if err != nil {
		if e.test() { // which has no record: what is read of it is empty
			data["record"], data["changes"] = map[string]Nothing{}, map[string]Nothing{}
			return run(t.test, data)
		}
		return nil, err
	}
	if isJSON {
		if err := checkJSON(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func run(t *template.Template, data map[string]any) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("%s: %v", t.Name(), p)
		}
	}()
	w := &boundedWriter{}
	if err := t.Execute(w, data); err != nil {
		if w.err != nil {
			err = w.err
		}
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return w.out, nil
}

// invalidUTF8 is the offset of the first byte that is no UTF-8, or -1.
func invalidUTF8(text string) int {
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") {
			return i
		}
	}
	return -1
}

// checkJSON says where a template's output stops being JSON, which is written in UTF-8: encoding/json lets other bytes pass.
func checkJSON(out []byte) error {
	if at := invalidUTF8(string(out)); at >= 0 {
		return fmt.Errorf("what the template writes is no JSON, in line %d of it: byte 0x%02x is no UTF-8; write values with {{json .record.name}}", 1+strings.Count(string(out[:at]), "\n"), out[at])
	}
	var v json.RawMessage
	err := json.Unmarshal(out, &v)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		line := 1 + strings.Count(string(out[:min(int(syntax.Offset), len(out))]), "\n")
		return fmt.Errorf("what the template writes is no JSON, in line %d of it: %w; write values with {{json .record.name}}", line, err)
	}
	return err
}

// boundedWriter takes a body up to the limits.
type boundedWriter struct {
	out   []byte
	steps int
	err   error
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		w.steps++ // see countSteps; all else is bounded by what it writes
	}
	switch {
	case w.steps > maxSteps:
		w.err = fmt.Errorf("the template takes more than %d steps", maxSteps)
	case len(w.out)+len(p) > maxOutput:
		w.err = fmt.Errorf("the template writes more than %d bytes", maxOutput)
	default:
		w.out = append(w.out, p...)
		return len(p), nil
	}
	return 0, w.err
}

var _ io.Writer = (*boundedWriter)(nil)

// templateData is what a template sees.
func (e *envelope) templateData(a *About) (map[string]any, error) {
	v, err := decodeValue(e.Data)
	if err != nil {
		return nil, fmt.Errorf("read the standard body: %w", err)
	}
	all := map[string]any{"changes": object{}, "omitted": list{}}
	data, ok := templateValue(v).(object)
	if ok {
		for name, value := range data {
			all[name] = value
		}
		all["record_id"] = all["id"]
		all["data"] = data
	}
	all["id"], all["event"], all["timestamp"] = a.ID, e.Type, e.Timestamp
	all["rule"], all["model"], all["endpoint"] = a.Rule, a.Model, a.Endpoint
	return all, nil
}

// test says that the event stands for no change, see delivery.NewTest.
func (e *envelope) test() bool {
	var d struct{ Test bool }
	return json.Unmarshal(e.Data, &d) == nil && d.Test && len(e.data.Record) == 0
}

// Nothing is NULL inside a template: it is written as nothing, is false to if, equal to "", and null to json.
type Nothing string

// MarshalJSON writes null.
func (Nothing) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// templateValue makes of a decoded value what templates compute with: whole numbers are integers, other numbers keep their digits.
func templateValue(v any) any {
	switch v := v.(type) {
	case nil:
		return Nothing("")
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return n
		}
		return v
	case []any:
		for i := range v {
			v[i] = templateValue(v[i])
		}
		return list(v)
	case map[string]any:
		for name := range v {
			v[name] = templateValue(v[name])
		}
		return object(v)
	}
	return v
}

// object and list are JSON where a template writes them as they are.
type (
	object map[string]any
	list   []any
)

func (o object) String() string { return jsonText(map[string]any(o)) }
func (l list) String() string   { return jsonText([]any(l)) }

func jsonText(v any) string {
	text, err := templateJSON(v)
	if err != nil {
		return err.Error() // too long
	}
	return text
}

// isJSONType says that a media type is JSON.
func isJSONType(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}
