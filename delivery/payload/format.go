package payload

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"walhook/rules"
)

// Format is how bodies for an endpoint are written. Each is made of the finished body in the format standard, so that all show the
// same values, whatever built that. A Format is immutable and pure: same input, same bytes (invariant 6).
type Format struct {
	Name     string    // one of the Format constants; "" is FormatStandard
	Encoding string    // one of the Encoding constants; "" is EncodingJSON
	Media    string    // Content-Type in place of the format's own; "" for that
	Source   string    // of CloudEvents: the attribute source, a URI reference
	Template *Template // of FormatTemplate
	Err      error     // why nothing can be written
}

// The formats.
const (
	FormatStandard    = "standard"           // Standard Webhooks: type, timestamp, data
	FormatCloudEvents = "cloudevents"        // CloudEvents 1.0.2, structured mode
	FormatBinary      = "cloudevents-binary" // CloudEvents 1.0.2, binary mode: attributes in headers, data in the body
	FormatOdoo        = "odoo"               // what Odoo's own action "Send Webhook Notification" posts
	FormatRaw         = "raw"                // the record alone
	FormatTemplate    = "template"           // what a template makes of the event
)

// The encodings.
const (
	EncodingJSON = "json"
	EncodingXML  = "xml"
	EncodingForm = "form" // application/x-www-form-urlencoded, nested names in brackets
)

// Formats and Encodings list all there are.
var (
	Formats   = []string{FormatStandard, FormatCloudEvents, FormatBinary, FormatOdoo, FormatRaw, FormatTemplate}
	Encodings = []string{EncodingJSON, EncodingXML, EncodingForm}
)

// Combines says whether a format can be written in an encoding; if not, why.
func Combines(format, encoding string) (why string) {
	switch {
	case encoding == EncodingJSON:
	case format == FormatCloudEvents:
		return "a structured CloudEvent is JSON"
	case format == FormatBinary && encoding == EncodingForm:
		return "a form is no form for the data of a CloudEvent"
	case format == FormatOdoo:
		return "Odoo posts JSON"
	case format == FormatTemplate:
		return "a template says itself how its output is written"
	}
	return ""
}

// About is what a body says of its delivery, besides what the event holds.
type About struct {
	ID       string // webhook-id
	Event    string
	Rule     string
	Model    string
	Record   string // primary key as text
	Endpoint string
	At       time.Time // commit time
}

// Dialect is what the format's standard body is to be built in.
func (f *Format) Dialect() Dialect {
	if f.name() == FormatOdoo {
		return Odoo
	}
	return Standard
}

// Own says that the body differs from delivery to delivery: it tells more than the event.
func (f *Format) Own() bool { return f.name() == FormatCloudEvents || f.name() == FormatTemplate }

// Plain says that the body is the standard one as it is.
func (f *Format) Plain() bool {
	return f.name() == FormatStandard && f.encoding() == EncodingJSON && f.Err == nil
}

// String names format and encoding, as a delivery keeps it: "standard", "raw+xml".
func (f *Format) String() string {
	if f.encoding() != EncodingJSON {
		return f.name() + "+" + f.encoding()
	}
	return f.name()
}

func (f *Format) name() string     { return cmp.Or(f.Name, FormatStandard) }
func (f *Format) encoding() string { return cmp.Or(f.Encoding, EncodingJSON) }

// ContentType is the media type of what the format writes.
func (f *Format) ContentType() string {
	switch {
	case f.Media != "":
		return f.Media
	case f.name() == FormatCloudEvents:
		return "application/cloudevents+json"
	case f.name() == FormatTemplate:
		return "text/plain; charset=utf-8"
	case f.encoding() == EncodingXML:
		return "application/xml"
	case f.encoding() == EncodingForm:
		return "application/x-www-form-urlencoded"
	}
	return ContentType
}

// Headers are what requests with such a body have besides Content-Type: in binary mode the attributes of a CloudEvent.
func (f *Format) Headers(a *About) map[string]string {
	if f.name() != FormatBinary {
		return nil
	}
	return f.attributes(a)
}

// Write makes a body of a standard one, which must have been built in the format's [Dialect]. The error is about this event: a
// template failed, or gave something that it should not.
func (f *Format) Write(standard []byte, a *About) ([]byte, error) {
	if f.Err != nil {
		return nil, f.Err
	}
	e, err := parseEnvelope(standard)
	if err != nil {
		return nil, err
	}
	content, root := standard, "event"
	switch f.name() {
	case FormatCloudEvents:
		return f.cloudEvent(nil, e, a), nil
	case FormatOdoo:
		return writeOdoo(nil, e, a)
	case FormatTemplate:
		return f.Template.execute(e, a, isJSONType(f.ContentType()))
	case FormatRaw:
		content, root = e.record(), "record"
	case FormatBinary:
		content, root = e.Data, "data"
	}
	switch f.encoding() {
	case EncodingXML:
		return appendXML(nil, root, content)
	case EncodingForm:
		return appendForm(nil, content)
	}
	return bytes.Clone(content), nil
}

// EventError makes the failure to write a body for an endpoint one of its event, which is then parked (C5).
func EventError(rule, endpoint string, err error) error {
	return &rules.EvalError{Rule: rule, Path: "endpoints." + endpoint, Err: err, Offset: -1}
}

// envelope is a standard body taken apart. What a member holds is as it was written.
type envelope struct {
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Data      json.RawMessage `json:"data"`

	data struct {
		ID     json.RawMessage `json:"id"`
		Record json.RawMessage `json:"record"`
	}
}

func parseEnvelope(standard []byte) (*envelope, error) {
	var e envelope
	if err := json.Unmarshal(standard, &e); err != nil {
		return nil, fmt.Errorf("read the standard body: %w", err)
	}
	if len(e.Data) == 0 {
		e.Data = json.RawMessage("{}")
	}
	if e.Data[0] == '{' {
		if err := json.Unmarshal(e.Data, &e.data); err != nil {
			return nil, fmt.Errorf("read the standard body: %w", err)
		}
	}
	return &e, nil
}

// record is the record's object; of an event without one, such as a test or a notice, all of its data.
func (e *envelope) record() json.RawMessage {
	if len(e.data.Record) > 0 {
		return e.data.Record
	}
	return e.Data
}

// members are those of the record; none when it is no object.
func (e *envelope) members() (m map[string]json.RawMessage, err error) {
	record := e.record()
	if record[0] != '{' {
		return map[string]json.RawMessage{"record": record}, nil
	}
	err = json.Unmarshal(record, &m)
	return m, err
}

// id is the record's id: a number or a text.
func (e *envelope) id(a *About) json.RawMessage {
	switch {
	case len(e.data.ID) > 0 && string(e.data.ID) != "null":
		return e.data.ID
	case isNumber([]byte(a.Record)):
		return json.RawMessage(a.Record)
	case a.Record == "":
		return json.RawMessage("0")
	}
	return appendString(nil, a.Record)
}

// decodeValue reads a JSON value; numbers stay as they are written.
func decodeValue(raw []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	err = dec.Decode(&v)
	return v, err
}
