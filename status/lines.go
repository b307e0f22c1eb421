package status

import (
	"encoding/json"
	"time"

	"walhook/delivery"
)

// DeliveryLine is one delivery, dead letter or parked event, as lists of the API and `walhook deliveries list --json` show it.
type DeliveryLine struct {
	Seq       int64     `json:"seq"`
	Epoch     int64     `json:"epoch,omitempty"`    // parked events, and what is older than numbers, have none
	Sequence  int64     `json:"sequence,omitempty"` // the number within endpoint and epoch
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Endpoint  string    `json:"endpoint,omitempty"` // parked events have none
	Rule      string    `json:"rule"`
	Event     string    `json:"event,omitempty"`
	Model     string    `json:"model"`
	Record    string    `json:"record"`
	Op        string    `json:"op,omitempty"`
	LSN       string    `json:"lsn"`
	XID       uint32    `json:"xid"`
	Committed time.Time `json:"committed_at"`
	Queued    time.Time `json:"queued_at"`
	Attempts  int       `json:"attempts"`
	Due       time.Time `json:"due_at,omitzero"`
	Ended     time.Time `json:"ended_at,omitzero"`
	Status    int       `json:"status,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Held      bool      `json:"held,omitempty"`
	Late      bool      `json:"late,omitempty"`
	Bytes     int       `json:"bytes"`
}

// DeliveryDetail is one of them with everything that is kept of it.
type DeliveryDetail struct {
	DeliveryLine
	Body     json.RawMessage   `json:"body,omitempty"`    // of deliveries; a text where it is not JSON
	Format   string            `json:"format,omitempty"`  // that the body is in, where it is not the standard one
	Headers  map[string]string `json:"headers,omitempty"` // that belong to the body
	Change   json.RawMessage   `json:"change,omitempty"`  // of parked events
	Attempts []AttemptLine     `json:"attempt_log"`
}

// AttemptLine is one HTTP request. Secrets were masked before it was logged.
type AttemptLine struct {
	ID              string              `json:"id,omitempty"` // of the delivery; in lists of attempts only
	Number          int                 `json:"number"`
	At              time.Time           `json:"at"`
	Result          delivery.Result     `json:"result"`
	Status          int                 `json:"status,omitempty"`
	Reason          string              `json:"reason,omitempty"`
	Error           string              `json:"error,omitempty"`
	Class           string              `json:"class,omitempty"`
	Method          string              `json:"method"`
	URL             string              `json:"url"`
	RequestHeaders  map[string][]string `json:"request_headers,omitempty"`
	ResponseHeaders map[string][]string `json:"response_headers,omitempty"`
	ResponseBody    string              `json:"response_body,omitempty"`
	ResponseCut     bool                `json:"response_cut,omitempty"`
	Milliseconds    float64             `json:"total_ms"`
	Phases          map[string]float64  `json:"phases_ms,omitempty"` // dns, connect, tls, first_byte
	Batch           string              `json:"batch,omitempty"`     // webhook-id of the request, if it carried several deliveries
	BatchPosition   int                 `json:"batch_position,omitempty"`
	BatchSize       int                 `json:"batch_size,omitempty"`
}

// LineOfAttempt shows an attempt and what came of it.
func LineOfAttempt(a *delivery.Attempt, result delivery.Result, reason string) AttemptLine {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	l := AttemptLine{
		Number: a.Number, At: a.At.UTC(), Result: result, Status: a.Status, Reason: reason, Error: a.Error, Class: a.Class, Method: a.Method, URL: a.URL,
		RequestHeaders: a.RequestHeaders, ResponseHeaders: a.ResponseHeaders, ResponseBody: string(a.ResponseBody), ResponseCut: a.ResponseCut, Milliseconds: ms(a.Total),
		Batch: a.Batch, BatchPosition: a.BatchPosition, BatchSize: a.BatchSize,
	}
	for name, d := range map[string]time.Duration{"dns": a.DNS, "connect": a.Connect, "tls": a.TLS, "first_byte": a.FirstByte} {
		if d > 0 {
			if l.Phases == nil {
				l.Phases = map[string]float64{}
			}
			l.Phases[name] = ms(d)
		}
	}
	return l
}

// EndpointLine is one endpoint: what the state knows, and where it leads.
type EndpointLine struct {
	EndpointState
	URL        string `json:"url,omitempty"` // without its secrets
	Configured bool   `json:"configured"`
	Active     bool   `json:"active"`
	Signed     bool   `json:"signed"`
	Rate       string `json:"rate,omitempty"` // limit of requests, of all processes together: "50 per 1s"
}

// EndpointDetail is one endpoint with its configuration and what happened last. It holds no secret.
type EndpointDetail struct {
	EndpointLine
	Epoch    int64 `json:"epoch,omitempty"`    // of its numbers
	Sequence int64 `json:"sequence,omitempty"` // the last number that was given out in this epoch

	Configuration *EndpointSettings `json:"configuration,omitempty"` // absent when it is not configured
	PublicKeys    []string          `json:"public_keys,omitempty"`   // that verify its signatures, where they are asymmetric
	Rules         []string          `json:"rules"`                   // that send to it

	Attempts []AttemptLine  `json:"recent_attempts"` // newest first
	LastDead []DeliveryLine `json:"recent_dead"`     // the newest dead letters
}

// EndpointSettings is an endpoint's configuration with its defaults. Where a secret stands, its kind and number are said.
type EndpointSettings struct {
	Method      string            `json:"method"`
	Headers     []string          `json:"headers,omitempty"` // names
	Query       []string          `json:"query,omitempty"`   // names
	Auth        string            `json:"auth"`              // its type, "none" without
	Secrets     int               `json:"secrets"`
	HMAC        string            `json:"hmac,omitempty"` // the header of a further signature
	Timeout     string            `json:"timeout"`
	Retry       string            `json:"retry"`
	Concurrency int               `json:"concurrency"`
	Ordering    string            `json:"ordering"`
	OnDead      string            `json:"on_dead"`
	Queue       string            `json:"queue"`
	Batch       string            `json:"batch,omitempty"`
	Breaker     string            `json:"breaker"`
	Disable     string            `json:"disable"`
	MaxBody     int               `json:"max_body"`
	MaxResponse int               `json:"max_response"`
	HTTP2       bool              `json:"http2"`
	Proxy       string            `json:"proxy,omitempty"` // without its secrets
	TLS         map[string]string `json:"tls,omitempty"`   // files and names
	Warnings    []string          `json:"warnings,omitempty"`
}

// TestResult is what came of a test that was sent to an endpoint.
type TestResult struct {
	ID       string          `json:"id"`
	Endpoint string          `json:"endpoint"`
	Event    string          `json:"event"`
	Result   delivery.Result `json:"result"` // what would become of a delivery that was answered like this
	Reason   string          `json:"reason,omitempty"`
	Body     json.RawMessage `json:"body"`
	Attempt  AttemptLine     `json:"attempt"`

	NotRecorded string `json:"not_recorded,omitempty"` // why it could not be put on record; it was sent all the same
	RecordError error  `json:"-"`                      // the same
}

// RuleLine is one rule of the configuration.
type RuleLine struct {
	Name      string   `json:"name"`
	Active    bool     `json:"active"`
	Model     string   `json:"model,omitempty"`
	Table     string   `json:"table,omitempty"`
	On        []string `json:"on"`
	When      string   `json:"when,omitempty"`
	Endpoints []string `json:"endpoints"`
	Event     string   `json:"event"` // "<model>.<op>" unless configured
	EachWrite bool     `json:"each_write,omitempty"`

	Test        bool    `json:"test,omitempty"` // logged, not sent
	Sample      float64 `json:"sample,omitempty"`
	Priority    string  `json:"priority,omitempty"`
	Debounce    string  `json:"debounce,omitempty"`
	DebounceMax string  `json:"debounce_max,omitempty"`
}

// ProcessLine is one walhook of those that work on one state.
type ProcessLine struct {
	ID      int64     `json:"id"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started_at"`
	Lease   time.Time `json:"lease_until"`
	Alive   bool      `json:"alive"`  // its lease is valid
	Reader  bool      `json:"reader"` // it has the right to read the slot
}

// Gap is a run of numbers of an endpoint that will never arrive.
type Gap struct {
	Endpoint string    `json:"endpoint"`
	Epoch    int64     `json:"epoch"`
	First    int64     `json:"first_number"`
	Last     int64     `json:"last_number"`
	Reason   string    `json:"reason"`    // discarded, dropped, parked, superseded or test
	FirstLSN string    `json:"first_lsn"` // commit LSN of the transaction that First belongs to
	LastLSN  string    `json:"last_lsn"`
	FirstAt  time.Time `json:"first_committed_at"`
	LastAt   time.Time `json:"last_committed_at"`
	Noted    time.Time `json:"noted_at"` // when the last of them was given up
}

// GapSelection says which gaps are meant. Zero fields select everything.
type GapSelection struct {
	Endpoint string
	Reason   string
	Epoch    int64
	Since    string // noted since; as Selection.Since
	Until    string
	After    string // where the page begins
	Limit    int
}
