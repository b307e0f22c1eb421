package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// Tables of the tests of gathering: orders with lines and tags. Deleting an order deletes its lines.
const (
	lineOID = 11
	tagOID  = 12
)

// linesCatalog is a database of orders, their lines and their tags.
func linesCatalog() *catalog.Catalog {
	integer, text, stamp := cdc.BuiltinType(23), cdc.BuiltinType(1043), cdc.BuiltinType(1114)
	columns := func(pairs ...any) (out []catalog.Column) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, catalog.Column{Name: pairs[i].(string), Type: pairs[i+1].(*cdc.Type)})
		}
		return out
	}
	orders := &catalog.Table{OID: orderOID, Schema: "public", Name: "sale_order", Identity: 'f', PrimaryKey: []string{"id"}, Columns: columns("id", integer, "name", text, "state", text)}
	lines := &catalog.Table{OID: lineOID, Schema: "public", Name: "sale_order_line", Identity: 'f', PrimaryKey: []string{"id"},
		Columns: columns("id", integer, "order_id", integer, "name", text, "qty", integer, "access_token", text, "write_uid", integer, "write_date", stamp)}
	lines.ForeignKeys = []catalog.ForeignKey{{Columns: []string{"order_id"}, References: orders, OnDelete: 'c'}}
	tags := &catalog.Table{OID: tagOID, Schema: "public", Name: "sale_order_tag_rel", Identity: 'd', PrimaryKey: []string{"order_id", "tag_id"}, Columns: columns("order_id", integer, "tag_id", integer)}
	model := func(name string, t *catalog.Table, more ...*catalog.Field) *catalog.Model {
		m := &catalog.Model{Name: name, Table: t, Fields: more}
		for i := range t.Columns {
			c := &t.Columns[i]
			f := &catalog.Field{Name: c.Name, Type: "char", Stored: true, Column: c}
			if c.Name == "order_id" {
				f.Type, f.Relation = "many2one", "sale.order"
			}
			m.Fields = append(m.Fields, f)
		}
		return m
	}
	return catalog.New([]*catalog.Table{orders, lines, tags}, []*catalog.Model{
		model("sale.order", orders, &catalog.Field{Name: "order_line", Type: "one2many", Stored: true, Relation: "sale.order.line", RelationField: "order_id"},
			&catalog.Field{Name: "tag_ids", Type: "many2many", Stored: true, Relation: "crm.tag", RelationTable: "sale_order_tag_rel", Column1: "order_id", Column2: "tag_id"}),
		model("sale.order.line", lines)}, &catalog.Odoo{Schema: "public"})
}

func compileLines(t testing.TB, configs ...rules.Config) *rules.Set {
	t.Helper()
	for i := range configs {
		if configs[i].Model == "" {
			configs[i].Model = "sale.order"
		}
		if configs[i].On == nil {
			configs[i].On = []string{"create", "write", "unlink"}
		}
		if configs[i].Endpoint == "" {
			configs[i].Endpoint = "erp"
		}
	}
	set, err := rules.Compile(configs, linesCatalog())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// linesWAL writes transactions of these tables. Each statement is a table with a row: "+order 1 S1 draft", "~line 5 1 desk 2 > 5 1 desk 3",
// "-tag 1 9"; "?" is a value that WAL does not hold, and "~line ? > 5 1 desk 3" an update whose old row it does not hold at all.
type linesWAL struct {
	t       testing.TB
	decoder *cdc.Decoder
	lsn     uint64
	xid     uint32
}

type linesSchema struct{}

func (linesSchema) Type(context.Context, uint32) (*cdc.Type, error) { return nil, nil }
func (linesSchema) Describe(_ context.Context, oid uint32) (cdc.Description, error) {
	if oid == tagOID {
		return cdc.Description{Key: []string{"order_id", "tag_id"}}, nil
	}
	return cdc.Description{Key: []string{"id"}}, nil
}

func newLinesWAL(t testing.TB, set *rules.Set, memory int64) *linesWAL {
	w := &linesWAL{t: t, decoder: cdc.NewDecoder(linesSchema{}, set.Wants, cdc.Limits{Memory: memory, TempDir: t.TempDir()}), lsn: 1000, xid: 700}
	w.decoder.Judge(Judge(set))
	return w
}

func (w *linesWAL) tx(statements ...string) *cdc.Tx {
	w.t.Helper()
	w.lsn += 1000
	w.xid++
	const commitTime = uint64(820_000_000_000_000)
	messages := [][]byte{message('B', w.lsn, commitTime, w.xid),
		walRelation(orderOID, "sale_order", "id", 23, "name", 1043, "state", 1043),
		walRelation(lineOID, "sale_order_line", "id", 23, "order_id", 23, "name", 1043, "qty", 23, "access_token", 1043, "write_uid", 23, "write_date", 1114),
		walRelation(tagOID, "sale_order_tag_rel", "order_id", 23, "tag_id", 23)}
	tables := map[string]uint32{"order": orderOID, "line": lineOID, "tag": tagOID}
	for n, s := range statements {
		name, values, _ := strings.Cut(s[1:], " ")
		oid := tables[name]
		row := func(text string) []byte {
			var out []any
			for _, v := range strings.Fields(text) {
				if v == "nil" {
					out = append(out, nil)
				} else {
					out = append(out, v)
				}
			}
			if oid == lineOID {
				out = append(out, "secret", 2, fmt.Sprintf("2026-01-01 00:00:%02d", n%60))
			}
			return walTuple(out)
		}
		before, after, _ := strings.Cut(values, " > ")
		switch s[0] {
		case '+':
			messages = append(messages, message('I', oid, byte('N'), row(values)))
		case '-':
			if before == "?" {
				messages = append(messages, message('D', oid, byte('K'), walTuple([]any{"5", nil, nil, nil, nil, nil, nil})))
			} else {
				messages = append(messages, message('D', oid, byte('O'), row(before)))
			}
		case '~':
			if before == "?" {
				messages = append(messages, message('U', oid, byte('N'), row(after)))
			} else {
				messages = append(messages, message('U', oid, byte('O'), row(before), byte('N'), row(after)))
			}
		}
	}
	messages = append(messages, message('C', byte(0), w.lsn, w.lsn+100, commitTime))
	for _, m := range messages {
		tx, err := w.decoder.Decode(w.t.Context(), m)
		if err != nil {
			w.t.Fatal(err)
		}
		if tx != nil {
			w.t.Cleanup(func() {
				if err := tx.Close(); err != nil {
					w.t.Error(err)
				}
			})
			return tx
		}
	}
	w.t.Fatal("no transaction")
	return nil
}

// ordersLoader knows orders as they are now: number n is called "now n"; number 404 is gone.
type ordersLoader struct {
	loads int
	err   error
}

func (l *ordersLoader) Begin(context.Context, []*cdc.Tx) error { return nil }

func (l *ordersLoader) Load(_ context.Context, link *rules.Link, ids []int64, found func(int64, []cdc.Row) error) error {
	l.loads++
	if l.err != nil {
		return l.err
	}
	if link.Table != "sale_order" || link.By != "id" {
		return fmt.Errorf("asked for %s", link)
	}
	rel := cdc.NewRelation(orderOID, "public", "sale_order", 'f', []cdc.Column{{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "name", Type: cdc.BuiltinType(1043)}, {Name: "state", Type: cdc.BuiltinType(1043)}}, []string{"id"})
	for _, id := range ids {
		text := func(s string) cdc.Value { return cdc.Value{State: cdc.Present, Text: []byte(s)} }
		row, _ := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, []cdc.Value{text(fmt.Sprint(id)), text(fmt.Sprintf("now %d", id)), text("sale")}))
		rows := []cdc.Row{row}
		if id == 404 {
			rows = nil
		}
		if err := found(id, rows); err != nil {
			return err
		}
	}
	return nil
}

// event is what a body says, as far as gathering goes.
type event struct {
	Record, Op, Name string
	Lines            string
}

func events(t testing.TB, list []*Delivery) (out []event) {
	t.Helper()
	for _, d := range list {
		var body struct {
			Data struct {
				Op     string
				Record struct{ Name string }
				Lines  json.RawMessage
				Cut    bool `json:"lines_truncated"`
			}
		}
		if err := json.Unmarshal(d.Body, &body); err != nil {
			t.Fatalf("%s: %v", d.Body, err)
		}
		if body.Data.Op != d.Op {
			t.Errorf("op %s, and %s in the body", d.Op, body.Data.Op)
		}
		e := event{Record: d.Record, Op: d.Op, Name: body.Data.Record.Name, Lines: string(body.Data.Lines)}
		if body.Data.Cut {
			e.Lines += " cut"
		}
		out = append(out, e)
	}
	return out
}

const (
	desk2 = `{"id":5,"record":{"name":"desk","qty":2}}`
	desk3 = `{"id":5,"record":{"name":"desk","qty":3},"changes":{"qty":{"before":2,"after":3}}}`
)

func added(lines string) string {
	return `{"order_line":{"added":[` + lines + `],"changed":[],"removed":[]}}`
}
func changed(lines string) string {
	return `{"order_line":{"added":[],"changed":[` + lines + `],"removed":[]}}`
}
func removed(lines string) string {
	return `{"order_line":{"added":[],"changed":[],"removed":[` + lines + `]}}`
}

// B9: what a transaction does to the lines of a record is one event of the record, together with what it does to the record.
func TestRollup(t *testing.T) {
	set := compileLines(t,
		rules.Config{Name: "all", Rollup: []any{"order_line", "tag_ids"}, Fields: []string{"name"}},
		rules.Config{Name: "plain", Fields: []string{"name"}, Endpoint: "log"})
	for _, tt := range []struct {
		name string
		sql  []string
		want []event
	}{
		{"a line is added", []string{"+line 5 1 desk 2"}, []event{{"1", "write", "now 1", added(desk2)}}},
		{"a line is changed twice", []string{"~line 5 1 desk 2 > 5 1 desk 9", "~line 5 1 desk 9 > 5 1 desk 3"}, []event{{"1", "write", "now 1", changed(desk3)}}},
		{"a line is only touched", []string{"~line 5 1 desk 2 > 5 1 desk 2"}, nil},
		{"a line is removed", []string{"-line 5 1 desk 2"}, []event{{"1", "write", "now 1", removed(desk2)}}},
		{"a line that is nobody's", []string{"+line 5 nil desk 2"}, nil},
		{"a line comes and goes", []string{"+line 5 1 desk 2", "-line 5 1 desk 2"}, nil},
		{"a line moves", []string{"~line 5 1 desk 2 > 5 2 desk 2"}, []event{{"1", "write", "now 1", removed(desk2)}, {"2", "write", "now 2", added(desk2)}}},
		{"lines of two orders", []string{"+line 5 1 desk 2", "+line 6 2 lamp 1", "+line 7 1 chair 4"}, []event{
			{"2", "write", "now 2", added(`{"id":6,"record":{"name":"lamp","qty":1}}`)},
			{"1", "write", "now 1", added(desk2 + `,{"id":7,"record":{"name":"chair","qty":4}}`)}}},
		{"order and line are written", []string{"~order 1 S1 draft > 1 S1 sale", "~line 5 1 desk 2 > 5 1 desk 3"}, []event{
			{"1", "write", "S1", ""}, {"1", "write", "S1", changed(desk3)}}}, // the first is plain's
		{"line and order are written", []string{"~line 5 1 desk 2 > 5 1 desk 3", "~order 1 S1 draft > 1 S1 sale"}, []event{
			{"1", "write", "S1", ""}, {"1", "write", "S1", changed(desk3)}}},
		{"the order is only touched", []string{"~order 1 S1 draft > 1 S1 draft", "~line 5 1 desk 2 > 5 1 desk 3"}, []event{{"1", "write", "S1", changed(desk3)}}},
		{"an order is created with lines", []string{"+order 1 S1 draft", "+line 5 1 desk 2", "~order 1 S1 draft > 1 S2 draft"}, []event{
			{"1", "create", "S2", ""}, {"1", "create", "S2", added(desk2)}}},
		{"an order is deleted with lines", []string{"-order 1 S1 draft", "-line 5 1 desk 2"}, []event{
			{"1", "unlink", "S1", ""}, {"1", "unlink", "S1", removed(desk2)}}},
		{"an order alone", []string{"~order 1 S1 draft > 1 S1 sale"}, []event{{"1", "write", "S1", ""}, {"1", "write", "S1", ""}}},
		{"tags", []string{"+tag 1 9", "+tag 1 8", "-tag 1 3"}, []event{{"1", "write", "now 1", `{"tag_ids":{"added":[9,8],"removed":[3]}}`}}},
		{"tags and lines", []string{"+tag 1 9", "+line 5 1 desk 2"}, []event{{"1", "write", "now 1",
			`{"order_line":{"added":[` + desk2 + `],"changed":[],"removed":[]},"tag_ids":{"added":[9],"removed":[]}}`}}},
	} {
		for memory, where := range map[int64]string{0: "in memory", 1: "spilled"} {
			tx := newLinesWAL(t, set, memory).tx(tt.sql...)
			loader := &ordersLoader{}
			got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, loader), 0, tx)
			list := events(t, got.Deliveries)
			order := func(a, b event) int { return strings.Compare(a.Lines, b.Lines) }
			if strings.HasPrefix(tt.name, "an order") || strings.HasPrefix(tt.name, "line and") || strings.HasPrefix(tt.name, "order and") {
				slices.SortStableFunc(list, order) // of two rules on one change either may be first
			}
			if diff := cmp.Diff(tt.want, list); diff != "" || len(got.Parked) > 0 {
				t.Errorf("%s, %s (-want +got):\n%s%v", tt.name, where, diff, got.Parked)
			}
			if memory == 1 && !tx.Spilled() {
				t.Fatal("nothing was spilled")
			}
			for _, d := range got.Deliveries {
				if strings.Contains(string(d.Body), "secret") {
					t.Errorf("%s: %s", tt.name, d.Body)
				}
			}
		}
	}
}

// Conditions see what became of the lines; a rule without a write of its own is not bothered.
func TestRollupConditions(t *testing.T) {
	set := compileLines(t,
		rules.Config{Name: "rolled", Rollup: []any{"order_line"}, When: `rolled("order_line") && after.state == "sale"`, Fields: []string{"name"}},
		rules.Config{Name: "changed", Rollup: []any{"order_line", "tag_ids"}, When: `changed("state", "tag_ids")`, Fields: []string{"name"}},
		rules.Config{Name: "many", Rollup: map[string]any{"order_line": []any{"qty"}}, When: `lines("order_line").added + lines("order_line").removed > 1`, Fields: []string{"name"}},
		rules.Config{Name: "no_writes", On: []string{"create"}, Fields: []string{"name"}})
	for _, tt := range []struct {
		sql  []string
		want string
	}{
		{[]string{"+line 5 1 desk 2"}, "rolled"},
		{[]string{"+line 5 1 desk 2", "-line 6 1 lamp 1"}, "rolled many"},
		{[]string{"~line 5 1 desk 2 > 5 1 table 2"}, "rolled"},
		{[]string{"~order 1 S1 draft > 1 S1 sent", "+line 5 1 desk 2"}, "changed"},
		{[]string{"+tag 1 9"}, "changed"},
		{[]string{"+order 1 S1 sale", "+line 5 1 desk 2", "+line 6 1 lamp 2"}, "rolled changed no_writes many"},
	} {
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{}), 0, newLinesWAL(t, set, 0).tx(tt.sql...))
		var list []string
		for _, d := range got.Deliveries {
			list = append(list, d.Rule)
		}
		slices.Sort(list)
		want := strings.Fields(tt.want)
		slices.Sort(want)
		if !slices.Equal(list, want) || len(got.Parked) > 0 {
			t.Errorf("%v: %v, want %v; parked %v", tt.sql, list, want, got.Parked)
		}
	}
}

// Whatever lies in memory or in a file, and wherever reading begins again, the same events come with the same ids, in ordinals that never fall
// (invariants 3, 6 and 9).
func TestInvariant3RollupIsTheSameEachTime(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "all", Rollup: []any{"order_line", "tag_ids"}}, rules.Config{Name: "lines", Model: "sale.order.line", Endpoint: "shop"})
	var sql []string
	for n := range 400 {
		order := n*7%50 + 1
		switch n % 5 {
		case 0:
			sql = append(sql, fmt.Sprintf("~order %d S draft > %d S sale", order, order))
		case 4:
			sql = append(sql, fmt.Sprintf("+tag %d %d", order, n))
		default:
			sql = append(sql, fmt.Sprintf("+line %d %d desk %d", n+1, order, n))
		}
	}
	type made struct {
		ordinal uint64
		ids     []string
	}
	plan := func(memory int64, from uint64) (out []made) {
		tx := newLinesWAL(t, set, memory).tx(sql...)
		if tx.Spilled() != (memory > 0) {
			t.Fatalf("spilled: %v", tx.Spilled())
		}
		p := NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{})
		if err := p.Prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
			t.Fatal(err)
		}
		last := from
		for s, err := range p.Plan(t.Context(), tx, from) {
			if err != nil {
				t.Fatal(err)
			}
			if s.Ordinal < last {
				t.Fatalf("ordinal %d after %d", s.Ordinal, last)
			}
			last = s.Ordinal
			m := made{ordinal: s.Ordinal}
			for _, d := range s.Deliveries {
				m.ids = append(m.ids, d.ID+" "+string(d.Body))
			}
			out = append(out, m)
		}
		return out
	}
	flat := func(list []made, from uint64) (out []string) {
		for _, m := range list {
			if m.ordinal >= from {
				out = append(out, m.ids...)
			}
		}
		return out
	}
	want := plan(0, 0)
	orders := map[string]int{}
	for _, id := range flat(want, 0) {
		if strings.Contains(id, `"model":"sale.order",`) {
			orders[id[:strings.IndexByte(id, ' ')]]++
		}
	}
	if len(orders) != 50 || slices.Max(slices.Collect(maps.Values(orders))) != 1 {
		t.Errorf("%d orders have events: %v", len(orders), orders)
	}
	for _, memory := range []int64{0, 1, 20_000} {
		for _, from := range []uint64{0, 1, 137, 399} {
			if diff := cmp.Diff(flat(want, from), flat(plan(memory, from), from)); diff != "" {
				t.Errorf("memory %d, from %d (-want +got):\n%s", memory, from, diff)
			}
		}
	}
}

// What WAL does not tell is not guessed: events are parked with the remedy, and what is parked can be tried again.
func TestRollupParks(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "all", Rollup: []any{"order_line"}, When: `after.state == "sale"`, Fields: []string{"name"}})
	for _, tt := range []struct {
		name, sql, want string
		err             error
	}{
		{"an update without its old row", "~line ? > 5 1 desk 2", "whether a line changed: the old row is not in WAL", nil},
		{"a deletion without its old row", "-line ?", "whose order_line it was: the old row is not in WAL", nil},
		{"the order is gone", "+line 5 404 desk 2", "after.state", nil},
		{"the order cannot be read", "+line 5 1 desk 2", "permission denied", errors.New("permission denied")},
	} {
		tx := newLinesWAL(t, set, 0).tx(tt.sql)
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{err: tt.err}), 0, tx)
		if len(got.Deliveries) != 0 || len(got.Parked) != 1 || !strings.Contains(got.Parked[0].Error, tt.want) || got.Parked[0].Rule != "all" {
			t.Errorf("%s: %d deliveries, parked %+v", tt.name, len(got.Deliveries), got.Parked)
			continue
		}
		parked := got.Parked[0]
		if strings.Contains(string(parked.Change), "secret") {
			t.Errorf("%s: a secret is kept: %s", tt.name, parked.Change)
		}
		change, err := cdc.DecodeChange(parked.Change)
		if err != nil {
			t.Fatal(err)
		}
		again := planAll(t, NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{}), 0, cdc.NewTx(parked.XID, parked.CommitLSN, parked.CommitLSN+1, parked.CommitAt, []*cdc.Change{change}))
		if tt.err != nil {
			if list := events(t, again.Deliveries); len(list) != 1 || list[0] != (event{"1", "write", "now 1", added(desk2)}) {
				t.Errorf("%s: tried again: %+v, parked %+v", tt.name, list, again.Parked)
			}
		} else if len(again.Deliveries) != 0 || len(again.Parked) != 1 || again.Parked[0].ID != parked.ID {
			t.Errorf("%s: tried again: %d deliveries, parked %+v", tt.name, len(again.Deliveries), again.Parked)
		}
	}
}

// Invariant 9: of a record with more lines than are sent, and of more records than are held, no event is missing; what is left out is said.
func TestInvariant9RollupIsBounded(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "all", Rollup: []any{"order_line"}, Fields: []string{"name"}})
	limits := gatherLimits{lines: 10, open: 20, bytes: 8 << 20, marked: 50}
	var sql []string
	for n := range limits.lines + 5 {
		sql = append(sql, fmt.Sprintf("+line %d 1 desk 2", n+1))
	}
	for _, memory := range []int64{0, 1} {
		p := NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{})
		p.related.gather.limits = limits
		list := events(t, planAll(t, p, 0, newLinesWAL(t, set, memory).tx(sql...)).Deliveries)
		if len(list) != 1 || !strings.HasSuffix(list[0].Lines, " cut") || strings.Count(list[0].Lines, `"id"`) != limits.lines {
			t.Errorf("%d events, %d lines", len(list), strings.Count(list[0].Lines, `"id"`))
		}
	}
	// Every order is open until its second line, or its own write: most can't be held.
	sql = nil
	const many = 200
	for n := range many {
		sql = append(sql, fmt.Sprintf("+line %d %d desk 2", n+1, n+1))
	}
	for n := range many {
		if n%3 == 0 {
			sql = append(sql, fmt.Sprintf("~order %d S draft > %d S sale", n+1, n+1))
		}
		sql = append(sql, fmt.Sprintf("+line %d %d desk 2", many+n+1, n+1))
	}
	for _, bytes := range []int{8 << 20, 300} {
		limits.bytes = bytes
		p := NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{})
		p.related.gather.limits = limits
		records, ids, whole := map[string]int{}, map[string]bool{}, 0
		for _, d := range planAll(t, p, 0, newLinesWAL(t, set, 1).tx(sql...)).Deliveries {
			records[d.Record]++
			ids[d.ID] = true
			if !strings.Contains(string(d.Body), "lines_truncated") {
				whole++
			}
		}
		for record, n := range records {
			if n != 1 {
				t.Errorf("record %s has %d events", record, n)
			}
		}
		if len(records) != many || len(ids) != many || whole > limits.open {
			t.Errorf("%d of %d records have events, with %d ids, %d whole", len(records), many, len(ids), whole)
		}
	}
}

// A record's own change that there is no room to hold for is its only event, also when its lines find room later: two would have the same id.
func TestInvariant3RollupOfAnEarlyChangeIsOneEvent(t *testing.T) {
	set := compileLines(t, rules.Config{Name: "all", Rollup: []any{"order_line"}, Fields: []string{"name"}})
	const many = 60
	var sql []string
	for n := range many {
		sql = append(sql, fmt.Sprintf("+order %d S draft", n+1))
	}
	for n := range many {
		sql = append(sql, fmt.Sprintf("+line %d %d desk 2", n+1, n+1))
	}
	for n := range many { // the orders of the one line end here, which makes room for lines of the others that are not their last
		sql = append(sql, fmt.Sprintf("+line %d %d desk 2", many+2*n+1, n+1), fmt.Sprintf("+line %d %d desk 2", many+2*n+2, many-n))
	}
	for _, marked := range []int{50, 1000} { // told apart in several passes, and in one
		p := NewPlanner(testIdentity, set, testEndpoints, &ordersLoader{})
		p.related.gather.limits = gatherLimits{lines: 10, open: 20, bytes: 8 << 20, marked: marked}
		records, whole := map[string]int{}, 0
		for _, d := range planAll(t, p, 0, newLinesWAL(t, set, 1).tx(sql...)).Deliveries {
			if records[d.Record]++; d.Op != "create" {
				t.Errorf("record %s: %s", d.Record, d.Op)
			}
			if !strings.Contains(string(d.Body), "lines_truncated") {
				whole++
			}
		}
		for record, n := range records {
			if n != 1 {
				t.Errorf("record %s has %d events", record, n)
			}
		}
		if len(records) != many || whole == 0 {
			t.Errorf("%d of %d records have events, %d whole", len(records), many, whole)
		}
	}
}

// An event that is kept and tried again still knows that the row was deleted with another one, though the rest of the transaction is gone.
func TestCascadeIsKept(t *testing.T) {
	cat := linesCatalog()
	lines := cat.Table("public", "sale_order_line")
	lines.ForeignKeys = append(lines.ForeignKeys, catalog.ForeignKey{Columns: []string{"qty"}, References: lines, OnDelete: 'c'}) // a tree: a line may follow a line
	set, err := rules.Compile([]rules.Config{{Name: "alone", Model: "sale.order.line", On: []string{"unlink"}, When: `cascade == nil`, Fields: []string{"name"}, Endpoint: "erp"}}, cat)
	if err != nil {
		t.Fatal(err)
	}
	p := NewPlanner(testIdentity, set, testEndpoints, nil)
	tx := newLinesWAL(t, set, 0).tx("-line 6 1 desk 5", "-line 5 1 desk nil")
	if got := planAll(t, p, 0, tx).Deliveries; len(got) != 1 || got[0].Record != "5" {
		t.Fatalf("%d deliveries, not of line 5 alone", len(got))
	}
	for c, err := range p.related.gather.changes(tx) {
		if err != nil {
			t.Fatal(err)
		}
		stored, err := cdc.EncodeEvent(c, func(*cdc.Relation, string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		again, err := cdc.DecodeChange(stored)
		if err != nil {
			t.Fatal(err)
		}
		alone := cdc.NewTx(tx.XID, tx.CommitLSN, tx.EndLSN, tx.CommitTime, []*cdc.Change{again})
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, alone).Deliveries
		if want := c.Cascade == nil; len(got) == 1 != want || (c.Key == "5") != want {
			t.Errorf("line %s, cascade %v: %d deliveries when it is tried again", c.Key, c.Cascade, len(got))
		}
	}
}

// B9: a row that the database has deleted with another one says so.
func TestCascade(t *testing.T) {
	set := compileLines(t,
		rules.Config{Name: "lines", Model: "sale.order.line", On: []string{"unlink"}, Fields: []string{"name"}},
		rules.Config{Name: "alone", Model: "sale.order.line", On: []string{"unlink"}, When: `cascade == nil`, Fields: []string{"name"}},
		rules.Config{Name: "with_order", Model: "sale.order.line", When: `op == "unlink" && cascade.model == "sale.order" && cascade.id == 1`, Fields: []string{"name"}})
	if net, _ := set.Wants("public", "sale_order"); !net {
		t.Error("orders are not looked at")
	}
	for _, memory := range []int64{0, 1} {
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, newLinesWAL(t, set, memory).tx("-line 5 1 desk 2", "-line 6 2 lamp 1", "-order 1 S1 draft"))
		var list []string
		for _, d := range got.Deliveries {
			text := d.Rule + " " + d.Record
			if i := strings.Index(string(d.Body), `"cascade":`); i >= 0 {
				text += " " + string(d.Body)[i:strings.Index(string(d.Body), `,"rule"`)]
			}
			list = append(list, text)
		}
		want := []string{`lines 5 "cascade":{"model":"sale.order","id":1}`, `with_order 5 "cascade":{"model":"sale.order","id":1}`, "lines 6", "alone 6"}
		if diff := cmp.Diff(want, list); diff != "" || len(got.Parked) > 0 {
			t.Errorf("(-want +got):\n%s%v", diff, got.Parked)
		}
	}
	// Without the old row it is not known whose line it was.
	got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, newLinesWAL(t, set, 0).tx("-line ?", "-order 1 S1 draft"))
	parked := 0
	for _, p := range got.Parked {
		if strings.Contains(p.Error, "cascade: the old row is not in WAL") {
			parked++
		}
	}
	if parked != 2 {
		t.Errorf("parked: %+v", got.Parked)
	}
}
