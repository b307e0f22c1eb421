package delivery

import (
	"context"
	"fmt"
	"net/url"
)

// Preview is the request that a delivery would be sent with, without sending it.
type Preview struct {
	Method   string
	URL      string              // secrets in it masked
	Headers  map[string][]string // as in an attempt's record: credentials masked, signatures as they are
	Body     []byte              // as it would go over the wire, of a batch with what is around the delivery; not compressed
	Packed   int64               // bytes that go over the wire, where the body goes compressed, with Content-Encoding: gzip and signatures over them; else 0
	TooLarge string              // why it would not be sent at all; "" when it fits
}

// PreviewOf builds the request of a delivery's first attempt with the endpoint's whole configuration. It opens no connection and asks
// for no token: what a token server would give is masked like one.
func PreviewOf(c EndpointConfig, version string, d *Delivery) (*Preview, error) {
	if c.Batch.On() && d.Body != nil {
		d = NewBatch([]*Delivery{d})
	}
	sender, err := NewHTTPSender(map[string]EndpointConfig{d.Endpoint: c}, version)
	if err != nil {
		return nil, err
	}
	defer sender.Close()
	r := sender.endpoints[d.Endpoint]
	a := &Attempt{Number: d.Attempts + 1, At: sender.now(), Method: r.method, URL: r.shownURL}
	req := r.request(context.Background(), d, a)
	p := &Preview{Method: a.Method, URL: a.URL, Headers: a.RequestHeaders, Body: d.Body}
	if r.oauth1 != nil || r.oauth2 != nil {
		p.Headers["Authorization"] = []string{masked}
	}
	if req.Body == nil {
		p.Body = nil
	}
	if r.gzip && p.Headers["Content-Encoding"] != nil {
		p.Packed = req.ContentLength
		delete(p.Headers, "Content-Encoding") // it is true of what is sent, not of the body that is shown
	}
	size := len(d.Body)
	if d.Batched == 1 {
		size = d.Alone
	}
	if size > r.maxBody {
		p.TooLarge = fmt.Sprintf("the body has %d bytes, the endpoint's max_body is %d", size, r.maxBody)
	}
	if u, err := url.Parse(p.URL); err == nil && p.Headers["Host"] == nil {
		p.Headers["Host"] = []string{u.Host}
	}
	return p, nil
}
