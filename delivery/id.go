package delivery

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"walhook/cdc"
)

// Identity is the database that changes come from, as far as it is part of a
// delivery's id.
type Identity struct {
	SystemID    string // IDENTIFY_SYSTEM's systemid
	DatabaseOID uint32
}

// The prefixes of ids.
const (
	prefixDelivery = "msg_"
	prefixParked   = "evt_"
)

// idFormat is hashed first. Were the format ever to change, all ids would, and receivers could no
// longer tell repetitions: it does not change.
const idFormat = "walhook 1"

// deliveryID computes the id of what a rule makes of a change for an endpoint:
// "msg_" and the first 128 bits of a SHA-256 in hex. It is a pure function of its arguments (invariant 3). Each
// goes into the hash with its length before it, so that no two lists of arguments look the same.
//
// With each_write the writes of one record in one transaction are events of their
// own: the ordinal tells them apart.
func deliveryID(id Identity, tx *cdc.Tx, c *cdc.Change, rule, endpoint string) string {
	return hashID(prefixDelivery, id, tx, c, rule, endpoint)
}

// parkedID is the id of an event whose rule failed: as deliveryID, without an endpoint.
func parkedID(id Identity, tx *cdc.Tx, c *cdc.Change, rule string) string {
	return hashID(prefixParked, id, tx, c, rule, "")
}

// groupID is the id of what a rule makes of one group of a record's lines: as deliveryID, with the group's key.
func groupID(id Identity, tx *cdc.Tx, c *cdc.Change, rule, endpoint, group string) string {
	return hashID(prefixDelivery, id, tx, c, rule, endpoint, "group", group)
}

func hashID(prefix string, id Identity, tx *cdc.Tx, c *cdc.Change, rule, endpoint string, more ...string) string {
	buf := make([]byte, 0, 256)
	buf = appendPart(buf, idFormat)
	buf = appendPart(buf, id.SystemID)
	buf = appendNumber(buf, uint64(id.DatabaseOID))
	if what := looked(c); what != "" { // no transaction has made it: the time of the run is what tells it from others of its record
		buf = appendPart(buf, what)
		buf = appendNumber(buf, uint64(tx.CommitTime.UnixMicro()))
	} else {
		buf = appendNumber(buf, uint64(tx.CommitLSN))
		buf = appendNumber(buf, uint64(tx.XID))
	}
	buf = appendPart(buf, c.Rel.Schema)
	buf = appendPart(buf, c.Rel.Name)
	buf = appendPart(buf, c.Key)
	buf = appendPart(buf, rule)
	buf = appendPart(buf, endpoint)
	if c.Raw {
		buf = appendNumber(buf, c.Ordinal)
	}
	for _, part := range more {
		buf = appendPart(buf, part)
	}
	sum := sha256.Sum256(buf)
	out := make([]byte, len(prefix)+32)
	copy(out, prefix)
	hex.Encode(out[len(prefix):], sum[:16])
	return string(out)
}

// looked names what a change was made by if no transaction has made it; "" for one that was read.
func looked(c *cdc.Change) string {
	if c.Op == cdc.Schedule {
		return "schedule"
	}
	return c.Origin.String()
}

func appendPart(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// appendNumber writes a number as the part that its decimal text would be.
func appendNumber(dst []byte, n uint64) []byte {
	var text [20]byte
	digits := strconv.AppendUint(text[:0], n, 10)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(digits)))
	return append(dst, digits...)
}
