package state

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"walhook/internal/pgtest"
)

// Arrays arrive as they were: what the server reads, and byte for byte what the driver would have sent.
func TestArraysAreEncodedAsByTheDriver(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	plain := pgtype.NewMap()
	encodeArrays(conn)
	same := func(oid uint32, value any) {
		t.Helper()
		want, err := plain.Encode(oid, pgtype.BinaryFormatCode, value, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{0, 1 << 20} {
			got, err := conn.TypeMap().Encode(oid, pgtype.BinaryFormatCode, value, append(make([]byte, 0, 3+room), "abc"...))
			if want == nil && got == nil && err == nil {
				continue
			}
			if err != nil || !bytes.Equal(got, append([]byte("abc"), want...)) {
				t.Errorf("%v is encoded as %x, want %x behind abc: %v", value, got, want, err)
			}
		}
	}
	texts := [][]string{nil, {}, {""}, {"a", "", "é\n", strings.Repeat("x", 100_000)}}
	for _, v := range texts {
		same(pgtype.TextArrayOID, v)
	}
	headers := headerList{{"B": {"2", "3"}, "A": {"x"}}, nil, {"C": {strings.Repeat("x", 100_000)}}, {}}
	for n := range len(headers) + 1 {
		var want []string
		for _, h := range headers[:n] {
			text, _ := appendHeaders(nil, h, nil)
			want = append(want, string(text))
		}
		encoded, err := plain.Encode(pgtype.TextArrayOID, pgtype.BinaryFormatCode, append([]string{}, want...), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := conn.TypeMap().Encode(pgtype.TextArrayOID, pgtype.BinaryFormatCode, headers[:n], []byte("abc")); err != nil || !bytes.Equal(got, append([]byte("abc"), encoded...)) {
			t.Errorf("%v is encoded as %.200x, want %.200x behind abc: %v", headers[:n], got, encoded, err)
		}
	}
	bodies := [][][]byte{nil, {}, {{}}, {nil}, {{0, 255}, nil, bytes.Repeat([]byte{7}, 100_000)}}
	for _, v := range bodies {
		same(pgtype.ByteaArrayOID, v)
	}
	whole, wide := []int32{0, 1, -1, math.MaxInt32, math.MinInt32}, []int64{0, 1, -1, math.MaxInt64, math.MinInt64}
	truths := []bool{true, false}
	times := []time.Time{time.Date(2026, 7, 1, 12, 0, 0, 123_456_789, time.FixedZone("x", 3600)), time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC), {}, time.Unix(0, 0)}
	same(pgtype.Int4ArrayOID, whole)
	same(pgtype.Int4ArrayOID, []int32(nil))
	same(pgtype.Int4ArrayOID, []int32{})
	same(pgtype.Int4ArrayOID, wide[:3]) // the driver's own codec takes it
	same(pgtype.Int8ArrayOID, wide)
	same(pgtype.Int8ArrayOID, []int64(nil))
	same(pgtype.Int8ArrayOID, whole)
	same(pgtype.BoolArrayOID, truths)
	same(pgtype.BoolArrayOID, []bool{})
	same(pgtype.TimestamptzArrayOID, times)
	same(pgtype.TimestamptzArrayOID, []time.Time(nil))
	for i := range texts {
		var text []string
		var body [][]byte
		if err := conn.QueryRow(t.Context(), "SELECT $1::text[], $2::bytea[]", texts[i], bodies[i]).Scan(&text, &body); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(text, texts[i]) || cmp.Diff(bodies[i], body) != "" {
			t.Errorf("read back %q and %q", text, body)
		}
	}
}
