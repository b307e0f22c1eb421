package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

const complete = `
url         = "https://erp.example.com/hooks/odoo"
method      = "PUT"
headers     = { X-Tenant = "acme-secret", Accept = "text/plain" }
query       = { db = "production" }
active      = true
secrets     = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
auth        = { type = "api_key", name = "X-Key", in = "query", value = "key-value" }
timeout     = "20s"
retry       = { initial = "5s", factor = 1, max = "1d", attempts = 5, jitter = 0.0 }
concurrency = 4
ordering    = "endpoint"
on_dead     = "hold"
proxy       = "http://user:pass-word@proxy.example.com:3128"
http2       = false
max_body    = 1000
max_response = 2000
[tls]
ca_file     = "ca.pem"
cert_file   = "cert.pem"
key_file    = "key.pem"
server_name = "erp"
`

func decodeEndpoint(t *testing.T, text string) EndpointConfig {
	t.Helper()
	var c EndpointConfig
	if err := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields().Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEndpointFromTOML(t *testing.T) {
	c := decodeEndpoint(t, complete)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.URL != "https://erp.example.com/hooks/odoo" || c.Headers["X-Tenant"].reveal() != "acme-secret" || c.Auth.Value.reveal() != "key-value" ||
		c.Timeout.Std() != 20*time.Second || c.Retry.Max.Std() != 24*time.Hour || *c.Retry.Jitter != 0 || len(c.Secrets) != 2 || c.UseHTTP2() || !c.IsActive() ||
		c.TLS.ServerName != "erp" {
		t.Errorf("decoded wrongly: %+v", c)
	}
}

func TestEndpointDefaults(t *testing.T) {
	c := EndpointConfig{URL: "http://localhost"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	got := c.WithDefaults()
	if got.Method != "POST" || got.Timeout.Std() != 15*time.Second || got.Concurrency != 16 || got.Ordering != "record" || got.OnDead != "skip" ||
		got.MaxBody != 1<<20 || got.MaxResponse != 64<<10 || !got.UseHTTP2() || !got.IsActive() {
		t.Errorf("defaults: %+v", got)
	}
	if got.Retry.Limit() != 10 || got.Retry.Initial.Std() != time.Minute || got.Retry.Factor != 2 || got.Retry.Max.Std() != 24*time.Hour {
		t.Errorf("defaults of retry: %+v", got.Retry)
	}
}

func TestEndpointValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		toml string
		want []string // keys
	}{
		{"nothing", ``, []string{"url"}},
		{"no scheme", `url = "erp.example.com"`, []string{"url"}},
		{"other scheme", `url = "ftp://erp.example.com"`, []string{"url"}},
		{"no host", `url = "https:///hooks"`, []string{"url"}},
		{"fragment", `url = "https://a/#x"`, []string{"url"}},
		{"port", `url = "https://a:port/"`, []string{"url"}},
		{"user twice", `url = "https://u:p@a/"
			auth = { type = "bearer", token = "t" }`, []string{"url"}},
		{"method", `url = "https://a/"
			method = "post"`, []string{"method"}},
		{"headers", `url = "https://a/"
			headers = { "X Y" = "1", webhook-id = "1", X-A = "1", x-a = "2", X-B = "a\nb", Content-Length = "1" }`,
			[]string{"headers", "headers.Content-Length", "headers.X-B", "headers.webhook-id", "headers.x-a"}},
		{"basic", `url = "https://a/"
			auth = { type = "basic", username = "a:b", token = "x" }`, []string{"auth.password", "auth.token", "auth.username"}},
		{"bearer", `url = "https://a/"
			headers = { authorization = "x" }
			auth = { type = "bearer", token = "a\nb" }`, []string{"auth.token", "headers.authorization"}},
		{"api key", `url = "https://a/"
			auth = { type = "api_key", in = "body" }`, []string{"auth.value", "auth.in"}},
		{"api key as one of ours", `url = "https://a/"
			auth = { type = "api_key", name = "webhook-signature", value = "x" }`, []string{"auth.name"}},
		{"auth without type", `url = "https://a/"
			auth = { token = "x" }`, []string{"auth.token"}},
		{"unknown auth", `url = "https://a/"
			auth = { type = "digest" }`, []string{"auth.type"}},
		{"numbers", `url = "https://a/"
			timeout = "2h"
			concurrency = -1
			max_body = -1
			max_response = 2000000`, []string{"timeout", "concurrency", "max_body", "max_response"}},
		{"words", `url = "https://a/"
			ordering = "model"
			on_dead = "drop"`, []string{"ordering", "on_dead"}},
		{"retry", `url = "https://a/"
			retry = { initial = "2d", factor = 0.5, attempts = 0, jitter = 2.0 }`, []string{"retry.initial", "retry.factor", "retry.attempts", "retry.jitter"}},
		{"retry without numbers", `url = "https://a/"
			retry = { factor = nan, jitter = nan }`, []string{"retry.factor", "retry.jitter"}},
		{"retry too long", `url = "https://a/"
			retry = { max = "31d" }`, []string{"retry.max"}},
		{"retry after", `url = "https://a/"
			retry = { max_retry_after = "25h" }`, []string{"retry.max_retry_after"}},
		{"preset", `url = "https://a/"
			retry = { preset = "5x5" }`, []string{"retry.preset"}},
		{"preset and more", `url = "https://a/"
			retry = { preset = "5x5s", schedule = ["0s"], attempts = 3 }`, []string{"retry.schedule", "retry.attempts"}},
		{"rate", `url = "https://a/"
			rate = { limit = -1 }`, []string{"rate.limit", "rate.per", "rate.burst"}},
		{"rate without a limit", `url = "https://a/"
			rate = { per = "1m", burst = 5 }`, []string{"rate.per", "rate.burst"}},
		{"rate out of range", `url = "https://a/"
			rate = { limit = nan, per = "25h", burst = -1 }`, []string{"rate.limit", "rate.per", "rate.burst"}},
		{"breaker", `url = "https://a/"
			breaker = { failures = -1, pause = "10m", max_pause = "5m", jitter = 2.0 }`, []string{"breaker.failures", "breaker.pause", "breaker.jitter"}},
		{"disable", `url = "https://a/"
			disable = { failures = -1, after = "1ms" }`, []string{"disable.failures", "disable.after"}},
		{"schedule", `url = "https://a/"
			retry = { schedule = ["5s", "-5s"], attempts = 3, initial = "1s" }`,
			[]string{"retry.initial", "retry.attempts", "retry.schedule", "retry.schedule[1]"}},
		{"tls", `url = "https://a/"
			tls = { ca_file = "ca", cert_file = "cert", insecure_skip_verify = true }`, []string{"tls.key_file", "tls.insecure_skip_verify"}},
		{"proxy", `url = "https://a/"
			proxy = "proxy:3128"`, []string{"proxy"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := decodeEndpoint(t, tt.toml).Validate()
			var got []string
			for _, e := range flatten(err) {
				var c *ConfigError
				if !errors.As(e, &c) {
					t.Fatalf("%T: %v", e, e)
				}
				if c.Message() == "" || c.Error() != c.Key()+": "+c.Message() {
					t.Errorf("%q", c.Error())
				}
				got = append(got, c.Key())
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

func TestEndpointWarnings(t *testing.T) {
	for text, want := range map[string]int{
		`url = "https://a.example.com/"`:                                               0,
		"url = \"https://a.example.com/\"\ntls = { insecure_skip_verify = true }":      1,
		`url = "http://u:p@a.example.com/"`:                                            1,
		`url = "http://u:p@localhost/"`:                                                0,
		"url = \"http://a.example.com/\"\nauth = { type = \"bearer\", token = \"x\" }": 1,
	} {
		if got := decodeEndpoint(t, text).Warnings(); len(got) != want {
			t.Errorf("%s\nwarns %q", text, got)
		}
	}
}

// However a configuration is printed, its secrets are not in it.
func TestEndpointDoesNotPrintSecrets(t *testing.T) {
	c := decodeEndpoint(t, strings.Replace(complete, "https://erp.example.com/hooks/odoo",
		"https://user:url-password@erp.example.com/hooks/T0123ABCDpathtoken?token=url-token#frag-token", 1))
	c.Auth.Password, c.Auth.Token = NewSensitive("basic-password"), NewSensitive("bearer-token")
	secrets := []string{"acme-secret", "production", "MfKQ9r8G", "C2FVsBQI", "key-value", "pass-word", "url-password", "pathtoken", "url-token", "frag-token",
		"basic-password", "bearer-token"}
	hidden := struct{ c EndpointConfig }{c}
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	tomlable := c // go-toml writes named strings as they are
	tomlable.URL, tomlable.Proxy = "", ""
	asTOML, err := toml.Marshal(tomlable)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%v %+v", &c, &c), fmt.Sprintf("%s %x %q", c.Auth, c.Auth, c.Auth),
		fmt.Sprintf("%x %s %q %x", c.URL, c.URL, c.Proxy, c.Headers), string(asJSON), string(asTOML), fmt.Sprint(c.Validate()), strings.Join(c.Warnings(), " "),
		fmt.Sprintf("%v %+v", hidden.c.Headers, hidden.c.Auth),
	} {
		for _, s := range secrets {
			if strings.Contains(text, s) || strings.Contains(text, fmt.Sprintf("%x", s)) {
				t.Errorf("%q is in %s", s, text)
			}
		}
	}
	if !strings.Contains(fmt.Sprint(c.URL), "https://***@erp.example.com/hooks/***?token=***#***") {
		t.Errorf("the address prints as %s", c.URL)
	}
	// Messages about broken addresses do not quote them either.
	for _, u := range []URL{"https://user:hidden-word@a:port/", "https://a/%zz?hidden-word", "://hidden-word", "https://hidden-word\x7f@a/"} {
		for _, e := range []error{(EndpointConfig{URL: u}).Validate(), (EndpointConfig{URL: "https://a/", Proxy: u}).Validate()} {
			if e != nil && strings.Contains(e.Error(), "hidden-word") {
				t.Errorf("%v", e)
			}
		}
	}
}

func TestMaskURL(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"https://erp.example.com/hooks/odoo": "https://erp.example.com/hooks/odoo",
		"https://erp.example.com:8443":       "https://erp.example.com:8443",
		"https://u:p@h/":                     "https://***@h/",
		"https://h/?a=1&b=two&c":             "https://h/?a=***&b=***&c",
		"https://hooks.slack.com/services/T024BE7LD0123456/B024BE7LD0123456/XXXXXXXXXXXXXXXXXXXXXXX1": "https://hooks.slack.com/services/***/***/***",
		"https://h/api/v1/orders/12345":       "https://h/api/v1/orders/12345",
		"https://h/sale_order_confirmed_hook": "https://h/sale_order_confirmed_hook",
		"https://h/%zz":                       "***",
		"mailto:x":                            "mailto:***",
		"/relative/path?x=1":                  "/relative/path?x=***",
	} {
		if got := maskURL(in); got != want {
			t.Errorf("maskURL(%q) = %q, want %q", in, got, want)
		}
	}
}
