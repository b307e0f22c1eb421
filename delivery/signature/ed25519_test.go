package signature

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The first key of RFC 8032, section 7.1.
const (
	rfcSeed   = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
	rfcPublic = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)

func encoded(t *testing.T, prefix string, parts ...string) string {
	t.Helper()
	raw, err := hex.DecodeString(strings.Join(parts, ""))
	if err != nil {
		t.Fatal(err)
	}
	return prefix + base64.StdEncoding.EncodeToString(raw)
}

func TestAsymmetric(t *testing.T) {
	seed, err := ParseSecret(encoded(t, PrivatePrefix, rfcSeed))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := ParseSecret(encoded(t, PrivatePrefix, rfcSeed, rfcPublic))
	if err != nil || !whole.Equal(seed) {
		t.Fatalf("seed and whole key differ: %v", err)
	}
	key, ok := seed.PublicKey()
	if !ok || key.String() != encoded(t, PublicPrefix, rfcPublic) {
		t.Fatalf("public key %s", key)
	}
	shared, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := shared.PublicKey(); ok || shared.Equal(seed) {
		t.Error("a shared key has a public half, or equals a private key")
	}
	at, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	header := http.Header{}
	header.Set(HeaderID, "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set(HeaderTimestamp, Timestamp(at))
	header.Set(HeaderSignature, Sign([]Secret{shared, seed}, header.Get(HeaderID), at, body))
	if s := header.Get(HeaderSignature); !strings.HasPrefix(s, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,") {
		t.Fatalf("signature %s", s)
	}
	read, err := ParsePublicKey(key.String())
	if err != nil {
		t.Fatal(err)
	}
	other, _ := mustSecret(t, encoded(t, PrivatePrefix, strings.Repeat("01", 32))).PublicKey()
	for name, tt := range map[string]struct {
		keys []PublicKey
		body string
		now  time.Time
		want error
	}{
		"good":           {[]PublicKey{read}, string(body), at, nil},
		"while rotating": {[]PublicKey{{}, other, read}, string(body), at, nil},
		"other key":      {[]PublicKey{other}, string(body), at, ErrMismatch},
		"other body":     {[]PublicKey{read}, string(body) + " ", at, ErrMismatch},
		"old":            {[]PublicKey{read}, string(body), at.Add(time.Hour), ErrTooOld},
		"no key":         {[]PublicKey{{}}, string(body), at, ErrNoSecret},
	} {
		if err := VerifyPublic(tt.keys, header, []byte(tt.body), tt.now, 0); !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	if err := Verify([]Secret{seed, shared}, header, body, at, 0); err != nil {
		t.Errorf("the shared key's signature beside it: %v", err)
	}
	if err := Verify([]Secret{seed}, header, body, at, 0); !errors.Is(err, ErrNoSecret) {
		t.Errorf("a private key verifies v1: %v", err)
	}
	for _, text := range []string{"", "whsec_x", "whpk_", "whpk_*", "whpk_AAAA"} {
		if _, err := ParsePublicKey(text); !errors.Is(err, ErrSecret) {
			t.Errorf("%q is taken for a public key: %v", text, err)
		}
	}
	inJSON, err := json.Marshal(struct{ A Secret }{seed})
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{rfcSeed[:16], encoded(t, "", rfcSeed)[:12], "157 97 177"} {
		if out := fmt.Sprintf("%v %+v %#v %x %d %s", seed, seed, struct{ s Secret }{seed}, seed, seed, inJSON); strings.Contains(out, form) {
			t.Errorf("%s shows the private key", out)
		}
	}
}

func mustSecret(t *testing.T, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
