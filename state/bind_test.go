package state

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"walhook/cdc"
	"walhook/delivery"
)

func TestBindFirstAndAgain(t *testing.T) {
	db := openEmpty(t, nil)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, bound, err := db.Bound(t.Context()); bound || err != nil {
		t.Fatal(bound, err)
	}
	var wg sync.WaitGroup
	for range 4 { // at once
		wg.Go(func() {
			pos, err := db.Bind(context.Background(), testBinding, BindOptions{Start: testStart})
			if err != nil || pos != (delivery.Position{LSN: testStart}) {
				t.Errorf("bind: %+v, %v", pos, err)
			}
		})
	}
	wg.Wait()
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	pos, err := db.Bind(t.Context(), testBinding, BindOptions{Start: 0xffff})
	if err != nil || pos != f.at {
		t.Errorf("bind again: %+v, %v", pos, err)
	}
	if got, bound, err := db.Bound(t.Context()); got != testBinding || !bound || err != nil {
		t.Errorf("bound to %+v", got)
	}
}

// Invariants 5 and 8: another cluster, database or slot is refused, and each difference is named.
func TestInvariant8OtherSourceIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Binding)
		keeps  bool // the position, when adopted
	}{
		"cluster":       {func(b *Binding) { b.SystemID = "7002" }, false},
		"database oid":  {func(b *Binding) { b.DatabaseOID++ }, false},
		"slot":          {func(b *Binding) { b.Slot = "other" }, false},
		"timeline":      {func(b *Binding) { b.Timeline = 2 }, false},
		"database name": {func(b *Binding) { b.DatabaseName = "copy" }, true},
		"uuid":          {func(b *Binding) { b.UUID = "u-2" }, true},
		"create_date":   {func(b *Binding) { b.CreateDate = "" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			db := openState(t, nil)
			f := newFeed(t, register(t, db))
			f.enqueue(t, none, f.delivery("a", "m/1"))
			b := testBinding
			tc.change(&b)
			_, err := db.Bind(t.Context(), b, BindOptions{Start: 0x9000})
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || len(mismatch.Differences) != 1 || !strings.Contains(err.Error(), name) || !strings.Contains(hintOf(err), "--adopt") {
				t.Fatalf("got %v, hint %q", err, hintOf(err))
			}
			if got, _, _ := db.Bound(t.Context()); got != testBinding {
				t.Errorf("a refused binding was stored")
			}
			pos, err := db.Bind(t.Context(), b, BindOptions{Start: 0x9000, Adopt: true})
			want := delivery.Position{LSN: 0x9000}
			if tc.keeps {
				want = f.at
			}
			if err != nil || pos != want {
				t.Errorf("adopted: %+v, %v; want %+v", pos, err, want)
			}
			if again, err := db.Bind(t.Context(), b, BindOptions{}); err != nil || again != want {
				t.Errorf("after adopting: %+v, %v", again, err)
			}
			if rows(t, db, "queue") != 1 {
				t.Error("pending deliveries are gone")
			}
		})
	}
}

func TestInvariant8Timelines(t *testing.T) {
	db := openState(t, nil)
	newer := testBinding
	newer.Timeline = 3
	refuse := func(stored, found uint32, at cdc.LSN) error {
		if stored != 1 || found != 3 || at != testStart {
			t.Errorf("asked about %d, %d, %s", stored, found, at)
		}
		return errors.New("the position lies behind its switch point")
	}
	if _, err := db.Bind(t.Context(), newer, BindOptions{Timeline: refuse}); err == nil || !strings.Contains(err.Error(), "switch point") {
		t.Errorf("got %v", err)
	}
	accept := func(uint32, uint32, cdc.LSN) error { return nil }
	if pos, err := db.Bind(t.Context(), newer, BindOptions{Timeline: accept}); err != nil || pos.LSN != testStart {
		t.Errorf("got %+v, %v", pos, err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Timeline: accept}); err == nil || !strings.Contains(err.Error(), "older timeline") {
		t.Errorf("got %v", err)
	}
}
