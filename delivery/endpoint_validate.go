package delivery

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Validate joins all problems as *[ConfigError]s, whose keys are relative to the
// endpoint's table. It reads no files: [NewHTTPSender] does.
func (c EndpointConfig) Validate() error {
	c = c.WithDefaults()
	p := &problems{}
	c.validateURL(p)
	p.oneOf("method", c.Method, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodGet)
	c.validateHeaders(p)
	for _, name := range slices.Sorted(maps.Keys(c.Query)) {
		if name == "" {
			p.add("query", "a query key is empty", "")
		}
	}
	for i, s := range c.Secrets {
		if s.IsZero() {
			p.add(fmt.Sprintf("secrets[%d]", i), "the secret is empty", `make one with: echo "whsec_$(openssl rand -base64 32)"`)
		}
	}
	c.Auth.validate(p, c.Headers)
	c.HMAC.validate(p, &c)
	p.atLeast("timeout", c.Timeout, time.Millisecond)
	if c.Timeout.Std() > time.Hour {
		p.add("timeout", fmt.Sprintf("%s is too long for one request", c.Timeout), "use 1h or less")
	}
	c.Retry.validate(p)
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		p.add("concurrency", fmt.Sprintf("%d is out of range", c.Concurrency), fmt.Sprintf("use 1 to %d", maxConcurrency))
	}
	p.oneOf("ordering", c.Ordering, OrderRecord, OrderEndpoint, OrderNone)
	p.oneOf("on_dead", c.OnDead, OnDeadSkip, OnDeadHold)
	c.validateBatch(p)
	c.validateFormat(p)
	c.Queue.validate(p)
	c.Rate.validate(p)
	c.Breaker.validate(p)
	c.Disable.validate(p)
	c.TLS.validate(p)
	c.validateProxy(p)
	if c.MaxBody < 0 {
		p.add("max_body", "a size cannot be negative", "")
	}
	if c.MaxResponse < 0 || c.MaxResponse > maxResponse {
		p.add("max_response", fmt.Sprintf("%s is out of range", c.MaxResponse), fmt.Sprintf("use up to %s", Size(maxResponse)))
	}
	return errors.Join(p.all...)
}

// Warnings says what is allowed and ill-advised, for people. None of them quotes a secret.
func (c EndpointConfig) Warnings() []string {
	var w []string
	if c.TLS.InsecureSkipVerify {
		w = append(w, "tls.insecure_skip_verify is on: anyone on the way can read and change what is sent; set tls.ca_file instead")
	}
	for i, s := range c.HMAC.Secrets {
		if len(s.reveal()) < shortKey {
			w = append(w, fmt.Sprintf("hmac.secrets[%d] has fewer than %d characters and could be guessed: make one with openssl rand -hex 32", i, shortKey))
		}
	}
	if u, err := url.Parse(string(c.Auth.TokenURL)); err == nil && u.Scheme == "http" && !isLocal(u.Hostname()) {
		w = append(w, "auth.client_secret is sent over plain http: use https for auth.token_url")
	}
	u, err := url.Parse(string(c.URL))
	if err != nil || u.Scheme != "http" || isLocal(u.Hostname()) {
		return w
	}
	if c.Auth.Type != "" && c.Auth.Type != AuthOAuth1 || u.User != nil {
		w = append(w, "credentials are sent over plain http: use https")
	}
	return w
}

func (c *EndpointConfig) validateURL(p *problems) {
	if c.URL == "" {
		p.add("url", "no address", `url = "https://erp.example.com/hooks/odoo"`)
		return
	}
	u, err := url.Parse(string(c.URL))
	switch {
	case err != nil:
		// url.Error quotes the address, which may hold a password.
		p.add("url", "not an address: "+unquoted(err), `write it as "https://host/path"`)
	case u.Scheme != "http" && u.Scheme != "https":
		p.add("url", fmt.Sprintf("the address starts with neither http:// nor https:// (%s)", c.URL), "")
	case u.Hostname() == "":
		p.add("url", fmt.Sprintf("the address names no host (%s)", c.URL), "")
	case u.Fragment != "":
		p.add("url", "the part after # is never sent", "leave it out")
	case u.User != nil && c.Auth.Type != "":
		p.add("url", "the address holds a user, and auth is set too", "keep one of the two")
	}
}

// ownHeaders are set by walhook or by HTTP itself.
var ownHeaders = map[string]string{
	"Webhook-Id":        "set for every delivery",
	"Webhook-Timestamp": "set for every attempt",
	"Webhook-Signature": "set from secrets",
	"Webhook-Attempt":   "set for every attempt but the first",
	"Webhook-Late":      "set for what is sent again out of order",
	"Webhook-Sequence":  "set for every delivery",
	"Webhook-Epoch":     "set for every delivery",
	"Webhook-Batch":     "set for every batch",
	"Webhook-Test":      "set for what is no delivery (walhook endpoints send-test)",
	"Idempotency-Key":   "set for every delivery",
	"Content-Length":    "set from the body",
	"Transfer-Encoding": "set by HTTP",
	"Connection":        "set by HTTP",
	"Upgrade":           "set by HTTP",
	"Keep-Alive":        "set by HTTP",
	"Te":                "set by HTTP",
	"Trailer":           "set by HTTP",
}

func (c *EndpointConfig) validateHeaders(p *problems) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		key := "headers." + name
		if !isToken(name) {
			p.add("headers", fmt.Sprintf("%q is no header name", name), "use letters, digits and -")
			continue
		}
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		if why, own := ownHeaders[canonical]; own {
			p.add(key, "this header cannot be configured: it is "+why, "leave it out")
		}
		if other, twice := seen[canonical]; twice {
			p.add(key, "the same header as "+other, "keep one of the two")
		}
		seen[canonical] = name
		if !isHeaderValue(c.Headers[name].reveal()) {
			p.add(key, "the value holds a line break or another control character", "")
		}
	}
}

func (r *RetryPolicy) validate(p *problems) {
	if r.Preset != "" {
		p.oneOf("retry.preset", r.Preset, slices.Sorted(maps.Keys(RetryPresets))...)
		if preset := RetryPresets[r.Preset]; preset != nil && !slices.Equal(r.Schedule, preset) {
			p.add("retry.schedule", "retry.preset says it already", "keep one of the two")
		}
	}
	p.atLeast("retry.max_retry_after", r.MaxRetryAfter, time.Second)
	if r.MaxRetryAfter.Std() > MaxRetryAfter {
		p.add("retry.max_retry_after", fmt.Sprintf("%s is too long", r.MaxRetryAfter), "use 24h or less")
	}
	if len(r.Schedule) > 0 {
		for _, other := range []struct {
			key string
			set bool
		}{{"initial", r.Initial != 0}, {"factor", r.Factor != 0}, {"max", r.Max != 0}, {"attempts", r.Attempts != nil}} {
			if other.set {
				p.add("retry."+other.key, r.scheduleKey()+" says it already", "keep one of the two")
			}
		}
		if r.Schedule[0] != 0 {
			p.add("retry.schedule", "the first attempt is made at once", `begin with "0s", as in ["0s", "5m", "30m"]: the waits before the first, second and third attempt`)
		}
		for i, d := range r.Schedule {
			if d < 0 || d.Std() > maxWait {
				p.add(fmt.Sprintf("retry.schedule[%d]", i), fmt.Sprintf("%s is out of range", d), "use 0s to 30d")
			}
		}
	} else {
		p.atLeast("retry.initial", r.Initial, time.Millisecond)
		p.atLeast("retry.max", r.Max, time.Millisecond)
		if r.Max.Std() > maxWait {
			p.add("retry.max", fmt.Sprintf("%s is too long", r.Max), "use 30d or less")
		}
		if r.Max >= 0 && r.Initial > r.Max {
			p.add("retry.initial", fmt.Sprintf("%s is longer than retry.max, %s", r.Initial, r.Max), "")
		}
		if !(r.Factor >= 1) || math.IsInf(r.Factor, 0) {
			p.add("retry.factor", fmt.Sprintf("%v is out of range", r.Factor), "use 1 (always the same wait) or more")
		}
		if n := r.Limit(); n < 1 || n > 1000 {
			p.add("retry.attempts", fmt.Sprintf("%d is out of range", n), "use 1 (no retry) to 1000")
		}
	}
	if r.Jitter != nil && !(*r.Jitter >= 0 && *r.Jitter <= 1) {
		p.add("retry.jitter", fmt.Sprintf("%v is out of range", *r.Jitter), "use 0 to 1; 0.2 varies waits by 20 %")
	}
}

// scheduleKey is the key that the schedule comes from.
func (r *RetryPolicy) scheduleKey() string {
	if r.Preset != "" {
		return "retry.preset"
	}
	return "retry.schedule"
}

const maxWait = 30 * 24 * time.Hour

func (t *TLS) validate(p *problems) {
	if (t.CertFile == "") != (t.KeyFile == "") {
		missing := "tls.key_file"
		if t.CertFile == "" {
			missing = "tls.cert_file"
		}
		p.add(missing, "a client certificate needs tls.cert_file and tls.key_file", "")
	}
	if t.InsecureSkipVerify && t.CAFile != "" {
		p.add("tls.insecure_skip_verify", "tls.ca_file is set, and no certificate is verified", "keep ca_file")
	}
}

func (c *EndpointConfig) validateProxy(p *problems) {
	if c.Proxy == "" || c.Proxy == ProxyOff {
		return
	}
	u, err := url.Parse(string(c.Proxy))
	switch {
	case err != nil:
		p.add("proxy", "not an address: "+unquoted(err), `write it as "http://host:3128", or "off"`)
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) || u.Hostname() == "":
		p.add("proxy", fmt.Sprintf("%s is no proxy's address", c.Proxy), `write it as "http://host:3128", or "off"`)
	}
}

// problems collects ConfigErrors.
type problems struct{ all []error }

func (p *problems) add(key, message, remedy string) {
	p.all = append(p.all, &ConfigError{key: key, message: message, remedy: remedy})
}

func (p *problems) oneOf(key, value string, values ...string) {
	if !slices.Contains(values, value) {
		p.add(key, fmt.Sprintf("%q is none of its values", value), "use one of "+strings.Join(values, ", "))
	}
}

func (p *problems) atLeast(key string, value Duration, least time.Duration) {
	if value.Std() < least {
		p.add(key, fmt.Sprintf("%s is too short", value), fmt.Sprintf("use %s or more", least))
	}
}

// unquoted is the text of an error of url.Parse without the address.
func unquoted(err error) string {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	if strings.Contains(err.Error(), `"`) {
		return "it is malformed" // EscapeError and InvalidHostError quote a part of it
	}
	return err.Error()
}

// isLocal says whether a host is this machine, by its name alone.
func isLocal(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasPrefix(host, "127.") || host == "::1"
}

// isToken is RFC 9110's token, which header names are.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

// isHeaderValue says whether a header can carry a text.
func isHeaderValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
