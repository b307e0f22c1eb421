package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/delivery"
)

// fakeDesk is a Desk of a thousand deliveries, which remembers what it was asked.
type fakeDesk struct {
	unrecorded string // why a test is not on record
	mu         sync.Mutex
	asked      []string
	newest     int64 // seq of the newest delivery
	err        error
	block      chan struct{} // not nil: everything waits for it
	changes    []Change
}

func (d *fakeDesk) note(ctx context.Context, format string, args ...any) error {
	d.mu.Lock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
	block, err := d.block, d.err
	d.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (d *fakeDesk) Deliveries(ctx context.Context, s Selection) ([]DeliveryLine, int64, error) {
	if err := d.note(ctx, "list %s %s", s.State, &s); err != nil {
		return nil, 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from := d.newest
	if s.Before > 0 {
		from = s.Before - 1
	}
	page := []DeliveryLine{}
	for seq := from; seq > 0 && len(page) < s.Limit; seq-- {
		page = append(page, DeliveryLine{Seq: seq, ID: fmt.Sprintf("msg_%d", seq)})
	}
	d.newest += 3 // rows come in
	if from <= int64(s.Limit) {
		return page, 0, nil
	}
	return page, page[len(page)-1].Seq, nil
}

func (d *fakeDesk) Delivery(ctx context.Context, id string) (*DeliveryDetail, error) {
	if id == "nobody" {
		return nil, &Refusal{404, "not_found", "there is no delivery", ""}
	}
	return &DeliveryDetail{DeliveryLine: DeliveryLine{ID: id}, Attempts: []AttemptLine{}}, d.note(ctx, "show %s", id)
}

func (d *fakeDesk) ListJobs(ctx context.Context, ended bool) ([]JobLine, error) {
	return []JobLine{{ID: 3}}, d.note(ctx, "jobs ended %t", ended)
}

func (d *fakeDesk) Job(ctx context.Context, id int64) (*JobLine, error) {
	return &JobLine{ID: id}, d.note(ctx, "job %d", id)
}

func (d *fakeDesk) SetJob(ctx context.Context, id int64, action string) (*JobLine, error) {
	return &JobLine{ID: id}, d.note(ctx, "%s job %d", action, id)
}

func (d *fakeDesk) Backfill(ctx context.Context, r BackfillRequest, preview bool) ([]BackfillPlan, []JobLine, error) {
	return []BackfillPlan{}, nil, d.note(ctx, "backfill %v %q preview %t", r.Rules, r.Where, preview)
}

func (d *fakeDesk) Change(ctx context.Context, c Change) (*Changed, error) {
	d.mu.Lock()
	d.changes = append(d.changes, c)
	d.mu.Unlock()
	if err := d.note(ctx, "%s parked %t preview %t limit %d: %s", c.Action, c.Parked, c.Preview, c.Selection.Limit, &c.Selection); err != nil {
		return &Changed{Done: 7}, err
	}
	if c.Preview {
		return &Changed{Selected: 5}, nil
	}
	left := 25 - c.Selection.After
	if n := int64(c.Selection.Limit); n > 0 && left > n {
		return &Changed{Done: n, Before: 99, After: c.Selection.After + n}, nil
	}
	return &Changed{Done: left}, nil
}

func (d *fakeDesk) Gaps(ctx context.Context, s GapSelection) ([]Gap, string, error) {
	return []Gap{}, "the next", d.note(ctx, "gaps %+v", s)
}

func (d *fakeDesk) Endpoint(ctx context.Context, name string) (*EndpointDetail, error) {
	return &EndpointDetail{EndpointLine: EndpointLine{EndpointState: EndpointState{Name: name}}}, d.note(ctx, "endpoint %s", name)
}

func (d *fakeDesk) SetEndpoint(ctx context.Context, name string, pause bool, reason string) (bool, error) {
	return true, d.note(ctx, "set %s %t %s", name, pause, reason)
}

func (d *fakeDesk) SendTest(ctx context.Context, name, event string, body []byte) (*TestResult, error) {
	return &TestResult{ID: "test_1", Body: json.RawMessage("{}"), NotRecorded: d.unrecorded}, d.note(ctx, "test %s %s %s", name, event, body)
}

func (d *fakeDesk) Verify(ctx context.Context, name, address string, send bool) (*delivery.Probe, error) {
	return &delivery.Probe{Endpoint: name, Findings: []delivery.Finding{}}, d.note(ctx, "verify %s %s %t", name, address, send)
}

func (d *fakeDesk) ListEndpoints(ctx context.Context) ([]EndpointLine, error) {
	return []EndpointLine{}, d.note(ctx, "endpoints")
}
func (d *fakeDesk) ListRules(ctx context.Context) ([]RuleLine, error) {
	return []RuleLine{}, d.note(ctx, "rules")
}
func (d *fakeDesk) ListProcesses(ctx context.Context) ([]ProcessLine, error) {
	return []ProcessLine{}, d.note(ctx, "processes")
}

const apiToken = "0123456789abcdef-api"

type apiFixture struct {
	http.Handler
	server *Server
	desk   *fakeDesk
	mu     sync.Mutex
	audits []Audit
}

func newAPIFixture(t *testing.T, cfg Config) *apiFixture {
	t.Helper()
	f := &apiFixture{desk: &fakeDesk{newest: 1000}}
	s, err := New(cfg, Info{}, Sources{State: &fakeReader{bound: true}, Desk: f.desk, Audit: func(a Audit) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.audits = append(f.audits, a)
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Handler, f.server = s.Handler(), s
	return f
}

// ask makes a request as it should be, and lets change spoil it.
func (f *apiFixture) ask(method, path, body string, change func(*http.Request)) (int, map[string]any, http.Header) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8070"
	r.Header.Set("Authorization", "Bearer "+apiToken)
	if method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	var answer map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		answer = map[string]any{"not JSON": w.Body.String()}
	}
	return w.Code, answer, w.Header()
}

func codeOf(answer map[string]any) string {
	fault, _ := answer["error"].(map[string]any)
	code, _ := fault["code"].(string)
	return code
}

var withToken = Config{Token: NewToken(apiToken)}

// sample makes a request that a route answers.
func (r apiRoute) sample() (path, body string) {
	path = strings.NewReplacer("{name}", "erp", "{id}", "msg_1").Replace(r.path)
	if strings.HasPrefix(path, "/api/v1/backfills/") {
		path = strings.Replace(path, "msg_1", "3", 1)
	}
	switch {
	case r.method == "POST" && r.path == "/api/v1/backfills":
		body = `{"rules": ["r"], "confirm": true}`
	case r.method != "POST":
	case r.path == "/api/v1/verify":
		body = `{"url": "https://example.com"}`
	case strings.HasPrefix(r.path, "/api/v1/deliveries/"), strings.HasPrefix(r.path, "/api/v1/parked/"):
		body = `{"endpoint": "erp", "confirm": true}`
	default:
		body = `{}`
	}
	return path, body
}

// Every route asks for the token, also on loopback, and is strict about who asks, how and for what.
func TestAPIAdmission(t *testing.T) {
	f := newAPIFixture(t, withToken)
	without := newAPIFixture(t, Config{})
	public := newAPIFixture(t, Config{Listen: "0.0.0.0:8070", Token: NewToken(apiToken)})
	for _, route := range apiRoutes {
		t.Run(route.method+" "+route.path, func(t *testing.T) {
			path, body := route.sample()
			for name, tt := range map[string]struct {
				f      *apiFixture
				method string
				path   string
				change func(*http.Request)
				status int
				code   string
			}{
				"as it should be":         {f, route.method, path, nil, 200, ""},
				"no token is configured":  {without, route.method, path, nil, 403, "api_disabled"},
				"no token":                {f, route.method, path, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "unauthorized"},
				"another token":           {f, route.method, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apiToken+"x") }, 401, "unauthorized"},
				"a part of the token":     {f, route.method, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+apiToken[:10]) }, 401, "unauthorized"},
				"the token as a cookie":   {f, route.method, path, func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Set("Cookie", "token="+apiToken) }, 401, "unauthorized"},
				"a name that resolves":    {f, route.method, path, func(r *http.Request) { r.Host = "evil.example:8070" }, 421, "wrong_host"},
				"a name, where it is one": {public, route.method, path, func(r *http.Request) { r.Host = "walhook.example" }, 200, ""},
				"another site":            {f, route.method, path, func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, "foreign_origin"},
				"the same site":           {f, route.method, path, func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:8070") }, 200, ""},
				"another method":          {f, "DELETE", path, nil, 405, "wrong_method"},
				"a preflight of CORS":     {f, "OPTIONS", path, func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "POST") }, 405, "wrong_method"},
				"an unknown parameter":    {f, route.method, path + "?fast=1", nil, 400, "unknown_parameter"},
				"below it":                {f, route.method, path + "/x/y", nil, 404, "unknown_path"},
			} {
				status, answer, header := tt.f.ask(tt.method, tt.path, body, tt.change)
				if status != tt.status || codeOf(answer) != tt.code {
					t.Errorf("%s: %d %v, want %d %s", name, status, answer, tt.status, tt.code)
				}
				if header.Get("Content-Type") != "application/json" || header.Get("Access-Control-Allow-Origin") != "" || header.Get("Cache-Control") != "no-store" || header.Get("Set-Cookie") != "" {
					t.Errorf("%s: headers %v", name, header)
				}
				if status == 405 && !strings.Contains(header.Get("Allow"), route.method) {
					t.Errorf("%s: Allow %q", name, header.Get("Allow"))
				}
			}
			if route.method != "POST" {
				return
			}
			for name, tt := range map[string]struct {
				body   string
				kind   string
				status int
				code   string
			}{
				"a form":        {body, "application/x-www-form-urlencoded", 415, "wrong_content_type"},
				"plain text":    {body, "text/plain", 415, "wrong_content_type"},
				"no type":       {body, "", 415, "wrong_content_type"},
				"with charset":  {body, "application/json; charset=utf-8", 200, ""},
				"no JSON":       {"{", "application/json", 400, "invalid_request"},
				"an odd key":    {`{"fast": true}`, "application/json", 400, "invalid_request"},
				"two values":    {body + body, "application/json", 400, "invalid_request"},
				"a list":        {"[]", "application/json", 400, "invalid_request"},
				"far too large": {`{"reason": "` + strings.Repeat("x", apiBody) + `"}`, "application/json", 413, "too_large"},
			} {
				status, answer, _ := f.ask("POST", path, tt.body, func(r *http.Request) { r.Header.Set("Content-Type", tt.kind) })
				if status != tt.status || codeOf(answer) != tt.code {
					t.Errorf("%s: %d %v, want %d %s", name, status, answer, tt.status, tt.code)
				}
			}
		})
	}
	if len(without.desk.asked) != 0 {
		t.Errorf("asked without a token: %v", without.desk.asked)
	}
}

func TestAPIRequests(t *testing.T) {
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string // the code, or what the desk is asked
	}{
		{"GET", "/api/v1/deliveries?state=dead&endpoint=erp&class=timeout&status=503&limit=5", "", 200, "list dead state dead, endpoint erp, class timeout, status 503"},
		{"GET", "/api/v1/deliveries?id=a&id=b", "", 200, "list  2 by id, a first"},
		{"GET", "/api/v1/deliveries?limit=0", "", 400, "invalid_request"},
		{"GET", "/api/v1/deliveries?limit=501", "", 400, "invalid_request"},
		{"GET", "/api/v1/deliveries?status=x", "", 400, "invalid_request"},
		{"GET", "/api/v1/deliveries?state=parked", "", 400, "invalid_request"},
		{"GET", "/api/v1/deliveries?state=dead&state=pending", "", 400, "invalid_request"},
		{"GET", "/api/v1/deliveries?cursor=nonsense", "", 400, "invalid_cursor"},
		{"GET", "/api/v1/parked?cursor=" + cursorOf("deliveries", 5, 0), "", 400, "invalid_cursor"},
		{"GET", "/api/v1/parked?rule=r", "", 200, "list parked state parked, rule r"},
		{"GET", "/api/v1/parked?state=dead", "", 400, "invalid_request"},
		{"GET", "/api/v1/deliveries/nobody", "", 404, "not_found"},
		{"GET", "/api/v1/gaps?epoch=7&reason=dropped", "", 200, "gaps {Endpoint: Reason:dropped Epoch:7"},
		{"GET", "/api/v1/gaps?epoch=-1", "", 400, "invalid_request"},
		{"POST", "/api/v1/deliveries/retry", `{"ids": ["a"]}`, 200, "retry parked false preview false limit 0: 1 by id, a first"},
		{"POST", "/api/v1/deliveries/retry", `{"endpoint": "erp"}`, 409, "confirmation_required"},
		{"POST", "/api/v1/deliveries/retry", `{"endpoint": "erp", "preview": true}`, 200, "retry parked false preview true limit 0: endpoint erp"},
		{"POST", "/api/v1/deliveries/discard", `{"endpoint": "erp", "confirm": true, "limit": 10}`, 200, "discard parked false preview false limit 10: endpoint erp"},
		{"POST", "/api/v1/deliveries/discard", `{"endpoint": "erp", "confirm": true, "preview": true}`, 400, "invalid_request"},
		{"POST", "/api/v1/deliveries/replay", `{"endpoint": "erp", "confirm": true, "limit": 10001}`, 400, "invalid_request"},
		{"POST", "/api/v1/deliveries/replay", `{"state": "dead", "confirm": true}`, 400, "invalid_request"},
		{"POST", "/api/v1/deliveries/replay", `{"state": "test", "rule": "r", "confirm": true}`, 200, "replay parked false preview false limit 1000: state test, rule r"},
		{"POST", "/api/v1/deliveries/retry", `{"state": "test", "confirm": true}`, 400, "invalid_request"},
		{"POST", "/api/v1/deliveries/retry", `{"waiting": true, "rule": "r", "confirm": true}`, 200, "retry parked false preview false limit 1000: rule r"},
		{"POST", "/api/v1/parked/retry", `{"waiting": true, "confirm": true}`, 400, "invalid_request"},
		{"POST", "/api/v1/parked/retry", `{"rule": "r", "confirm": true}`, 200, "retry parked true preview false limit 1000: rule r"},
		{"POST", "/api/v1/parked/discard", `{"ids": [` + strings.TrimSuffix(strings.Repeat(`"x",`, 1001), ",") + `]}`, 400, "invalid_request"},
		{"POST", "/api/v1/endpoints/erp/pause", `{"reason": "lunch"}`, 200, "set erp true lunch"},
		{"POST", "/api/v1/endpoints/erp/resume", ``, 200, "set erp false "},
		{"POST", "/api/v1/endpoints/erp/resume", `{"reason": "lunch"}`, 400, "invalid_request"},
		{"POST", "/api/v1/endpoints/erp/send-test", `{"event": "e", "body": {"a": 1}}`, 200, `test erp e {"a": 1}`},
		{"POST", "/api/v1/endpoints/erp/send-test", `{"body": null}`, 200, `test erp  `},
		{"POST", "/api/v1/endpoints/erp/verify", `{"send": true}`, 200, "verify erp  true"},
		{"POST", "/api/v1/endpoints/erp/verify", `{"url": "http://x"}`, 400, "invalid_request"},
		{"POST", "/api/v1/verify", `{"url": "http://x"}`, 200, "verify  http://x false"},
		{"POST", "/api/v1/verify", `{"url": "http://x", "send": true}`, 400, "invalid_request"},
		{"POST", "/api/v1/verify", `{}`, 400, "invalid_request"},
		{"GET", "/api/v1/backfills?ended=true", "", 200, "jobs ended true"},
		{"GET", "/api/v1/backfills?ended=1", "", 400, "invalid_request"},
		{"GET", "/api/v1/backfills/7", "", 200, "job 7"},
		{"GET", "/api/v1/backfills/x", "", 404, "not_found"},
		{"POST", "/api/v1/backfills", `{"rules": ["r"]}`, 409, "confirmation_required"},
		{"POST", "/api/v1/backfills", `{"rules": ["r"], "preview": true, "confirm": true}`, 400, "invalid_request"},
		{"POST", "/api/v1/backfills", `{"rules": ["r"], "where": "true", "confirm": true}`, 200, `backfill [r] "true" preview false`},
		{"POST", "/api/v1/backfills/7/pause", `{}`, 200, "pause job 7"},
		{"POST", "/api/v1/backfills/7/cancel", `{"reason": "x"}`, 400, "invalid_request"},
		{"GET", "/api/v2/status", "", 404, "unknown_path"},
	} {
		f := newAPIFixture(t, withToken)
		status, answer, _ := f.ask(tt.method, tt.path, tt.body, nil)
		got := codeOf(answer)
		if status == 200 {
			got = strings.Join(f.desk.asked, "; ")
		}
		if status != tt.status || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s %.60s: %d %q %v, want %d %q", tt.method, tt.path, tt.body, status, got, answer, tt.status, tt.want)
		}
	}
}

// Pages go to the end without gaps or repeats while rows come in, and so do steps of long work.
func TestAPIPages(t *testing.T) {
	f := newAPIFixture(t, withToken)
	next, want, pages := "", int64(1000), 0
	for {
		status, answer, _ := f.ask("GET", "/api/v1/deliveries?limit=300&cursor="+next, "", nil)
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		for _, line := range answer["deliveries"].([]any) {
			if seq := int64(line.(map[string]any)["seq"].(float64)); seq != want {
				t.Fatalf("seq %d, want %d", seq, want)
			}
			want--
		}
		pages++
		more, ok := answer["next"].(string)
		if !ok {
			break
		}
		next = more
	}
	if want != 0 || pages != 4 {
		t.Errorf("%d left after %d pages", want, pages)
	}
	next, done := "", 0.0
	for steps := 1; ; steps++ {
		status, answer, _ := f.ask("POST", "/api/v1/deliveries/replay", fmt.Sprintf(`{"endpoint": "erp", "confirm": true, "limit": 10, "cursor": %q}`, next), nil)
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		done += answer["done"].(float64)
		more, ok := answer["next"].(string)
		if !ok {
			if done != 25 || steps != 3 {
				t.Errorf("%v done in %d steps", done, steps)
			}
			return
		}
		next = more
	}
}

// What changes something is noted: who, what, how many, and how it ended. What only looks is not.
func TestAPIAudit(t *testing.T) {
	f := newAPIFixture(t, withToken)
	f.ask("GET", "/api/v1/deliveries", "", nil)
	f.ask("POST", "/api/v1/deliveries/retry", `{"endpoint": "erp", "preview": true}`, nil)
	if len(f.audits) != 0 {
		t.Fatalf("%+v", f.audits)
	}
	f.ask("POST", "/api/v1/deliveries/retry", `{"endpoint": "erp", "confirm": true}`, nil)
	f.ask("POST", "/api/v1/endpoints/erp/pause", `{}`, nil)
	f.desk.unrecorded = "disk full"
	if status, answer, _ := f.ask("POST", "/api/v1/endpoints/erp/send-test", "", nil); status != 200 || answer["not_recorded"] != "disk full" || len(f.audits) != 3 || f.audits[2].Done != 1 || f.audits[2].Err != nil {
		t.Errorf("a test that was sent: %d, %v, %+v", status, answer, f.audits)
	}
	f.audits = f.audits[:min(len(f.audits), 2)]
	f.desk.err = &Refusal{409, "queue_full", "no room", ""}
	status, answer, _ := f.ask("POST", "/api/v1/parked/retry", `{"rule": "r", "confirm": true}`, nil)
	if before, _ := answer["done_before"].(map[string]any); status != 409 || codeOf(answer) != "queue_full" || before["done"] != 7.0 {
		t.Errorf("%d %v", status, answer)
	}
	if len(f.audits) != 3 {
		t.Fatalf("%+v", f.audits)
	}
	a, b, c := f.audits[0], f.audits[1], f.audits[2]
	if a.Action != "retry" || a.What != "endpoint erp" || a.Done != 25 || a.Err != nil || a.Remote == "" || len(a.Token) != 8 || strings.Contains(apiToken, a.Token) {
		t.Errorf("%+v", a)
	}
	if b.Action != "pause" || b.What != "endpoint erp" || b.Done != 1 {
		t.Errorf("%+v", b)
	}
	if c.Action != "retry-parked" || c.Done != 7 || c.Err == nil {
		t.Errorf("%+v", c)
	}
}

// An error that is nobody's fault is told as such, with its hint, and as JSON.
func TestAPIErrors(t *testing.T) {
	for _, tt := range []struct {
		err    error
		status int
		code   string
	}{
		{errors.New("the state is away"), 503, "unavailable"},
		{fmt.Errorf("list: %w", context.DeadlineExceeded), 504, "timeout"},
		{&ListenError{Address: "x", InUse: true}, 503, "unavailable"},
	} {
		f := newAPIFixture(t, withToken)
		f.desk.err = tt.err
		status, answer, _ := f.ask("GET", "/api/v1/rules", "", nil)
		if status != tt.status || codeOf(answer) != tt.code {
			t.Errorf("%v: %d %v", tt.err, status, answer)
		}
	}
}

// Who has waited for long enough is sent away.
func TestAPIBusy(t *testing.T) {
	f := newAPIFixture(t, withToken)
	f.server.api.patience = time.Millisecond
	for range apiAtOnce {
		f.server.api.turn <- struct{}{}
	}
	if status, answer, header := f.ask("GET", "/api/v1/rules", "", nil); status != 503 || codeOf(answer) != "busy" || header.Get("Retry-After") != "1" {
		t.Errorf("%d %v %v", status, answer, header)
	}
}

// However many ask, only few at a time ask the state, and the others wait. Whoever waits for a receiver keeps nobody from the state.
func TestAPIBounded(t *testing.T) {
	f := newAPIFixture(t, withToken)
	f.desk.block = make(chan struct{})
	asked := func() int {
		f.desk.mu.Lock()
		defer f.desk.mu.Unlock()
		return len(f.desk.asked)
	}
	await := func(n int) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); asked() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d asked, want %d", asked(), n)
			}
		}
	}
	var all sync.WaitGroup
	results := make(chan int, 20)
	begin := func(method, path, body string) {
		all.Go(func() {
			status, _, _ := f.ask(method, path, body, nil)
			results <- status
		})
	}
	for range 6 {
		begin("POST", "/api/v1/endpoints/erp/verify", "{}")
	}
	await(apiAtOnce)
	for range 6 {
		begin("GET", "/api/v1/rules", "")
	}
	await(2 * apiAtOnce)
	close(f.desk.block)
	all.Wait()
	close(results)
	for status := range results {
		if status != 200 {
			t.Errorf("%d", status)
		}
	}
}
