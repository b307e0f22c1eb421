package signature

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestParseSecret(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		key        string // what the key must be; "" when the text is refused
		wrong      string // part of the error
	}{
		{name: "standard", text: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", key: mustBase64(t, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
		{name: "padded", text: "whsec_AAECAwQFBgcICQoLDA0ODw==", key: mustBase64(t, "AAECAwQFBgcICQoLDA0ODw==")},
		{name: "padding left out", text: "whsec_AAECAwQFBgcICQoLDA0ODw", key: mustBase64(t, "AAECAwQFBgcICQoLDA0ODw==")},
		{name: "raw text", text: "correct horse battery staple", key: "correct horse battery staple"},
		{name: "raw text of the least length", text: "0123456789abcdef", key: "0123456789abcdef"},
		{name: "raw text that is base64 stays raw", text: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", key: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		{name: "empty", text: "", wrong: "it is empty"},
		{name: "short text", text: "0123456789abcde", wrong: "the key has 15 bytes, at least 16 are needed"},
		{name: "short base64", text: "whsec_AAECAwQFBgcICQoLDA0O", wrong: "the key has 15 bytes"},
		{name: "nothing after the prefix", text: "whsec_", wrong: "the key has 0 bytes"},
		{name: "no base64", text: "whsec_AAEC*wQFBgcICQoLDA0ODw==", wrong: "character 11 is not"},
		{name: "URL alphabet", text: "whsec_--__--__--__--__--__--__", wrong: "character 7 is not"},
		{name: "line end of a file", text: "correct horse battery staple\n", wrong: "white space"},
		{name: "ed25519 of the wrong size", text: "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", wrong: "32 or 64 bytes, this one 24"},
		{name: "ed25519 public", text: "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", wrong: "a public key, which signs nothing"},
		{name: "ed25519 without base64", text: "whsk_MfKQ9r8GKY*", wrong: "character 16 is not"},
		{name: "ed25519 halves of two keys", text: "whsk_" + base64.StdEncoding.EncodeToString(make([]byte, 64)), wrong: "does not belong"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseSecret(tc.text)
			if tc.wrong == "" {
				if err != nil {
					t.Fatal(err)
				}
				if string(got.bytes()) != tc.key {
					t.Errorf("key %q, want %q", got.bytes(), tc.key)
				}
				return
			}
			if !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), tc.wrong) {
				t.Fatalf("error %v, want one about %q", err, tc.wrong)
			}
			if rest := strings.TrimPrefix(tc.text, Prefix); len(rest) > 4 && strings.Contains(err.Error(), strings.TrimSpace(rest)) {
				t.Errorf("the error quotes the secret: %v", err)
			}
			if !got.IsZero() {
				t.Error("a refused text gave a usable secret")
			}
		})
	}
}

// Nothing that prints, encodes or logs may show the key, however deep the secret lies.
func TestSecretCannotBePrinted(t *testing.T) {
	const text = "correct horse battery staple"
	secret, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	type outer struct {
		Exported Secret
		hidden   Secret
		List     []Secret
		byName   map[string]Secret
		pointer  *Secret
	}
	o := outer{secret, secret, []Secret{secret}, map[string]Secret{"a": secret}, &secret}

	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%b", "%10.3v"} {
		for name, v := range map[string]any{"value": secret, "pointer": &secret, "struct": o, "pointer to struct": &o, "slice": o.List, "any": []any{secret}} {
			shown[verb+" of a "+name] = fmt.Sprintf(verb, v)
		}
	}
	shown["Sprint"] = fmt.Sprint(secret, o)
	shown["error"] = fmt.Errorf("dial %v: %w", secret, errors.New("x")).Error()
	j, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	shown["JSON"] = string(j)
	type element struct{ S Secret }
	x, err := xml.Marshal(element{secret})
	if err != nil {
		t.Fatal(err)
	}
	shown["XML"] = string(x)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "secret", secret, "in", o)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "secret", secret, "in", o)
	shown["slog"] = log.String()

	hex, b64 := fmt.Sprintf("%x", text), base64.StdEncoding.EncodeToString([]byte(text))
	decimal := strings.Trim(fmt.Sprint([]byte(text)), "[]")
	for how, out := range shown {
		for _, form := range []string{text, hex, strings.ToUpper(hex), b64[:16], decimal, strings.ReplaceAll(decimal, " ", ",")} {
			if strings.Contains(out, form) {
				t.Errorf("%s shows the key: %s", how, out)
			}
		}
	}
	if got := shown["%v of a value"]; got != Mask {
		t.Errorf("a secret prints as %q, want %q", got, Mask)
	}
	if got := (Secret{}).String(); got != "" {
		t.Errorf("the unset secret prints as %q, want nothing", got)
	}
}

func TestSecretDecodesAndCompares(t *testing.T) {
	var s struct{ A, B, C Secret }
	if err := json.Unmarshal([]byte(`{"A":"correct horse battery staple","B":"correct horse battery staple","C":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}`), &s); err != nil {
		t.Fatal(err)
	}
	if !s.A.Equal(s.B) || s.A.Equal(s.C) || s.A.Equal(Secret{}) || !(Secret{}).Equal(Secret{}) {
		t.Error("Equal does not compare keys")
	}
	if err := json.Unmarshal([]byte(`{"A":"short"}`), &s); !errors.Is(err, ErrSecret) {
		t.Errorf("decoding a short secret: %v", err)
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, seed := range []string{"", "whsec_", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_====", "correct horse battery staple", "whsk_x", "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=", "whsec_\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecret(text)
		if (err == nil) == s.IsZero() {
			t.Fatalf("error %v with IsZero %v", err, s.IsZero())
		}
		if err != nil {
			return
		}
		if len(s.bytes()) < MinKey {
			t.Fatalf("accepted a key of %d bytes", len(s.bytes()))
		}
		if s.IsAsymmetric() {
			again, err := ParseSecret(PrivatePrefix + base64.StdEncoding.EncodeToString(s.bytes()))
			if key, ok := s.PublicKey(); err != nil || !again.Equal(s) || !ok || key.String() == "" {
				t.Fatalf("a private key does not survive being written again: %v", err)
			}
		} else if encoded, ok := strings.CutPrefix(text, Prefix); ok {
			again, err := ParseSecret(Prefix + base64.StdEncoding.EncodeToString(s.bytes()))
			if err != nil || !again.Equal(s) {
				t.Fatalf("%q does not survive being written again: %v", encoded, err)
			}
		} else if string(s.bytes()) != text {
			t.Fatal("a raw key was changed")
		}
	})
}

func mustBase64(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
