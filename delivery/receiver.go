package delivery

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"time"

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
	secrets     []signature.Secret
	timeout     time.Duration
	maxBody     int
	maxResponse int
	redact      *redactor

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
		maxBody: c.MaxBody, maxResponse: c.MaxResponse, redact: newRedactor(&c),
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
	}
	u.RawQuery = query
	r.url, r.shownURL = u, maskURL(u.String())
	return r, r.connect(&c)
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
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(c.UseHTTP2())
	// Dialling and handshakes outlive the request that asked for them, so that the next one
	// finds the connection ready; they have limits of their own for that reason.
	dialer := &net.Dialer{Timeout: r.timeout, KeepAlive: 30 * time.Second}
	transport := func() *http.Transport {
		return &http.Transport{
			Proxy: proxy, DialContext: dialer.DialContext, TLSClientConfig: config.Clone(), TLSHandshakeTimeout: r.timeout,
			Protocols:              protocols,
			MaxIdleConnsPerHost:    c.Concurrency,
			IdleConnTimeout:        90 * time.Second,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	r.reused, r.fresh = transport(), transport()
	r.fresh.DisableKeepAlives = true
	return nil
}

// config reads the files that t names.
func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify, //nolint:gosec // the user asked for it and is warned
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, &ConfigError{key: "tls.ca_file", message: err.Error()}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &ConfigError{key: "tls.ca_file", message: t.CAFile + " holds no certificate", remedy: "it must be a PEM file: -----BEGIN CERTIFICATE-----"}
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, &ConfigError{key: "tls.cert_file", message: err.Error(), remedy: "tls.cert_file and tls.key_file must be PEM files that belong together"}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// prefixed puts a prefix before the key of a ConfigError.
func prefixed(prefix string, err error) error {
	var e *ConfigError
	if !errors.As(err, &e) {
		return fmt.Errorf("%s %w", prefix, err)
	}
	return &ConfigError{key: prefix + e.key, message: e.message, remedy: e.remedy}
}
