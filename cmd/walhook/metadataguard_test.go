package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
)

// handled counts what comes through a guard.
type handled struct{ batches int }

func (h *handled) Handle(context.Context, []*cdc.Tx) (cdc.LSN, error) { h.batches++; return 7, nil }

func (h *handled) Advance(context.Context, cdc.LSN) (cdc.LSN, error) { return 7, nil }

// What passes by is a sign, or even stops the stream until the catalog was looked at, only when rules may depend on it.
func TestMetadataGuard(t *testing.T) {
	relation := func(oid uint32, name string, columns ...string) *cdc.Relation {
		var cols []cdc.Column
		for _, c := range columns {
			cols = append(cols, cdc.Column{Name: c, Type: cdc.BuiltinType(25)})
		}
		return cdc.NewRelation(oid, "public", name, 'd', cols, nil)
	}
	order := &catalog.Table{OID: 1, Schema: "public", Name: "sale_order", Columns: []catalog.Column{{Name: "name", Type: cdc.BuiltinType(25)}, {Name: "state", Type: cdc.BuiltinType(25)}}}
	other := &catalog.Table{OID: 2, Schema: "public", Name: "other", Columns: []catalog.Column{{Name: "name", Type: cdc.BuiltinType(25)}}}
	cat := catalog.New([]*catalog.Table{order, other}, nil, &catalog.Odoo{Schema: "public"})
	s := &survey{catalog: cat, since: 100, tables: []*catalog.Table{order}}
	narrow := relation(1, "sale_order", "name")
	for name, tc := range map[string]struct {
		rels  []*cdc.Relation // of the changes, one transaction after the other
		at    cdc.LSN
		sign  bool
		look  bool // at once
		taken bool // and what came of it
	}{
		"the table as it is":           {rels: []*cdc.Relation{relation(1, "sale_order", "state", "name")}, at: 200},
		"a table that nobody watches":  {rels: []*cdc.Relation{relation(2, "other", "x")}, at: 200},
		"a new column":                 {rels: []*cdc.Relation{relation(1, "sale_order", "state", "name", "x")}, at: 200, sign: true},
		"a table made anew":            {rels: []*cdc.Relation{relation(3, "sale_order", "state", "name")}, at: 200, sign: true},
		"a field":                      {rels: []*cdc.Relation{relation(9, "ir_model_fields", "name")}, at: 200, sign: true},
		"before the catalog was read":  {rels: []*cdc.Relation{narrow, relation(9, "ir_model", "name")}, at: 100},
		"a lost column":                {rels: []*cdc.Relation{narrow}, at: 200, sign: true, look: true, taken: true},
		"a lost column, for nothing":   {rels: []*cdc.Relation{narrow}, at: 200, sign: true, look: true},
		"a lost column behind a field": {rels: []*cdc.Relation{relation(9, "ir_model_fields", "name"), narrow}, at: 200, sign: true, look: true, taken: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, next := newMetadataWatch(), &handled{}
			w.answers <- true // of a look that nobody has waited for
			retired := false
			g := w.guard(s, func() bool { return retired }, next)
			looked := make(chan bool, 1)
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			done := make(chan struct{})
			go func() {
				defer close(looked)
				select {
				case <-w.asked:
					looked <- true
					w.answer(tc.taken)
				case <-done:
				}
			}()
			var txs []*cdc.Tx
			for _, rel := range tc.rels {
				txs = append(txs, cdc.NewTx(1, tc.at, tc.at+1, time.Now(), []*cdc.Change{{Op: cdc.Write, Rel: rel}}))
			}
			_, err := g.Handle(ctx, txs)
			close(done)
			if tc.taken != errors.Is(err, delivery.ErrSuperseded) || !tc.taken && err != nil || next.batches == 1 == tc.taken {
				t.Errorf("handled %d batches, %v", next.batches, err)
			}
			if sign := len(w.signs) == 1; sign != tc.sign {
				t.Errorf("a sign: %v", sign)
			}
			if <-looked != tc.look {
				t.Errorf("looked at once: %v", !tc.look)
			}
			// The same shape again says nothing new, and who gives way does not wait.
			retired = true
			if _, err := g.Handle(ctx, txs); err != nil {
				t.Error(err)
			}
		})
	}
}
