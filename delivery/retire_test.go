package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// An engine that retires begins no more requests, gives back what waits, and lets the request under way take longer than a stop would;
// another engine goes on meanwhile.
func TestEngineRetires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		before, after := newScripted(t, takes(time.Minute, 200)), newScripted(t, takes(time.Millisecond, 200))
		endpoints := map[string]EndpointConfig{"erp": {Concurrency: 1}}
		old := NewEngine(store, before, endpoints, EngineOptions{})
		store.add(queued("erp", "a", 1), queued("erp", "b", 1), queued("erp", "c", 1))
		stopOld := run(t, old)
		time.Sleep(time.Second)
		if n := before.count(); n != 1 {
			t.Fatalf("%d requests under way, want 1", n)
		}
		old.Retire(2 * time.Minute)
		stopNext := run(t, NewEngine(store, after, endpoints, EngineOptions{}))
		time.Sleep(5 * time.Second)
		if before.count() != 1 || after.count() != 2 {
			t.Errorf("%d requests by the old engine, %d by the next one; want 1 and 2", before.count(), after.count())
		}
		if err := stopOld(); err != nil { // as the request takes a minute, and Grace is 15 s
			t.Error(err)
		}
		if err := stopNext(); err != nil {
			t.Error(err)
		}
		if got := store.results()[Delivered]; got != 3 {
			t.Errorf("%d deliveries ended, want 3", got)
		}
	})
}

// When the process stops meanwhile, no request takes longer than Grace.
func TestEngineHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Hour, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{})
		store.add(queued("erp", "a", 1))
		stop := run(t, e)
		time.Sleep(time.Second)
		e.Retire(2 * time.Hour)
		time.Sleep(time.Minute)
		e.Hurry()
		began := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 16*time.Second || sender.count() != 1 {
			t.Errorf("it took %s; %d requests", took, sender.count())
		}
		if got := store.results()[Delivered]; got != 0 {
			t.Error("a request that was cut short counts as delivered")
		}
	})
}

// One that retires before it runs sends nothing, and waits for nobody.
func TestEngineRetiresUnborn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Millisecond, 200))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{})
		store.add(queued("erp", "a", 1))
		e.Retire(time.Minute)
		if err := e.Run(context.Background()); err != nil || sender.count() != 0 {
			t.Errorf("%v, %d requests", err, sender.count())
		}
		e.Retire(time.Minute)
	})
}
