package cdc

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
)

// FuzzNumeric holds comparisons against math/big.
func FuzzNumeric(f *testing.F) {
	for _, s := range []string{"0", "-0.00", "1.10", "1.1", "NaN", "Infinity", "-Infinity", "1e5", "100000", ".5", "5.", "-1e-400", "00012", "1e99999999999", "+3"} {
		f.Add(s, "1.10")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, ok := ParseNumeric(a)
		y, ok2 := ParseNumeric(b)
		if !ok || !ok2 {
			return
		}
		if x.Cmp(y) != -y.Cmp(x) || x.Cmp(x) != 0 {
			t.Fatalf("%s and %s: %d and %d", a, b, x.Cmp(y), y.Cmp(x))
		}
		if !x.Finite() || !y.Finite() || len(a)+len(b) > 100 || far(a) || far(b) {
			return
		}
		p, ok := new(big.Rat).SetString(a)
		q, ok2 := new(big.Rat).SetString(b)
		if !ok || !ok2 {
			t.Fatalf("%q or %q is a number, and not for math/big", a, b)
		}
		if x.Cmp(y) != p.Cmp(q) || x.Sign() != p.Sign() {
			t.Fatalf("%s against %s is %d, want %d; sign %d", a, b, x.Cmp(y), p.Cmp(q), x.Sign())
		}
	})
}

// far says that an exponent would take math/big long.
func far(number string) bool {
	_, exponent, ok := strings.Cut(strings.ToLower(number), "e")
	return ok && len(exponent) > 4
}

// FuzzTime holds dates and timestamps against package time's own parser, which is stricter about nothing that PostgreSQL writes.
func FuzzTime(f *testing.F) {
	for _, s := range []string{"2024-02-29", "2024-06-30 10:00:00.25+05:30", "0044-03-15 BC", "infinity", "2024-12-31 23:59:60", "294276-12-31 00:00:00", "2023-02-29", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59-15:59:59"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseDate([]byte(text)); err == nil {
			if at, ok := got.(time.Time); ok {
				if want, err := time.Parse(time.DateOnly, text); err == nil && !at.Equal(want) || err != nil && len(text) == len(time.DateOnly) {
					t.Errorf("date %q is %s, want %s, %v", text, at, want, err)
				}
			} else if got != text {
				t.Errorf("date %q becomes %q", text, got)
			}
		}
		for _, zone := range []bool{false, true} {
			got, err := parseTimestamp([]byte(text), zone)
			if err != nil {
				continue
			}
			at, ok := got.(time.Time)
			if !ok {
				if got != text {
					t.Errorf("timestamp %q becomes %q", text, got)
				}
				continue
			}
			if strings.Contains(text, ":60") || strings.Contains(text, "24:00:00") {
				continue // a leap second, and the end of a day, which package time does not know
			}
			plain := strings.Replace(text, "T", " ", 1)
			for _, layout := range []string{"2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999-07:00:00"} {
				if want, err := time.Parse(layout, plain); err == nil && !at.Equal(want) {
					t.Errorf("timestamp %q is %s, want %s", text, at, want)
				}
			}
		}
	})
}

// FuzzArray writes lists in PostgreSQL's form and reads them back.
func FuzzArray(f *testing.F) {
	f.Add("a,b", uint8(0))
	f.Add(`"\{},NULL,null, x ,`, uint8(3))
	text := BuiltinType(1009)
	f.Fuzz(func(t *testing.T, all string, depth uint8) {
		elements := strings.Split(all, ",")
		var quoted []string
		for i, e := range elements {
			if i%5 == 4 {
				quoted = append(quoted, "NULL")
				continue
			}
			quoted = append(quoted, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(e)+`"`)
		}
		levels := 1 + int(depth%maxDimensions)
		got, err := parseArray(text, []byte(strings.Repeat("{", levels)+strings.Join(quoted, ",")+strings.Repeat("}", levels)))
		if err != nil {
			t.Fatal(err)
		}
		for range levels - 1 {
			list := got.([]any)
			if len(list) != 1 {
				t.Fatalf("%v", got)
			}
			got = list[0]
		}
		list := got.([]any)
		if len(list) != len(elements) {
			t.Fatalf("%q has become %q", elements, list)
		}
		for i, e := range elements {
			if i%5 == 4 && list[i] != nil || i%5 != 4 && list[i] != e {
				t.Fatalf("element %d: %q has become %q", i, e, list[i])
			}
		}
	})
}

// FuzzBytea writes bytes in both of PostgreSQL's forms and reads them back.
func FuzzBytea(f *testing.F) {
	f.Add([]byte{0, 'a', '\\', 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		var escaped strings.Builder
		for _, b := range data {
			switch {
			case b == '\\':
				escaped.WriteString(`\\`)
			case b < ' ' || b > '~':
				fmt.Fprintf(&escaped, `\%03o`, b)
			default:
				escaped.WriteByte(b)
			}
		}
		for _, text := range []string{`\x` + hex.EncodeToString(data), escaped.String()} {
			if got, err := parseBytes([]byte(text)); err != nil || !bytes.Equal(got.([]byte), data) {
				t.Fatalf("%s: %x, %v", text, got, err)
			}
		}
		_, _ = parseBytes(data) // garbage is an error or not, and nothing else
	})
}

// FuzzSnapshot reads snapshots as the server writes them, and asks whether transactions are in them; garbage is an error.
func FuzzSnapshot(f *testing.F) {
	f.Add(uint64(740), uint8(3), uint64(1), "740:745:741,743")
	f.Add(uint64(1<<32-2), uint8(200), uint64(0x5555), "1:2")
	f.Add(uint64(5<<32), uint8(0), uint64(0), "::")
	f.Fuzz(func(t *testing.T, xmin uint64, ahead uint8, running uint64, garbage string) {
		_, _ = parseSnapshot(garbage)
		xmin = 3 + xmin%(1<<62)
		xmax := xmin + uint64(ahead)
		var list []string
		open := map[uint64]bool{}
		for i := range uint64(64) {
			if running>>i&1 == 1 && xmin+i < xmax {
				open[xmin+i] = true
				list = append(list, strconv.FormatUint(xmin+i, 10))
			}
		}
		s, err := parseSnapshot(fmt.Sprintf("%d:%d:%s", xmin, xmax, strings.Join(list, ",")))
		if err != nil {
			t.Fatal(err)
		}
		for xid := max(3, xmin-min(xmin, 70)); xid < xmax+70; xid++ {
			if want := xid >= xmax || open[xid]; s.has(uint32(xid)) != want {
				t.Fatalf("transaction %d in %d:%d:%v: %v, want %v", xid, xmin, xmax, list, !want, want)
			}
		}
	})
}

// FuzzLSN holds the text form of positions against its definition.
func FuzzLSN(f *testing.F) {
	f.Add(uint64(0))
	f.Add(uint64(0x16B3748))
	f.Add(^uint64(0))
	f.Fuzz(func(t *testing.T, n uint64) {
		text := fmt.Sprintf("%X/%X", n>>32, uint32(n))
		parsed, err := pglogrepl.ParseLSN(text)
		var scanned LSN
		err2 := scanned.Scan(text)
		if err != nil || err2 != nil || uint64(parsed) != n || scanned != parsed || LSN(n).String() != text {
			t.Fatalf("%d: %s, %s, %s, %v, %v", n, LSN(n), parsed, scanned, err, err2)
		}
	})
}

// FuzzKey takes keys of several columns apart again.
func FuzzKey(f *testing.F) {
	f.Add("1", "2", "3")
	f.Add(",", `\`, `a\,b`)
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		parts := []string{a, b, c}
		rel := &Relation{Schema: "s", Name: "t", Key: []int{0, 1, 2}}
		values := make([]Value, 3)
		for i, part := range parts {
			rel.Columns = append(rel.Columns, Column{Name: strconv.Itoa(i), Key: true, Type: BuiltinType(25)})
			values[i] = Value{State: Present, Text: []byte(part)}
		}
		row, ok := NewRow(rel, ImageFull, AppendTuple(nil, values))
		if !ok {
			t.Fatal("no row")
		}
		key, ok := appendKey(nil, row)
		if got := splitKey(string(key), 3); !ok || !slices.Equal(got, parts) {
			t.Fatalf("%q is %q and becomes %q", parts, key, got)
		}
	})
}

// FuzzSpillRun reads any bytes as a run of the index that a large transaction is sorted with: a damaged file is an error, and what can be read can
// be written and read again.
func FuzzSpillRun(f *testing.F) {
	p := part{group: 3, rel: 1, key: "42", before: imageRef{image: ImageFull, rel: 1, at: 100, len: 7}, after: imageRef{image: ImageKey, at: 1 << 40}}
	p.ordinal, p.writes, p.created = 9, 2, true
	f.Add(p.encode(nil))
	f.Add(p.encode(p.encode(nil)))
	f.Add([]byte{0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func(data []byte) (all []part, err error) {
			file, err := newSpillFile(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer file.close()
			if _, err := file.append(data); err != nil {
				t.Fatal(err)
			}
			if err := file.flush(); err != nil {
				t.Fatal(err)
			}
			for p, err := range mergeRuns(file, comparePartOrdinals, []run{{at: 0, len: int64(len(data))}}) {
				if err != nil {
					return all, err
				}
				all = append(all, *p)
			}
			return all, nil
		}
		all, err := read(data)
		if err != nil {
			return
		}
		var again []byte
		for i := range all {
			again = all[i].encode(again)
		}
		if back, err := read(again); err != nil || !slices.Equal(back, all) {
			t.Fatalf("%+v is written and read as %+v, %v", all, back, err)
		}
	})
}
