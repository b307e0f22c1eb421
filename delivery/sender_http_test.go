package delivery

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery/signature"
)

// rawServer answers connections as a script says: the n-th connection, from 1, is the script's. It is for
// receivers that no HTTP library would play.
func rawServer(t *testing.T, script func(n int, c *net.TCPConn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			all.Go(func() {
				defer func() { _ = c.Close() }()
				script(n, c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// readRequest reads one request with its body; false at the end of the connection.
func readRequest(r *bufio.Reader) (*http.Request, bool) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, false
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return nil, false
	}
	return req, true
}

func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

func newSender(t *testing.T, endpoints map[string]EndpointConfig) *HTTPSender {
	t.Helper()
	for name, c := range endpoints {
		if c.Proxy == "" {
			c.Proxy = ProxyOff
			endpoints[name] = c
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewHTTPSender(endpoints, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func testDelivery(endpoint string) *Delivery {
	return &Delivery{ID: "msg_0123456789abcdef0123456789abcdef", Endpoint: endpoint, Body: []byte(`{"type":"x"}`), ContentType: "application/json"}
}

func TestSendRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(201)
		fmt.Fprint(w, "made")
	}))
	defer server.Close()
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	s := newSender(t, map[string]EndpointConfig{"erp": {
		URL: URL(server.URL + "/hook?a=1"), Headers: map[string]Sensitive{"x-tenant": NewSensitive("acme-corp"), "Accept": NewSensitive("text/plain"), "Host": NewSensitive("erp.internal")},
		Query: map[string]Sensitive{"b c": NewSensitive("2&3")}, Secrets: []signature.Secret{secret},
	}})
	d := testDelivery("erp")
	d.Attempts = 2
	a := s.Send(t.Context(), d)
	if a.Status != 201 || a.Error != "" || a.Class != "" || string(a.ResponseBody) != "made" || a.ResponseCut || a.Number != 3 || a.ResponseHeaders["X-Answer"][0] != "yes" {
		t.Fatalf("attempt: %+v", a)
	}
	if err := signature.Verify([]signature.Secret{secret}, got.Header, body, time.Now(), time.Minute); err != nil {
		t.Errorf("signature: %v", err)
	}
	if string(body) != string(d.Body) || got.Method != "POST" || got.URL.String() != "/hook?a=1&b+c=2%263" || got.Host != "erp.internal" || got.ContentLength != int64(len(body)) {
		t.Errorf("%s %s to %s (%d bytes) with %q", got.Method, got.URL, got.Host, got.ContentLength, body)
	}
	want := map[string][]string{
		"User-Agent": {"walhook/1.2.3"}, "Content-Type": {"application/json"}, "Content-Length": {"12"}, "Accept": {"text/plain"}, "X-Tenant": {"acme-corp"},
		"Webhook-Id": {d.ID}, "Idempotency-Key": {d.ID}, "Webhook-Attempt": {"3"}, "Webhook-Timestamp": {strconv.FormatInt(a.At.Unix(), 10)},
		"Webhook-Signature": {signature.Sign([]signature.Secret{secret}, d.ID, a.At, body)},
	}
	if diff := cmp.Diff(want, map[string][]string(got.Header)); diff != "" {
		t.Errorf("headers on the wire (-want +got):\n%s", diff)
	}
	want["X-Tenant"], want["Host"] = []string{"***"}, []string{"erp.internal"}
	delete(want, "Content-Length")
	if diff := cmp.Diff(want, a.RequestHeaders); diff != "" {
		t.Errorf("headers in the log (-want +got):\n%s", diff)
	}
	if a.Total <= 0 || a.FirstByte <= 0 || a.FirstByte > a.Total || a.Connect <= 0 || a.Connect > a.FirstByte {
		t.Errorf("timings: connect %s, first byte %s, total %s", a.Connect, a.FirstByte, a.Total)
	}
	late := testDelivery("erp")
	late.Late, late.Epoch, late.Sequence = true, 2, 10_000_000_001
	if again := s.Send(t.Context(), late); again.RequestHeaders["Webhook-Late"] == nil || a.RequestHeaders["Webhook-Late"] != nil {
		t.Errorf("late: %s, in order: %s", again.RequestHeaders["Webhook-Late"], a.RequestHeaders["Webhook-Late"])
	}
	if got.Header.Get("Webhook-Sequence") != "10000000001" || got.Header.Get("Webhook-Epoch") != "2" || a.RequestHeaders["Webhook-Sequence"] != nil {
		t.Errorf("sequence %q, epoch %q; %q without a number", got.Header.Get("Webhook-Sequence"), got.Header.Get("Webhook-Epoch"), a.RequestHeaders["Webhook-Sequence"])
	}
	if again := s.Send(t.Context(), testDelivery("erp")); again.Connect != 0 || again.RequestHeaders["Webhook-Attempt"] != nil {
		t.Errorf("second request: connect %s (the connection is reused), attempt %s", again.Connect, again.RequestHeaders["Webhook-Attempt"])
	}
}

func TestSendMethodsAndAuth(t *testing.T) {
	type request struct{ Method, Body, Authorization, Key, Query, Type string }
	got := make(chan request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Method, string(body), r.Header.Get("Authorization"), r.Header.Get("X-Api-Key") + r.Header.Get("X-Other"), r.URL.RawQuery, r.Header.Get("Content-Type")}
	}))
	defer server.Close()
	const body, json = `{"type":"x"}`, "application/json"
	address := func(user string) URL { return URL(strings.Replace(server.URL, "http://", "http://"+user, 1)) }
	for name, tt := range map[string]struct {
		config EndpointConfig
		want   request
	}{
		"put":    {EndpointConfig{Method: "PUT"}, request{Method: "PUT", Body: body, Type: json}},
		"delete": {EndpointConfig{Method: "DELETE"}, request{Method: "DELETE", Body: body, Type: json}},
		"get":    {EndpointConfig{Method: "GET"}, request{Method: "GET"}},
		"type":   {EndpointConfig{Headers: map[string]Sensitive{"content-type": NewSensitive("text/json")}}, request{Method: "POST", Body: body, Type: "text/json"}},
		"basic":  {EndpointConfig{Auth: Auth{Type: "basic", Username: "u", Password: NewSensitive("p:w")}}, request{Method: "POST", Body: body, Type: json, Authorization: "Basic dTpwOnc="}},
		"user in address": {EndpointConfig{URL: address("u:p%3Aw@")},
			request{Method: "POST", Body: body, Type: json, Authorization: "Basic dTpwOnc="}},
		"bearer":        {EndpointConfig{Auth: Auth{Type: "bearer", Token: NewSensitive("tok")}}, request{Method: "POST", Body: body, Type: json, Authorization: "Bearer tok"}},
		"api key":       {EndpointConfig{Auth: Auth{Type: "api_key", Value: NewSensitive("k")}}, request{Method: "POST", Body: body, Type: json, Key: "k"}},
		"named api key": {EndpointConfig{Auth: Auth{Type: "api_key", Name: "x-other", Value: NewSensitive("k")}}, request{Method: "POST", Body: body, Type: json, Key: "k"}},
		"api key in query": {EndpointConfig{Auth: Auth{Type: "api_key", In: "query", Name: "key", Value: NewSensitive("k/=")}},
			request{Method: "POST", Body: body, Type: json, Query: "key=k%2F%3D"}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.config.URL == "" {
				tt.config.URL = URL(server.URL)
			}
			s := newSender(t, map[string]EndpointConfig{"erp": tt.config})
			if a := s.Send(t.Context(), testDelivery("erp")); a.Status != 200 {
				t.Fatalf("attempt: %+v", a)
			}
			if diff := cmp.Diff(tt.want, <-got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// E3: what each misbehaviour of a receiver comes to.
func TestSendOutcomes(t *testing.T) {
	answer := func(text string) func(int, *net.TCPConn, *bufio.Reader) {
		return func(_ int, c *net.TCPConn, r *bufio.Reader) {
			if _, ok := readRequest(r); ok {
				_, _ = io.WriteString(c, text)
				_, _ = readRequest(r) // until the other side closes
			}
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		name    string
		timeout time.Duration
		script  func(int, *net.TCPConn, *bufio.Reader)
		status  int
		class   string
		result  Result
		reason  string // part of it
		cut     bool
	}{
		{name: "hangs", timeout: 100 * time.Millisecond, script: answer(""), class: ClassTimeout, result: Retry, reason: "timeout after 100ms while waiting for the answer"},
		{name: "slow body", timeout: 150 * time.Millisecond, status: 200, class: ClassTimeout, result: Retry, reason: "200 OK, but timeout after 150ms while reading the answer",
			script: func(_ int, c *net.TCPConn, r *bufio.Reader) {
				readRequest(r)
				_, err := io.WriteString(c, ok+"Content-Length: 1000\r\n\r\n")
				for err == nil {
					time.Sleep(20 * time.Millisecond)
					_, err = io.WriteString(c, "x")
				}
			}},
		{name: "endless body", status: 200, result: Delivered, cut: true, script: func(_ int, c *net.TCPConn, r *bufio.Reader) {
			readRequest(r)
			_, err := io.WriteString(c, ok+"\r\n")
			for line := strings.Repeat("endless ", 1000); err == nil; {
				_, err = io.WriteString(c, line)
			}
		}},
		{name: "500", script: answer("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops"), status: 500, class: ClassServerError, result: Retry, reason: "500 Internal Server Error"},
		{name: "408", script: answer("HTTP/1.1 408 No\r\nContent-Length: 0\r\n\r\n"), status: 408, class: ClassClientError, result: Retry, reason: "408"},
		{name: "429", script: answer("HTTP/1.1 429 No\r\nRetry-After: 7200\r\nContent-Length: 0\r\n\r\n"), status: 429, class: ClassClientError, result: Retry, reason: "429"},
		{name: "400", script: answer("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"), status: 400, class: ClassClientError, result: Dead, reason: "400"},
		{name: "410", script: answer("HTTP/1.1 410 No\r\nContent-Length: 0\r\n\r\n"), status: 410, class: ClassClientError, result: Dead, reason: "410"},
		{name: "301", script: answer("HTTP/1.1 301 No\r\nLocation: https://new.example.com/\r\nContent-Length: 0\r\n\r\n"), status: 301, class: ClassRedirect, result: Dead,
			reason: "https://new.example.com/"},
		{name: "500 that breaks off", script: func(_ int, c *net.TCPConn, r *bufio.Reader) {
			readRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\noops")
		}, status: 500, class: ClassServerError, result: Retry, reason: "500 Internal Server Error"},
		{name: "resets", script: func(_ int, c *net.TCPConn, r *bufio.Reader) { readRequest(r); reset(c) }, class: ClassReset, result: Retry, reason: "reset"},
		{name: "closes", script: func(_ int, _ *net.TCPConn, r *bufio.Reader) { readRequest(r) }, class: ClassEOF, result: Retry, reason: "closed while waiting for the answer"},
		{name: "closes in the headers", script: func(_ int, c *net.TCPConn, r *bufio.Reader) {
			readRequest(r)
			_, _ = io.WriteString(c, ok+"X-Half: ")
		}, class: ClassEOF, result: Retry, reason: "closed"},
		{name: "closes in the body", script: func(_ int, c *net.TCPConn, r *bufio.Reader) {
			readRequest(r)
			_, _ = io.WriteString(c, ok+"Content-Length: 100\r\n\r\nhalf")
		}, status: 200, class: ClassEOF, result: Retry, reason: "200 OK, but the connection was closed while reading the answer"},
		{name: "not HTTP", script: answer("SSH-2.0-OpenSSH_9.6\r\n\r\n"), class: ClassProtocol, result: Retry, reason: "malformed HTTP"},
		{name: "huge header", script: func(_ int, c *net.TCPConn, r *bufio.Reader) {
			readRequest(r)
			_, err := io.WriteString(c, ok)
			for err == nil {
				_, err = io.WriteString(c, "X-Long: "+strings.Repeat("x", 1000)+"\r\n")
			}
		}, class: ClassProtocol, result: Retry, reason: "headers exceeded"},
		{name: "switches protocols", script: answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"), status: 101, class: ClassStatus, result: Retry, reason: "101"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := EndpointConfig{URL: URL(rawServer(t, tt.script)), Timeout: Duration(tt.timeout), MaxResponse: 1000}
			s := newSender(t, map[string]EndpointConfig{"erp": config})
			d := testDelivery("erp")
			began := time.Now()
			a := s.Send(t.Context(), d)
			full := config.WithDefaults()
			o := decide(&full, d, a, time.Now())
			if a.Status != tt.status || a.Class != tt.class || o.Result != tt.result || !strings.Contains(o.Reason, tt.reason) || a.ResponseCut != tt.cut {
				t.Errorf("status %d, class %q, error %q, cut %t: %s, because %q\nwant %+v", a.Status, a.Class, a.Error, a.ResponseCut, o.Result, o.Reason, tt)
			}
			if (o.Disable != "") != (tt.status == 410) {
				t.Errorf("disable: %q", o.Disable)
			}
			if len(a.ResponseBody) > 1000 {
				t.Errorf("%d bytes of the answer were kept", len(a.ResponseBody))
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestSendWithoutReceiver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for _, tt := range []struct{ url, class, reason string }{
		{"http://" + closed, ClassConnect, "connection refused"},
		{"http://no-such-host.invalid", ClassDNS, "no-such-host.invalid"},
		{strings.Replace(plain.URL, "http:", "https:", 1), ClassTLS, "without TLS"},
		{secure.URL, ClassTLS, "certificate"},
	} {
		s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(tt.url), Timeout: seconds(10)}})
		a := s.Send(t.Context(), testDelivery("erp"))
		if a.Class != tt.class || !strings.Contains(a.Error, tt.reason) || a.Status != 0 {
			t.Errorf("%s: class %q, error %q; want %q, %q", tt.url, a.Class, a.Error, tt.class, tt.reason)
		}
	}
}

// A connection that the receiver closed while it lay idle is no failure of the delivery.
func TestSendStaleConnection(t *testing.T) {
	var requests atomic.Int32
	for name, script := range map[string]func(n int, c *net.TCPConn, r *bufio.Reader){
		"closed while idle": func(_ int, c *net.TCPConn, r *bufio.Reader) {
			if _, ok := readRequest(r); ok {
				requests.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		},
		"reset at the second request": func(_ int, c *net.TCPConn, r *bufio.Reader) {
			if _, ok := readRequest(r); ok {
				requests.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = r.Peek(1)
				reset(c)
			}
		},
		"closed in the middle of the second request": func(_ int, c *net.TCPConn, r *bufio.Reader) {
			if _, ok := readRequest(r); ok {
				requests.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				_, _ = r.Peek(50)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			requests.Store(0)
			s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(rawServer(t, script)), MaxBody: 10 << 20}})
			d := testDelivery("erp")
			d.Body = []byte(strings.Repeat("x", 8<<20)) // more than fits into the socket's buffers
			for i := range 10 {
				if a := s.Send(t.Context(), d); a.Status != 200 || a.Error != "" {
					t.Fatalf("request %d: status %d, %s %s", i+1, a.Status, a.Class, a.Error)
				}
			}
			if n := requests.Load(); n != 10 {
				t.Errorf("%d requests were answered, want 10", n)
			}
		})
	}
}

// A receiver that breaks every connection is a failure, and not asked for ever.
func TestSendBreaksAlways(t *testing.T) {
	var n atomic.Int32
	url := rawServer(t, func(_ int, c *net.TCPConn, r *bufio.Reader) {
		if n.Add(1) == 1 {
			readRequest(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
		readRequest(r)
		reset(c)
	})
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(url)}})
	if a := s.Send(t.Context(), testDelivery("erp")); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := s.Send(t.Context(), testDelivery("erp")); a.Class != ClassReset && a.Class != ClassEOF {
		t.Errorf("class %q, error %q", a.Class, a.Error)
	}
	if got := n.Load(); got > 3 {
		t.Errorf("%d connections were made for two deliveries", got)
	}
}

func TestSendReusesConnections(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, strings.Repeat("x", 100<<10)) // more than is kept, less than is discarded
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	const parallel = 8
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(server.URL), Concurrency: parallel}})
	var all sync.WaitGroup
	for range parallel {
		all.Go(func() {
			for range 20 {
				if a := s.Send(t.Context(), testDelivery("erp")); a.Status != 200 || !a.ResponseCut || len(a.ResponseBody) != 64<<10 {
					t.Errorf("status %d, %s, %d bytes", a.Status, a.Error, len(a.ResponseBody))
				}
			}
		})
	}
	all.Wait()
	if n := connections.Load(); n > 2*parallel { // net/http may dial while another connection becomes free
		t.Errorf("%d connections for %d requests of %d senders", n, 20*parallel, parallel)
	}
}

func TestSendReleased(t *testing.T) {
	url := rawServer(t, func(_ int, _ *net.TCPConn, r *bufio.Reader) {
		readRequest(r)
		readRequest(r)
	})
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(url)}})
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errStopping) })
	a := s.Send(ctx, testDelivery("erp"))
	if a.Class != ClassReleased || a.Error != errStopping.Error() {
		t.Errorf("class %q, error %q", a.Class, a.Error)
	}
}

func TestSendRefuses(t *testing.T) {
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: "http://127.0.0.1:1", MaxBody: 11}})
	if a := s.Send(t.Context(), testDelivery("erp")); a.Class != ClassTooLarge || !strings.Contains(a.Error, "12 bytes") {
		t.Errorf("too large: %+v", a)
	}
	if a := s.Send(t.Context(), testDelivery("shop")); a.Class != ClassConfig {
		t.Errorf("unknown endpoint: %+v", a)
	}
}

func TestSendTLSAndHTTP2(t *testing.T) {
	var proto atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) }))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes fail on purpose
	server.StartTLS()
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		config EndpointConfig
		want   string
	}{
		{EndpointConfig{TLS: TLS{CAFile: ca}}, "HTTP/2.0"},
		{EndpointConfig{TLS: TLS{CAFile: ca}, HTTP2: ptr(false)}, "HTTP/1.1"},
		{EndpointConfig{TLS: TLS{InsecureSkipVerify: true}}, "HTTP/2.0"},
	} {
		tt.config.URL = URL(server.URL)
		a := newSender(t, map[string]EndpointConfig{"erp": tt.config}).Send(t.Context(), testDelivery("erp"))
		if a.Status != 200 || proto.Load() != tt.want || a.TLS <= 0 {
			t.Errorf("%+v: status %d, %s, over %s, TLS %s", tt.config.TLS, a.Status, a.Error, proto.Load(), a.TLS)
		}
	}
	wrong := EndpointConfig{URL: URL(server.URL), TLS: TLS{CAFile: ca, ServerName: "other.example.org"}}
	if a := newSender(t, map[string]EndpointConfig{"erp": wrong}).Send(t.Context(), testDelivery("erp")); a.Class != ClassTLS {
		t.Errorf("wrong name: class %q, %s", a.Class, a.Error)
	}
	for key, files := range map[string]TLS{
		"endpoints.erp.tls.ca_file":   {CAFile: filepath.Join(t.TempDir(), "none.pem")},
		"endpoints.erp.tls.cert_file": {CertFile: ca, KeyFile: ca},
	} {
		_, err := NewHTTPSender(map[string]EndpointConfig{"erp": {URL: URL(server.URL), TLS: files}}, "1")
		if err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%v, want a complaint about %s", err, key)
		}
	}
}

func TestSendThroughProxy(t *testing.T) {
	var seen atomic.Value
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen.Store(r.URL.String() + " " + r.Header.Get("Proxy-Authorization"))
	}))
	defer proxy.Close()
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: "http://erp.invalid/hook", Proxy: URL(strings.Replace(proxy.URL, "http://", "http://u:p@", 1))}})
	if a := s.Send(t.Context(), testDelivery("erp")); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if got := seen.Load(); got != "http://erp.invalid/hook Basic dTpw" {
		t.Errorf("the proxy saw %q", got)
	}
}
