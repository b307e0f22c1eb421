package rules

import (
	"errors"
	"testing"
)

// Any text is compiled or refused with problems that have a place in it; what compiles gives a value or an *EvalError. How much work that is, is bounded by
// counting (maxExprNodes, maxSteps): go test says which text it is that hangs.
func FuzzCompile(f *testing.F) {
	for _, when := range wrongConditions {
		f.Add(when)
	}
	for _, c := range quietRules() {
		f.Add(c.When)
	}
	for _, templates := range grammar {
		for _, t := range templates {
			f.Add(t)
		}
	}
	f.Add(`sortBy(groupBy(after.tags, #)["red"], len(#), "desc")`)
	f.Add(`reduce(1..9999, #acc + "xxxxxxxxxxxxxxxxxxxxxxxx", "")`)
	f.Add(`all(1..9999, all(1..9999, all(1..9999, true)))`)
	f.Add(`let a = 1..9999; let b = map(a, a); flatten(b)`)
	f.Add(`ref("partner_id").name ?? after.meta[after.name][0:2]`)
	f.Add(`{"a": [1, {b: now() - after.date_order}]}.a[1].b.Hours()`)
	cat := testCatalog()
	rel := relationOf(cat.Table("public", "sale_order"))
	change := wrote(f, rel, draft, full)
	f.Fuzz(func(t *testing.T, text string) {
		for _, config := range []Config{{When: text}, {Payload: Payload{"x": text}}} {
			set, err := Compile([]Config{rule(config)}, cat)
			if err != nil {
				for _, e := range flattenErrors(err) {
					var p *Problem
					if !errors.As(e, &p) || p.Message == "" || p.Offset > len(text) || p.Offset >= 0 && p.Expr != text {
						t.Errorf("not a problem with a place: %#v", e)
					}
				}
				continue
			}
			m := set.NewMatcher()
			for _, match := range m.Match(nil, testTx, change) {
				checkEvalError(t, match.Err)
			}
			m.Missing(nil, testTx, change)
			for i := range set.Rules()[0].Outputs() {
				_, err := m.Eval(set.Rules()[0], i, testTx, change)
				checkEvalError(t, err)
			}
		}
	})
}

func checkEvalError(t *testing.T, err error) {
	var e *EvalError
	if err != nil && (!errors.As(err, &e) || e.Err == nil || e.Offset > len(e.Expr)) {
		t.Errorf("not an *EvalError with a place: %#v", err)
	}
	var bug interface{ RuntimeError() }
	if errors.As(err, &bug) {
		t.Errorf("a bug: %v", err)
	}
}
