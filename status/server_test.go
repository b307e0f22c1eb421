package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"walhook/cdc"
	"walhook/delivery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeReader is a state schema that can be away.
type fakeReader struct {
	asked atomic.Int64
	err   error
	bound bool

	upgrade *UpgradeState
}

func (r *fakeReader) Endpoints(context.Context) ([]EndpointState, error) {
	return []EndpointState{
		{Name: "erp", Pending: 3, Retrying: 1, Queue: QueueState{Rows: 3, Bytes: 3000, MaxRows: 4, Ratio: .75, Parking: true, Alarm: true, Parked: 5, Dropped: 6, DeadBytes: 7}, Delivered: 40, FailedAttempts: 2, OldestPending: noon.Add(-90 * time.Second), LastError: "503 Service Unavailable", LastFailure: noon.Add(-time.Minute)},
		{Name: "gone", Pending: 7},
	}, nil
}

func (r *fakeReader) Rules(context.Context) ([]RuleState, error) {
	return []RuleState{{Name: "confirmed", Matched: 12, Parked: 1, ParkedTotal: 2, LastError: "no such thing"}}, nil
}

func (r *fakeReader) Position(context.Context) (PositionState, error) {
	r.asked.Add(1)
	return PositionState{Bound: r.bound, Position: delivery.Position{LSN: 100}, Reader: &ReaderState{Process: 3, Host: "other", PID: 99}, SchemaVersion: 1, Bytes: 2048, Queue: QueueState{Rows: 10, Bytes: 9000, Ratio: .25}, Upgrade: r.upgrade}, r.err
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture is a server with a clock and a stream that the test moves.
type fixture struct {
	*Server
	now    time.Time
	stream cdc.Progress
	slot   SlotState
	reader *fakeReader

	handler HandlerState
}

func newFixture(t *testing.T, cfg Config) *fixture {
	t.Helper()
	f := &fixture{
		now:    noon,
		stream: cdc.Progress{Connected: true, Since: noon, Received: 100, Handled: 100, Confirmed: 90, ServerEnd: 100},
		slot:   SlotState{At: noon, Active: true, WALStatus: "reserved", CurrentWAL: 100, Retained: 10, Headroom: -1},
		reader: &fakeReader{bound: true},
	}
	info := Info{Version: "1.0", Host: "h", PID: 7, Started: noon.Add(-time.Hour), Database: "odoo", Slot: "walhook", Publication: "walhook",
		Endpoints: []string{"erp", "shop"}, Rules: map[string]bool{"confirmed": true, "asleep": false}}
	s, err := New(cfg, info, Sources{
		State: f.reader, Stream: func() cdc.Progress { return f.stream }, Slot: func() SlotState { return f.slot },
		Activity: func() []Activity { return []Activity{{Endpoint: "erp", InFlight: 2}} },
		Handler:  func() HandlerState { return f.handler },
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.Server = s
	s.now = func() time.Time { return f.now }
	return f
}

// pass lets time go by, with a look every second as Run does.
func (f *fixture) pass(d time.Duration) {
	for end := f.now.Add(d); f.now.Before(end); {
		f.now = f.now.Add(time.Second)
		f.look(f.now)
	}
}

func get(t *testing.T, h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "127.0.0.1:8070"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestStatusDocument(t *testing.T) {
	f := newFixture(t, Config{})
	w := get(t, f.Handler(), "/status")
	var d Document
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if !d.Ready || !d.Live || d.Process.Uptime != 3600 || d.Position.LSN != "0/64" {
		t.Errorf("document: %+v", d)
	}
	var names []string
	for _, e := range d.Endpoints {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"erp", "shop", "gone"}, names); diff != "" {
		t.Errorf("configured endpoints come first, also those that the state has not heard of:\n%s", diff)
	}
	if e := d.Endpoints[0]; e.OldestPendingSeconds != 90 || e.InFlight != 2 || !e.Configured {
		t.Errorf("erp: %+v", e)
	}
	if d.Endpoints[2].Configured {
		t.Error("an endpoint that is only in the state counts as configured")
	}
	if len(d.Rules) != 2 || d.Rules[0].Name != "confirmed" || d.Rules[1].Name != "asleep" || d.Rules[1].Active {
		t.Errorf("rules: %+v", d.Rules)
	}
}

func TestReadyz(t *testing.T) {
	tests := []struct {
		name  string
		upset func(*fixture)
		want  string // part of the only reason; "" for ready
	}{
		{"idle for an hour", func(f *fixture) { f.pass(time.Hour) }, ""},
		{"not bound", func(f *fixture) { f.reader.bound = false }, "not bound"},
		{"state away", func(f *fixture) { f.reader.err = errors.New("connection refused") }, "does not answer: connection refused"},
		{"disconnected", func(f *fixture) { f.stream.Connected, f.stream.LastError = false, "server closed" }, "not connected: server closed"},
		{"slot lost", func(f *fixture) { f.slot.WALStatus = "lost" }, "slot is lost"},
		{"received and not handled", func(f *fixture) {
			f.stream.Received, f.stream.ServerEnd = 500, 500
			f.pass(61 * time.Second)
		}, "stood still at 0/64 for 1m"},
		{"the server's WAL goes on and nothing is sent", func(f *fixture) {
			f.slot.CurrentWAL = 5000
			f.pass(61 * time.Second)
		}, "stood still"},
		{"commits fail for a moment", func(f *fixture) {
			f.handler = HandlerState{Error: "no space", Since: f.now}
			f.pass(4 * time.Second)
		}, ""},
		{"commits fail", func(f *fixture) {
			f.handler = HandlerState{Error: "no space", Hint: "free some", Since: f.now}
			f.stream.Received, f.stream.ServerEnd = 500, 500
			f.pass(7 * time.Second)
		}, "events have not been committed for 7s: no space (free some)"},
		{"commits fail and it stands still", func(f *fixture) {
			f.handler = HandlerState{Error: "no space", Hint: "free some", Since: f.now}
			f.stream.Received, f.stream.ServerEnd = 500, 500
			f.pass(61 * time.Second)
		}, "0/1F4: no space (free some)"},
		{"behind but moving", func(f *fixture) {
			f.stream.ServerEnd = 1 << 30
			for range 120 {
				f.stream.Handled++
				f.pass(time.Second)
			}
		}, ""},
		{"behind for a short while", func(f *fixture) {
			f.pass(time.Hour)
			f.stream.ServerEnd = 500
			f.pass(30 * time.Second)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, Config{})
			f.look(f.now)
			tt.upset(f)
			w := get(t, f.Handler(), "/readyz")
			var answer struct {
				Ready   bool
				Reasons []string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if w.Code != 200 || !answer.Ready {
					t.Errorf("not ready (%d): %q", w.Code, answer.Reasons)
				}
				return
			}
			if w.Code != 503 || len(answer.Reasons) != 1 || !strings.Contains(answer.Reasons[0], tt.want) {
				t.Errorf("%d %q, want one reason with %q", w.Code, answer.Reasons, tt.want)
			}
		})
	}
}

func TestLagSeconds(t *testing.T) {
	f := newFixture(t, Config{})
	f.pass(time.Minute)
	f.stream.ServerEnd = 200
	f.pass(10 * time.Second)
	f.stream.ServerEnd = 300
	f.pass(10 * time.Second)
	if got := f.Document(t.Context()).Position.LagSeconds; got < 19 || got > 21 {
		t.Errorf("20 s behind: lag is %v s", got)
	}
	f.stream.Handled = 250 // 200 was the end for ten seconds, until ten seconds ago
	f.pass(time.Second)
	if got := f.Document(t.Context()).Position.LagSeconds; got < 10 || got > 22 {
		t.Errorf("behind by the second write: lag is %v s", got)
	}
	f.stream.Handled = 300
	f.pass(time.Second)
	if got := f.Document(t.Context()).Position.LagSeconds; got > 1 {
		t.Errorf("caught up: lag is %v s", got)
	}
}

func TestLagClockIsBounded(t *testing.T) {
	var c LagClock
	c.Observe(noon, 1, 1)
	for i := range 100_000 {
		c.Observe(noon.Add(time.Duration(i)*time.Second), 1, cdc.LSN(2+i))
	}
	if len(c.samples) > lagSamples {
		t.Fatalf("%d samples", len(c.samples))
	}
	if got := c.Lag(noon.Add(100_000 * time.Second)); got < 99_000*time.Second || got > 100_001*time.Second {
		t.Errorf("lag after an outage of 100,000 s is %s", got)
	}
}

func TestScrapesDoNotLoadTheStateDatabase(t *testing.T) {
	f := newFixture(t, Config{CacheFor: 5 * time.Second})
	h := f.Handler()
	for range 50 {
		get(t, h, "/metrics")
		get(t, h, "/status")
		get(t, h, "/readyz")
	}
	if n := f.reader.asked.Load(); n != 1 {
		t.Errorf("asked %d times within the cache's time", n)
	}
	f.now = f.now.Add(6 * time.Second)
	get(t, h, "/metrics")
	if n := f.reader.asked.Load(); n != 2 {
		t.Errorf("asked %d times after it", n)
	}
}

func TestOldFiguresStayWhenTheStateIsAway(t *testing.T) {
	f := newFixture(t, Config{})
	f.Document(t.Context())
	f.reader.err = errors.New("connection refused")
	f.now = f.now.Add(time.Minute)
	d := f.Document(t.Context())
	if d.State.Reachable || d.State.Error == "" || len(d.Endpoints) != 3 || d.Endpoints[0].Pending != 3 || !d.State.At.Equal(noon) {
		t.Errorf("state %+v, endpoints %+v", d.State, d.Endpoints)
	}
}

func TestMetrics(t *testing.T) {
	f := newFixture(t, Config{})
	f.Attempt("erp", "delivered", 20*time.Millisecond)
	for _, stage := range delivery.Stages {
		if stage < delivery.StageQueue {
			f.Stage(stage, 200*time.Microsecond)
		}
	}
	f.Sent("erp", time.Millisecond, 20*time.Millisecond, 25*time.Millisecond)
	f.Sent("erp", time.Millisecond, 20*time.Millisecond, 0)
	body := get(t, f.Handler(), "/metrics").Body.String()
	for _, want := range []string{
		"walhook_ready 1\n", "walhook_stream_connected 1\n", "walhook_lag_bytes 0\n", `walhook_endpoint_pending{endpoint="erp"} 3`,
		`walhook_deliveries_total{endpoint="erp",result="delivered"} 40`, `walhook_rule_matched_total{rule="confirmed"} 12`,
		`walhook_attempt_duration_seconds_count{endpoint="erp",result="delivered"} 1`, `walhook_stage_duration_seconds_count{stage="receive"} 1`, `walhook_stage_duration_seconds_bucket{stage="decode",le="0.0001"} 0`,
		`walhook_stage_duration_seconds_bucket{stage="decode",le="0.00025"} 1`, `walhook_stage_duration_seconds_count{stage="match"} 1`, `walhook_stage_duration_seconds_count{stage="commit"} 1`,
		`walhook_stage_duration_seconds_count{stage="queue"} 2`, `walhook_stage_duration_seconds_sum{stage="send"} 0.04`, `walhook_delivery_latency_seconds_count{endpoint="erp"} 1`,
		`walhook_delivery_latency_seconds_bucket{endpoint="erp",le="60"} 1`, `walhook_build_info{`, "go_goroutines ", `walhook_endpoint_oldest_pending_seconds{endpoint="erp"} 90`,
		`walhook_queue_rows{endpoint="erp"} 3`, `walhook_queue_bytes{endpoint="erp"} 3000`, `walhook_queue_max_rows{endpoint="erp"} 4`, `walhook_queue_ratio{endpoint="erp"} 0.75`,
		`walhook_queue_alarm{endpoint="erp"} 1`, `walhook_queue_parking{endpoint="erp"} 1`, `walhook_queue_parked_total{endpoint="erp"} 5`, `walhook_queue_dropped_total{endpoint="erp"} 6`,
		`walhook_endpoint_dead_letter_bytes{endpoint="erp"} 7`, `walhook_queue_alarm{endpoint="shop"} 0`, "walhook_state_queue_rows 10\n", "walhook_state_queue_bytes 9000\n", "walhook_state_queue_ratio 0.25\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(body, `queue_max_bytes{endpoint="erp"`) {
		t.Error("a limit is reported where there is none")
	}
	if strings.Contains(body, "slot_headroom") {
		t.Error("headroom is reported although WAL is unlimited")
	}
}

func TestToken(t *testing.T) {
	const secret = "0123456789abcdef-secret"
	f := newFixture(t, Config{Listen: "0.0.0.0:8070", Token: NewToken(secret)})
	h := f.Handler()
	for _, path := range []string{"/", "/status", "/metrics"} {
		for name, header := range map[string]string{"none": "", "wrong": "Bearer nope", "bare": secret, "prefix": "Bearer " + secret[:10]} {
			if w := get(t, h, path, "Authorization", header); w.Code != 401 {
				t.Errorf("%s with token %s: %d", path, name, w.Code)
			}
		}
		if w := get(t, h, path, "Authorization", "Bearer "+secret); w.Code != 200 || strings.Contains(w.Body.String(), secret) {
			t.Errorf("%s with the token: %d", path, w.Code)
		}
	}
	f.stream.Connected, f.stream.LastError = false, "no route to db.internal"
	if w := get(t, h, "/readyz"); w.Code != 503 || strings.Contains(w.Body.String(), "db.internal") {
		t.Errorf("/readyz without the token: %d %s", w.Code, w.Body)
	}
	if w := get(t, h, "/healthz"); w.Code != 200 {
		t.Errorf("/healthz without the token: %d", w.Code)
	}
}

func TestForeignHostNames(t *testing.T) {
	h := newFixture(t, Config{}).Handler()
	for host, want := range map[string]int{"127.0.0.1:8070": 200, "localhost:8070": 200, "[::1]:8070": 200, "evil.example:8070": 421} {
		r := httptest.NewRequest("GET", "/status", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %s: %d, want %d", host, w.Code, want)
		}
	}
}

func TestPage(t *testing.T) {
	f := newFixture(t, Config{})
	w := get(t, f.Handler(), "/")
	for _, want := range []string{"Ready: streaming from odoo", "503 Service Unavailable", "confirmed", "(inactive)", "(not configured)"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if get(t, f.Handler(), "/nothing").Code != 404 {
		t.Error("unknown paths must be 404")
	}
	if r := httptest.NewRequest("POST", "/status", nil); r != nil {
		r.Host = "localhost"
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		if w.Code != 405 {
			t.Errorf("POST /status: %d", w.Code)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	tests := []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Listen: "off"}, ""},
		{Config{Listen: "localhost:0"}, ""},
		{Config{Listen: "[::1]:8070"}, ""},
		{Config{Listen: ":8070"}, "no token"},
		{Config{Listen: "0.0.0.0:8070"}, "no token"},
		{Config{Listen: "192.0.2.1:8070", Token: NewToken("0123456789abcdef")}, ""},
		{Config{Listen: "0.0.0.0:8070", Token: NewToken("short")}, "16 characters"},
		{Config{Listen: "8070"}, "no host:port"},
		{Config{Listen: "127.0.0.1:99999"}, "no port"},
		{Config{StallAfter: time.Second}, "too short"},
	}
	for _, tt := range tests {
		err := tt.cfg.Validate()
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.cfg.Listen, err, tt.want)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var inUse *ListenError
	if _, err := Listen(t.Context(), Config{Listen: l.Addr().String()}); !errors.As(err, &inUse) || !inUse.InUse || inUse.Hint() == "" {
		t.Errorf("listen on a port in use: %v", err)
	}
}

func TestRunServesAndStops(t *testing.T) {
	cfg := Config{Listen: "127.0.0.1:0"}
	listener, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Info{}, Sources{State: &fakeReader{bound: true}}, listener)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + s.Addr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 200 || !strings.Contains(string(body), "alive") {
		t.Errorf("/healthz: %d %s", resp.StatusCode, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestBytesAndAge(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 30: "5.0 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0 s", 42 * time.Second: "42 s", 185 * time.Second: "3 min 5 s", 130 * time.Minute: "2 h 10 min", 75 * time.Hour: "3 d 3 h"} {
		if got := Age(d); got != want {
			t.Errorf("Age(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestTokenCannotBePrinted(t *testing.T) {
	const secret = "0123456789abcdef-secret"
	inner := struct {
		Token Token
		inner Token
	}{NewToken(secret), NewToken(secret)}
	marshalled, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, inner) + fmt.Sprintf(verb, inner.Token) + string(marshalled); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
			t.Errorf("%s prints the token: %s", verb, text)
		}
	}
}

// An endpoint that a person has resumed and that has nothing to deliver raises no alarm.
func TestResumedEndpointIsNoAlarm(t *testing.T) {
	for reason, want := range map[string]float64{ResumedReason: 0, "timeout": 1} {
		s, got := FlowState{Breaker: BreakerOpen, OpenWhy: reason}, -1.0
		s.collect(func(f family, v float64, _ ...string) {
			if f == breakerOpen {
				got = v
			}
		}, "erp", time.Now())
		if got != want {
			t.Errorf("%q: endpoint_breaker_open is %v, want %v", reason, got, want)
		}
	}
}
