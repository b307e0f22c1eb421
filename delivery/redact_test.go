package delivery

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"walhook/delivery/signature"
)

// No field of an attempt or an outcome holds a secret, whatever the receiver echoes and whatever goes wrong.
func TestAttemptHoldsNoSecret(t *testing.T) {
	const (
		header, query, password = "header-se/cret+1", "query secret&2", `pass"word/3`
		token, key, inURL, path = "token-secret-4", "key-secret-5", "url-secret-6", "T0PathSecret77777"
		proxyPassword, wh       = "proxy-secret-8", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	)
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := fmt.Sprintf("%s %q %v %q %s", r.URL, r.URL.Query(), r.Header, r.Header, r.Header.Get("Authorization"))
		if user, pass, ok := r.BasicAuth(); ok {
			text += user + pass + strings.ReplaceAll(pass, "/", `\/`)
		}
		w.Header().Set("X-Echo", r.Header.Get("Authorization")+r.Header.Get("X-Tenant")+r.Header.Get("X-Api-Key"))
		w.Header().Set("Set-Cookie", "session=cookie-secret-9")
		w.Header().Set("Location", "https://"+r.Host+r.URL.String())
		w.WriteHeader(302)
		_, _ = io.WriteString(w, text)
	}))
	defer echo.Close()
	secret, err := signature.ParseSecret(wh)
	if err != nil {
		t.Fatal(err)
	}
	base := EndpointConfig{
		Headers: map[string]Sensitive{"X-Tenant": NewSensitive(header)}, Query: map[string]Sensitive{"q": NewSensitive(query)},
		Secrets: []signature.Secret{secret}, Proxy: ProxyOff,
	}
	auths := []Auth{
		{Type: "basic", Username: "user", Password: NewSensitive(password)},
		{Type: "bearer", Token: NewSensitive(token)},
		{Type: "api_key", Value: NewSensitive(key)},
		{Type: "api_key", In: "query", Value: NewSensitive(key)},
		{},
	}
	secrets := []string{header, query, password, token, key, inURL, path, proxyPassword, wh[6:], "cookie-secret-9"}
	for _, s := range secrets[:6] {
		secrets = append(secrets, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte("user:"+s)))
	}
	secrets = append(secrets, strings.ReplaceAll(password, "/", `\/`), `pass\"word/3`)
	hosts := []string{
		strings.TrimPrefix(echo.URL, "http://"), "127.0.0.1:1", "no-such-host.invalid",
	}
	for _, host := range hosts {
		for i, auth := range auths {
			for _, proxy := range []URL{ProxyOff, "http://u:" + proxyPassword + "@127.0.0.1:1"} {
				c := base
				c.Auth, c.Proxy = auth, proxy
				user := ""
				if auth.Type == "" {
					user = "user:" + inURL + "@"
				}
				c.URL = URL("http://" + user + host + "/services/" + path + "?token=" + inURL)
				s := newSender(t, map[string]EndpointConfig{"erp": c})
				d := testDelivery("erp")
				a := s.Send(t.Context(), d)
				if (a.Status == 302) != (host == hosts[0] && proxy == ProxyOff) {
					t.Fatalf("%s: status %d, %s", host, a.Status, a.Error)
				}
				full := c.WithDefaults()
				o := decide(&full, d, a, a.At)
				all := fmt.Sprintf("%s %+v %s %+v", o.Reason, *a, a.ResponseBody, o)
				for _, s := range secrets {
					if strings.Contains(all, s) {
						t.Errorf("auth %d, %s: %q is in %s", i, host, s, all)
					}
				}
			}
		}
	}
}

func TestRedactStorable(t *testing.T) {
	r := newRedactor(&EndpointConfig{})
	if got := r.text("a\x00b\xffc"); got != "a\ufffdb\ufffdc" {
		t.Errorf("%q", got)
	}
}

// A secret is found in each spelling, also inside of base64, and where an answer was cut off in the middle of it.
func TestRedactSpellings(t *testing.T) {
	const secret = `Se/cret+"1&2<é~ x`
	r := newRedactor(&EndpointConfig{Auth: Auth{Type: AuthBearer, Token: NewSensitive(secret)}})
	std, inURL := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	for _, spelt := range []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), url.QueryEscape("https://h/?next=" + url.QueryEscape(secret)),
		`Se\/cret+\"1&2<é~ x`, `Se/cret+\"1\u00262\u003cé~ x`, `Se\/cret+\"1\u00262\u003cé~ x`, `Se/cret+\"1&2<\u00e9~ x`, "Se/cret+&#34;1&amp;2&lt;é~ x",
		std([]byte(secret)), std([]byte("u:" + secret)), std([]byte("us:" + secret + "!")), std([]byte("user:" + secret + "!!")), inURL([]byte("??>" + secret + "??")),
	} {
		for _, around := range []string{"%s", "before %s after"} {
			if got := r.text(fmt.Sprintf(around, spelt)); !strings.Contains(got, masked) {
				t.Errorf("%q stays %q", spelt, got)
			}
		}
	}
	for text, want := range map[string]string{
		"Bearer " + secret[:9]:         "Bearer ***",
		"Bearer " + secret[:minSecret]: "Bearer ***",
		"Bearer " + secret[:5]:         "Bearer " + secret[:5],
		"Bearer ":                      "Bearer ",
		"Bearer " + secret:             "Bearer ***",
	} {
		if got := string(r.body([]byte(text), true)); got != want {
			t.Errorf("%q cut off stays %q, want %q", text, got, want)
		}
		if got := string(r.body([]byte(text), false)); !strings.HasSuffix(text, secret) && got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
