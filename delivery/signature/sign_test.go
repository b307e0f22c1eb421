package signature

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The example that Standard Webhooks and its libraries publish.
const (
	vectorSecret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func parse(t testing.TB, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func headers(id, stamp, signatures string) http.Header {
	h := http.Header{}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, stamp)
	h.Set(HeaderSignature, signatures)
	return h
}

func TestPublishedVector(t *testing.T) {
	secret := []Secret{parse(t, vectorSecret)}
	if got := Sign(secret, vectorID, time.Unix(vectorTime, 999_999_999), []byte(vectorBody)); got != vectorSignature {
		t.Errorf("signed %s, want %s", got, vectorSignature)
	}
	if err := Verify(secret, headers(vectorID, "1614265330", vectorSignature), []byte(vectorBody), time.Unix(vectorTime, 0), 0); err != nil {
		t.Error(err)
	}
}

// A raw key, against `printf 'msg_1.1614265330.{}' | openssl dgst -sha256 -hmac 'correct horse battery staple' -binary | base64`.
func TestRawKeyAgainstOpenSSL(t *testing.T) {
	const want = "v1,szYaj8V8gL3Oh7Io2wo/oQDsBuPnP+/mENA73IRKovQ="
	if got := Sign([]Secret{parse(t, "correct horse battery staple")}, "msg_1", time.Unix(vectorTime, 0), []byte("{}")); got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

func TestSignWithSeveralSecrets(t *testing.T) {
	older, newer := parse(t, vectorSecret), parse(t, "correct horse battery staple")
	at, body := time.Unix(vectorTime, 0), []byte(vectorBody)
	both := Sign([]Secret{older, {}, newer}, vectorID, at, body)
	one, two, found := strings.Cut(both, " ")
	if !found || one != vectorSignature || two != Sign([]Secret{newer}, vectorID, at, body) {
		t.Fatalf("signatures %q are not one for each secret, in order", both)
	}
	if got := Sign(nil, vectorID, at, body); got != "" {
		t.Errorf("signed %q without a secret", got)
	}
	// Rotation: a receiver that knows only one of them, either one, accepts; so does
	// one that knows both and gets only one signature.
	for name, tc := range map[string]struct {
		known []Secret
		sent  string
	}{
		"receiver is behind": {[]Secret{older}, both},
		"receiver is ahead":  {[]Secret{newer}, both},
		"sender is behind":   {[]Secret{newer, older}, one},
	} {
		if err := Verify(tc.known, headers(vectorID, "1614265330", tc.sent), body, at, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerify(t *testing.T) {
	secret := parse(t, vectorSecret)
	other := parse(t, "correct horse battery staple")
	good := func() http.Header { return headers(vectorID, "1614265330", vectorSignature) }
	with := func(name, value string) http.Header {
		h := good()
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
		return h
	}
	// signed makes a genuine signature over whatever the timestamp's text is.
	signed := func(stamp string) http.Header {
		return headers(vectorID, stamp, version+sum(secret, vectorID, stamp, []byte(vectorBody)))
	}
	for _, tc := range []struct {
		name      string
		secrets   []Secret
		header    http.Header
		body      string
		after     time.Duration // receiver's clock less the timestamp
		tolerance time.Duration
		want      error
	}{
		{name: "good", header: good()},
		{name: "lower-case header names of HTTP/2", header: http.Header{"Webhook-Id": {vectorID}, "Webhook-Timestamp": {"1614265330"}, "Webhook-Signature": {vectorSignature}}},
		{name: "unknown versions beside it", header: with(HeaderSignature, "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5B v2,xxx "+vectorSignature)},
		{name: "body changed", header: good(), body: `{"test": 2432232315}`, want: ErrMismatch},
		{name: "body emptied", header: good(), body: " ", want: ErrMismatch},
		{name: "id changed", header: with(HeaderID, "msg_x"), want: ErrMismatch},
		{name: "timestamp changed", header: with(HeaderTimestamp, "1614265331"), want: ErrMismatch},
		{name: "timestamp written otherwise", header: with(HeaderTimestamp, "01614265330"), want: ErrMismatch},
		{name: "signature cut", header: with(HeaderSignature, vectorSignature[:20]), want: ErrMismatch},
		{name: "signature without version", header: with(HeaderSignature, strings.TrimPrefix(vectorSignature, "v1,")), want: ErrMismatch},
		{name: "signature of another version", header: with(HeaderSignature, "v2"+vectorSignature[2:]), want: ErrMismatch},
		{name: "empty signature", header: with(HeaderSignature, "v1,"), want: ErrMismatch},
		{name: "wrong secret", secrets: []Secret{other}, header: good(), want: ErrMismatch},
		{name: "no secret", secrets: []Secret{}, header: good(), want: ErrNoSecret},
		{name: "unset secret", secrets: []Secret{{}}, header: good(), want: ErrNoSecret},
		{name: "id missing", header: with(HeaderID, ""), want: ErrHeader},
		{name: "timestamp missing", header: with(HeaderTimestamp, ""), want: ErrHeader},
		{name: "signature missing", header: with(HeaderSignature, ""), want: ErrHeader},
		{name: "timestamp is a date", header: signed("2021-02-25T15:02:10Z"), want: ErrHeader},
		{name: "timestamp in scientific form", header: signed("1.6e9"), want: ErrHeader},
		{name: "timestamp beyond int64", header: signed("99999999999999999999"), want: ErrHeader},
		{name: "timestamp at the end of int64", header: signed("9223372036854775807"), want: ErrTooNew},
		{name: "timestamp at the start of int64", header: signed("-9223372036854775808"), want: ErrTooOld},
		{name: "late within the default", header: good(), after: DefaultTolerance},
		{name: "late", header: good(), after: DefaultTolerance + time.Second, want: ErrTooOld},
		{name: "early within the default", header: good(), after: -DefaultTolerance},
		{name: "early", header: good(), after: -DefaultTolerance - time.Second, want: ErrTooNew},
		{name: "late for a strict receiver", header: good(), after: 11 * time.Second, tolerance: 10 * time.Second, want: ErrTooOld},
		{name: "any time for a lax receiver", header: good(), after: 1e6 * time.Second, tolerance: math.MaxInt64},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.secrets == nil {
				tc.secrets = []Secret{secret}
			}
			if tc.body == "" {
				tc.body = vectorBody
			}
			err := Verify(tc.secrets, tc.header, []byte(tc.body), time.Unix(vectorTime, 0).Add(tc.after), tc.tolerance)
			if !errors.Is(err, tc.want) || (tc.want == nil && err != nil) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorSignature, []byte(vectorBody), int64(vectorTime))
	f.Add("", "-1", "v1,", []byte(nil), int64(math.MinInt64))
	f.Add("a.b", "1.2", "v1 v1, ,", []byte{0xff}, int64(0))
	secret := parse(f, "a secret that the fuzzer does not sign with")
	f.Fuzz(func(t *testing.T, id, stamp, signatures string, body []byte, now int64) {
		clock := time.Unix(now%(1<<40), 0)
		if err := Verify([]Secret{secret}, headers(id, stamp, signatures), body, clock, 0); err == nil {
			t.Fatal("accepted a signature that was never made")
		}
		if id == "" {
			return
		}
		h := headers(id, Timestamp(clock), Sign([]Secret{secret}, id, clock, body))
		if err := Verify([]Secret{secret}, h, body, clock, 0); err != nil {
			t.Fatalf("refused what was signed: %v", err)
		}
	})
}
