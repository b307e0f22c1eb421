package delivery

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func ptr[T any](v T) *T { return &v }

func seconds(n int) Duration { return Duration(time.Duration(n) * time.Second) }

func TestRetryWithoutJitter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		policy RetryPolicy
		want   []time.Duration // after the first, second … failed attempt, until dead
	}{
		{"defaults", RetryPolicy{Jitter: ptr(0.0)}, []time.Duration{
			time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute, 32 * time.Minute, 64 * time.Minute,
			128 * time.Minute, 256 * time.Minute}},
		{"limit", RetryPolicy{Initial: seconds(10), Factor: 10, Max: seconds(500), Attempts: ptr(5), Jitter: ptr(0.0)}, []time.Duration{
			10 * time.Second, 100 * time.Second, 500 * time.Second, 500 * time.Second}},
		{"always the same", RetryPolicy{Initial: seconds(5), Factor: 1, Attempts: ptr(5), Jitter: ptr(0.0)}, []time.Duration{
			5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second}},
		{"one attempt", RetryPolicy{Attempts: ptr(1)}, nil},
		{"schedule", RetryPolicy{Schedule: []Duration{0, seconds(300), seconds(1800)}, Jitter: ptr(0.0)}, []time.Duration{5 * time.Minute, 30 * time.Minute}},
		{"schedule of one", RetryPolicy{Schedule: []Duration{0}}, nil},
		{"as other modules do", RetryPolicy{Preset: "5x5s"}.WithDefaults(), []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second}},
		{"as Standard Webhooks proposes", RetryPolicy{Preset: "standard"}.WithDefaults(), []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
			5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []time.Duration
			for failed := 1; ; failed++ {
				next, ok := tt.policy.Next(failed, now, "msg_1")
				if !ok {
					break
				}
				got = append(got, next.Sub(now))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("waits (-want +got):\n%s", diff)
			}
			if len(got)+1 != tt.policy.Limit() {
				t.Errorf("Limit() = %d, but there were %d attempts", tt.policy.Limit(), len(got)+1)
			}
		})
	}
}

// Whatever the policy and however often it failed, a wait is never negative, never past the limit with
// its jitter, and the same when worked out again.
func TestRetryProperties(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		p := RetryPolicy{
			Initial: Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "initial")),
			Factor:  rapid.Float64Range(1, math.MaxFloat64).Draw(t, "factor"),
			Max:     Duration(rapid.Int64Range(1, int64(maxWait)).Draw(t, "max")),
			Jitter:  ptr(rapid.Float64Range(0, 1).Draw(t, "jitter")), Attempts: ptr(math.MaxInt),
		}
		failed := rapid.IntRange(1, math.MaxInt-1).Draw(t, "failed")
		seed := rapid.String().Draw(t, "seed")
		next, ok := p.Next(failed, now, seed)
		if !ok {
			t.Fatal("no further attempt")
		}
		wait := next.Sub(now)
		if limit := time.Duration(float64(p.Max) * (1 + *p.Jitter)); wait < 0 || wait > limit+time.Microsecond {
			t.Fatalf("wait %s is outside of 0 to %s", wait, limit)
		}
		if again, _ := p.Next(failed, now, seed); again != next {
			t.Fatalf("%s, then %s", next, again)
		}
	})
}

// Deliveries that failed together must not come back together.
func TestRetryJitterSpreads(t *testing.T) {
	p := RetryPolicy{}
	const n = 4000
	var buckets [8]int
	for i := range n {
		wait := p.wait(1, deliveryID(Identity{"s", uint32(i)}, testTx, testChange, "r", "e"))
		part := float64(wait)/float64(time.Minute) - 0.8 // 0 … 0.4
		if part < 0 || part >= 0.4 {
			t.Fatalf("wait %s is not within 20 %% of a minute", wait)
		}
		buckets[int(part/0.4*8)]++
	}
	for i, got := range buckets {
		if got < n/8*3/4 || got > n/8*5/4 {
			t.Errorf("bucket %d holds %d of %d waits, expected about %d", i, got, n, n/8)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"0", 0}, {"120", 2 * time.Minute}, {" 7 ", 7 * time.Second}, {"86400", 24 * time.Hour}, {"86401", 24 * time.Hour},
		{"999999999999999999999999999999", 24 * time.Hour}, {"-5", 0}, {"1.5", 0}, {"1e3", 0}, {"soon", 0}, {"١", 0},
		{"Fri, 02 Jan 2026 03:05:05 GMT", time.Minute}, {"Friday, 02-Jan-26 03:05:05 GMT", time.Minute}, {"Fri Jan  2 03:05:05 2026", time.Minute},
		{"Fri, 02 Jan 2026 03:00:00 GMT", 0}, {"Fri, 02 Jan 2099 03:00:00 GMT", 24 * time.Hour}, {"Fri, 32 Jan 2026 03:00:00 GMT", 0},
	} {
		if got := retryAfter(tt.header, now); got != tt.want {
			t.Errorf("retryAfter(%q) = %s, want %s", tt.header, got, tt.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "86400", "99999999999999999999", "Fri, 02 Jan 2026 03:05:05 GMT", "\x00", "-1", "Mon, 01 Jan 0001 00:00:00 GMT"} {
		f.Add(s, int64(1767323045))
	}
	f.Fuzz(func(t *testing.T, header string, now int64) {
		at := time.Unix(now%(1<<40), 0)
		got := retryAfter(header, at)
		if got < 0 || got > MaxRetryAfter {
			t.Errorf("retryAfter(%q) = %s", header, got)
		}
		text := strings.Trim(header, " \t")
		if n, err := strconv.ParseUint(text, 10, 31); err == nil && got != min(time.Duration(n)*time.Second, MaxRetryAfter) {
			t.Errorf("retryAfter(%q) = %s", header, got)
		}
		if when, err := http.ParseTime(text); err == nil && got != min(max(when.Sub(at), 0), MaxRetryAfter) {
			t.Errorf("retryAfter(%q) = %s at %s", header, got, at)
		}
	})
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15s": 15 * time.Second, "0s": 0, "0": 0, "1h30m": 90 * time.Minute, "30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "500ms": 500 * time.Millisecond, "0d": 0,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q = %s, %v; want %s", text, d.Std(), err, want)
		}
		var again Duration
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Errorf("%s prints as %q, which reads as %s, %v", d.Std(), d.String(), again.Std(), err)
		}
	}
	for _, text := range []string{"", "15", "d", "1.5d", "-1d", "1d-2h", "1d2d", "15 s", "1w", "106752d", "99999999999999999999d", "106751d24h", "5 minutes"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, d.Std())
		}
	}
	if got := Duration(90 * time.Minute).String(); got != "1h30m" {
		t.Errorf("90 minutes print as %s", got)
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"15s", "30d", "1d12h", "d", "106751d23h", "-1h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDuration(text)
		if err != nil {
			return
		}
		if again, err := parseDuration(Duration(d).String()); err != nil || again != d {
			t.Errorf("%q is %s, prints as %q and reads as %s, %v", text, d, Duration(d), again, err)
		}
	})
}
