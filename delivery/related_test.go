package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"walhook/cdc"
	"walhook/rules"
)

// Invariant 9: the rows for a batch of changes are bounded in bytes. They are fetched for fewer changes at once when they are large, and an event whose own
// rows are too much is parked alone.
func TestRelatedBounded(t *testing.T) {
	set := compileRules(t, rules.Config{Name: "r", Model: "sale.order", On: []string{"create"}, When: `ref("partner_id").name != "x"`, Endpoint: "erp", Fields: []string{"name"}})
	many := func(w *wal) (txs []*cdc.Tx) {
		for i := range 70 {
			txs = append(txs, w.tx(order(i, "S", "draft")))
		}
		return txs
	}
	t.Run("large rows", func(t *testing.T) {
		loader := &partnersLoader{note: func(int64) string { return strings.Repeat("x", windowBytes/3) }}
		p := NewPlanner(testIdentity, set, testEndpoints, loader)
		largest := 0
		p.related.report = func(err error) { t.Error(err) }
		got := Step{}
		txs := many(newWAL(t, set, 0))
		if err := p.Prepare(t.Context(), txs); err != nil {
			t.Fatal(err)
		}
		for _, tx := range txs {
			for s, err := range p.Plan(t.Context(), tx, 0) {
				if err != nil {
					t.Fatal(err)
				}
				got.Deliveries, got.Parked = append(got.Deliveries, s.Deliveries...), append(got.Parked, s.Parked...)
				largest = max(largest, p.related.rows.bytes)
			}
		}
		if len(got.Deliveries) != 70 || len(got.Parked) != 0 || largest > windowBytes || loader.calls < 10 || loader.calls > 100 {
			t.Errorf("%d deliveries, %d parked, %d bytes at most, %d fetches", len(got.Deliveries), len(got.Parked), largest, loader.calls)
		}
	})
	t.Run("one that is too large", func(t *testing.T) {
		tooMany := &cdc.TooManyRowsError{Link: &cdc.Link{Schema: "public", Table: "res_partner", By: "id"}, ID: 3, Max: cdc.MaxLinked}
		for name, loader := range map[string]*partnersLoader{
			"by what comes": {note: func(id int64) string {
				if id == 3 {
					return strings.Repeat("x", changeBytes)
				}
				return ""
			}},
			"by what the source says": {refuse: func(ids []int64) error {
				if slices.Contains(ids, 3) {
					return tooMany
				}
				return nil
			}},
		} {
			got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, loader), 0, many(newWAL(t, set, 0))...)
			if len(got.Deliveries) != 60 || len(got.Parked) != 10 || !strings.Contains(got.Parked[0].Error, "8") || !strings.Contains(got.Parked[0].Error, "could not be fetched") {
				t.Errorf("%s: %d deliveries, parked %d: %v", name, len(got.Deliveries), len(got.Parked), got.Parked[:min(1, len(got.Parked))])
			}
		}
	})
	t.Run("a loader that never ends", func(t *testing.T) {
		loader := &forgetful{}
		got := planAll(t, NewPlanner(testIdentity, set, testEndpoints, loader), 0, newWAL(t, set, 0).tx(order(1, "S", "draft")))
		if len(got.Parked) != 1 || loader.calls > maxLevels {
			t.Errorf("%d fetches, parked %v", loader.calls, got.Parked)
		}
	})
}

// forgetful finds nothing, not even that there is nothing.
type forgetful struct{ partnersLoader }

func (l *forgetful) Load(context.Context, *rules.Link, []int64, func(int64, []cdc.Row) error) error {
	l.calls++
	return nil
}

// When the rows of one link can't be had, events that need others are delivered.
func TestRelatedFailsByLink(t *testing.T) {
	set := compileRules(t,
		rules.Config{Name: "mended", Model: "sale.order", On: []string{"create"}, When: `ref("partner_id").name == "partner 3"`, Endpoint: "erp", Fields: []string{"name"}},
		rules.Config{Name: "plain", Model: "sale.order", On: []string{"create"}, Endpoint: "erp", Fields: []string{"name"}})
	loader := &partnersLoader{err: errors.New("permission denied for table res_partner")}
	p := NewPlanner(testIdentity, set, testEndpoints, loader)
	var told []string
	p.related.report = func(err error) { told = append(told, err.Error()) }
	w := newWAL(t, set, 0)
	got := planAll(t, p, 0, w.tx(order(3, "S", "draft")), w.tx(order(4, "S", "draft")))
	if len(got.Deliveries) != 2 || len(got.Parked) != 2 || loader.calls != 1 || len(told) != 1 {
		t.Errorf("%d deliveries, %d parked, %d fetches, told %q", len(got.Deliveries), len(got.Parked), loader.calls, told)
	}
	loader.err = nil // the right was granted
	if got := planAll(t, p, 0, w.tx(order(3, "S", "draft"))); len(got.Deliveries) != 2 || len(got.Parked) != 0 {
		t.Errorf("%d deliveries, parked %s", len(got.Deliveries), fmt.Sprint(got.Parked))
	}
}
