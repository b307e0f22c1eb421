package cdc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// ImageShape is which columns of a table an image of its rows holds, and in which order: all of the table's, but those that hold
// secrets. Images outlive the table's present form: one of an earlier shape is read column by column, by name, and a column that did not
// exist then, or that any later shape lacks or has with another type or number (it was dropped and made anew), is Unknown: what has the name now is another column.
// Of a table that was dropped and made anew nothing is known.
//
// A packed image is a value for each column of the shape: a varint, 0 for NULL, 1 for Unknown, otherwise the length of the text and 2, and
// then the text.
//
// An ImageShape is for one goroutine.
type ImageShape struct {
	table   uint32   // OID; 0 for any
	columns []Column // by name
	lost    []bool   // of these, which a later shape does not have, see follow
	gone    bool     // a later shape is of another table
	text    []byte   // see Encode
	fits    map[*Relation]imageFit
}

// maxImageFits bounds what is remembered of relations that images were packed from and unpacked to.
const maxImageFits = 64

// NewImageShape returns the shape of a relation's rows, with the columns for which keep returns true and of which it is known which ones they are.
func NewImageShape(rel *Relation, keep func(rel *Relation, column string) bool) (*ImageShape, error) {
	s := &ImageShape{table: rel.OID}
	for _, c := range rel.Columns {
		if c.Number != ColumnGone && (keep == nil || keep(rel, c.Name)) {
			s.columns = append(s.columns, Column{Name: c.Name, Type: c.Type, Number: c.Number})
		}
	}
	slices.SortFunc(s.columns, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	s.lost = make([]bool, len(s.columns))
	out := encodedShape{Table: s.table, Columns: make([]shapeColumn, len(s.columns))}
	for i, c := range s.columns {
		out.Columns[i] = shapeColumn{encodedColumn{Name: c.Name, Type: encodeType(c.Type)}, c.Number}
	}
	var err error
	if s.text, err = json.Marshal(out); err != nil {
		return nil, fmt.Errorf("encode the shape of %s: %w", rel, err)
	}
	return s, nil
}

// encodedShape is a shape as JSON.
type encodedShape struct {
	Table   uint32        `json:"table"`
	Columns []shapeColumn `json:"columns"`
}

type shapeColumn struct {
	encodedColumn
	Number int16 `json:"number,omitempty"`
}

// DecodeImageShapes reads the shapes that a table has had, in their order. One that cannot be read is nil, and nothing is known of images from before it;
// the error is of the last such.
func DecodeImageShapes(texts [][]byte) (shapes []*ImageShape, err error) {
	for _, text := range texts {
		shape, wrong := DecodeImageShape(text)
		if wrong != nil {
			err = wrong
		}
		shapes = FollowImageShape(shapes, shape)
	}
	return shapes, err
}

// FollowImageShape adds the next shape of a table to those that it has had.
func FollowImageShape(shapes []*ImageShape, next *ImageShape) []*ImageShape {
	for _, s := range shapes {
		if s == nil {
			continue
		}
		s.fits = nil
		if next == nil || !s.SameTable(next.table) {
			s.gone = true
			continue
		}
		for i := range s.columns {
			s.lost[i] = s.lost[i] || !next.has(&s.columns[i])
		}
	}
	return append(shapes, next)
}

// DecodeImageShape reads what Encode wrote.
func DecodeImageShape(text []byte) (*ImageShape, error) {
	var in encodedShape
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("decode the shape of images: %w", err)
	}
	s := &ImageShape{table: in.Table, text: text, lost: make([]bool, len(in.Columns))}
	for _, c := range in.Columns {
		typ, err := c.Type.decode()
		if err != nil {
			return nil, fmt.Errorf("decode the shape of images: column %s: %w", c.Name, err)
		}
		s.columns = append(s.columns, Column{Name: c.Name, Type: typ, Number: c.Number})
	}
	return s, nil
}

// Columns are the names of the columns that an image holds.
func (s *ImageShape) Columns() (names []string) {
	for i := range s.columns {
		names = append(names, s.columns[i].Name)
	}
	return names
}

// Encode is the shape as JSON.
func (s *ImageShape) Encode() []byte { return s.text }

// Table is the OID of the table that the shape is of; 0 stands for any.
func (s *ImageShape) Table() uint32 { return s.table }

// SameTable says that the shape is of the table with an OID; 0 stands for any.
func (s *ImageShape) SameTable(oid uint32) bool { return s.table == oid || s.table == 0 || oid == 0 }

// Extends says that the shape has a column that another one lacks, or has with another type or number, or is of another table: images of the other one say less.
func (s *ImageShape) Extends(o *ImageShape) bool {
	for i := range s.columns {
		if !o.has(&s.columns[i]) {
			return true
		}
	}
	return !s.SameTable(o.table)
}

func (s *ImageShape) has(c *Column) bool {
	i, found := slices.BinarySearchFunc(s.columns, c.Name, func(d Column, name string) int { return strings.Compare(d.Name, name) })
	return found && s.columns[i].Type.OID == c.Type.OID && s.columns[i].Number == c.Number
}

// Holds says that images of the shape hold a column of a relation of the same table: this one, and not another one that had its name before.
func (s *ImageShape) Holds(rel *Relation, column string) bool {
	i := rel.Column(column)
	return i >= 0 && s.Tells(rel) && s.has(&rel.Columns[i])
}

// Tells says that rows of a relation can be read from the shape's images: they are of the same table.
func (s *ImageShape) Tells(rel *Relation) bool { return !s.gone && s.SameTable(rel.OID) }

// imageFit is where the columns of a relation and of a shape are in the other; -1 for nowhere.
type imageFit struct{ toShape, toRel []int }

func (s *ImageShape) fit(rel *Relation) imageFit {
	if f, ok := s.fits[rel]; ok {
		return f
	}
	if len(s.fits) >= maxImageFits || s.fits == nil {
		s.fits = make(map[*Relation]imageFit)
	}
	f := imageFit{make([]int, len(rel.Columns)), make([]int, len(s.columns))}
	for i := range f.toShape {
		f.toShape[i] = -1
	}
	for i, c := range s.columns {
		f.toRel[i] = -1
		j := rel.Column(c.Name)
		if j < 0 || s.lost[i] || !s.Tells(rel) {
			continue
		}
		if to := &rel.Columns[j]; to.Type.OID == c.Type.OID && (to.Number == c.Number || to.Number == 0) { // 0: of whoever takes the images as they are
			f.toRel[i], f.toShape[j] = j, i
		}
	}
	s.fits[rel] = f
	return f
}

// The first numbers of a packed value.
const (
	packedNull = iota
	packedUnknown
	packedText // and the length
)

// Pack appends an image of a row. What the row does not hold is Unknown in it.
func (s *ImageShape) Pack(dst []byte, row Row) []byte {
	if row.rel == nil {
		return dst
	}
	for _, i := range s.fit(row.rel).toRel {
		dst = packValue(dst, row.Value(i)) // Unknown for -1
	}
	return dst
}

func packValue(dst []byte, v Value) []byte {
	switch v.State {
	case Null:
		return append(dst, packedNull)
	case Unknown:
		return append(dst, packedUnknown)
	}
	dst = binary.AppendUvarint(dst, uint64(len(v.Text))+packedText)
	return append(dst, v.Text...)
}

var errImageShort = errors.New("the image ends too early")

// Unpack reads an image as a row of a relation of the same table. The row does not keep data.
func (s *ImageShape) Unpack(rel *Relation, data []byte) (Row, error) {
	var scratch [128][]byte
	values := scratch[:0]
	if len(s.columns) > len(scratch) {
		values = make([][]byte, 0, len(s.columns))
	}
	size := 0
	for range s.columns { // what is left of data, from each value on
		values = append(values, data)
		n, width := binary.Uvarint(data)
		if width <= 0 {
			return Row{}, fmt.Errorf("unpack an image of %s: %w", rel, errImageShort)
		}
		data = data[width:]
		if n >= packedText {
			if n -= packedText; n > uint64(len(data)) || n > math.MaxInt32 {
				return Row{}, fmt.Errorf("unpack an image of %s: %w", rel, errImageShort)
			}
			data = data[n:]
			size += int(n)
		}
	}
	if len(data) > 0 {
		return Row{}, fmt.Errorf("unpack an image of %s: %d bytes too many", rel, len(data))
	}
	row := Row{Image: ImageFull, rel: rel, tuple: make([]byte, 0, size+5*len(rel.Columns)), at: make([]uint32, len(rel.Columns))}
	for i, at := range s.fit(rel).toShape {
		row.at[i] = uint32(len(row.tuple))
		if at < 0 {
			row.tuple = append(row.tuple, 'u')
			continue
		}
		switch n, width := binary.Uvarint(values[at]); n {
		case packedNull:
			row.tuple = append(row.tuple, 'n')
		case packedUnknown:
			row.tuple = append(row.tuple, 'u')
		default:
			row.tuple = binary.BigEndian.AppendUint32(append(row.tuple, 't'), uint32(n-packedText))
			row.tuple = append(row.tuple, values[at][width:uint64(width)+n-packedText]...)
		}
	}
	return row, nil
}

// Key returns the primary key of a row as text, see [Change]; false when the row does not hold all of it, or the table has none.
func (r Row) Key() (string, bool) {
	key, ok := appendKey(nil, r)
	return string(key), ok
}

// CompleteAfter fills in the values of the row after that WAL left out (unchanged TOAST, trap 6), from an earlier version of the row.
func (c *Change) CompleteAfter(from Row) {
	if from.rel == nil || c.After.rel == nil || !c.After.partial() {
		return
	}
	tuple, _ := fillUnknown(make([]byte, 0, len(c.After.tuple)+len(from.tuple)), c.After, from)
	if row, ok := NewRow(c.After.rel, c.After.Image, tuple); ok {
		c.After = row
	}
}

// Complete fills in what WAL does not hold of a write or an unlink, with the row as it was before the change: Before, unless it is known, and
// unchanged values of After. The zero Row leaves the change as it is.
func (c *Change) Complete(before Row) {
	if before.rel == nil || c.Op == Create {
		return
	}
	if c.Before.Image == ImageUnknown || c.Before.Image == ImageKey {
		c.Before = before
	}
	c.CompleteAfter(before)
}

// Partial says that the row after has values that are not known.
func (c *Change) Partial() bool { return c.After.partial() }

// partial says that some column is not known.
func (r *Row) partial() bool {
	for _, at := range r.at {
		if r.tuple[at] == 'u' {
			return true
		}
	}
	return false
}
