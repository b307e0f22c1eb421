package delivery

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// Changes of several transactions come out of a record as they went in, with their transaction, and without secrets.
func TestRecordedChangesComeBackAsTheyWere(t *testing.T) {
	text := cdc.BuiltinType(25)
	rel := cdc.NewRelation(7, "public", "res_users", 'f', []cdc.Column{{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "login", Type: text}, {Name: "password", Type: text}}, []string{"id"})
	row := func(values ...string) cdc.Row {
		var list []cdc.Value
		for i, v := range values {
			list = append(list, cdc.Value{State: cdc.Present, Text: []byte(v), Type: rel.Columns[i].Type})
		}
		r, ok := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, list))
		if !ok {
			t.Fatal("no row")
		}
		return r
	}
	at := time.Date(2026, 3, 1, 9, 30, 0, 123456000, time.UTC)
	p := &Planner{}
	p.Record(func() bool { return true })
	var r recording
	for n, login := range []string{"ann\n", "bob", "日本"} {
		tx := cdc.NewTx(uint32(10+n/2), cdc.LSN(1000+n/2), cdc.LSN(1001+n/2), at, nil)
		c := &cdc.Change{Op: cdc.Write, Rel: rel, Key: "1", Before: row("1", "x", "very-secret"), After: row("1", login, "very-secret"), Ordinal: uint64(n), Writes: 1}
		if !p.keeps(c) {
			t.Fatal("a write is not recorded")
		}
		if _, err := r.add(tx, c); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 { // the second one is of nothing
		got, err := r.take()
		if err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			if got != nil {
				t.Errorf("nothing was recorded, and %d changes were taken", got.Changes)
			}
			break
		}
		if got.Changes != 3 || got.FirstLSN != 1000 || got.LastLSN != 1001 || len(got.Tables) != 1 || got.Tables[0] != "public.res_users" {
			t.Errorf("recorded is %+v", got)
		}
		text, err := io.ReadAll(flate.NewReader(bytes.NewReader(got.Data)))
		if err != nil || bytes.Contains(text, []byte("secret")) || !bytes.Contains(text, []byte("bob")) {
			t.Errorf("recorded is %q, %v", text, err)
		}
		if n := bytes.Count(text, []byte("password")); n != 1 {
			t.Errorf("the shape of the table is recorded %d times", n)
		}
		var logins []string
		if err := got.Each(func(c RecordedChange) error {
			logins = append(logins, string(c.Change.After.Value(1).Text))
			if want := uint32(10 + len(logins)/3); c.XID != want || !c.CommitAt.Equal(at) || c.Change.After.Value(2).State != cdc.Unknown {
				t.Errorf("change %d is of transaction %d at %s: %+v", len(logins), c.XID, c.CommitAt, c.Change)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if strings.Join(logins, "|") != "ann\n|bob|日本" {
			t.Errorf("logins are %q", logins)
		}
	}
	if p.keeps(&cdc.Change{Op: cdc.Truncate, Rel: rel}) {
		t.Error("a truncated table is recorded")
	}
}

// What is gathered from changes is not recorded beside them: rules gather it again when they are tried on the record.
func TestGatheredChangesAreRecordedOnce(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "all", Rollup: []any{"order_line"}, Fields: []string{"name"}})
	p := NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{})
	p.Record(func() bool { return true })
	tx := newLinesWAL(t, set, 0).tx("+line 1 1 desk 2", "+line 2 2 desk 2", "+order 3 S3 draft")
	if err := p.Prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
		t.Fatal(err)
	}
	var recorded []string
	deliveries := 0
	for step, err := range p.Plan(t.Context(), tx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if deliveries += len(step.Deliveries); step.Recorded != nil {
			recorded = append(recorded, step.Recorded.Rel.Name+" "+step.Recorded.Key)
		}
	}
	if got := strings.Join(recorded, ", "); got != "sale_order_line 1, sale_order_line 2, sale_order 3" || deliveries != 3 {
		t.Errorf("%d deliveries, recorded: %s", deliveries, got)
	}
}

// BenchmarkRecord measures what recording a change of a wide table costs.
func BenchmarkRecord(b *testing.B) {
	columns := []cdc.Column{{Name: "id", Type: cdc.BuiltinType(23)}}
	values := []cdc.Value{{State: cdc.Present, Text: []byte("42"), Type: columns[0].Type}}
	for i := range 51 {
		columns = append(columns, cdc.Column{Name: "column_number_" + string(rune('a'+i%26)) + string(rune('a'+i/26)), Type: cdc.BuiltinType(25)})
		v := cdc.Value{State: cdc.Null, Type: columns[i+1].Type}
		if i%2 == 0 {
			v.State, v.Text = cdc.Present, []byte("some value")
		}
		values = append(values, v)
	}
	rel := cdc.NewRelation(7, "public", "sale_order", 'f', columns, []string{"id"})
	row, _ := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, values))
	c := &cdc.Change{Op: cdc.Write, Rel: rel, Key: "42", Before: row, After: row, Writes: 1}
	tx := cdc.NewTx(1, 1000, 1001, time.Now(), nil)
	p := &Planner{}
	p.Record(func() bool { return true })
	var r recording
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		if !p.keeps(c) {
			b.Fatal("a write is not recorded")
		}
		if _, err := r.add(tx, c); err != nil {
			b.Fatal(err)
		}
		if r.sum.Changes == 100 {
			got, err := r.take()
			if err != nil {
				b.Fatal(err)
			}
			size = len(got.Data)
		}
	}
	b.ReportMetric(float64(size)/100, "bytes/change")
}

// A column that repeats another record's secret under a name that says nothing is neither recorded nor kept with what is parked.
func TestRepeatedSecretsAreNotKept(t *testing.T) {
	integer, text := cdc.BuiltinType(23), cdc.BuiltinType(25)
	users := &catalog.Table{OID: 1, Schema: "public", Name: "res_users", Identity: 'f', PrimaryKey: []string{"id"}, Columns: []catalog.Column{{Name: "id", Type: integer}, {Name: "password", Type: text}}}
	device := &catalog.Table{OID: 2, Schema: "public", Name: "device", Identity: 'f', PrimaryKey: []string{"id"}, Columns: []catalog.Column{{Name: "id", Type: integer}, {Name: "user_id", Type: integer}, {Name: "name", Type: text}, {Name: "note", Type: text}}}
	fields := func(t *catalog.Table) (out []*catalog.Field) {
		for i := range t.Columns {
			out = append(out, &catalog.Field{Name: t.Columns[i].Name, Type: "char", Stored: true, Column: &t.Columns[i]})
		}
		return out
	}
	models := []*catalog.Model{{Name: "res.users", Table: users, Fields: fields(users)}, {Name: "device", Table: device, Fields: fields(device)}}
	models[1].Fields[1].Type, models[1].Fields[1].Relation = "many2one", "res.users"
	models[1].Fields[3].Related = "user_id.password"
	set, err := rules.Compile([]rules.Config{{Name: "r", Model: "device", On: []string{"create"}, Endpoint: "erp"}}, catalog.New([]*catalog.Table{users, device}, models, &catalog.Odoo{}))
	if err != nil {
		t.Fatal(err)
	}
	var columns []cdc.Column
	var values []cdc.Value
	for i, v := range []string{"1", "2", "a name", "hunter2"} {
		columns = append(columns, cdc.Column{Name: device.Columns[i].Name, Type: device.Columns[i].Type})
		values = append(values, cdc.Value{State: cdc.Present, Text: []byte(v), Type: columns[i].Type})
	}
	rel := cdc.NewRelation(2, "public", "device", 'f', columns, []string{"id"})
	row, _ := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, values))
	c, tx := &cdc.Change{Op: cdc.Create, Rel: rel, Key: "1", After: row, Writes: 1}, cdc.NewTx(1, 1000, 1001, time.Now(), nil)
	p := NewPlanner(testIdentity, set, testEndpoints, nil)
	if err := p.park(tx, rules.TxInfo{}, c, set.Rules()[0], io.ErrUnexpectedEOF); err != nil {
		t.Fatal(err)
	}
	in := NewIngest(nil, p, nil, Position{}, IngestTrace{})
	if _, err := in.recording.add(tx, c); err != nil {
		t.Fatal(err)
	}
	recorded, err := in.recording.take()
	if err != nil {
		t.Fatal(err)
	}
	packed, err := io.ReadAll(flate.NewReader(bytes.NewReader(recorded.Data)))
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{"parked": p.step.Parked[0].Change, "recorded": packed} {
		if !bytes.Contains(data, []byte("a name")) || bytes.Contains(data, []byte("hunter2")) {
			t.Errorf("what is %s: %q", what, data)
		}
	}
}
