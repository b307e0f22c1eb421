package survival

import (
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// alarmed says whether an alarm of the slot is raised.
func (w *world) alarmed(name string) bool {
	for _, a := range w.status().Source.Alarms {
		if a.Name == name {
			return true
		}
	}
	return false
}

// grow writes so many segments of WAL, 16 MiB each.
func (w *world) grow(segments int) {
	w.t.Helper()
	for range segments {
		pgtest.Exec(w.t, w.super, "SELECT pg_switch_wal(); INSERT INTO event (note) VALUES ('grow')")
	}
}

// The state is away while WAL grows, and the stream is cut meanwhile: it comes back, nothing is confirmed before the state is
// there again, and then everything arrives.
func TestStateAway(t *testing.T) {
	t.Parallel()
	source := ownServer(t, nil) // nobody else writes WAL there
	p, q := harness.NewProxy(t, sharedServer(t)), harness.NewProxy(t, addressOf(source))
	w := newWorld(t, options{source: source, dialState: p.Through, dialSource: q.Through,
		config: "alarm = { retained = \"32MiB\" }\nguard = { max_retained = \"1GiB\", action = \"stop\", after = \"3s\" }"}) // a guard looks more often
	p.Refuse(true)
	w.unready("the state database does not answer")
	const confirmed = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '"
	was := w.text(w.super, confirmed+w.in.Slot+"'")
	w.grow(4)
	reconnects := w.status().Source.Reconnects
	q.Cut()
	w.wait("the stream to come back although the state is away", func() bool { d := w.status().Source; return d.Reconnects > reconnects && d.Connected })
	time.Sleep(away())
	if now := w.text(w.super, confirmed+w.in.Slot+"'"); now != was {
		t.Errorf("the slot was confirmed up to %s while the state was away, from %s", now, was)
	}
	w.wait("the alarm", func() bool { return w.alarmed("retained") })
	if out, _ := w.in.Walhook("status"); !contains(out, "the slot keeps ") || !contains(out, "not ready") {
		t.Errorf("walhook status:\n%s", out)
	}
	if code, body := w.page("/metrics"); code != 200 || !contains(body, `walhook_slot_alarm{alarm="retained"} 1`) || !contains(body, "walhook_state_up 0") {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	p.Refuse(false)
	w.arrives()
	w.ready()
	pgtest.Exec(t, w.super, "CHECKPOINT") // notes the transactions that run, from where on the slot needs WAL
	w.wait("the alarm to be over", func() bool { return len(w.status().Source.Alarms) == 0 })
	for _, line := range []string{`"message":"slot alarm"`, `"message":"slot alarm is over"`} {
		if n := strings.Count(w.log.String(), line); n != 1 {
			t.Errorf("%d lines with %s, want one", n, line)
		}
	}
	w.complete()
}

func away() time.Duration {
	if isLong() {
		return time.Minute
	}
	return 2 * time.Second
}

// The slot guard, in a cluster whose WAL nobody else writes.
func TestSlotGuard(t *testing.T) {
	t.Parallel()
	source := ownServer(t, nil)
	t.Run("drop", func(t *testing.T) { testGuardDrops(t, source) })
	t.Run("stop", func(t *testing.T) { testGuardStops(t, source) })
}

// The slot guard drops the slot while the state is away, says what is lost and how to go on; and that is the way on.
func testGuardDrops(t *testing.T, source *pgserver.Server) {
	p := harness.NewProxy(t, sharedServer(t))
	w := newWorld(t, options{source: source, dialState: p.Through, config: `guard = { max_retained = "32MiB", action = "drop", after = "5s" }`})
	w.grow(4) // read at once: what the slot keeps shrinks, or the checkpoint makes it
	pgtest.Exec(t, w.super, "CHECKPOINT")
	w.arrives()

	p.Refuse(true)
	w.grow(4)
	w.exits(3)
	w.said(`was dropped to save the server's disk`, "the last trouble was: ", "are lost to the stream", "max_retained (32.0 MiB)", "walhook setup", "--adopt", "; changes are missed since 20", "by 2 rules (event, doc) on event, doc")
	if n := w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+w.in.Slot+"'"); n != 0 {
		t.Error("the slot is still there")
	}

	p.Refuse(false)
	out, err := w.in.Walhook("run")
	if exitOf(err) != 3 || !contains(out, "there is no replication slot") || !contains(out, "walhook setup") {
		t.Errorf("run without the slot: %v\n%s", err, out)
	}
	w.writer.stop()
	before := w.writer.committed()
	w.receiver.allowGaps()
	if out, err := w.in.Walhook("setup", "--dsn", w.in.Owner); !contains(out, "pg_create_logical_replication_slot") {
		t.Errorf("setup: %v\n%s", err, out)
	}
	w.args = []string{"--adopt"}
	w.launch()
	w.ready()
	w.writer = startWriter(t, w.super)
	w.arrives()
	w.writer.stop()
	after := w.writer.committed()
	for id := range before.events {
		delete(after.events, id) // lost, or delivered before
	}
	for id, n := range before.docs {
		if after.docs[id] == n {
			delete(after.docs, id)
		}
	}
	w.wait("what was written since", func() bool { return w.receiver.missing(after) == "" })
	w.stop()
}

// The slot guard stops and leaves the slot: walhook can be started again without the guard, and nothing is lost.
func testGuardStops(t *testing.T, source *pgserver.Server) {
	p := harness.NewProxy(t, sharedServer(t))
	w := newWorld(t, options{source: source, dialState: p.Through, config: `guard = { max_retained = "32MiB", action = "stop", after = "2s" }`})
	p.Refuse(true)
	w.grow(4)
	w.exits(3)
	w.said("the stream was stopped; the slot still keeps WAL", "nothing is lost yet and nothing is freed")
	if n := w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '"+w.in.Slot+"'"); n != 1 {
		t.Error("the slot is gone")
	}
	p.Refuse(false)
	w.reconfigure(`action = "stop", after = "2s"`, `action = "stop", after = "10m"`)
	w.launch()
	w.arrives()
	w.ready()
	w.complete()
}

// The server's own limit takes the slot while the state is away: recognised, named, status 3, with the remedy. In the long form the stream
// is attached when that happens, and the server ends it in the same words as an administrator does.
func TestSlotInvalidated(t *testing.T) {
	t.Parallel()
	pgtest.Needs(t, 13, "max_slot_wal_keep_size")
	source := ownServer(t, map[string]string{"max_slot_wal_keep_size": "128MB"})
	p, q := harness.NewProxy(t, sharedServer(t)), harness.NewProxy(t, addressOf(source))
	w := newWorld(t, options{source: source, dialState: p.Through, dialSource: q.Through, config: `guard = { max_retained = "1GiB", action = "stop", after = "3s" }`})
	p.Refuse(true)
	w.grow(8)
	w.wait("the alarm", func() bool { return w.alarmed("headroom") })
	q.Refuse(!isLong())
	pgtest.Exec(t, w.super, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
	pgtest.Exec(t, w.super, "SELECT pg_reload_conf()")
	w.grow(2)
	pgtest.Exec(t, w.super, "CHECKPOINT")
	q.Refuse(false)
	w.exits(3)
	w.said("is lost", "max_slot_wal_keep_size", "the server takes the slot before the slot guard would act", "by 2 rules (event, doc) on event, doc", "walhook resync")
	p.Refuse(false)
	out, err := w.in.Walhook("run")
	if exitOf(err) != 3 || !contains(out, "is lost") || !contains(out, "walhook setup") {
		t.Errorf("run with a lost slot: %v\n%s", err, out)
	}
	out, err = w.in.Walhook("check")
	if exitOf(err) != 3 || !contains(out, "lost") {
		t.Errorf("check with a lost slot: %v\n%s", err, out)
	}
}

// The slot is dropped behind walhook's back: the message says since when changes are missed, and what they concern, as at a start.
func TestSlotDropped(t *testing.T) {
	t.Parallel()
	q := harness.NewProxy(t, sharedServer(t))
	w := newWorld(t, options{dialSource: q.Through})
	q.Refuse(true)
	slot := "FROM pg_replication_slots WHERE slot_name = '" + w.in.Slot + "'"
	w.wait("the server to let go of the slot", func() bool { return w.number(w.super, "SELECT count(*) "+slot+" AND active") == 0 })
	pgtest.Exec(t, w.super, "SELECT pg_drop_replication_slot(slot_name) "+slot)
	q.Refuse(false)
	w.exits(3)
	w.said(`is missing: `, "; changes are missed since 20", " or later, by 2 rules (event, doc) on event, doc", "hint: walhook resync ")
	w.writer.stop()
}
