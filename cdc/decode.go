package cdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Limits bounds what one transaction may use (invariant 9). The zero value has the defaults.
type Limits struct {
	// Memory is what a transaction may hold in memory, in bytes, before it goes to a temporary
	// file. Default 8 MiB.
	Memory int64 `toml:"memory"`

	// TempDir is where temporary files go. They are private and have no name once open.
	// Default: $TMPDIR, or /tmp.
	TempDir string `toml:"temp_dir"`
}

// DefaultMemory is the default of Limits.Memory.
const DefaultMemory = 8 << 20

// Validate reports all that is wrong with the limits.
func (l Limits) Validate() error {
	var errs []error
	if l.Memory < 0 {
		errs = append(errs, fmt.Errorf("memory: %d bytes is negative", l.Memory))
	}
	if l.TempDir != "" {
		if info, err := os.Stat(l.TempDir); err != nil {
			errs = append(errs, fmt.Errorf("temp_dir: %w", err))
		} else if !info.IsDir() {
			errs = append(errs, fmt.Errorf("temp_dir: %s is no directory", l.TempDir))
		}
	}
	return errors.Join(errs...)
}

func (l Limits) withDefaults() Limits {
	if l.Memory <= 0 {
		l.Memory = DefaultMemory
	}
	if l.TempDir == "" {
		l.TempDir = os.TempDir()
	}
	return l
}

// Decoder turns pgoutput messages, protocol version 1, into committed transactions.
//
// It parses tuples in place and copies what the transaction must keep, into memory that
// is used again once the transaction is closed. Rows of tables that nobody wants are
// neither parsed nor copied, and cost no allocation.
//
// It is for one goroutine; the transactions that it returns may be read and
// closed by others. It does not know about connections: after a lost one, or after any error, call Reset.
type Decoder struct {
	schema Schema
	want   func(schema, table string) (net, raw bool)
	follow func(oid uint32, schema, table string) bool // see SourceConfig; may be nil
	limits Limits

	tables map[uint32]*table   // by OID; unwanted ones too
	last   *table              // the one looked up last: rows come in runs
	types  map[uint32]*Type    // without a fixed OID, as looked up
	named  map[uint32]typeName // as TYPE messages named them
	pool   arenaPool
	tx     transaction

	oldAt, newAt   []uint32 // scratch, per message
	oldKey, newKey []byte
	filled         []byte
}

// NewDecoder returns a decoder. want says for each table, when WAL first
// names it, whether net or raw changes of it are wanted.
//
// schema describes the live database, which may be ahead of the WAL: for a type
// that is gone values come as text; for a primary key that does not fit the columns in WAL the replica identity
// stands in, else the key that the table had before. schema may be nil, then that is all there is.
//
// Without a primary key there is no net change. A write of a table that has none, and a DELETE
// whose WAL does not hold it (an identity index on other columns), yields a raw
// change with an empty Key, whatever want said.
func NewDecoder(schema Schema, want func(schema, table string) (net, raw bool), limits Limits) *Decoder {
	d := &Decoder{schema: schema, want: want, limits: limits.withDefaults()}
	d.Reset()
	return d
}

// Reset forgets all tables and the open transaction, as a new connection must (trap 11).
// The server describes tables again and sends an unfinished transaction again.
func (d *Decoder) Reset() {
	d.tables = make(map[uint32]*table)
	d.types = make(map[uint32]*Type)
	d.named = make(map[uint32]typeName)
	d.last = nil
	// The file of an unfinished transaction has no name: if closing it fails, nothing remains to be done.
	_ = d.tx.end(&d.pool)
}

// Decode takes one message, which it does not keep. It returns a transaction at COMMIT, and nil otherwise.
// Errors are *[ProtocolError], *[SpillError], or of the Schema.
func (d *Decoder) Decode(ctx context.Context, msg []byte) (*Tx, error) {
	if len(msg) == 0 {
		return nil, &ProtocolError{Reason: "no message type"}
	}
	switch msg[0] {
	case 'I':
		return nil, d.insert(msg)
	case 'U':
		return nil, d.update(msg)
	case 'D':
		return nil, d.delete(msg)
	case 'B':
		return nil, d.begin(msg)
	case 'C':
		return d.commit(msg)
	case 'R':
		return nil, d.relation(ctx, msg)
	case 'T':
		return nil, d.truncate(msg)
	case 'Y':
		return nil, d.typeMessage(msg)
	case 'M':
		return nil, d.message(msg)
	case 'O':
		// Where a change came from does not matter.
		return nil, nil
	case 'A':
		// PostgreSQL 18 may send an abort of a streamed transaction although streaming is off (trap 12). None of
		// it was sent, so there is nothing to abort.
		return nil, nil
	case 'S', 'E', 'c':
		return nil, &ProtocolError{Message: msg[0], Reason: "streaming of open transactions is off, protocol version 1 has no such message"}
	}
	return nil, &ProtocolError{Message: msg[0], Reason: "no such message in protocol version 1"}
}

func (d *Decoder) begin(msg []byte) error {
	c := newCursor(msg)
	lsn := LSN(c.uint64("final LSN"))
	at := c.time("commit time")
	xid := c.uint32("transaction id")
	if err := c.err(); err != nil {
		return err
	}
	if d.tx.open {
		return &ProtocolError{Message: 'B', Reason: fmt.Sprintf("transaction %d is still open", d.tx.xid)}
	}
	d.tx.begin(xid, lsn, at)
	return nil
}

func (d *Decoder) commit(msg []byte) (*Tx, error) {
	c := newCursor(msg)
	c.uint8("flags")
	lsn := LSN(c.uint64("commit LSN"))
	end := LSN(c.uint64("end LSN"))
	at := c.time("commit time")
	if err := c.err(); err != nil {
		return nil, err
	}
	if err := d.inTransaction(msg); err != nil {
		return nil, err
	}
	if cap(d.filled) > keptScratch {
		d.filled = nil
	}
	return d.tx.commit(d.limits, &d.pool, lsn, end, at)
}

func (d *Decoder) inTransaction(msg []byte) error {
	if d.tx.open {
		return nil
	}
	return &ProtocolError{Message: msg[0], Reason: "outside of a transaction"}
}

// row finds the table of an INSERT, UPDATE or DELETE. Every row counts in the
// ordinal, wanted or not, so that ordinals do not depend on the rules (invariant 3).
func (d *Decoder) row(msg []byte) (*table, error) {
	if len(msg) < 5 {
		return nil, &ProtocolError{Message: msg[0], Offset: len(msg), Reason: "relation OID is cut off"}
	}
	if !d.tx.open {
		return nil, d.inTransaction(msg)
	}
	oid := binary.BigEndian.Uint32(msg[1:])
	if d.last == nil || d.last.oid != oid {
		t := d.tables[oid]
		if t == nil {
			return nil, &ProtocolError{Message: msg[0], Offset: 1, Reason: fmt.Sprintf("relation %d was never described", oid)}
		}
		d.last = t
	}
	return d.last, nil
}

// tuple parses one tuple at pos into scratch and returns it as a row that points into msg.
func (d *Decoder) tuple(msg []byte, pos int, rel *Relation, image Image, at *[]uint32) (row Row, end, unchanged int, err error) {
	if len(msg)-pos < 2 {
		return Row{}, 0, 0, &ProtocolError{Message: msg[0], Offset: len(msg), Reason: "column count is cut off"}
	}
	if n := int(binary.BigEndian.Uint16(msg[pos:])); n != len(rel.Columns) {
		return Row{}, 0, 0, &ProtocolError{Message: msg[0], Offset: pos,
			Reason: fmt.Sprintf("tuple of %d columns for %s, which has %d", n, rel, len(rel.Columns))}
	}
	pos += 2
	if cap(*at) < len(rel.Columns) {
		*at = make([]uint32, len(rel.Columns))
	}
	offsets := (*at)[:len(rel.Columns)]
	n, unchanged, ok := scanTuple(msg[pos:], offsets)
	if !ok {
		return Row{}, 0, 0, &ProtocolError{Message: msg[0], Offset: pos + n, Reason: fmt.Sprintf("tuple of %s is cut off or not in text form", rel)}
	}
	end = pos + n
	return Row{Image: image, rel: rel, tuple: msg[pos:end], at: offsets}, end, unchanged, nil
}

// ends reports what is left over behind the last tuple.
func ends(msg []byte, end int) error {
	if end == len(msg) {
		return nil
	}
	return &ProtocolError{Message: msg[0], Offset: end, Reason: fmt.Sprintf("%d bytes too many", len(msg)-end)}
}

func (d *Decoder) insert(msg []byte) error {
	t, err := d.row(msg)
	if err != nil {
		return err
	}
	if t.rel != nil {
		if len(msg) < 6 || msg[5] != 'N' {
			return &ProtocolError{Message: 'I', Offset: 5, Reason: "no new tuple"}
		}
		after, end, unchanged, err := d.tuple(msg, 6, t.rel, ImageFull, &d.newAt)
		if err != nil {
			return err
		}
		if err := ends(msg, end); err != nil {
			return err
		}
		key, keyed := appendKey(d.newKey[:0], after)
		d.newKey = key
		d.add(t, write{span: span{created: true, unknown: unchanged > 0}, key: key, keyed: keyed, after: after})
	}
	return d.wrote()
}

func (d *Decoder) delete(msg []byte) error {
	t, err := d.row(msg)
	if err != nil {
		return err
	}
	if t.rel != nil {
		before, end, err := d.old(msg, t)
		if err != nil {
			return err
		}
		if before.rel == nil {
			return &ProtocolError{Message: 'D', Offset: 5, Reason: "no old tuple"}
		}
		if err := ends(msg, end); err != nil {
			return err
		}
		key, keyed := appendKey(d.oldKey[:0], before)
		d.oldKey = key
		d.add(t, write{span: span{deleted: true}, key: key, keyed: keyed, before: before})
	}
	return d.wrote()
}

// old parses the old tuple of an UPDATE or DELETE if there is one: 'O' is the
// whole row, 'K' the replica identity's columns with NULL in place of all others.
func (d *Decoder) old(msg []byte, t *table) (row Row, end int, err error) {
	if len(msg) < 6 {
		return Row{}, 0, &ProtocolError{Message: msg[0], Offset: 5, Reason: "tuple is cut off"}
	}
	image := ImageFull
	switch msg[5] {
	case 'K':
		image = ImageKey
	case 'O':
	default:
		return Row{Image: ImageUnknown}, 5, nil
	}
	row, end, _, err = d.tuple(msg, 6, t.rel, image, &d.oldAt)
	return row, end, err
}

func (d *Decoder) update(msg []byte) error {
	t, err := d.row(msg)
	if err != nil {
		return err
	}
	if t.rel == nil {
		return d.wrote()
	}
	before, pos, err := d.old(msg, t)
	if err != nil {
		return err
	}
	if pos >= len(msg) || msg[pos] != 'N' {
		return &ProtocolError{Message: 'U', Offset: pos, Reason: "no new tuple"}
	}
	after, end, unchanged, err := d.tuple(msg, pos+1, t.rel, ImageFull, &d.newAt)
	if err != nil {
		return err
	}
	if err := ends(msg, end); err != nil {
		return err
	}
	if unchanged > 0 && before.rel != nil {
		d.filled, unchanged = fillUnknown(d.filled[:0], after, before)
		scanTuple(d.filled, after.at)
		after.tuple = d.filled
	}
	newKey, keyed := appendKey(d.newKey[:0], after)
	d.newKey = newKey
	oldKey, moved := appendKey(d.oldKey[:0], before)
	d.oldKey = oldKey
	if moved && keyed && !bytes.Equal(oldKey, newKey) {
		var from string
		if unchanged > 0 {
			after, unchanged, from = d.tx.moved(t.group, oldKey, after, unchanged)
		}
		d.add(t, write{span: span{deleted: true}, key: oldKey, keyed: true, before: before})
		d.add(t, write{span: span{created: true, unknown: unchanged > 0}, key: newKey, keyed: true, after: after, from: from})
	} else {
		d.add(t, write{span: span{unknown: unchanged > 0}, key: newKey, keyed: keyed, before: before, after: after})
	}
	return d.wrote()
}

func (d *Decoder) add(t *table, w write) {
	w.rel = t.rel
	d.tx.add(t.group, w, t.net, t.raw, &d.pool)
}

// wrote ends a row: it counts it and keeps the transaction within its limit.
func (d *Decoder) wrote() error {
	d.tx.ordinal++
	if d.tx.full(d.limits) {
		return d.tx.flush(d.limits)
	}
	return nil
}

func (d *Decoder) truncate(msg []byte) error {
	c := newCursor(msg)
	n := c.uint32("number of relations")
	c.uint8("options")
	if c.failed == "" && uint64(n)*4 != uint64(len(msg)-c.pos) {
		c.fail("the list of relations has another length than it says")
	}
	if c.failed != "" {
		return c.err()
	}
	if err := d.inTransaction(msg); err != nil {
		return err
	}
	for range n {
		offset := c.pos
		oid := c.uint32("relation")
		t := d.tables[oid]
		if t == nil {
			return &ProtocolError{Message: 'T', Offset: offset, Reason: fmt.Sprintf("relation %d was never described", oid)}
		}
		if t.rel != nil {
			d.tx.truncate(t.group, t.rel)
		}
		d.tx.ordinal++
	}
	return nil
}
