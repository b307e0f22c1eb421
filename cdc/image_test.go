package cdc

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func imageRelation(columns ...Column) *Relation {
	return NewRelation(1, "public", "t", 'd', append([]Column{{Name: "id", Type: BuiltinType(23)}}, columns...), []string{"id"})
}

// An image unpacked is the row that was packed, whatever is in it; what must not be kept is unknown.
func TestImageRoundTrip(t *testing.T) {
	rel := imageRelation(Column{Name: "a", Type: BuiltinType(25)}, Column{Name: "secret", Type: BuiltinType(25)}, Column{Name: "b", Type: BuiltinType(25)})
	shape, err := NewImageShape(rel, func(_ *Relation, column string) bool { return column != "secret" })
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeImageShape(shape.Encode())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		values := make([]Value, len(rel.Columns))
		for i := range values {
			values[i] = Value{State: State(rapid.IntRange(0, 2).Draw(t, "state")), Type: rel.Columns[i].Type}
			if values[i].State == Present {
				values[i].Text = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "text")
			}
		}
		row, _ := NewRow(rel, ImageFull, AppendTuple(nil, values))
		data := shape.Pack([]byte("in front"), row)
		got, err := again.Unpack(rel, data[len("in front"):])
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range values {
			if rel.Columns[i].Name == "secret" {
				want = Value{}
			}
			if v := got.Value(i); !v.Equal(want) {
				t.Fatalf("column %s: %v, want %v", rel.Columns[i].Name, v, want)
			}
		}
		if _, ok := NewRow(rel, ImageFull, got.tuple); !ok || !slices.Equal(got.at, func() []uint32 { r, _ := NewRow(rel, ImageFull, got.tuple); return r.at }()) {
			t.Fatalf("the row is not what it would be in WAL: %v", got)
		}
	})
}

// Images outlive the form of their table: columns are found by name, those that are new or of another type are unknown.
func TestImageOfAnotherShape(t *testing.T) {
	text, integer := BuiltinType(25), BuiltinType(23)
	old := imageRelation(Column{Name: "gone", Type: text}, Column{Name: "typed", Type: text}, Column{Name: "kept", Type: text})
	now := imageRelation(Column{Name: "kept", Type: text}, Column{Name: "typed", Type: integer}, Column{Name: "added", Type: text})
	shape, err := NewImageShape(old, nil)
	if err != nil {
		t.Fatal(err)
	}
	row, _ := NewRow(old, ImageFull, AppendTuple(nil, []Value{{State: Present, Text: []byte("7")}, {State: Present, Text: []byte("x")}, {State: Present, Text: []byte("1")}, {State: Null}}))
	got, err := shape.Unpack(now, shape.Pack(nil, row))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []State{Present, Null, Unknown, Unknown} {
		if v := got.Value(i); v.State != want {
			t.Errorf("%s: %v, want %v", now.Columns[i].Name, v.State, want)
		}
	}
	newer, err := NewImageShape(now, nil)
	if err != nil {
		t.Fatal(err)
	}
	fewer, err := NewImageShape(imageRelation(Column{Name: "kept", Type: text}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !newer.Extends(shape) || fewer.Extends(shape) || shape.Extends(shape) {
		t.Error("a shape extends another one when it has a column that the other has not")
	}
}

// A column that was dropped, or had another type for a while, is not the one of its name that came later; nor is a table.
func TestImageOfAColumnMadeAnew(t *testing.T) {
	text, integer := BuiltinType(25), BuiltinType(23)
	with, without, typed := imageRelation(Column{Name: "b", Type: text}, Column{Name: "a", Type: text}), imageRelation(Column{Name: "a", Type: text}),
		imageRelation(Column{Name: "a", Type: text}, Column{Name: "b", Type: integer})
	other := NewRelation(2, "public", "t", 'd', slices.Clone(with.Columns), []string{"id"})
	shape := func(rel *Relation) *ImageShape {
		s, err := NewImageShape(rel, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	row, _ := NewRow(with, ImageFull, AppendTuple(nil, []Value{{State: Present, Text: []byte("7")}, {State: Present, Text: []byte("old")}, {State: Null}}))
	data := shape(with).Pack(nil, row)
	for name, c := range map[string]struct {
		later []*Relation
		to    *Relation
		want  []State // of id, b, a
	}{
		"as it was":                 {nil, with, []State{Present, Present, Null}},
		"dropped and added again":   {[]*Relation{without, with}, with, []State{Present, Unknown, Null}},
		"of another type meanwhile": {[]*Relation{typed, with}, with, []State{Present, Unknown, Null}},
		"added after it":            {[]*Relation{with}, with, []State{Present, Present, Null}},
		"another table":             {nil, other, []State{Unknown, Unknown, Unknown}},
		"another table meanwhile":   {[]*Relation{other, with}, with, []State{Unknown, Unknown, Unknown}},
	} {
		texts := [][]byte{shape(with).Encode()}
		for _, rel := range c.later {
			texts = append(texts, shape(rel).Encode())
		}
		shapes, err := DecodeImageShapes(texts)
		if err != nil {
			t.Fatal(err)
		}
		got, err := shapes[0].Unpack(c.to, data)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			if v := got.Value(i); v.State != want {
				t.Errorf("%s: %s is %v, want %v", name, c.to.Columns[i].Name, v.State, want)
			}
		}
	}
	if shapes, err := DecodeImageShapes([][]byte{shape(with).Encode(), []byte("?")}); err == nil || len(shapes) != 2 || shapes[1] != nil || shapes[0].Tells(with) {
		t.Errorf("images from before a shape that cannot be read tell of rows: %v, %v", shapes, err)
	}
}

// A column that was dropped and made anew is told apart by its number, although WAL describes the table as before; where the number is not known, its values are not kept.
func TestImageOfAColumnWithAnotherNumber(t *testing.T) {
	text := BuiltinType(25)
	numbered := func(a int16) *Relation {
		rel := imageRelation(Column{Name: "a", Type: text, Number: a}, Column{Name: "b", Type: text, Number: 9})
		rel.Columns[0].Number = 1
		return rel
	}
	shape := func(rel *Relation) *ImageShape {
		s, err := NewImageShape(rel, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = DecodeImageShape(s.Encode()); err != nil {
			t.Fatal(err)
		}
		return s
	}
	row, _ := NewRow(numbered(2), ImageFull, AppendTuple(nil, []Value{{State: Present, Text: []byte("7")}, {State: Present, Text: []byte("old")}, {State: Null}}))
	for number, want := range map[int16]State{2: Present, 0: Present, 4: Unknown, ColumnGone: Unknown} {
		s := shape(numbered(2))
		got, err := s.Unpack(numbered(number), s.Pack(nil, row))
		if err != nil || got.Value(1).State != want || got.Value(2).State != Null {
			t.Errorf("column number %d: %v %v %v, want %v", number, got.Value(1).State, got.Value(2).State, err, want)
		}
	}
	if !shape(numbered(4)).Extends(shape(numbered(2))) || shape(numbered(2)).Extends(shape(numbered(2))) {
		t.Error("a column made anew is one that images lack")
	}
	if slices.Contains(shape(numbered(ColumnGone)).Columns(), "a") {
		t.Error("a column that is gone is kept")
	}
	if s := shape(numbered(2)); !s.Holds(numbered(2), "a") || s.Holds(numbered(4), "a") || s.Holds(numbered(2), "c") {
		t.Error("which columns a shape holds")
	}
}

// WAL describes a table with the same words after a column was made anew: the catalog tells, and a new relation begins. What it tells may be ahead of WAL.
func TestRelationOfAColumnMadeAnew(t *testing.T) {
	schema := testSchema()
	schema.columns = map[uint32]map[string]ColumnNumber{byKey.oid: {"id": {Number: 1}, "a": {Number: 2}}} // b is gone by now
	schema.seen = 500
	d := NewDecoder(schema, wantNet, Limits{TempDir: t.TempDir()})
	rel := func() *Relation {
		t.Helper()
		tx := play(t, d, begin(1), byKey.relation(), byKey.insert(row("1", "x", "y")), commit())[0]
		for c := range tx.Changes() {
			return c.Rel
		}
		t.Fatal("no change")
		return nil
	}
	first := rel()
	if n := first.Columns[1].Number; n != 2 || first.Columns[2].Number != ColumnGone || first.Ahead(400) {
		t.Errorf("%+v", first.Columns)
	}
	schema.seen = 600
	if rel() != first {
		t.Error("the same columns, and another relation")
	}
	schema.columns[byKey.oid]["a"] = ColumnNumber{Number: 4, Anew: true}
	again := rel()
	if again == first || again.Columns[1].Number != 4 || !again.Ahead(600) || again.Ahead(601) {
		t.Errorf("after it was made anew: %+v", again.Columns)
	}
}

// FuzzImageUnpack reads whatever stands in the table: an error, never a panic, nor a row with places outside of it.
func FuzzImageUnpack(f *testing.F) {
	f.Add([]byte{3, '7', 0, 1}, []byte(`{"columns":[{"name":"id","type":{"oid":23,"name":"integer","kind":"int"}},{"name":"a","type":{"oid":25,"name":"text","kind":"text"}},{"name":"b","type":{"oid":25,"name":"text","kind":"text"}}]}`))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1}, []byte(`{"columns":[{"name":"id","type":{"oid":23,"name":"integer","kind":"int"}}]}`))
	rel := imageRelation(Column{Name: "a", Type: BuiltinType(25)}, Column{Name: "b", Type: BuiltinType(25)})
	f.Fuzz(func(t *testing.T, data, text []byte) {
		shape, err := DecodeImageShape(text)
		if err != nil {
			return
		}
		row, err := shape.Unpack(rel, data)
		if err != nil {
			return
		}
		for i := range rel.Columns {
			row.Value(i)
		}
		if _, ok := NewRow(rel, ImageFull, row.tuple); !ok {
			t.Error("the row is not one that WAL could hold")
		}
	})
}

// An update of the key that leaves unchanged values out says where the row stood before the transaction, and has what the transaction itself wrote.
func TestKeyUpdateNamesWhereItCameFrom(t *testing.T) {
	move := func(from, to string) wire { return byKey.updateOld('K', row(from, nil, nil), row(to, "m", toast)) }
	messages := []wire{begin(1), byKey.relation(), byKey.insert(row("1", "a", "big")), move("1", "2"), move("5", "6"), move("6", "7"), byKey.insert(row("8", "a", "x")),
		byKey.delete('K', row("9", nil, nil)), move("10", "9"), commit()}
	for memory, want := range map[int64][]string{
		DefaultMemory: {"create 2  big", "unlink 5  -", "create 7 5 -", "create 8  x", "write 9 10 -", "unlink 10  -"},
		1:             {"create 2 1 -", "unlink 5  -", "create 7 6 -", "create 8  x", "write 9 10 -", "unlink 10  -"}, // what went to a file is not looked for
	} {
		var got []string
		tx := play(t, NewDecoder(testSchema(), wantNet, Limits{Memory: memory, TempDir: t.TempDir()}), messages...)[0]
		for c, err := range tx.Changes() {
			if err != nil {
				t.Fatal(err)
			}
			b := "-"
			if v := c.After.Value(2); v.State == Present {
				b = string(v.Text)
			}
			got = append(got, fmt.Sprintf("%s %s %s %s", c.Op, c.Key, c.From, b))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("with %d bytes: %q, want %q", memory, got, want)
		}
	}
}
