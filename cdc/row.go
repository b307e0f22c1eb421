package cdc

import "encoding/binary"

// Image says how much of a row version is known.
type Image uint8

// The images.
const (
	ImageNone    Image = iota // there is no such row: before a create, after an unlink
	ImageUnknown              // there was a row, but WAL does not hold it (replica identity DEFAULT)
	ImageKey                  // only the primary key is known
	ImageFull                 // all columns, except single ones that are unchanged TOAST without an old row
)

// State tells NULL from unknown. They are never the same thing (trap 6).
type State uint8

// The states of a value.
const (
	Unknown State = iota // WAL does not hold it
	Null
	Present
)

// Value is one column of one row: PostgreSQL's text form, not yet converted.
// Text points into the transaction's memory, see [Change].
type Value struct {
	State State
	Text  []byte
	Type  *Type
}

// Row is one version of a table row. The zero Row is ImageNone.
//
// It holds the tuple in pgoutput's own encoding (per column 'n', 'u', or 't'
// with a 4-byte length and the text) and finds columns in it without copying.
type Row struct {
	Image Image
	rel   *Relation
	tuple []byte
	at    []uint32 // offset of each column's tag in tuple
}

// NewRow makes a row from an encoded tuple body (without its column count).
// It reports false when the tuple does not hold exactly the relation's
// columns.
func NewRow(rel *Relation, image Image, tuple []byte) (Row, bool) {
	at := make([]uint32, len(rel.Columns))
	if !indexTuple(tuple, at) {
		return Row{}, false
	}
	return Row{Image: image, rel: rel, tuple: tuple, at: at}, true
}

// indexTuple fills at with the offset of each column; false for garbage.
func indexTuple(tuple []byte, at []uint32) bool {
	pos := 0
	for i := range at {
		if pos >= len(tuple) {
			return false
		}
		at[i] = uint32(pos)
		switch tuple[pos] {
		case 'n', 'u':
			pos++
		case 't':
			if len(tuple)-pos < 5 {
				return false
			}
			n := int(int32(binary.BigEndian.Uint32(tuple[pos+1:])))
			if n < 0 || n > len(tuple)-pos-5 {
				return false
			}
			pos += 5 + n
		default:
			return false
		}
	}
	return pos == len(tuple)
}

// Relation is the table shape that the row belongs to; nil for ImageNone and ImageUnknown.
func (r Row) Relation() *Relation { return r.rel }

// Value returns column i. It is Unknown when the image does not hold the column.
func (r Row) Value(i int) Value {
	if r.rel == nil || i < 0 || i >= len(r.at) {
		return Value{}
	}
	typ := r.rel.Columns[i].Type
	if r.Image == ImageKey && !r.rel.Columns[i].Key {
		return Value{Type: typ}
	}
	p := r.at[i]
	switch r.tuple[p] {
	case 'n':
		return Value{State: Null, Type: typ}
	case 't':
		n := binary.BigEndian.Uint32(r.tuple[p+1:])
		return Value{State: Present, Text: r.tuple[p+5 : p+5+n : p+5+n], Type: typ}
	}
	return Value{Type: typ}
}

// AppendTuple encodes column values as a tuple body, for tests and for
// rows that did not come from WAL.
func AppendTuple(dst []byte, values []Value) []byte {
	for _, v := range values {
		switch v.State {
		case Null:
			dst = append(dst, 'n')
		case Present:
			dst = append(dst, 't')
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(v.Text)))
			dst = append(dst, v.Text...)
		default:
			dst = append(dst, 'u')
		}
	}
	return dst
}
