package delivery

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"walhook/delivery/payload"
	"walhook/delivery/signature"
)

// receiver is an endpoint as the sender needs it: all that is the same for each
// of its requests, worked out once. It is immutable.
type receiver struct {
	method      string
	url         *url.URL // with query keys and without a user
	shownURL    string
	host        string      // a configured Host header; "" is the url's
	header      http.Header // the same for all requests; values are shared, never changed
	shown       map[string][]string
	masks       bool // what is shown is not what is sent
	secrets     []signature.Secret
	timeout     time.Duration
	maxBody     int
	maxResponse int
	gzip        bool               // bodies go compressed
	hidden      *payload.Redaction // of bodies; nil when nothing is hidden
	redact      *redactor
	hmac        *hmacSigner  // nil without a signature in a header of its own
	oauth1      *oauth1      // nil without
	oauth2      *tokenSource // nil without

	exchanges exchanges

	reused *http.Transport // keeps connections
	fresh  *http.Transport // a new connection for every request
}

func newReceiver(c EndpointConfig, version string) (*receiver, error) {
	u, err := url.Parse(string(c.URL))
	if err != nil {
		return nil, &ConfigError{key: "url", message: "not an address: " + unquoted(err)}
	}
	r := &receiver{
		method: c.Method, secrets: c.Secrets, timeout: c.Timeout.Std(),
		maxBody: int(c.MaxBody), maxResponse: int(c.MaxResponse), redact: newRedactor(&c),
		gzip: c.Compress == CompressGzip, hidden: payload.NewRedaction(c.Redact),
		header: http.Header{"User-Agent": {"walhook/" + version}},
	}
	r.shown = map[string][]string{"User-Agent": r.header["User-Agent"]}
	for name, value := range c.Headers {
		if textproto.CanonicalMIMEHeaderKey(name) == "Host" {
			r.host = value.reveal()
			r.shown["Host"] = []string{r.host}
			continue
		}
		r.set(name, value.reveal(), harmlessHeader(name))
	}
	if u.User != nil {
		password, _ := u.User.Password()
		r.set("Authorization", "Basic "+basic(u.User.Username(), password), false)
		u.User = nil
	}
	query := u.RawQuery
	add := func(name string, value Sensitive) {
		if query != "" {
			query += "&"
		}
		query += url.QueryEscape(name) + "=" + url.QueryEscape(value.reveal())
	}
	for name, value := range c.Query {
		add(name, value)
	}
	switch a := &c.Auth; {
	case a.Type == AuthBasic:
		r.set("Authorization", "Basic "+basic(a.Username, a.Password.reveal()), false)
	case a.Type == AuthBearer:
		r.set("Authorization", "Bearer "+a.Token.reveal(), false)
	case a.Type == AuthAPIKey && a.In == InQuery:
		add(a.Name, a.Value)
	case a.Type == AuthAPIKey:
		r.set(a.Name, a.Value.reveal(), false)
	case a.Type == AuthOAuth1:
		r.oauth1 = newOAuth1(a)
		r.shown["Authorization"] = []string{masked}
	}
	u.RawQuery = query
	r.url, r.shownURL = u, maskURL(u.String())
	r.masks = c.Auth.Type != "" || !maps.EqualFunc(r.header, r.shown, slices.Equal[[]string])
	if r.hmac, err = newHMACSigner(&c.HMAC); err != nil {
		return nil, err
	}
	return r, r.connect(&c)
}

// close closes idle connections, and ends what is under way besides requests.
func (r *receiver) close() {
	if r.oauth2 != nil {
		r.oauth2.close()
	}
	r.exchanges.close()
	r.reused.CloseIdleConnections()
	r.fresh.CloseIdleConnections()
}

// set adds a header to every request.
func (r *receiver) set(name, value string, harmless bool) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	r.header[name] = []string{value}
	if harmless {
		r.shown[name] = r.header[name]
	} else {
		r.shown[name] = []string{masked}
	}
}

// readBuffer is what a connection reads answers' headers with; their bodies go past it. Of net/http's own 4 KiB most are empty, and many endpoints have
// many connections.
const readBuffer = 1 << 10

// connect prepares the transports.
func (r *receiver) connect(c *EndpointConfig) error {
	config, err := c.TLS.config()
	if err != nil {
		return err
	}
	proxy := http.ProxyFromEnvironment
	switch c.Proxy {
	case "":
	case ProxyOff:
		proxy = nil
	default:
		address, err := url.Parse(string(c.Proxy))
		if err != nil {
			return &ConfigError{key: "proxy", message: "not an address: " + unquoted(err)}
		}
		proxy = http.ProxyURL(address)
	}
	if c.Guarded {
		if proxy = nil; c.Proxy != "" && c.Proxy != ProxyOff {
			return &ConfigError{key: "proxy", message: "a guarded endpoint has no proxy: it would resolve the address itself", remedy: "leave it out"}
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c.UseHTTP2())
	// Dialling and handshakes outlive the request that asked for them, so that the next one
	// finds the connection ready; they have limits of their own for that reason.
	dialer := &net.Dialer{Timeout: r.timeout, KeepAlive: 30 * time.Second}
	if c.Guarded {
		dialer = GuardedDialer(r.timeout)
	}
	transport := func() *http.Transport {
		return &http.Transport{
			Proxy: proxy, DialContext: counting(dialer.DialContext), TLSClientConfig: config.Clone(), TLSHandshakeTimeout: r.timeout,
			Protocols:              protocols,
			MaxIdleConnsPerHost:    c.Concurrency,
			ReadBufferSize:         readBuffer,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	r.reused, r.fresh = transport(), transport()
	r.fresh.DisableKeepAlives = true
	if c.Auth.Type != AuthOAuth2 {
		return nil
	}
	r.shown["Authorization"] = []string{masked}
	tokens := transport()
	if address, err := url.Parse(string(c.Auth.TokenURL)); err == nil && address.Host != r.url.Host {
		tokens.TLSClientConfig.ServerName = "" // tls.server_name is the receiver's
	}
	r.oauth2, err = newTokenSource(c, r.redact, tokens)
	return err
}

// config reads the files that t names.
func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // the user asked for it and is warned
	}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, &ConfigError{key: "tls.ca_file", message: err.Error()}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, &ConfigError{key: "tls.ca_file", message: t.CAFile + " holds no certificate", remedy: "it must be a PEM file: -----BEGIN CERTIFICATE-----"}
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		switch {
		case err != nil && encrypted(t.KeyFile):
			return nil, &ConfigError{key: "tls.key_file", message: t.KeyFile + " is protected by a password, and nobody is there to type it",
				remedy: "openssl pkey -in " + t.KeyFile + " -out FILE, where only walhook can read it, or through systemd's LoadCredentialEncrypted"}
		case err != nil:
			return nil, &ConfigError{key: "tls.cert_file", message: err.Error(), remedy: "tls.cert_file and tls.key_file must be PEM files that belong together"}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// encrypted says that a key file needs a password.
func encrypted(path string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
	}
	return false
}

// prefixed puts a prefix before the key of a ConfigError.
func prefixed(prefix string, err error) error {
	var e *ConfigError
	if !errors.As(err, &e) {
		return fmt.Errorf("%s %w", prefix, err)
	}
	return &ConfigError{key: prefix + e.key, message: e.message, remedy: e.remedy}
}
