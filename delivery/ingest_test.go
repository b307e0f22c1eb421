package delivery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"walhook/cdc"
	"walhook/rules"
)

var confirmedRule = rules.Config{Name: "confirmed", Model: "sale.order", On: []string{"create", "write"}, When: `became("state", "sale")`, Endpoint: "erp", Fields: []string{"name"}}

// effect and idle are writes of which something follows, or nothing.
func effect(id int) write { return order(id, "S", "sale") }
func idle(id int) write   { return order(id, "S", "draft") }

func effects(n int) []write {
	list := make([]write, n)
	for i := range list {
		list[i] = effect(i)
	}
	return list
}

func newTestIngest(t testing.TB, store *memStore) (*Ingest, *wal) {
	set := compileRules(t, confirmedRule)
	return NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), nil, store.position, IngestTrace{}), newWAL(t, set, 0)
}

func handle(t testing.TB, i *Ingest, txs ...*cdc.Tx) cdc.LSN {
	t.Helper()
	lsn, err := i.Handle(t.Context(), txs)
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

// Only what has effects is committed; the rest moves in memory, until Advance.
func TestIngestPosition(t *testing.T) {
	store := newMemStore()
	in, w := newTestIngest(t, store)
	first, quiet, second, quiet2 := w.tx(effect(1)), w.tx(idle(2)), w.tx(effect(3), idle(4)), w.tx(idle(5))
	if lsn := handle(t, in, quiet); lsn != 0 || len(store.batches) != 0 {
		t.Errorf("a transaction without effect was stored: %s", lsn)
	}
	store = newMemStore()
	in, _ = newTestIngest(t, store)
	if lsn := handle(t, in, first, quiet, second, quiet2); lsn != quiet2.EndLSN {
		t.Errorf("Handle = %s, want %s: what has no effect is stored along with what has", lsn, quiet2.EndLSN)
	}
	if len(store.batches) != 1 || len(store.batches[0].Deliveries) != 2 || store.matched["confirmed"] != 2 {
		t.Errorf("%d batches, matched %v", len(store.batches), store.matched)
	}
	more := w.tx(idle(6))
	if lsn := handle(t, in, more); lsn != quiet2.EndLSN || len(store.batches) != 1 {
		t.Errorf("Handle = %s after %d batches", lsn, len(store.batches))
	}
	if lsn, err := in.Advance(t.Context(), more.EndLSN+50); err != nil || lsn != more.EndLSN+50 || store.position.LSN != lsn {
		t.Errorf("Advance = %s, %v; stored %s", lsn, err, store.position.LSN)
	}
	if lsn, err := in.Advance(t.Context(), more.EndLSN); err != nil || lsn != more.EndLSN+50 || len(store.batches) != 2 {
		t.Errorf("Advance to the past = %s, %v", lsn, err)
	}
	if lsn := handle(t, in, first, second); lsn != more.EndLSN+50 || len(store.batches) != 2 {
		t.Error("a transaction that is done was enqueued again")
	}
}

// A transaction with many deliveries is enqueued in pieces, and only its end is confirmed (invariants 1, 3 and 9).
func TestIngestGiantTransaction(t *testing.T) {
	for name, memory := range map[string]int64{"in memory": 0, "spilled": 20_000} {
		t.Run(name, func(t *testing.T) {
			const n = 3500
			set := compileRules(t, confirmedRule)
			planner := func() *Planner { return NewPlanner(testIdentity, set, testEndpoints, nil) }
			w := newWAL(t, set, memory)
			before, giant, after := w.tx(effect(1)), w.tx(effects(n)...), w.tx(effect(2))
			if giant.Spilled() != (memory > 0) {
				t.Fatalf("spilled: %t", giant.Spilled())
			}
			for crash := 0; crash < 6; crash++ {
				store := newMemStore()
				calls := 0
				store.setFault(func(op string) (error, error) {
					if op == "enqueue" {
						calls++
					}
					if calls == crash {
						return errAway, nil
					}
					return nil, nil
				})
				in := NewIngest(store, planner(), nil, Position{}, IngestTrace{})
				lsn, err := in.Handle(t.Context(), []*cdc.Tx{before, giant, after})
				if (err == nil) != (crash == 0 || crash > calls) {
					t.Fatalf("crash %d: %v", crash, err)
				}
				if lsn != store.position.LSN {
					t.Errorf("Handle = %s, stored %s", lsn, store.position.LSN)
				}
				if err != nil && lsn > before.EndLSN {
					t.Errorf("crash %d: %s is confirmed, in the middle of the transaction", crash, lsn)
				}
				for _, b := range store.batches {
					if len(b.Deliveries) > maxBatch {
						t.Errorf("a batch of %d deliveries", len(b.Deliveries))
					}
				}
				store.setFault(nil)
				again := NewIngest(store, planner(), nil, store.position, IngestTrace{})
				if lsn := handle(t, again, before, giant, after); lsn != after.EndLSN || store.position != (Position{LSN: after.EndLSN}) {
					t.Errorf("crash %d: Handle = %s, stored %+v", crash, lsn, store.position)
				}
				if len(store.enqueued) != n+2 {
					t.Errorf("crash %d: %d deliveries, want %d", crash, len(store.enqueued), n+2)
				}
				for id, times := range store.enqueued {
					if times != 1 {
						t.Fatalf("crash %d: %s was enqueued %d times", crash, id, times)
					}
				}
			}
		})
	}
}

// Idle progress while a transaction is enqueued in part does not forget how far.
func TestIngestAdvanceKeepsOpenTransaction(t *testing.T) {
	store := newMemStore()
	in, w := newTestIngest(t, store)
	early, giant := w.tx(idle(1)), w.tx(effects(2500)...)
	calls := 0
	store.setFault(func(op string) (error, error) {
		if calls++; calls == 3 {
			return errAway, nil
		}
		return nil, nil
	})
	if _, err := in.Handle(t.Context(), []*cdc.Tx{giant}); err == nil {
		t.Fatal("no error")
	}
	open := store.position
	if open.Open != giant.CommitLSN || open.Count != 2*maxBatch {
		t.Fatalf("position %+v", open)
	}
	if _, err := in.Advance(t.Context(), early.EndLSN+1); err != nil {
		t.Fatal(err)
	}
	if want := (Position{LSN: early.EndLSN + 1, Open: open.Open, Count: open.Count}); store.position != want {
		t.Errorf("position %+v, want %+v", store.position, want)
	}
	handle(t, in, giant)
	if len(store.enqueued) != 2500 || store.position != (Position{LSN: giant.EndLSN}) {
		t.Errorf("%d deliveries, position %+v", len(store.enqueued), store.position)
	}
}

func TestIngestSuperseded(t *testing.T) {
	store := newMemStore()
	in, w := newTestIngest(t, store)
	store.position = Position{LSN: 77}
	_, err := in.Handle(t.Context(), []*cdc.Tx{w.tx(effect(1))})
	if !errors.Is(err, ErrSuperseded) || isTemporary(err) {
		t.Errorf("Handle: %v", err)
	}
	// The same, found out after a lost answer.
	store = newMemStore()
	in, w = newTestIngest(t, store)
	store.setFault(func(op string) (error, error) { return errAway, nil })
	tx := w.tx(effect(1))
	if _, err := in.Handle(t.Context(), []*cdc.Tx{tx}); !isTemporary(err) {
		t.Errorf("Handle: %v", err)
	}
	if _, err := in.Handle(t.Context(), []*cdc.Tx{tx}); !isTemporary(err) {
		t.Errorf("Handle: %v", err)
	}
	store.setFault(nil)
	store.position = Position{LSN: 77}
	if _, err := in.Handle(t.Context(), []*cdc.Tx{tx}); !errors.Is(err, ErrSuperseded) {
		t.Errorf("Handle: %v", err)
	}
}

// Fresh lanes go to the engine's memory after the commit; room that was promised and not used is given back.
func TestIngestHandsOver(t *testing.T) {
	store := newMemStore()
	set := compileRules(t, confirmedRule)
	engine := NewEngine(store, nil, testEndpoints, EngineOptions{})
	in := NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), engine, Position{}, IngestTrace{})
	w := newWAL(t, set, 0)
	handle(t, in, w.tx(effect(1), effect(2)), w.tx(order(1, "S", "sale").was("S", "draft")))
	stats := func() EndpointStats {
		for _, s := range engine.Stats().Endpoints {
			if s.Name == "erp" {
				return s
			}
		}
		panic("no such endpoint")
	}
	if s := stats(); s.Lanes != 2 || s.Deliveries != 3 || s.Bytes == 0 {
		t.Errorf("in memory: %+v", s)
	}
	store.setFault(func(string) (error, error) { return nil, errAway }) // committed, and the answer lost
	tx := w.tx(effect(4))
	if _, err := in.Handle(t.Context(), []*cdc.Tx{tx}); err == nil {
		t.Fatal("no error")
	}
	store.setFault(nil)
	handle(t, in, tx, w.tx(effect(1))) // a lane that exists already stays with the store
	if s := stats(); s.Lanes != 2 || s.Deliveries != 3 {
		t.Errorf("in memory: %+v", s)
	}
	if r := engine.outlets["erp"].reserved; r != 0 {
		t.Errorf("%d deliveries are still promised room", r)
	}
}

func TestIngestTrace(t *testing.T) {
	store := newMemStore()
	set := compileRules(t, rules.Config{Name: "r", Model: "sale.order", On: []string{"write"}, When: `after.name == "x"`, Endpoint: "erp"})
	var enqueued []string
	var parked []*Parked
	in := NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), nil, Position{}, IngestTrace{
		Enqueued: func(deliveries, parked, lanes int, took time.Duration) {
			enqueued = append(enqueued, fmt.Sprint(deliveries, parked, lanes))
		},
		Parked: func(p *Parked) { parked = append(parked, p) },
	})
	handle(t, in, newWAL(t, set, 0).tx(order(1, "?", "sale").was("?", "draft")))
	if diff := cmp.Diff([]string{"0 1 0"}, enqueued); diff != "" || len(parked) != 1 || len(store.parked) != 1 || store.parked[0].ParkedAt.IsZero() {
		t.Errorf("traced (-want +got):\n%s%v", diff, parked)
	}
}

// Whatever fails and however transactions are grouped: every delivery is enqueued exactly once, and nothing is confirmed
// that is not stored (invariants 1, 2 and 3).
func TestInvariant2UnderFaults(t *testing.T) {
	set := compileRules(t, confirmedRule)
	rapid.Check(t, func(r *rapid.T) {
		w := newWAL(t, set, int64(rapid.SampledFrom([]int{0, 5_000}).Draw(r, "memory")))
		var txs []*cdc.Tx
		want := 0
		for range rapid.IntRange(1, 8).Draw(r, "transactions") {
			n := rapid.SampledFrom([]int{0, 0, 1, 2, 5, 999, 1000, 1001, 2100}).Draw(r, "effects")
			writes := append(effects(n), idle(-1), idle(-2))
			txs = append(txs, w.tx(writes...))
			want += n
		}
		store := newMemStore()
		store.setFault(func(op string) (before, after error) {
			switch rapid.IntRange(0, 5).Draw(r, "fault") {
			case 0:
				return errAway, nil
			case 1:
				if op == "enqueue" {
					return nil, errAway
				}
			}
			return nil, nil
		})
		start := func() *Ingest {
			return NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), nil, store.position, IngestTrace{})
		}
		in, next := start(), 0
		for tries := 0; next < len(txs); tries++ {
			if tries > 1000 {
				r.Fatal("no progress")
			}
			group := txs[next : next+rapid.IntRange(1, len(txs)-next).Draw(r, "group")]
			lsn, err := in.Handle(t.Context(), group)
			if err != nil && !isTemporary(err) {
				r.Fatal(err)
			}
			if lsn > store.position.LSN {
				r.Fatalf("%s is confirmed, %s is stored", lsn, store.position.LSN)
			}
			if err == nil {
				next += len(group)
			}
			if rapid.IntRange(0, 9).Draw(r, "what") == 0 { // a restart: the server sends again what is not confirmed
				in, next = start(), 0
				for next < len(txs) && txs[next].EndLSN <= store.position.LSN {
					next++
				}
			}
		}
		if len(store.enqueued) != want {
			r.Fatalf("%d deliveries were enqueued, want %d", len(store.enqueued), want)
		}
		for id, times := range store.enqueued {
			if times != 1 {
				r.Fatalf("%s was enqueued %d times", id, times)
			}
		}
	})
}
