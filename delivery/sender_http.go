package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"walhook/delivery/signature"
)

// Headers of a request besides those of Standard Webhooks.
const (
	headerIdempotency = "Idempotency-Key"
	headerAttempt     = "Webhook-Attempt"  // the attempt's number, from the second one on
	headerSequence    = "Webhook-Sequence" // the delivery's number: 1, 2, 3 ... within endpoint and epoch
	headerEpoch       = "Webhook-Epoch"    // numbers begin at 1 again in the next one
	headerLate        = "Webhook-Late"     // "true" for a delivery that was sent again on request, out of its record's order
)

// discardLimit is how much of an answer's body beyond what is kept is read, so
// that the connection can be used again. A longer body costs the connection.
const discardLimit = 256 << 10

// HTTPSender sends deliveries as HTTP requests. Every endpoint has its own connections,
// which are kept open and reused.
//
// It follows no redirects and asks for no compression. A status line decides an attempt once
// the answer's body is complete or longer than anyone reads; a body that breaks off, or that does not end within the
// timeout, is an error of the transport. No field of an [Attempt] holds a secret of the configuration.
type HTTPSender struct {
	endpoints map[string]*receiver
	now       func() time.Time
}

// NewHTTPSender prepares connections to endpoints; it opens none. The keys of its
// [ConfigError]s begin with "endpoints.NAME.".
func NewHTTPSender(endpoints map[string]EndpointConfig, version string) (*HTTPSender, error) {
	s := &HTTPSender{endpoints: make(map[string]*receiver, len(endpoints)), now: time.Now}
	var problems []error
	for name, c := range endpoints {
		r, err := newReceiver(c.WithDefaults(), version)
		if err != nil {
			problems = append(problems, prefixed("endpoints."+name+".", err))
			continue
		}
		s.endpoints[name] = r
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return s, nil
}

// Close closes connections that are idle. Requests under way are not disturbed.
func (s *HTTPSender) Close() {
	for _, r := range s.endpoints {
		r.reused.CloseIdleConnections()
		r.fresh.CloseIdleConnections()
	}
}

// Send makes one attempt.
func (s *HTTPSender) Send(ctx context.Context, d *Delivery) *Attempt {
	a := &Attempt{Number: d.Attempts + 1, At: s.now()}
	r := s.endpoints[d.Endpoint]
	if r == nil {
		a.Class, a.Error = ClassConfig, fmt.Sprintf("the endpoint %q is not configured", d.Endpoint)
		return a
	}
	a.Method, a.URL = r.method, r.shownURL
	if len(d.Body) > r.maxBody {
		a.Class = ClassTooLarge
		a.Error = fmt.Sprintf("the body has %d bytes, the endpoint's max_body is %d", len(d.Body), r.maxBody)
		return a
	}
	r.send(ctx, d, a)
	a.Total = s.now().Sub(a.At)
	return a
}

// send fills in what becomes of the request.
func (r *receiver) send(ctx context.Context, d *Delivery, a *Attempt) {
	limited, cancel := context.WithTimeoutCause(ctx, r.timeout, errTimeout)
	defer cancel()
	watch := &timings{began: time.Now()}
	req := r.request(watch.trace(limited), d, a)
	resp, err := r.reused.RoundTrip(req)
	if err != nil && limited.Err() == nil && watch.stale() {
		// The receiver closed a connection while it lay idle, which says nothing about this delivery: once
		// more at once, on a new connection, as part of the same attempt. net/http does the same
		// where it can tell; a request that it had begun to write it does not repeat.
		watch.again()
		resp, err = r.fresh.RoundTrip(repeated(req))
	}
	if err == nil {
		a.Status = resp.StatusCode
		a.ResponseHeaders = r.redact.response(resp.Header)
		if a.Status != http.StatusSwitchingProtocols { // behind which lies a connection that no timeout ends
			var body []byte
			body, a.ResponseCut, err = readBody(resp.Body, r.maxResponse)
			a.ResponseBody = r.redact.bytes(body)
		}
		_ = resp.Body.Close() // the answer is read, or given up; nothing depends on it
		a.Class = statusClass(a.Status)
	}
	watch.record(a)
	if err == nil {
		return
	}
	class, text := classifyError(err, ctx, limited, r.timeout, watch.stage(a.Status != 0))
	a.Error = r.redact.text(text)
	if a.Status == 0 || a.Status/100 == 2 { // any other status says more than the failure to read on
		a.Class = class
	}
}

// repeated is a request with its body at the beginning.
func repeated(req *http.Request) *http.Request {
	req = req.Clone(req.Context())
	if req.GetBody != nil {
		req.Body, _ = req.GetBody() // ours never fails
	}
	return req
}

// request builds the request and records its headers, masked.
func (r *receiver) request(ctx context.Context, d *Delivery, a *Attempt) *http.Request {
	body := d.Body
	if r.method == http.MethodGet {
		body = nil
	}
	own := make([]string, 0, 9)
	header := make(http.Header, len(r.header)+cap(own))
	maps.Copy(header, r.header)
	shown := make(map[string][]string, len(r.header)+cap(own))
	maps.Copy(shown, r.shown)
	set := func(name, value string) {
		own = append(own, value)
		one := own[len(own)-1 : len(own) : len(own)]
		header[name], shown[name] = one, one
	}
	set("Webhook-Id", d.ID)
	set("Webhook-Timestamp", signature.Timestamp(a.At))
	if len(r.secrets) > 0 {
		set("Webhook-Signature", signature.Sign(r.secrets, d.ID, a.At, body))
	}
	set(headerIdempotency, d.ID)
	if a.Number > 1 {
		set(headerAttempt, strconv.Itoa(a.Number))
	}
	if d.Sequence > 0 {
		set(headerSequence, strconv.FormatInt(d.Sequence, 10))
		set(headerEpoch, strconv.FormatInt(d.Epoch, 10))
	}
	if d.Late {
		set(headerLate, "true")
	}
	if _, configured := header["Content-Type"]; !configured && body != nil && d.ContentType != "" {
		set("Content-Type", d.ContentType)
	}
	a.RequestHeaders = shown
	req := &http.Request{
		Method: r.method, URL: r.url, Host: r.host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if len(body) > 0 {
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	return req.WithContext(ctx)
}

// readBody reads an answer's body to its end, keeps the first keep bytes, and
// gives up discardLimit bytes after them. cut says that there was more than is kept.
func readBody(body io.Reader, keep int) (kept []byte, cut bool, err error) {
	kept, err = io.ReadAll(io.LimitReader(body, int64(keep)))
	if err != nil || len(kept) < keep {
		return kept, false, err
	}
	n, err := io.CopyN(io.Discard, body, discardLimit)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return kept, n > 0, err
}
