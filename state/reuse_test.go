package state

import (
	"context"
	"syscall"
	"testing"
	"time"

	"walhook/delivery"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// crashServer is a cluster that a test may crash. What is not committed stays in memory for a while, and is lost by a crash.
func crashServer(t *testing.T) *pgserver.Server {
	t.Helper()
	s := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: map[string]string{
		"wal_writer_delay": "10s", "fsync": "off", "autovacuum": "off", "shared_buffers": "16MB",
	}})
	return s
}

// A server that has crashed gives transaction ids out again: those of which nothing had reached the disk. A transaction of
// somebody else's under the same id must not be taken for the one in doubt (invariant 1).
func TestCommitInDoubtAfterCrash(t *testing.T) {
	t.Parallel()
	s := crashServer(t)
	cut, dsn := newCutter(t, s.DSN("postgres"))
	db := open(t, Config{DSN: dsn})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		t.Fatal(err)
	}
	p := register(t, db)
	f := newFeed(t, p)
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/1")), "a:m/1=1")

	lost := f.delivery("a", "m/2")
	before := f.at
	cut.mode.Store(cutStatement)
	done := make(chan error, 1)
	go func() {
		_, err := f.try(context.Background(), all, lost)
		done <- err
	}()
	for end := time.Now().Add(30 * time.Second); cut.cuts.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there was no COMMIT to cut")
		}
	}
	cut.refuse.Store(true) // nobody asks before the id has been given out again
	if err := s.Restart(t.Context(), "immediate"); err != nil {
		t.Fatal(err)
	}
	other := pgtest.Connect(t, s.DSN("postgres"))
	for range 50 {
		if _, err := other.Exec(t.Context(), "SELECT txid_current()"); err != nil {
			t.Fatal(err)
		}
	}
	cut.refuse.Store(false)
	var err error
	select {
	case err = <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("Enqueue does not return")
	}
	if !isTemporary(err) {
		t.Fatalf("a batch that the crash has swallowed: %v", err)
	}
	if pos, err := p.StoredPosition(t.Context()); pos != before || err != nil {
		t.Fatalf("position %+v, %v; want %+v", pos, err, before)
	}
	wantLanes(t, f.enqueue(t, all, lost), "a:m/2=2")

	// The lane is in memory now. That it was acquired under the id in doubt as well, as it seemed, must not free it.
	if err := p.settleOrphans(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "lane WHERE owner IS NOT NULL"); n != 2 {
		t.Errorf("%d lanes are owned, want 2", n)
	}
	finish(t, p, 5, outcome(lost, delivery.Delivered))
	consistent(t, db)
}

// What a session knows of its server changes when the server has crashed, and not when it was restarted in order.
func TestIncarnation(t *testing.T) {
	t.Parallel()
	s := crashServer(t)
	db := open(t, Config{DSN: s.DSN("postgres")})
	incarnation := func() string {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			conn, err := db.pool.Acquire(t.Context())
			if err == nil {
				err = conn.Ping(t.Context())
			}
			if err == nil {
				defer conn.Release()
				return incarnationOf(conn.Conn())
			}
			if conn != nil {
				conn.Release()
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	first := incarnation()
	if first == "" || incarnation() != first {
		t.Fatalf("incarnation %q", first)
	}
	restart := func(mode string) {
		t.Helper()
		db.pool.Reset()
		if err := s.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
	}
	restart("fast")
	if now := incarnation(); now != first {
		t.Errorf("after a restart in order: %q, before %q", now, first)
	}
	restart("immediate")
	second := incarnation()
	if second == first {
		t.Error("unchanged by a crash")
	}
	// One backend's crash makes the server begin anew, although the postmaster lives on.
	conn := pgtest.Connect(t, s.DSN("postgres"))
	if err := syscall.Kill(int(conn.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); conn.Ping(t.Context()) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the backend lives on")
		}
	}
	for end := time.Now().Add(30 * time.Second); incarnation() == second; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("unchanged by the crash of a backend")
		}
		db.pool.Reset() // it was made before the server has noticed
	}
}
