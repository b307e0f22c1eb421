package payload

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/rules"
)

// nested is a standard body with all that a payload can hold.
const nested = `{"type":"sale.order.confirmed","timestamp":"2026-03-01T09:30:00.123456Z","data":{"id":42,"model":"sale.order","op":"write",` +
	`"record":{"name":"S\"1\u0001 <ü>","total":1250.50,"big":12345678901234567890.10,"ok":true,"none":null,"when":"2026-03-01T09:30:00Z",` +
	`"lines":[{"sku":"A & B","qty":1.0,"taxes":[1,2]},{"sku":null,"qty":2}],"matrix":[[1,[]],[]],"empty":{},"größe [x%]":"L","xmlFoo":1,"1st":"a","":"b"},` +
	`"changes":{"total":{"before":0,"after":1250.50}},"rule":"r","lsn":"0/16B3748","xid":7,"omitted":["note"]}}`

var aboutNested = &About{ID: "msg_1", Event: "sale.order.confirmed", Rule: "r", Model: "sale.order", Record: "42", Endpoint: "erp", At: time.Date(2026, 3, 1, 10, 30, 0, 123456000, time.FixedZone("CET", 3600))}

func TestFormatsOfNestedRecords(t *testing.T) {
	for _, tc := range []struct {
		format Format
		want   string
	}{
		{Format{}, nested},
		{Format{Name: FormatCloudEvents, Source: "/odoo/prod"}, `{"specversion":"1.0","id":"msg_1","source":"/odoo/prod","type":"sale.order.confirmed","subject":"sale.order/42","time":"2026-03-01T09:30:00.123456Z",` +
			`"datacontenttype":"application/json","data":` + nested[strings.Index(nested, `"data":`)+len(`"data":`):]},
		{Format{Name: FormatBinary}, strings.TrimSuffix(nested[strings.Index(nested, `"data":`)+len(`"data":`):], "}")},
		{Format{Name: FormatRaw}, nested[strings.Index(nested, `"record":`)+len(`"record":`) : strings.Index(nested, `,"changes"`)]},
		{Format{Name: FormatRaw, Encoding: EncodingXML}, `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<record type="object"><name>S&quot;1� &lt;ü&gt;</name><total type="number">1250.50</total><big type="number">12345678901234567890.10</big>` +
			`<ok type="boolean">true</ok><none type="null"/><when>2026-03-01T09:30:00Z</when><lines type="array"><item type="object"><sku>A &amp; B</sku><qty type="number">1.0</qty><taxes type="array"><item type="number">1</item>` +
			`<item type="number">2</item></taxes></item><item type="object"><sku type="null"/><qty type="number">2</qty></item></lines><matrix type="array"><item type="array"><item type="number">1</item><item type="array"></item></item>` +
			`<item type="array"></item></matrix><empty type="object"></empty><member name="größe [x%]">L</member><member name="xmlFoo" type="number">1</member><member name="1st">a</member><member name="">b</member></record>`},
		{Format{Name: FormatRaw, Encoding: EncodingForm}, `name=S%221%01+%3C%C3%BC%3E&total=1250.50&big=12345678901234567890.10&ok=true&none=&when=2026-03-01T09%3A30%3A00Z&lines%5B0%5D%5Bsku%5D=A+%26+B&lines%5B0%5D%5Bqty%5D=1.0&` +
			`lines%5B0%5D%5Btaxes%5D%5B0%5D=1&lines%5B0%5D%5Btaxes%5D%5B1%5D=2&lines%5B1%5D%5Bsku%5D=&lines%5B1%5D%5Bqty%5D=2&matrix%5B0%5D%5B0%5D=1&gr%C3%B6%C3%9Fe+%255Bx%2525%255D=L&xmlFoo=1&1st=a&=b`},
		{Format{Name: FormatOdoo}, `{"": "b", "1st": "a", "_action": "r(#1997293333)", "_id": 42, "_model": "sale.order", "big": 12345678901234567890.10, "empty": {}, "gr\u00f6\u00dfe [x%]": "L", "id": 42, ` +
			`"lines": [{"qty": 1.0, "sku": "A & B", "taxes": [1, 2]}, {"qty": 2, "sku": null}], "matrix": [[1, []], []], "name": "S\"1\u0001 <\u00fc>", "none": null, "ok": true, "total": 1250.5, "when": "2026-03-01T09:30:00Z", "xmlFoo": 1}`},
	} {
		got, err := tc.format.Write([]byte(nested), aboutNested)
		if diff := cmp.Diff(tc.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", &tc.format, err, diff)
		}
	}
	// What has no record is all data: a test, a notice.
	got, err := (&Format{Name: FormatRaw}).Write([]byte(`{"type":"walhook.test","timestamp":"t","data":{"test":true}}`), &About{})
	if err != nil || string(got) != `{"test":true}` {
		t.Errorf("a test as raw: %s, %v", got, err)
	}
	if _, err := (&Format{Name: FormatRaw}).Write([]byte(`{"type":`), &About{}); err == nil {
		t.Error("a broken body was taken")
	}
}

func TestCombines(t *testing.T) {
	want := map[string][]string{FormatStandard: Encodings, FormatRaw: Encodings, FormatCloudEvents: {EncodingJSON}, FormatBinary: {EncodingJSON, EncodingXML}, FormatOdoo: {EncodingJSON}, FormatTemplate: {EncodingJSON}}
	for _, name := range Formats {
		for _, encoding := range Encodings {
			if why := Combines(name, encoding); (why == "") != slices.Contains(want[name], encoding) {
				t.Errorf("%s as %s: %q", name, encoding, why)
			}
		}
	}
}

// CloudEvents 1.0.2: required attributes, the types of attributes, and the headers of binary mode.
func TestCloudEventAttributes(t *testing.T) {
	f := Format{Name: FormatBinary, Source: "/odoo/shop%201"}
	a := *aboutNested
	a.Event, a.Model, a.Record = "Größe \"a%b\"\n", "x_möbel", `3,A\,1`
	want := map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "msg_1", "Ce-Source": "/odoo/shop%25201", "Ce-Type": "Gr%C3%B6%C3%9Fe%20%22a%25b%22", "Ce-Subject": `x_m%C3%B6bel/3,A\,1`, "Ce-Time": "2026-03-01T09:30:00.123456Z",
	}
	if diff := cmp.Diff(want, f.Headers(&a)); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	for _, name := range Formats {
		if other := (&Format{Name: name}).Headers(&a); name != FormatBinary && other != nil {
			t.Errorf("%s has headers %v", name, other)
		}
	}
	structured := Format{Name: FormatCloudEvents, Source: Source("odoo", "Kunde 1/ü")}
	body, err := structured.Write([]byte(nested), &a)
	if err != nil {
		t.Fatal(err)
	}
	var event map[string]any
	if err := json.Unmarshal(body, &event); err != nil {
		t.Fatal(err)
	}
	for _, required := range []string{"specversion", "id", "source", "type", "subject", "time"} {
		if s, ok := event[required].(string); !ok || s == "" {
			t.Errorf("%s is %v", required, event[required])
		}
	}
	if u, err := url.Parse(event["source"].(string)); err != nil || event["source"] != "/odoo/Kunde%201%2F%C3%BC" || u.Path != "/odoo/Kunde 1/ü" {
		t.Errorf("source %v, %v", event["source"], err)
	}
	if _, err := time.Parse(time.RFC3339, event["time"].(string)); err != nil {
		t.Error(err)
	}
	if event["type"] != `Größe "a%b"` { // a String holds no control characters
		t.Errorf("type %q", event["type"])
	}
	a.Model, a.Record = "", ""
	if body, _ := structured.Write([]byte(nested), &a); bytes.Contains(body, []byte("subject")) {
		t.Errorf("an empty subject: %s", body)
	}
}

// What read(load=None) gives for each type, NULL among them, and str() makes of dates.
func TestOdooValues(t *testing.T) {
	r, m := compile(t, orders(), rules.Config{Fields: []string{"id", "name", "amount_total", "partner_id", "date_order", "validity_date", "locked", "labels"}})
	rel := relation(r.Table)
	for name, tc := range map[string]struct {
		values map[string]string
		want   string
	}{
		"present": {map[string]string{"id": "42", "name": "Zoë", "amount_total": "1250.50", "partner_id": "7", "date_order": "2026-11-20 23:05:41.583", "validity_date": "2026-11-20", "locked": "t", "labels": `{"b": 1.50, "a": null}`},
			`"amount_total": 1250.5, "date_order": "2026-11-20 23:05:41.583000", "id": 42, "labels": {"a": null, "b": 1.5}, "locked": true, "name": "Zo\u00eb", "partner_id": 7, "validity_date": "2026-11-20"}`},
		"null": {map[string]string{"id": "42"},
			`"amount_total": 0.0, "date_order": false, "id": 42, "labels": false, "locked": false, "name": false, "partner_id": false, "validity_date": false}`},
		"whole numbers and seconds": {map[string]string{"id": "42", "amount_total": "100", "date_order": "2026-11-20 23:05:41.000"},
			`"amount_total": 100.0, "date_order": "2026-11-20 23:05:41", "id": 42, "labels": false, "locked": false, "name": false, "partner_id": false, "validity_date": false}`},
		"odd": {map[string]string{"id": "42", "amount_total": "NaN", "date_order": "infinity"},
			`"amount_total": "NaN", "date_order": "infinity", "id": 42, "labels": false, "locked": false, "name": false, "partner_id": false, "validity_date": false}`},
	} {
		c := &cdc.Change{Op: cdc.Create, Rel: rel, Key: "42", After: row(t, rel, cdc.ImageFull, tc.values)}
		standard, err := BuildIn(Odoo, nil, m, r, "e", commit, c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := (&Format{Name: FormatOdoo}).Write(standard, aboutNested)
		if err != nil {
			t.Fatal(err)
		}
		_, values, _ := strings.Cut(string(got), `"_model": "sale.order", `)
		if diff := cmp.Diff(tc.want, values); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOdooAny(t *testing.T) {
	at := time.Date(2026, 11, 20, 23, 5, 41, 0, time.UTC)
	for want, v := range map[string]any{
		"false": nil, "true": true, "7": int64(7), "0.1": 0.1, "1e+16": 1e16, "1e-05": 0.00001, "0.0001": 0.0001, `"NaN"`: cdc.Numeric("NaN"), "1.5": cdc.Numeric("1.50"), "0.10000000000000000001": cdc.Numeric("0.10000000000000000001"),
		`"2026-11-20 23:05:41"`: at, `[false,{"a":"2026-11-20 23:05:41","b":2.0}]`: []any{nil, map[string]any{"b": 2.0, "a": at}},
	} {
		if got, err := appendOdooAny(nil, v, nil, 0); err != nil || string(got) != want {
			t.Errorf("%v is written %s (%v), want %s", v, got, err, want)
		}
	}
	deep := any(1.0)
	for range maxDepth + 2 {
		deep = []any{deep}
	}
	if _, err := appendOdooAny(nil, deep, nil, 0); err == nil {
		t.Error("no error for what is nested too deeply")
	}
}

// To the byte what Python's json.dumps(sort_keys=True) writes, where there is a Python to ask.
func TestOdooAgainstPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 to compare with")
	}
	texts := []string{`{"b":[1.0,1e16,1e-5,0.0001,123456789012345678,0.30000000000000004,1e22,1.5e300,-0.0,0.1e1,100.000],"a":"\u007f\u000b\b\f\u2028 🦊 ß \u0000/","é":{"z":null,"Z":false},"":[[],{}]}`}
	for _, raw := range texts {
		cmd := exec.Command(python, "-c", "import json,sys; sys.stdout.write(json.dumps(json.load(sys.stdin), sort_keys=True, default=str))")
		cmd.Stdin = strings.NewReader(raw)
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		v, err := decodeValue([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(appendPythonJSON(nil, v))); diff != "" {
			t.Errorf("(-python +got):\n%s", diff)
		}
	}
}

// jsonOf reads a document of appendXML back.
func jsonOf(t testing.TB, document []byte) any {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(document))
	var value func(start xml.StartElement) any
	value = func(start xml.StartElement) any {
		var text strings.Builder
		var names []string
		var values []any
		for {
			token, err := dec.Token()
			if err != nil {
				t.Fatalf("%v in %s", err, document)
			}
			switch x := token.(type) {
			case xml.CharData:
				text.Write(x)
			case xml.StartElement:
				name := x.Name.Local
				for _, a := range x.Attr {
					if a.Name.Local == "name" {
						name = a.Value
					}
				}
				names, values = append(names, name), append(values, value(x))
			case xml.EndElement:
				kind := ""
				for _, a := range start.Attr {
					if a.Name.Local == "type" {
						kind = a.Value
					}
				}
				switch kind {
				case "null":
					return nil
				case "boolean":
					return text.String() == "true"
				case "number":
					return json.Number(text.String())
				case "array":
					return append([]any{}, values...)
				case "object":
					m := map[string]any{}
					for i, name := range names {
						m[name] = values[i]
					}
					return m
				}
				return text.String()
			}
		}
	}
	for {
		token, err := dec.Token()
		if err != nil {
			t.Fatalf("%v in %s", err, document)
		}
		if start, ok := token.(xml.StartElement); ok {
			v := value(start)
			if _, err := dec.Token(); !errors.Is(err, io.EOF) {
				t.Fatalf("more after the end: %v in %s", err, document)
			}
			return v
		}
	}
}

// inXML is a value as XML can say it.
func inXML(v any) any {
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
				return '\ufffd'
			}
			return r
		}, s)
	}
	switch v := v.(type) {
	case string:
		return plain(v)
	case []any:
		for i := range v {
			v[i] = inXML(v[i])
		}
	case map[string]any:
		for _, name := range slices.Sorted(mapKeys(v)) {
			value := inXML(v[name])
			delete(v, name)
			v[plain(name)] = value
		}
	}
	return v
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// pairsOf lists what appendForm writes of a value, by name.
func pairsOf(name string, v any, out map[string]string) {
	inner := func(part string) string {
		if name == "" {
			return part
		}
		return name + "[" + part + "]"
	}
	switch v := v.(type) {
	case nil:
		out[name] = ""
	case string:
		out[name] = v
	case json.Number:
		out[name] = string(v)
	case bool:
		out[name] = strconv.FormatBool(v)
	case []any:
		for i, x := range v {
			pairsOf(inner(strconv.Itoa(i)), x, out)
		}
	case map[string]any:
		for k, x := range v {
			pairsOf(inner(formPart.Replace(k)), x, out)
		}
	}
}

// Whatever JSON comes in, XML is well-formed and says the same, and a form has each value under a name of its own.
func FuzzEncodings(f *testing.F) {
	f.Add([]byte(nested))
	f.Add([]byte(`{"a":{"":{"":1}},"[":{"]":[]},"%5B":"\ud800","\ufffe":"\r\n\t\u0000","member":1,"item":{"name":"x"},"xml":null,"a:b":"]]>","Ａ":0.10}`))
	f.Add([]byte(`[1,[2,{"a":null}],"x"]`))
	f.Add([]byte(`"text"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := decodeValue(text)
		if err != nil || !json.Valid(text) {
			return
		}
		text, err = json.Marshal(v) // each name once
		if err != nil {
			return
		}
		document, err := appendXML(nil, "event", text)
		if err != nil {
			t.Fatalf("%v for %s", err, text)
		}
		want, _ := decodeValue(text)
		if diff := cmp.Diff(inXML(want), jsonOf(t, document)); diff != "" {
			t.Fatalf("(-json +xml)\n%s\n%s", diff, document)
		}
		form, err := appendForm(nil, text)
		if err != nil {
			t.Fatalf("%v for %s", err, text)
		}
		got, err := url.ParseQuery(string(form))
		if err != nil {
			t.Fatalf("%v in %s", err, form)
		}
		pairs := map[string]string{}
		decoded, _ := decodeValue(text)
		pairsOf("", decoded, pairs)
		n := 0
		for name, values := range got {
			n += len(values)
			if pairs[name] != values[0] {
				t.Fatalf("%q is %q in %s, want %q", name, values, form, pairs[name])
			}
		}
		if n < len(pairs) {
			t.Fatalf("%d pairs in %s, want %d", n, form, len(pairs))
		}
		if _, err := (&Format{Name: FormatOdoo}).Write([]byte(`{"data":{"record":`+string(text)+`}}`), &About{}); err != nil {
			t.Fatal(err)
		}
	})
}
