package delivery

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// RFC 5849, 3.4.1.1: the base string of a request with parameters in query, header and form.
func TestOAuth1BaseString(t *testing.T) {
	req, err := http.NewRequest("POST", "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b", strings.NewReader("c2&a3=2+q"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got := baseString(req, []pair{
		{"oauth_consumer_key", "9djdj82h48djs9d2"}, {"oauth_token", "kkk9d7dh3k39sjv7"}, {"oauth_signature_method", "HMAC-SHA1"}, {"oauth_timestamp", "137131201"}, {"oauth_nonce", "7d8f3e4a"},
	})
	const want = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2" +
		"%26oauth_nonce%3D7d8f3e4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9d7dh3k39sjv7"
	if got != want {
		t.Errorf("base string\n%s, want\n%s", got, want)
	}
	for address, want := range map[string]string{ // 3.4.1.2
		"http://EXAMPLE.COM:80/r%20v/X?id=123":    "http://example.com/r%20v/X",
		"https://www.example.net:8080/?q=1":       "https://www.example.net:8080/",
		"https://www.example.net:443":             "https://www.example.net/",
		"http://www.example.net:443/a?realm=test": "http://www.example.net:443/a",
	} {
		req, err := http.NewRequest("GET", address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseAddress(req); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// RFC 5849, 1.2: the signatures of its two requests with a shared secret and, in the second, a token.
func TestOAuth1Signatures(t *testing.T) {
	for _, tt := range []struct {
		method, address, token, tokenSecret string
		params                              []pair
		want                                string
	}{
		{"POST", "https://photos.example.net/initiate", "", "", []pair{{"oauth_timestamp", "137131200"}, {"oauth_nonce", "wIjqoS"}, {"oauth_callback", "http://printer.example.com/ready"}},
			"74KNZJeDHnMBp0EMJ9ZHt/XKycU="},
		{"GET", "http://photos.example.net/photos?file=vacation.jpg&size=original", "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00", []pair{{"oauth_timestamp", "137131202"}, {"oauth_nonce", "chapoH"}},
			"MdpQcU8iPSUjWoN/UDMsK2sui9I="},
	} {
		o := newOAuth1(&Auth{ConsumerKey: NewSensitive("dpf43f3p2l4k3l03"), ConsumerSecret: NewSensitive("kd94hf93k423kf44"), Token: NewSensitive(tt.token),
			TokenSecret: NewSensitive(tt.tokenSecret), SignatureMethod: HMACSHA1})
		params := append(tt.params, pair{"oauth_consumer_key", o.consumerKey}, pair{"oauth_signature_method", HMACSHA1})
		if o.token != "" {
			params = append(params, pair{"oauth_token", o.token})
		}
		req, err := http.NewRequest(tt.method, tt.address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.sign(req, params); got != tt.want {
			t.Errorf("%s: signature %s, want %s", tt.address, got, tt.want)
		}
	}
}

// The header as a receiver gets it, checked from what it says itself; each request has a nonce of its own.
func TestSendOAuth1(t *testing.T) {
	const consumer, consumerSecret, token, tokenSecret = "consumer-key-1", "consumer secret/2", "token-id-3", "token&secret=4"
	var got []string
	var verify func(r *http.Request) string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, verify(r)) }))
	defer server.Close()
	pattern := regexp.MustCompile(`^OAuth realm="1234567_SB1",oauth_consumer_key="consumer-key-1",oauth_nonce="([0-9a-f]{32})",oauth_signature_method="(HMAC-SHA1|HMAC-SHA256)",` +
		`oauth_timestamp="(\d+)",oauth_version="1.0",oauth_token="token-id-3",oauth_signature="([^"]+)"$`)
	nonces := map[string]bool{}
	for _, method := range []string{"", HMACSHA1} {
		auth := Auth{Type: AuthOAuth1, ConsumerKey: NewSensitive(consumer), ConsumerSecret: NewSensitive(consumerSecret), Token: NewSensitive(token), TokenSecret: NewSensitive(tokenSecret),
			Realm: "1234567_SB1", SignatureMethod: method}
		s := newSender(t, map[string]EndpointConfig{"netsuite": {URL: URL(server.URL + "/app/restlet.nl?script=1&deploy=2"), Query: map[string]Sensitive{"x y": NewSensitive("a+b")}, Auth: auth}})
		verify = func(r *http.Request) string {
			m := pattern.FindStringSubmatch(r.Header.Get("Authorization"))
			if m == nil {
				return "unexpected header " + r.Header.Get("Authorization")
			}
			nonces[m[1]] = true
			signer := newOAuth1(&auth)
			signer.method = m[2]
			if method == "" && m[2] != HMACSHA256 {
				return "signed with " + m[2]
			}
			full := r.Clone(r.Context())
			full.URL.Scheme, full.URL.Host, full.GetBody = "http", r.Host, nil
			want := signer.sign(full, []pair{{"oauth_consumer_key", consumer}, {"oauth_nonce", m[1]}, {"oauth_signature_method", m[2]}, {"oauth_timestamp", m[3]}, {"oauth_version", "1.0"}, {"oauth_token", token}})
			if percent(want) != m[4] {
				return "signature " + m[4] + ", want " + percent(want)
			}
			return ""
		}
		for range 2 {
			if a := s.Send(t.Context(), testDelivery("netsuite")); a.Status != 200 || a.RequestHeaders["Authorization"][0] != masked {
				t.Fatalf("%+v", a)
			}
		}
	}
	if strings.Join(got, "") != "" || len(nonces) != 4 {
		t.Errorf("%q, %d nonces", got, len(nonces))
	}
	if at := newOAuth1(&Auth{}).now(); time.Since(at) > time.Minute {
		t.Error("the clock is not the system's")
	}
}
