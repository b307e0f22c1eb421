package survival

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// replicated is a primary with a standby that streams through the slot "standby".
func replicated(t *testing.T, settings map[string]string) (primary, standby *pgserver.Server) {
	t.Helper()
	primary = pgtest.Cluster(t, pgserver.Options{Trust: true, HBA: pgtest.ReplicationHBA,
		Settings: map[string]string{"shared_buffers": "16MB", "fsync": "off", "autovacuum": "off"}})
	all := map[string]string{"shared_buffers": "16MB", "fsync": "off", "max_connections": "100"}
	for k, v := range settings {
		all[k] = v
	}
	return primary, pgtest.Standby(t, primary, "standby", all)
}

// finds lists the codes of what walhook check finds.
func (w *world) finds() (codes []string) {
	w.t.Helper()
	out, _ := w.in.Walhook("check", "--json") // findings end it with a status of their own
	var report struct {
		Findings []struct {
			Code string `json:"code"`
		} `json:"findings"`
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		w.t.Fatalf("walhook check: %v\n%s", err, out)
	}
	for _, f := range report.Findings {
		codes = append(codes, f.Code)
	}
	return codes
}

// The primary dies, and a standby that has kept a copy of the failover slot is promoted: walhook finds it by the second host of its DSN and
// goes on from its position, on the new timeline, without a change too few or too many.
func TestFailoverSlot(t *testing.T) {
	t.Parallel()
	pgtest.Needs(t, 17, "failover slots")
	primary, standby := replicated(t, nil)
	both := func(dsn string) string {
		return pgtest.TwoHosts(dsn, primary, standby) + "&target_session_attrs=read-write"
	}
	finds := func(w *world, code string) {
		t.Helper()
		w.wait("check to find "+code, func() bool { return slices.Contains(w.finds(), code) })
	}
	w := newWorld(t, options{source: primary, dialSource: both, prepare: func(w *world) {
		// An installation that was set up without: the slot is altered.
		w.reconfigure("idle_advance", "failover = true\nidle_advance")
		if codes := w.finds(); !slices.Contains(codes, "failover_slot") {
			t.Errorf("check finds %q of a slot that is no failover slot", codes)
		}
		if out := w.in.Must("setup", "--dry-run", "--dsn", w.in.Owner); !contains(out, `ALTER_REPLICATION_SLOT`) {
			t.Errorf("setup --dry-run:\n%s", out)
		}
		w.in.Must("setup", "--dsn", w.in.Owner)
		if codes := w.finds(); slices.Contains(codes, "failover_slot") {
			t.Errorf("check finds %q after setup", codes)
		}
		w.super = both(w.super)
	}})
	finds(w, "failover_copy")
	pgtest.Exec(t, standby.DSN("postgres"), "ALTER SYSTEM SET sync_replication_slots = on")
	pgtest.Exec(t, standby.DSN("postgres"), "SELECT pg_reload_conf()")
	w.wait("the standby's copy of the slot", func() bool {
		pgtest.Exec(t, primary.DSN("postgres"), "SELECT pg_log_standby_snapshot()") // lets the slot move on
		return w.number(standby.DSN("postgres"), "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary") == 1
	})
	finds(w, "failover_ahead")
	// The copy is nobody's to read from before the promotion.
	before, after := addressOf(primary)+","+addressOf(standby), addressOf(standby)
	w.reconfigure(before, after)
	w.reconfigure("=read-write", "=any")
	finds(w, "slot_synced")
	w.reconfigure("=any", "=read-write")
	w.reconfigure(after, before)
	pgtest.Exec(t, primary.DSN("postgres"), "ALTER SYSTEM SET synchronized_standby_slots = 'standby'")
	pgtest.Exec(t, primary.DSN("postgres"), "SELECT pg_reload_conf()")
	w.wait("check to be content", func() bool {
		return !slices.ContainsFunc(w.finds(), func(code string) bool { return contains(code, "failover") })
	})
	if err := standby.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	finds(w, "failover_waits")
	if err := standby.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.arrives()

	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, standby.DSN("postgres"), "SELECT pg_promote()")
	w.arrives()
	if n := w.number(w.state, "SELECT timeline FROM walhook.source"); n != 2 {
		t.Errorf("the state is on timeline %d", n)
	}
	if err := standby.Restart(t.Context(), "immediate"); err != nil { // the position lies past the switch now
		t.Fatal(err)
	}
	w.arrives()
	w.complete()
}

// walhook streams from a standby: the slot is made there, and the rest on the primary. The standby restarts, and is promoted under the stream,
// which goes on: positions beyond the switch are persisted as of the new timeline, so that the next session finds them right.
func TestStandbyAttach(t *testing.T) {
	t.Parallel()
	pgtest.Needs(t, 16, "logical decoding on a standby")
	primary, standby := replicated(t, nil)
	// Else the slot waits until the primary writes by itself which transactions run, every 15 s.
	pgtest.Exec(t, primary.DSN("template1"), "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO PUBLIC")
	toStandby := func(dsn string) string { return strings.Replace(dsn, addressOf(primary), addressOf(standby), 1) }
	w := newWorld(t, options{source: primary, dialSource: func(dsn string) string {
		pgtest.Replayed(t, standby, primary) // the role
		return toStandby(dsn)
	}, prepare: func(w *world) {
		if codes := w.finds(); slices.ContainsFunc(codes, func(code string) bool { return contains(code, "standby", "slot_") }) {
			t.Errorf("check finds %q on a standby", codes)
		}
		w.super = pgtest.TwoHosts(w.super, primary, standby) + "&target_session_attrs=read-write"
	}})
	if n := w.number(primary.DSN("postgres"), "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical'"); n != 0 {
		t.Errorf("%d logical slots on the primary", n)
	}
	if err := standby.Restart(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	w.arrives()
	w.ready()
	sessions := w.status().Source.Reconnects
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, standby.DSN("postgres"), "SELECT pg_promote()")
	w.arrives()
	if n := w.status().Source.Reconnects; n != sessions {
		t.Logf("the stream was attached %d times more", n-sessions)
	}
	if n := w.number(w.state, "SELECT timeline FROM walhook.source"); n != 2 {
		t.Errorf("the state is on timeline %d", n)
	}
	if err := standby.Restart(t.Context(), "fast"); err != nil {
		t.Fatal(err)
	}
	w.arrives()
	w.complete()
}

// What setup has to change it changes on the primary, and says so when it is given no login there.
func TestSetupOnStandby(t *testing.T) {
	t.Parallel()
	pgtest.Needs(t, 16, "logical decoding on a standby")
	primary, standby := replicated(t, nil)
	pgtest.Exec(t, primary.DSN("postgres"), "CREATE DATABASE own")
	pgtest.Exec(t, primary.DSN("postgres"), "CREATE DATABASE kept")
	pgtest.Exec(t, primary.DSN("own"), schema)
	in := harness.Install(t, primary.DSN("own"), harness.Options{Server: primary, Dial: func(dsn string) string {
		pgtest.Replayed(t, standby, primary)
		return strings.Replace(dsn, addressOf(primary), addressOf(standby), 1)
	}, Config: fmt.Sprintf("[state]\ndsn = %q\n[endpoints.erp]\nurl = \"http://127.0.0.1:1/\"\n[[rules]]\nname = \"doc\"\ntable = \"doc\"\non = [\"write\"]\nendpoint = \"erp\"\n", primary.DSN("kept"))})
	out, err := in.Walhook("setup")
	if exitOf(err) != 3 || !contains(out, "source.dsn leads to a standby") || !contains(out, "--dsn") {
		t.Errorf("setup without a login of the primary: %v\n%s", err, out)
	}
	if out := in.Must("setup", "--dry-run", "--dsn", primary.DSN("own")); !contains(out, "pg_log_standby_snapshot") || !contains(out, "CREATE PUBLICATION") {
		t.Errorf("setup --dry-run:\n%s", out)
	}
	in.Must("setup", "--dsn", primary.DSN("own")) // a superuser, who may ask the primary for what the slot waits for
	if out := in.Must("setup"); !contains(out, "nothing to do") {
		t.Errorf("setup again:\n%s", out)
	}
	in.Must("teardown", "--yes", "--dsn", primary.DSN("own"))
	conn := pgtest.Connect(t, standby.DSN("postgres"))
	var left int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical'").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d slots are left on the standby, %v", left, err)
	}
}

// The standby that is streamed from follows another server, which is promoted: the standby stays one, and comes to the new timeline. That is
// noted before positions of it are, and a start afterwards goes on.
func TestStandbyWhoseUpstreamIsPromoted(t *testing.T) {
	t.Parallel()
	pgtest.Needs(t, 16, "logical decoding on a standby")
	primary, middle := replicated(t, nil)
	standby := pgtest.Standby(t, middle, "last", map[string]string{"shared_buffers": "16MB", "fsync": "off", "max_connections": "100"})
	pgtest.Exec(t, primary.DSN("template1"), "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO PUBLIC")
	var single string
	w := newWorld(t, options{source: primary, dialSource: func(dsn string) string {
		pgtest.Replayed(t, middle, primary)
		pgtest.Replayed(t, standby, middle)
		return strings.Replace(dsn, addressOf(primary), addressOf(standby), 1)
	}, prepare: func(w *world) {
		single = w.super
		w.super = pgtest.TwoHosts(w.super, primary, middle) + "&target_session_attrs=read-write"
	}})
	w.arrives()
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, middle.DSN("postgres"), "SELECT pg_promote()")
	w.arrives()
	w.wait("the new timeline in the state", func() bool { return w.number(w.state, "SELECT timeline FROM walhook.source") == 2 })
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	<-w.ended
	w.launch()
	w.ready()
	w.arrives()
	w.super = strings.Replace(single, addressOf(primary), addressOf(standby), 1) // where the slot is
	w.complete()
}
