package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery"
)

// What belongs to a body stays with it: over a claim by another process, a dead letter that is sent again, and a replay.
func TestFormatStaysWithTheBody(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	binary, xml, plain := f.delivery("erp", "m/1"), f.delivery("erp", "m/2"), f.delivery("erp", "m/3")
	binary.Format, binary.Headers = "cloudevents-binary", map[string]string{"Ce-Id": binary.ID, "Ce-Source": `/odoo/"x"\ü`}
	xml.Format, xml.ContentType, xml.Body = "raw+xml", "application/xml", []byte("<a/>")
	f.enqueue(t, none, binary, xml, plain)
	want := map[string]*delivery.Delivery{binary.ID: binary, xml.ID: xml, plain.ID: plain}
	same := func(when string, deliveries ...*delivery.Delivery) {
		t.Helper()
		for _, d := range deliveries {
			w := want[d.ID]
			if d.Format != w.Format || d.ContentType != w.ContentType || string(d.Body) != string(w.Body) || !cmp.Equal(d.Headers, w.Headers) {
				t.Errorf("%s: %s has format %q, headers %v, %s, %s", when, d.ID, d.Format, d.Headers, d.ContentType, d.Body)
			}
		}
	}
	claimed := func(when string) (all []*delivery.Delivery) {
		t.Helper()
		for _, lane := range claim(t, p, "erp", 10, 10) {
			all = append(all, lane.Deliveries...)
		}
		if len(all) != 3 {
			t.Fatalf("%s: %d claimed", when, len(all))
		}
		same(when, all...)
		return all
	}
	for i, d := range claimed("claimed") {
		result := delivery.Dead
		if i == 2 {
			result = delivery.Delivered
		}
		finish(t, p, 0, outcome(d, result))
	}
	var listed int
	for id := range want {
		l, _, err := db.GetDelivery(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		same("shown", &l.Delivery)
		listed++
	}
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 2 || err != nil || listed != 3 {
		t.Fatal(n, err)
	}
	if n, _, err := db.Replay(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	claimed("sent again")
	consistent(t, db)
}
