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
