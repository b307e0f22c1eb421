package cdc

import (
	"context"
	"fmt"
	"testing"
)

// BenchmarkDecode decodes updates of a table with 47 columns under REPLICA IDENTITY FULL, in transactions of 1, 100
// and 300,000 rows. One operation is one row.
func BenchmarkDecode(b *testing.B) {
	wide, before, after := wideUpdate()
	for _, size := range []int{1, 100, 300_000} {
		for _, c := range []struct {
			name string
			want func(string, string) (bool, bool)
		}{{"unwanted", wantNone}, {"wanted", wantNet}} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				d := NewDecoder(testSchema(), c.want, Limits{TempDir: b.TempDir()})
				ctx := context.Background()
				decode := func(m []byte) *Tx {
					tx, err := d.Decode(ctx, m)
					if err != nil {
						b.Fatal(err)
					}
					return tx
				}
				decode(wide.relation())
				update, first, last := []byte(wide.updateOld('O', before, after)), []byte(begin(1)), []byte(commit())
				secondKey := 13 + 6 + len(update[19:]) - len(tuple(after...)) + 2 + 5
				b.SetBytes(int64(len(update)))
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					if n%size == 0 {
						decode(first)
					}
					key := uint32(n % size)
					for i := range 6 { // another row each time
						digit := '0' + byte(key%10)
						update[18-i], update[secondKey+5-i] = digit, digit
						key /= 10
					}
					decode(update)
					if n++; n%size == 0 {
						finish(b, decode(last))
					}
				}
				if n%size != 0 {
					finish(b, decode(last))
				}
			})
		}
	}
}

// finish reads all changes, as a handler would.
func finish(b *testing.B, tx *Tx) {
	for c, err := range tx.Changes() {
		if err != nil {
			b.Fatal(err)
		}
		if c.After.Value(2).State == Unknown {
			b.Fatal("unknown")
		}
	}
	if err := tx.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAny(b *testing.B) {
	for _, v := range []Value{value(KindInt, "123456"), value(KindNumeric, "1234.50"), value(KindTimestamp, "2024-01-31 10:00:00.123456"),
		value(KindJSON, `{"en_US": "Chair"}`), array(KindInt, "{1,2,3,4,5,6}")} {
		b.Run(v.Type.Kind.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Any(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNumericCmp(b *testing.B) {
	x, y := Numeric("12345678.90"), Numeric("10000")
	b.ReportAllocs()
	for b.Loop() {
		if x.Cmp(y) != 1 {
			b.Fatal("wrong")
		}
	}
}

// Rows that nobody wants cost no allocation, whatever is in them, and neither does finding the next message of the stream.
func TestUninterestingRowsAllocateNothing(t *testing.T) {
	wide, before, after := wideUpdate()
	d := NewDecoder(testSchema(), wantNone, Limits{TempDir: t.TempDir()})
	play(t, d, begin(1), wide.relation())
	messages := [][]byte{wide.updateOld('O', before, after), wide.updateOld('K', before, after), wide.update(after), wide.insert(after), wide.delete('O', before), wide.delete('K', before)}
	var stream []byte
	for _, m := range messages {
		header := append([]byte{'w'}, make([]byte, 24)...)
		stream = append(stream, framed('d', append(header, m...))...)
	}
	in := newInflow(nil)
	in.to = copy(in.buf, stream)
	n := testing.AllocsPerRun(200, func() {
		in.from = 0
		for range messages {
			body, ok := in.buffered()
			if !ok {
				t.Fatal("the message is not there")
			}
			e, err := parseEvent(body)
			if err != nil {
				t.Fatal(err)
			}
			if tx, err := d.Decode(t.Context(), e.wal); tx != nil || err != nil {
				t.Fatal(tx, err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%d rows allocate %v times", len(messages), n)
	}
}

// A row that is written again and again in a transaction keeps its place.
func TestRowsWrittenAgainAllocateNothing(t *testing.T) {
	wide, before, after := wideUpdate()
	d := NewDecoder(testSchema(), wantNet, Limits{TempDir: t.TempDir()})
	play(t, d, begin(1), wide.relation(), wide.updateOld('O', before, after))
	update := []byte(wide.updateOld('O', before, after))
	if n := testing.AllocsPerRun(200, func() {
		if _, err := d.Decode(t.Context(), update); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a further write of a row allocates %v times", n)
	}
}
