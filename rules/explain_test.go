package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
)

// outline writes the pieces of a condition, one in a line: depth, text, value, and ? where it was not needed.
func outline(p *Part, depth int) string {
	mark := ""
	if !p.Needed {
		mark = " ?"
	}
	value := fmt.Sprint(p.Value)
	if p.Err != nil {
		value = "fails"
	}
	out := fmt.Sprintf("%s%s = %s%s\n", strings.Repeat(". ", depth), p.Text, value, mark)
	for i := range p.Parts {
		out += outline(&p.Parts[i], depth+1)
	}
	return out
}

func TestExplainShowsEachPieceWithItsValue(t *testing.T) {
	row := func(values record) cdc.Row {
		return rowOf(t, relationOf(testCatalog().Model("sale.order").Table), values)
	}
	before := record{"id": "1", "name": "S1", "state": "draft", "amount_total": "5.00"}
	after := record{"id": "1", "name": "S1", "state": "sale", "amount_total": "12.50"}
	tests := []struct{ when, want string }{
		{`entered("state", ["sale", "done"]) && after.amount_total > 10`, `
entered("state", ["sale", "done"]) && after.amount_total > 10 = true
. entered("state", ["sale", "done"]) = true
. . before.state = draft
. . after.state = sale
. after.amount_total > 10 = true
. . after.amount_total = 12.50
`},
		{`became("state", "cancel") && changed("name")`, `
became("state", "cancel") && changed("name") = false
. became("state", "cancel") = false
. . before.state = draft
. . after.state = sale
. changed("name") = false ?
. . before.name = S1 ?
. . after.name = S1 ?
`},
		{`after.state == "sale" || after.amount_total / 0 > 1`, `
after.state == "sale" || after.amount_total / 0 > 1 = true
. after.state == "sale" = true
. . after.state = sale
. after.amount_total / 0 > 1 = fails ?
. . after.amount_total / 0 = fails ?
. . . after.amount_total = 12.50 ?
`},
		{`!after.locked ? true : after.note == nil`, `
!after.locked ? true : after.note == nil = true
. !after.locked = true
. . after.locked = false
. after.note == nil = true ?
. . after.note = <nil> ?
`},
		{`let x = len(after.name); x > 1 && any(["a"], # == after.state)`, `
let x = len(after.name); x > 1 && any(["a"], # == after.state) = false
. len(after.name) = 2
. . after.name = S1
`},
	}
	for _, test := range tests {
		set, err := Compile([]Config{{Name: "r", Model: "sale.order", On: []string{"write"}, When: test.when, Endpoint: "e", Traced: true}}, testCatalog())
		if err != nil {
			t.Fatalf("%s: %v", test.when, err)
		}
		b, a := row(before), row(after)
		c := &cdc.Change{Op: cdc.Write, Rel: a.Relation(), Key: "1", Before: b, After: a}
		p := set.NewMatcher().Explain(set.Rules()[0], TxInfo{Time: time.Now()}, c)
		if got := "\n" + outline(p, 0); got != test.want {
			t.Errorf("%s:%s", test.when, got)
		}
		if text := test.when[p.Parts[0].Offset:]; !strings.HasPrefix(text, strings.SplitN(p.Parts[0].Text, "(", 2)[0]) {
			t.Errorf("%s: the first piece %s has the offset %d", test.when, p.Parts[0].Text, p.Parts[0].Offset)
		}
	}
}

func TestExplainOfWhatIsNotKnown(t *testing.T) {
	set, err := Compile([]Config{{Name: "r", Model: "sale.order", On: []string{"write"}, When: `before.state == "draft"`, Endpoint: "e", Traced: true}}, testCatalog())
	if err != nil {
		t.Fatal(err)
	}
	a := rowOf(t, relationOf(testCatalog().Model("sale.order").Table), record{"id": "1", "state": "sale"})
	c := &cdc.Change{Op: cdc.Write, Rel: a.Relation(), Key: "1", Before: cdc.Row{Image: cdc.ImageUnknown}, After: a}
	m, r := set.NewMatcher(), set.Rules()[0]
	if p := m.Explain(r, TxInfo{}, c); !errors.Is(p.Err, ErrNoOldRow) {
		t.Errorf("the condition gives %v, %v", p.Value, p.Err)
	}
	if _, known := m.Differing(r, TxInfo{}, c); known {
		t.Error("it is known what changed, without an old row")
	}
	c.Before = rowOf(t, a.Relation(), record{"id": "1", "state": "draft", "write_uid": "3"})
	if columns, known := m.Differing(r, TxInfo{}, c); !known || fmt.Sprint(columns) != "[state]" {
		t.Errorf("%v changed, known %v", columns, known)
	}
}
