package survival

import (
	"context"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// wal_sender_timeout is 1 s, and the sink is blocked for 5 s: somebody holds the row that every batch has to write; then the table that every
// session of the small pool wants, so that there is none left to renew the lease with. The stream stays attached all the while, and
// the process in its place.
func TestBlockedState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{stateConfig: "pool_size = 2\nlease = \"5s\"", prepare: func(w *world) {
		pgtest.Exec(t, w.super, "ALTER ROLE walhook_"+databaseOf(t, w.super)+" SET wal_sender_timeout = '1s'")
	}})
	const walsender = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '"
	pid := w.number(w.super, walsender+w.in.Slot+"'")
	process := w.number(w.state, "SELECT id FROM walhook.process")
	blocker := pgtest.Connect(t, w.state)
	ctx := context.Background()
	for _, lock := range []string{"SELECT FROM walhook.source FOR UPDATE", "LOCK TABLE walhook.queue"} {
		tx, err := blocker.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, lock); err != nil {
			t.Fatal(err)
		}
		before := w.number(w.super, "SELECT count(*) FROM event")
		time.Sleep(blocked())
		if now := w.number(w.super, "SELECT count(*) FROM event"); now <= before {
			t.Errorf("nothing was written meanwhile: %d, %d", before, now)
		}
		if err := tx.Rollback(ctx); err != nil {
			t.Fatal(err)
		}
		w.arrives()
	}
	if now := w.number(w.super, walsender+w.in.Slot+"'"); now != pid {
		t.Errorf("the stream was attached again: walsender %d, before %d", now, pid)
	}
	if now := w.number(w.state, "SELECT id FROM walhook.process"); now != process {
		t.Errorf("the process has joined again: %d, before %d", now, process)
	}
	if d := w.status(); d.Source.Reconnects != 0 {
		t.Errorf("status: %+v", d)
	}
	w.complete()
}

func blocked() time.Duration {
	if isLong() {
		return 90 * time.Second // longer than the state's lock_timeout
	}
	return 5 * time.Second
}
