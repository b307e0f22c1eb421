package delivery

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever happens, and in whatever order attempts end: nothing is sent before its time, one probe at a time, never more at once than
// the slow start allows; and a receiver that answers is sent to without limit in the end.
func TestBreakerProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		jitter := rapid.Float64Range(0, 1).Draw(t, "jitter")
		cfg := BreakerConfig{Failures: ptr(rapid.IntRange(1, 5).Draw(t, "failures")), Pause: seconds(10), MaxPause: seconds(100), Jitter: &jitter}
		b := &breaker{cfg: cfg, seed: "erp", concurrency: rapid.IntRange(1, 20).Draw(t, "concurrency")}
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		var under []pass
		probes := 0
		inRow := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(30*time.Second)).Draw(t, "wait")))
			case 1:
				if b.pass(now); b.phase == phaseAsking && rapid.Bool().Draw(t, "granted") {
					b.phase = phaseAllowed
				}
				open, until := b.isOpen(), b.until
				p, ok, at := b.admit(now, len(under))
				switch {
				case ok && open && now.Before(until):
					t.Fatalf("a request %s too early", until.Sub(now))
				case ok && open && (!p.probe || probes > 0):
					t.Fatalf("while it is open, %d probes are under way, and one more is sent", probes)
				case ok && b.start.on && len(under) >= 1<<b.start.step:
					t.Fatalf("%d requests at once in step %d", len(under)+1, b.start.step)
				case !ok && !at.IsZero() && !at.After(now):
					t.Fatalf("refused, and to be asked again at once")
				case ok:
					under = append(under, p)
					if p.probe && p.age == b.age {
						probes++
					}
				}
			case 2:
				if len(under) == 0 {
					continue
				}
				i := rapid.IntRange(0, len(under)-1).Draw(t, "which")
				p := under[i]
				under = append(under[:i], under[i+1:]...)
				v := rapid.SampledFrom([]verdict{says, answered, failed, failed, failed}).Draw(t, "verdict")
				var hold time.Time
				if v == failed && rapid.IntRange(0, 5).Draw(t, "asked") == 0 {
					hold = now.Add(seconds(rapid.IntRange(1, 1000).Draw(t, "hold")).Std())
				}
				wasOpen, current := b.isOpen(), p.age == b.age
				b.done(p, v, now, hold, "503")
				if p.probe && current {
					probes--
				}
				switch v {
				case answered:
					inRow = 0
				case failed:
					inRow++
				}
				if !b.isOpen() {
					probes = 0
				}
				if b.record.n != inRow {
					t.Fatalf("%d failures in a row, it counts %d", inRow, b.record.n)
				}
				if b.isOpen() && hold.After(b.until) {
					t.Fatalf("it waits until %s, the receiver asked for %s", b.until, hold)
				}
				if !wasOpen && current && v == failed && inRow >= *cfg.Failures && !b.isOpen() {
					t.Fatal("it did not open")
				}
				if b.isOpen() && hold.IsZero() && v == failed && !wasOpen {
					if wait := b.until.Sub(now); wait < 0 || wait > 200*time.Second {
						t.Fatalf("it pauses for %s", wait)
					}
				}
			}
		}
		// The receiver is well from now on.
		for range 1000 {
			if b.pass(now); b.phase == phaseAsking {
				b.phase = phaseAllowed
			}
			for _, p := range under {
				b.done(p, answered, now, time.Time{}, "")
			}
			under = under[:0]
			p, ok, at := b.admit(now, 0)
			switch {
			case ok:
				b.done(p, answered, now, time.Time{}, "")
			case at.IsZero():
				t.Fatalf("nobody would ask again in phase %d", b.phase)
			default:
				now = at
			}
			if b.free() {
				return
			}
		}
		t.Fatalf("it does not recover: phase %d, step %d", b.phase, b.start.step)
	})
}

// Pauses double up to the longest, and begin anew only when the receiver has taken up all of its work.
func TestBreakerPauses(t *testing.T) {
	b := &breaker{cfg: BreakerConfig{Failures: ptr(3), Pause: seconds(10), MaxPause: seconds(60), Jitter: ptr(0.0)}, concurrency: 4}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	began := now
	for range 3 {
		p, ok, _ := b.admit(now, 0)
		if !ok {
			t.Fatal("refused while closed")
		}
		b.done(p, failed, now, time.Time{}, "connection refused")
	}
	probe := func(v verdict) {
		t.Helper()
		if _, ok, at := b.admit(now, 0); ok || !at.Equal(b.until) {
			t.Fatalf("open: admitted %v, to be asked at %s", ok, at)
		}
		now = b.until
		b.pass(now)
		b.phase = phaseAllowed
		p, ok, _ := b.admit(now, 0)
		if !ok || !p.probe {
			t.Fatalf("no probe: %v %+v", ok, p)
		}
		b.done(p, v, now, time.Time{}, "connection refused")
	}
	var pauses []string
	for range 5 {
		at := now
		probe(failed)
		pauses = append(pauses, now.Sub(at).String())
	}
	if got := fmt.Sprint(pauses); got != "[10s 20s 40s 1m0s 1m0s]" {
		t.Errorf("pauses %s", got)
	}
	if b.since != began {
		t.Errorf("open since %s, want %s", b.since, began)
	}
	probe(answered)
	for range 3 { // it fails again before it has taken up its work
		now = now.Add(time.Second)
		p, ok, _ := b.admit(now, 0)
		if !ok {
			t.Fatal("refused in the slow start")
		}
		b.done(p, failed, now, time.Time{}, "timeout")
	}
	if wait := b.until.Sub(now); !b.isOpen() || wait != time.Minute {
		t.Errorf("after a relapse it pauses for %s", wait)
	}
	probe(answered)
	for !b.free() {
		p, ok, at := b.admit(now, 0)
		if ok {
			b.done(p, answered, now, time.Time{}, "")
		} else {
			now = at
		}
	}
	for range 3 {
		p, _, _ := b.admit(now, 0)
		b.done(p, failed, now, time.Time{}, "timeout")
	}
	if wait := b.until.Sub(now); wait != 10*time.Second {
		t.Errorf("after it was well it pauses for %s", wait)
	}
}

// What an attempt says about the receiver.
func TestVerdict(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	asks := func(status int, header string) *Attempt {
		a := &Attempt{Status: status, Class: statusClass(status), ResponseHeaders: map[string][]string{"Retry-After": {header}}}
		return a
	}
	for _, tt := range []struct {
		name string
		a    *Attempt
		want verdict
		hold time.Duration
	}{
		{"none made", nil, says, 0},
		{"released", &Attempt{Class: ClassReleased}, says, 0},
		{"too large", &Attempt{Class: ClassTooLarge}, says, 0},
		{"expired", &Attempt{Class: ClassExpired}, says, 0},
		{"not configured", &Attempt{Class: ClassConfig}, says, 0},
		{"refused", &Attempt{Class: ClassConnect}, failed, 0},
		{"timeout", &Attempt{Class: ClassTimeout}, failed, 0},
		{"no token", &Attempt{Class: ClassAuth}, failed, 0},
		{"200", status(200), answered, 0},
		{"200 that breaks off", &Attempt{Status: 200, Error: "cut"}, failed, 0},
		{"302", status(302), failed, 0},
		{"400", status(400), answered, 0},
		{"401", status(401), failed, 0},
		{"403", status(403), failed, 0},
		{"404", status(404), failed, 0},
		{"405", status(405), failed, 0},
		{"407", status(407), failed, 0},
		{"422", status(422), answered, 0},
		{"408", status(408), failed, 0},
		{"410", status(410), answered, 0},
		{"429", status(429), failed, 0},
		{"500", status(500), failed, 0},
		{"429 that asks", asks(429, "120"), failed, 2 * time.Minute},
		{"503 that asks", asks(503, "120"), failed, 2 * time.Minute},
		{"503 that asks for too much", asks(503, "86400"), failed, time.Hour},
		{"503 that asks for nothing", asks(503, "0"), failed, 0},
		{"500 that asks", asks(500, "120"), failed, 0},
		{"200 that asks", asks(200, "120"), answered, 0},
	} {
		c := EndpointConfig{Retry: RetryPolicy{MaxRetryAfter: Duration(time.Hour)}}
		v, hold := verdictOf(&c, tt.a, now)
		var wait time.Duration
		if !hold.IsZero() {
			wait = hold.Sub(now)
		}
		if v != tt.want || wait != tt.hold {
			t.Errorf("%s: verdict %d, hold %s", tt.name, v, wait)
		}
	}
}

// In no window are more let through than burst and rate allow, and whoever asks when told to gets through.
func TestBucketProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := RateConfig{Limit: rapid.Float64Range(0.1, 5000).Draw(t, "limit"), Per: seconds(rapid.IntRange(1, 60).Draw(t, "per")), Burst: rapid.IntRange(1, 100).Draw(t, "burst")}
		processes := rapid.IntRange(1, 3).Draw(t, "processes")
		b := newBucket(c)
		b.divide(processes)
		rate, most := c.PerSecond()/float64(processes), max(float64(c.Burst)/float64(processes), 1)
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		var let []time.Time
		for range 300 {
			at := b.ready(now)
			if at.IsZero() {
				b.take()
				let = append(let, now)
				continue
			}
			if !at.After(now) || at.Sub(now).Seconds() > max(2/rate, 0.006) {
				t.Fatalf("to be asked again after %s, at %v a second", at.Sub(now), rate)
			}
			if rapid.Bool().Draw(t, "patient") {
				if now = at; !b.ready(now).IsZero() {
					t.Fatal("no token when there was to be one")
				}
			} else {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "wait")))
			}
		}
		for i := range let {
			for j := i; j < len(let); j++ {
				if n, allowed := float64(j-i+1), most+rate*let[j].Sub(let[i]).Seconds(); n > allowed+1e-3 {
					t.Fatalf("%v requests in %s, %v are allowed", n, let[j].Sub(let[i]), allowed)
				}
			}
		}
	})
}

// A wait that was known before the store was read goes on, with what it came from.
func TestBreakerExtends(t *testing.T) {
	now := time.Unix(1000, 0)
	b := &breaker{pauses: 3, record: failures{n: 20, since: time.Unix(500, 0)}}
	b.open(now, now.Add(time.Hour), "429")
	was := *b
	b.restore(FlowState{Failures: 3, FailingSince: time.Unix(900, 0), Pauses: 1}, now)
	b.extend(&was, now)
	if b.phase != phaseOpen || b.until != was.until || b.reason != "429" || b.pauses != 3 || b.record != was.record {
		t.Errorf("%+v", b)
	}
	b.restore(FlowState{Failures: 30, FailingSince: time.Unix(900, 0), Pauses: 5}, now)
	b.extend(&was, now)
	if b.phase != phaseOpen || b.until != was.until || b.pauses != 5 || b.record.n != 30 {
		t.Errorf("%+v", b)
	}
}

// TestSlowStartOfOneThatFailsAtTimes shows that a receiver which fails now and then comes to its full rate, and one that mostly fails does not.
func TestSlowStartOfOneThatFailsAtTimes(t *testing.T) {
	const concurrency = 16
	steps := func(fails func(n int) bool) int {
		now, n := time.Unix(0, 0), 0
		s := newSlowStart(now)
		for step := range 30 {
			for s.on && s.admit(now, 0, concurrency).IsZero() && s.on {
				n++
				s.note(true, !fails(n))
			}
			if !s.on {
				return step
			}
			now = now.Add(slowStep)
		}
		return -1
	}
	if n := steps(func(n int) bool { return n%10 == 0 }); n != 4 { // 1, 2, 4, 8 at the same time
		t.Errorf("one that fails every tenth time is at its full rate after %d steps, want 4", n)
	}
	if n := steps(func(n int) bool { return n%2 == 0 }); n != 4 {
		t.Errorf("one that fails every other time is at its full rate after %d steps, want 4", n)
	}
	if n := steps(func(n int) bool { return n%3 != 0 }); n != -1 {
		t.Errorf("one that fails two times of three is at its full rate after %d steps, want never", n)
	}
}
