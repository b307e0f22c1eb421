package payload

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedaction(t *testing.T) {
	r := NewRedaction([]string{"email", "lines.*.price", "address.city", "partner.*"})
	const record = `{"email":"a@b.example","name":"Zoë","lines":[{"sku":"a","price":1.50},{"sku":"b","price":{"net":7}}],"address":{"city":"Paris","zip":"75001"},"partner":{"a":1,"b":[2]},"x":[[{"price":3}]]}`
	const masked = `{"email":"***","name":"Zoë","lines":[{"sku":"a","price":"***"},{"sku":"b","price":"***"}],"address":{"city":"***","zip":"75001"},"partner":{"a":"***","b":"***"},"x":[[{"price":3}]]}`
	const changes = `"changes":{"email":{"before":"old@b.example","after":"a@b.example"},"name":{"before":"x","after":"Zoë"}}`
	const shown = `"changes":{"email":{"before":"***","after":"***"},"name":{"before":"x","after":"Zoë"}}`
	const hidden = `"changes":{"email":{"before":"***","after":"***"},"name":{"before":"***","after":"***"}}`
	standard := func(record, changes string) string {
		return `{"type":"e","data":{"id":1,"record":` + record + `,` + changes + `}}`
	}
	for _, tc := range []struct {
		format, body, want string
		renamed            bool
	}{
		{"", standard(record, changes), standard(masked, shown), false},
		{FormatStandard, standard(record, changes), standard(masked, hidden), true},
		{FormatCloudEvents, standard(record, changes), standard(masked, shown), false},
		{FormatBinary, `{"record":` + record + `,` + changes + `}`, `{"record":` + masked + `,` + shown + `}`, false},
		{FormatRaw, record, masked, false},
		{FormatOdoo, record, masked, false},
		{FormatTemplate, "Dear a@b.example", "***", false},
		{FormatRaw, `{"other":1}`, `{"other":1}`, false},
		{FormatRaw, `no json`, `no json`, false},
		{FormatRaw, `{"email":"a`, `"***"`, false},
		{FormatRaw + "+xml", `<a`, `***`, false},
		{FormatRaw, `{"email":"` + "\x00" + `"}`, `"***"`, false},
		// what stands beside the record
		{"", `{"data":{"email":"x@y.example"}}`, `{"data":{"email":"***"}}`, false},
	} {
		if got := string(r.Body([]byte(tc.body), tc.format, tc.renamed)); got != tc.want {
			t.Errorf("%s: (-want +got)\n%s", tc.format, cmp.Diff(tc.want, got))
		}
	}
	for _, f := range []Format{{Encoding: EncodingXML}, {Encoding: EncodingForm}, {Name: FormatRaw, Encoding: EncodingXML}, {Name: FormatRaw, Encoding: EncodingForm}, {Name: FormatBinary, Encoding: EncodingXML}} {
		body, err := f.Write([]byte(standard(record, changes)), aboutNested)
		if err != nil {
			t.Fatal(err)
		}
		got := string(r.Body(body, f.String(), false))
		for _, secret := range []string{"b.example", "1.50", "Paris", ">7<", "net%5D=7"} {
			if strings.Contains(got, secret) {
				t.Errorf("%s holds %s: %s", &f, secret, got)
			}
		}
		for _, open := range []string{"75001", "sku", "Zo", "***"} {
			if !strings.Contains(got, open) {
				t.Errorf("%s lacks %s: %s", &f, open, got)
			}
		}
		if values := r.Values(body, f.String()); !slices.Contains(values, "a@b.example") || !slices.Contains(values, "1.50") || slices.Contains(values, "75001") {
			t.Errorf("%s: values %v", &f, values)
		}
	}
	if values := r.Values([]byte(record), FormatRaw); !slices.Equal(values[:3], []string{"a@b.example", "1.50", "7"}) {
		t.Errorf("values %v", values)
	}
	if !r.Column("email") || !r.Column("lines") || r.Column("name") {
		t.Error("columns")
	}
	var none *Redaction
	if NewRedaction(nil) != nil || string(none.Body([]byte("x"), "", true)) != "x" || none.Values([]byte("x"), "") != nil || none.Column("x") {
		t.Error("without paths something is masked")
	}
}
