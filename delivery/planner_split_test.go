package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/rules"
)

// orderLines knows the lines of orders: "5 desk 2" is line 5, name desk, quantity 2; nil is NULL.
type orderLines map[int64][]string

func (l orderLines) Begin(context.Context, []*cdc.Tx) error { return nil }

func (l orderLines) Load(_ context.Context, link *rules.Link, ids []int64, found func(int64, []cdc.Row) error) error {
	if link.Table != "sale_order_line" || link.By != "order_id" {
		return fmt.Errorf("asked for %s", link)
	}
	rel := cdc.NewRelation(lineOID, "public", "sale_order_line", 'f', []cdc.Column{{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "name", Type: cdc.BuiltinType(1043)}, {Name: "qty", Type: cdc.BuiltinType(23)}}, []string{"id"})
	for _, id := range ids {
		var rows []cdc.Row
		for _, line := range l[id] {
			var values []cdc.Value
			for _, text := range strings.Fields(line) {
				v := cdc.Value{State: cdc.Present, Text: []byte(text)}
				if text == "nil" {
					v = cdc.Value{State: cdc.Null}
				}
				values = append(values, v)
			}
			row, _ := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, values))
			rows = append(rows, row)
		}
		if err := found(id, rows); err != nil {
			return err
		}
	}
	return nil
}

// D1: an event of a rule that splits is a delivery for each group of lines, to the group's endpoint, with ids of their own that are the same each
// time (invariant 3), in the record's lane and in order.
func TestPlanSplit(t *testing.T) {
	erp, none := "erp", ""
	lines := rules.Payload{"lines": map[string]any{"each": "order_line", "fields": []any{"id"}}}
	split := rules.Config{Name: "split", Model: "sale.order", On: []string{"create", "unlink"}, Payload: lines,
		Split: &rules.Split{Each: "order_line", By: "name", Where: "qty > 0", Endpoints: map[string]string{"desk": "shop", "lamp": "log"}, Other: &erp}}
	drops := split
	drops.Name, drops.Split = "drops", &rules.Split{Each: "order_line", By: "name", Endpoints: map[string]string{"desk": "shop"}, Other: &none}
	alone := rules.Config{Name: "alone", Model: "sale.order", On: []string{"create"}, Endpoints: []string{"erp", "shop"}, Test: true, Payload: lines, Split: &rules.Split{Each: "order_line"}}
	desks := orderLines{1: {"5 desk 1", "6 nil 2", "7 lamp 1", "8 desk 3", "9 lamp 0", "10 chair 1"}, 2: nil, 3: {"11 nil 1"}}
	type planned struct {
		Endpoint, Lane, Record, Split string
		Lines                         []int
	}
	plan := func(t *testing.T, known orderLines, statement string, configs ...rules.Config) (list []planned, ids []string, all Step) {
		t.Helper()
		set, err := rules.Compile(configs, linesCatalog())
		if err != nil {
			t.Fatal(err)
		}
		all = planAll(t, NewPlanner(testIdentity, set, testEndpoints, known), 0, newLinesWAL(t, set, 0).tx(statement))
		for _, d := range all.Deliveries {
			var body struct {
				Data struct {
					Record struct{ Lines []struct{ ID int } }
					Split  json.RawMessage
				}
			}
			if err := json.Unmarshal(d.Body, &body); err != nil {
				t.Fatalf("%s: %v", d.Body, err)
			}
			p := planned{d.Endpoint, strings.Replace(d.Lane, d.ID, "ID", 1), d.Record, string(body.Data.Split), nil}
			for _, l := range body.Data.Record.Lines {
				p.Lines = append(p.Lines, l.ID)
			}
			list, ids = append(list, p), append(ids, d.ID)
		}
		return list, ids, all
	}

	got, ids, all := plan(t, desks, "+order 1 S1 draft", split)
	want := []planned{
		{"shop", "", "1", `{"by":"desk","index":1,"of":4}`, []int{5, 8}},
		{"erp", "sale.order/1", "1", `{"by":null,"index":2,"of":4}`, []int{6}},
		{"log", "ID", "1", `{"by":"lamp","index":3,"of":4}`, []int{7}},
		{"erp", "sale.order/1", "1", `{"by":"chair","index":4,"of":4}`, []int{10}},
	}
	if diff := cmp.Diff(want, got); diff != "" || !slices.Equal(all.Matched, []string{"split"}) {
		t.Errorf("matched %v, planned (-want +got):\n%s", all.Matched, diff)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(ids)))); n != 4 {
		t.Errorf("%d ids of 4 deliveries", n)
	}
	// The same again, in company of other rules; a group's id does not depend on the others.
	_, again, _ := plan(t, orderLines{1: {"10 chair 1", "5 desk 1", "7 lamp 1"}}, "+order 1 S1 draft", rules.Config{Name: "more", Model: "sale.order", On: []string{"create"}, Endpoint: "log"}, split)
	if diff := cmp.Diff([]string{ids[3], ids[0], ids[2]}, again[1:]); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}

	for name, statement := range map[string]string{"no lines": "+order 2 S2 draft", "a deleted order": "-order 1 S1 draft"} {
		if got, _, all := plan(t, desks, statement, split); len(got) != 0 || len(all.Parked) != 0 || len(all.Matched) != 1 {
			t.Errorf("%s: %v, matched %v, parked %v", name, got, all.Matched, all.Parked)
		}
	}
	if got, _, _ := plan(t, desks, "+order 3 S3 draft", split); len(got) != 1 || got[0].Endpoint != "erp" || got[0].Split != `{"by":null,"index":1,"of":1}` {
		t.Errorf("a line without value: %v", got)
	}
	if got, _, all := plan(t, desks, "+order 1 S1 draft", drops); len(got) != 1 || got[0].Endpoint != "shop" || len(all.Matched) != 1 {
		t.Errorf("others are dropped: %v", got)
	}
	got, ids, all = plan(t, orderLines{1: {"5 desk 1", "6 desk 1"}}, "+order 1 S1 draft", alone)
	want = []planned{
		{"erp", "sale.order/1", "1", `{"id":5,"index":1,"of":2}`, []int{5}}, {"shop", "", "1", `{"id":5,"index":1,"of":2}`, []int{5}},
		{"erp", "sale.order/1", "1", `{"id":6,"index":2,"of":2}`, []int{6}}, {"shop", "", "1", `{"id":6,"index":2,"of":2}`, []int{6}}}
	if diff := cmp.Diff(want, got); diff != "" || !all.Deliveries[3].Test || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 4 {
		t.Errorf("each line (-want +got):\n%s", diff)
	}
}

// An event of which one group fails is parked, and nothing of it is sent. So is one that is too much (invariant 9).
func TestPlanSplitParks(t *testing.T) {
	config := rules.Config{Name: "split", Model: "sale.order", On: []string{"create"}, Endpoint: "erp", Split: &rules.Split{Each: "order_line"}}
	for _, tt := range []struct {
		name    string
		payload rules.Payload
		lines   orderLines
		want    string
	}{
		{"the second group fails", rules.Payload{"x": "1 / (order_line.qty[0] - 2)"}, orderLines{1: {"5 desk 1", "6 desk 2"}}, "payload.x"},
		{"too large", rules.Payload{"x": map[string]any{"each": "order_line", "fields": map[string]any{"a": "name", "b": "name", "c": "name", "d": "name", "e": "name"}}},
			orderLines{1: {"5 " + strings.Repeat("x", maxSplitBytes/8) + " 1", "6 " + strings.Repeat("y", maxSplitBytes/8) + " 1"}}, "larger than 8 MiB"},
	} {
		config.Payload = tt.payload
		set, err := rules.Compile([]rules.Config{config, {Name: "fine", Model: "sale.order", On: []string{"create"}, Endpoint: "erp"}}, linesCatalog())
		if err != nil {
			t.Fatal(err)
		}
		p := NewPlanner(testIdentity, set, testEndpoints, tt.lines)
		got := planAll(t, p, 0, newLinesWAL(t, set, 0).tx("+order 1 S1 draft"))
		if len(got.Deliveries) != 1 || got.Deliveries[0].Rule != "fine" || len(got.Parked) != 1 || !strings.Contains(got.Parked[0].Error, tt.want) {
			t.Errorf("%s: %d deliveries", tt.name, len(got.Deliveries))
			for _, p := range got.Parked {
				t.Error(p.Error)
			}
		}
	}
}

// splitOrders knows orders and their lines.
type splitOrders struct {
	ordersLoader
	lines orderLines
}

func (l *splitOrders) Load(ctx context.Context, link *rules.Link, ids []int64, found func(int64, []cdc.Row) error) error {
	if link.Table == "sale_order" {
		return l.ordersLoader.Load(ctx, link, ids, found)
	}
	return l.lines.Load(ctx, link, ids, found)
}

// A change of one line, rolled up, is an event of each group; what became of the lines is told whole in all of them. In memory and spilled it is the same.
func TestPlanSplitRollup(t *testing.T) {
	set, err := rules.Compile([]rules.Config{{Name: "split", Model: "sale.order", On: []string{"write"}, Endpoint: "erp", Rollup: []any{"order_line"},
		Payload: rules.Payload{"name": "name", "ids": "order_line"}, Split: &rules.Split{Each: "order_line", By: "name"}}}, linesCatalog())
	if err != nil {
		t.Fatal(err)
	}
	var ids [][]string
	for _, memory := range []int64{0, 1} {
		loader := &splitOrders{lines: orderLines{1: {"5 desk 3", "6 lamp 1"}}}
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, loader), 0, newLinesWAL(t, set, memory).tx("~line 5 1 desk 2 > 5 1 desk 3"))
		if diff := cmp.Diff([]event{{"1", "write", "now 1", changed(desk3)}, {"1", "write", "now 1", changed(desk3)}}, events(t, got.Deliveries)); diff != "" || len(got.Parked) > 0 {
			t.Fatalf("parked %v (-want +got):\n%s", got.Parked, diff)
		}
		for i, want := range []string{`"ids":[5]`, `"ids":[6]`} {
			if !strings.Contains(string(got.Deliveries[i].Body), want) {
				t.Errorf("%s has not %s", got.Deliveries[i].Body, want)
			}
		}
		ids = append(ids, []string{got.Deliveries[0].ID, got.Deliveries[1].ID})
	}
	if !slices.Equal(ids[0], ids[1]) {
		t.Errorf("ids %v", ids)
	}
}
