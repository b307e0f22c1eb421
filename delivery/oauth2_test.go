package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tokenEndpoint is a token endpoint, and a receiver that takes its tokens only.
type tokenEndpoint struct {
	*httptest.Server
	mu        sync.Mutex
	asked     []*http.Request // for tokens, with their forms
	valid     map[string]bool
	requests  int // to the receiver
	refused   int
	forbidden string                                  // the id of a delivery that is refused with any token
	answer    func(w http.ResponseWriter, n int) bool // in place of a token; false to go on
	life      any                                     // expires_in
}

func newTokenEndpoint(t *testing.T) *tokenEndpoint {
	t.Helper()
	a := &tokenEndpoint{valid: map[string]bool{}, life: 3600}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if r.URL.Path != "/token" {
			a.requests++
			if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || !a.valid[token] || r.Header.Get("Webhook-Id") == a.forbidden {
				a.refused++
				http.Error(w, "no: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			}
			return
		}
		_ = r.ParseForm()
		a.asked = append(a.asked, r)
		if a.answer != nil && a.answer(w, len(a.asked)) {
			return
		}
		token := fmt.Sprintf("token-%d-0123456789", len(a.asked))
		a.valid[token] = true
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": a.life})
	}))
	t.Cleanup(a.Close)
	return a
}

// counts is how often a token was asked for, and the receiver.
func (a *tokenEndpoint) counts() (asked, requests, refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked), a.requests, a.refused
}

func (a *tokenEndpoint) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.valid)
}

func (a *tokenEndpoint) sender(t *testing.T, change func(*Auth)) *HTTPSender {
	t.Helper()
	auth := Auth{Type: AuthOAuth2, TokenURL: URL(a.URL + "/token"), ClientID: "wal:hook", ClientSecret: NewSensitive("client secret/1")}
	if change != nil {
		change(&auth)
	}
	return newSender(t, map[string]EndpointConfig{"erp": {URL: URL(a.URL + "/hook"), Auth: auth, Timeout: seconds(20)}})
}

func TestSendOAuth2(t *testing.T) {
	a := newTokenEndpoint(t)
	s := a.sender(t, func(auth *Auth) {
		auth.Scope, auth.Audience, auth.Params = "a b", "https://erp/", map[string]Sensitive{"resource": NewSensitive("r-1")}
	})
	var all sync.WaitGroup
	for range 8 { // one token for all
		all.Go(func() {
			if got := s.Send(t.Context(), testDelivery("erp")); got.Status != 200 || got.Error != "" || got.RequestHeaders["Authorization"][0] != masked {
				t.Errorf("%+v", got)
			}
		})
	}
	all.Wait()
	if asked, requests, refused := a.counts(); asked != 1 || requests != 8 || refused != 0 {
		t.Errorf("asked %d times for a token, %d requests, %d refused", asked, requests, refused)
	}
	user, password, _ := a.asked[0].BasicAuth()
	want := url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"https://erp/"}, "resource": {"r-1"}}
	if diff := cmp.Diff(want, a.asked[0].PostForm); diff != "" || user != "wal%3Ahook" || password != "client+secret%2F1" || a.asked[0].Method != "POST" {
		t.Errorf("%q %q, form (-want +got):\n%s", user, password, diff)
	}
	inBody := a.sender(t, func(auth *Auth) { auth.Style = InBody })
	if got := inBody.Send(t.Context(), testDelivery("erp")); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	want = url.Values{"grant_type": {"client_credentials"}, "client_id": {"wal:hook"}, "client_secret": {"client secret/1"}}
	if diff := cmp.Diff(want, a.asked[1].PostForm); diff != "" || a.asked[1].Header.Get("Authorization") != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
}

// A 401 makes for one new token and one more request within the attempt; a receiver that refuses that too is not asked
// again with a third, and the token endpoint is not asked for every delivery.
func TestSendOAuth2Refused(t *testing.T) {
	a := newTokenEndpoint(t)
	s := a.sender(t, nil)
	d := testDelivery("erp")
	if got := s.Send(t.Context(), d); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	a.revoke()
	if got := s.Send(t.Context(), d); got.Status != 200 || got.Number != 1 || got.Class != "" {
		t.Errorf("after the token was revoked: %+v", got)
	}
	if asked, requests, refused := a.counts(); asked != 2 || requests != 3 || refused != 1 {
		t.Errorf("asked %d times for a token, %d requests, %d refused", asked, requests, refused)
	}
	a.mu.Lock()
	a.answer = func(w http.ResponseWriter, n int) bool { // tokens that the receiver does not know
		fmt.Fprintf(w, `{"access_token": "unknown-token-%d", "token_type": "bearer"}`, n)
		return true
	}
	clear(a.valid)
	a.mu.Unlock()
	for range 5 {
		got := s.Send(t.Context(), d)
		if got.Status != 401 || got.Class != ClassClientError || strings.Contains(string(got.ResponseBody), "token-") {
			t.Errorf("%+v %s", got, got.ResponseBody)
		}
	}
	if asked, requests, _ := a.counts(); asked != 3 || requests != 3+2+4 {
		t.Errorf("asked %d times for a token, %d requests", asked, requests)
	}
}

// A receiver that refuses one certain delivery with 401 takes nothing from the others: when their token is revoked they get another one.
func TestSendOAuth2RefusesOneDelivery(t *testing.T) {
	a := newTokenEndpoint(t)
	a.forbidden = "msg_bad"
	s := a.sender(t, nil)
	var c clock
	c.advance(time.Hour)
	s.endpoints["erp"].oauth2.now = c.now
	good, bad := testDelivery("erp"), testDelivery("erp")
	bad.ID = a.forbidden
	send := func(d *Delivery, want int) {
		t.Helper()
		if got := s.Send(t.Context(), d); got.Status != want {
			t.Errorf("%s: %+v, want %d", d.ID, got, want)
		}
	}
	send(good, 200)
	send(bad, 401) // also with a new token
	send(good, 200)
	c.advance(doubtful)
	a.revoke()
	send(good, 200)
	for range 10 {
		send(bad, 401)
		send(good, 200)
	}
	if asked, _, _ := a.counts(); asked != 4 { // at first, for the bad one, for the revoked one, for the bad one again
		t.Errorf("asked %d times for a token", asked)
	}
}

// What goes wrong at the token endpoint is its own fault, not the receiver's: the class tells, nothing is sent, it is tried again.
func TestSendOAuth2TokenFailures(t *testing.T) {
	text := func(status int, body string) func(http.ResponseWriter, int) bool {
		return func(w http.ResponseWriter, _ int) bool {
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, int) bool
		want   string
	}{
		"refuses":     {text(401, `{"error":"invalid_client","error_description":"bad secret client secret/1 of wal:hook"}`), ": 401 Unauthorized: invalid_client (bad secret *** of wal:hook)"},
		"is down":     {text(503, `<html>`), ": 503 Service Unavailable"},
		"redirects":   {text(302, ``), ": 302 Found"},
		"no JSON":     {text(200, `hello`), "with something else than JSON"},
		"no token":    {text(200, `{"error":"x"}`), "without an access_token: x"},
		"other type":  {text(200, `{"access_token":"abc","token_type":"mac"}`), "of another type"},
		"line breaks": {text(200, `{"access_token":"a\nb"}`), "no header can carry"},
		"odd types":   {text(400, `{"error":{"code":1},"error_description":7,"expires_in":"soon"}`), ": 400 Bad Request"},
		"long":        {text(400, `{"error":"`+strings.Repeat("long", 1000)+`"}`), "..."},
		"hangs":       {nil, "timeout after 300ms while reading the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			var receiver atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/token" {
					receiver.Add(1)
					return
				}
				if tt.answer == nil {
					w.WriteHeader(200)
					w.(http.Flusher).Flush()
					<-r.Context().Done()
					return
				}
				tt.answer(w, 0)
			}))
			defer server.Close()
			c := EndpointConfig{URL: URL(server.URL), Timeout: Duration(300 * time.Millisecond),
				Auth: Auth{Type: AuthOAuth2, TokenURL: URL(server.URL + "/token"), ClientID: "wal:hook", ClientSecret: NewSensitive("client secret/1")}}
			if name != "hangs" {
				c.Timeout = seconds(20)
			}
			s := newSender(t, map[string]EndpointConfig{"erp": c})
			d := testDelivery("erp")
			got := s.Send(t.Context(), d)
			full := c.WithDefaults()
			o := decide(&full, d, got, time.Now())
			if got.Class != ClassAuth || got.Status != 0 || o.Result != Retry || o.Disable != "" || !strings.Contains(o.Reason, tt.want) || !strings.Contains(o.Reason, server.URL+"/token") {
				if !(name == "hangs" && got.Class == ClassAuth && o.Result == Retry && strings.Contains(o.Reason, "no answer in time")) { // whichever time is up first
					t.Errorf("class %q, %s because %q; want %q", got.Class, o.Result, o.Reason, tt.want)
				}
			}
			if receiver.Load() != 0 || strings.Contains(got.Error, "client secret") || len(got.Error) > 400 {
				t.Errorf("%d requests at the receiver; %s", receiver.Load(), got.Error)
			}
		})
	}
	// A token that was refused, and no other to be had: the receiver is not to blame either.
	a := newTokenEndpoint(t)
	s := a.sender(t, nil)
	if got := s.Send(t.Context(), testDelivery("erp")); got.Status != 200 {
		t.Fatalf("%+v", got)
	}
	a.revoke()
	a.mu.Lock()
	a.answer = text(500, "")
	a.mu.Unlock()
	for range 3 { // the token endpoint is asked once, and then left alone for a while
		if got := s.Send(t.Context(), testDelivery("erp")); got.Class != ClassAuth || got.Status != 0 {
			t.Errorf("%+v", got)
		}
	}
	if asked, _, _ := a.counts(); asked != 2 {
		t.Errorf("asked %d times for a token", asked)
	}
}

// clock is a clock that a test moves.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// A token is replaced before it ends, by one request, while the old one is still used; after its end nobody uses it.
func TestTokenLife(t *testing.T) {
	a := newTokenEndpoint(t)
	s := a.sender(t, nil)
	source := s.endpoints["erp"].oauth2
	var c clock
	c.advance(time.Hour)
	source.now = c.now
	get := func() string {
		t.Helper()
		token, err := source.token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return token.value
	}
	settled := func() { source.asking.Wait() }
	first := get()
	settled()
	c.advance(54 * time.Minute)
	if get() != first {
		t.Error("replaced long before its end")
	}
	c.advance(90 * time.Second) // less than 5 minutes left
	if got := get(); got != first {
		t.Errorf("%s: somebody waited for a new token while the old one was good", got)
	}
	settled()
	second := get()
	if asked, _, _ := a.counts(); second == first || asked != 2 {
		t.Errorf("%s was not replaced; asked %d times", second, asked)
	}
	a.mu.Lock()
	a.life = "10" // as text
	a.mu.Unlock()
	c.advance(2 * time.Hour)
	third := get()
	settled()
	if third == second {
		t.Error("a token is used after its end")
	}
	c.advance(10 * time.Second)
	if fourth := get(); fourth == third {
		t.Error("a token is used after its end")
	}
	settled()

	// Pauses after failures grow, and end with a success.
	a.mu.Lock()
	a.answer = func(w http.ResponseWriter, _ int) bool { w.WriteHeader(500); return true }
	a.mu.Unlock()
	c.advance(time.Hour)
	before, _, _ := a.counts()
	for range 200 {
		if _, err := source.token(t.Context()); err == nil {
			t.Fatal("no error")
		}
		settled()
		c.advance(time.Second)
	}
	if asked, _, _ := a.counts(); asked-before != 11 { // after 0, 1, 3, 7, 15, 31, and then every 30 s
		t.Errorf("asked %d times in 200 s", asked-before)
	}
	a.mu.Lock()
	a.answer = nil
	a.mu.Unlock()
	c.advance(maxTokenPause)
	get()
}

// Who waits for a token stops with its context; the request for it goes on for the others, and ends when the sender is closed.
func TestTokenWait(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(release)
	s := newSender(t, map[string]EndpointConfig{"erp": {URL: URL(server.URL), Timeout: seconds(3600),
		Auth: Auth{Type: AuthOAuth2, TokenURL: URL(server.URL), ClientID: "x", ClientSecret: NewSensitive("client-secret")}}})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-arrived
		cancel(errStopping)
	}()
	if a := s.Send(ctx, testDelivery("erp")); a.Class != ClassReleased || a.Error != errStopping.Error() {
		t.Errorf("%+v", a)
	}
	s.Close() // returns only when nothing is under way
	var failed *TokenError
	if _, err := s.endpoints["erp"].oauth2.token(t.Context()); !errors.As(err, &failed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAuthValidate(t *testing.T) {
	for _, tt := range []struct {
		toml string
		keys []string
	}{
		{`type = "oauth2", token_url = "https://a/t", client_id = "i", client_secret = "s", scope = "x", audience = "y", style = "body", params = { resource = "r" }`, nil},
		{`type = "oauth2"`, []string{"auth.client_id", "auth.client_secret", "auth.token_url"}},
		{`type = "oauth2", token_url = "ftp://a/", client_id = "i", client_secret = "s", style = "query", params = { scope = "r" }, username = "u"`,
			[]string{"auth.username", "auth.style", "auth.params", "auth.token_url"}},
		{`type = "oauth2", token_url = "https://u:p@a/", client_id = "i", client_secret = "s"`, []string{"auth.token_url"}},
		{`type = "oauth1", consumer_key = "k", consumer_secret = "s", token = "t", token_secret = "ts", realm = "1", signature_method = "HMAC-SHA1"`, nil},
		{`type = "oauth1", consumer_key = "k", consumer_secret = "s"`, nil},
		{`type = "oauth1", consumer_key = "k", token = "t", realm = "a\"b", signature_method = "PLAINTEXT"`,
			[]string{"auth.consumer_secret", "auth.signature_method", "auth.token_secret", "auth.realm"}},
		{`client_secret = "s"`, []string{"auth.client_secret"}},
	} {
		err := decodeEndpoint(t, "url = \"https://a/\"\nauth = { "+tt.toml+" }").Validate()
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
	plain := decodeEndpoint(t, "url = \"https://a.example.com/\"\nauth = { type = \"oauth2\", token_url = \"http://b.example.com/\", client_id = \"i\", client_secret = \"s\" }")
	if w := plain.Warnings(); len(w) != 1 || !strings.Contains(w[0], "token_url") {
		t.Errorf("warnings: %q", w)
	}
}
