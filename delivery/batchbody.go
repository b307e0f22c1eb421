package delivery

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"mime"
	"strconv"
	"strings"
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
// "event" is the delivery's body, byte for byte when that is JSON, and a string otherwise. "attempt" (from the second one on) and
// "late" mean what the headers Webhook-Attempt and Webhook-Late mean of a single delivery; epoch and sequence are left
// out where there are none.
func NewBatch(deliveries []*Delivery) *Delivery {
	size := 2
	for _, d := range deliveries {
		size += elementSize(d)
	}
	body := append(make([]byte, 0, size), '[')
	for i, d := range deliveries {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendElement(body, d)
	}
	batch := &Delivery{ID: batchID(deliveries), Endpoint: deliveries[0].Endpoint, Body: append(body, ']'), ContentType: "application/json", Batched: len(deliveries)}
	if len(deliveries) == 1 {
		batch.Alone = len(deliveries[0].Body)
	}
	return batch
}

// elementSize bounds what a delivery takes in a batch, the comma included.
func elementSize(d *Delivery) int {
	if !isJSON(d.ContentType) {
		return elementCost + len(d.ID) + 6*len(d.Body) // at worst every byte is written \u00xx
	}
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
	if isJSON(d.ContentType) {
		dst = append(dst, d.Body...)
	} else {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)       // which would make XML much longer
		_ = encoder.Encode(string(d.Body)) // a string is always encoded
		dst = append(dst, bytes.TrimRight(text.Bytes(), "\n")...)
	}
	return append(dst, '}')
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
