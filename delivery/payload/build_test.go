package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// orders is an Odoo database in miniature: one model with a field of each sort, and one plain table.
func orders() *catalog.Catalog {
	columns := func(pairs ...any) []catalog.Column {
		var out []catalog.Column
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, catalog.Column{Name: pairs[i].(string), Type: cdc.BuiltinType(uint32(pairs[i+1].(int)))})
		}
		return out
	}
	order := &catalog.Table{OID: 1, Schema: "public", Name: "sale_order", Identity: 'f', PrimaryKey: []string{"id"}, Columns: columns(
		"id", oidInt4, "name", oidText, "state", oidText, "amount_total", oidNumeric, "partner_id", oidInt4, "date_order", oidTimestamp,
		"validity_date", oidDate, "locked", oidBool, "note", oidText, "description", oidText, "labels", oidJSONB, "image", oidBytea,
		"access_token", oidText, "write_date", oidTimestamp)}
	plain := &catalog.Table{OID: 2, Schema: "public", Name: "stock level", Identity: 'f', PrimaryKey: []string{"shop", "sku"}, Columns: columns(
		"sku", oidText, "shop", oidInt4, "active", oidBool, "sizes", oidInt4Array, "photo", oidBytea)}
	code := &catalog.Table{OID: 3, Schema: "public", Name: "code", Identity: 'd', PrimaryKey: []string{"code"}, Columns: columns("code", oidText, "label", oidText)}
	model := &catalog.Model{Name: "sale.order", Label: "Sales Order", Table: order}
	types := map[string]string{"note": "html", "locked": "boolean", "image": "binary", "partner_id": "many2one"}
	for i := range order.Columns {
		c := &order.Columns[i]
		f := &catalog.Field{Name: c.Name, Type: "char", Stored: true, Column: c}
		if ttype := types[c.Name]; ttype != "" {
			f.Type = ttype
		}
		if f.Type == "many2one" {
			f.Relation = "res.partner"
		}
		model.Fields = append(model.Fields, f)
	}
	return catalog.New([]*catalog.Table{code, order, plain}, []*catalog.Model{model}, &catalog.Odoo{})
}

// relation is the table as WAL describes it.
func relation(t *catalog.Table) *cdc.Relation {
	var columns []cdc.Column
	for _, c := range t.Columns {
		columns = append(columns, cdc.Column{Name: c.Name, Type: c.Type})
	}
	return cdc.NewRelation(t.OID, t.Schema, t.Name, t.Identity, columns, t.PrimaryKey)
}

const (
	null    = "\x00NULL"    // as a value in row: NULL
	unknown = "\x00unknown" // unchanged TOAST without an old row
)

// row makes a row image; columns that are not given are NULL.
func row(t testing.TB, rel *cdc.Relation, image cdc.Image, values map[string]string) cdc.Row {
	t.Helper()
	encoded := make([]cdc.Value, len(rel.Columns))
	for i, c := range rel.Columns {
		text, given := values[c.Name]
		switch {
		case !given, text == null:
			encoded[i].State = cdc.Null
		case text == unknown:
		default:
			encoded[i] = cdc.Value{State: cdc.Present, Text: []byte(text)}
		}
	}
	for name := range values {
		if rel.Column(name) < 0 {
			t.Fatalf("%s has no column %s", rel, name)
		}
	}
	r, ok := cdc.NewRow(rel, image, cdc.AppendTuple(nil, encoded))
	if !ok {
		t.Fatal("the row does not fit its relation")
	}
	return r
}

// with returns a copy of values with some of them set.
func with(values map[string]string, pairs ...string) map[string]string {
	out := make(map[string]string, len(values))
	for k, v := range values {
		out[k] = v
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

var draft = map[string]string{
	"id": "42", "name": `S00042 "Käse & <Co>"`, "state": "draft", "amount_total": "0", "partner_id": "7", "date_order": "2026-03-01 09:30:00.5",
	"note": "<p>Terms</p>", "description": "short", "labels": `{"en_US": "Order", "fr_FR": "Commande"}`, "image": `\x615735685a32553d`, "access_token": "hush",
	"write_date": "2026-03-01 09:30:00",
}

var commit = rules.TxInfo{XID: 4711, LSN: 0x16B3748, Time: time.Date(2026, 3, 1, 10, 30, 0, 123456000, time.FixedZone("CET", 3600))}

func compile(t testing.TB, cat *catalog.Catalog, config rules.Config) (*rules.Rule, *rules.Matcher) {
	t.Helper()
	config.Name, config.Endpoint = "the_rule", "erp"
	if config.On == nil {
		config.On = []string{"create", "write", "unlink"}
	}
	if config.Table == "" && config.Model == "" {
		config.Model = "sale.order"
	}
	set, err := rules.Compile([]rules.Config{config}, cat)
	if err != nil {
		t.Fatal(err)
	}
	return set.Rules()[0], set.NewMatcher()
}

type bodyCase struct {
	name   string
	config rules.Config
	change func(t testing.TB, rel *cdc.Relation) *cdc.Change
}

func write(before, after map[string]string) func(testing.TB, *cdc.Relation) *cdc.Change {
	return func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Write, Rel: rel, Key: "42", Writes: 3, Before: row(t, rel, cdc.ImageFull, before), After: row(t, rel, cdc.ImageFull, after)}
	}
}

var bodyCases = []bodyCase{
	{"create_whole", rules.Config{}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Create, Rel: rel, Key: "42", After: row(t, rel, cdc.ImageFull, draft)}
	}},
	{"write_whole", rules.Config{Event: "sale.order.confirmed"}, write(draft, with(draft, "state", "sale", "amount_total", "1250.50", "validity_date", "2026-04-01",
		"note", "<p>Other</p>", "access_token", "changed", "image", `\x00`, "locked", "f", "write_date", "2026-03-01 10:30:00"))},
	{"write_whole_large", rules.Config{}, write(draft, with(draft, "state", "sale", "description", strings.Repeat("x", LargeValue+1)))},
	{"write_whole_no_longer_large", rules.Config{}, write(with(draft, "labels", `{"a": "`+strings.Repeat("x", LargeValue)+`"}`), with(draft, "name", "S00043"))},
	{"write_fields", rules.Config{Fields: []string{"state", "name", "note", "image", "locked", "amount_total", "description"}},
		write(with(draft, "amount_total", "10.0"), with(draft, "state", "sale", "amount_total", "10.00", "locked", "t", "description", strings.Repeat("y", LargeValue+1), "partner_id", "8"))},
	{"write_payload", rules.Config{Payload: rules.Payload{"number": "name", "total": "amount_total", "big": `after.amount_total > 1000`, "shout": `upper(after.name)`}},
		write(draft, with(draft, "name", "S00042", "state", "sale", "amount_total", "1250.50"))},
	{"write_unknown_before", rules.Config{Fields: []string{"state", "description"}}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Write, Rel: rel, Key: "42", Before: cdc.Row{Image: cdc.ImageUnknown}, After: row(t, rel, cdc.ImageFull, with(draft, "description", unknown))}
	}},
	{"write_unknown_value", rules.Config{}, write(with(draft, "description", unknown), with(draft, "description", unknown, "labels", unknown, "state", "sale"))},
	{"write_raw", rules.Config{EachWrite: true, Fields: []string{"state"}}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		c := write(draft, with(draft, "state", "sent"))(t, rel)
		c.Raw, c.Ordinal, c.Writes = true, 5, 1
		return c
	}},
	{"write_no_shown_field_changed", rules.Config{Fields: []string{"name"}}, write(draft, with(draft, "state", "sale"))},
	{"unlink_full", rules.Config{Fields: []string{"name", "state", "locked", "validity_date"}}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Unlink, Rel: rel, Key: "42", Before: row(t, rel, cdc.ImageFull, draft)}
	}},
	{"unlink_key_only", rules.Config{Fields: []string{"id"}}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Unlink, Rel: rel, Key: "42", Before: row(t, rel, cdc.ImageKey, map[string]string{"id": "42"})}
	}},
	{"unlink_whole_key_only", rules.Config{}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Unlink, Rel: rel, Key: "42", Before: row(t, rel, cdc.ImageKey, map[string]string{"id": "42"})}
	}},
	{"unlink_nothing_known", rules.Config{}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Unlink, Rel: rel, Key: "42", Before: cdc.Row{Image: cdc.ImageUnknown}}
	}},
	{"plain_composite_key", rules.Config{Table: "stock level"}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Create, Rel: rel, Key: `3,A\,1`, After: row(t, rel, cdc.ImageFull, map[string]string{"sku": "A,1", "shop": "3", "sizes": "{38,NULL}", "photo": `\x00ff10`})}
	}},
	{"plain_fields", rules.Config{Table: "stock level", Fields: []string{"photo", "active"}}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Create, Rel: rel, Key: "3,A", After: row(t, rel, cdc.ImageFull, map[string]string{"sku": "A", "shop": "3", "photo": `\x00ff10`})}
	}},
	{"plain_text_key", rules.Config{Table: "code"}, func(t testing.TB, rel *cdc.Relation) *cdc.Change {
		return &cdc.Change{Op: cdc.Create, Rel: rel, Key: "007", After: row(t, rel, cdc.ImageFull, map[string]string{"code": "007", "label": "Bond"})}
	}},
}

// Golden files hold bodies to the byte; "go test ./delivery/payload -update" writes them anew.
func TestBuild(t *testing.T) {
	cat := orders()
	for _, tc := range bodyCases {
		t.Run(tc.name, func(t *testing.T) {
			r, m := compile(t, cat, tc.config)
			c := tc.change(t, relation(r.Table))
			got, err := Build([]byte("kept:"), m, r, r.EventName(c.Op), commit, c)
			if err != nil {
				t.Fatal(err)
			}
			got, found := bytes.CutPrefix(got, []byte("kept:"))
			if !found {
				t.Fatal("what dst held is gone")
			}
			if !json.Valid(got) {
				t.Errorf("no JSON: %s", got)
			}
			if again, err := Build(nil, m, r, r.EventName(c.Op), commit, c); err != nil || !bytes.Equal(again, got) {
				t.Errorf("the same change gives %s and then %s (%v)", got, again, err)
			}
			if bytes.Contains(got, []byte("hush")) {
				t.Error("the body holds a secret")
			}
			golden := filepath.Join("testdata", tc.name+".json")
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSuffix(string(want), "\n"), string(got)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

// A rule cannot name a secret (Compile refuses it); should one get here all the
// same, it stays out.
func TestSecretOutputIsLeftOut(t *testing.T) {
	r, m := compile(t, orders(), rules.Config{})
	c := write(draft, with(draft, "access_token", "changed"))(t, relation(r.Table))
	b := body{out: []byte("{"), rule: r, change: c, row: c.Row()}
	if err := b.output(m, commit, &rules.Output{Name: "token", Path: "token", Column: "access_token"}); err != nil {
		t.Fatal(err)
	}
	b.changed(c.Rel.Column("access_token"), -1)
	if string(b.out) != "{" || len(b.omitted) != 1 || b.omitted[0] != "token" {
		t.Errorf("wrote %s, omitted %v", b.out, b.omitted)
	}
}

// A table that was altered in the transaction: the old row has the old shape.
func TestRowsOfTwoShapes(t *testing.T) {
	r, m := compile(t, orders(), rules.Config{Fields: []string{"state", "name"}})
	now := relation(r.Table)
	old := cdc.NewRelation(1, "public", "sale_order", 'f', []cdc.Column{{Name: "state", Type: cdc.BuiltinType(oidText)}, {Name: "id", Type: cdc.BuiltinType(oidInt4)}}, []string{"id"})
	c := &cdc.Change{Op: cdc.Write, Rel: now, Key: "42", Before: row(t, old, cdc.ImageFull, map[string]string{"id": "42", "state": "draft"}), After: row(t, now, cdc.ImageFull, with(draft, "state", "sale"))}
	got, err := Build(nil, m, r, "e", commit, c)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte(`"changes":{"state":{"before":"draft","after":"sale"}}`)) || !bytes.Contains(got, []byte(`"omitted":["name"]`)) {
		t.Errorf("got %s", got)
	}
}

func TestBuildFails(t *testing.T) {
	r, m := compile(t, orders(), rules.Config{Payload: rules.Payload{"a": "name", "broken": `upper(after.description)`}})
	c := write(draft, with(draft, "description", unknown))(t, relation(r.Table))
	got, err := Build([]byte("kept"), m, r, "e", commit, c)
	var eval *rules.EvalError
	if !errors.As(err, &eval) || eval.Path != "payload.broken" || eval.Rule != "the_rule" {
		t.Errorf("error %#v", err)
	}
	if string(got) != "kept" {
		t.Errorf("dst is now %s", got)
	}
}

// Any row of the table gives valid JSON that holds each column once at most, secrets never,
// and names every column that it should show and does not.
func TestAnyRow(t *testing.T) {
	cat := orders()
	r, m := compile(t, cat, rules.Config{})
	rel := relation(r.Table)
	text := rapid.OneOf(rapid.SampledFrom([]string{null, unknown, "t", "1.50", "2026-03-01 09:30:00", `{"a": 1}`, `\x00ff`, strings.Repeat("z", LargeValue+1)}), rapid.String())
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(label string) map[string]string {
			values := map[string]string{"id": "42"}
			for _, c := range rel.Columns[1:] {
				values[c.Name] = text.Draw(rt, label+" "+c.Name)
			}
			values["access_token"] = "hush, a secret"
			return values
		}
		after := draw("after")
		c := write(draw("before"), after)(t, rel)
		got, err := Build(nil, m, r, "sale.order.write", commit, c)
		if err != nil {
			rt.Fatal(err)
		}
		if bytes.Contains(got, []byte("hush, a secret")) {
			rt.Fatalf("the body holds a secret: %s", got)
		}
		var body struct {
			Data struct {
				Record  map[string]json.RawMessage
				Changes map[string]struct{ Before, After json.RawMessage }
				Omitted []string
			}
		}
		if err := json.Unmarshal(got, &body); err != nil {
			rt.Fatalf("%v in %s", err, got)
		}
		omitted := map[string]bool{}
		for _, name := range body.Data.Omitted {
			if omitted[name] {
				rt.Fatalf("%s is named twice in omitted", name)
			}
			omitted[name] = true
		}
		for _, column := range rel.Columns {
			value, shown := body.Data.Record[column.Name]
			hidden := map[string]bool{"note": true, "image": true, "access_token": true}[column.Name]
			given := after[column.Name]
			switch {
			case hidden && (shown || omitted[column.Name]):
				rt.Fatalf("%s is not hidden: %s", column.Name, got)
			case hidden:
			case given == unknown || len(given) > LargeValue:
				if shown || !omitted[column.Name] {
					rt.Fatalf("%s is unknown or large, and not (only) named as omitted: %s", column.Name, got)
				}
			case !shown:
				rt.Fatalf("%s is missing: %s", column.Name, got)
			case given == null && string(value) != "null" && column.Name != "locked":
				rt.Fatalf("%s is %s instead of null", column.Name, value)
			}
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for name, config := range map[string]rules.Config{"whole": {}, "fields": {Fields: []string{"name", "state", "amount_total"}},
		"payload": {Payload: rules.Payload{"order": "name", "state": "state", "total": "amount_total", "big": "after.amount_total > 1000"}}} {
		b.Run(name, func(b *testing.B) {
			r, m := compile(b, orders(), config)
			c := write(draft, with(draft, "state", "sale"))(b, relation(r.Table))
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = Build(dst[:0], m, r, "sale.order.write", commit, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What a payload sends as a digest stands nowhere else in the body.
func TestDigestsHideWhatTheyAreOf(t *testing.T) {
	r, m := compile(t, orders(), rules.Config{On: []string{"write"}, Payload: rules.Payload{"key": "sha256(name)", "state": "state"}})
	c := write(with(draft, "name", "old-name"), with(draft, "name", "new-name", "state", "sale"))(t, relation(r.Table))
	body, err := Build(nil, m, r, "x", rules.TxInfo{}, c)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(body); strings.Contains(text, "-name") || !strings.Contains(text, `"changes":{"state":{`) {
		t.Error(text)
	}
}
