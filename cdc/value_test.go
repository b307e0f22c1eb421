package cdc

import (
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func value(kind Kind, text string) Value {
	return Value{State: Present, Text: []byte(text), Type: &Type{Name: "a type", Kind: kind}}
}

func array(elem Kind, text string) Value {
	return Value{State: Present, Text: []byte(text), Type: &Type{Name: "an array", Kind: KindArray, Elem: &Type{Kind: elem}, Delim: ','}}
}

// Forms that PostgreSQL gives in other sessions than ours, and forms that no SELECT in wal_test.go shows.
func TestAny(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want any
	}{
		{value(KindBytes, `ab\\c\000\377`), []byte("ab\\c\x00\xff")},
		{value(KindTimestampTZ, "2024-06-30 10:00:00-03:30"), time.Date(2024, 6, 30, 13, 30, 0, 0, time.UTC)},
		{value(KindTimestampTZ, "1900-01-01 00:00:00+00:19:32"), time.Date(1899, 12, 31, 23, 40, 28, 0, time.UTC)},
		{value(KindTimestampTZ, "0001-01-01 00:00:00+01"), "0001-01-01 00:00:00+01"}, // year 0 in UTC
		{value(KindTimestamp, "2024-06-30T10:00:00"), time.Date(2024, 6, 30, 10, 0, 0, 0, time.UTC)},
		{value(KindOther, "(1,2)"), "(1,2)"},
		{Value{State: Null, Type: &Type{Kind: KindInt}}, nil},
		{Value{State: Present, Text: []byte("x")}, "x"},
		{array(KindText, `{null,NULL,"NULL",\NULL}`), []any{nil, nil, "NULL", "NULL"}},
		{array(KindText, `{{a,b},{c,d}}`), []any{[]any{"a", "b"}, []any{"c", "d"}}},
		{Value{State: Present, Text: []byte(`{"{1,2}",NULL}`), Type: &Type{Kind: KindArray, Elem: BuiltinType(1007), Delim: ','}},
			[]any{[]any{int64(1), int64(2)}, nil}}, // of a domain over an array
	} {
		got, err := c.v.Any()
		if err != nil {
			t.Errorf("%s %q: %v", c.v.Type.Kind, c.v.Text, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.v.Text, diff)
		}
	}
}

func TestAnyRefuses(t *testing.T) {
	for _, c := range []struct {
		v    Value
		want string // part of the error
	}{
		{value(KindBool, "true"), "not t or f"},
		{value(KindInt, "1.5"), "not an integer"},
		{value(KindInt, "9223372036854775808"), "out of the range"},
		{value(KindFloat, "1,5"), "not a floating-point number"},
		{value(KindNumeric, "1e"), "not a number"},
		{value(KindNumeric, "."), "not a number"},
		{value(KindDate, "31/01/2024"), "DateStyle must be ISO"},
		{value(KindDate, "2023-02-29"), "DateStyle must be ISO"},
		{value(KindDate, "2020-02-29 BC"), "DateStyle must be ISO"}, // the leap years are 2021 BC and 2017 BC
		{value(KindDate, "2024-13-01"), "DateStyle must be ISO"},
		{value(KindDate, "2024-01-01 "), "DateStyle must be ISO"},
		{value(KindTimestamp, "Wed Jan 31 10:00:00 2024"), "DateStyle must be ISO"},
		{value(KindTimestamp, "2024-01-01 10:00:00+00"), "DateStyle must be ISO"},
		{value(KindTimestamp, "2024-01-01 10:00:00."), "DateStyle must be ISO"},
		{value(KindTimestampTZ, "2024-01-01 10:00:00"), "DateStyle must be ISO"},
		{value(KindTimestampTZ, "2024-01-01 10:00:00 CET"), "DateStyle must be ISO"},
		{value(KindBytes, `\x0`), "not hexadecimal"},
		{value(KindBytes, `\01`), "cut off"},
		{value(KindBytes, `\999`), "not octal"},
		{value(KindArray, "{}"), "unknown type"},
		{array(KindInt, ""), "no opening brace"},
		{array(KindInt, "{1,2"), "no closing brace"},
		{array(KindInt, "{1,2}}"), "something follows"},
		{array(KindInt, "{,}"), "empty element"},
		{array(KindInt, "{x}"), "not an integer"},
		{array(KindText, `{"a`), "cut off"},
		{array(KindText, `{a"b}`), "inside an element"},
		{array(KindInt, "[0:1]{1,2}"), "bounds"},
		{array(KindInt, strings.Repeat("{", 7)+strings.Repeat("}", 7)), "too many dimensions"},
	} {
		got, err := c.v.Any()
		var valueErr *ValueError
		if !errors.As(err, &valueErr) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %q: %v, %v; want %q", c.v.Type.Kind, c.v.Text, got, err, c.want)
		}
	}
	if _, err := (Value{}).Any(); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := value(KindInt, strings.Repeat("x", 1000)).Any(); len(err.Error()) > 200 {
		t.Errorf("a long value is shown whole: %v", err)
	}
}

// What Any returns outlives the memory that it came from.
func TestAnyCopies(t *testing.T) {
	for _, v := range []Value{value(KindJSON, `{"a": 1}`), value(KindText, "text"), value(KindBytes, "bytes"), value(KindNumeric, "1.5"),
		value(KindDate, "infinity"), array(KindText, "{a,b}"), array(KindJSON, "{1,2}")} {
		want, _ := v.Any()
		got, _ := v.Any()
		for i := range v.Text {
			v.Text[i] = 'X'
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if again, err := v.Any(); err == nil && cmp.Equal(again, got) {
			t.Errorf("%v points into the text", got)
		}
	}
}

func TestEqual(t *testing.T) {
	null, one := Value{State: Null}, Value{State: Present, Text: []byte("1")}
	empty, unknown := Value{State: Present}, Value{}
	for i, a := range []Value{null, one, empty, unknown} {
		for j, b := range []Value{null, one, empty, unknown} {
			if a.Equal(b) != (i == j) {
				t.Errorf("%v, %v", a, b)
			}
		}
	}
}

func TestNumericOrder(t *testing.T) {
	ascending := [][]Numeric{
		{"-Infinity"}, {"-1e300"}, {"-100.01"}, {"-100", "-1e2", "-100.000", "-0100"}, {"-99.9"}, {"-1"}, {"-0.5"}, {"-0.05"},
		{"0", "-0", "0.00", "0e10", ".0"}, {"0.001", "1e-3", ".0010"}, {"0.0011"}, {"0.01"}, {"1", "1.0", "01", "+1", "10e-1"}, {"1.5"}, {"2"}, {"10"}, {"10.5", "1.05e1"},
		{"100000000000000000000.01"}, {"100000000000000000000.011"}, {"1e300"}, {"Infinity"}, {"NaN", "rubbish", "", "1e99999999999999999999"},
	}
	for i, as := range ascending {
		for j, bs := range ascending {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			for _, a := range as {
				for _, b := range bs {
					if got := a.Cmp(b); got != want {
						t.Errorf("%q.Cmp(%q) = %d, want %d", a, b, got, want)
					}
				}
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { Numeric("-12345678.90").Cmp("-12345678.9100") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Cmp agrees with exact arithmetic.
func TestNumericCmpIsExact(t *testing.T) {
	number := rapid.StringMatching(`-?[0-9]{1,25}(\.[0-9]{0,12})?(e-?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		a := number.Draw(t, "a")
		b := rapid.OneOf(number, rapid.Just(a+""), rapid.Custom(func(t *rapid.T) string { // close to a
			i := rapid.IntRange(0, len(a)).Draw(t, "at")
			return a[:i] + rapid.SampledFrom([]string{"0", "1"}).Draw(t, "digit") + a[i:]
		})).Draw(t, "b")
		x, okA := new(big.Rat).SetString(a)
		y, okB := new(big.Rat).SetString(b)
		_, parsed := ParseNumeric(b)
		if !okA || !okB {
			if parsed && !okB {
				t.Fatalf("%q is taken for a number", b)
			}
			return
		}
		if !parsed || Numeric(a).Cmp(Numeric(b)) != x.Cmp(y) || Numeric(a).Sign() != x.Sign() {
			t.Fatalf("%q.Cmp(%q) = %d, want %d; sign %d; parsed %v", a, b, Numeric(a).Cmp(Numeric(b)), x.Cmp(y), Numeric(a).Sign(), parsed)
		}
	})
}
