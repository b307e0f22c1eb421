package payload

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

const (
	oidBool, oidBytea, oidInt8, oidInt4, oidText, oidJSON, oidFloat8      = 16, 17, 20, 23, 25, 114, 701
	oidDate, oidTimestamp, oidTimestampTZ, oidInterval, oidNumeric        = 1082, 1114, 1184, 1186, 1700
	oidUUID, oidJSONB, oidMoney, oidInet                                  = 2950, 3802, 790, 869
	oidBoolArray, oidInt4Array, oidTextArray, oidDateArray, oidNumArray   = 1000, 1007, 1009, 1182, 1231
	oidTSArray, oidTSTZArray, oidJSONBArray, oidByteaArray, oidFloatArray = 1115, 1185, 3807, 1001, 1022
)

func TestAppendValue(t *testing.T) {
	for _, tc := range []struct {
		oid  uint32
		text string
		want string
	}{
		{oidBool, "t", `true`},
		{oidBool, "f", `false`},
		{oidInt4, "-2147483648", `-2147483648`},
		{oidInt8, "9223372036854775807", `9223372036854775807`},
		{oidFloat8, "0.1", `0.1`},
		{oidFloat8, "-0", `-0`},
		{oidFloat8, "1e+300", `1e+300`},
		{oidFloat8, "5e-324", `5e-324`},
		{oidFloat8, "NaN", `"NaN"`},
		{oidFloat8, "-Infinity", `"-Infinity"`},
		{oidNumeric, "1250.50", `1250.50`},
		{oidNumeric, "0.000000000000000000000000000001", `0.000000000000000000000000000001`},
		{oidNumeric, "-123456789012345678901234567890.10", `-123456789012345678901234567890.10`},
		{oidNumeric, "NaN", `"NaN"`},
		{oidNumeric, "Infinity", `"Infinity"`},
		{oidText, "", `""`},
		{oidText, "a \"quoted\" \\ </script>&\u2028 Zoë 日本 🦊\x7f\x00\x1f\b\f\n\r\t", `"a \"quoted\" \\ </script>&` + "\u2028 Zoë 日本 🦊\x7f" + `\u0000\u001f\u0008\u000c\n\r\t"`},
		{oidText, "latin-1 \xfc and a cut \xe6\x97", `"latin-1 ` + "\uFFFD and a cut \uFFFD\uFFFD" + `"`},
		{oidDate, "2026-03-01", `"2026-03-01"`},
		{oidDate, "infinity", `"infinity"`},
		{oidDate, "0044-03-15 BC", `"0044-03-15 BC"`},
		{oidTimestamp, "2026-03-01 09:30:00", `"2026-03-01T09:30:00Z"`},
		{oidTimestamp, "2026-03-01 09:30:00.123456", `"2026-03-01T09:30:00.123456Z"`},
		{oidTimestamp, "-infinity", `"-infinity"`},
		{oidTimestamp, "0044-03-15 12:00:00 BC", `"0044-03-15 12:00:00 BC"`},
		{oidTimestamp, "20260-03-01 09:30:00", `"20260-03-01 09:30:00"`},
		{oidTimestampTZ, "2026-03-01 09:30:00.5+00", `"2026-03-01T09:30:00.5Z"`},
		{oidTimestampTZ, "2026-03-01 09:30:00+05:30", `"2026-03-01T04:00:00Z"`},
		{oidTimestampTZ, "2026-03-01 00:30:00+02", `"2026-02-28T22:30:00Z"`},
		{oidTimestampTZ, "infinity", `"infinity"`},
		{oidTimestampTZ, "0044-03-15 12:00:00+00 BC", `"0044-03-15 12:00:00+00 BC"`},
		{oidInterval, "1 mon -2 days +03:04:05.6", `"1 mon -2 days +03:04:05.6"`},
		{oidUUID, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", `"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"`},
		{oidMoney, "$1,250.50", `"$1,250.50"`},
		{oidInet, "10.0.0.0/8", `"10.0.0.0/8"`},
		{oidJSONB, `{"en_US": "Chair", "fr_FR": null, "n": 1.10}`, `{"en_US": "Chair", "fr_FR": null, "n": 1.10}`},
		{oidJSONB, `null`, `null`},
		{oidJSON, " [1,\n2] ", " [1,\n2] "},
		{oidJSON, "{\"a\": \"\xff\"}", `{"a": "` + "\uFFFD" + `"}`},
		{oidBytea, `\x`, `""`},
		{oidBytea, `\x00ff10`, `"AP8Q"`},
		{oidBytea, `\x` + "61", `"YQ=="`},
		{oidBoolArray, `{t,f,NULL}`, `[true,false,null]`},
		{oidInt4Array, `{}`, `[]`},
		{oidInt4Array, `{{1,2},{3,NULL}}`, `[[1,2],[3,null]]`},
		{oidInt4Array, `[0:1]={7,8}`, `[7,8]`},
		{oidTextArray, `{a,"b,c","say \"hi\"","NULL",NULL,""}`, `["a","b,c","say \"hi\"","NULL",null,""]`},
		{oidNumArray, `{1.10,NaN,100000000000000000000000000.5}`, `[1.10,"NaN",100000000000000000000000000.5]`},
		{oidFloatArray, `{0.1,NaN,-Infinity}`, `[0.1,"NaN","-Infinity"]`},
		{oidDateArray, `{2026-03-01,infinity}`, `["2026-03-01","infinity"]`},
		{oidTSArray, `{"2026-03-01 00:00:00","2026-03-01 09:30:00.5"}`, `["2026-03-01T00:00:00Z","2026-03-01T09:30:00.5Z"]`},
		{oidTSTZArray, `{"2026-03-01 00:00:00+00"}`, `["2026-03-01T00:00:00Z"]`},
		{oidJSONBArray, `{"{\"a\": 1}","\"x\""}`, `[{"a": 1},"x"]`},
		{oidByteaArray, `{"\\x00ff10"}`, `["AP8Q"]`},
		// Text that is not of its type's form: a string, and never broken JSON.
		{oidBool, "maybe", `"maybe"`},
		{oidInt4, "0x10", `"0x10"`},
		{oidInt4, "", `""`},
		{oidNumeric, "1.", `"1."`},
		{oidNumeric, "+1", `"+1"`},
		{oidNumeric, "01", `"01"`},
		{oidFloat8, "1e", `"1e"`},
		{oidTimestamp, "2026-03-01 09:30", `"2026-03-01 09:30"`},
		{oidTimestamp, "2026-03-01 09:30:00.", `"2026-03-01 09:30:00."`},
		{oidTimestamp, "2026-03-01 09:30:00.1234567", `"2026-03-01 09:30:00.1234567"`},
		{oidTimestamp, `2026-03-01"09:30:00`, `"2026-03-01\"09:30:00"`},
		{oidJSONB, `{"a": 1`, `"{\"a\": 1"`},
		{oidBytea, `\x0`, `"\\x0"`},
		{oidBytea, `raw`, `"raw"`},
		{oidInt4Array, `{1,`, `"{1,"`},
	} {
		v := cdc.Value{State: cdc.Present, Text: []byte(tc.text), Type: cdc.BuiltinType(tc.oid)}
		if got := string(appendValue([]byte("x"), v, catalog.ContentPlain)); got != "x"+tc.want {
			t.Errorf("%s %q: %s, want %s", v.Type.Name, tc.text, got[1:], tc.want)
		}
		if !json.Valid([]byte(tc.want)) {
			t.Errorf("the test wants %s, which is no JSON", tc.want)
		}
		null := cdc.Value{State: cdc.Null, Type: v.Type}
		if got := string(appendValue(nil, null, catalog.ContentPlain)); got != "null" {
			t.Errorf("NULL of %s: %s", v.Type.Name, got)
		}
	}
}

func TestAppendOdooValues(t *testing.T) {
	boolean := func(state cdc.State, text string) string {
		return string(appendValue(nil, cdc.Value{State: state, Text: []byte(text), Type: cdc.BuiltinType(oidBool)}, catalog.ContentBoolean))
	}
	if boolean(cdc.Null, "") != "false" || boolean(cdc.Present, "f") != "false" || boolean(cdc.Present, "t") != "true" {
		t.Error("an Odoo boolean is not true or false")
	}
	for hex, want := range map[string]string{
		`\x` + "615735685a32553d": `"aW5hZ2U="`, // the text aW5hZ2U=, which is base64
		`\x` + "89504e47":         `"iVBORw=="`, // four bytes of a PNG
		`\x` + "613d3d3d":         `"YT09PQ=="`, // looks like base64, has too much padding
		`\x` + "61573568":         `"aW5h"`,     // base64 without padding
		`\x` + "6157356861":       `"YVc1aGE="`, // of no length that base64 has
		`\x`:                      `""`,
	} {
		v := cdc.Value{State: cdc.Present, Text: []byte(hex), Type: cdc.BuiltinType(oidBytea)}
		if got := string(appendValue(nil, v, catalog.ContentBase64)); got != want {
			t.Errorf("Odoo's binary %s: %s, want %s", hex, got, want)
		}
	}
}

func TestAppendAny(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 30, 0, 500_000_000, time.FixedZone("", 3600))
	var deep any = 1
	for range maxDepth + 1 {
		deep = []any{deep}
	}
	for _, tc := range []struct {
		name string
		v    any
		want string // "" for an error
	}{
		{"nil", nil, `null`},
		{"bool", true, `true`},
		{"int", -7, `-7`},
		{"int64", int64(math.MinInt64), `-9223372036854775808`},
		{"int32", int32(5), `5`},
		{"float", 0.1, `0.1`},
		{"whole float", 3.0, `3`},
		{"2^53+2", 9007199254740994.0, `9007199254740994`},
		{"large float", 1e21, `1e+21`},
		{"small float", 1e-7, `1e-07`},
		{"NaN", math.NaN(), `"NaN"`},
		{"Inf", math.Inf(1), `"Infinity"`},
		{"-Inf", math.Inf(-1), `"-Infinity"`},
		{"numeric", cdc.Numeric("10.00"), `10.00`},
		{"numeric NaN", cdc.Numeric("NaN"), `"NaN"`},
		{"string", "<b>&\xff", `"<b>&` + "\uFFFD" + `"`},
		{"time", at, `"2026-03-01T09:30:00.5Z"`},
		{"duration", 90 * time.Second, `"1m30s"`},
		{"json", json.RawMessage(`{"a": 1}`), `{"a": 1}`},
		{"broken json", json.RawMessage(`{"a"`), `"{\"a\""`},
		{"bytes", []byte{0, 255, 16}, `"AP8Q"`},
		{"list", []any{1, "a", nil, []any{}, map[string]any{}}, `[1,"a",null,[],{}]`},
		{"map in order of its keys", map[string]any{"b": 1, "a": []any{cdc.Numeric("2.0")}, "<": nil}, `{"<":null,"a":[2.0],"b":1}`},
		{"strings", []string{"<a>", "b"}, `["<a>","b"]`},
		{"no JSON", make(chan int), ""},
		{"a function in a list", []any{func() {}}, ""},
		{"too deep", deep, ""},
	} {
		got, err := appendAny(nil, tc.v, nil)
		if (err != nil) != (tc.want == "") {
			t.Errorf("%s: error %v", tc.name, err)
		} else if err == nil && string(got) != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// Whatever text comes as a value of whatever kind, the output is valid JSON in valid UTF-8, and the
// same each time (invariant 6).
func TestValuesAreAlwaysJSON(t *testing.T) {
	oids := []uint32{oidBool, oidBytea, oidInt8, oidText, oidJSON, oidFloat8, oidDate, oidTimestamp, oidTimestampTZ, oidInterval, oidNumeric,
		oidUUID, oidJSONB, oidMoney, oidBoolArray, oidInt4Array, oidTextArray, oidDateArray, oidNumArray, oidTSTZArray, oidJSONBArray, oidByteaArray, oidFloatArray, 0}
	texts := rapid.OneOf(
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.StringMatching(`-?[0-9]{0,30}(\.[0-9]{0,5})?([eE][+-]?[0-9]{0,3})?`),
		rapid.StringMatching(`[0-9]{1,5}-[0-9]{2}-[0-9]{2}( [0-9:]{8}(\.[0-9]{0,7})?([+-][0-9]{2}(:[0-9]{2})?)?)?( BC)?`),
		rapid.StringMatching(`\{(("([^"\\]|\\.){0,5}"|NULL|[a-z0-9.]{1,4}|\{\}),?){0,4}\}`),
		rapid.StringMatching(`\\x([0-9a-f]{2}){0,8}`),
		rapid.StringMatching(`[\[{"](a|"|:|1|,|null|\\u00e9){0,6}[\]}"]`),
	)
	rapid.Check(t, func(t *rapid.T) {
		v := cdc.Value{State: cdc.State(rapid.IntRange(int(cdc.Null), int(cdc.Present)).Draw(t, "state")),
			Type: cdc.BuiltinType(rapid.SampledFrom(oids).Draw(t, "type")), Text: []byte(texts.Draw(t, "text"))}
		content := catalog.Content(rapid.IntRange(int(catalog.ContentPlain), int(catalog.ContentSecret)).Draw(t, "content"))
		checkValue(t, v, content)
	})
}

func FuzzValue(f *testing.F) {
	for _, text := range []string{"", "t", "-1.5e3", "2026-03-01 09:30:00.5+00", `{"a",NULL}`, `\x00ff`, `{"a": [1, "\u00e9"]}`, "\xff"} {
		for _, oid := range []uint32{oidText, oidNumeric, oidTimestampTZ, oidTextArray, oidBytea, oidJSONB} {
			f.Add(oid, byte(catalog.ContentPlain), []byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, oid uint32, content byte, text []byte) {
		checkValue(t, cdc.Value{State: cdc.Present, Type: cdc.BuiltinType(oid), Text: text}, catalog.Content(content%6))
	})
}

func checkValue(t interface{ Fatalf(string, ...any) }, v cdc.Value, content catalog.Content) {
	got := appendValue(nil, v, content)
	if !json.Valid(got) || !utf8.Valid(got) {
		t.Fatalf("%q is no JSON, from %+v %q", got, v.Type, v.Text)
	}
	if again := appendValue(nil, v, content); string(again) != string(got) {
		t.Fatalf("the same value gives %s and then %s", got, again)
	}
	if kindOf(v.Type) == cdc.KindText && v.State == cdc.Present && utf8.Valid(v.Text) && content != catalog.ContentBoolean {
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != string(v.Text) {
			t.Fatalf("the text %q reads back as %q (%v)", v.Text, back, err)
		}
	}
}

// isNumber is what encoding/json takes for a number.
func TestIsNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[-+]?[0-9]{0,3}\.?[0-9]{0,3}[eE]?[-+]?[0-9]{0,3}`).Draw(t, "text")
		want := json.Valid([]byte(text)) && strings.TrimSpace(text) == text
		if got := isNumber([]byte(text)); got != want {
			t.Fatalf("isNumber(%q) = %v", text, got)
		}
	})
}
