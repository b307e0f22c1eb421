package delivery

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A signature in a header of the receiver's choice, over what it expects, in its encoding; one for each secret.
func TestSendHMACHeader(t *testing.T) {
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	sum := func(key, signed string) []byte {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(signed))
		return mac.Sum(nil)
	}
	const key, old = "It's a Secret to Everybody", "the-secret-before-it"
	secrets := []Sensitive{NewSensitive(key)}
	for name, tt := range map[string]struct {
		config HMAC
		header string
		want   func(stamp, id, body string) string
		stamp  string
	}{
		"defaults": {HMAC{Secrets: secrets}, "X-Webhook-Signature", func(_, _, body string) string { return hex.EncodeToString(sum(key, body)) }, ""},
		"as GitHub": {HMAC{Secrets: secrets, Header: "X-Hub-Signature-256", Prefix: "sha256="}, "X-Hub-Signature-256",
			func(_, _, body string) string { return "sha256=" + hex.EncodeToString(sum(key, body)) }, ""},
		"as Shopify": {HMAC{Secrets: secrets, Header: "X-Shopify-Hmac-Sha256", Encoding: "base64"}, "X-Shopify-Hmac-Sha256",
			func(_, _, body string) string { return base64.StdEncoding.EncodeToString(sum(key, body)) }, ""},
		"as Slack": {HMAC{Secrets: secrets, Header: "X-Slack-Signature", Prefix: "v0=", Signs: "v0:{timestamp}:{body}", TimestampHeader: "X-Slack-Request-Timestamp"}, "X-Slack-Signature",
			func(stamp, _, body string) string {
				return "v0=" + hex.EncodeToString(sum(key, "v0:"+stamp+":"+body))
			}, "X-Slack-Request-Timestamp"},
		"with the id, while rotating": {HMAC{Secrets: append(secrets, NewSensitive(old)), Prefix: "v1=", Signs: "{id}.{timestamp}.{body}"}, "X-Webhook-Signature",
			func(stamp, id, body string) string {
				signed := id + "." + stamp + "." + body
				return "v1=" + hex.EncodeToString(sum(key, signed)) + ",v1=" + hex.EncodeToString(sum(old, signed))
			}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(server.URL), HMAC: tt.config}})
			d := testDelivery("erp")
			a := s.Send(t.Context(), d)
			if a.Status != 200 {
				t.Fatalf("%+v", a)
			}
			stamp := header.Get("Webhook-Timestamp")
			if got, want := header.Get(tt.header), tt.want(stamp, d.ID, string(body)); got != want {
				t.Errorf("%s: %q, want %q", tt.header, got, want)
			}
			if tt.stamp != "" && (stamp == "" || header.Get(tt.stamp) != stamp) {
				t.Errorf("%s: %q, want %q", tt.stamp, header.Get(tt.stamp), stamp)
			}
		})
	}
	// The value that GitHub's documentation gives for its secret and payload.
	signer, err := newHMACSigner(&HMAC{Secrets: secrets, Header: "x", Prefix: "sha256=", Signs: "{body}"})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	signer.sign(func(_, value string) { got = value }, "", testDelivery("x").CommitAt, []byte("Hello, World!"))
	if want := "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestHMACValidate(t *testing.T) {
	for _, tt := range []struct {
		toml string
		keys []string
	}{
		{`hmac = { secrets = ["a-secret-of-some-length"] }`, nil},
		{`hmac = { secrets = ["a-secret-of-some-length"], header = "X-Hub-Signature-256", prefix = "sha256=", signs = "{timestamp}.{body}", timestamp_header = "X-Time" }`, nil},
		{`hmac = { header = "X-Signature" }`, []string{"hmac.secrets"}},
		{`hmac = { secrets = [""] }`, []string{"hmac.secrets[0]"}},
		{`hmac = { secrets = ["s"], encoding = "base32", prefix = "a\n", signs = "{timestamp}" }`, []string{"hmac.encoding", "hmac.prefix", "hmac.signs"}},
		{`hmac = { secrets = ["s"], signs = "{boddy}" }`, []string{"hmac.signs"}},
		{`hmac = { secrets = ["s"], signs = "{body" }`, []string{"hmac.signs"}},
		{`hmac = { secrets = ["s"], header = "a b", timestamp_header = "webhook-id" }`, []string{"hmac.header", "hmac.timestamp_header"}},
		{`hmac = { secrets = ["s"], header = "x-a", timestamp_header = "X-A" }`, []string{"hmac.timestamp_header"}},
		{"hmac = { secrets = [\"s\"], header = \"x-key\" }\nauth = { type = \"api_key\", name = \"X-Key\", value = \"v\" }", []string{"hmac.header"}},
		{"hmac = { secrets = [\"s\"], header = \"x-own\" }\nheaders = { X-Own = \"v\" }", []string{"hmac.header"}},
	} {
		err := decodeEndpoint(t, "url = \"https://a/\"\n"+tt.toml).Validate()
		var got []string
		for _, e := range flatten(err) {
			var c *ConfigError
			if !errors.As(e, &c) {
				t.Fatal(e)
			}
			got = append(got, c.Key())
		}
		if strings.Join(got, " ") != strings.Join(tt.keys, " ") {
			t.Errorf("%s\ncomplains of %q, want %q: %v", tt.toml, got, tt.keys, err)
		}
	}
	if w := decodeEndpoint(t, "url = \"https://a/\"\nhmac = { secrets = [\"short\"] }").Warnings(); len(w) != 1 || strings.Contains(w[0], "short") {
		t.Errorf("warnings: %q", w)
	}
}
