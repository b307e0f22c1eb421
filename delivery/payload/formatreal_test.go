package payload_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery/payload"
	"walhook/internal/pgtest"
	"walhook/rules"
)

// formatFields are what the records of TestFormatsOnRealRecords show.
var formatFields = map[string][]string{
	"res.partner":      {"id", "name", "is_company", "active", "parent_id", "company_id", "ref", "email", "color", "partner_latitude", "create_date", "comment", "customer_rank"},
	"sale.order":       {"id", "name", "state", "partner_id", "date_order", "validity_date", "amount_total", "currency_rate", "client_order_ref", "require_payment", "create_date"},
	"product.template": {"id", "name", "list_price", "volume", "default_code", "sale_ok"},
}

var formatOrder = []string{"res.partner", "sale.order", "product.template"}

const formatTemplate = `<order no="{{xml .record.id}}" id="{{.id}}">
{{- range $name, $value := .record}}
  <{{$name}}>{{xml $value}}</{{$name}}>
{{- end}}
  <sum>{{printf "%.2f" (num (or (index .record "amount_total") 0))}}</sum>
</order>
`

func everyFormat(t *testing.T) (all []*payload.Format) {
	t.Helper()
	for _, name := range payload.Formats {
		for _, encoding := range payload.Encodings {
			if payload.Combines(name, encoding) == "" {
				f := &payload.Format{Name: name, Encoding: encoding, Source: payload.Source("odoo", "shop 1")}
				if name == payload.FormatTemplate {
					var err error
					if f.Template, err = payload.ParseTemplate("order.tmpl", formatTemplate); err != nil {
						t.Fatal(err)
					}
				}
				all = append(all, f)
			}
		}
	}
	return all
}

// Every format and encoding on real records, to the byte; some values are made as awkward as values are.
func TestFormatsOnRealRecords(t *testing.T) {
	for _, version := range []string{"18", "16"} {
		t.Run(version, func(t *testing.T) {
			ctx := context.Background()
			conn, err := pgx.Connect(ctx, pgtest.Odoo(t, version))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(ctx) })
			if _, err := conn.Exec(ctx, `
UPDATE res_partner SET name = E'Zoë "Müller" & <Söhne> \\ l\'été\r\n日本 😀', ref = E'a\tb\x0b', comment = '<p>Grüße &amp; Küsse</p>', email = NULL, color = NULL, partner_latitude = 48.1371500,
	is_company = NULL, create_date = '2026-11-20 23:05:41.5' WHERE id = (SELECT min(id) FROM res_partner);
UPDATE sale_order SET amount_total = 12345678901234567890.1234500, currency_rate = 0.000012, client_order_ref = '007', date_order = '2026-11-20 23:05:41', create_date = '2026-11-20 23:05:41.583677'
	WHERE id = (SELECT min(id) FROM sale_order);
UPDATE product_template SET list_price = 15.530000000000001 WHERE id = (SELECT min(id) FROM product_template)`); err != nil {
				t.Fatal(err)
			}
			cat, err := catalog.Load(ctx, conn)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, model := range formatOrder {
				standards := realBodies(t, conn, cat, model)
				for _, f := range everyFormat(t) {
					about := &payload.About{ID: "msg_0123456789abcdef0123456789abcdef", Event: model + ".create", Rule: "alle " + model, Model: model, Record: "7", Endpoint: "erp", At: formatTime}
					body, err := f.Write(standards[f.Dialect()], about)
					if err != nil {
						t.Fatalf("%s as %s: %v", model, f, err)
					}
					wellFormed(t, f, body)
					fmt.Fprintf(&got, "== %s as %s, %s\n", model, f, f.ContentType())
					headers, err := json.Marshal(f.Headers(about))
					if err != nil {
						t.Fatal(err)
					}
					if string(headers) != "null" {
						fmt.Fprintf(&got, "%s\n", headers)
					}
					got.Write(append(bytes.TrimSuffix(body, []byte("\n")), '\n'))
				}
			}
			golden(t, filepath.Join("testdata", "formats", "odoo"+version+".golden"), got.String())
		})
	}
}

var formatTime = time.Date(2026, 11, 20, 23, 5, 41, 583677000, time.UTC)

// realBodies are the standard bodies of a model's first record, by dialect.
func realBodies(t *testing.T, conn *pgx.Conn, cat *catalog.Catalog, model string) map[payload.Dialect][]byte {
	t.Helper()
	set, err := rules.Compile([]rules.Config{{Name: "all", Model: model, On: []string{"create"}, Endpoint: "erp", Fields: formatFields[model]}}, cat)
	if err != nil {
		t.Fatal(err)
	}
	table := cat.Model(model).Table
	rel := relationOf(table)
	results, err := conn.PgConn().Exec(context.Background(), "SELECT * FROM "+table.Name+" ORDER BY id LIMIT 1").ReadAll()
	if err != nil || len(results[0].Rows) != 1 {
		t.Fatalf("%d rows of %s: %v", len(results[0].Rows), model, err)
	}
	row := results[0].Rows[0]
	change := &cdc.Change{Op: cdc.Create, Rel: rel, Key: string(row[rel.Column("id")]), After: rowOf(t, rel, row)}
	bodies := map[payload.Dialect][]byte{}
	for _, dialect := range []payload.Dialect{payload.Standard, payload.Odoo} {
		bodies[dialect], err = payload.BuildIn(dialect, nil, set.NewMatcher(), set.Rules()[0], model+".create", rules.TxInfo{XID: 7, LSN: 0x16B3748, Time: formatTime}, change)
		if err != nil {
			t.Fatal(err)
		}
	}
	return bodies
}

// wellFormed reads a body as a receiver would.
func wellFormed(t *testing.T, f *payload.Format, body []byte) {
	t.Helper()
	var err error
	switch {
	case f.Encoding == payload.EncodingXML:
		err = xml.Unmarshal(body, new(struct{ XMLName xml.Name }))
	case f.Encoding == payload.EncodingForm:
		_, err = url.ParseQuery(string(body))
	case f.Name == payload.FormatTemplate:
	default:
		err = json.Unmarshal(body, new(any))
	}
	if err != nil {
		t.Errorf("%s: %v in %s", f, err, body)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
