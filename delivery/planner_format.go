package delivery

import (
	"bytes"

	"walhook/delivery/payload"
)

// formats are the endpoints' formats. Endpoints whose bodies are written in the same way have the same one.
type formats map[string]*payload.Format

func formatsOf(endpoints map[string]EndpointConfig) formats {
	type key struct{ name, encoding, media, source, template string }
	all, known := make(formats, len(endpoints)), map[key]*payload.Format{}
	for name, c := range endpoints {
		c = c.WithDefaults()
		k := key{c.Format, c.Encoding, c.ContentType, c.Source, c.templateSource()}
		if known[k] == nil {
			known[k] = c.format()
		}
		all[name] = known[k]
	}
	return all
}

// outfit makes the bodies of one event: each endpoint's in its format, each format's once.
type outfit struct {
	formats  formats
	build    func(payload.Dialect) ([]byte, error) // the standard body; what it returns is copied
	standard [2][]byte                             // by dialect
	written  map[*payload.Format][]byte
}

// dress gives a delivery of the event, whose other fields are set, its body and what goes with it. The error is an
// EvalError where the event itself is at fault.
func (o *outfit) dress(d *Delivery) error {
	f := o.formats[d.Endpoint]
	if f == nil {
		f = &payload.Format{}
	}
	standard, err := o.in(f.Dialect())
	if err != nil {
		return err
	}
	d.ContentType = f.ContentType()
	if f.Plain() {
		d.Body = standard
		return nil
	}
	about := aboutOf(d)
	d.Format, d.Headers = f.String(), f.Headers(about)
	if d.Body = o.written[f]; d.Body != nil {
		return nil
	}
	if d.Body, err = f.Write(standard, about); err != nil {
		return payload.EventError(d.Rule, d.Endpoint, err)
	}
	if !f.Own() {
		if o.written == nil {
			o.written = map[*payload.Format][]byte{}
		}
		o.written[f] = d.Body
	}
	return nil
}

// in returns the standard body in a dialect.
func (o *outfit) in(dialect payload.Dialect) ([]byte, error) {
	if o.standard[dialect] == nil {
		body, err := o.build(dialect)
		if err != nil {
			return nil, err
		}
		o.standard[dialect] = bytes.Clone(body)
	}
	return o.standard[dialect], nil
}

func aboutOf(d *Delivery) *payload.About {
	return &payload.About{ID: d.ID, Event: d.Event, Rule: d.Rule, Model: d.Model, Record: d.Record, Endpoint: d.Endpoint, At: d.CommitAt}
}

// reformat gives a delivery with a body in the format standard, which stands for no change, the endpoint's format. It keeps the
// standard one where the format can't say it: a template that was made for records may fail at it.
func (c *EndpointConfig) reformat(d *Delivery) {
	o := outfit{formats: formats{d.Endpoint: c.format()}, build: func(payload.Dialect) ([]byte, error) { return d.Body, nil }}
	plain := *d
	if err := o.dress(d); err != nil {
		*d = plain
	}
}
