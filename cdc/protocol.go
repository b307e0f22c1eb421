package cdc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// messageName names a pgoutput message by its type byte, as the manual does
// ("Logical Replication Message Formats").
func messageName(t byte) string {
	switch t {
	case 'B':
		return "Begin"
	case 'C':
		return "Commit"
	case 'O':
		return "Origin"
	case 'R':
		return "Relation"
	case 'Y':
		return "Type"
	case 'I':
		return "Insert"
	case 'U':
		return "Update"
	case 'D':
		return "Delete"
	case 'T':
		return "Truncate"
	case 'M':
		return "Message"
	case 'S':
		return "Stream Start"
	case 'E':
		return "Stream Stop"
	case 'c':
		return "Stream Commit"
	case 'A':
		return "Stream Abort"
	case 0:
		return "empty"
	}
	return fmt.Sprintf("unknown (%q)", rune(t))
}

// cursor reads the fixed parts of a message. After the first thing that is not
// there it reads zeros; err tells what was missing.
type cursor struct {
	data   []byte // the whole message, type byte included
	pos    int
	failed string
}

func newCursor(msg []byte) cursor { return cursor{data: msg, pos: 1} }

func (c *cursor) take(n int, what string) []byte {
	if c.failed != "" || len(c.data)-c.pos < n {
		c.fail(what + " is cut off")
		return nil
	}
	c.pos += n
	return c.data[c.pos-n : c.pos]
}

func (c *cursor) fail(reason string) {
	if c.failed == "" {
		c.failed = reason
	}
}

func (c *cursor) uint8(what string) byte {
	if b := c.take(1, what); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16(what string) uint16 {
	if b := c.take(2, what); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32(what string) uint32 {
	if b := c.take(4, what); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64(what string) uint64 {
	if b := c.take(8, what); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (c *cursor) string(what string) string {
	if c.failed == "" {
		if n := bytes.IndexByte(c.data[c.pos:], 0); n >= 0 {
			c.pos += n + 1
			return string(c.data[c.pos-n-1 : c.pos-1])
		}
	}
	c.fail(what + " is cut off")
	return ""
}

// time reads microseconds since 2000-01-01 UTC.
func (c *cursor) time(what string) time.Time {
	const epoch = 946_684_800_000_000 // of PostgreSQL, in Unix microseconds
	return time.UnixMicro(int64(c.uint64(what)) + epoch).UTC()
}

// err returns nil only if everything was there and nothing is left over.
func (c *cursor) err() error {
	if c.failed == "" && c.pos != len(c.data) {
		c.fail(fmt.Sprintf("%d bytes too many", len(c.data)-c.pos))
	}
	if c.failed == "" {
		return nil
	}
	return &ProtocolError{Message: c.data[0], Offset: c.pos, Reason: c.failed}
}
