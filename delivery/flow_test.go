package delivery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// between counts requests to an endpoint from one time after began on until another.
func (s *scripted) between(endpoint string, began time.Time, from, until time.Duration) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, times := range s.times {
		if !strings.HasPrefix(id, "msg_"+endpoint+"_") {
			continue
		}
		for _, at := range times {
			if d := at.Sub(began); d >= from && d < until {
				n++
			}
		}
	}
	return n
}

// notBefore checks that no attempt was made before the time that the one before had set for it.
func (s *memStore) notBefore(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[string]time.Time{}
	for _, o := range s.attempts {
		if at := next[o.Delivery.ID]; o.Attempt.At.Before(at) {
			t.Errorf("%s was sent %s too early", o.Delivery.ID, at.Sub(o.Attempt.At))
		}
		next[o.Delivery.ID] = o.Next
	}
}

// An outage of an hour: a request now and then, no attempt used up by what waits, no hammering on return, and the neighbour notices nothing.
func TestEngineOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const outage = time.Hour
		store := newMemStore()
		flow := newMemFlow(store)
		began := time.Now()
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			switch d.Endpoint {
			case "erp":
				if time.Since(began) < outage {
					return takes(100*time.Millisecond, 503)(ctx, d)
				}
				return takes(2*time.Millisecond, 200)(ctx, d)
			default:
				return takes(time.Millisecond, 200)(ctx, d)
			}
		})
		var opened, closed int
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}, "shop": {}}, EngineOptions{Flow: flow, AlertAfter: 15 * time.Minute, Trace: Trace{
			BreakerOpened: func(string, string, int, time.Time) { opened++ },
			BreakerClosed: func(string) { closed++ },
		}})
		const backlog, rounds, every = 1000, 370, 10 * time.Second
		for i := range backlog {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		run(t, e)
		late := time.Duration(0)
		for i := range rounds { // new events for the neighbour, and for the dead one
			enqueue(t, store, e, queued("shop", fmt.Sprint(i), 1), queued("erp", fmt.Sprint("fresh", i), 1))
			sent := time.Now()
			time.Sleep(every)
			sender.mu.Lock()
			if at := sender.times[fmt.Sprintf("msg_shop_%d_00001", i)]; len(at) != 1 {
				t.Fatalf("the neighbour's delivery %d was sent %d times", i, len(at))
			} else {
				late = max(late, at[0].Sub(sent))
			}
			sender.mu.Unlock()
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		if late > 2*time.Millisecond {
			t.Errorf("the neighbour's deliveries were up to %s late", late)
		}
		n := sender.between("erp", began, 0, outage)
		if n < 30 || n > 60 { // 20 + up to 15 more under way, then a probe every 5 minutes
			t.Errorf("%d requests during the outage", n)
		}
		claims := store.count(func() int { return store.claims["erp"] })
		t.Logf("%d requests during the outage, %d claims in all, %d saves", n, claims, flow.saves)
		if flow.saves > 100 {
			t.Errorf("%d writes of the breaker's state", flow.saves)
		}
		first := 2 * outage // of the requests after the return
		for id, times := range sender.times {
			for _, at := range times {
				if d := at.Sub(began); d >= outage && d < first && strings.HasPrefix(id, "msg_erp_") {
					first = d
				}
			}
		}
		if first > outage+6*time.Minute+time.Second {
			t.Errorf("the return was noticed %s late", first-outage)
		}
		for step, most := 0, 10; step < 4; step, most = step+1, 2*most {
			from := first + time.Duration(step)*time.Second
			got := sender.between("erp", began, from, from+time.Second)
			t.Logf("%d s after the return: %d requests", step, got)
			if got > 2*most+1 { // the windows need not be the steps
				t.Errorf("%d requests in second %d after the return, want at most %d", got, step+1, most)
			}
		}
		dead := store.results()[Dead]
		if delivered := store.results()[Delivered]; delivered+dead != backlog+2*rounds || dead != 0 {
			t.Errorf("%d delivered, %d dead", delivered, dead)
		}
		if opened != 1 || closed != 1 {
			t.Errorf("opened %d times, closed %d times", opened, closed)
		}
		if want := []string{NoticeFailing + " erp", NoticeRecovered + " erp"}; !slices.Equal(flow.told(), want) {
			t.Errorf("told %q, want %q", flow.told(), want)
		}
		store.notBefore(t)
		if s := flow.get("erp"); s.Failures != 0 || !s.OpenUntil.IsZero() || s.Noticed {
			t.Errorf("stored at the end: %+v", s)
		}
	})
}

// Retry-After keeps the whole endpoint from being sent to, to the moment, and no other.
func TestEngineRetryAfterHoldsTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		began := time.Now()
		end := began.Add(time.Hour) // a whole second, as the header has it: the clock begins at midnight
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			time.Sleep(time.Millisecond)
			if left := time.Until(end); d.Endpoint == "erp" && left > 0 {
				a := status(429)
				a.ResponseHeaders = map[string][]string{"Retry-After": {end.UTC().Format(http.TimeFormat)}}
				return a
			}
			return status(200)
		})
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 4}, "shop": {}}, EngineOptions{Flow: newMemFlow(store)})
		for i := range 200 {
			store.add(queued("erp", fmt.Sprint(i), 1), queued("shop", fmt.Sprint(i), 1))
		}
		run(t, e)
		time.Sleep(time.Hour - time.Second)
		if n := sender.between("erp", began, 0, time.Hour); n > 4 {
			t.Errorf("%d requests although the first answer asked to wait", n)
		}
		if n := sender.between("shop", began, 0, time.Second); n != 200 {
			t.Errorf("the neighbour got %d of 200", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		store.notBefore(t)
		if n := sender.between("erp", began, time.Minute, time.Hour); n != 0 {
			t.Errorf("%d requests before the time that the receiver named", n)
		}
		if n := sender.between("erp", began, time.Hour, time.Hour+2*time.Second); n == 0 || n > 31 {
			t.Errorf("%d requests in the first two seconds after it", n)
		}
		if n := store.results()[Delivered]; n != 400 {
			t.Errorf("%d delivered", n)
		}
	})
}

// A burst against a rate limit: exact to the token, and shared by the processes.
func TestEngineRateLimit(t *testing.T) {
	for _, processes := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store := newMemStore()
			flow := newMemFlow(store)
			flow.processes = processes
			sender := newScripted(t, takes(30*time.Millisecond, 200))
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Rate: RateConfig{Limit: 50, Burst: 10}}}, EngineOptions{Flow: flow})
			for i := range 510 {
				store.add(queued("erp", fmt.Sprint(i), 1))
			}
			began := time.Now()
			run(t, e)
			time.Sleep(time.Minute)
			synctest.Wait()
			rate, burst := 50/processes, 10/processes
			for second := range 510 / rate {
				from := time.Duration(second) * time.Second
				want := rate
				if second == 0 {
					want += burst
				}
				if n := sender.between("erp", began, from, from+time.Second); n < want-1 && second < 510/rate-1 || n > want+1 {
					t.Errorf("%d processes: %d requests in second %d, want %d", processes, n, second, want)
				}
			}
			if n := store.results()[Delivered]; n != 510 {
				t.Errorf("%d delivered", n)
			}
		})
	}
}

// A limit is reached also where each request takes much longer than a token does to come: as many workers are away as it takes.
func TestEngineRateLimitOfASlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		sender := newScripted(t, takes(time.Second, 200))
		for i := range 400 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		began := time.Now()
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 16, Rate: RateConfig{Limit: 10, Burst: 1}}}, EngineOptions{}))
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := sender.between("erp", began, 0, 30*time.Second); n < 295 || n > 301 {
			t.Errorf("%d requests in 30 s, with a limit of 10 a second", n)
		}
	})
}

// A person pauses and resumes: within a second, and nothing is held meanwhile.
func TestEnginePauseAndResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		sender := newScripted(t, takes(10*time.Millisecond, 200))
		var told []string
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 2}}, EngineOptions{Flow: flow, Trace: Trace{
			Paused:  func(endpoint, reason string) { told = append(told, endpoint+" paused: "+reason) },
			Enabled: func(endpoint string) { told = append(told, endpoint+" resumed") },
		}})
		for i := range 2000 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		began := time.Now()
		run(t, e)
		time.Sleep(2 * time.Second)
		flow.pause("erp", "maintenance")
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		sent := sender.count()
		if sent == 0 || sent == 2000 {
			t.Fatalf("%d requests before the pause", sent)
		}
		if _, owned := store.pending(); owned != 0 {
			t.Errorf("%d lanes are held while it is paused", owned)
		}
		claims := store.count(func() int { return store.claims["erp"] })
		time.Sleep(time.Hour)
		enqueue(t, store, e, queued("erp", "fresh", 1))
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := sender.count(); n != sent {
			t.Errorf("%d requests while it was paused", n-sent)
		}
		if n := store.count(func() int { return store.claims["erp"] }); n != claims {
			t.Errorf("%d claims while it was paused", n-claims)
		}
		flow.resume("erp")
		resumed := time.Since(began)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := sender.between("erp", began, resumed, resumed+1100*time.Millisecond); n == 0 || n > 21 {
			t.Errorf("%d requests in the first second after it was resumed", n)
		}
		if n, owned := store.pending(); n != 0 || owned != 0 {
			t.Errorf("%d pending, %d lanes held", n, owned)
		}
		if want := []string{"erp paused: maintenance", "erp resumed"}; !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
	})
}

// An endpoint that only fails is disabled after so many attempts over so long; nothing is lost, and a person's resume sends a probe first.
func TestEngineDisablesAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		var well atomic.Bool
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			time.Sleep(time.Millisecond)
			if well.Load() {
				return status(200)
			}
			return &Attempt{Class: ClassConnect, Error: "connection refused"}
		})
		var mu sync.Mutex
		var reason string
		endpoint := EndpointConfig{Disable: DisableConfig{Failures: ptr(30), After: Duration(2 * time.Hour)}}
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow, Trace: Trace{
			Disabled: func(_, why string) { mu.Lock(); reason = why; mu.Unlock() },
		}})
		for i := range 100 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		began := time.Now()
		run(t, e)
		time.Sleep(2*time.Hour - time.Second)
		synctest.Wait()
		mu.Lock()
		early := reason
		mu.Unlock()
		if early != "" {
			t.Errorf("disabled too early: %s", early)
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		mu.Lock()
		why := reason
		mu.Unlock()
		if !strings.Contains(why, "attempts in a row have failed since "+began.UTC().Format("2006-01-02T15:04")) || !strings.HasSuffix(why, "connection refused") {
			t.Errorf("disabled for %q", why)
		}
		sent := sender.count()
		well.Store(true)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := sender.count(); n != sent {
			t.Errorf("%d requests while disabled", n-sent)
		}
		if _, owned := store.pending(); owned != 0 {
			t.Errorf("%d lanes held while disabled", owned)
		}
		flow.resume("erp")
		time.Sleep(time.Hour)
		synctest.Wait()
		if n, owned := store.pending(); n != 0 || owned != 0 {
			t.Errorf("%d pending, %d lanes held", n, owned)
		}
		if got := store.results(); got[Delivered] != 100 {
			t.Errorf("ended: %v", got)
		}
	})
}

// A restart in the middle of a pause goes on with it.
func TestEngineRestartWithinAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		sender := newScripted(t, takes(time.Millisecond, 500))
		endpoint := EndpointConfig{Breaker: BreakerConfig{Failures: ptr(5), Pause: Duration(time.Hour), MaxPause: Duration(4 * time.Hour), Jitter: ptr(0.0)}, Concurrency: 2}
		for i := range 100 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		life := func(d time.Duration) (requests int) {
			e := NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow})
			before := sender.count()
			stop := run(t, e)
			time.Sleep(d)
			if err := stop(); err != nil {
				t.Error(err)
			}
			return sender.count() - before
		}
		if n := life(10 * time.Minute); n < 5 || n > 7 {
			t.Errorf("%d requests before it opened", n)
		}
		for range 4 {
			if n := life(12 * time.Minute); n != 0 {
				t.Errorf("%d requests within the pause", n)
			}
		}
		if n := life(30 * time.Minute); n != 1 {
			t.Errorf("%d probes", n)
		}
		if s := flow.get("erp"); s.Pauses != 2 || s.Failures < 6 || s.OpenUntil.Sub(s.OpenSince) < 3*time.Hour {
			t.Errorf("stored: %+v", s)
		}
	})
}

// Of several processes one probes at a time, and all go on when it was answered.
func TestEngineOneProbeOfManyProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		flow.processes = 3
		var well atomic.Bool
		var probing, most atomic.Int32
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			most.Store(max(most.Load(), probing.Add(1)))
			defer probing.Add(-1)
			time.Sleep(3 * time.Second)
			if well.Load() {
				return status(200)
			}
			return status(500)
		})
		endpoint := EndpointConfig{Breaker: BreakerConfig{Failures: ptr(5), Jitter: ptr(0.0)}, Concurrency: 2}
		for i := range 300 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		began := time.Now()
		for range 3 {
			run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow}))
		}
		time.Sleep(20 * time.Second) // all have opened, and what was under way has ended
		most.Store(0)
		time.Sleep(time.Hour)
		if n := most.Load(); n != 1 {
			t.Errorf("%d probes at the same time", n)
		}
		if n := sender.between("erp", began, 0, 2*time.Hour); n > 40 {
			t.Errorf("%d requests in an hour", n)
		}
		well.Store(true)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n := store.results()[Delivered]; n != 300 {
			t.Errorf("%d delivered", n)
		}
	})
}

// A probe that we cut short ourselves is none; with the store away nothing is lost of what the gate knows.
func TestEngineProbeCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		var mu sync.Mutex
		until := time.Now().Add(24 * time.Hour)
		var well, slow atomic.Bool
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			switch {
			case slow.Load():
				return takes(10*time.Second, 200)(ctx, d)
			case well.Load():
				return takes(time.Millisecond, 200)(ctx, d)
			}
			return takes(time.Millisecond, 500)(ctx, d)
		})
		endpoint := EndpointConfig{Breaker: BreakerConfig{Failures: ptr(3), Pause: seconds(60), Jitter: ptr(0.0)}, Concurrency: 2}
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow, Lease: func() time.Time { mu.Lock(); defer mu.Unlock(); return until }})
		for i := range 50 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		run(t, e)
		time.Sleep(55 * time.Second)
		slow.Store(true)
		time.Sleep(10 * time.Second) // the probe is under way
		mu.Lock()
		until = time.Now()
		mu.Unlock()
		time.Sleep(time.Minute)
		slow.Store(false)
		well.Store(true)
		mu.Lock()
		until = time.Now().Add(24 * time.Hour)
		mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := store.results()[Delivered]; n != 50 {
			t.Errorf("%d of 50 delivered: %+v", n, flow.get("erp"))
		}
		for _, o := range store.attempts {
			if o.Result == Released {
				t.Error("an attempt was logged that we cut short ourselves")
			}
		}
	})
}

// What failed attempts count without opening the breaker is stored now and then, and taken over after a restart.
func TestEngineFailuresAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		sender := newScripted(t, takes(time.Millisecond, 500))
		endpoint := EndpointConfig{Ordering: OrderEndpoint, Retry: RetryPolicy{Initial: seconds(20), Factor: 1, Attempts: ptr(1000), Jitter: ptr(0.0)}}
		store.add(queued("erp", "", 1))
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow})
		began := time.Now()
		stop := run(t, e)
		time.Sleep(190 * time.Second)
		if s := flow.get("erp"); s.Failures < 9 || s.FailingSince.Sub(began) > time.Second || !s.OpenUntil.IsZero() {
			t.Errorf("stored: %+v", s)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		e = NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow})
		run(t, e)
		time.Sleep(220 * time.Second)
		if s := flow.get("erp"); s.OpenUntil.IsZero() || s.FailingSince.Sub(began) > time.Second {
			t.Errorf("20 failures in two lives did not open it: %+v", s)
		}
	})
}

// What a receiver asked for holds also when another process changes the endpoint's state at the same moment; and a person's word is the last.
func TestEngineRetryAfterSurvivesAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		flow.processes = 2
		began := time.Now()
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			if time.Since(began) > time.Minute {
				return status(200)
			}
			time.Sleep(1500 * time.Millisecond)
			flow.set("erp", func(s *FlowState) { s.Failures, s.FailingSince = 3, began })
			a := status(429)
			a.ResponseHeaders = map[string][]string{"Retry-After": {"3600"}}
			return a
		})
		for i := range 5 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": {Concurrency: 1}}, EngineOptions{Flow: flow}))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := sender.count(); n != 1 {
			t.Errorf("%d requests although the first answer asked to wait for an hour", n)
		}
		if s := flow.get("erp"); s.Failures != 3 || s.OpenUntil.Sub(began) < time.Hour {
			t.Errorf("stored: %+v", s)
		}
		flow.resume("erp")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := store.results()[Delivered]; n != 4 { // the first one waits for its own time
			t.Errorf("%d delivered after a person resumed it", n)
		}
	})
}

// The pause that came before an endpoint was disabled does not outlast a person's resume.
func TestEngineResumeSoonAfterDisabling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		var well atomic.Bool
		sender := newScripted(t, func(context.Context, *Delivery) *Attempt {
			if well.Load() {
				return status(200)
			}
			return status(503)
		})
		c := EndpointConfig{Breaker: BreakerConfig{Failures: ptr(1), Pause: Duration(time.Hour), Jitter: ptr(0.0), MaxPause: Duration(time.Hour)}, Disable: DisableConfig{Failures: ptr(1), After: seconds(1)}, Concurrency: 1}
		flow.set("erp", func(s *FlowState) { s.Failures, s.FailingSince = 1, time.Now().Add(-time.Minute) })
		for i := range 5 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{Flow: flow}))
		time.Sleep(10 * time.Second)
		store.mu.Lock()
		if store.disabled["erp"] == "" {
			t.Error("not disabled")
		}
		store.mu.Unlock()
		well.Store(true)
		flow.resume("erp")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := store.results()[Delivered]; n != 5 {
			t.Errorf("%d delivered after a person resumed it", n)
		}
	})
}

// While a probe is under way, what else is stored of the endpoint does not take the reservation back.
func TestEngineOneProbeWhileOthersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		var probing, most atomic.Int32
		sender := newScripted(t, func(context.Context, *Delivery) *Attempt {
			most.Store(max(most.Load(), probing.Add(1)))
			defer probing.Add(-1)
			time.Sleep(9 * time.Second)
			return status(500)
		})
		for i := range 100 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		endpoint := EndpointConfig{Breaker: BreakerConfig{Failures: ptr(1), Pause: seconds(10), Jitter: ptr(0.0)}, Concurrency: 1}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow, AlertAfter: 15 * time.Second}))
		time.Sleep(21 * time.Second) // it failed after 9 s, and is probing since 19 s
		if probing.Load() != 1 {
			t.Fatal("no probe")
		}
		for i := range 10 {
			store.add(queued("erp", fmt.Sprint("other", i), 1))
		}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": endpoint}, EngineOptions{Flow: flow}))
		time.Sleep(10 * time.Minute)
		if n := most.Load(); n != 1 {
			t.Errorf("%d probes at the same time", n)
		}
		if told := flow.told(); len(told) != 1 {
			t.Errorf("told %q", told)
		}
	})
}

// The reservation lasts as long as an attempt may: where a token may have to be got first, that has a timeout of its own.
func TestLongestAttempt(t *testing.T) {
	c := EndpointConfig{Timeout: seconds(15)}
	if got := c.longestAttempt(); got != 15*time.Second {
		t.Errorf("%s", got)
	}
	if c.Auth.Type = AuthOAuth2; c.longestAttempt() != 30*time.Second {
		t.Errorf("with a token: %s", c.longestAttempt())
	}
}

// Time in which walhook was off, or got no token, is not time for which the receiver failed: one failure of its own disables nothing.
func TestEngineDisablesForTheReceiversTimeOnly(t *testing.T) {
	disabledAfter := func(t *testing.T, store *memStore, flow *memFlow, sender Sender, d time.Duration) string {
		for i := range 40 {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		c := EndpointConfig{Retry: RetryPolicy{Initial: seconds(600), Factor: 1, Attempts: ptr(100000)}, Disable: DisableConfig{After: Duration(5 * time.Hour)}}
		run(t, NewEngine(store, sender, map[string]EndpointConfig{"erp": c}, EngineOptions{Flow: flow}))
		time.Sleep(d)
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.disabled["erp"]
	}
	const h = time.Hour
	failedBefore := func(flow *memFlow, firstly, lastly time.Duration) {
		now := time.Now()
		flow.set("erp", func(s *FlowState) {
			s.Failures, s.Pauses, s.OpenReason = 20, 2, "503"
			s.FailingSince, s.OpenSince, s.OpenUntil = now.Add(-firstly), now.Add(-firstly), now.Add(-lastly)
		})
	}
	for name, test := range map[string]func(t *testing.T, store *memStore, flow *memFlow) (got string, want bool){
		"off for a week after a minute of failures": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			failedBefore(flow, 7*24*h, 7*24*h-time.Minute)
			return disabledAfter(t, store, flow, newScripted(t, takes(time.Millisecond, 503)), 4*h), false
		},
		"off for a week after four hours of failures": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			failedBefore(flow, 7*24*h+4*h, 7*24*h)
			return disabledAfter(t, store, flow, newScripted(t, takes(time.Millisecond, 503)), 2*h), true
		},
		"off for a week after a minute of failures that have not opened the breaker": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			failedBefore(flow, 7*24*h, 0)
			flow.set("erp", func(s *FlowState) {
				s.OpenSince, s.OpenUntil, s.LastFailure = time.Time{}, time.Time{}, s.FailingSince.Add(time.Minute)
			})
			return disabledAfter(t, store, flow, newScripted(t, takes(time.Millisecond, 503)), 4*h), false
		},
		"off for a week after four hours of failures that have not opened the breaker": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			failedBefore(flow, 7*24*h, 0)
			flow.set("erp", func(s *FlowState) {
				s.OpenSince, s.OpenUntil, s.LastFailure = time.Time{}, time.Time{}, s.FailingSince.Add(4*h)
			})
			return disabledAfter(t, store, flow, newScripted(t, takes(time.Millisecond, 503)), 2*h), true
		},
		"another process failed first after the last that is known": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			failedBefore(flow, 7*24*h, 0)
			flow.set("erp", func(s *FlowState) {
				s.OpenSince, s.OpenUntil, s.LastFailure = time.Time{}, time.Time{}, s.FailingSince.Add(-7*24*h)
			})
			return disabledAfter(t, store, flow, newScripted(t, takes(time.Millisecond, 503)), 7*h), true
		},
		"answered after four hours of failures, and off for a minute": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			failedBefore(flow, 4*h+time.Minute, 0)
			flow.set("erp", func(s *FlowState) {
				s.OpenSince, s.OpenUntil, s.LastFailure = time.Time{}, time.Time{}, s.FailingSince.Add(4*h)
				s.LastSuccess = s.LastFailure.Add(time.Second)
			})
			return disabledAfter(t, store, flow, newScripted(t, takes(time.Millisecond, 503)), 3*h), false
		},
		"six hours without a token": func(t *testing.T, store *memStore, flow *memFlow) (string, bool) {
			began := time.Now()
			sender := newScripted(t, func(context.Context, *Delivery) *Attempt {
				if time.Since(began) < 6*h {
					return &Attempt{Class: ClassAuth, Error: "no token"}
				}
				return status(503)
			})
			return disabledAfter(t, store, flow, sender, 10*h), false
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemStore()
				if got, want := test(t, store, newMemFlow(store)); (got != "") != want {
					t.Errorf("disabled for %q, want it disabled: %v", got, want)
				}
			})
		})
	}
}

// When a breaker's time has passed the claim loop looks for a delivery to probe with, whoever was first to notice.
func TestCalledLetsTheClaimLoopLook(t *testing.T) {
	store := newMemStore()
	o := NewEngine(store, newScripted(t, takes(0, 200)), map[string]EndpointConfig{"erp": {}}, EngineOptions{Flow: newMemFlow(store)}).outlets["erp"]
	now := time.Now()
	o.gate.known = true
	o.gate.breaker.open(now.Add(-time.Minute), now, "503")
	o.gate.breaker.pass(now) // as flow does when it looks what is to be stored
	o.called()
	if len(o.wake) != 1 {
		t.Error("the claim loop sleeps on")
	}
}

// An endpoint that a person has resumed waits for a delivery to probe with: nobody is told that it fails.
func TestResumedEndpointIsNoNotice(t *testing.T) {
	for name, c := range map[string]struct {
		failures int
		want     string
	}{"resumed, and idle": {0, ""}, "its probes fail": {3, NoticeFailing}} {
		store := newMemStore()
		e := NewEngine(store, nil, map[string]EndpointConfig{"erp": {}}, EngineOptions{Flow: newMemFlow(store), AlertAfter: 15 * time.Minute})
		o, now := e.outlets["erp"], time.Now()
		o.gate.known = true
		o.gate.breaker.open(now.Add(-time.Hour), now.Add(-time.Minute), "resumed")
		o.gate.breaker.record.n = c.failures
		if _, event, _, _ := o.flowToSave(now); event != c.want {
			t.Errorf("%s: told %q, want %q", name, event, c.want)
		}
	}
}

// Credentials that were changed at the receiver: a few deliveries are lost to it, the rest waits until somebody has mended it.
func TestEngineTurnedAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		flow := newMemFlow(store)
		var mended atomic.Bool
		sender := newScripted(t, func(ctx context.Context, d *Delivery) *Attempt {
			if mended.Load() {
				return takes(time.Millisecond, 200)(ctx, d)
			}
			return takes(time.Millisecond, 401)(ctx, d)
		})
		e := NewEngine(store, sender, map[string]EndpointConfig{"erp": {}}, EngineOptions{Flow: flow})
		const backlog = 500
		for i := range backlog {
			store.add(queued("erp", fmt.Sprint(i), 1))
		}
		run(t, e)
		time.Sleep(time.Hour)
		synctest.Wait()
		dead := store.results()[Dead]
		if dead < 20 || dead > 60 { // 20 + up to 15 more under way, then a probe every 5 minutes
			t.Errorf("%d of %d are dead", dead, backlog)
		}
		mended.Store(true)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := store.results(); got[Delivered] != backlog-dead || got[Dead] != dead {
			t.Errorf("after the mending: %v", got)
		}
	})
}
