package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// TokenError says that no OAuth 2 token could be had: nothing was sent to the receiver, and nothing is known about it. Its
// text holds no secret.
type TokenError struct {
	Address string // of the token endpoint, masked
	Reason  string
	wait    time.Duration // that the token endpoint asked for
}

// Error names the token endpoint and what it said.
func (e *TokenError) Error() string {
	return fmt.Sprintf("no access token from %s: %s", e.Address, e.Reason)
}

const (
	// tokenLife is how long a token is used whose lifetime its endpoint does not tell.
	tokenLife = time.Hour
	// maxTokenLife bounds what a token endpoint may claim.
	maxTokenLife = 30 * 24 * time.Hour
	// maxTokenAnswer is more than any token endpoint answers.
	maxTokenAnswer = 1 << 20
	// hopeless is for how long a 401 no longer makes us ask for another token, after a receiver refused one that
	// was new.
	hopeless = 30 * time.Second
	// doubtful is that time for a token that has worked: what was refused was one delivery, and the token may be revoked since.
	doubtful = time.Second
	// Pauses after the token endpoint failed: the first, and the longest, also when it asks for more.
	firstTokenPause = time.Second
	maxTokenPause   = 30 * time.Second
)

// accessToken is a token with what is needed to use it and to hide it.
type accessToken struct {
	value   string
	renew   time.Time   // from here on a new one is asked for, while this one is used
	expires time.Time   // from here on it is not used
	redact  *redactor   // knows this token and the ones before it
	worked  atomic.Bool // the receiver has taken it
}

// tokenSource gets tokens for one endpoint, by client credentials (RFC 6749, 4.4), and keeps the current one. One request
// for a token is under way at a time, with a timeout of its own, and whoever needs its answer waits for it; a token
// that comes to its end is replaced while it can still be used. After a failure the token endpoint is
// left alone for a while, and everybody gets that failure.
type tokenSource struct {
	address   *url.URL
	shown     string
	form      string
	user      string // for the header Authorization; "" when the form holds id and secret
	transport *http.Transport
	timeout   time.Duration
	redact    *redactor // without tokens
	now       func() time.Time

	ctx    context.Context // of requests for tokens; ends with close
	cancel context.CancelFunc
	asking sync.WaitGroup

	mu        sync.Mutex
	current   *accessToken
	recent    []string      // the last tokens: answers under way may still echo them
	flight    chan struct{} // closed when the request for a token that is under way is done; nil without one
	failure   *TokenError   // of the last request, nil when it succeeded
	failures  int           // in a row
	askAgain  time.Time     // not before, after a failure
	gaveUp    time.Time     // a token that was new was refused; for a while after that a 401 is final
	abandoned bool          // closed
}

func newTokenSource(c *EndpointConfig, redact *redactor, transport *http.Transport) (*tokenSource, error) {
	a := &c.Auth
	u, err := url.Parse(string(a.TokenURL))
	if err != nil {
		return nil, &ConfigError{key: "auth.token_url", message: "not an address: " + unquoted(err)}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	for name, value := range a.Params {
		form.Set(name, value.reveal())
	}
	if a.Scope != "" {
		form.Set("scope", a.Scope)
	}
	if a.Audience != "" {
		form.Set("audience", a.Audience)
	}
	s := &tokenSource{address: u, shown: maskURL(u.String()), transport: transport, timeout: c.Timeout.Std(), redact: redact, now: time.Now}
	if a.Style == InBody {
		form.Set("client_id", a.ClientID)
		form.Set("client_secret", a.ClientSecret.reveal())
	} else {
		s.user = clientBasic(a)
	}
	s.form = form.Encode()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// clientBasic is RFC 6749, 2.3.1: id and secret are form-encoded before they become user and password.
func clientBasic(a *Auth) string {
	return basic(url.QueryEscape(a.ClientID), url.QueryEscape(a.ClientSecret.reveal()))
}

// close ends the request for a token that is under way, if there is one.
func (s *tokenSource) close() {
	s.mu.Lock()
	s.abandoned = true
	s.mu.Unlock()
	s.cancel()
	s.asking.Wait()
	s.transport.CloseIdleConnections()
}

// token returns a token that can be used now. The error is a *[TokenError], or the cause of a context that ended.
func (s *tokenSource) token(ctx context.Context) (*accessToken, error) {
	for {
		s.mu.Lock()
		now := s.now()
		if t := s.current; t != nil && now.Before(t.expires) {
			if !now.Before(t.renew) && !now.Before(s.askAgain) {
				s.ask() // this one still does
			}
			s.mu.Unlock()
			return t, nil
		}
		if s.flight == nil && s.failure != nil && now.Before(s.askAgain) {
			defer s.mu.Unlock()
			return nil, s.failure
		}
		s.ask()
		flight := s.flight
		s.mu.Unlock()
		if flight == nil {
			return nil, &TokenError{Address: s.shown, Reason: "the endpoint is not used any more"}
		}
		select {
		case <-flight:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), errTimeout) {
				return nil, &TokenError{Address: s.shown, Reason: "no answer in time"}
			}
			return nil, context.Cause(ctx)
		}
	}
}

// another returns a token in place of one that the receiver refused; nil when asking for one is hopeless.
func (s *tokenSource) another(ctx context.Context, refused *accessToken) (*accessToken, error) {
	s.mu.Lock()
	if s.current == refused {
		pause := hopeless
		if refused.worked.Load() {
			pause = doubtful
		}
		if s.now().Before(s.gaveUp.Add(pause)) {
			s.mu.Unlock()
			return nil, nil
		}
		s.current = nil
	}
	s.mu.Unlock()
	return s.token(ctx)
}

// giveUp notes that the receiver refused a token that was new: others would fare no better.
func (s *tokenSource) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaveUp = s.now()
}

// ask begins a request for a token unless one is under way. The caller holds the mutex.
func (s *tokenSource) ask() {
	if s.flight != nil || s.abandoned {
		return
	}
	done := make(chan struct{})
	s.flight = done
	s.asking.Go(func() {
		defer close(done)
		got, err := s.request()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flight = nil
		if err != nil {
			pause := min(firstTokenPause<<min(s.failures, 10), maxTokenPause)
			s.failure, s.failures, s.askAgain = err, s.failures+1, s.now().Add(max(pause, min(err.wait, maxTokenPause)))
			return
		}
		s.failure, s.failures, s.askAgain = nil, 0, time.Time{}
		s.recent = append([]string{got.AccessToken}, s.recent[:min(len(s.recent), 7)]...)
		life := time.Duration(min(max(float64(got.ExpiresIn), 0), maxTokenLife.Seconds()) * float64(time.Second))
		if life == 0 {
			life = tokenLife
		}
		now := s.now()
		s.current = &accessToken{
			value: got.AccessToken, redact: s.redact.with(s.recent),
			renew: now.Add(life - min(life/5, 5*time.Minute)), expires: now.Add(life - min(life/10, 10*time.Second)),
		}
	})
}

// tokenAnswer is RFC 6749, 5.1 and 5.2.
type tokenAnswer struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresIn   wholeish  `json:"expires_in"`
	Error       looseText `json:"error"`
	Description looseText `json:"error_description"`
}

// request asks for a token once.
func (s *tokenSource) request() (*tokenAnswer, *TokenError) {
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.timeout, errTimeout)
	defer cancel()
	fail := func(format string, args ...any) *TokenError {
		return &TokenError{Address: s.shown, Reason: s.redact.text(fmt.Sprintf(format, args...))}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address.String(), strings.NewReader(s.form))
	if err != nil {
		return nil, fail("the request cannot be made")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if s.user != "" {
		req.Header.Set("Authorization", "Basic "+s.user)
	}
	resp, err := s.transport.RoundTrip(req) // which follows no redirects
	if err != nil {
		_, text := classifyError(err, s.ctx, ctx, s.timeout, "asking for it")
		return nil, fail("%s", text)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
	if err != nil {
		_, text := classifyError(err, s.ctx, ctx, s.timeout, "reading the answer")
		return nil, fail("%s, but %s", statusText(resp.StatusCode), text)
	}
	var got tokenAnswer
	notJSON := json.Unmarshal(body, &got) != nil
	switch {
	case resp.StatusCode/100 != 2:
		e := fail("%s%s", statusText(resp.StatusCode), got.reason(s.redact))
		if asked := resp.Header.Get("Retry-After"); asked != "" {
			e.wait = retryAfter(asked, s.now())
		}
		return nil, e
	case notJSON:
		return nil, fail("it answered %s with something else than JSON", statusText(resp.StatusCode))
	case got.AccessToken == "":
		return nil, fail("it answered %s without an access_token%s", statusText(resp.StatusCode), got.reason(s.redact))
	case got.TokenType != "" && !strings.EqualFold(got.TokenType, "bearer"):
		return nil, fail("it gave out a token of another type than bearer")
	case !isHeaderValue(got.AccessToken):
		return nil, fail("it gave out a token that no header can carry")
	}
	return &got, nil
}

// reason is what the token endpoint says of its refusal: masked, and then shortened.
func (a *tokenAnswer) reason(redact *redactor) string {
	text := strings.TrimSpace(string(a.Error))
	if d := strings.TrimSpace(string(a.Description)); d != "" {
		text += " (" + d + ")"
	}
	if text == "" {
		return ""
	}
	text = redact.text(text)
	if a.AccessToken != "" {
		text = redact.with([]string{a.AccessToken}).text(text)
	}
	if short := []rune(text); len(short) > 200 {
		text = string(short[:200]) + "..."
	}
	return ": " + strings.Map(func(c rune) rune {
		if c < ' ' {
			return ' '
		}
		return c
	}, text)
}

// wholeish is a number of seconds, which some endpoints write as text.
type wholeish float64

// UnmarshalJSON takes anything; what is no number is 0.
func (w *wholeish) UnmarshalJSON(raw []byte) error {
	var n float64
	if err := json.Unmarshal([]byte(strings.Trim(string(raw), `"`)), &n); err == nil && !math.IsNaN(n) {
		*w = wholeish(n)
	}
	return nil
}

// looseText is a text; other values are "".
type looseText string

// UnmarshalJSON takes anything.
func (t *looseText) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		*t = looseText(s)
	}
	return nil
}
