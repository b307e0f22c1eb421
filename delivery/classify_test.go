package delivery

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	config := EndpointConfig{Retry: RetryPolicy{Jitter: ptr(0.0), Attempts: ptr(3)}}.WithDefaults()
	header := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }
	type want struct {
		Result  Result
		Wait    time.Duration
		Reason  string
		Disable bool
	}
	for _, tt := range []struct {
		name     string
		attempt  Attempt
		attempts int // that failed before
		want     want
	}{
		{"200", Attempt{Status: 200}, 0, want{Result: Delivered}},
		{"204", Attempt{Status: 204}, 0, want{Result: Delivered}},
		{"200 at the last attempt", Attempt{Status: 200}, 2, want{Result: Delivered}},
		{"200, body broke off", Attempt{Status: 200, Error: "the connection was closed while reading the answer", Class: ClassEOF}, 0,
			want{Result: Retry, Wait: time.Minute, Reason: "200 OK, but the connection was closed while reading the answer"}},
		{"refused", Attempt{Error: "connection refused", Class: ClassConnect}, 0, want{Result: Retry, Wait: time.Minute, Reason: "connection refused"}},
		{"timeout, second time", Attempt{Error: "timeout after 15s", Class: ClassTimeout}, 1, want{Result: Retry, Wait: 2 * time.Minute, Reason: "timeout after 15s"}},
		{"timeout, last time", Attempt{Error: "timeout after 15s", Class: ClassTimeout}, 2, want{Result: Dead, Reason: "timeout after 15s (attempt 3 of 3)"}},
		{"more often than allowed", Attempt{Status: 500}, 7, want{Result: Dead, Reason: "500 Internal Server Error (attempt 8 of 3)"}},
		{"500", Attempt{Status: 500}, 0, want{Result: Retry, Wait: time.Minute, Reason: "500 Internal Server Error"}},
		{"599", Attempt{Status: 599}, 0, want{Result: Retry, Wait: time.Minute, Reason: "status 599"}},
		{"999", Attempt{Status: 999}, 0, want{Result: Retry, Wait: time.Minute, Reason: "status 999"}},
		{"408", Attempt{Status: 408}, 0, want{Result: Retry, Wait: time.Minute, Reason: "408 Request Timeout"}},
		{"425", Attempt{Status: 425}, 0, want{Result: Retry, Wait: time.Minute, Reason: "425 Too Early"}},
		{"429", Attempt{Status: 429}, 0, want{Result: Retry, Wait: time.Minute, Reason: "429 Too Many Requests"}},
		{"429 lengthens", Attempt{Status: 429, ResponseHeaders: header("Retry-After", "3600")}, 0, want{Result: Retry, Wait: time.Hour, Reason: "429 Too Many Requests"}},
		{"503 with a date", Attempt{Status: 503, ResponseHeaders: header("Retry-After", "Fri, 02 Jan 2026 03:14:05 GMT")}, 0,
			want{Result: Retry, Wait: 10 * time.Minute, Reason: "503 Service Unavailable"}},
		{"429 never shortens", Attempt{Status: 429, ResponseHeaders: header("Retry-After", "1")}, 0, want{Result: Retry, Wait: time.Minute, Reason: "429 Too Many Requests"}},
		{"429 at most a day", Attempt{Status: 429, ResponseHeaders: header("Retry-After", "9999999")}, 0, want{Result: Retry, Wait: 24 * time.Hour, Reason: "429 Too Many Requests"}},
		{"429 last time", Attempt{Status: 429, ResponseHeaders: header("Retry-After", "60")}, 2, want{Result: Dead, Reason: "429 Too Many Requests (attempt 3 of 3)"}},
		{"400", Attempt{Status: 400}, 0, want{Result: Dead, Reason: "400 Bad Request"}},
		{"400 with Retry-After", Attempt{Status: 400, ResponseHeaders: header("Retry-After", "60")}, 0, want{Result: Dead, Reason: "400 Bad Request"}},
		{"404, body broke off", Attempt{Status: 404, Error: "reset"}, 0, want{Result: Dead, Reason: "404 Not Found"}},
		{"410", Attempt{Status: 410}, 0, want{Result: Dead, Reason: "410 Gone", Disable: true}},
		{"301", Attempt{Status: 301, ResponseHeaders: header("Location", "https://new.example.com/")}, 0,
			want{Result: Dead, Reason: "301 Moved Permanently: redirects are not followed; if it has moved, set the endpoint's url to https://new.example.com/"}},
		{"304", Attempt{Status: 304}, 0, want{Result: Dead, Reason: "304 Not Modified"}},
		{"too large", Attempt{Error: "the body has 9 bytes", Class: ClassTooLarge}, 0, want{Result: Dead, Reason: "the body has 9 bytes"}},
		{"not configured", Attempt{Error: "not configured", Class: ClassConfig}, 0, want{Result: Dead, Reason: "not configured"}},
		{"our own stop", Attempt{Error: "walhook is stopping", Class: ClassReleased}, 0, want{Result: Released}},
		{"our own stop while reading", Attempt{Status: 200, Error: "walhook is stopping", Class: ClassReleased}, 2, want{Result: Released}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &Delivery{ID: "msg_1", Attempts: tt.attempts}
			o := decide(&config, d, &tt.attempt, now)
			got := want{Result: o.Result, Reason: o.Reason, Disable: o.Disable != ""}
			if o.Result == Retry {
				got.Wait = o.Next.Sub(now)
			} else if !o.Next.IsZero() {
				t.Errorf("Next is set to %s", o.Next)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("decide (-want +got):\n%s", diff)
			}
			if (o.Attempt == nil) != (o.Result == Released) {
				t.Errorf("%s with attempt %v", o.Result, o.Attempt)
			}
		})
	}
}

func TestDecideHold(t *testing.T) {
	for _, onDead := range []string{OnDeadSkip, OnDeadHold} {
		config := EndpointConfig{OnDead: onDead}.WithDefaults()
		for status, dead := range map[int]bool{200: false, 500: false, 400: true, 302: true} {
			o := decide(&config, &Delivery{ID: "msg_1"}, &Attempt{Status: status}, time.Now())
			if want := dead && onDead == OnDeadHold; o.Hold != want {
				t.Errorf("%s, status %d: hold = %t, want %t", onDead, status, o.Hold, want)
			}
		}
	}
}

func TestStatusText(t *testing.T) {
	for status, want := range map[int]string{503: "503 Service Unavailable", 599: "status 599"} {
		if got := statusText(status); !strings.EqualFold(got, want) {
			t.Errorf("statusText(%d) = %s, want %s", status, got, want)
		}
	}
}
