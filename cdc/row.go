package cdc

import "encoding/binary"

// Image says how much of a row version is known.
type Image uint8

// The images.
const (
	ImageNone    Image = iota // there is no such row: before a create, after an unlink
	ImageUnknown              // there was a row, but WAL does not hold it (replica identity DEFAULT)
	ImageKey                  // only the primary key is known; other columns are Unknown
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
	end, _, ok := scanTuple(tuple, at)
	if !ok || end != len(tuple) {
		return Row{}, false
	}
	return Row{Image: image, rel: rel, tuple: tuple, at: at}, true
}

// scanTuple reads len(at) columns and fills at with the offset of each. It
// returns the length of what it read and how many columns are unchanged TOAST. When data
// is no such tuple it reports false, and end is where it stopped.
func scanTuple(data []byte, at []uint32) (end, unchanged int, ok bool) {
	pos := 0
	for i := range at {
		if pos >= len(data) {
			return pos, unchanged, false
		}
		at[i] = uint32(pos)
		switch data[pos] {
		case 't':
			if len(data)-pos < 5 {
				return pos, unchanged, false
			}
			n := int(int32(binary.BigEndian.Uint32(data[pos+1:])))
			if n < 0 || n > len(data)-pos-5 {
				return pos, unchanged, false
			}
			pos += 5 + n
		case 'n':
			pos++
		case 'u':
			unchanged++
			pos++
		default:
			return pos, unchanged, false
		}
	}
	return pos, unchanged, true
}

// Relation is the table shape that the row belongs to, which for Change.Before
// can be an older one than Change.Rel after DDL in the middle of a transaction; nil for ImageNone and ImageUnknown.
func (r Row) Relation() *Relation { return r.rel }

// Value returns column i. It is Unknown when the image does not hold the column. Conditions call it for every column that they read, and copying a
// Row would cost more than what it does: hence the pointer.
func (r *Row) Value(i int) Value {
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
		if r.Image == ImageKey {
			return Value{Type: typ} // not sent: a primary key is never NULL (an identity index on other columns)
		}
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

// appendKey appends the primary key of a row as text, see [Change]. It
// reports false when the table has no primary key or the row does not hold all of it.
func appendKey(dst []byte, r Row) ([]byte, bool) {
	if r.rel == nil || len(r.rel.Key) == 0 {
		return dst, false
	}
	if len(r.rel.Key) == 1 {
		v := r.Value(r.rel.Key[0])
		return append(dst, v.Text...), v.State == Present
	}
	for n, i := range r.rel.Key {
		v := r.Value(i)
		if v.State != Present {
			return dst, false
		}
		if n > 0 {
			dst = append(dst, ',')
		}
		for _, c := range v.Text {
			if c == ',' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
		}
	}
	return dst, true
}

// fillUnknown appends the tuple of row to dst, with the columns that WAL left out (unchanged
// TOAST) taken from an earlier version of the same row (trap 6). Columns are matched by name,
// since the two versions can have different shapes; one whose type differs is not taken.
// It returns how many columns remain unknown.
func fillUnknown(dst []byte, row, from Row) ([]byte, int) {
	unknown := 0
	for i := range row.at {
		v := row.Value(i)
		if v.State == Unknown && from.rel != nil {
			j := i
			if from.rel != row.rel {
				j = from.rel.Column(row.rel.Columns[i].Name)
			}
			if old := from.Value(j); j >= 0 && old.State != Unknown && old.Type.OID == v.Type.OID {
				v = old
			}
		}
		if v.State == Unknown {
			unknown++
		}
		dst = AppendTuple(dst, []Value{v})
	}
	return dst, unknown
}
