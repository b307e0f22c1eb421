package state

import (
	"bytes"
	"slices"
	"strings"
	"testing"

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
	bodies := [][][]byte{nil, {}, {{}}, {nil}, {{0, 255}, nil, bytes.Repeat([]byte{7}, 100_000)}}
	for _, v := range bodies {
		same(pgtype.ByteaArrayOID, v)
	}
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
