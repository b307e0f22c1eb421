package delivery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// TestEvent is the type of the event that tries an endpoint out.
const TestEvent = "walhook.test"

// headerTest marks requests that try an endpoint out, whatever their body says.
const headerTest = "Webhook-Test"

// NewTest makes a delivery that tries an endpoint out, at a time. It is no part of any sequence, has no record and no place in the queue,
// and its id ("test_…") can't be a delivery's ("msg_…"). An empty event is [TestEvent]; a nil body is one
// in the standard format that says that it is a test.
func NewTest(endpoint, event string, body []byte, at time.Time) (*Delivery, error) {
	if event == "" {
		event = TestEvent
	}
	if body == nil {
		type data struct {
			Test     bool   `json:"test"`
			Endpoint string `json:"endpoint"`
			Message  string `json:"message"`
		}
		var err error
		body, err = json.Marshal(struct {
			Type      string `json:"type"`
			Timestamp string `json:"timestamp"`
			Data      data   `json:"data"`
		}{event, at.UTC().Format(time.RFC3339Nano), data{true, endpoint, "This is a test of walhook. It stands for no change of any record."}})
		if err != nil {
			return nil, fmt.Errorf("make the test's body: %w", err)
		}
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return &Delivery{
		ID: "test_" + hex.EncodeToString(id[:]), Endpoint: endpoint, Event: event, Body: body, ContentType: "application/json", CommitAt: at, Enqueued: at,
	}, nil
}

// SendTest makes one attempt to deliver what [NewTest] made, on a connection of its own, with the endpoint's whole configuration, and
// says what would become of a delivery that was answered like this. Besides the body's, the header Webhook-Test: true says that it is a test.
//
// It does not ask whether anything may be sent: invariant 5 is its caller's.
func SendTest(ctx context.Context, c EndpointConfig, version string, d *Delivery) (Outcome, error) {
	a, err := c.attempt(ctx, version, d)
	if err != nil {
		return Outcome{}, err
	}
	c = c.WithDefaults()
	return decide(&c, d, a, a.At.Add(a.Total)), nil
}

// attempt makes one attempt that is marked as a test.
func (c EndpointConfig) attempt(ctx context.Context, version string, d *Delivery) (*Attempt, error) {
	headers := maps.Clone(c.Headers)
	if headers == nil {
		headers = map[string]Sensitive{}
	}
	headers[headerTest] = NewSensitive("true")
	c.Headers = headers
	if c.Batch.On() && json.Valid(d.Body) {
		d = NewBatch([]*Delivery{d})
	}
	sender, err := NewHTTPSender(map[string]EndpointConfig{d.Endpoint: c}, version)
	if err != nil {
		return nil, err
	}
	defer sender.Close()
	a := sender.Send(ctx, d)
	if a.Class == ClassReleased {
		return nil, errors.Join(errors.New("the test was interrupted"), context.Cause(ctx))
	}
	return a, nil
}

// Dress gives a test the endpoint's format: walhook's own body is written in it; a body that someone brought stays as it is, and gets the
// content type and the headers that bodies of the format have.
func (d *Delivery) Dress(c EndpointConfig, own bool) {
	c = c.WithDefaults()
	if own {
		c.reformat(d)
		return
	}
	f := c.format()
	d.ContentType, d.Headers = f.ContentType(), f.Headers(aboutOf(d))
}
