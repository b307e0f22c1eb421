package payload

import (
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
)

func fill(t testing.TB, text, contentType, standard string) (string, error) {
	t.Helper()
	tmpl, err := ParseTemplate("erp.tmpl", text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	f := &Format{Name: FormatTemplate, Template: tmpl, Media: contentType}
	body, err := f.Write([]byte(standard), aboutNested)
	return string(body), err
}

func TestTemplate(t *testing.T) {
	for text, want := range map[string]string{
		`{{.id}} {{.event}} {{.timestamp}} {{.model}} {{.op}} {{.record_id}} {{.rule}} {{.endpoint}} {{.lsn}} {{.xid}}`:                            `msg_1 sale.order.confirmed 2026-03-01T09:30:00.123456Z sale.order write 42 r erp 0/16B3748 7`,
		`{{.record.total}} {{.record.big}} {{.record.ok}} [{{.record.none}}] {{.changes.total.before}}`:                                            `1250.50 12345678901234567890.10 true [] 0`,
		`{{json .record.name}} {{json .record.none}} {{json .record.total}} {{json .record.lines}}`:                                                `"S\"1\u0001 <ü>" null 1250.50 [{"qty":1.0,"sku":"A & B","taxes":[1,2]},{"qty":2,"sku":null}]`,
		`{{xml .record.name}} {{url .record.name}} {{html "<a>"}} {{urlquery "a b"}} {{js "'"}}`:                                                   "S&quot;1\ufffd &lt;ü&gt; S%221%01+%3C%C3%BC%3E &lt;a&gt; a+b \\'",
		`{{range $i, $l := .record.lines}}{{$i}}:{{$l.sku}}*{{$l.qty}};{{end}}`:                                                                    `0:A & B*1.0;1:*2;`,
		`{{if .record.none}}a{{else}}b{{end}}{{if eq .record.none ""}}c{{end}}{{if .record.ok}}d{{end}}`:                                           `bcd`,
		`{{if gt (num .record.total) 1000.0}}big{{end}} {{printf "%.1f" (num .record.total)}} {{num .record.none}}`:                                `big 1250.5 0`,
		`{{.record.none | default "none"}} {{.record.total | default 0}} {{index .record "nix" | default "x"}}`:                                    `none 1250.50 x`,
		`{{date "02.01.2006" .record.when}} {{date "15:04" "Europe/Paris" .record.when}} [{{date "2006" .record.none}}]{{date "06" "2026-11-20"}}`: `01.03.2026 10:30 []26`,
		`{{join ", " (index .record.lines 0).taxes}} {{upper "ä"}} {{lower "Ä"}} {{trim " x "}} {{replace "a" "b" "aa"}} {{index .omitted 0}}`:     `1, 2 Ä ä x bb note`,
		`{{.record.empty}} {{.record.matrix}} {{.data.op}}`:                                                                                        `{} [[1,[]],[]] write`,
		`{{with .record.lines}}{{len .}}{{end}}{{define "x"}}[{{.}}]{{end}}{{template "x" .op}}{{print "a" 1}}{{println}}`:                         "2[write]a1\n",
	} {
		if got, err := fill(t, text, "", nested); err != nil || got != want {
			t.Errorf("%s\n gives %q (%v)\n want  %q", text, got, err, want)
		}
	}
}

// A mistake in the template is told with its line; what fails on one event is an error of the event.
func TestTemplateErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a\n{{if}}":                "erp.tmpl:2: missing value for if",
		"{{.record.name":           "erp.tmpl:1: unclosed action",
		"{{nofunction 1}}":         `erp.tmpl:1: function "nofunction" not defined`,
		"\n\n{{end}}":              "erp.tmpl:3: unexpected {{end}}",
		"{{define \"a\"}}{{.x}}{{": "erp.tmpl:1: ",
		"{}\n{{.recod.name}}":      `erp.tmpl:2:8: no event has a member "recod": did you mean .record?`,
		"{{if .op}}{{else}}{{range .nix}}{{end}}{{end}}":       `no event has a member "nix": the members are .id, .event`,
		"{{range .lines}}{{$.modle}}{{end}}":                   `did you mean .model?`,
		"{{with .record}}{{.x}}{{else}}{{json .recrd}}{{end}}": `did you mean .record?`,
		"{{with $x := printf \"%v\" (len .recrd)}}{{end}}":     `did you mean .record?`,
		"{\"a\":\n \"caf\xe9\"}":                               "erp.tmpl:2:6: byte 0xe9 is no UTF-8",
	} {
		if _, err := ParseTemplate("erp.tmpl", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"\n{{.record.nix}}":                            `erp.tmpl:2:9: executing "erp.tmpl" at <.record.nix>: map has no entry for key "nix"`,
		"{{num .record.name}}":                         `"S\"1\x01 <ü>" is no number`,
		"{{date \"2006\" .record.name}}":               "is no date",
		"{{date \"2006\" \"Nowhere/X\" .record.when}}": "Nowhere/X",
		"{{date \"2006\"}}":                            "write {{date",
		"{{template \"nix\"}}":                         `template "nix" not defined`,
		"{{index .record.lines 7}}":                    "out of range",
		"{{range 10000000000}}{{end}}":                 "more than 50000 steps",
		`{{define "a"}}{{template "b"}}{{template "b"}}{{end}}{{define "b"}}{{template "c"}}{{template "c"}}{{end}}{{define "c"}}{{range 1000}}{{range 1000}}{{end}}{{end}}{{end}}{{template "a"}}`: "steps",
		`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`:                  "more than 50000 steps",
		"{{range 100000}}" + strings.Repeat("x", 100) + "{{end}}":                "more than 4194304 bytes",
		`{{$x := "xxxxxxxxxx"}}{{range 100}}{{$x = print $x $x}}{{end}}`:         "longer than 4194304 bytes",
		`{{$x := "xxxxxxxxxx"}}{{range 100}}{{$x = printf "%s%s" $x $x}}{{end}}`: "longer than 4194304 bytes",
		`{{$x := "aaaaaaaaaa"}}{{range 100}}{{$x = replace "a" "aa" $x}}{{end}}`: "longer than 4194304 bytes",
		`{{call .record.name}}`: "non-function",
	} {
		got, err := fill(t, text, "", nested)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %.100q, %v, want %s", text, got, err, want)
		}
	}
	if _, err := fill(t, `{"a": "{{slice "é" 0 1}}"}`, "application/json", nested); err == nil || !strings.Contains(err.Error(), "line 1 of it: byte 0xc3 is no UTF-8") {
		t.Errorf("no UTF-8: %v", err)
	}
	if _, err := ParseTemplate("x", "{{range .record.lines}}{{.sku}}{{end}}{{define \"a\"}}{{.sku}}{{end}}{{with .record}}{{.x}}{{end}}{{.split}} \uFFFD"); err != nil {
		t.Error(err)
	}
	_, err := fill(t, "{\"a\":\n {{.record.name}}}", "application/json", nested)
	if err == nil || !strings.Contains(err.Error(), "no JSON, in line 2 of it: invalid character 'S'") || !strings.Contains(err.Error(), "{{json .record.name}}") {
		t.Errorf("no JSON: %v", err)
	}
	if got, err := fill(t, `{"a": {{json .record.name}}}`, "application/vnd.x+json", nested); err != nil || !json.Valid([]byte(got)) {
		t.Errorf("%s, %v", got, err)
	}
}

// A test event has no record: what the template reads of it is empty, so that the receiver can be tried all the same.
func TestTemplateOfTest(t *testing.T) {
	const test = `{"type":"walhook.test","timestamp":"2026-03-01T09:30:00Z","data":{"test":true,"endpoint":"erp","message":"hello"}}`
	got, err := fill(t, `{{.event}} {{.data.message}} [{{.record.name}}]{{if .record.lines}}x{{end}}{{json .changes.state}}`, "", test)
	if err != nil || got != "walhook.test hello []null" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := fill(t, `{{.record.name}}`, "", strings.Replace(test, `"test":true,`, "", 1)); err == nil {
		t.Error("another event without a record is no error")
	}
}

// Whatever a record holds, what xml and json write stays what it is.
func FuzzTemplate(f *testing.F) {
	tmpl, err := ParseTemplate("erp.tmpl", `{"xml": {{json (print "<a b=\"" (xml .record.v) "\">" (xml .record.v) "</a>")}}, "v": {{json .record.v}}, "u": "{{url .record.v}}"}`)
	if err != nil {
		f.Fatal(err)
	}
	format := &Format{Name: FormatTemplate, Template: tmpl, Media: ContentType}
	for _, s := range []string{"", "a<b>&\"'", "\x00\x1f\u2028", "日本 😀", "]]>", "{{.id}}", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		body, err := format.Write(append(appendString([]byte(`{"type":"e","timestamp":"t","data":{"record":{"v":`), s), "}}}"...), aboutNested)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ XML, V string }
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); got.V != want && !strings.Contains(s, "\xff") && strings.ToValidUTF8(s, "") == s {
			t.Fatalf("%q became %q", want, got.V)
		}
		var a struct {
			B    string `xml:"b,attr"`
			Text string `xml:",chardata"`
		}
		if err := xml.Unmarshal([]byte(got.XML), &a); err != nil {
			t.Fatalf("%v in %s", err, got.XML)
		}
		if a.B != a.Text || a.Text != inXML(got.V) {
			t.Fatalf("%q became %q and %q", got.V, a.B, a.Text)
		}
	})
}
