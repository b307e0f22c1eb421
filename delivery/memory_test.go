package delivery

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Invariant 9: a backlog of large bodies brings no more into memory than the endpoint's share, and one call of the store.
func TestInvariant9BacklogOfLargeBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(10*time.Millisecond, 200))
		const memory, body, n = 1 << 20, 100 << 10, 600
		const limit = memory + 2*HandoutBytes + LaneBytes
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{Memory: memory})
		for i := range n {
			for j := range 1 + i%3 { // lanes that go on when a delivery is finished
				d := queued("erp", fmt.Sprint(i), i)
				d.ID, d.Body = fmt.Sprintf("%s-%d", d.ID, j), make([]byte, body)
				store.add(d)
			}
		}
		most := int64(0)
		run(t, e)
		for store.results()[Delivered] < 2*n && most <= limit {
			most = max(most, e.Stats().Endpoints[0].Bytes)
			time.Sleep(time.Millisecond)
		}
		if most > limit {
			t.Errorf("%d bytes in memory, the share is %d", most, memory)
		}
		if most < memory/2 {
			t.Errorf("only %d bytes of %d are made use of", most, memory)
		}
	})
}

// Invariant 9: answers that wait for a store that is away are bounded by their size, and so is what is committed at once.
func TestInvariant9LargeAnswersWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const answer, n = 64 << 10, 500
		var most, largest atomic.Int64
		store := newMemStore()
		sender := newScripted(t, func(context.Context, *Delivery) *Attempt {
			time.Sleep(time.Millisecond)
			return &Attempt{Status: 200, ResponseBody: make([]byte, answer)}
		})
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 8}}, EngineOptions{})
		for i := range n {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		var away atomic.Bool
		away.Store(true)
		store.setFault(func(op string) (error, error) {
			if op != "finish" {
				return nil, nil
			}
			e.finisher.mu.Lock()
			most.Store(max(most.Load(), int64(e.finisher.bytes)))
			largest.Store(max(largest.Load(), int64(e.finisher.group)))
			e.finisher.mu.Unlock()
			if away.Load() {
				return errAway, nil
			}
			return nil, nil
		})
		run(t, e)
		time.Sleep(time.Hour)
		synctest.Wait()
		away.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := store.results()[Delivered]; got != n {
			t.Errorf("%d of %d delivered", got, n)
		}
		if limit := int64(maxWaitingBytes + 9*(answer+4096)); most.Load() > limit || most.Load() < maxWaitingBytes/2 {
			t.Errorf("%d bytes of outcomes waited, the limit is %d", most.Load(), limit)
		}
		if limit := int64(maxGroupBytes/answer + 1); largest.Load() > limit {
			t.Errorf("%d outcomes were committed at once, that is more than %d bytes", largest.Load(), maxGroupBytes)
		}
	})
}

// A claim brings as many lanes as there is room for, also of an endpoint whose share of the memory is small: a claim for a few lanes costs as much as one for many.
func TestClaimsMakeUseOfTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(10*time.Millisecond, 200))
		claims, lanes := 0, 0
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 8}}, EngineOptions{Queue: 64,
			Trace: Trace{Claimed: func(_ string, n int, _ time.Duration) { claims, lanes = claims+1, lanes+n }}})
		for i := range 1000 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		run(t, e)
		time.Sleep(time.Minute)
		if got := store.results()[Delivered]; got != 1000 || lanes != 1000 || claims > 1000/(64/claimShare)+5 {
			t.Errorf("%d delivered; %d lanes in %d claims", got, lanes, claims)
		}
	})
}

// Claims of many endpoints are not all made at the same time: ingest and outcomes need the store too.
func TestClaimsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, sender := newMemStore(), newScripted(t, takes(time.Millisecond, 200))
		var under, most atomic.Int64
		store.setFault(func(op string) (error, error) {
			if op == "claim" {
				if n := under.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(10 * time.Millisecond)
				under.Add(-1)
			}
			return nil, nil
		})
		configs := map[string]EndpointConfig{}
		for i := range 40 {
			configs[fmt.Sprint("e", i)] = EndpointConfig{}
			store.add(queued(fmt.Sprint("e", i), "m", 1))
		}
		run(t, NewEngine(store, sender, configs, EngineOptions{}))
		time.Sleep(time.Second)
		if got := store.results()[Delivered]; got != 40 || most.Load() != claimsAtOnce {
			t.Errorf("%d delivered, %d claims at the same time, want %d", got, most.Load(), claimsAtOnce)
		}
	})
}

// Invariant 9: what a claim brings is decided by what lanes held lately, and when it is the claim's turn. Lanes that hold more than the last ones bring no more than twice the room.
func TestInvariant9ClaimsOfLanesThatHoldMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		e := NewEngine(store, newScripted(t, takes(10*time.Second, 200)), map[string]EndpointConfig{"erp": {Concurrency: 8}}, EngineOptions{Queue: 64})
		o := e.outlets["erp"]
		for i := range 12 {
			store.add(queued("erp", fmt.Sprint("short", i), 1))
		}
		run(t, e)
		time.Sleep(time.Minute)
		for i := range 200 {
			for n := range 8 {
				store.add(queued("erp", fmt.Sprint("long", i), n))
			}
		}
		most := 0
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			most = max(most, o.stats().Deliveries)
		}
		if most < o.maxDels || most > 2*o.maxDels {
			t.Errorf("there is room for %d, and %d were in memory", o.maxDels, most)
		}
	})
}

// A probe, of one delivery, tells nothing of how much lanes hold.
func TestProbesTellNothingOfLanes(t *testing.T) {
	o := NewEngine(newMemStore(), newScripted(t, takes(0, 200)), map[string]EndpointConfig{"erp": {}}, EngineOptions{}).outlets["erp"]
	lane := func(key string, n int) Lane {
		l := Lane{Endpoint: "erp", Key: key}
		for i := range n {
			l.Deliveries = append(l.Deliveries, queued("erp", key, i))
		}
		return l
	}
	o.claimed([]Lane{lane("a", 4), lane("b", 3)}, claimPerLane, true, 0)
	size, bytes := o.laneSize, o.laneBytes
	o.claimed([]Lane{lane("c", 1)}, 1, true, 0)
	if size != 4 || bytes == 0 || o.laneSize != size || o.laneBytes != bytes {
		t.Errorf("%d deliveries and %d bytes before a probe, %d and %d after it", size, bytes, o.laneSize, o.laneBytes)
	}
}

// A claim that has waited for its turn asks for what there is room for then.
func TestClaimsWaitForTheirTurnOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		e := NewEngine(store, newScripted(t, takes(0, 200)), map[string]EndpointConfig{"erp": {}}, EngineOptions{Queue: 16})
		o := e.outlets["erp"]
		store.add(queued("erp", "m", 1))
		for range claimsAtOnce {
			e.claiming <- struct{}{}
		}
		done := make(chan error)
		go func() {
			_, err := o.claimOnce(t.Context())
			done <- err
		}()
		synctest.Wait() // it waits for its turn
		o.mu.Lock()
		o.reserved = 16 // an Enqueue is quicker
		o.mu.Unlock()
		<-e.claiming
		if err := <-done; err != nil || o.stats().Lanes != 0 {
			t.Errorf("%d lanes were claimed, and there was no room: %v", o.stats().Lanes, err)
		}
	})
}

// However many endpoints share the memory, one may send as many at a time as it is to, so far as they fit.
func TestManyEndpointsKeepTheirConcurrency(t *testing.T) {
	configs := map[string]EndpointConfig{"wide": {Concurrency: 60}, "batched": {Batch: BatchConfig{Size: 1000}}}
	for i := range 126 {
		configs[fmt.Sprint("e", i)] = EndpointConfig{}
	}
	e := NewEngine(newMemStore(), newScripted(t, takes(0, 200)), configs, EngineOptions{})
	if wide, batched, usual := e.outlets["wide"].maxDels, e.outlets["batched"].maxDels, e.outlets["e1"].maxDels; wide != 60 || batched != leastMemory/deliveryCost || usual != leastMemory/(3*deliveryCost) {
		t.Errorf("room for %d, %d and %d", wide, batched, usual)
	}
}
