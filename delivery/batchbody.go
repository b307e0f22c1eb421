package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"mime"
	"strconv"
	"strings"

	"walhook/delivery/payload"
)

// prefixBatch begins the ids of requests that carry several deliveries.
const prefixBatch = "bat_"

// elementCost is the most that an element of a batch takes besides the delivery's id and body.
const elementCost = 128

// NewBatch packs deliveries of one endpoint, in this order, into one that a [Sender] sends like any other: its body is a JSON array of
// them, each with its own id (which the receiver deduplicates by) and number. Its own id is a pure function of theirs.
//
//	[{"id":"msg_…","epoch":1795212345678,"sequence":41,"event":{…}},{"id":"msg_…","epoch":1795212345678,"sequence":42,"attempt":2,"event":{…}}]
//
// "event" is the delivery's body, byte for byte. "attempt" (from the second one on) and
// "late" mean what the headers Webhook-Attempt and Webhook-Late mean of a single delivery; epoch and sequence are left
// out where there are none.
//
// Structured CloudEvents make a batch as their specification has it: an array of events, in which the same is told by extension attributes.
//
//	[{"webhooksequence":"41","webhookepoch":"1795212345678","specversion":"1.0","id":"msg_…",…},…]
//
// All must be of one kind, see companions. One that goes alone is returned as it is.
func NewBatch(deliveries []*Delivery) *Delivery {
	kind := kindOf(deliveries[0])
	if kind == goesAlone {
		return deliveries[0]
	}
	size := 2
	for _, d := range deliveries {
		size += elementSize(d)
	}
	body := append(make([]byte, 0, size), '[')
	for i, d := range deliveries {
		if i > 0 {
			body = append(body, ',')
		}
		if kind == cloudEvent {
			body = appendCloudEvent(body, d)
		} else {
			body = appendElement(body, d)
		}
	}
	batch := &Delivery{ID: batchID(deliveries), Endpoint: deliveries[0].Endpoint, Body: append(body, ']'), ContentType: "application/json",
		Batched: len(deliveries), members: deliveries}
	if kind == cloudEvent {
		batch.ContentType = "application/cloudevents-batch+json"
	}
	if len(deliveries) == 1 {
		batch.Alone = len(deliveries[0].Body)
	}
	return batch
}

// elementSize bounds what a delivery takes in a batch, the comma included.
func elementSize(d *Delivery) int {
	return elementCost + len(d.ID) + len(d.Body)
}

func appendElement(dst []byte, d *Delivery) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, d.ID...)
	dst = append(dst, '"')
	if d.Sequence > 0 {
		dst = strconv.AppendInt(append(dst, `,"epoch":`...), d.Epoch, 10)
		dst = strconv.AppendInt(append(dst, `,"sequence":`...), d.Sequence, 10)
	}
	if d.Attempts > 0 {
		dst = strconv.AppendInt(append(dst, `,"attempt":`...), int64(d.Attempts)+1, 10)
	}
	if d.Late {
		dst = append(dst, `,"late":true`...)
	}
	dst = append(dst, `,"event":`...)
	return append(append(dst, d.Body...), '}')
}

// appendCloudEvent writes an event with what a batch tells of it. Extension attributes have names of small letters, and no integers
// beyond 32 bits.
func appendCloudEvent(dst []byte, d *Delivery) []byte {
	dst = append(dst, '{')
	if d.Sequence > 0 {
		dst = append(strconv.AppendInt(append(dst, `"webhooksequence":"`...), d.Sequence, 10), `",`...)
		dst = append(strconv.AppendInt(append(dst, `"webhookepoch":"`...), d.Epoch, 10), `",`...)
	}
	if d.Attempts > 0 {
		dst = append(strconv.AppendInt(append(dst, `"webhookattempt":`...), int64(d.Attempts)+1, 10), ',')
	}
	if d.Late {
		dst = append(dst, `"webhooklate":true,`...)
	}
	return append(dst, d.Body[1:]...) // a structured CloudEvent is an object, and not an empty one
}

// company is what a delivery can share a request with.
type company uint8

const (
	goesAlone  company = iota // a form, a text, a CloudEvent with its attributes in headers: it was made before its endpoint had batches
	jsonEvent                 // anything that is JSON
	cloudEvent                // a structured CloudEvent
)

func kindOf(d *Delivery) company {
	switch {
	case len(d.Headers) > 0 || !isJSON(d.ContentType):
		return goesAlone
	case d.Format == payload.FormatCloudEvents:
		return cloudEvent
	}
	return jsonEvent
}

// companions says that two deliveries can be in one batch. After a reload that changed the format, what waits has the old one.
func companions(a, b *Delivery) bool {
	kind := kindOf(a)
	return kind != goesAlone && kind == kindOf(b)
}

// isJSON says whether a body of this type can stand in a JSON array as it is.
func isJSON(contentType string) bool {
	if contentType == "application/json" || contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// batchID is a function of the ids alone, each with its length before it: the same deliveries in the same order are the same
// request to a receiver that goes by Idempotency-Key.
func batchID(deliveries []*Delivery) string {
	buf := appendPart(make([]byte, 0, 48*(len(deliveries)+1)), "walhook batch 1")
	for _, d := range deliveries {
		buf = appendPart(buf, d.ID)
	}
	sum := sha256.Sum256(buf)
	return prefixBatch + hex.EncodeToString(sum[:16])
}
