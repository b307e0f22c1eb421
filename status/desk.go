package status

import (
	"context"
	"errors"
	"net/http"

	"walhook/delivery"
)

// Desk is what people do with deliveries and endpoints, by command or over the API: both go through one implementation, so that a filter, a limit
// and a refusal mean the same. Package main has it.
//
// Errors for which the caller is at fault are *[Refusal]s; every other error says that the work could not be done now. A Desk
// sends nothing, and queues nothing to be sent, before the identity check has passed (invariant 5). It is safe for concurrent use.
type Desk interface {
	DeliveryDesk
	EndpointDesk
	Overview
	JobDesk
}

// DeliveryDesk finds deliveries and acts on them.
type DeliveryDesk interface {
	// Deliveries returns one page, newest first; the next one begins Before next, which is 0 at the end. A page may hold fewer than the limit although
	// more follow: what one page looks at is bounded.
	Deliveries(ctx context.Context, s Selection) (page []DeliveryLine, next int64, err error)

	// Delivery returns one delivery or parked event with everything that is kept of it.
	Delivery(ctx context.Context, id string) (*DeliveryDetail, error)

	// Change counts what a selection comes to, or acts on one step of it.
	Change(ctx context.Context, c Change) (*Changed, error)

	// Gaps returns numbers that will never arrive, newest first; the next page begins at next, "" at the end.
	Gaps(ctx context.Context, s GapSelection) (page []Gap, next string, err error)
}

// EndpointDesk looks at endpoints, holds them and tries them out.
type EndpointDesk interface {
	Endpoint(ctx context.Context, name string) (*EndpointDetail, error)

	// SetEndpoint pauses an endpoint, or lets it go on, and says whether that changed anything.
	SetEndpoint(ctx context.Context, name string, pause bool, reason string) (changed bool, err error)

	// SendTest sends one test event. An empty event and a nil body are walhook's own.
	SendTest(ctx context.Context, name, event string, body []byte) (*TestResult, error)

	// Verify probes an endpoint by its name, or an address that is none's: then the address guard is on.
	Verify(ctx context.Context, name, address string, send bool) (*delivery.Probe, error)
}

// Overview lists what there is.
type Overview interface {
	ListEndpoints(ctx context.Context) ([]EndpointLine, error)
	ListRules(ctx context.Context) ([]RuleLine, error)
	ListProcesses(ctx context.Context) ([]ProcessLine, error)
}

// Selection says which deliveries are meant. Zero fields select everything.
type Selection struct {
	State    string   `json:"state,omitempty"` // of lists only
	IDs      []string `json:"ids,omitempty"`
	Endpoint string   `json:"endpoint,omitempty"`
	Rule     string   `json:"rule,omitempty"`
	Model    string   `json:"model,omitempty"`
	Record   string   `json:"record,omitempty"` // primary key as text
	Error    string   `json:"error,omitempty"`  // part of it, in any case
	Class    string   `json:"class,omitempty"`  // of the last failure
	Status   int      `json:"status,omitempty"` // of the last answer
	Since    string   `json:"since,omitempty"`  // queued since: "2h", "2026-03-01", "2026-03-01T12:00:00Z"
	Until    string   `json:"until,omitempty"`  // queued before

	Limit         int   `json:"-"`
	Before, After int64 `json:"-"` // keyset: where the page or step begins
}

// Empty says that nothing was asked for: everything would be selected.
func (s *Selection) Empty() bool {
	return s.Endpoint+s.Rule+s.Model+s.Record+s.Error+s.Class+s.Since+s.Until == "" && s.Status == 0
}

// The actions of a [Change].
const (
	ActionRetry   = "retry"   // queue dead letters, or evaluate parked events, again
	ActionDiscard = "discard" // give dead letters or parked events up
	ActionReplay  = "replay"  // queue delivered ones again
)

// Kinds is what retry and discard work on in place of dead letters; ids may be of anything.
type Kinds struct {
	Parked   bool `json:"-"`        // parked events
	Waiting  bool `json:"waiting"`  // deliveries that wait for their window
	Pending  bool `json:"pending"`  // deliveries in the queue that were never tried
	Retrying bool `json:"retrying"` // deliveries in the queue that have failed, and wait for their next attempt
}

// Several says that kinds are mixed that are not selected together. Pending and retrying ones are.
func (k Kinds) Several() bool {
	n := 0
	for _, set := range []bool{k.Parked, k.Waiting, k.Pending || k.Retrying} {
		if set {
			n++
		}
	}
	return n > 1
}

// suffix tells the kinds apart in a cursor and in the log.
func (k Kinds) suffix() (text string) {
	for _, part := range []struct {
		set  bool
		name string
	}{{k.Parked, "-parked"}, {k.Waiting, "-waiting"}, {k.Pending, "-pending"}, {k.Retrying, "-retrying"}} {
		if part.set {
			text += part.name
		}
	}
	return text
}

// Change is something to do with many deliveries.
type Change struct {
	Action string
	Kinds
	Selection Selection
	All       bool // what a selection that is empty needs
	Preview   bool // only count
}

// Changed is what came of one step.
type Changed struct {
	Selected int64 // of a preview: how many it would be
	More     bool  // and more: counting ends somewhere
	Done     int64
	Failed   int64 // parked events that failed again, and stay parked
	Left     int64 // not discarded, as a process has them in hand

	// Before and After begin the next step; both are 0 when there is none.
	Before, After int64
}

// Refusal is an error for which the caller is at fault.
type Refusal struct {
	Status  int    // of HTTP
	Code    string // for programs; does not change within a major version
	Message string
	Remedy  string
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// Hint returns the remedy.
func (r *Refusal) Hint() string { return r.Remedy }

// refusalOf is how an error of a Desk is told over HTTP.
func refusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	out := &Refusal{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: err.Error()}
	var hinter interface{ Hint() string }
	if errors.As(err, &hinter) {
		out.Remedy = hinter.Hint()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		out.Message = "this took too long"
		out.Status, out.Code, out.Remedy = http.StatusGatewayTimeout, "timeout", "select less, by since and until for example, and go on with next"
	case errors.Is(err, context.Canceled):
		out.Code, out.Message = "stopping", "the request was ended"
	}
	return out
}
