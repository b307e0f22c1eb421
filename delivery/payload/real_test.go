package payload_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

func TestMain(m *testing.M) { pgtest.Main(m) }

// Whole records of a real Odoo against what PostgreSQL itself makes of the same rows as JSON.
func TestWholeRecordsOfOdoo(t *testing.T) {
	for _, version := range []string{"18", "16"} {
		t.Run(version, func(t *testing.T) {
			ctx := context.Background()
			conn, err := pgx.Connect(ctx, pgtest.Odoo(t, version))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(ctx) })
			cat, err := catalog.Load(ctx, conn)
			if err != nil {
				t.Fatal(err)
			}
			for _, model := range []string{"sale.order", "sale.order.line", "account.move", "res.partner", "product.template", "res.company", "res.users", "stock.quant"} {
				compareModel(t, conn, cat, model, "")
			}
			for _, model := range []string{"product.template", "product.product", "product.category", "account.payment.term", "uom.uom"} {
				compareModel(t, conn, cat, model, "fr_FR")
			}
		})
	}
}

func compareModel(t *testing.T, conn *pgx.Conn, cat *catalog.Catalog, name, lang string) {
	t.Helper()
	set, err := rules.Compile([]rules.Config{{Name: "all", Model: name, On: []string{"create"}, Endpoint: "erp", Lang: lang}}, cat)
	if err != nil {
		t.Fatal(err)
	}
	rule, matcher := set.Rules()[0], set.NewMatcher()
	model := cat.Model(name)
	rel := relationOf(model.Table)
	table := pgx.Identifier{model.Table.Schema, model.Table.Name}.Sanitize()
	// The simple protocol gives text in the form that WAL has it.
	results, err := conn.PgConn().Exec(context.Background(), "SELECT * FROM "+table+" ORDER BY id; SELECT to_jsonb(r) FROM "+table+" r ORDER BY id").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows, expected := results[0].Rows, results[1].Rows
	for i, r := range rows {
		change := &cdc.Change{Op: cdc.Create, Rel: rel, Key: string(r[rel.Column("id")]), After: rowOf(t, rel, r)}
		tx := rules.TxInfo{XID: 1, LSN: 1, Time: time.Unix(1614265330, 0)}
		body, err := payload.Build(nil, matcher, rule, rule.EventName(change.Op), tx, change)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Data struct {
				ID      json.Number
				Record  map[string]any
				Omitted []string
			}
		}
		decode(t, body, &got)
		if string(got.Data.ID) != change.Key {
			t.Errorf("%s %s has id %s", name, change.Key, got.Data.ID)
		}
		var want map[string]any
		decode(t, expected[i][0], &want)
		readAsOdoo(cat.Odoo, model, want, lang)
		adjust(model, want, r, rel, got.Data.Omitted)
		if diff := cmp.Diff(want, got.Data.Record); diff != "" {
			t.Fatalf("%s %s (-PostgreSQL +body):\n%s", name, change.Key, diff)
		}
	}
	if len(rows) == 0 {
		t.Errorf("there is no %s to compare", name)
	}
}

// adjust applies to PostgreSQL's own JSON where bodies differ from it by contract.
func adjust(model *catalog.Model, want map[string]any, texts [][]byte, rel *cdc.Relation, omitted []string) {
	for i, column := range rel.Columns {
		field, kind := model.Field(column.Name), column.Type.Kind
		v := want[column.Name]
		switch {
		case catalog.Secret(model.Table.Name, column.Name), kind == cdc.KindBytes, field != nil && field.Type == "html":
			delete(want, column.Name)
		case len(texts[i]) > payload.LargeValue && slices.Contains(omitted, column.Name):
			delete(want, column.Name)
		case field != nil && field.Type == "boolean" && kind == cdc.KindBool && v == nil:
			want[column.Name] = false
		case kind == cdc.KindTimestamp && v != nil:
			want[column.Name] = fmt.Sprint(v) + "Z"
		}
	}
}

// readAsOdoo reads translated and company-dependent values as Odoo does: COALESCE(col->lang, col->en_US), and COALESCE(col->company, the
// field's default).
func readAsOdoo(odoo *catalog.Odoo, model *catalog.Model, want map[string]any, lang string) {
	company := odoo.Companies[0].ID
	if id, ok := want["company_id"].(json.Number); ok {
		company, _ = id.Int64()
	}
	for _, f := range model.Fields {
		if f.Column == nil || f.Column.Type.Kind != cdc.KindJSON || !f.Translated && !f.CompanyDependent {
			continue
		}
		values, _ := want[f.Name].(map[string]any)
		if f.Translated {
			if want[f.Name] = values[lang]; want[f.Name] == nil {
				want[f.Name] = values["en_US"]
			}
			continue
		}
		v, found := values[fmt.Sprint(company)]
		if text, ok := odoo.Default(model.Name, f.Name, company); !found && ok {
			dec := json.NewDecoder(strings.NewReader(text))
			dec.UseNumber()
			_ = dec.Decode(&v)
		}
		switch {
		case f.Type == "boolean":
			v = v == true
		case v == false:
			v = nil // as Odoo writes what is empty
		}
		want[f.Name] = v
	}
}

// decode keeps the digits of numbers.
func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func relationOf(table *catalog.Table) *cdc.Relation {
	var columns []cdc.Column
	for _, c := range table.Columns {
		columns = append(columns, cdc.Column{Name: c.Name, Type: c.Type})
	}
	return cdc.NewRelation(table.OID, table.Schema, table.Name, table.Identity, columns, table.PrimaryKey)
}

func rowOf(t *testing.T, rel *cdc.Relation, texts [][]byte) cdc.Row {
	t.Helper()
	values := make([]cdc.Value, len(texts))
	for i, text := range texts {
		values[i] = cdc.Value{State: cdc.Present, Text: text}
		if text == nil {
			values[i].State = cdc.Null
		}
	}
	row, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, values))
	if !ok {
		t.Fatal("the row does not fit its relation")
	}
	return row
}

// Every type that PostgreSQL can put into JSON by itself, through SELECT and through a body.
func TestEveryTypeAgainstPostgres(t *testing.T) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	infinity := "'Infinity'"
	if pgtest.Server(t).Major() < 14 {
		infinity = "'NaN'" // numeric has no other extreme there
	}
	if _, err := conn.Exec(ctx, `
CREATE TYPE mood AS ENUM ('sad', 'so "so"');
CREATE DOMAIN amount AS numeric CHECK (VALUE > -1000);
CREATE TABLE v (id int PRIMARY KEY, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric, a amount, t text, c char(5), m mood, d date, ts timestamp,
    tz timestamptz, iv interval, u uuid, j json, jb jsonb, ia int[], na numeric[], ta text[], ma mood[], tsa timestamp[], da date[], jba jsonb[], ba bool[],
    ti time, r int4range, p point, x xml);
SET TimeZone = 'UTC';
INSERT INTO v VALUES
 (1, true, -32768, 9223372036854775807, 1.1, 0.1, 1250.50, -12.340, 'Zoë "q" \ 日本 🦊 </b>', 'ab', 'so "so"', '2026-03-01', '2026-03-01 09:30:00.5',
  '2026-03-01 09:30:00.000001+02', '1 year 2 mons 3 days 04:05:06.7', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a":[1,2.50, null]}', '{"k": {"n": 1e3, "u": "\u00e9"}}',
  '{{1,2},{3,null}}', '{1.10,NaN}', '{"a,b","NULL",null,"","q\"\\"}', '{sad}', '{"2026-03-01 00:00:00","2026-03-01 01:02:03.4"}', '{2026-03-01,1999-12-31}', '{"{\"a\": 1}",null}', '{t,f,null}',
  '10:11:12.5', '[1,5)', '(1,2)', '<a>b</a>'),
 (2, false, 0, 0, 'NaN', '-Infinity', 'NaN', 0.00, '', '', NULL, '0001-01-01', '9999-12-31 23:59:59.999999', '0001-01-01 00:00:00+00', '-1 day', NULL, 'null', '[]',
  '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', NULL, 'empty', NULL, NULL),
 (3, NULL, NULL, NULL, 3.4e38, 5e-324, 1e-30, 123456789012345678901234567890.123456789, E'line\nline\ttab', NULL, 'sad', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (4, NULL, NULL, NULL, NULL, 1e300, `+infinity+`, NULL, NULL, NULL, NULL, 'infinity', '-infinity', 'infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Compile([]rules.Config{{Name: "all", Table: "v", On: []string{"create"}, Endpoint: "erp"}}, cat)
	if err != nil {
		t.Fatal(err)
	}
	rule, matcher := set.Rules()[0], set.NewMatcher()
	table := cat.Table("public", "v")
	rel := relationOf(table)
	results, err := conn.PgConn().Exec(ctx, "SELECT * FROM v ORDER BY id; SELECT row_to_json(v) FROM v ORDER BY id").ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	zoned := map[cdc.Kind]bool{cdc.KindTimestamp: true, cdc.KindTimestampTZ: true}
	for i, r := range results[0].Rows {
		body, err := payload.Build(nil, matcher, rule, "e", rules.TxInfo{}, &cdc.Change{Op: cdc.Create, Rel: rel, Key: string(r[0]), After: rowOf(t, rel, r)})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Data struct{ Record map[string]any }
		}
		decode(t, body, &got)
		var want map[string]any
		decode(t, results[1].Rows[i][0], &want)
		for _, c := range rel.Columns {
			want[c.Name] = inUTC(want[c.Name], zoned[c.Type.Kind] || c.Type.Elem != nil && zoned[c.Type.Elem.Kind])
		}
		if diff := cmp.Diff(want, got.Data.Record); diff != "" {
			t.Errorf("row %d (-PostgreSQL +body):\n%s", i+1, diff)
		}
	}
}

// inUTC marks PostgreSQL's timestamps as UTC, as bodies do.
func inUTC(v any, timestamp bool) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = inUTC(v[i], timestamp)
		}
	case string:
		if !timestamp || v == "infinity" || v == "-infinity" {
			return v
		}
		at, err := time.Parse("2006-01-02T15:04:05.999999999Z07:00", v)
		if err != nil {
			at, err = time.Parse("2006-01-02T15:04:05.999999999", v)
		}
		if err != nil {
			return err.Error()
		}
		return at.UTC().Format(time.RFC3339Nano)
	}
	return v
}
