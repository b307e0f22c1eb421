package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"walhook/cdc"
	"walhook/delivery/payload"
)

// Notices are events about endpoints, for the alert endpoint. They are deliveries like any other: with an id, a number of the endpoint's
// sequence, retried and logged.
const (
	// NoticeRule stands in the place of a rule's name; no rule can have it.
	NoticeRule = "walhook"
	// NoticeModel stands in the place of a model's name; the record is the endpoint that the notice is about.
	NoticeModel = "walhook.endpoint"

	NoticeDisabled  = "walhook.endpoint.disabled"  // 410 Gone, or failures for too long: a person must resume it
	NoticeFailing   = "walhook.endpoint.failing"   // its breaker has been open for as long as [alerts] says
	NoticeRecovered = "walhook.endpoint.recovered" // it takes deliveries again, after one of these

	NoticeQueueFull    = "walhook.endpoint.queue_full"    // its queue is at its limit: events are parked, or the oldest dropped
	NoticeQueueDrained = "walhook.endpoint.queue_drained" // it is not any more
)

// Notice is what is told about an endpoint.
type Notice struct {
	Event    string    // one of the constants
	Endpoint string    // that it is about
	At       time.Time // of the change; with Event and Endpoint it names the notice
	Since    time.Time // when it began to fail, or was disabled
	Reason   string
	Failures int // attempts that failed in a row

	Pending, PendingBytes, Dead int64 // what the endpoint's queue holds
}

// noticeData is the data of a notice's body, in the order of its keys.
type noticeData struct {
	Endpoint     string    `json:"endpoint"`
	Reason       string    `json:"reason,omitempty"`
	Since        time.Time `json:"since,omitzero"`
	Failures     int       `json:"failures"`
	Pending      int64     `json:"pending"`
	PendingBytes int64     `json:"pending_bytes"`
	Dead         int64     `json:"dead_letters"`
	Remedy       string    `json:"remedy,omitempty"`
}

// Delivery makes the notice a delivery to an endpoint. lsn is how far the source had been read. The id is a pure function of
// the source and of what the notice tells (invariant 3).
func (n Notice) Delivery(id Identity, lsn cdc.LSN, to string, c EndpointConfig) (*Delivery, error) {
	data := noticeData{Endpoint: n.Endpoint, Reason: n.Reason, Failures: n.Failures, Pending: n.Pending, PendingBytes: n.PendingBytes, Dead: n.Dead, Remedy: n.remedy()}
	if !n.Since.IsZero() {
		data.Since = n.Since.UTC().Truncate(time.Millisecond)
	}
	body, err := json.Marshal(struct {
		Type      string     `json:"type"`
		Timestamp time.Time  `json:"timestamp"`
		Data      noticeData `json:"data"`
	}{n.Event, n.At.UTC().Truncate(time.Millisecond), data})
	if err != nil {
		return nil, err // a year beyond 9999
	}
	d := &Delivery{
		ID: n.id(id, to), Endpoint: to, Rule: NoticeRule, Event: n.Event, Model: NoticeModel, Record: n.Endpoint, Op: "notice",
		CommitLSN: lsn, CommitAt: n.At, Body: body, ContentType: payload.ContentType,
	}
	c = c.WithDefaults()
	c.reformat(d)
	d.Lane = laneKey(c.Ordering, d)
	return d, nil
}

func (n Notice) id(id Identity, to string) string {
	buf := appendPart(nil, idFormat+" notice")
	buf = appendPart(buf, id.SystemID)
	buf = appendNumber(buf, uint64(id.DatabaseOID))
	buf = appendPart(buf, n.Event)
	buf = appendPart(buf, n.Endpoint)
	buf = appendPart(buf, to)
	buf = appendNumber(buf, uint64(n.At.UnixMicro()))
	sum := sha256.Sum256(buf)
	return prefixDelivery + hex.EncodeToString(sum[:16])
}

// remedy says what to do.
func (n Notice) remedy() string {
	switch n.Event {
	case NoticeDisabled:
		return "its deliveries wait; mend the receiver, then: walhook endpoints resume " + n.Endpoint
	case NoticeFailing:
		return "its deliveries wait and it is probed at times; mend the receiver, then it goes on by itself, or at once with: walhook endpoints resume " + n.Endpoint
	case NoticeQueueFull:
		return "mend the receiver, or give up what waits: walhook deliveries discard --endpoint " + n.Endpoint + " --pending --retrying; what was not queued: walhook deliveries gaps --endpoint " + n.Endpoint
	}
	return ""
}
