package cdc

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// EncodeChange writes a change as JSON that holds all that is needed to read it again, table shapes
// and types included, so that an event can be kept for longer than its transaction (parked events).
// Values of columns for which keep returns false are left out and become Unknown: that is how
// secrets are kept out. A nil keep keeps everything.
func EncodeChange(c *Change, keep func(column string) bool) ([]byte, error) {
	return EncodeEvent(c, func(_ *Relation, column string) bool { return keep == nil || keep(column) })
}

// EncodeEvent is EncodeChange with a keep that is told of which table a column is: what is gathered with the change is of others.
func EncodeEvent(c *Change, keepOf func(rel *Relation, column string) bool) ([]byte, error) {
	if c.Rel == nil {
		return nil, errors.New("encode change: no relation")
	}
	keep := func(column string) bool { return keepOf(c.Rel, column) }
	out := encodedChange{Op: c.Op.String(), Key: encodedValue{State: Present, Text: []byte(c.Key)}, Ordinal: c.Ordinal, Writes: c.Writes, Raw: c.Raw}
	out.Relations = append(out.Relations, encodeRelation(c.Rel))
	known := []*Relation{c.Rel}
	for _, side := range []struct {
		row Row
		out **encodedRow
	}{{c.Before, &out.Before}, {c.After, &out.After}} {
		if side.row.Image == ImageNone {
			continue
		}
		row := &encodedRow{Image: imageNames[side.row.Image]}
		*side.out = row
		rel := side.row.rel
		if rel == nil {
			continue
		}
		row.Relation = -1
		for i, r := range known {
			if r == rel {
				row.Relation = i
			}
		}
		if row.Relation < 0 {
			row.Relation = len(known)
			known = append(known, rel)
			out.Relations = append(out.Relations, encodeRelation(rel))
		}
		row.Values = make([]encodedValue, len(rel.Columns))
		for i, col := range rel.Columns {
			if keep(col.Name) {
				row.Values[i] = encodedValue(side.row.Value(i))
			}
		}
	}
	var err error
	if out.Gathered, err = encodeGathered(c.Gathered, keepOf); err != nil {
		return nil, err
	}
	out.Origin = c.Origin
	if k := c.Cascade; k != nil {
		out.Cascade = &encodedCascade{k.Schema, k.Table, k.Key}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode change of %s: %w", c.Rel, err)
	}
	return data, nil
}

// DecodeChange reads what [EncodeChange] wrote. The Change stands on its own: its memory is not shared.
func DecodeChange(data []byte) (*Change, error) {
	var in encodedChange
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("decode change: %w", err)
	}
	c := &Change{Key: string(in.Key.Text), Ordinal: in.Ordinal, Writes: in.Writes, Raw: in.Raw}
	for op := Create; op <= Schedule; op++ {
		if op.String() == in.Op {
			c.Op = op
		}
	}
	if c.Op == 0 {
		return nil, fmt.Errorf("decode change: unknown operation %q", in.Op)
	}
	if len(in.Relations) == 0 {
		return nil, errors.New("decode change: no relation")
	}
	relations := make([]*Relation, len(in.Relations))
	for i, r := range in.Relations {
		var err error
		if relations[i], err = r.decode(); err != nil {
			return nil, fmt.Errorf("decode change: %w", err)
		}
	}
	c.Rel = relations[0]
	var err error
	if c.Before, err = in.Before.decode(relations); err != nil {
		return nil, fmt.Errorf("decode change of %s: row before: %w", c.Rel, err)
	}
	if c.After, err = in.After.decode(relations); err != nil {
		return nil, fmt.Errorf("decode change of %s: row after: %w", c.Rel, err)
	}
	if c.Origin = in.Origin; c.Origin > FromResync {
		return nil, fmt.Errorf("decode change: unknown origin %d", in.Origin)
	}
	if k := in.Cascade; k != nil {
		c.Cascade = &Cascade{k.Schema, k.Table, k.Key}
	}
	c.Gathered, err = in.Gathered.decode()
	return c, err
}

// encodedChange is the JSON form of a Change. Fields may be added, their meaning must not change: parked
// events outlive versions of walhook.
type encodedChange struct {
	Op        string            `json:"op"`
	Key       encodedValue      `json:"key"`
	Ordinal   uint64            `json:"ordinal"`
	Writes    int               `json:"writes"`
	Raw       bool              `json:"raw,omitempty"`
	Relations []encodedRelation `json:"relations"` // the change's own first, then another one that a row has
	Before    *encodedRow       `json:"before,omitempty"`
	After     *encodedRow       `json:"after,omitempty"`
	Gathered  *encodedGathered  `json:"gathered,omitempty"`
	Cascade   *encodedCascade   `json:"cascade,omitempty"`
	Origin    Origin            `json:"origin,omitempty"`
}

type encodedRelation struct {
	OID      uint32          `json:"oid"`
	Schema   string          `json:"schema"`
	Name     string          `json:"name"`
	Identity string          `json:"identity,omitempty"`
	Columns  []encodedColumn `json:"columns"`
	Key      []string        `json:"key,omitempty"`
}

type encodedColumn struct {
	Name string       `json:"name"`
	Type *encodedType `json:"type"`
}

type encodedType struct {
	OID   uint32       `json:"oid"`
	Name  string       `json:"name"`
	Kind  string       `json:"kind"`
	Elem  *encodedType `json:"elem,omitempty"`
	Delim string       `json:"delim,omitempty"`
}

type encodedRow struct {
	Image    string         `json:"image"`
	Relation int            `json:"relation"`
	Values   []encodedValue `json:"values,omitempty"`
}

// encodedValue is a string, null for NULL, {} for an unknown value, or {"base64": …} for text
// that is not UTF-8 (databases in encoding SQL_ASCII hold such).
type encodedValue Value

type encodedBytes struct {
	Base64 []byte `json:"base64,omitempty"`
}

var imageNames = [...]string{ImageNone: "none", ImageUnknown: "unknown", ImageKey: "key", ImageFull: "full"}

// MarshalJSON implements json.Marshaler.
func (v encodedValue) MarshalJSON() ([]byte, error) {
	switch {
	case v.State == Null:
		return []byte("null"), nil
	case v.State != Present:
		return []byte("{}"), nil
	case utf8.Valid(v.Text):
		return json.Marshal(string(v.Text))
	}
	return json.Marshal(encodedBytes{Base64: v.Text})
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *encodedValue) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case 'n':
		v.State = Null
		return nil
	case '"':
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		v.State, v.Text = Present, []byte(s)
		return nil
	}
	var b encodedBytes
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	if b.Base64 != nil {
		v.State, v.Text = Present, b.Base64
	}
	return nil
}

func encodeRelation(r *Relation) encodedRelation {
	out := encodedRelation{OID: r.OID, Schema: r.Schema, Name: r.Name, Key: r.keyNames(), Columns: make([]encodedColumn, len(r.Columns))}
	if r.Identity != 0 {
		out.Identity = string(rune(r.Identity))
	}
	for i, col := range r.Columns {
		out.Columns[i] = encodedColumn{Name: col.Name, Type: encodeType(col.Type)}
	}
	return out
}

func (r encodedRelation) decode() (*Relation, error) {
	var identity byte
	if r.Identity != "" {
		identity = r.Identity[0]
	}
	if len(r.Identity) > 1 {
		return nil, fmt.Errorf("relation %s.%s: replica identity %q", r.Schema, r.Name, r.Identity)
	}
	cols := make([]Column, len(r.Columns))
	for i, col := range r.Columns {
		typ, err := col.Type.decode()
		if err != nil {
			return nil, fmt.Errorf("relation %s.%s: column %s: %w", r.Schema, r.Name, col.Name, err)
		}
		cols[i] = Column{Name: col.Name, Type: typ}
	}
	rel := NewRelation(r.OID, r.Schema, r.Name, identity, cols, r.Key)
	if len(rel.Key) != len(r.Key) {
		return nil, fmt.Errorf("relation %s: a column of the primary key is missing", rel)
	}
	return rel, nil
}

func encodeType(t *Type) *encodedType {
	if t == nil {
		return nil
	}
	out := &encodedType{OID: t.OID, Name: t.Name, Kind: t.Kind.String(), Elem: encodeType(t.Elem)}
	if t.Delim != 0 {
		out.Delim = string(rune(t.Delim))
	}
	return out
}

func (t *encodedType) decode() (*Type, error) {
	if t == nil {
		return nil, errors.New("no type")
	}
	kind, ok := kindNamed(t.Kind)
	if !ok {
		return nil, fmt.Errorf("unknown kind %q", t.Kind)
	}
	out := &Type{OID: t.OID, Name: t.Name, Kind: kind}
	if kind != KindArray {
		return out, nil
	}
	if len(t.Delim) > 1 {
		return nil, fmt.Errorf("delimiter %q", t.Delim)
	}
	if t.Delim != "" {
		out.Delim = t.Delim[0]
	}
	var err error
	out.Elem, err = t.Elem.decode()
	return out, err
}

// decode returns the row; of a nil row ImageNone.
func (r *encodedRow) decode(relations []*Relation) (Row, error) {
	if r == nil {
		return Row{}, nil
	}
	for image, name := range imageNames {
		if name != r.Image {
			continue
		}
		if Image(image) == ImageNone || Image(image) == ImageUnknown {
			return Row{Image: Image(image)}, nil
		}
		if r.Relation < 0 || r.Relation >= len(relations) {
			return Row{}, fmt.Errorf("no relation %d", r.Relation)
		}
		rel := relations[r.Relation]
		values := make([]Value, len(r.Values))
		for i, v := range r.Values {
			values[i] = Value(v)
		}
		row, ok := NewRow(rel, Image(image), AppendTuple(nil, values))
		if !ok {
			return Row{}, fmt.Errorf("%d values for %d columns", len(values), len(rel.Columns))
		}
		return row, nil
	}
	return Row{}, fmt.Errorf("unknown image %q", r.Image)
}
