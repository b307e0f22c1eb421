package main

import (
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/internal/pgtest"
	"walhook/state"
	"walhook/status"
)

// A reserved slot that keeps more WAL than it may is dropped, and why is noted; one within its limit, and the slot that is streamed from, stay.
func TestReservedSlotsAreHeldToTheirLimits(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx := t.Context()
	db, err := state.Open(ctx, state.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeState(db) })
	if err := db.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, dsn)
	id, err := cdc.ReadIdentity(ctx, conn, "")
	if err != nil {
		t.Fatal(err)
	}
	prefix := "r_" + id.DatabaseName + "_"
	pgtest.Exec(t, dsn, "CREATE PUBLICATION p; CREATE TABLE big AS SELECT n, repeat('x', 1000) FROM generate_series(1, 10) n")
	for slot, limit := range map[string]int64{"small": 1000, "large": 1 << 40, "own": 1000, "renewed": 1000} {
		if err := db.Reserve(ctx, prefix+slot, limit); err != nil {
			t.Fatal(err)
		}
		start, err := cdc.Reserve(ctx, conn, prefix+slot, "p", nil)
		if err != nil {
			t.Fatal(err)
		}
		if slot == "renewed" { // somebody has dropped it, and made one of the same name
			if start = start - 1; start == 0 {
				t.Fatal("a slot begins nowhere")
			}
		}
		if err := db.Reserved(ctx, prefix+slot, start); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cdc.Reserve(ctx, conn, prefix+"small", "p", nil); err == nil || !strings.Contains(hintOf(err), "another name") {
		t.Errorf("a slot was made twice: %v", err)
	}
	if err := db.Reserve(ctx, prefix+"foreign", 1000); err != nil { // noted, and killed before it was made: somebody else makes one of that name
		t.Fatal(err)
	}
	if _, err := cdc.Reserve(ctx, conn, prefix+"foreign", "p", nil); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, dsn, "INSERT INTO big SELECT n, repeat('x', 1000) FROM generate_series(1, 100) n")
	live, err := cdc.NewLive(dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	w := &reservedWatch{db: db, dsn: dsn, system: id.SystemID, database: id.DatabaseOID + 1, own: prefix + "own", log: zerolog.Nop(), seen: &reservedSlots{}}
	left := func(want int) {
		t.Helper()
		n := 0
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE $1", prefix+"%").Scan(&n); err != nil || n != want {
			t.Errorf("%d slots are left, %v; want %d", n, err, want)
		}
	}
	if err := w.look(ctx, live); err != nil { // another database than the state's
		t.Fatal(err)
	}
	left(5)
	seen := func() map[string]status.ReservedSlot {
		all := map[string]status.ReservedSlot{}
		for _, r := range w.seen.get() {
			all[strings.TrimPrefix(r.Slot, prefix)] = r
		}
		return all
	}
	if s := seen()["large"]; s.Retained != nil || s.MaxRetained != 1<<40 || s.Ended != "" || s.Since.IsZero() {
		t.Errorf("of another database nothing is known: %+v", s)
	}
	w.database = id.DatabaseOID
	for range 2 {
		if err := w.look(ctx, live); err != nil {
			t.Fatal(err)
		}
		left(4)
	}
	if all := seen(); len(all) != 4 || !strings.HasPrefix(all["renewed"].Ended, "another slot") || all["large"].Retained == nil || *all["large"].Retained < 100_000 || all["large"].Ended != "" || !strings.HasPrefix(all["small"].Ended, "it kept ") {
		t.Errorf("seen %+v", all)
	}
	list, err := db.Reservations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if ended := strings.HasPrefix(r.Ended, "it kept "); ended != (r.Slot == prefix+"small") {
			t.Errorf("%s ended: %q", r.Slot, r.Ended)
		}
	}
}
