package cdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// wire builds pgoutput messages.
type wire []byte

func (w wire) u8(b byte) wire              { return append(w, b) }
func (w wire) u16(n int) wire              { return binary.BigEndian.AppendUint16(w, uint16(n)) }
func (w wire) u32(n uint32) wire           { return binary.BigEndian.AppendUint32(w, n) }
func (w wire) u64(n uint64) wire           { return binary.BigEndian.AppendUint64(w, n) }
func (w wire) str(s string) wire           { return append(append(w, s...), 0) }
func (w wire) raw(b []byte) wire           { return append(w, b...) }
func begin(xid uint32) wire                { return wire("B").u64(1000).u64(0).u32(xid) }
func commit() wire                         { return wire("C").u8(0).u64(1000).u64(1024).u64(86_400_000_000) }
func typeMsg(oid uint32, s, n string) wire { return wire("Y").u32(oid).str(s).str(n) }

// shape is a table of a test: columns of type text unless "name:oid" says otherwise, key columns marked by *.
type shape struct {
	oid      uint32
	name     string
	identity byte
	cols     []string
}

func (s shape) relation() wire {
	w := wire("R").u32(s.oid).str("public").str(s.name).u8(s.identity).u16(len(s.cols))
	for _, c := range s.cols {
		name, key := strings.CutPrefix(c, "*")
		oid := uint32(25)
		if n, o, ok := strings.Cut(name, ":"); ok {
			name = n
			fmt.Sscan(o, &oid)
		}
		flags := byte(0)
		if s.identity == 'f' || s.identity == 'd' && key {
			flags = 1
		}
		w = w.u8(flags).str(name).u32(oid).u32(0xffffffff)
	}
	return w
}

// tuple encodes values: nil is NULL, toast is unchanged TOAST, the rest its text.
type toastMark struct{}

var toast = toastMark{}

func tuple(values ...any) []byte {
	w := wire{}.u16(len(values))
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			w = w.u8('n')
		case toastMark:
			w = w.u8('u')
		default:
			s := fmt.Sprint(v)
			w = w.u8('t').u32(uint32(len(s))).raw([]byte(s))
		}
	}
	return w
}

func row(values ...any) []any { return values }

func (s shape) insert(after []any) wire { return wire("I").u32(s.oid).u8('N').raw(tuple(after...)) }
func (s shape) update(after []any) wire { return wire("U").u32(s.oid).u8('N').raw(tuple(after...)) }
func (s shape) updateOld(tag byte, before, after []any) wire {
	return wire("U").u32(s.oid).u8(tag).raw(tuple(before...)).u8('N').raw(tuple(after...))
}
func (s shape) delete(tag byte, before []any) wire {
	return wire("D").u32(s.oid).u8(tag).raw(tuple(before...))
}
func truncateMsg(shapes ...shape) wire {
	w := wire("T").u32(uint32(len(shapes))).u8(0)
	for _, s := range shapes {
		w = w.u32(s.oid)
	}
	return w
}

// keys is a Schema that knows primary keys and types by OID.
type fakeSchema struct {
	keys  map[uint32][]string
	types map[uint32]*Type
	err   error

	columns map[uint32]map[string]ColumnNumber
	seen    LSN
}

func (s *fakeSchema) Type(_ context.Context, oid uint32) (*Type, error) { return s.types[oid], s.err }
func (s *fakeSchema) Describe(_ context.Context, oid uint32) (Description, error) {
	return Description{Key: s.keys[oid], Columns: s.columns[oid], Seen: s.seen}, s.err
}

func wantNet(string, string) (net, raw bool)  { return true, false }
func wantRaw(string, string) (net, raw bool)  { return false, true }
func wantBoth(string, string) (net, raw bool) { return true, true }
func wantNone(string, string) (net, raw bool) { return false, false }

// play decodes messages, each from a buffer that is overwritten afterwards, as the contract of
// Decode allows, and returns the transactions.
func play(t testing.TB, d *Decoder, messages ...wire) []*Tx {
	t.Helper()
	txs, err := tryPlay(t, d, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return txs
}

func tryPlay(t testing.TB, d *Decoder, messages ...wire) ([]*Tx, error) {
	t.Helper()
	var txs []*Tx
	for _, m := range messages {
		buf := append([]byte(nil), m...)
		tx, err := d.Decode(t.Context(), buf)
		for i := range buf {
			buf[i] = 0xee
		}
		if err != nil {
			return txs, err
		}
		if tx != nil {
			txs = append(txs, tx)
			t.Cleanup(func() {
				if err := tx.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	return txs, nil
}

// show writes a change on one line: "3 write t 7 {a=1 b=NULL} → {a=2 b=?} ×2".
func show(c *Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s %s", c.Ordinal, c.Op, c.Rel.Name)
	if c.Raw {
		b.WriteString(" raw")
	}
	if c.Op == Truncate {
		return b.String()
	}
	fmt.Fprintf(&b, " %s %s → %s", c.Key, showRow(c.Before), showRow(c.After))
	if c.Writes != 1 {
		fmt.Fprintf(&b, " ×%d", c.Writes)
	}
	return b.String()
}

func showRow(r Row) string {
	switch r.Image {
	case ImageNone:
		return "none"
	case ImageUnknown:
		return "unknown"
	}
	var parts []string
	for i, col := range r.Relation().Columns {
		v := r.Value(i)
		switch v.State {
		case Null:
			parts = append(parts, col.Name+"=NULL")
		case Unknown:
			parts = append(parts, col.Name+"=?")
		default:
			parts = append(parts, col.Name+"="+string(v.Text))
		}
	}
	s := "{" + strings.Join(parts, " ") + "}"
	if r.Image == ImageKey {
		return "key" + s
	}
	return s
}

func showAll(t testing.TB, tx *Tx) []string {
	t.Helper()
	out := []string{}
	for c, err := range tx.Changes() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, show(c))
	}
	return out
}

var errTest = errors.New("the catalog is away")

var testTime = time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)
