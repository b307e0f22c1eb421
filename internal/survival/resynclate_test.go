package survival

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"walhook/internal/pgtest"
)

// deletesLate has a record deleted by a transaction that is open when resync looks which records are gone, and that the slot to be made waits for: the
// deletion lies before the stream. walhook runs before and afterwards.
func (s *site) deletesLate() {
	s.t.Helper()
	s.arrives()
	id := s.one("SELECT max(id) FROM partner WHERE name = 'marker'")
	s.end(syscall.SIGTERM)
	s.lose("dropped")
	late := pgtest.Connect(s.t, s.super)
	if _, err := late.Exec(s.t.Context(), "BEGIN; DELETE FROM partner WHERE id = "+id); err != nil {
		s.t.Fatal(err)
	}
	cmd, out := s.in.Command("resync", "--yes"), &buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill() })
	s.until("the slot to wait for the transaction", func() bool {
		return s.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+s.in.Slot+"' AND active AND confirmed_flush_lsn IS NULL") == "1"
	})
	if _, err := late.Exec(s.t.Context(), "COMMIT"); err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		s.t.Fatalf("resync: %v\n%s", err, out.String())
	}
	s.start()
	s.resynced()
	if _, there := s.view.all("partner")[id]; there {
		s.t.Errorf("record %s was deleted before the slot began, and the receiver was not told:\n%s", id, out.String())
	}
}

// resyncsBesideWriters resyncs again and again while walhook runs and others write.
func (s *site) resyncsBesideWriters() {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	other := pgtest.Connect(s.t, s.super)
	go func() {
		defer close(done)
		for r := rand.New(rand.NewPCG(3, 4)); ctx.Err() == nil; {
			s.writes(other, r, 1)
			time.Sleep(2 * time.Millisecond)
		}
	}()
	for range 3 {
		if out, err := s.in.Walhook("resync", "--since", "1h", "--yes"); err != nil {
			s.t.Errorf("resync beside a reader: %v\n%s", err, out)
		}
	}
	stop()
	<-done
	s.resynced()
	want, got := s.table(), s.view.all("partner")
	for id, value := range got { // what was written past Odoo is not found
		if strings.HasPrefix(value, "raw ") {
			delete(want, id)
			delete(got, id)
		}
	}
	if diff := difference(want, got); diff != "" {
		s.t.Errorf("the receiver's view differs: %s", diff)
	}
}

// resynced waits until the work of all resyncs is done and delivered.
func (s *site) resynced() {
	s.t.Helper()
	s.until("the resync to be over", func() bool {
		return s.one("SELECT (SELECT count(*) FROM walhook.resync_gone) + (SELECT count(*) FROM walhook.job WHERE state <> 'done')") == "0"
	})
	s.arrives()
	s.until("the queue to be empty", func() bool { return s.one("SELECT count(*) FROM walhook.queue") == "0" })
}
