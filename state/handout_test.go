package state

import (
	"bytes"
	"slices"
	"testing"

	"walhook/delivery"
)

// Invariant 9: what one call hands out is bounded by the size of bodies, over all lanes. What is left over stays free and due as it
// was, so that lanes come in the order in which they became due.
func TestInvariant9HandOutOverAllLanes(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	const third = delivery.HandoutBytes / 3
	var ds []*delivery.Delivery
	for _, lane := range []string{"m/1", "m/2", "m/3", "m/4", "m/5", "m/6", "m/7"} {
		d := f.delivery("a", lane)
		d.Body = bytes.Repeat([]byte("x"), third+1)
		f.enqueue(t, none, d) // one after the other: due in this order
		ds = append(ds, d)
	}
	wantLanes(t, claim(t, p, "a", 100, 4), "a:m/1=1 a:m/2=2 a:m/3=3")
	wantLanes(t, claim(t, p, "a", 100, 4), "a:m/4=4 a:m/5=5 a:m/6=6")
	wantLanes(t, claim(t, p, "a", 100, 4), "a:m/7=7")
	consistent(t, db)

	// The same of lanes that go on.
	var more []*delivery.Delivery
	for _, d := range ds {
		next := f.delivery("a", d.Lane)
		next.Body = bytes.Repeat([]byte("y"), third+1)
		more = append(more, next)
	}
	f.enqueue(t, none, more...)
	var outcomes []delivery.Outcome
	for _, d := range ds {
		outcomes = append(outcomes, outcome(d, delivery.Delivered))
	}
	slices.Reverse(outcomes) // lanes are looked at in order of their keys
	wantLanes(t, finish(t, p, 4, outcomes...), "a:m/1=8 a:m/2=9 a:m/3=10")
	if free := rows(t, db, "lane WHERE owner IS NULL AND due <= now()"); free != 4 {
		t.Errorf("%d lanes are free and due, want 4", free)
	}
	rest := append(claim(t, p, "a", 100, 4), claim(t, p, "a", 100, 4)...)
	if len(rest) != 4 {
		t.Errorf("claims brought %q, want the four lanes that were left", names(rest))
	}
	consistent(t, db)
}
