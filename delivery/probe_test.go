package delivery

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/delivery/signature"
)

// authority issues certificates for tests.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	file string // PEM
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Test Authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// certify makes a certificate; one without an issuer signs itself.
func certify(t *testing.T, c *x509.Certificate, issuer *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(365 * 24 * time.Hour)
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-365 * 24 * time.Hour)
	}
	parent, signer := c, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

// tlsServer serves with a certificate.
func tlsServer(t *testing.T, h http.Handler, issuer *authority, c *x509.Certificate, change func(*tls.Config)) string {
	t.Helper()
	made, key := certify(t, c, issuer)
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{made.Raw}, PrivateKey: key}}}
	if change != nil {
		change(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func loopback() []net.IP { return []net.IP{net.IPv4(127, 0, 0, 1)} }

// Each mistake that people make is found at its step, and said with what to do about it.
func TestProbe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	plain := func(h http.Handler) string {
		s := httptest.NewServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		t.Cleanup(s.Close)
		return s.URL
	}
	trusting := func(url string) EndpointConfig { return EndpointConfig{URL: URL(url), TLS: TLS{CAFile: ca.file}} }
	at := func(url string) EndpointConfig { return EndpointConfig{URL: URL(url)} }
	signed := func(c EndpointConfig) EndpointConfig {
		secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		if err != nil {
			t.Fatal(err)
		}
		c.Secrets = []signature.Secret{secret}
		return c
	}
	slashes := http.NewServeMux() // redirects /hook to /hook/
	slashes.Handle("/hook/", status(204))
	exact := http.NewServeMux() // knows /hook/ only, by nothing else
	exact.Handle("/hook/{$}", status(204))
	exact.Handle("/hook", status(404))
	posts := http.NewServeMux()
	posts.Handle("POST /hook", status(204))
	gets := http.NewServeMux()
	gets.Handle("GET /hook", status(204))
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(2 * time.Second):
		}
		w.WriteHeader(204)
	})
	silent := rawServer(t, func(_ int, _ *net.TCPConn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	refused := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	good := func() *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{CommonName: "receiver"}, DNSNames: []string{"localhost"}, IPAddresses: loopback()}
	}
	expired, expiring, other, alone := good(), good(), good(), good()
	expired.NotAfter = time.Now().Add(-48 * time.Hour)
	expiring.NotAfter = time.Now().Add(48 * time.Hour)
	other.DNSNames, other.IPAddresses = []string{"erp.example.com"}, nil
	alone.IssuingCertificateURL = []string{"http://ca.example.com/ca.crt"}
	both := good()
	both.NotAfter, both.DNSNames, both.IPAddresses = expired.NotAfter, other.DNSNames, nil
	within := func(c EndpointConfig, d time.Duration) EndpointConfig { c.Timeout = Duration(d); return c }

	tests := []struct {
		name string
		c    EndpointConfig
		send bool
		want []string // "check severity: part of the message | part of the remedy", of every finding that is neither ok nor info
	}{
		{"fine", at(plain(status(204)) + "/hook"), false, nil},
		{"fine over TLS", trusting(tlsServer(t, status(204), ca, good(), nil)), true, nil},
		{"unknown host", at("https://nothing.invalid/hook"), false, []string{"dns error: nothing.invalid"}},
		{"refused", at("http://" + refused), false, []string{"connect error: connection refused | is the receiver running"}},
		{"http on a port for https", at(strings.Replace(tlsServer(t, status(204), ca, good(), nil), "https:", "http:", 1) + "/hook"), false,
			[]string{"scheme error: speaks TLS | url = \"https://127.0.0.1:"}},
		{"https on a port for http", at(strings.Replace(plain(status(204)), "http:", "https:", 1) + "/hook"), false, []string{"scheme error: answers without TLS | url = \"http://127.0.0.1:"}},
		{"self-signed", at(tlsServer(t, status(204), nil, good(), nil)), false, []string{"certificate error: self-signed | ca_file"}},
		{"unknown issuer", at(tlsServer(t, status(204), ca, good(), nil)), false, []string{"certificate error: issued by Test Authority, which is not trusted | ca_file"}},
		{"incomplete chain", at(tlsServer(t, status(204), ca, alone, nil)), false, []string{"certificate error: without the intermediate one | fullchain"}},
		{"expired", trusting(tlsServer(t, status(204), ca, expired, nil)), false, []string{"certificate error: has expired: it ended on " + expired.NotAfter.UTC().Format(time.DateOnly) + " | renew"}},
		{"ends soon", trusting(tlsServer(t, status(204), ca, expiring, nil)), false, []string{"certificate warning: ends soon | renew"}},
		{"another name", trusting(tlsServer(t, status(204), ca, other, nil)), false, []string{"certificate error: is not for 127.0.0.1: it is for erp.example.com | tls.server_name"}},
		{"expired, of another name, and unknown", at(tlsServer(t, status(204), ca, both, nil)), false,
			[]string{"certificate error: has expired", "certificate error: not for 127.0.0.1", "certificate error: issued by Test Authority"}},
		{"not verified", EndpointConfig{URL: URL(tlsServer(t, status(204), nil, good(), nil)), TLS: TLS{InsecureSkipVerify: true}}, false,
			[]string{"config warning: insecure_skip_verify", "certificate warning: self-signed"}},
		{"old TLS", trusting(tlsServer(t, status(204), ca, good(), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })), false,
			[]string{"tls error: TLS 1.1 at most"}},
		{"client certificate", trusting(tlsServer(t, status(204), ca, good(), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })), false,
			[]string{"credentials error: certificate | cert_file"}},
		{"slash missing", at(plain(slashes) + "/hook"), false, []string{"path error: lacks the slash at its end | /hook/\""}},
		{"slash too many", at(plain(http.RedirectHandler("/hook", http.StatusPermanentRedirect)) + "/hook/"), false, []string{"path error: a slash too many | /hook\""}},
		{"404 for want of a slash", at(plain(exact) + "/hook"), false, []string{"path error: but there is at http://127.0.0.1: | /hook/\""}},
		{"https wanted", at(plain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host+r.URL.Path, http.StatusMovedPermanently)
		})) + "/hook"), false, []string{"scheme error: wants https | url = \"https://"}},
		{"moved", at(plain(http.RedirectHandler("https://new.example.com/in", http.StatusMovedPermanently))), false, []string{"path error: redirects to https://new.example.com/in | url = \"https://new.example.com/in\""}},
		{"login page", at(plain(http.RedirectHandler("/web/login?redirect=x", http.StatusSeeOther)) + "/hook"), false, []string{"credentials error: /web/login | needs a login"}},
		{"no such path", at(plain(status(404)) + "/hook"), false, []string{"path warning: nothing at this path for OPTIONS | --send"}},
		{"no such path for an event", at(plain(status(404)) + "/hook"), true, []string{"path error: nothing at this path (404)"}},
		{"POST only", at(plain(posts) + "/hook"), false, nil},
		{"GET only", at(plain(gets) + "/hook"), false, []string{"path error: does not take POST: it allows GET, HEAD"}},
		{"401 without credentials", at(plain(status(401))), false, []string{"credentials error: 401 Unauthorized | neither auth nor secrets"}},
		{"401 for want of a signature", signed(at(plain(status(401)))), false, []string{"credentials warning: 401 | --send"}},
		{"401 with a signature", signed(at(plain(status(401)))), true, []string{"credentials error: 401 | the same secret"}},
		{"403 with credentials", EndpointConfig{URL: URL(plain(status(403))), Auth: Auth{Type: AuthBearer, Token: NewSensitive("0123456789")}}, false, []string{"credentials error: 403 | may not do this"}},
		{"no token", EndpointConfig{URL: URL(plain(status(204))), Auth: Auth{Type: AuthOAuth2, TokenURL: URL(plain(status(401)) + "/token"), ClientID: "walhook", ClientSecret: NewSensitive("topsecret")}}, false,
			[]string{"credentials error: /token | auth.token_url"}},
		{"no token for an event", EndpointConfig{URL: URL(plain(status(204))), Auth: Auth{Type: AuthOAuth2, TokenURL: URL(plain(status(401)) + "/token"), ClientID: "walhook", ClientSecret: NewSensitive("topsecret")}}, true,
			[]string{"credentials error: /token | auth.token_url"}},
		{"slow", within(at(plain(slow)), 3900*time.Millisecond), false, []string{"speed warning: the answer took | answer 2xx as soon as"}},
		{"too slow", within(at(plain(slow)), 500*time.Millisecond), false, []string{"speed error: timeout after 500ms | answer 2xx as soon as"}},
		{"silent", within(at(silent), 500*time.Millisecond), false, []string{"speed error: timeout"}},
		{"fails", at(plain(status(500))), false, []string{"answer error: 500 | log"}},
		{"nobody behind the proxy", at(plain(status(502))), false, []string{"answer error: 502 | in front of the receiver"}},
		{"gone", at(plain(status(410))), true, []string{"answer error: would disable the endpoint"}},
		{"wants nothing of the kind", at(plain(status(422))), true, []string{"answer error: the test event was refused: 422 | types that it does not know"}},
		{"422 to OPTIONS", at(plain(status(422))), false, nil},
		{"guarded", EndpointConfig{URL: URL(plain(status(204))), Guarded: true}, false, []string{"address error: loopback | [endpoints.NAME]"}},
		{"guarded, by a name", EndpointConfig{URL: "http://localhost:1/", Guarded: true}, false, []string{"address error: loopback"}},
		{"no address", at("ftp://host/"), false, []string{"config error: neither http:// nor https://"}},
		{"through a proxy that is away", EndpointConfig{URL: "https://erp.example.com/", Proxy: URL("http://" + refused)}, false, []string{"connect error: refused"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := Prober{Version: "test", Send: tt.send}.Probe(t.Context(), "erp", tt.c)
			var bad []Finding
			failed := false
			for _, f := range p.Findings {
				if f.Severity != FindingOK && f.Severity != FindingInfo {
					bad = append(bad, f)
				}
				failed = failed || f.Severity == FindingError
			}
			if strings.HasPrefix(tt.name, "no token") && (p.Sent != "nothing" || len(p.Tests) > 0) {
				t.Errorf("sent %s, %d to be put on record", p.Sent, len(p.Tests))
			}
			if len(p.Findings) == 0 || p.OK() == failed {
				t.Errorf("OK %t with %d findings", p.OK(), len(p.Findings))
			}
			if len(bad) != len(tt.want) {
				t.Fatalf("%d findings, want %d: %+v", len(bad), len(tt.want), p.Findings)
			}
			for i, want := range tt.want {
				head, message, _ := strings.Cut(want, ": ")
				message, remedy, _ := strings.Cut(message, " | ")
				if got := bad[i]; got.Check+" "+got.Severity != head || !strings.Contains(got.Message, message) || !strings.Contains(got.Remedy, remedy) {
					t.Errorf("finding %+v, want %s", got, want)
				}
			}
		})
	}
}

// Every class that an attempt can be logged with can be asked for.
func TestClassesAreComplete(t *testing.T) {
	source, err := os.ReadFile("class.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^\tClass\w+ += "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		n++
		if m[1] != ClassReleased && !slices.Contains(Classes(), m[1]) {
			t.Errorf("Classes() lacks %q", m[1])
		}
	}
	if n != len(Classes())+1 {
		t.Errorf("%d classes in the source, %d in Classes()", n, len(Classes()))
	}
}

// A probe shows the receiver nothing that it could take for an event, and what it sends for a test says so.
func TestProbeSendsNoEvent(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []*http.Request
	var bodies []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen, bodies = append(seen, r), append(bodies, string(body))
	}))
	defer s.Close()
	secret, err := signature.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	c := EndpointConfig{URL: URL(s.URL + "/hook?key=topsecretkey"), Method: "PUT", Secrets: []signature.Secret{secret}, Auth: Auth{Type: AuthBearer, Token: NewSensitive("topsecrettoken")}}
	for _, send := range []bool{false, true} {
		p := Prober{Version: "test", Send: send}.Probe(t.Context(), "erp", c)
		if !p.OK() || strings.Contains(p.URL+p.Sent, "topsecret") {
			t.Errorf("%+v", p)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2 {
		t.Fatalf("%d requests", len(seen))
	}
	for i, r := range seen {
		if r.Header.Get("Webhook-Test") != "true" || r.Header.Get("Authorization") != "Bearer topsecrettoken" || r.Header.Get("Webhook-Sequence") != "" || !strings.HasPrefix(r.Header.Get("Webhook-Id"), "test_") {
			t.Errorf("request %d: %v", i, r.Header)
		}
	}
	if seen[0].Method != http.MethodOptions || bodies[0] != "" {
		t.Errorf("without --send: %s %q", seen[0].Method, bodies[0])
	}
	if seen[1].Method != "PUT" || !strings.Contains(bodies[1], `"type":"walhook.test"`) {
		t.Errorf("with --send: %s %q", seen[1].Method, bodies[1])
	}
	at := seen[1].Header.Get("Webhook-Timestamp")
	if seen[1].Header.Get("Webhook-Signature") == "" || at == "" {
		t.Errorf("the test event is not signed: %v", seen[1].Header)
	}
}

// A test says what would become of a delivery that was answered like this.
func TestSendTest(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer s.Close()
	d, err := NewTest("erp", "sale.order.write", []byte(`{"mine":true}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o, err := SendTest(t.Context(), EndpointConfig{URL: URL(s.URL)}, "test", d)
	if err != nil || o.Result != Retry || o.Attempt.Status != 503 || o.Reason != "503 Service Unavailable" || o.Next.IsZero() || o.Attempt.RequestHeaders["Webhook-Test"][0] != "true" {
		t.Errorf("%+v %v", o, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := SendTest(ctx, EndpointConfig{URL: URL(s.URL)}, "test", d); err == nil {
		t.Error("an interrupted test has a result")
	}
	if again, _ := NewTest("erp", "", nil, time.Now()); again.ID == d.ID || !strings.Contains(string(again.Body), `"type":"walhook.test"`) {
		t.Errorf("%+v", again)
	}
}
