package delivery

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
)

// authorize gets the token that a request needs, before the attempt's time begins: a slow token endpoint takes
// none of the receiver's. It returns false when the attempt ends here, for want of a token.
func (r *receiver) authorize(ctx context.Context, a *Attempt) (*accessToken, bool) {
	if r.oauth2 == nil {
		return nil, true
	}
	limited, cancel := context.WithTimeoutCause(ctx, r.timeout, errTimeout)
	defer cancel()
	token, err := r.oauth2.token(limited)
	if err != nil {
		a.Class, a.Error = classifyError(err, ctx, limited, r.timeout, "waiting for an access token")
		return nil, false
	}
	return token, true
}

// roundTrip sends a request and returns the answer, with the redactor that knows all secrets of the request. A receiver that refuses an
// OAuth 2 token gets the request once more with a new one, as part of the same attempt.
func (r *receiver) roundTrip(req *http.Request, token *accessToken, watch *timings) (*http.Response, *redactor, error) {
	if token == nil {
		resp, err := r.once(req, watch)
		return resp, r.redact, err
	}
	req.Header["Authorization"] = []string{"Bearer " + token.value}
	resp, err := r.once(req, watch)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		if err == nil && !token.worked.Load() {
			token.worked.Store(true)
		}
		return resp, token.redact, err
	}
	another, err := r.oauth2.another(req.Context(), token)
	if another == nil && err == nil {
		return resp, token.redact, nil
	}
	_, _ = io.CopyN(io.Discard, resp.Body, discardLimit) // so that the connection can be used again
	_ = resp.Body.Close()
	if err != nil {
		return nil, token.redact, err
	}
	watch.again()
	req = repeated(req)
	req.Header["Authorization"] = []string{"Bearer " + another.value}
	resp, err = r.once(req, watch)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		r.oauth2.giveUp()
	}
	return resp, another.redact, err
}

// once sends a request, and again at once on a new connection when the receiver had closed the one it was sent on while that lay
// idle, or had sent something on it that nobody had asked for: this says nothing about the delivery, and is part of the same attempt. net/http does the same
// where it can tell; a request that it had begun to write it does not repeat.
func (r *receiver) once(req *http.Request, watch *timings) (*http.Response, error) {
	if r.oauth1 != nil {
		r.oauth1.authorize(req)
	}
	resp, err := r.reused.RoundTrip(req)
	switch {
	case unasked(resp, err, watch):
	case err == nil || req.Context().Err() != nil || !watch.stale() && !errors.Is(err, net.ErrClosed): // closed by another request, see begin
		return resp, err
	}
	watch.again()
	req = repeated(req)
	if r.oauth1 != nil {
		r.oauth1.authorize(req)
	}
	resp, err = r.fresh.RoundTrip(req)
	if unasked(resp, err, watch) {
		return nil, errUnasked
	}
	return resp, err
}

// errUnasked is the error of a receiver that sends answers before requests.
var errUnasked = errors.New("the receiver had sent the answer before the request")

// unasked says that an answer is none to its request, and drops it with its connection.
func unasked(resp *http.Response, err error, watch *timings) bool {
	if err != nil || resp.ProtoMajor != 1 || !watch.unasked() {
		return false
	}
	_ = resp.Body.Close() // of a connection that is closed
	return true
}
