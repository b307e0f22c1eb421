package delivery

import (
	"hash/fnv"
	"io"
	"math"
	"time"
)

// RetryPolicy is the schedule of an endpoint's attempts: either exponential (Initial, Factor, Max, Attempts) or
// an explicit Schedule, which a Preset may stand for.
type RetryPolicy struct {
	Preset   string     `toml:"preset"`   // "5x5s" or "standard", see RetryPresets; default none
	Initial  Duration   `toml:"initial"`  // wait after the first failed attempt; default 60s
	Factor   float64    `toml:"factor"`   // each further wait is this many times longer; default 2, at least 1
	Max      Duration   `toml:"max"`      // longest wait, before jitter; default 24h
	Attempts *int       `toml:"attempts"` // how often a delivery is tried in all; default 10
	Jitter   *float64   `toml:"jitter"`   // waits vary by this part, up and down, so that what failed together does not return together; 0 to 1, default 0.2
	Schedule []Duration `toml:"schedule"` // the wait before each attempt, the first of which is "0s"; default none

	MaxRetryAfter Duration `toml:"max_retry_after"` // longest wait that a receiver can ask for with Retry-After; default 24h, which is the most
}

// RetryPresets are the schedules that have a name. None of them has jitter unless it is configured.
var RetryPresets = map[string][]Duration{
	// What other modules that send webhooks from Odoo do, and their receivers may count on.
	"5x5s": every(5*time.Second, 5*time.Second, 5*time.Second, 5*time.Second),
	// What Standard Webhooks 1.0 proposes.
	"standard": every(5*time.Second, 5*time.Minute, 30*time.Minute, 2*time.Hour, 5*time.Hour, 10*time.Hour, 14*time.Hour, 20*time.Hour, 24*time.Hour),
}

// every is a schedule with these waits after the first attempt.
func every(waits ...time.Duration) []Duration {
	schedule := []Duration{0}
	for _, w := range waits {
		schedule = append(schedule, Duration(w))
	}
	return schedule
}

// MaxRetryAfter is the longest wait that a receiver can ask for with Retry-After, unless its endpoint allows less.
const MaxRetryAfter = 24 * time.Hour

const (
	defaultAttempts = 10
	defaultJitter   = 0.2
)

// WithDefaults fills what is zero.
func (r RetryPolicy) WithDefaults() RetryPolicy {
	fill(&r.MaxRetryAfter, Duration(MaxRetryAfter))
	if preset := RetryPresets[r.Preset]; preset != nil && len(r.Schedule) == 0 {
		r.Schedule = preset
		if r.Jitter == nil {
			r.Jitter = new(float64)
		}
	}
	if len(r.Schedule) == 0 {
		fill(&r.Initial, Duration(time.Minute))
		fill(&r.Factor, 2)
		fill(&r.Max, Duration(24*time.Hour))
	}
	return r
}

// Limit is the number of attempts after which a delivery is dead.
func (r RetryPolicy) Limit() int {
	switch {
	case len(r.Schedule) > 0:
		return len(r.Schedule)
	case r.Attempts != nil:
		return *r.Attempts
	}
	return defaultAttempts
}

// Next returns when a delivery is tried again whose attempts have failed `failed` times, the last one
// at now; false when that was the last one. It is pure: the jitter comes from the seed (the delivery's
// id) and the number of attempts.
func (r RetryPolicy) Next(failed int, now time.Time, seed string) (time.Time, bool) {
	if failed >= r.Limit() {
		return time.Time{}, false
	}
	return now.Add(r.wait(max(failed, 1), seed)), true
}

// after is the wait that a receiver asks for, as far as the endpoint allows it.
func (r RetryPolicy) after(header string, now time.Time) time.Duration {
	return min(retryAfter(header, now), r.WithDefaults().MaxRetryAfter.Std())
}

// wait is the pause after the failed-th failed attempt, counted from 1.
func (r RetryPolicy) wait(failed int, seed string) time.Duration {
	r = r.WithDefaults()
	var base float64
	if len(r.Schedule) > 0 {
		base = float64(r.Schedule[min(failed, len(r.Schedule)-1)])
	} else {
		// The power overflows to +Inf at worst, never to something negative, and the limit cuts
		// it off before it becomes a Duration.
		base = min(float64(r.Initial)*math.Pow(r.Factor, float64(failed-1)), float64(r.Max))
	}
	jitter := defaultJitter
	if r.Jitter != nil {
		jitter = *r.Jitter
	}
	wait := base * (1 + jitter*spread(seed, failed))
	if wait >= math.MaxInt64 { // float64(MaxInt64) is 2^63: not representable
		return math.MaxInt64
	}
	return time.Duration(max(wait, 0))
}

// spread maps a seed and a number evenly onto [-1, 1).
func spread(seed string, n int) float64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, seed) // a hash.Hash never fails
	x := h.Sum64() + uint64(n)*0x9e3779b97f4a7c15
	// FNV alone leaves the high bits of similar seeds alike; this is splitmix64's finisher.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	return float64(x>>11)/(1<<52) - 1
}
