package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"walhook/cdc"
)

// What closures give is what expr's machine gives, for any expression: values, and errors with their places.
func TestDirectIsTheMachine(t *testing.T) {
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	made := 0
	rapid.Check(t, func(rt *rapid.T) {
		class := rapid.SampledFrom([]string{"bool", "bool", "number", "text", "date"}).Draw(rt, "class")
		expr := drawExpression(rt, class, 3)
		set, err := Compile([]Config{rule(Config{Payload: Payload{"x": "(" + expr + ")"}})}, cat)
		if err != nil {
			rt.Fatalf("%s", render(err))
		}
		m, r := set.NewMatcher(), set.Rules()[0]
		p := r.Outputs()[0].program
		if p == nil || p.test == nil && p.value == nil {
			return
		}
		made++
		alone := *p
		alone.test, alone.value = nil, nil
		for range 10 {
			c := drawChange(rt, t, rel)
			run := func(p *program) string {
				if err := m.Begin(r, testTx, c); err != nil {
					rt.Fatal(err)
				}
				v, err := m.run(r, p)
				if err == nil {
					v = plain(v)
				}
				return fmt.Sprintf("%T %v, %v", v, v, err)
			}
			if direct, machine := run(p), run(&alone); direct != machine {
				rt.Fatalf("%s\nis %s, by the machine %s", expr, direct, machine)
			}
		}
	})
	if made == 0 {
		t.Error("no expression was made of closures")
	}
}

// Conditions of the usual kinds need no machine; what raises still tells its place.
func TestDirectCoversTheUsual(t *testing.T) {
	cat := testCatalog()
	for _, config := range quietRules() {
		if set := mustCompile(t, cat, config); set.Rules()[0].when.test == nil {
			t.Errorf("%s runs on the machine", config.When)
		}
	}
	set := mustCompile(t, cat, rule(Config{When: `after.name == "x" || before.amount_total / 0 > 1`}))
	got := set.NewMatcher().Match(nil, testTx, benchChange(t, relationOf(cat.Table("public", "sale_order"))))
	var failed *EvalError
	if len(got) != 1 || !errors.As(got[0].Err, &failed) || failed.Offset != strings.Index(failed.Expr, "/") || !strings.Contains(failed.Error(), "zero") {
		t.Errorf("matches %+v", got)
	}
}

// Decimals that say nothing cost nothing, and nothing is said of numbers without them.
func TestOrderedNumbers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"0.12500000000000000000", "0.125", 0}, {"-3.00000000000000000000", "-3", 0}, {"100.000000000000000000000", "99.9", 1}, {"1.10000000000000000001", "1.1", 1},
		{"1.5e+000000000000000000", "1.5", 0}, {"12345678901234567890123.000", "12345678901234567890123", 0}, {"1.2345678901234567e+200", "1.2345678901234567e+20", 1}, {"0.000000000000000000000", "0", 0},
	} {
		x := &cell{value: cdc.Value{State: cdc.Present, Text: []byte(c.a), Type: cdc.BuiltinType(1700)}}
		y := &cell{value: cdc.Value{State: cdc.Present, Text: []byte(c.b), Type: cdc.BuiltinType(1700)}}
		if got, ok := compare(column{x}, column{y}); !ok || got != c.want {
			t.Errorf("%s against %s: %d, want %d", c.a, c.b, got, c.want)
		}
		if equal(column{x}, column{y}) != (c.want == 0) {
			t.Errorf("%s == %s is %t", c.a, c.b, c.want != 0)
		}
		if shown := x.number(); shown.text() == "" || shown.cmp(x.ordered()) != 0 {
			t.Errorf("%s is shown as %s", c.a, shown.text())
		}
	}
	x := &cell{value: cdc.Value{State: cdc.Present, Text: []byte("0.12500000000000000000"), Type: cdc.BuiltinType(1700)}}
	var limit any = 5
	if n := testing.AllocsPerRun(100, func() { x.parsed = 0; less(column{x}, limit) }); n != 0 {
		t.Errorf("a comparison allocates %v times", n)
	}
}
