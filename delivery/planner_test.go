package delivery

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
	"walhook/rules"
)

// planAll plans transactions and copies what follows from them.
func planAll(t testing.TB, p *Planner, from uint64, txs ...*cdc.Tx) (all Step) {
	t.Helper()
	if err := p.Prepare(t.Context(), txs); err != nil {
		t.Fatal(err)
	}
	for _, tx := range txs {
		for s, err := range p.Plan(t.Context(), tx, from) {
			if err != nil {
				t.Fatal(err)
			}
			all.Deliveries = append(all.Deliveries, s.Deliveries...)
			all.Parked = append(all.Parked, s.Parked...)
			all.Matched = append(all.Matched, s.Matched...)
			all.Sampled = append(all.Sampled, s.Sampled...)
		}
	}
	return all
}

func TestPlan(t *testing.T) {
	set := compileRules(t,
		rules.Config{Name: "confirmed", Model: "sale.order", On: []string{"write"}, When: `became("state", "sale")`, Endpoints: []string{"erp", "shop"}, Event: "order.confirmed"},
		rules.Config{Name: "created", Model: "sale.order", On: []string{"create"}, Endpoint: "log", Fields: []string{"name"}})
	tx := newWAL(t, set, 0).tx(order(1, "S1", "draft"), order(2, "S2", "sale").was("S2", "draft"), order(3, "S3", "sale").was("S3", "sale"))
	got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, tx)
	type summary struct{ Endpoint, Lane, Rule, Event, Model, Record, Op, ContentType string }
	var list []summary
	for _, d := range got.Deliveries {
		list = append(list, summary{d.Endpoint, strings.Replace(d.Lane, d.ID, "ID", 1), d.Rule, d.Event, d.Model, d.Record, d.Op, d.ContentType})
		if d.CommitLSN != tx.CommitLSN || d.XID != tx.XID || !d.CommitAt.Equal(commitTime) || d.Seq != 0 || d.Attempts != 0 {
			t.Errorf("delivery %+v", d)
		}
		if !json.Valid(d.Body) {
			t.Errorf("body: %s", d.Body)
		}
	}
	want := []summary{
		{"log", "ID", "created", "sale.order.create", "sale.order", "1", "create", "application/json"},
		{"erp", "sale.order/2", "confirmed", "order.confirmed", "sale.order", "2", "write", "application/json"},
		{"shop", "", "confirmed", "order.confirmed", "sale.order", "2", "write", "application/json"},
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Errorf("planned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"created", "confirmed"}, got.Matched); diff != "" || len(got.Parked) != 0 {
		t.Errorf("matched (-want +got):\n%s%v", diff, got.Parked)
	}
	if id := deliveryID(testIdentity, tx, &cdc.Change{Rel: cdc.NewRelation(9, "public", "sale_order", 'f', nil, nil), Key: "2"}, "confirmed", "shop"); got.Deliveries[2].ID != id {
		t.Errorf("id %s, want %s", got.Deliveries[2].ID, id)
	}
	// Planned again, in company of other rules and from the middle, it is the same (invariants 3 and 6).
	more := compileRules(t,
		rules.Config{Name: "all", Model: "sale.order", On: []string{"write"}, Endpoint: "log"},
		rules.Config{Name: "confirmed", Model: "sale.order", On: []string{"write"}, When: `after.state == "sale" && before.state != "sale"`, Endpoints: []string{"shop", "erp"}, Event: "order.confirmed"})
	again := planAll(t, NewPlanner(testIdentity, more, testEndpoints, nil), 1, newWAL(t, more, 0).tx(
		order(1, "S1", "draft"), order(2, "S2", "sale").was("S2", "draft")))
	ids := map[string]bool{}
	for _, d := range again.Deliveries {
		ids[d.ID] = true
		if d.Record == "1" {
			t.Error("a change before the ordinal was planned")
		}
	}
	if !ids[got.Deliveries[1].ID] || !ids[got.Deliveries[2].ID] {
		t.Error("ids depend on other rules or on where planning begins")
	}
}

// C9: a delivery carries what its rule says of it; what the sample leaves out has matched and has none, each time it is read.
func TestPlanHandling(t *testing.T) {
	half := 0.5
	set := compileRules(t,
		rules.Config{Name: "half", Model: "sale.order", On: []string{"create"}, Endpoints: []string{"erp", "shop"}, Sample: &half, Priority: "low"},
		rules.Config{Name: "test", Model: "sale.order", On: []string{"create"}, Endpoint: "erp", Test: true},
		rules.Config{Name: "last", Model: "sale.order", On: []string{"create"}, Endpoint: "erp", Debounce: "30s", DebounceMax: "2m", Priority: "high"})
	var rows []write
	for id := range 40 {
		rows = append(rows, order(id+1, "S", "draft"))
	}
	tx := newWAL(t, set, 0).tx(rows...)
	got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, tx)
	taken := map[string]int{}
	for _, d := range got.Deliveries {
		switch d.Rule {
		case "half":
			taken[d.Record]++
			if d.Priority != PriorityLow || d.Aside() {
				t.Errorf("%+v", d)
			}
		case "test":
			if !d.Test || !d.Aside() || d.Wait != 0 {
				t.Errorf("%+v", d)
			}
		case "last":
			if d.Test || !d.Aside() || d.Wait != 30*time.Second || d.Max != 2*time.Minute || d.Priority != PriorityHigh {
				t.Errorf("%+v", d)
			}
		}
	}
	if len(taken) < 10 || len(taken) > 30 || len(taken)+len(got.Sampled) != 40 || len(got.Matched) != 120 || len(got.Deliveries) != 2*len(taken)+80 {
		t.Errorf("%d taken, %d left out, %d matched, %d deliveries", len(taken), len(got.Sampled), len(got.Matched), len(got.Deliveries))
	}
	for record, n := range taken {
		if n != 2 {
			t.Errorf("record %s goes to %d endpoints", record, n)
		}
	}
	again := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, tx)
	if len(again.Deliveries) != len(got.Deliveries) {
		t.Errorf("%d deliveries, and %d when it is read again", len(got.Deliveries), len(again.Deliveries))
	}
}

// An event whose condition or payload fails is parked, with all that is needed to evaluate it again, without secrets (C5, B10).
func TestPlanParks(t *testing.T) {
	set := compileRules(t,
		rules.Config{Name: "condition", Model: "sale.order", On: []string{"write"}, When: `after.name == "x"`, Endpoint: "erp"},
		rules.Config{Name: "payload", Model: "sale.order", On: []string{"write"}, When: `after.state == "sale"`, Endpoint: "erp", Payload: rules.Payload{"n": `after.name + "!"`}},
		rules.Config{Name: "fine", Model: "sale.order", On: []string{"write"}, When: `after.state == "sale"`, Endpoint: "erp", Fields: []string{"state"}})
	w := newWAL(t, set, 0)
	write := order(2, "?", "sale").was("?", "draft") // the name is in neither row
	tx := w.tx(write)
	got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, nil), 0, tx)
	if len(got.Deliveries) != 1 || got.Deliveries[0].Rule != "fine" {
		t.Errorf("%d deliveries", len(got.Deliveries))
	}
	if len(got.Parked) != 2 {
		t.Fatalf("%d events parked, want 2", len(got.Parked))
	}
	for i, rule := range []string{"condition", "payload"} {
		p := got.Parked[i]
		if p.Rule != rule || p.Record != "2" || p.Model != "sale.order" || !strings.Contains(p.Error, "name") || !strings.HasPrefix(p.ID, "evt_") {
			t.Errorf("parked: %+v", p)
		}
		if strings.Contains(string(p.Change), "secret") {
			t.Errorf("a secret is in %s", p.Change)
		}
		c, err := cdc.DecodeChange(p.Change)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(c.After.Value(c.Rel.Column("state")).Text); got != "sale" || c.After.Value(c.Rel.Column("name")).State != cdc.Unknown {
			t.Errorf("the change is kept as %s", p.Change)
		}
	}
	if diff := cmp.Diff([]string{"payload", "fine"}, got.Matched); diff != "" {
		t.Errorf("matched (-want +got):\n%s", diff)
	}
}

// Rows that rules refer to are fetched once for many transactions, and piece by piece for a large one.
func TestPlanRelated(t *testing.T) {
	config := rules.Config{Name: "r", Model: "sale.order", On: []string{"create"}, When: `ref("partner_id").name == "partner 3"`, Endpoint: "erp", Fields: []string{"name"}}
	set := compileRules(t, config)
	t.Run("many transactions", func(t *testing.T) {
		w, loader := newWAL(t, set, 0), &partnersLoader{}
		var txs []*cdc.Tx
		for i := range 70 {
			txs = append(txs, w.tx(order(i, "S", "draft")))
		}
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, loader), 0, txs...)
		if len(got.Deliveries) != 10 || loader.calls != 1 || loader.begun != 70 {
			t.Errorf("%d deliveries, %d fetches, %d transactions begun", len(got.Deliveries), loader.calls, loader.begun)
		}
	})
	t.Run("a large one among others", func(t *testing.T) {
		w, loader := newWAL(t, set, 20_000), &partnersLoader{}
		const n = 7000
		var writes []write
		for i := range n {
			writes = append(writes, order(i, "S", "draft"))
		}
		small, large, after := w.tx(order(3, "a", "draft")), w.tx(writes...), w.tx(order(10, "b", "draft"))
		if !large.Spilled() || small.Spilled() {
			t.Fatal("the test needs a transaction that spills")
		}
		p := NewPlanner(testIdentity, set, testEndpoints, loader)
		got := planAll(t, p, 0, small, large, after)
		if len(got.Deliveries) != n/7+2 {
			t.Errorf("%d deliveries, want %d", len(got.Deliveries), n/7+2)
		}
		if loader.calls != 2+n/window || loader.ids != 7 {
			t.Errorf("%d fetches of at most %d rows", loader.calls, loader.ids)
		}
		loader.calls = 0
		if rest := planAll(t, p, n-1500, large); len(rest.Deliveries) != 214 || loader.calls != 2 {
			t.Errorf("%d deliveries from the middle, %d fetches", len(rest.Deliveries), loader.calls)
		}
	})
	t.Run("for want of a privilege", func(t *testing.T) {
		both := compileRules(t, config, rules.Config{Name: "plain", Model: "sale.order", On: []string{"create"}, Endpoint: "erp"})
		loader := &partnersLoader{err: errors.New("permission denied for table res_partner")}
		got := planAll(t, NewPlanner(testIdentity, both, testEndpoints, loader), 0, newWAL(t, both, 0).tx(order(3, "S", "draft")))
		if len(got.Deliveries) != 1 || len(got.Parked) != 1 || !strings.Contains(got.Parked[0].Error, "permission denied for table res_partner") {
			t.Errorf("%d deliveries, parked %v", len(got.Deliveries), got.Parked)
		}
	})
	t.Run("while the source is away", func(t *testing.T) {
		loader := &partnersLoader{err: temporary{errors.New("connection refused")}}
		p, tx := NewPlanner(testIdentity, set, testEndpoints, loader), newWAL(t, set, 0).tx(order(3, "S", "draft"))
		if err := p.Prepare(t.Context(), []*cdc.Tx{tx}); err != nil {
			t.Error(err)
		}
		for _, err := range p.Plan(t.Context(), tx, 0) {
			if !isTemporary(err) {
				t.Errorf("Plan: %v", err)
			}
		}
	})
}

func TestLaneKey(t *testing.T) {
	long := strings.Repeat("x", 300)
	a := laneKey(OrderRecord, &Delivery{Model: "m", Record: long})
	b := laneKey(OrderRecord, &Delivery{Model: "m", Record: long + "y"})
	if a == b || len(a) > maxLaneKey || !strings.HasPrefix(a, "m/#") {
		t.Errorf("%s, %s", a, b)
	}
}

func BenchmarkPlan(b *testing.B) {
	set := compileRules(b, rules.Config{Name: "confirmed", Model: "sale.order", On: []string{"write"}, When: `became("state", "sale")`, Endpoint: "erp", Fields: []string{"name", "state"}})
	tx := newWAL(b, set, 0).tx(order(2, "S2", "sale").was("S2", "draft"))
	p := NewPlanner(testIdentity, set, testEndpoints, nil)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range p.Plan(b.Context(), tx, 0) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
