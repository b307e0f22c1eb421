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
	headerBatch       = "Webhook-Batch"    // of a batch: how many deliveries it holds
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
		r.close()
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
	size := len(d.Body)
	if d.Batched == 1 {
		size = d.Alone // a batch of one can't be divided: what it puts around the delivery must not make that dead
	}
	if size > r.maxBody {
		a.Class = ClassTooLarge
		a.Error = fmt.Sprintf("the body has %d bytes, the endpoint's max_body is %d", size, r.maxBody)
		return a
	}
	r.send(ctx, d, a)
	a.Total = s.now().Sub(a.At)
	return a
}

// send fills in what becomes of the request.
func (r *receiver) send(ctx context.Context, d *Delivery, a *Attempt) {
	token, ok := r.authorize(ctx, a)
	if !ok {
		return
	}
	x, complete := r.exchanges.begin(ctx, r.timeout), false
	defer func() { r.exchanges.end(x, complete) }()
	req := r.request(x.ctx, d, a)
	resp, redact, err := r.roundTrip(req, token, &x.timings)
	if err == nil {
		a.Status = resp.StatusCode
		redact = r.withHidden(redact, d)
		a.ResponseHeaders = redact.response(resp.Header)
		if a.Status != http.StatusSwitchingProtocols { // behind which lies a connection that no timeout ends
			var body []byte
			body, a.ResponseCut, err = readBody(resp, r.maxResponse)
			a.ResponseBody = redact.body(body, a.ResponseCut)
		}
		_ = resp.Body.Close() // the answer is read, or given up; nothing depends on it
		a.Class = statusClass(a.Status)
	}
	x.record(a)
	if err == nil && a.Status == 0 { // which stands for no answer
		a.Class, a.Error = ClassProtocol, "the answer has the status 000"
		return
	}
	if err == nil {
		complete = resp.ProtoMajor == 1 && a.Status != http.StatusSwitchingProtocols && !a.ResponseCut // HTTP/2 says "idle" of other things
		return
	}
	class, text := classifyError(err, ctx, x.ctx, r.timeout, x.stage(a.Status != 0))
	a.Error = redact.text(text)
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
	packed := false
	if r.gzip {
		body, packed = compressed(body)
	}
	own := make([]string, 0, 12+len(d.Headers))
	n := len(r.header) + r.ownHeaders(d, a)
	header := make(http.Header, n)
	maps.Copy(header, r.header)
	shown := map[string][]string(header)
	if r.masks {
		shown = make(map[string][]string, n)
		maps.Copy(shown, r.shown)
	}
	set := func(name, value string) {
		own = append(own, value)
		one := own[len(own)-1 : len(own) : len(own)]
		header[name] = one
		if r.masks { // otherwise the same map, which of eight entries an assignment, to any of them, makes twice as large
			shown[name] = one
		}
	}
	set("Webhook-Id", d.ID)
	set("Webhook-Timestamp", signature.Timestamp(a.At))
	if len(r.secrets) > 0 {
		set("Webhook-Signature", signature.Sign(r.secrets, d.ID, a.At, body))
	}
	if r.hmac != nil {
		r.hmac.sign(set, d.ID, a.At, body)
	}
	set(headerIdempotency, d.ID)
	if a.Number > 1 {
		set(headerAttempt, strconv.Itoa(a.Number))
	}
	if d.Sequence > 0 {
		set(headerSequence, strconv.FormatInt(d.Sequence, 10))
		set(headerEpoch, strconv.FormatInt(d.Epoch, 10))
	}
	if d.Batched > 0 {
		set(headerBatch, strconv.Itoa(d.Batched))
	}
	if d.Late {
		set(headerLate, "true")
	}
	if _, configured := header["Content-Type"]; !configured && body != nil && d.ContentType != "" {
		set("Content-Type", d.ContentType)
	}
	if packed {
		set("Content-Encoding", "gzip")
	}
	for name, value := range d.Headers {
		set(name, value)
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

// ownHeaders is how many headers a request has of its own, for the size of a map: eight fit into a small one.
func (r *receiver) ownHeaders(d *Delivery, a *Attempt) int {
	n := 4 + len(d.Headers) // id, timestamp, idempotency key, content type
	for _, more := range []bool{r.gzip, len(r.secrets) > 0, r.hmac != nil, a.Number > 1, d.Sequence > 0, d.Sequence > 0, d.Batched > 0, d.Late} {
		if more {
			n++
		}
	}
	return n
}

// readBody reads an answer's body to its end, keeps the first keep bytes, and
// gives up discardLimit bytes after them. cut says that there was more than is kept.
func readBody(resp *http.Response, keep int) (kept []byte, cut bool, err error) {
	// HTTP/1 says the end along with the last byte. A stream of HTTP/2 has to be read to its own, lest closing the body resets it.
	if n := resp.ContentLength; resp.ProtoMajor == 1 && n >= 0 && n < int64(keep) {
		kept = make([]byte, n)
		read, err := io.ReadFull(resp.Body, kept)
		return kept[:read], false, err
	}
	kept, err = io.ReadAll(io.LimitReader(resp.Body, int64(keep)))
	if err != nil || len(kept) < keep {
		return kept, false, err
	}
	n, err := io.CopyN(io.Discard, resp.Body, discardLimit)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return kept, n > 0, err
}
