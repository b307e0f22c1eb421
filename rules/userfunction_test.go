package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testTime(s string) time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return at
}

var someFunctions = map[string]Function{
	"e164":   {Args: []string{"phone"}, Expr: `let bare = replaceMatches(phone, "[^0-9+]", ""); bare startsWith "00" ? "+" + bare[2:] : bare`},
	"gross":  {Args: []string{"net", "rate"}, Expr: `round(net * (1 + rate / 100), 2)`},
	"twice":  {Args: []string{"x"}, Expr: `x + x`},
	"four":   {Args: []string{"x"}, Expr: `twice(twice(x))`},
	"greet":  {Expr: `"hello"`},
	"age":    {Args: []string{"d"}, Expr: `now() - d`},
	"evens":  {Args: []string{"list"}, Expr: `filter(list, # % 2 == 0)`},
	"tenth":  {Args: []string{"x"}, Expr: `x * 0.1`},
	"ranked": {Args: []string{"list"}, Expr: `sortBy(list, -#)`},
	"safe":   {Args: []string{"x"}, Expr: `x == nil ? "none" : string(x)`},
	"inner":  {Args: []string{"x"}, Expr: `let y = x + 1; let z = y * 2; z`},
}

// Functions of the configuration are called like any other, in conditions and payloads, inside of each other and of loops.
func TestUserFunctions(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	c := created(t, rel, with(full, "name", "0032 (0)2 / 555-12"))
	for _, tc := range []struct {
		expr string
		want any
	}{
		{`e164(after.name)`, "+320255512"}, {`gross(after.amount_total, 21)`, digits("1513.11")}, {`gross(100, 0.1)`, digits("100.10")}, {`four(after.priority)`, int64(12)}, {`twice(four(1) + twice(2))`, int64(16)}, {`greet()`, "hello"},
		{`age(after.date_order) > duration("10h")`, true}, {`evens(after.sizes)`, []any{int64(38), int64(40)}}, {`map(after.sizes, twice(#))`, []any{int64(76), int64(80)}}, {`map(evens(after.sizes), {let y = four(#); y + 1})`, []any{int64(153), int64(161)}},
		{`tenth(1) == 0.1`, true}, {`ranked(ranked(after.sizes))`, []any{int64(40), int64(38)}}, {`safe(before.name) + safe(after.priority)`, "none3"}, {`let y = 5; inner(y) + inner(inner(1)) + y`, int64(12 + 10 + 5)}, {`after.name | e164() | safe()`, "+320255512"},
		{`(safe(nil) == "none" ? twice(2) : 0) + (true && safe(1) == "1" ? 1 : 0)`, int64(5)}, {`{"a": twice(1), "b": [twice(2)]}`, map[string]any{"a": int64(2), "b": []any{int64(4)}}},
	} {
		set, err := Settings{Functions: someFunctions}.Compile([]Config{rule(Config{Payload: Payload{"x": tc.expr}})}, cat)
		if err != nil {
			t.Error(render(err))
			continue
		}
		got, err := set.NewMatcher().Eval(set.Rules()[0], 0, testTx, c)
		if err != nil {
			t.Errorf("%s: %v", tc.expr, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.expr, diff)
		}
	}
	set, err := Settings{Functions: someFunctions}.Compile([]Config{rule(Config{When: `e164(after.name) == "+320255512"`})}, cat)
	if err != nil {
		t.Fatal(render(err))
	}
	if got := matched(set.NewMatcher(), c); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// A function that fails while it runs is shown at its call.
func TestUserFunctionErrors(t *testing.T) {
	cat := testCatalog()
	set, err := Settings{Functions: map[string]Function{"part": {Args: []string{"a", "b"}, Expr: `(a * 100 + 1) / b`}}}.Compile([]Config{rule(Config{Payload: Payload{"x": `1 + part(after.priority, 0)`}})}, cat)
	if err != nil {
		t.Fatal(render(err))
	}
	_, err = set.NewMatcher().Eval(set.Rules()[0], 0, testTx, created(t, relationOf(cat.Table("public", "sale_order")), full))
	var e *EvalError
	if !errors.As(err, &e) || e.Offset != 4 || !strings.Contains(e.Error(), "division by zero") {
		t.Errorf("got %+v", err)
	}
}

func TestWrongFunctions(t *testing.T) {
	cat := testCatalog()
	var b strings.Builder
	for _, tc := range []struct {
		functions map[string]Function
		when      string
	}{
		{map[string]Function{"f": {}}, ""},
		{map[string]Function{"two words": {Expr: "1"}, "lower": {Expr: "1"}, "changed": {Expr: "1"}, "before": {Expr: "1"}, "get": {Expr: "1"}, "nil": {Expr: "1"}, "slug": {Expr: "1"}}, ""},
		{map[string]Function{"f": {Args: []string{"x", "x", "a b", "after", "len", "g"}, Expr: "1"}, "g": {Expr: "1"}}, ""},
		{map[string]Function{"f": {Args: []string{"phone"}, Expr: `replace(phon, " ", "")`}}, ""},
		{map[string]Function{"f": {Args: []string{"x"}, Expr: `x + after.name`}, "g": {Expr: `changed("name")`}, "h": {Expr: `user.id`}, "i": {Expr: `ref("partner_id").name`}, "j": {Expr: `id`}}, ""},
		{map[string]Function{"f": {Args: []string{"x"}, Expr: `g(x)`}, "g": {Args: []string{"x"}, Expr: `1 + h(x)`}, "h": {Args: []string{"x"}, Expr: `f(x)`}}, `f(1) > 1`},
		{map[string]Function{"f": {Expr: `f()`}}, ""},
		{map[string]Function{"f": {Args: []string{"x"}, Expr: `x +`}, "g": {Expr: `f(1)`}}, `g() == 1`},
		{map[string]Function{"f": {Args: []string{"x"}, Expr: `"a" + 1`}, "g": {Args: []string{"x"}, Expr: `lower(5)`}}, ""},
		{map[string]Function{"e164": {Args: []string{"phone"}, Expr: `phone`}}, `after.priority > 1 && e164(after.name, 1) == ""`},
		{map[string]Function{"e164": {Args: []string{"phone"}, Expr: `phone`}}, `e165(after.name) == "" || e164 == "" || e164(after.nmae) == "" || e164(after.name > 5) == ""`},
		{map[string]Function{"f": {Args: []string{"x"}, Expr: `x`}}, `let f = 1; f == 1`},
		{map[string]Function{"a": {Args: []string{"x"}, Expr: "[" + strings.Repeat("x,", 900) + "x]"}, "b": {Args: []string{"x"}, Expr: "a(a(a(x)))"}, "c": {Args: []string{"x"}, Expr: "1"}}, `len(c(1)) > 1`},
		{map[string]Function{"bomb": {Args: []string{"x"}, Expr: "bomb2(bomb2(x))"}, "bomb2": {Args: []string{"x"}, Expr: "[x, x, x, x, x, x, x, x]"}}, `len(bomb(bomb(bomb(bomb(1))))) > 1`},
	} {
		_, err := Settings{Functions: tc.functions}.Compile([]Config{rule(Config{When: tc.when})}, cat)
		fmt.Fprintf(&b, "%s\n", strings.Repeat("-", 80))
		if err == nil {
			fmt.Fprintf(&b, "accepted\n")
			continue
		}
		for line := range strings.Lines(render(err)) {
			if len(line) > 200 {
				line = line[:200] + "…\n"
			}
			b.WriteString(line)
		}
	}
	golden(t, "functions.golden", b.String())
}
