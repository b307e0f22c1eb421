package cdc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// MessagePrefix is the prefix of logical messages that are custom events:
//
//	SELECT pg_logical_emit_message(true, 'walhook', '{"event": "stock.low", "data": {"qty": 3}}')
//
// Messages with any other prefix are somebody else's; "walhook." and what follows is kept for later use.
const MessagePrefix = "walhook"

// MinMessages is the first major version of PostgreSQL whose pgoutput sends messages.
const MinMessages = 14

// MaxMessage is how long the content of a message may be, in bytes. A longer one is malformed.
const MaxMessage = 1 << 20

// Columns of [MessageRelation].
const (
	MessageEvent   = "event"   // text: the event's name
	MessageModel   = "model"   // text: the model that the event is about, or NULL
	MessageID      = "id"      // text: the record, or any key that the sender orders its events by; or NULL
	MessageRecord  = "record"  // bigint: id, where there is a model and it is a whole number; else NULL
	MessageData    = "data"    // jsonb: what the sender says of the event, or NULL
	MessageProblem = "problem" // text: why the message is malformed; NULL of one that is not
	MessageContent = "content" // text: the beginning of a malformed message; NULL of one that is not
)

// MessageRelation is the shape of rows that stand for messages. There is no such table, nor can there be: schemas whose name begins with
// pg_ are PostgreSQL's.
func MessageRelation() *Relation { return messageRelation() }

var messageRelation = sync.OnceValue(func() *Relation {
	text, number, object := BuiltinType(25), BuiltinType(20), BuiltinType(3802)
	return NewRelation(0, "pg_logical", "message", 'n', []Column{
		{Name: MessageEvent, Type: text}, {Name: MessageModel, Type: text}, {Name: MessageID, Type: text}, {Name: MessageRecord, Type: number},
		{Name: MessageData, Type: object}, {Name: MessageProblem, Type: text}, {Name: MessageContent, Type: text},
	}, nil)
})

// message takes a MESSAGE. Only transactional ones with our prefix are events: the others come outside of transactions, even from those that
// are rolled back (trap 14). An event has its place among the writes of its transaction, and counts in the ordinal as a write does, wanted or
// not, so that ordinals do not depend on the rules (invariant 3).
func (d *Decoder) message(msg []byte) error {
	c := newCursor(msg)
	flags := c.uint8("flags")
	c.uint64("LSN")
	prefix := c.string("prefix")
	content := c.take(int(c.uint32("length")), "content")
	if err := c.err(); err != nil {
		return err
	}
	if flags&1 == 0 || prefix != MessagePrefix {
		return nil
	}
	if err := d.inTransaction(msg); err != nil {
		return err
	}
	rel := MessageRelation()
	if _, wanted := d.want(rel.Schema, rel.Name); wanted {
		m := readMessage(content)
		row, _ := NewRow(rel, ImageFull, AppendTuple(nil, m.values(rel))) // one value per column
		d.tx.add(nil, write{span: span{created: true, message: true}, rel: rel, key: []byte(m.key()), keyed: true, after: row}, false, true, &d.pool)
	}
	return d.wrote()
}

// NewMessage is the change that a message with such a content is. What is malformed about it stands in [MessageProblem].
func NewMessage(content []byte) *Change {
	rel, m := MessageRelation(), readMessage(content)
	row, _ := NewRow(rel, ImageFull, AppendTuple(nil, m.values(rel))) // one value per column
	return &Change{Op: Message, Rel: rel, Key: m.key(), After: row, Raw: true, Writes: 1}
}

// envelope is the content of a message.
type envelope struct {
	Event string          `json:"event"`
	Model string          `json:"model"`
	ID    messageID       `json:"id"`
	Data  json.RawMessage `json:"data"`

	problem string // why it is none
	content string // of one that is none, the beginning
}

// messageID is a record's id, or another key: a whole number or a text.
type messageID string

// UnmarshalJSON implements json.Unmarshaler.
func (m *messageID) UnmarshalJSON(data []byte) error {
	switch {
	case string(data) == "null":
		return nil
	case data[0] == '"':
		return json.Unmarshal(data, (*string)(m))
	}
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return errors.New(`"id" is neither a whole number nor a text`)
	}
	*m = messageID(strconv.FormatInt(n, 10))
	return nil
}

// What the parts of a message may look like. They go into headers, names of lanes and columns of the state.
var (
	messageEvent = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}$`)
	messageModel = regexp.MustCompile(`^[A-Za-z0-9_.]{1,100}$`)
)

const (
	maxMessageID      = 200
	maxMessageContent = 4 << 10 // that is kept of a malformed one
)

// readMessage reads a message's content. It never fails: what is malformed says so.
func readMessage(content []byte) envelope {
	var m envelope
	if len(content) > MaxMessage {
		m.problem = fmt.Sprintf("the message has %d bytes; the limit is %d", len(content), MaxMessage)
	} else {
		m.problem = m.read(content)
	}
	if m.problem != "" {
		cut := content[:min(len(content), maxMessageContent)]
		// Texts of the state can hold neither.
		m.content = strings.ReplaceAll(strings.ToValidUTF8(string(cut), "\uFFFD"), "\x00", "\uFFFD")
	}
	return m
}

// read returns what is wrong with the content.
func (m *envelope) read(content []byte) string {
	if !utf8.Valid(content) {
		return "the message is no text in UTF-8"
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		*m = envelope{}
		return fmt.Sprintf(`the message is no JSON object with "event", "model", "id" and "data": %v`, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		*m = envelope{}
		return "something follows the message's JSON object"
	}
	if half := unpaired(content); half != "" {
		*m = envelope{}
		return fmt.Sprintf("the message holds %s, half of a character: PostgreSQL's jsonb and most receivers refuse it", half)
	}
	switch event := m.Event; {
	case event == "":
		return `the message has no "event"`
	case !messageEvent.MatchString(event):
		m.Event = ""
		return fmt.Sprintf(`"event": %q is no good name: use up to 200 letters, digits and _ . : / -, as in stock.low`, excerpt(event))
	case m.Model != "" && !messageModel.MatchString(m.Model):
		defer func() { m.Model = "" }()
		return fmt.Sprintf(`"model": %q is no name of a model`, excerpt(m.Model))
	case len(m.ID) > maxMessageID || strings.ContainsFunc(string(m.ID), func(r rune) bool { return r < ' ' }):
		m.ID = ""
		return fmt.Sprintf(`"id" is longer than %d bytes, or holds control characters`, maxMessageID)
	}
	return ""
}

// unpaired finds a surrogate in JSON that is no half of a pair. It returns the escape, or "".
func unpaired(json []byte) string {
	unit := func(at int) uint64 {
		if at+6 > len(json) || json[at] != '\\' || json[at+1] != 'u' {
			return 0
		}
		n, _ := strconv.ParseUint(string(json[at+2:at+6]), 16, 16) // 0 is no surrogate either
		return n
	}
	for i := 0; i < len(json); i++ {
		if json[i] != '\\' {
			continue
		}
		switch n := unit(i); {
		case n >= 0xd800 && n < 0xdc00 && unit(i+6)&0xfc00 == 0xdc00:
			i += 11
		case n&0xf800 == 0xd800:
			return string(json[i : i+6])
		default:
			i++ // what is escaped may be a backslash
		}
	}
	return ""
}

// excerpt shortens a text for an error.
func excerpt(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// key names what the event is about, or else the event: events of one key are sent in their order.
func (m *envelope) key() string {
	if m.ID != "" {
		return string(m.ID)
	}
	return m.Event
}

// values are the columns of the relation.
func (m *envelope) values(rel *Relation) []Value {
	text := map[string]string{MessageEvent: m.Event, MessageModel: m.Model, MessageID: string(m.ID), MessageProblem: m.problem, MessageContent: m.content}
	if n, err := strconv.ParseInt(string(m.ID), 10, 64); err == nil && m.Model != "" {
		text[MessageRecord] = strconv.FormatInt(n, 10)
	}
	if m.problem == "" && string(m.Data) != "null" {
		text[MessageData] = string(m.Data)
	}
	values := make([]Value, len(rel.Columns))
	for i, col := range rel.Columns {
		values[i] = Value{State: Null, Type: col.Type}
		if s := text[col.Name]; s != "" {
			values[i] = Value{State: Present, Text: []byte(s), Type: col.Type}
		}
	}
	return values
}
