package state

import (
	"errors"
	"testing"
	"time"

	"walhook/delivery"
)

// A resync beside a reader is begun whatever that does meanwhile, and takes for told by the stream what came after the look; one that makes the state go on
// elsewhere is not.
func TestResyncBesideAReader(t *testing.T) {
	db := openState(t, nil)
	f := newFeed(t, register(t, db))
	f.enqueue(t, none, f.delivery("a", "m/1"))
	base, err := db.LastDelivery(t.Context())
	if err != nil || base != 1 {
		t.Fatal(base, err)
	}
	at := f.at
	f.enqueue(t, none, f.delivery("a", "m/2"), f.delivery("a", "m/3")) // meanwhile
	start := ResyncStart{Binding: testBinding, Position: at, Base: base, Since: time.Now(), Derived: SinceGiven, High: at.LSN, Gone: []delivery.Gone{{Rule: "rule", Record: "1", Endpoint: "a"}}}
	adopting := start
	adopting.Adoption = &Adoption{From: at.LSN, To: at.LSN + 1000, Lost: 1000}
	if _, err := db.StartResync(t.Context(), &adopting); !errors.Is(err, ErrMovedOn) {
		t.Errorf("a state that has moved on: %v", err)
	}
	other := start
	other.Binding.Slot = "other"
	if _, err := db.StartResync(t.Context(), &other); !errors.Is(err, ErrMovedOn) {
		t.Errorf("a state of another source: %v", err)
	}
	if _, err := db.StartResync(t.Context(), &start); err != nil {
		t.Fatal(err)
	}
	page, err := f.p.Gones().NextGone(t.Context(), 10)
	if err != nil || page.Base != base || len(page.Gone) != 1 {
		t.Errorf("%+v, %v", page, err)
	}
	f.enqueue(t, none, f.delivery("a", "m/4")) // the reader goes on
}

// A gap that was accepted is repaired by a resync of all that was written since it began, and by no other.
func TestAcceptedGap(t *testing.T) {
	for name, tc := range map[string]struct {
		derived  string
		after    time.Duration // its since, after the gap's beginning
		repaired bool
	}{
		"worked out":              {"the oldest transaction", time.Minute, true},
		"since before":            {SinceGiven, -time.Minute, true},
		"since within":            {SinceGiven, time.Minute, false},
		"since the beginning":     {SinceGiven, 0, true},
		"since within, no marks":  {SinceGiven, time.Minute, false},
		"worked out, no waymarks": {"the last delivery", time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openState(t, nil)
			f := newFeed(t, register(t, db))
			oldest := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
			if name != "since within, no marks" && name != "worked out, no waymarks" {
				exec(t, db, "INSERT INTO {schema}.waymark VALUES ('0/1', '2026-05-01 12:00:01Z', '2026-05-01 12:00:00Z', false)")
			}
			start, err := db.Bind(t.Context(), testBinding, BindOptions{Start: f.at.LSN + 5000, Adopt: true})
			if err != nil || start.Adoption == nil {
				t.Fatalf("%+v, %v", start, err)
			}
			if a, err := db.LastAccepted(t.Context()); err != nil || a == nil || a.Landmark != nil && !a.Landmark.Oldest.Equal(oldest) {
				t.Fatalf("%+v, %v", a, err)
			}
			r := &ResyncStart{Binding: testBinding, Position: start.Position, Derived: tc.derived, Since: oldest.Add(tc.after)}
			if _, err := db.StartResync(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if a, err := db.LastAccepted(t.Context()); err != nil || (a == nil) != tc.repaired {
				t.Errorf("what is left to be repaired: %+v, %v", a, err)
			}
		})
	}
}

// Walks that fill images of a table are given up with it, and begun anew when it is named again.
func TestImageJobsOfTablesThatAreGivenUp(t *testing.T) {
	db, _, r := imageFeed(t)
	keep := func(names ...string) {
		t.Helper()
		var wanted []ImageTable
		for _, n := range names {
			wanted = append(wanted, ImageTable{"public", n})
		}
		if _, err := r.KeepImagesOf(t.Context(), wanted); err != nil {
			t.Fatal(err)
		}
	}
	keep("a", "b")
	keep("b")
	if a, b := rows(t, db, "job WHERE table_name = 'a' AND state = 'cancelled' AND ended_at IS NOT NULL"), rows(t, db, "job WHERE table_name = 'b' AND state = 'queued'"); a != 1 || b != 1 {
		t.Errorf("%d walks are given up, %d go on", a, b)
	}
	keep("a", "b")
	if n := rows(t, db, "job WHERE state = 'queued'"); n != 2 {
		t.Errorf("%d walks once it is named again", n)
	}
}
