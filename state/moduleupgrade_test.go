package state

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery"
	"walhook/status"
)

// B7: how an upgrade stands is written with the position, or not at all (invariant 2), and what rules leave out is counted.
func TestUpgradeMovesWithThePosition(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	if u, err := db.Upgrade(t.Context()); err != nil || !u.Begun.IsZero() {
		t.Fatalf("before any: %+v, %v", u, err)
	}
	at := time.Date(2026, 3, 1, 10, 0, 0, 123000, time.UTC)
	first := delivery.Upgrade{Begun: at, LSN: 0x1000, Seen: at, Modules: []int32{5, 6}, Total: 2, Held: 1}
	step := func(from delivery.Position, u *delivery.Upgrade) (delivery.Position, error) {
		to := delivery.Position{LSN: from.LSN + 100}
		_, err := p.Enqueue(t.Context(), &delivery.Batch{From: from, To: to, Upgrade: u, Matched: map[string]int64{"r": 3},
			Ignored: map[string]int64{"r": 1}, Dropped: map[string]int64{"r": 2}}, nil)
		return to, err
	}
	next, err := step(f.at, &first)
	if err != nil {
		t.Fatal(err)
	}
	over := first
	over.Modules, over.Ended, over.Outcome, over.Dropped = []int32{}, at.Add(time.Minute), delivery.UpgradeDone, 7
	if _, err := step(f.at, &over); !errors.Is(err, delivery.ErrSuperseded) { // from an old position
		t.Fatal(err)
	}
	if got, err := db.Upgrade(t.Context()); err != nil || cmp.Diff(first, got) != "" || !got.Running() {
		t.Errorf("(-want +got):\n%s%v", cmp.Diff(first, got), err)
	}
	told := func(want *status.UpgradeState) {
		t.Helper()
		if s, err := db.Position(t.Context()); err != nil || cmp.Diff(want, s.Upgrade) != "" {
			t.Errorf("status (-want +got):\n%s%v", cmp.Diff(want, s.Upgrade), err)
		}
	}
	told(&status.UpgradeState{Since: at, Seen: at, Waiting: 2, Modules: 2, Held: 1})
	if next, err = step(next, &over); err != nil {
		t.Fatal(err)
	}
	second := delivery.Upgrade{Begun: at.Add(time.Hour), LSN: 0x2000, Seen: at.Add(time.Hour), Modules: []int32{9}, Total: 1}
	if got, err := db.Upgrade(t.Context()); err != nil || cmp.Diff(over, got) != "" || got.Running() {
		t.Errorf("(-want +got):\n%s%v", cmp.Diff(over, got), err)
	}
	told(nil)
	if _, err := step(next, &second); err != nil || rows(t, db, "upgrade") != 2 {
		t.Errorf("%d upgrades, %v", rows(t, db, "upgrade"), err)
	}
	for range 2 { // from memory, and from the table
		list, err := db.Rules(t.Context())
		if err != nil || len(list) != 1 || list[0].Matched != 9 || list[0].Ignored != 3 || list[0].Dropped != 6 {
			t.Errorf("rules %+v, %v", list, err)
		}
		if err := db.FlushStatistics(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
