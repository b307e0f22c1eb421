package rules

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"walhook/cdc"
)

// columnsOf are columns of the test table by what operators see of them.
var columnsOf = map[string][]string{
	"number": {"amount_total", "amount_tax", "weight", "priority", "big", "partner_id", "id"},
	"text":   {"name", "note", "ref_uuid", "span", "at_time"},
	"bool":   {"locked"},
	"date":   {"date_order", "validity_date", "signed_on"},
	"texts":  {"tags"}, "numbers": {"sizes"},
	"json": {"meta"}, "bytes": {"blob"},
}

// grammar says how values of each class are made from others; %number stands for an expression of class number. None of
// these may raise, whatever columns are NULL and whichever row is missing.
var grammar = map[string][]string{
	"bool": {
		"%number == %number", "%number != %number", "%number < %number", "%number <= %number", "%number > %number", "%number >= %number",
		"%text == %text", "%text != %text", "%text < %text", "%text >= %text", "%date == %date", "%date < %date", "%date >= now()", "%bool == %bool", "%bool != nil",
		"%number == nil", "nil != %text", "%date == nil", "%json == nil", "%bytes == nil", "%numbers == nil", "%texts != %texts",
		"!%bool", "not (%bool)", "(%bool) && (%bool)", "(%bool) || (%bool)", "(%bool) ? (%bool) : (%bool)", "(%bool) ?? true",
		"%text contains %text", "%text startsWith %text", "%text endsWith %text", `%text matches "^a.*"`, "not (%text contains %text)",
		"%number in [1, 2.5]", "%text in [\"a\", %text]", "%number not in %numbers", "%text in %texts", `"a" in %json`, "any(%numbers, # > %number)", "all(%texts, # == %text)",
		"none(%numbers, # == nil)", "one(%texts, # contains %text)", "len(%text) > 3", "hasPrefix(%text, %text)", `changed("%column")`, `changed("%column", "%column")`,
		`became("name", %text)`, `became("amount_total", %number)`, `entered("priority", [1, %number])`, "%json.a.b == 5", "%json[0] == nil", "%json?.x.y.z == nil", "id > 3", "op == \"write\"",
		"user.id == 1", "(%date - %date) > duration(\"1h\")", "%date + duration(\"1d\") < now()", "(%date).Year() > 2000", "let v = %number; v > 1", "len(%numbers) == 0", "(%numbers)[0] == 1",
	},
	"number": {
		"%number + %number", "%number - %number", "%number * 2", "%number * 0.5", "%number / 4", "%number % 7", "%number ** 2", "-(%number)", "abs(%number)", "round(%number)", "round(%number, 2)", "ceil(%number)",
		"floor(%number)", "int(%number)", "float(%number)", "(%number) ?? 0", "(%bool) ? (%number) : (%number)", "min(%number, %number)", "max(%number, %number)", "sum(%numbers)", "sum(%numbers, # * 2)", "len(%text)",
		"count(%texts, # != nil)", "first(%numbers)", "last(%numbers)", "mean(%numbers)", "median(%numbers)", "reduce(%numbers, #acc + #, 0)", "find(%numbers, # > 1)", "(%date).Month()", "indexOf(%text, %text)",
	},
	"text": {
		"lower(%text)", "upper(%text)", "trim(%text)", "%text + %text", "(%text) ?? \"none\"", "string(%number)", "string(%date)", "string(%bool)", "string(%text)", "join(%texts, \",\")", "replace(%text, \"a\", \"b\")", "(%text)[0:2]",
		"trimPrefix(%text, %text)", "repeat(%text, 2)", "label(\"state\")", "first(%texts)", "(%date).Format(\"2006\")", "toBase64(%text)", "(%bool) ? (%text) : nil",
		"slug(%text)", "plainText(%text)", "sha256(%text)", "sha256(%number)", "fixed(%number, 2)", "padLeft(%number, 5, \"0\")", "padLeft(%text, 3, %text)", "default(%text, \"none\")", "timeIn(%date, \"Europe/Paris\")",
		`replaceMatches(%text, "a+", %text)`,
	},
	"date":    {"%date + duration(\"1h\")", "%date - duration(\"1d\")", "(%date) ?? now()", "date(%date)", "now()", "(%date).AddDate(0, 1, 0)", "date(\"2026-01-01\")", "dateIn(%date, \"Asia/Tokyo\")"},
	"numbers": {"filter(%numbers, # > %number)", "map(%numbers, # + 1)", "sort(%numbers)", "sortBy(%numbers, -#)", "reverse(%numbers)", "concat(%numbers, %numbers)", "uniq(%numbers)", "[%number, %number]", "1..3", "take(%numbers, 1)", "(%numbers) ?? []"},
	"texts":   {"map(%texts, upper(#))", "split(%text, \",\")", "sort(%texts, \"desc\")", "[%text]", "keys(%json)", "flatten([%texts, %texts])"},
	"json":    {"%json.a", "%json[\"a\"][1]", "(%json) ?? {}"},
	"bytes":   {},
}

var literals = map[string][]string{
	"number": {"0", "1", "-2.5", "9007199254740993", "1e3"}, "text": {`""`, `"a"`, `"größe"`}, "bool": {"true", "false"}, "date": {"now()", `date("2026-02-01 10:00:00")`},
	"numbers": {"[]", "[1, 2.5, nil]"}, "texts": {"[]", `["a", nil]`}, "json": {"before.meta"}, "bytes": {`b"x"`},
}

// drawExpression makes an expression of a class. Inside of a loop's body # belongs to that loop, so bodies draw nothing that uses it.
func drawExpression(t *rapid.T, class string, depth int) string {
	switch k := rapid.IntRange(0, 5).Draw(t, "shape"); {
	case depth > 0 && k >= 3 && len(grammar[class]) > 0:
		template := rapid.SampledFrom(grammar[class]).Draw(t, "template")
		var b strings.Builder
		for template != "" {
			i := strings.IndexByte(template, '%')
			if i < 0 || i+1 == len(template) || template[i+1] == ' ' {
				if i < 0 {
					i = len(template) - 1
				}
				b.WriteString(template[:i+1])
				template = template[i+1:]
				continue
			}
			b.WriteString(template[:i])
			template = template[i+1:]
			for _, c := range []string{"numbers", "number", "texts", "text", "bool", "date", "json", "bytes", "column"} {
				if rest, ok := strings.CutPrefix(template, c); ok {
					template = rest
					if c == "column" {
						b.WriteString(rapid.SampledFrom(slices.Concat(columnsOf["number"], columnsOf["text"], columnsOf["date"], columnsOf["bool"], columnsOf["json"])).Draw(t, "column"))
					} else {
						b.WriteString("(" + drawExpression(t, c, depth-1) + ")")
					}
					break
				}
			}
		}
		return b.String()
	case k == 0:
		return rapid.SampledFrom(literals[class]).Draw(t, "literal")
	}
	return rapid.SampledFrom([]string{"before", "after"}).Draw(t, "row") + "." + rapid.SampledFrom(columnsOf[class]).Draw(t, "column")
}

var samples = map[string][]string{
	"number": {"0", "-1", "5", "9223372036854775807"}, "text": {"", "a", "abc", "größe, x"}, "bool": {"t", "f"},
	"texts": {"{}", "{a,NULL}"}, "numbers": {"{}", "{1,NULL,3}"}, "json": {`{}`, `{"a": {"b": 5}}`, `[1, null]`, `null`, `5`}, "bytes": {`\x`, `\x00`},
}

func drawRow(t *rapid.T, rel *cdc.Relation) record {
	r := record{"id": "42"}
	for _, class := range slices.Sorted(maps.Keys(columnsOf)) {
		columns := columnsOf[class]
		for _, c := range columns {
			if c == "id" || rapid.Bool().Draw(t, "null") {
				continue
			}
			pool := samples[class]
			switch kind := rel.Columns[rel.Column(c)].Type.Kind; {
			case kind == cdc.KindNumeric || kind == cdc.KindFloat:
				pool = append([]string{"1250.50", "-0.001", "NaN", "Infinity", "123456789012345678901234567890.5"}, pool...)
			case c != "big" && kind == cdc.KindInt:
				pool = []string{"0", "-3", "2147483647"}
			case kind == cdc.KindDate:
				pool = []string{"2026-01-31", "infinity", "0044-03-15 BC"}
			case kind == cdc.KindTimestamp:
				pool = []string{"2026-01-31 23:59:59.999999", "-infinity", "12345-01-01 00:00:00"}
			case kind == cdc.KindTimestampTZ:
				pool = []string{"2026-01-31 23:59:59+00", "infinity"}
			case c == "state":
				pool = []string{"draft", "sale"}
			}
			r[c] = rapid.SampledFrom(pool).Draw(t, c)
		}
	}
	return r
}

func drawChange(t *rapid.T, tb testing.TB, rel *cdc.Relation) *cdc.Change {
	before, after := drawRow(t, rel), drawRow(t, rel)
	switch rapid.IntRange(0, 2).Draw(t, "op") {
	case 0:
		return created(tb, rel, after)
	case 1:
		return unlinked(tb, rel, before)
	}
	return wrote(tb, rel, before, after)
}

// mayRaise are failures that have nothing to do with NULL.
var mayRaise = []string{"cannot subtract infinite dates", "number too large", "no real number has this power", "this is number", "this is list", "keys needs an object", `"in" needs a list, not number`}

// NULL and rows that are not there never raise, in any column and under any operator.
func TestNullNeverRaises(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	rapid.Check(t, func(rt *rapid.T) {
		class := rapid.SampledFrom([]string{"bool", "number", "text", "date", "numbers", "texts"}).Draw(rt, "class")
		expr := drawExpression(rt, class, 4)
		set, err := Compile([]Config{rule(Config{Payload: Payload{"x": "(" + expr + ")"}})}, cat)
		if err != nil {
			rt.Fatalf("%s", render(err))
		}
		m := set.NewMatcher()
		for range 10 {
			c := drawChange(rt, t, rel)
			got, err := m.Eval(set.Rules()[0], 0, testTx, c)
			if err != nil && !slices.ContainsFunc(mayRaise, func(s string) bool { return strings.Contains(err.Error(), s) }) {
				rt.Fatalf("%s\n%v", expr, err)
			}
			again, err2 := m.Eval(set.Rules()[0], 0, testTx, c)
			if fmt.Sprint(got, err) != fmt.Sprint(again, err2) {
				rt.Fatalf("%s\nis %v, %v and then %v, %v", expr, got, err, again, err2)
			}
		}
	})
}

// With nothing but NULLs, every operator on every column: this is the part of the above that must not be left to chance.
func TestNullNeverRaisesExhaustively(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	changes := []*cdc.Change{created(t, rel, record{"id": "42"}), unlinked(t, rel, record{"id": "42"}), wrote(t, rel, record{"id": "42"}, record{"id": "42"})}
	count := 0
	for class := range grammar {
		for _, template := range grammar[class] {
			for i := range 6 { // every column of every class comes up on both sides
				expr := template
				for c, columns := range columnsOf {
					for n := i; ; n++ {
						// "%number" must not match in "%numbers"
						at := strings.Index(strings.ReplaceAll(expr+" ", "%"+c+"s", strings.Repeat("_", len(c)+2)), "%"+c)
						if at < 0 {
							break
						}
						row := []string{"before.", "after."}[n%2]
						expr = expr[:at] + row + columns[n%len(columns)] + expr[at+len(c)+1:]
					}
				}
				expr = strings.ReplaceAll(expr, "%column", "name")
				set := mustCompile(t, cat, Config{Payload: Payload{"x": expr}})
				m := set.NewMatcher()
				for _, c := range changes {
					count++
					if _, err := m.Eval(set.Rules()[0], 0, testTx, c); err != nil {
						t.Errorf("%s on %s: %v", expr, c.Op, err)
					}
				}
			}
		}
	}
	t.Logf("%d evaluations", count)
}

func drawDecimal(t *rapid.T) string {
	s := rapid.StringMatching(`-?[0-9]{1,12}(\.[0-9]{1,12})?`).Draw(t, "decimal")
	switch rapid.IntRange(0, 5).Draw(t, "size") {
	case 0:
		s = rapid.StringMatching(`-?[0-9]{15,40}(\.[0-9]{1,30})?`).Draw(t, "decimal")
	case 1:
		s = strconv.FormatInt(rapid.Int64().Draw(t, "int64"), 10)
	case 2:
		s = rapid.StringMatching(`-?0\.0{1,17}[1-9]`).Draw(t, "tiny")
	}
	return s
}

// Numbers agree with big.Rat, whatever representation they happen to have.
func TestNumbersAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDecimal(t), drawDecimal(t)
		if rapid.IntRange(0, 3).Draw(t, "near") == 0 {
			b = a
			if strings.Contains(a, ".") {
				b = a + "0"
			}
		}
		x, ok1 := parseNum(a)
		y, ok2 := parseNum(b)
		if !ok1 || !ok2 {
			t.Fatalf("cannot parse %s or %s", a, b)
		}
		ra, _ := new(big.Rat).SetString(a)
		rb, _ := new(big.Rat).SetString(b)
		sign := func(n int) int { return min(max(n, -1), 1) }
		if got, want := sign(x.cmp(y)), ra.Cmp(rb); got != want {
			t.Fatalf("cmp(%s, %s) = %d, want %d", a, b, got, want)
		}
		if got := x.text(); got != a && !(strings.HasPrefix(a, "0") || strings.HasPrefix(a, "-0") || strings.HasPrefix(a, "-")) {
			t.Fatalf("%s is shown as %s", a, got)
		}
		check := func(op string, got num, want *big.Rat) {
			if got.rat().Cmp(want) != 0 {
				t.Fatalf("%s %s %s = %s, want %s", a, op, b, got.text(), want.RatString())
			}
			shown, ok := new(big.Rat).SetString(got.text())
			if _, exact := want.FloatPrec(); !ok || exact && shown.Cmp(want) != 0 {
				t.Fatalf("%s %s %s is shown as %s, want %s", a, op, b, got.text(), want.RatString())
			}
		}
		check("+", x.add(y), new(big.Rat).Add(ra, rb))
		check("-", x.sub(y), new(big.Rat).Sub(ra, rb))
		check("*", x.mul(y), new(big.Rat).Mul(ra, rb))
		check("neg", x.neg(), new(big.Rat).Neg(ra))
		if rb.Sign() != 0 {
			q := new(big.Rat).Quo(ra, rb)
			check("/", x.div(y), q)
			trunc := new(big.Rat).SetInt(new(big.Int).Quo(q.Num(), q.Denom()))
			check("%", x.mod(y), new(big.Rat).Sub(ra, trunc.Mul(trunc, rb)))
		}
		floor := new(big.Rat).SetInt(new(big.Int).Div(ra.Num(), ra.Denom()))
		check("floor", x.round(0, down), floor)
		check("ceil", x.round(0, up), new(big.Rat).Neg(new(big.Rat).SetInt(new(big.Int).Div(new(big.Int).Neg(ra.Num()), ra.Denom()))))
		half := new(big.Rat).Add(new(big.Rat).Abs(ra), big.NewRat(1, 2))
		rounded := new(big.Rat).SetInt(new(big.Int).Div(half.Num(), half.Denom()))
		if ra.Sign() < 0 {
			rounded.Neg(rounded)
		}
		check("round", x.round(0, halfAway), rounded)
	})
}

func TestNumberForms(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "-0": "0", "-0.00": "0.00", "007": "7", "1e3": "1000", "1.5e-3": "0.0015", "1e+20": "100000000000000000000", "1.50": "1.50", "+5": "5", ".5": "0.5", "5.": "5",
		"NaN": "NaN", "Infinity": "Infinity", "-Infinity": "-Infinity", "123456789012345678901234567890.12": "123456789012345678901234567890.12", "1e-30": "0.000000000000000000000000000001",
	} {
		if n, ok := parseNum(text); !ok || n.text() != want {
			t.Errorf("%q is %q (%v), want %q", text, n.text(), ok, want)
		}
	}
	for _, text := range []string{"", "-", ".", "abc", "1x", "1e", "1e999999999999", "1e999999999", "0x10", "1_000", "1/3", "--1", "inf", "nan", "1.2.3", " 1", strings.Repeat("9", maxNumDigits+1)} {
		if n, ok := parseNum(text); ok {
			t.Errorf("%.20q is taken for %.20s", text, n.text())
		}
	}
}
