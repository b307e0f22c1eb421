package acceptance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// moody is a receiver whose answer to /erp changes.
type moody struct {
	*httptest.Server
	erp atomic.Int32 // the status of its answers

	mu       sync.Mutex
	requests map[string]int // by path
	taken    map[string]int // of these, answered with 200
	told     []string       // type and endpoint of notices
}

func newMoody(t *testing.T) *moody {
	m := &moody{requests: map[string]int{}, taken: map[string]int{}}
	m.erp.Store(200)
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		status := 200
		if req.URL.Path == "/erp" {
			status = int(m.erp.Load())
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests[req.URL.Path]++
		if status == 200 {
			m.taken[req.URL.Path]++
		}
		if req.URL.Path == "/ops" {
			var notice struct {
				Type string `json:"type"`
				Data struct {
					Endpoint string `json:"endpoint"`
				} `json:"data"`
			}
			if err := json.Unmarshal(body, &notice); err != nil || req.Header.Get("Webhook-Sequence") == "" {
				t.Errorf("notice %s: %v, sequence %q", body, err, req.Header.Get("Webhook-Sequence"))
			}
			m.told = append(m.told, notice.Type+" "+notice.Data.Endpoint)
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *moody) count(of map[string]int, path string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return of[path]
}

func (m *moody) notices() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.told, ", ")
}

// An endpoint fails, is probed over a restart, recovers, is paused, and is disabled, with the alert endpoint told and the neighbour left alone.
func TestEndpointFails(t *testing.T) {
	t.Parallel()
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int)")
	m := newMoody(t)
	h := harness.Install(t, super, harness.Options{Config: strings.ReplaceAll(`
[alerts]
endpoint = "ops"
after    = "1s"
[endpoints.erp]
url     = "{{receiver}}/erp"
retry   = { initial = "100ms", factor = 1, max = "1s", attempts = 1000 }
breaker = { failures = 5, pause = "1s", max_pause = "2s", jitter = 0.0 }
[endpoints.shop]
url = "{{receiver}}/shop"
rate = { limit = 1000 }
[endpoints.ops]
url = "{{receiver}}/ops"
[[rules]]
name = "item"
table = "item"
on = ["create"]
endpoints = ["erp", "shop"]
`, "{{receiver}}", m.URL)})
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	in.must("setup", "--dsn", in.owner)
	rows := 0
	insert := func(n int) {
		pgtest.Exec(t, in.super, fmt.Sprintf("INSERT INTO item (n) SELECT generate_series(1, %d)", n))
		rows += n
	}
	list := func(pattern string) func() bool {
		return func() bool { return regexp.MustCompile(pattern).MatchString(in.must("endpoints", "list")) }
	}

	p := in.run()
	m.erp.Store(503)
	insert(60)
	in.wait("the breaker", 30*time.Second, list(`(?m)^erp +failing: 503 Service Unavailable`), p)
	in.wait("the neighbour", 30*time.Second, func() bool { return m.count(m.taken, "/shop") == rows }, p)
	in.wait("the notice", 30*time.Second, func() bool { return m.notices() == "walhook.endpoint.failing erp" }, p)
	metrics := func() string {
		r, err := http.Get("http://" + in.listen + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	in.wait("the metrics", 30*time.Second, func() bool {
		return regexp.MustCompile(`walhook_endpoint_breaker_open\{endpoint="erp"\} 1\n(?s:.*)walhook_endpoint_breaker_open\{endpoint="shop"\} 0`).MatchString(metrics())
	}, p)
	for _, want := range []string{`walhook_endpoint_rate_limit{endpoint="shop"} 1000`, `walhook_endpoint_paused{endpoint="erp"} 0`} {
		if !strings.Contains(metrics(), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	in.stop(p)
	before := m.count(m.requests, "/erp")
	if before > 5+16+10 { // until it opened, then under way, then a probe after a second, and every two
		t.Errorf("%d requests to a receiver that only fails", before)
	}
	if !list(`(?m)^erp +failing: 503`)() {
		t.Errorf("without a process:\n%s", in.must("endpoints", "list"))
	}

	p = in.run()
	in.wait("a probe after the restart", 30*time.Second, func() bool { return m.count(m.requests, "/erp") > before }, p)
	if n := m.count(m.requests, "/erp") - before; n > 4 {
		t.Errorf("%d requests after the restart", n)
	}
	m.erp.Store(200)
	in.wait("the return", 60*time.Second, func() bool { return m.count(m.taken, "/erp") == rows }, p)
	in.wait("the notice of the return", 30*time.Second, func() bool {
		return m.notices() == "walhook.endpoint.failing erp, walhook.endpoint.recovered erp"
	}, p)

	in.must("endpoints", "pause", "erp", "--reason", "maintenance")
	insert(10)
	in.wait("the neighbour again", 30*time.Second, func() bool { return m.count(m.taken, "/shop") == rows }, p)
	in.wait("that it is paused", 30*time.Second, list(`(?m)^erp +paused: maintenance +10 `), p)
	if n := m.count(m.taken, "/erp"); n != rows-10 {
		t.Errorf("%d requests while it was paused", n-rows+10)
	}
	began := time.Now()
	if out := in.must("endpoints", "resume", "erp"); out != "endpoint erp resumed\n" {
		t.Error(out)
	}
	in.wait("what was paused", 30*time.Second, func() bool { return m.count(m.taken, "/erp") == rows }, p)
	t.Logf("10 deliveries were sent %s after the command resume began", time.Since(began).Round(time.Millisecond))

	m.erp.Store(410)
	insert(1)
	in.wait("that it is disabled", 30*time.Second, list(`(?m)^erp +disabled: the receiver answered 410 Gone`), p)
	in.wait("the notice of that", 30*time.Second, func() bool { return strings.HasSuffix(m.notices(), ", walhook.endpoint.disabled erp") }, p)
	m.erp.Store(200)
	insert(5)
	in.wait("the neighbour once more", 30*time.Second, func() bool { return m.count(m.taken, "/shop") == rows }, p)
	in.must("endpoints", "resume", "erp")
	in.wait("the rest", 30*time.Second, func() bool { return m.count(m.taken, "/erp") == rows-1 }, p)
	in.wait("the last notice", 30*time.Second, func() bool {
		return m.notices() == "walhook.endpoint.failing erp, walhook.endpoint.recovered erp, walhook.endpoint.disabled erp, walhook.endpoint.recovered erp"
	}, p)
}
