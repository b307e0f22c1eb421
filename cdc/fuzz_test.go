package cdc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
)

// FuzzDecode feeds a decoder that knows two tables any message, between good ones. Garbage is an error that names its
// place, never a panic, and Reset mends it; what is accepted is what pglogrepl's parser finds.
func FuzzDecode(f *testing.F) {
	for _, c := range coalesceCases {
		for _, m := range c.messages {
			f.Add([]byte(m))
		}
	}
	f.Add([]byte(begin(1)))
	f.Add([]byte(commit()))
	f.Add([]byte(typeMsg(99999, "public", "mood")))
	f.Add([]byte(wire("A").u32(5).u32(6)))
	f.Add([]byte(wire("O").u64(7).str("elsewhere")))
	f.Add([]byte(wire("M").u8(1).u64(7).str("walhook").u32(2).raw([]byte("{}"))))
	f.Add([]byte(truncateMsg(full, byKey)))
	f.Add([]byte(full.relation()))
	f.Add([]byte(full.updateOld('O', row(1, "x", nil), row(1, toast, "y"))))
	f.Add([]byte(full.updateOld('K', row(1, nil, nil), row(2, "x", toast))))
	f.Add([]byte(full.delete('O', row(1, "x", nil))))
	f.Add([]byte(full.delete('K', row(1, nil, nil))))
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, memory := range []int64{0, 1} {
			d := NewDecoder(testSchema(), wantRaw, Limits{Memory: memory, TempDir: t.TempDir()})
			play(t, d, begin(1), full.relation(), byKey.relation(), pair.relation())
			tx, err := d.Decode(t.Context(), msg)
			if err != nil {
				var protocol *ProtocolError
				if !errors.As(err, &protocol) || protocol.Offset < 0 || protocol.Offset > len(msg) && len(msg) >= 6 {
					t.Fatalf("%#v", err)
				}
				d.Reset()
				play(t, d, begin(1), full.relation(), full.insert(row(1, "x", nil)), commit())
				continue
			}
			if tx == nil {
				tx = play(t, d, commit())[0]
			}
			for c, err := range tx.Changes() {
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range []Row{c.Before, c.After} {
					if r.rel == nil {
						continue
					}
					for i := range r.rel.Columns {
						if v := r.Value(i); v.State == Present {
							v.Any() // of garbage an error, which has nothing to say here
						}
					}
				}
				comparePglogrepl(t, msg, c)
			}
			if err := tx.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// comparePglogrepl checks one raw change against pglogrepl's parse of its message.
func comparePglogrepl(t *testing.T, msg []byte, c *Change) {
	t.Helper()
	if c.Op == Truncate {
		return
	}
	parsed, err := pglogrepl.Parse(msg)
	if err != nil {
		t.Fatalf("pglogrepl: %v", err)
	}
	if c.Op == Message {
		// The flag is a bit; pglogrepl takes a message with further ones for one that is not transactional.
		if m, ok := parsed.(*pglogrepl.LogicalDecodingMessage); !ok || msg[1]&1 == 0 || m.Prefix != "walhook" {
			t.Fatalf("an event of %#v", parsed)
		}
		return
	}
	var before, after string
	switch m := parsed.(type) {
	case *pglogrepl.InsertMessage:
		after = parsedRow(m.Tuple, nil, false)
	case *pglogrepl.DeleteMessage:
		before = parsedRow(m.OldTuple, nil, m.OldTupleType == 'K')
	case *pglogrepl.UpdateMessage:
		if m.OldTuple != nil {
			before = parsedRow(m.OldTuple, nil, m.OldTupleType == 'K')
		}
		// Of a key row only the primary key fills what the new row lacks.
		if m.OldTupleType == 'K' {
			for i, col := range m.OldTuple.Columns {
				if !c.Rel.Columns[i].Key {
					col.DataType = 'n'
				}
			}
		}
		after = parsedRow(m.NewTuple, m.OldTuple, false)
	}
	if diff := cmp.Diff(before, keyOnly(c.Before, before)); diff != "" && c.Op != Create && c.Before.Image != ImageKey {
		t.Fatalf("before (-pglogrepl +walhook):\n%s", diff)
	}
	if diff := cmp.Diff(after, rawRow(c.After)); diff != "" && c.Op != Unlink {
		t.Fatalf("after (-pglogrepl +walhook):\n%s", diff)
	}
}

func keyOnly(r Row, otherwise string) string {
	if r.Image == ImageKey {
		return otherwise
	}
	return rawRow(r)
}

// FuzzAny converts any text as any type, array types included.
func FuzzAny(f *testing.F) {
	for _, c := range typeCases {
		f.Add(uint32(0), c.literal)
	}
	for _, b := range builtins {
		f.Add(b.oid, "1")
		f.Add(b.array, `{{1,NULL},{"a\"b",2}}`)
	}
	f.Add(uint32(1184), "2024-06-30 10:00:00.25+05:30")
	f.Add(uint32(1082), "0044-03-15 BC")
	f.Add(uint32(17), `\\ab\000`)
	f.Add(uint32(1231), "[0:1]={1e5,NaN}")
	f.Fuzz(func(t *testing.T, oid uint32, text string) {
		typ := BuiltinType(oid)
		if typ == nil {
			typ = &Type{OID: oid, Kind: Kind(oid % uint32(KindArray+1)), Delim: ',', Elem: BuiltinType(1231)}
		}
		got, err := Value{State: Present, Text: []byte(text), Type: typ}.Any()
		var valueErr *ValueError
		switch {
		case err != nil && !errors.As(err, &valueErr):
			t.Fatalf("%#v", err)
		case err == nil && got == nil:
			t.Fatal("nil for a value that is not NULL")
		}
		if n, ok := got.(Numeric); ok && (n.Cmp(n) != 0 || string(n) != text) {
			t.Fatalf("%q became %q", text, n)
		}
	})
}

// FuzzDecodeChange reads any bytes as a change. What can be read can be written and read again.
func FuzzDecodeChange(f *testing.F) {
	for _, c := range coalesceCases {
		for _, change := range changesOf(f, wantNet, c.messages...) {
			data, err := EncodeChange(change, nil)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeChange(data)
		if err != nil {
			return
		}
		again, err := EncodeChange(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeChange(again)
		if err != nil {
			t.Fatalf("%v\n%s", err, again)
		}
		if diff := cmp.Diff(show(c), show(back)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// FuzzStream feeds a decoder a sequence of length-prefixed messages.
func FuzzStream(f *testing.F) {
	for _, c := range coalesceCases {
		var stream []byte
		for _, m := range append(append([]wire{begin(1)}, c.messages...), commit()) {
			stream = binary.BigEndian.AppendUint16(stream, uint16(len(m)))
			stream = append(stream, m...)
		}
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		results := map[int64]string{}
		for _, memory := range []int64{0, 1, 2000} {
			d := NewDecoder(testSchema(), wantBoth, Limits{Memory: memory, TempDir: t.TempDir()})
			out, rest := "", stream
			for len(rest) >= 2 {
				n := min(int(binary.BigEndian.Uint16(rest)), len(rest)-2)
				tx, err := d.Decode(t.Context(), rest[2:2+n])
				rest = rest[2+n:]
				if err != nil {
					out += fmt.Sprintln(err)
					d.Reset()
				}
				if tx == nil {
					continue
				}
				for c, err := range tx.Changes() {
					if err != nil {
						t.Fatal(err)
					}
					out += fmt.Sprintln(show(c))
				}
				if err := tx.Close(); err != nil {
					t.Fatal(err)
				}
			}
			d.Reset()
			results[memory] = out
		}
		// Invariant 6: whatever was sent, the file changes nothing.
		if results[0] != results[1] || results[0] != results[2000] {
			t.Fatalf("in memory:\n%s\nspilled after every row:\n%s\nsometimes:\n%s", results[0], results[1], results[2000])
		}
	})
}
