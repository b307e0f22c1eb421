package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"walhook/cdc"
)

// Each stage of a fresh delivery is told once, with what it took; what comes again or came from the store is not told.
func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		failing := map[string]int{"2": 1} // record → first attempts that fail
		sender := newScripted(t, func(_ context.Context, d *Delivery) *Attempt {
			time.Sleep(7 * time.Millisecond)
			a := status(200)
			if failing[d.Record] > 0 {
				failing[d.Record]--
				a = status(503)
			}
			a.Total = 7 * time.Millisecond
			return a
		})
		var told []string
		tell := func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
		set := compileRules(t, confirmedRule)
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 1}}, EngineOptions{Trace: Trace{
			Sent: func(d *Delivery, waited, took, whole time.Duration) {
				tell("%s: queue %s, send %s, whole %s", d.Record, waited, took, whole)
			},
		}})
		in := NewIngest(store, NewPlanner(testIdentity, set, testEndpoints, nil), e, Position{}, IngestTrace{
			Staged: func(stage Stage, took time.Duration) { tell("%s %s", stage, took) },
		})
		run(t, e)
		w := newWAL(t, set, 0)
		committed := func(writes ...write) *cdc.Tx { // and read after 3 ms
			tx := w.tx(writes...)
			tx.CommitTime = time.Now()
			time.Sleep(3 * time.Millisecond)
			tx.Received = time.Now()
			return tx
		}
		expect := func(want ...string) {
			t.Helper()
			time.Sleep(time.Hour)
			synctest.Wait()
			slices.SortStableFunc(told, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
			slices.SortStableFunc(want, func(a, b string) int { return strings.Compare(a[:1], b[:1]) })
			if !slices.Equal(told, want) {
				t.Errorf("told\n%s\nwant\n%s", strings.Join(told, "\n"), strings.Join(want, "\n"))
			}
			told = nil
		}

		store.setFault(func(op string) (error, error) {
			if op == "enqueue" {
				time.Sleep(2 * time.Millisecond)
			}
			return nil, nil
		})
		first, quiet, second := committed(effect(1)), committed(idle(5)), committed(effect(2), effect(3))
		time.Sleep(time.Millisecond)
		handle(t, in, first, quiet, second)
		// One after the other, as there is one connection; the second is refused, and its retry is not told.
		expect("receive 3ms", "decode 7ms", "receive 3ms", "decode 1ms", "match 0s", "commit 2ms",
			"1: queue 0s, send 7ms, whole 19ms", "2: queue 7ms, send 7ms, whole 0s", "3: queue 14ms, send 7ms, whole 27ms")

		// What fails to be committed and is handed over again counts once.
		tries := 0
		store.setFault(func(op string) (error, error) {
			if op == "enqueue" {
				if tries++; tries == 1 {
					return errAway, nil
				}
			}
			return nil, nil
		})
		tx := committed(effect(4))
		if _, err := in.Handle(t.Context(), []*cdc.Tx{tx}); err == nil {
			t.Error("no error")
		}
		time.Sleep(10 * time.Millisecond)
		handle(t, in, tx)
		expect("receive 3ms", "decode 10ms", "match 0s", "commit 0s", "4: queue 0s, send 7ms, whole 20ms")

		handle(t, in, committed(idle(6)))
		store.add(queued("erp", "left", 1))
		expect()
		if n, _ := store.pending(); n != 0 || sender.count() != 6 {
			t.Errorf("%d deliveries are pending, %d attempts were made", n, sender.count())
		}
	})
}

// Telling stages makes no garbage.
func TestStagesAllocateNothing(t *testing.T) {
	tx := cdc.NewTx(1, 1, 2, time.Now(), nil)
	tx.Received = time.Now()
	d := &Delivery{}
	step, batch, lanes := &Step{Deliveries: []*Delivery{d}}, &Batch{Deliveries: []*Delivery{d}}, []Lane{{Deliveries: []*Delivery{d}}}
	attempt, outcome := &Attempt{At: time.Now(), Total: time.Millisecond}, &Outcome{Result: Delivered}
	var n int
	ingest := &IngestTrace{Staged: func(Stage, time.Duration) { n++ }}
	engine := &Trace{Sent: func(*Delivery, time.Duration, time.Duration, time.Duration) { n++ }}
	var s staging
	round := func() {
		s.begin()
		s.note(tx, step)
		s.committed(ingest, batch, lanes, time.Now())
		engine.staged(d, attempt, outcome)
	}
	if allocated := testing.AllocsPerRun(100, round); allocated != 0 || n != 101*5 {
		t.Errorf("%v allocations; told %d times", allocated, n)
	}
}
