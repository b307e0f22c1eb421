package state

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/internal/pgtest"
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
			start, err := db.Bind(context.Background(), testBinding, BindOptions{Start: testStart, Created: true})
			if err != nil || start.Position != (delivery.Position{LSN: testStart}) || start.Adoption != nil {
				t.Errorf("bind: %+v, %v", start, err)
			}
		})
	}
	wg.Wait()
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	again, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true, Adopt: true})
	if err != nil || again.Position != f.at || again.Fresh || again.Adoption != nil {
		t.Errorf("bind again: %+v, %v", again, err)
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
		"neutralized":   {func(b *Binding) { b.Neutralized = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			db := openState(t, nil)
			f := newFeed(t, register(t, db))
			f.enqueue(t, none, f.delivery("a", "m/1"))
			b := testBinding
			tc.change(&b)
			_, err := db.Bind(t.Context(), b, BindOptions{Start: testStart})
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || len(mismatch.Differences) != 1 || !strings.Contains(err.Error(), name) || !strings.Contains(hintOf(err), "--adopt") {
				t.Fatalf("got %v, hint %q", err, hintOf(err))
			}
			if got, _, _ := db.Bound(t.Context()); got != testBinding {
				t.Errorf("a refused binding was stored")
			}
			compared := db.Compare(t.Context(), b, BindOptions{Start: testStart})
			if compared == nil || compared.Error() != err.Error() {
				t.Errorf("compared: %v, bound: %v", compared, err)
			}
			slot, want := cdc.LSN(0x9000), delivery.Position{LSN: 0x9000}
			if tc.keeps {
				slot, want = testStart, f.at
			}
			before := epochOf(t, db)
			start, err := db.Bind(t.Context(), b, BindOptions{Start: slot, Adopt: true})
			if err != nil || start.Position != want || start.Adoption == nil || len(start.Adoption.Reasons) == 0 {
				t.Fatalf("adopted: %+v, %v; want %+v", start, err, want)
			}
			// Only where no other database can go on with the same numbers.
			goesOn := name == "database name" || name == "neutralized"
			if a := start.Adoption; a.GoesOn != goesOn || (a.Epoch == before) != goesOn || a.Epoch != epochOf(t, db) {
				t.Errorf("epoch %d became %d: %+v", before, epochOf(t, db), a)
			}
			if rows(t, db, "adoption") != 1 {
				t.Error("it was not noted")
			}
			if again, err := db.Bind(t.Context(), b, BindOptions{Start: slot}); err != nil || again.Position != want || again.Adoption != nil {
				t.Errorf("after adopting: %+v, %v", again, err)
			}
			if rows(t, db, "queue") != 1 {
				t.Error("pending deliveries are gone")
			}
		})
	}
}

func epochOf(t *testing.T, db *DB) (epoch int64) {
	t.Helper()
	if err := db.pool.QueryRow(t.Context(), db.sql("SELECT epoch FROM {schema}.source")).Scan(&epoch); err != nil {
		t.Fatal(err)
	}
	return epoch
}

// A rename goes on with its numbers only while the slot goes on where the state ends, and on the same timeline.
func TestRenameWithAGap(t *testing.T) {
	for name, opts := range map[string]BindOptions{
		"gap":            {Start: testStart + 5000},
		"no slot":        {},
		"newer timeline": {Start: testStart, Timeline: func(uint32, uint32, cdc.LSN) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			db := openState(t, nil)
			before, renamed := epochOf(t, db), testBinding
			renamed.DatabaseName = "new name"
			if opts.Timeline != nil {
				renamed.Timeline++
			}
			opts.Adopt = true
			start, err := db.Bind(t.Context(), renamed, opts)
			if err != nil || start.Adoption == nil || start.Adoption.GoesOn || start.Adoption.Epoch == before {
				t.Errorf("%+v, %v", start, err)
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
	if start, err := db.Bind(t.Context(), newer, BindOptions{Timeline: accept}); err != nil || start.Position.LSN != testStart || start.Adoption != nil {
		t.Errorf("got %+v, %v", start, err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Timeline: accept}); err == nil || !strings.Contains(err.Error(), "older timeline") {
		t.Errorf("got %v", err)
	}
}

// Invariant 1: what the slot was told is done, and the state does not hold, is a gap that only a person accepts. It is noted, and pending deliveries stay.
func TestInvariant1Gap(t *testing.T) {
	for name, tc := range map[string]struct {
		slot, end cdc.LSN
		open      delivery.Position // set before
		want      delivery.Position // once adopted
		problem   cdc.PositionProblem
		lost      string
	}{
		"behind":                 {slot: testStart + 5000, want: delivery.Position{LSN: testStart + 5000}, problem: cdc.PositionBehind, lost: "5000"},
		"ahead":                  {slot: testStart - 100, end: testStart - 50, want: delivery.Position{LSN: testStart - 100}, problem: cdc.PositionAhead},
		"open transaction lost":  {slot: testStart + 5000, open: delivery.Position{LSN: testStart, Open: testStart + 4000, Count: 7}, want: delivery.Position{LSN: testStart + 5000}, problem: cdc.PositionBehind, lost: "5000"},
		"open transaction again": {slot: testStart + 16, open: delivery.Position{LSN: testStart, Open: testStart + 4000, Count: 7}, want: delivery.Position{LSN: testStart + 16, Open: testStart + 4000, Count: 7}, problem: cdc.PositionBehind, lost: "16"},
	} {
		t.Run(name, func(t *testing.T) {
			db := openState(t, nil)
			if tc.open.Open != 0 {
				exec(t, db, "UPDATE {schema}.source SET open_lsn = '"+tc.open.Open.String()+"', open_count = 7")
			}
			opts := BindOptions{Start: tc.slot, End: func() (cdc.LSN, error) { return tc.end, nil }}
			for range 2 { // refusing changes nothing
				_, err := db.Bind(t.Context(), testBinding, opts)
				var position *cdc.PositionError
				if !errors.As(err, &position) || position.Problem != tc.problem || !strings.Contains(position.Hint(), "walhook run --adopt") {
					t.Fatalf("bind: %v", err)
				}
				if compared := db.Compare(t.Context(), testBinding, opts); compared == nil || compared.Error() != err.Error() {
					t.Errorf("compare: %v", compared)
				}
			}
			opts.Adopt = true
			start, err := db.Bind(t.Context(), testBinding, opts)
			if err != nil || start.Position != tc.want {
				t.Fatalf("adopted: %+v, %v", start, err)
			}
			opts.Adopt, opts.Start = false, tc.slot
			if again, err := db.Bind(t.Context(), testBinding, opts); err != nil || again.Position != tc.want {
				t.Errorf("after adopting: %+v, %v", again, err)
			}
			var noted, lost string
			var epoch int64
			if err := db.pool.QueryRow(t.Context(), db.sql("SELECT from_lsn || '-' || to_lsn, coalesce(lost_bytes::text, ''), epoch FROM {schema}.adoption")).Scan(&noted, &lost, &epoch); err != nil {
				t.Fatal(err)
			}
			if noted != testStart.String()+"-"+tc.slot.String() || lost != tc.lost || epoch < 2 {
				t.Errorf("noted %s, %s bytes, epoch %d", noted, lost, epoch)
			}
		})
	}
}

// A state that holds nothing, beside a slot that may have been read from: it was lost.
func TestInvariant1LostState(t *testing.T) {
	db := openEmpty(t, nil)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	opts := BindOptions{Start: testStart}
	_, err := db.Bind(t.Context(), testBinding, opts)
	var position *cdc.PositionError
	if !errors.As(err, &position) || position.Problem != cdc.PositionNone || !strings.Contains(err.Error(), testStart.String()) {
		t.Fatalf("bind: %v", err)
	}
	if compared := db.Compare(t.Context(), testBinding, opts); compared == nil || compared.Error() != err.Error() {
		t.Errorf("compare: %v", compared)
	}
	if _, bound, err := db.Bound(t.Context()); bound || err != nil {
		t.Errorf("bound all the same: %v", err)
	}
	opts.Adopt = true
	start, err := db.Bind(t.Context(), testBinding, opts)
	if err != nil || !start.Fresh || start.Position.LSN != testStart || start.Adoption == nil || start.Adoption.Lost != -1 {
		t.Errorf("adopted: %+v, %v", start, err)
	}
}

// What setup --dry-run prints binds like setup itself.
func TestBindingSQL(t *testing.T) {
	db := openEmpty(t, func(c *Config) { c.Schema = "we ird" })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := testBinding
	b.DatabaseName, b.UUID = `it's "odd" \ `, ""
	pgtest.Exec(t, db.cfg.DSN, BindingSQL(db.cfg, b, "lsn", "(SELECT '0/1000'::pg_lsn AS lsn) AS made"))
	start, err := db.Bind(t.Context(), b, BindOptions{Start: testStart})
	if err != nil || start.Fresh || start.Position.LSN != 0x1000 {
		t.Errorf("%+v, %v", start, err)
	}
}

// Leaving the mark of a copy behind makes the next one count again.
func TestNeutralizedIsRemembered(t *testing.T) {
	db := openState(t, nil)
	marked := testBinding
	marked.Neutralized = true
	bind := func(b Binding, adopt bool) error {
		_, err := db.Bind(t.Context(), b, BindOptions{Start: testStart, Adopt: adopt})
		return err
	}
	refused := func(err error) bool {
		var mismatch *MismatchError
		return errors.As(err, &mismatch) && mismatch.Neutralized()
	}
	if err := bind(marked, false); !refused(err) {
		t.Errorf("first: %v", err)
	}
	if err := errors.Join(bind(marked, true), bind(marked, false), bind(testBinding, false)); err != nil {
		t.Errorf("adopted, again, and without the mark: %v", err)
	}
	if err := bind(marked, false); !refused(err) {
		t.Errorf("marked again: %v", err)
	}
}

// The publication is remembered from run to run, and forgotten when another place in the source is taken on, not when the same one goes on.
func TestPublicationIsRemembered(t *testing.T) {
	db := openState(t, nil)
	first := cdc.PublicationMemory{Name: "p", OID: 4_000_000_000, Tables: map[string][2]uint32{"public.t": {16_384, 4_000_000_001}}}
	bind := func(b Binding, adopt bool) {
		t.Helper()
		if _, err := db.Bind(t.Context(), b, BindOptions{Start: testStart, Adopt: adopt, Timeline: func(uint32, uint32, cdc.LSN) error { return nil }}); err != nil {
			t.Fatal(err)
		}
	}
	recalls := func(want cdc.PublicationMemory, known bool) {
		t.Helper()
		got, ok, err := db.RecallPublication(t.Context())
		if err != nil || ok != known || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, %v; want %+v, %v", got, ok, err, want, known)
		}
	}
	recalls(cdc.PublicationMemory{}, false)
	if err := db.RememberPublication(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	recalls(first, true)
	later := testBinding
	later.Timeline++
	bind(later, false)
	recalls(first, true)
	later.Slot += "_2"
	bind(later, true)
	recalls(cdc.PublicationMemory{}, false)
	exec(t, db, "DELETE FROM {schema}.source")
	if _, _, err := db.RecallPublication(t.Context()); !errors.Is(err, ErrNotBound) {
		t.Errorf("not bound: %v", err)
	}
}
