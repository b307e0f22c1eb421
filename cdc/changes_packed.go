package cdc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// ChangePacker appends changes to a packed run of them, in which each table's shape stands once: with the first of its changes. It is
// many times smaller and cheaper to make than as many texts of [EncodeChange], and a change cannot be read without those before it. What
// other rows gathered with a change is not packed.
//
// keep says which columns are packed; the others become Unknown, which is how secrets are kept out. It is asked once per shape.
type ChangePacker struct {
	keep  func(rel *Relation, column string) bool
	known map[*Relation]packedShape
}

// packedShape is a shape in a run.
type packedShape struct {
	number uint64
	left   []bool // columns that are left out; nil for none
}

// NewChangePacker begins a run. A nil keep keeps everything.
func NewChangePacker(keep func(rel *Relation, column string) bool) *ChangePacker {
	return &ChangePacker{keep: keep, known: make(map[*Relation]packedShape)}
}

// Reset begins another run.
func (p *ChangePacker) Reset() { clear(p.known) }

// tagSame stands in a packed row for a value that is the same as in the row before. The others are pgoutput's.
const tagSame = 's'

// Append appends a change, whose memory it doesn't keep.
func (p *ChangePacker) Append(dst []byte, c *Change) ([]byte, error) {
	if c.Rel == nil {
		return dst, errors.New("pack change: no relation")
	}
	var flags byte
	for i, set := range [...]bool{c.Raw, c.Cascade != nil} {
		if set {
			flags |= 1 << i
		}
	}
	dst = append(dst, byte(c.Op), flags)
	dst, _, err := p.shape(dst, c.Rel)
	if err != nil {
		return dst, err
	}
	dst = appendText(dst, c.Key)
	dst = binary.AppendUvarint(dst, c.Ordinal)
	dst = binary.AppendUvarint(dst, uint64(c.Writes))
	if dst, err = p.row(dst, &c.Before, nil); err != nil {
		return dst, err
	}
	if dst, err = p.row(dst, &c.After, &c.Before); err != nil {
		return dst, err
	}
	if k := c.Cascade; k != nil {
		dst = appendText(appendText(appendText(dst, k.Schema), k.Table), k.Key)
	}
	return dst, nil
}

// shape appends the number of a shape, and the shape itself when it is new.
func (p *ChangePacker) shape(dst []byte, rel *Relation) ([]byte, packedShape, error) {
	if s, ok := p.known[rel]; ok {
		return binary.AppendUvarint(dst, s.number), s, nil
	}
	s := packedShape{number: uint64(len(p.known))}
	for i := range rel.Columns {
		if p.keep != nil && !p.keep(rel, rel.Columns[i].Name) {
			if s.left == nil {
				s.left = make([]bool, len(rel.Columns))
			}
			s.left[i] = true
		}
	}
	data, err := json.Marshal(encodeRelation(rel))
	if err != nil {
		return dst, s, fmt.Errorf("pack the shape of %s: %w", rel, err)
	}
	p.known[rel] = s
	dst = binary.AppendUvarint(dst, s.number)
	return appendText(dst, string(data)), s, nil
}

// row appends a row: its image and, of one that has values, its shape and them. Values that before has as well are not repeated.
func (p *ChangePacker) row(dst []byte, r, before *Row) ([]byte, error) {
	dst = append(dst, byte(r.Image))
	if r.rel == nil {
		return dst, nil
	}
	dst, s, err := p.shape(dst, r.rel)
	if err != nil {
		return dst, err
	}
	same := before != nil && before.rel == r.rel
	for i := range r.at {
		value := r.raw(i)
		switch {
		case s.left != nil && s.left[i]:
			dst = append(dst, 'u')
		case same && len(value) > 1 && string(value) == string(before.raw(i)):
			dst = append(dst, tagSame)
		default:
			dst = append(dst, value...)
		}
	}
	return dst, nil
}

// raw returns column i as it lies in the tuple, tag included.
func (r *Row) raw(i int) []byte {
	end := uint32(len(r.tuple))
	if i+1 < len(r.at) {
		end = r.at[i+1]
	}
	return r.tuple[r.at[i]:end]
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// ChangeUnpacker reads what a [ChangePacker] wrote, from the beginning of a run. The zero value is ready.
type ChangeUnpacker struct{ shapes []*Relation }

// Next reads one change, which data holds and nothing else. The change keeps data; changes of one shape share their Relation.
func (u *ChangeUnpacker) Next(data []byte) (*Change, error) {
	in := packedReader{rest: data}
	op, flags := in.byte(), in.byte()
	c := &Change{Op: Op(op), Raw: flags&1 != 0}
	c.Rel = in.shape(u)
	c.Key = string(in.text())
	c.Ordinal = in.number()
	c.Writes = int(min(in.number(), math.MaxInt32))
	c.Before = in.row(u, nil)
	c.After = in.row(u, &c.Before)
	if flags&2 != 0 {
		c.Cascade = &Cascade{string(in.text()), string(in.text()), string(in.text())}
	}
	switch {
	case in.err != nil:
		return nil, fmt.Errorf("unpack change: %w", in.err)
	case len(in.rest) > 0:
		return nil, errors.New("unpack change: bytes after it")
	case c.Op < Create || c.Op > Schedule:
		return nil, fmt.Errorf("unpack change: unknown operation %d", op)
	}
	return c, nil
}

// packedReader takes values from the front of a packed change. After the first error it yields zeroes.
type packedReader struct {
	rest []byte
	err  error
}

var errPackedShort = errors.New("the data ends too early")

func (r *packedReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

func (r *packedReader) byte() byte {
	if len(r.rest) == 0 {
		r.fail(errPackedShort)
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *packedReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail(errPackedShort)
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *packedReader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errPackedShort)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *packedReader) text() []byte { return r.take(r.number()) }

// shape reads the number of a shape, and the shape itself when it is new.
func (r *packedReader) shape(u *ChangeUnpacker) *Relation {
	n := r.number()
	switch {
	case r.err != nil:
		return nil
	case n < uint64(len(u.shapes)):
		return u.shapes[n]
	case n > uint64(len(u.shapes)):
		r.fail(fmt.Errorf("no relation %d", n))
		return nil
	}
	var shape encodedRelation
	if text := r.text(); r.err == nil {
		if err := json.Unmarshal(text, &shape); err != nil {
			r.fail(err)
			return nil
		}
	}
	rel, err := shape.decode()
	if err != nil {
		r.fail(err)
		return nil
	}
	u.shapes = append(u.shapes, rel)
	return rel
}

func (r *packedReader) row(u *ChangeUnpacker, before *Row) Row {
	switch image := Image(r.byte()); image {
	case ImageNone, ImageUnknown:
		return Row{Image: image}
	case ImageKey, ImageFull:
		rel := r.shape(u)
		if r.err != nil {
			return Row{}
		}
		if row, ok := NewRow(rel, image, r.tuple(rel, before)); ok {
			return row
		}
		r.fail(fmt.Errorf("a row does not fit the columns of %s", rel))
	default:
		r.fail(fmt.Errorf("unknown image %d", image))
	}
	return Row{}
}

// tuple reads a row's values, with those of the row before put in where they are the same.
func (r *packedReader) tuple(rel *Relation, before *Row) []byte {
	var out []byte
	for i := range rel.Columns {
		switch tag := r.byte(); tag {
		case tagSame:
			if before == nil || before.rel != rel {
				r.fail(errors.New("no row before to take a value from"))
				return nil
			}
			out = append(out, before.raw(i)...)
		case 't':
			size := r.take(4)
			if r.err != nil {
				return nil
			}
			out = append(append(out, 't'), size...)
			out = append(out, r.take(uint64(binary.BigEndian.Uint32(size)))...)
		case 'n', 'u':
			out = append(out, tag)
		default:
			r.fail(fmt.Errorf("unknown value tag %q", tag))
			return nil
		}
	}
	return out
}
