package delivery

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// identity writes a client certificate and its key to two files.
func identity(t *testing.T, issuer *authority, name, certFile, keyFile string) {
	t.Helper()
	cert, key := certify(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, issuer)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert.Raw}, keyFile: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// connectProxy is a proxy for https, which wants a password; it counts the hosts that it was asked for.
func connectProxy(t *testing.T) (address string, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var hosts []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hosts = append(hosts, r.Host)
		mu.Unlock()
		if r.Method != http.MethodConnect || r.Header.Get("Proxy-Authorization") != "Basic "+basic("u", "proxy-pass") {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		out, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		in, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
	}))
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http://", "http://u:proxy-pass@", 1), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), hosts...)
	}
}

// Client certificate, own authority and proxy with a password go for the receiver and for its token endpoint alike. New files
// count from the next sender on, as after a reload; the old one goes on with what it has.
func TestSendClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	var mu sync.Mutex
	var seen []string
	mutual := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool }
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.URL.Path+" "+r.TLS.PeerCertificates[0].Subject.CommonName)
		if r.URL.Path == "/token" {
			fmt.Fprint(w, `{"access_token":"token-0123456789","expires_in":3600}`)
		}
	})
	receiver := tlsServer(t, handler, ca, &x509.Certificate{IPAddresses: loopback(), DNSNames: []string{"erp.internal"}}, mutual)
	tokens := tlsServer(t, handler, ca, &x509.Certificate{IPAddresses: loopback()}, mutual)
	proxy, asked := connectProxy(t)
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	identity(t, ca, "first", certFile, keyFile)
	c := EndpointConfig{
		URL: URL(receiver + "/hook"), Proxy: URL(proxy), TLS: TLS{CAFile: ca.file, CertFile: certFile, KeyFile: keyFile, ServerName: "erp.internal"},
		Auth: Auth{Type: AuthOAuth2, TokenURL: URL(tokens + "/token"), ClientID: "i", ClientSecret: NewSensitive("client-secret")},
	}
	old := newSender(t, map[string]EndpointConfig{"erp": c})
	if a := old.Send(t.Context(), testDelivery("erp")); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	identity(t, ca, "second", certFile, keyFile)
	renewed := newSender(t, map[string]EndpointConfig{"erp": c})
	if a := renewed.Send(t.Context(), testDelivery("erp")); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := old.Send(t.Context(), testDelivery("erp")); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	if got, want := strings.Join(seen, ", "), "/token first, /hook first, /token second, /hook second, /hook first"; got != want {
		t.Errorf("saw %s, want %s", got, want)
	}
	if hosts := asked(); len(hosts) != 4 {
		t.Errorf("the proxy was asked for %s", hosts)
	}
	wrong := c
	wrong.Proxy = URL(strings.Replace(proxy, "proxy-pass", "wrong-pass", 1))
	if a := newSender(t, map[string]EndpointConfig{"erp": wrong}).Send(t.Context(), testDelivery("erp")); a.Status != 0 || a.Class != ClassAuth || strings.Contains(a.Error, "wrong-pass") {
		t.Errorf("wrong password: %+v", a)
	}
	without := c
	without.Auth, without.TLS.CertFile, without.TLS.KeyFile = Auth{}, "", ""
	if a := newSender(t, map[string]EndpointConfig{"erp": without}).Send(t.Context(), testDelivery("erp")); a.Class != ClassTLS {
		t.Errorf("without a certificate: class %q, %s", a.Class, a.Error)
	}
}

func TestEncryptedKey(t *testing.T) {
	ca := newAuthority(t)
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	identity(t, ca, "x", certFile, keyFile)
	for _, block := range []*pem.Block{
		{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{0x30, 0x00}},
		{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}},
	} {
		if err := os.WriteFile(keyFile, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := NewHTTPSender(map[string]EndpointConfig{"erp": {URL: "https://erp/", TLS: TLS{CertFile: certFile, KeyFile: keyFile}}}, "1")
		if err == nil || !strings.Contains(err.Error(), "tls.key_file: "+keyFile+" is protected by a password") {
			t.Errorf("%s: %v", block.Type, err)
		}
	}
}
