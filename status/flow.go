package status

import "time"

// FlowState is how an endpoint fares and whether it is sent to, besides being disabled. Processes store it when it changes.
type FlowState struct {
	Paused       bool      `json:"paused"` // by a person; deliveries wait
	PausedReason string    `json:"paused_reason,omitempty"`
	PausedAt     time.Time `json:"paused_at,omitzero"`

	Failures     int       `json:"consecutive_failures"` // attempts that failed in a row; up to ten seconds old
	FailingSince time.Time `json:"failing_since,omitzero"`

	Breaker   string    `json:"breaker"`                     // closed or open; empty means closed
	OpenSince time.Time `json:"breaker_open_since,omitzero"` // nothing is sent but a probe at times
	NextProbe time.Time `json:"next_probe_at,omitzero"`
	OpenWhy   string    `json:"breaker_reason,omitempty"`
}

// FlowLimits are how much an endpoint is sent at most.
type FlowLimits struct {
	Concurrency int     `json:"concurrency,omitempty"` // requests at the same time, of each process; left out of an endpoint that is not configured
	Rate        float64 `json:"rate_limit,omitempty"`  // requests per second, of all processes together; left out when there is no limit
}

// The values of FlowState.Breaker.
const (
	BreakerClosed = "closed"
	BreakerOpen   = "open"
)

// ResumedReason stands in the place of what opened the breaker of an endpoint that a person has resumed: whether it fails is not known
// before the next delivery.
const ResumedReason = "resumed: the next delivery is a probe"

// Resumed says that the breaker is open only because a person has resumed the endpoint.
func (s *FlowState) Resumed() bool { return s.Breaker == BreakerOpen && s.OpenWhy == ResumedReason }

// Condition says in a few words whether an endpoint is sent to: "enabled", "paused: ...", "disabled: ...", "resumed: ...", "failing: ...".
func (e *EndpointState) Condition() string {
	switch {
	case e.Paused:
		return "paused: " + e.PausedReason
	case e.Disabled:
		return "disabled: " + e.DisabledReason
	case e.Resumed():
		return e.OpenWhy
	case e.Breaker == BreakerOpen:
		return "failing: " + e.OpenWhy
	}
	return "enabled"
}

// Since is when that began; zero of an enabled one.
func (e *EndpointState) Since() time.Time {
	switch {
	case e.Paused:
		return e.PausedAt
	case e.Disabled:
		return e.DisabledAt
	}
	return e.OpenSince
}

var (
	paused       = gauge("endpoint_paused", "1 while a person has paused the endpoint.", "endpoint")
	breakerOpen  = gauge("endpoint_breaker_open", "1 while nothing is sent to the endpoint but probes.", "endpoint")
	failuresNow  = gauge("endpoint_consecutive_failures", "Attempts that have failed since the receiver's last answer.", "endpoint")
	failingFor   = gauge("endpoint_failing_seconds", "How long all attempts have failed; 0 when they do not.", "endpoint")
	rateLimit    = gauge("endpoint_rate_limit", "Requests per second that the endpoint gets at most, of all processes together; absent when there is no limit.", "endpoint")
	concurrency  = gauge("endpoint_concurrency", "Requests at the same time that the endpoint gets at most, of each process.", "endpoint")
	flowFamilies = []family{paused, breakerOpen, failuresNow, failingFor, rateLimit, concurrency}
)

// collect sends the figures of an endpoint.
func (s FlowState) collect(send func(f family, v float64, labels ...string), endpoint string, now time.Time) {
	send(paused, truth(s.Paused), endpoint)
	send(breakerOpen, truth(s.Breaker == BreakerOpen && !s.Resumed()), endpoint)
	send(failuresNow, float64(s.Failures), endpoint)
	failing := 0.0
	if s.Failures > 0 && !s.FailingSince.IsZero() {
		failing = max(now.Sub(s.FailingSince).Seconds(), 0)
	}
	send(failingFor, failing, endpoint)
}

// collect sends the limits that there are.
func (l FlowLimits) collect(send func(f family, v float64, labels ...string), endpoint string) {
	if l.Concurrency > 0 {
		send(concurrency, float64(l.Concurrency), endpoint)
	}
	if l.Rate > 0 {
		send(rateLimit, l.Rate, endpoint)
	}
}
