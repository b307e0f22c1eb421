package catalog

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzHints: what passes for no secret at first sight would not be one for its words either.
func FuzzHints(f *testing.F) {
	for _, name := range strings.Fields(`secret secrets password passwords passwd passphrase pwd passcode credential credentials totp otp cvv cvc apikey apikeys accesskey
		privatekey secretkey shakey accesstoken authtoken refreshtoken token rtoken jwt token_hash token_key token_value access_tokens backup_code oauth_codes
		recovery_code api_key consumer_keys x_apiKey merchant_salt smtp_pass dbPass sale_order_id account.API_KEY`) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if secretName(name, true) && !hints(strings.ToLower(name)) {
			t.Errorf("%q is a secret by its words, and would be passed over", name)
		}
	})
}

// The plain way of reading labels finds what encoding/json does, or leaves the object to it.
func FuzzEachText(f *testing.F) {
	for _, text := range []string{`{"en_US": "New", "fr_FR": "Nouveau"}`, `{"en_US": "a \"b\""}`, `{}`, `{"a": null, "b": "x"}`, `{"a": 1}`, `{"a": ""}`, `{"a": "b", "c": {"d": "e"}}`,
		`null`, `"text"`, `{"a": "}", "b": ", \"c"}`, `{"a": "é, ü"}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, object []byte) {
		plain := map[string]string{}
		if !utf8.Valid(object) || bytes.IndexByte(object, '\\') >= 0 || !plainTexts(object, func(key, text []byte) { plain[string(key)] = string(text) }) {
			return
		}
		got := map[string]string{}
		if err := eachTextOfJSON(object, func(key, text []byte) { got[string(key)] = string(text) }); err != nil {
			return // no JSON, which the server never writes
		}
		for key, text := range plain {
			if got[key] != text {
				t.Errorf("%s: %q is %q, want %q", object, key, text, got[key])
			}
		}
		if len(got) != len(plain) {
			t.Errorf("%s: %v, want %v", object, plain, got)
		}
	})
}
