package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"walhook/delivery"
)

// apiRoutes is all that the API has. docs/api.md describes it; a test compares both.
var apiRoutes = []apiRoute{
	{"GET", "/api/v1/status", nil, apiRead, func(a *api, ctx context.Context, _ *call) (any, error) { return a.document(ctx), nil }},
	{"GET", "/api/v1/processes", nil, apiRead, func(a *api, ctx context.Context, _ *call) (any, error) {
		return listed("processes", a.desk.ListProcesses)(ctx)
	}},
	{"GET", "/api/v1/rules", nil, apiRead, func(a *api, ctx context.Context, _ *call) (any, error) { return listed("rules", a.desk.ListRules)(ctx) }},

	{"GET", "/api/v1/endpoints", nil, apiRead, func(a *api, ctx context.Context, _ *call) (any, error) {
		return listed("endpoints", a.desk.ListEndpoints)(ctx)
	}},
	{"GET", "/api/v1/endpoints/{name}", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) {
		return a.desk.Endpoint(ctx, c.PathValue("name"))
	}},
	{"POST", "/api/v1/endpoints/{name}/pause", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.setEndpoint(ctx, c, true) }},
	{"POST", "/api/v1/endpoints/{name}/resume", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.setEndpoint(ctx, c, false) }},
	{"POST", "/api/v1/endpoints/{name}/send-test", nil, apiProbe, (*api).sendTest},
	{"POST", "/api/v1/endpoints/{name}/verify", nil, apiProbe, (*api).verify},
	{"POST", "/api/v1/verify", nil, apiProbe, (*api).verify},

	{"GET", "/api/v1/deliveries", selectionParameters, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.list(ctx, c, "deliveries") }},
	{"GET", "/api/v1/deliveries/{id}", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) {
		return a.desk.Delivery(ctx, c.PathValue("id"))
	}},
	{"POST", "/api/v1/deliveries/retry", nil, apiWork, func(a *api, ctx context.Context, c *call) (any, error) { return a.change(ctx, c, ActionRetry, false) }},
	{"POST", "/api/v1/deliveries/discard", nil, apiWork, func(a *api, ctx context.Context, c *call) (any, error) {
		return a.change(ctx, c, ActionDiscard, false)
	}},
	{"POST", "/api/v1/deliveries/replay", nil, apiWork, func(a *api, ctx context.Context, c *call) (any, error) { return a.change(ctx, c, ActionReplay, false) }},

	{"GET", "/api/v1/parked", selectionParameters, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.list(ctx, c, "parked") }},
	{"POST", "/api/v1/parked/retry", nil, apiWork, func(a *api, ctx context.Context, c *call) (any, error) { return a.change(ctx, c, ActionRetry, true) }},
	{"POST", "/api/v1/parked/discard", nil, apiWork, func(a *api, ctx context.Context, c *call) (any, error) { return a.change(ctx, c, ActionDiscard, true) }},

	{"GET", "/api/v1/backfills", []string{"ended"}, apiRead, (*api).backfills},
	{"GET", "/api/v1/backfills/{id}", nil, apiRead, (*api).backfill},
	{"POST", "/api/v1/backfills", nil, apiWork, (*api).makeBackfill},
	{"POST", "/api/v1/backfills/{id}/pause", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.setBackfill(ctx, c, JobPause) }},
	{"POST", "/api/v1/backfills/{id}/resume", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.setBackfill(ctx, c, JobResume) }},
	{"POST", "/api/v1/backfills/{id}/cancel", nil, apiRead, func(a *api, ctx context.Context, c *call) (any, error) { return a.setBackfill(ctx, c, JobCancel) }},

	{"GET", "/api/v1/gaps", []string{"endpoint", "reason", "epoch", "since", "until", "limit", "cursor"}, apiRead, (*api).gaps},
}

// listed names the one list of an answer, so that others can stand beside it later.
func listed[T any](name string, list func(context.Context) ([]T, error)) func(context.Context) (any, error) {
	return func(ctx context.Context) (any, error) {
		all, err := list(ctx)
		if err != nil {
			return nil, err
		}
		return map[string][]T{name: all}, nil
	}
}

// list answers a page of deliveries or of parked events.
func (a *api) list(ctx context.Context, c *call, kind string) (any, error) {
	s, err := c.selection(kind)
	if err != nil {
		return nil, err
	}
	if kind == "parked" {
		if s.State != "" {
			return nil, badRequest("invalid_request", "parked events have no other state", "leave state out")
		}
		s.State = "parked"
	} else if s.State == "parked" {
		return nil, badRequest("invalid_request", "parked events are a list of their own", "GET /api/v1/parked")
	}
	page, next, err := a.desk.Deliveries(ctx, s)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{kind: page}
	if cursor := cursorOf(kind, next, 0); cursor != "" {
		answer["next"] = cursor
	}
	return answer, nil
}

// changeRequest is the body of what changes many deliveries.
type changeRequest struct {
	Selection
	All bool `json:"all"`
	Kinds
	Preview bool   `json:"preview"` // only count
	Confirm bool   `json:"confirm"` // what a selection that is not by ids needs
	Limit   int    `json:"limit"`   // of one step
	Cursor  string `json:"cursor"`
}

// changeAnswer is what came of one step, or of a preview.
type changeAnswer struct {
	Preview  bool   `json:"preview,omitempty"`
	Selected *int64 `json:"selected,omitempty"` // of a preview
	More     bool   `json:"more,omitempty"`     // there are more than selected: counting ends somewhere
	Done     int64  `json:"done"`
	Failed   int64  `json:"failed,omitempty"`
	Left     int64  `json:"left,omitempty"` // not discarded, as a process has them in hand
	Next     string `json:"next,omitempty"` // the cursor of the next step; absent when all is done
}

// change counts a selection, or works on one step of it.
func (a *api) change(ctx context.Context, c *call, action string, parked bool) (any, error) {
	r := changeRequest{Limit: apiStep}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	r.Parked = parked
	kind := action + r.suffix()
	var err error
	switch {
	case (r.Waiting || r.Pending || r.Retrying) && (parked || action == ActionReplay):
		return nil, badRequest("invalid_request", "waiting, pending, retrying: only deliveries that wait to be sent can be retried or discarded by it", "leave it out")
	case r.State != "" && (action != ActionReplay || r.State != "test"):
		return nil, badRequest("invalid_request", "state: this selects by itself what it can work on", "leave it out")
	case r.Limit < 1 || r.Limit > apiStepMax:
		return nil, badRequest("invalid_request", fmt.Sprintf("limit: %d is not from 1 to %d", r.Limit, apiStepMax), "long work goes on with next")
	case len(r.IDs) > apiStep:
		return nil, badRequest("invalid_request", fmt.Sprintf("ids: %d are more than %d", len(r.IDs), apiStep), "name fewer at a time, or select by a filter")
	case r.Preview && r.Confirm:
		return nil, badRequest("invalid_request", "preview and confirm contradict each other", "")
	case len(r.IDs) == 0 && !r.Preview && !r.Confirm:
		return nil, &Refusal{http.StatusConflict, "confirmation_required", "a selection by a filter is not acted on without confirmation", `"preview": true counts it, "confirm": true does it`}
	}
	if r.Before, r.After, err = parseCursor(kind, r.Cursor); err != nil {
		return nil, err
	}
	if !r.Preview && len(r.IDs) == 0 {
		r.Selection.Limit = r.Limit
	}
	if !r.Preview {
		c.audit.Action, c.audit.What = kind, r.Selection.String()
	}
	changed, err := a.desk.Change(ctx, Change{Action: action, Kinds: r.Kinds, Selection: r.Selection, All: r.All, Preview: r.Preview})
	if changed == nil {
		return nil, err
	}
	answer := &changeAnswer{Preview: r.Preview, More: changed.More, Done: changed.Done, Failed: changed.Failed, Left: changed.Left, Next: cursorOf(kind, changed.Before, changed.After)}
	if r.Preview {
		answer.Selected = &changed.Selected
	}
	c.audit.Done, c.audit.Failed = changed.Done, changed.Failed
	return answer, err
}

// String says in words what is selected.
func (s *Selection) String() string {
	var parts []string
	if n := len(s.IDs); n > 0 {
		parts = append(parts, fmt.Sprintf("%d by id, %s first", n, s.IDs[0]))
	}
	for _, p := range []struct{ name, value string }{{"state", s.State}, {"endpoint", s.Endpoint}, {"rule", s.Rule}, {"model", s.Model}, {"record", s.Record}, {"error", s.Error},
		{"class", s.Class}, {"since", s.Since}, {"until", s.Until}} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	if s.Status != 0 {
		parts = append(parts, fmt.Sprintf("status %d", s.Status))
	}
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, ", ")
}

// setEndpoint pauses an endpoint or lets it go on.
func (a *api) setEndpoint(ctx context.Context, c *call, pause bool) (any, error) {
	var r struct {
		Reason string `json:"reason"`
	}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	name := c.PathValue("name")
	c.audit.Action, c.audit.What = "resume", "endpoint "+name
	if pause {
		c.audit.Action = "pause"
	} else if r.Reason != "" {
		return nil, badRequest("invalid_request", "reason: only pause has one", "leave it out")
	}
	changed, err := a.desk.SetEndpoint(ctx, name, pause, r.Reason)
	if err != nil {
		return nil, err
	}
	if changed {
		c.audit.Done = 1
	}
	return map[string]any{"endpoint": name, "changed": changed}, nil
}

// sendTest sends one test event.
func (a *api) sendTest(ctx context.Context, c *call) (any, error) {
	var r struct {
		Event string          `json:"event"`
		Body  json.RawMessage `json:"body"`
	}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	name := c.PathValue("name")
	c.audit.Action, c.audit.What = "send-test", "endpoint "+name
	if string(r.Body) == "null" {
		r.Body = nil
	}
	result, err := a.desk.SendTest(ctx, name, r.Event, r.Body)
	if err != nil {
		return nil, err
	}
	c.audit.Done = 1
	return result, nil
}

// verify probes an endpoint, or an address.
func (a *api) verify(ctx context.Context, c *call) (any, error) {
	var r struct {
		URL  string `json:"url"`
		Send bool   `json:"send"`
	}
	if err := c.decode(&r); err != nil {
		return nil, err
	}
	name := c.PathValue("name")
	switch {
	case name != "" && r.URL != "":
		return nil, badRequest("invalid_request", "url: the endpoint has one", "POST /api/v1/verify looks at an address that is no endpoint's")
	case name == "" && (r.URL == "" || r.Send):
		return nil, badRequest("invalid_request", "an address is looked at by its url, and gets no event", `{"url": "https://…"}`)
	}
	c.audit.Action, c.audit.What = "verify", "endpoint "+name
	if name == "" {
		c.audit.What = delivery.URL(r.URL).String()
	}
	probe, err := a.desk.Verify(ctx, name, r.URL, r.Send)
	if err != nil {
		return nil, err
	}
	c.audit.Done = 1
	return struct {
		OK bool `json:"ok"`
		*delivery.Probe
	}{probe.OK(), probe}, nil
}

// gaps answers a page of numbers that will not arrive.
func (a *api) gaps(ctx context.Context, c *call) (any, error) {
	q := c.URL.Query()
	s := GapSelection{Endpoint: q.Get("endpoint"), Reason: q.Get("reason"), Since: q.Get("since"), Until: q.Get("until"), After: q.Get("cursor")}
	limit, err := c.number("limit", apiPage, 1, apiPageMax)
	if err != nil {
		return nil, err
	}
	s.Limit = limit
	if text := q.Get("epoch"); text != "" {
		if _, err := fmt.Sscan(text, &s.Epoch); err != nil || s.Epoch < 1 {
			return nil, badRequest("invalid_request", fmt.Sprintf("epoch: %q is none", text), "")
		}
	}
	page, next, err := a.desk.Gaps(ctx, s)
	if err != nil {
		var refusal *Refusal
		if errors.As(err, &refusal) && s.After != "" && strings.HasPrefix(refusal.Message, "after: ") {
			return nil, badRequest("invalid_cursor", "the cursor is not one of this list", "take next of the page before, and repeat the rest of the request")
		}
		return nil, err
	}
	answer := map[string]any{"gaps": page}
	if next != "" {
		answer["next"] = next
	}
	return answer, nil
}
