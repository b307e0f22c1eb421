package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

func TestSlotGone(t *testing.T) {
	b := newBench(t)
	var slot *SlotError
	t.Run("missing at start", func(t *testing.T) {
		err := b.start(&recorder{}, 0, func(c *SourceConfig) { c.Slot = "nobody" }).wait()
		if !errors.As(err, &slot) || slot.Problem != SlotMissing || slot.Hint() != "walhook setup" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("dropped while away", func(t *testing.T) {
		r := b.start(&recorder{}, 0, func(c *SourceConfig) { c.KickedMin, c.KickedMax = time.Second, time.Second })
		r.connected()
		b.exec("SELECT pg_terminate_backend($1::int)", r.Progress().Session.PID)
		<-r.lost
		until(t, "slot dropped", func() bool {
			_, err := b.conn.Exec(context.Background(), "SELECT pg_drop_replication_slot($1)", b.slot)
			return err == nil
		})
		err := r.wait()
		if !errors.As(err, &slot) || slot.Problem != SlotMissing || slot.Position == 0 || !strings.Contains(err.Error(), "the state ends at "+slot.Position.String()) || !strings.Contains(slot.Hint(), "walhook setup; then: walhook run --adopt") {
			t.Errorf("got %v\nhint %s", err, slot.Hint())
		}
	})
}

func TestSlotForeign(t *testing.T) {
	b := newBench(t)
	var slot *SlotError
	b.exec("SELECT pg_create_logical_replication_slot($1, 'test_decoding')", b.slot+"_plugin")
	b.exec("SELECT pg_create_physical_replication_slot($1)", b.slot+"_physical")
	t.Cleanup(func() { b.exec("SELECT pg_drop_replication_slot($1)", b.slot+"_physical") })
	other := newBench(t)
	for _, name := range []string{b.slot + "_plugin", b.slot + "_physical", other.slot} {
		err := b.start(&recorder{}, 0, func(c *SourceConfig) { c.Slot = name }).wait()
		if !errors.As(err, &slot) || slot.Problem != SlotForeign || slot.Hint() == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSlotInUse(t *testing.T) {
	b := newBench(t)
	first := &recorder{}
	r1 := b.start(first, 0)
	r1.connected()
	second := &recorder{}
	r2 := b.start(second, 0)
	err := <-r2.lost
	var slot *SlotError
	if !errors.As(err, &slot) || slot.Problem != SlotInUse || !strings.Contains(slot.Hint(), fmt.Sprintf("pg_terminate_backend(%d)", r1.Progress().Session.PID)) {
		t.Errorf("got %v", err)
	}
	b.exec("INSERT INTO t VALUES (1)")
	first.sees(t, "create 1")
	r1.stop()
	r2.connected() // takes over as soon as it can
	b.exec("INSERT INTO t VALUES (2)")
	second.sees(t, "create 2")
	r2.stop()
}

func TestSlotLost(t *testing.T) {
	pgtest.Needs(t, 13, "max_slot_wal_keep_size")
	s := ownServer(t, map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"})
	b := newBenchAt(t, databaseOn(t, s.DSN("postgres"), "d", s.DSN))
	for range 5 {
		b.exec("SELECT pg_switch_wal()")
		b.exec("INSERT INTO other SELECT coalesce(max(id), 0) + 1 FROM other")
	}
	b.exec("CHECKPOINT")
	if status := b.text("SELECT wal_status FROM pg_replication_slots"); status != "lost" {
		t.Fatalf("the slot is %s", status)
	}
	err := b.start(&recorder{}, 0).wait()
	var slot *SlotError
	if !errors.As(err, &slot) || slot.Problem != SlotLost || !strings.Contains(slot.Hint(), "max_slot_wal_keep_size") {
		t.Errorf("got %v", err)
	}
	err = b.start(&recorder{}, b.lsn("SELECT confirmed_flush_lsn::text FROM pg_replication_slots")).wait()
	if !errors.As(err, &slot) || slot.Problem != SlotLost || !strings.Contains(err.Error(), "MiB of WAL can no longer be read") || !strings.Contains(slot.Hint(), "walhook run --adopt") {
		t.Errorf("got %v", err)
	}
	facts, err := Inspect(context.Background(), b.conn, b.slot, b.slot, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := findings(Preflight(facts, nil)); f["slot_lost"].Severity != SeverityError {
		t.Errorf("findings %v", f)
	}
}

func findings(list []Finding) map[string]Finding {
	m := make(map[string]Finding)
	for _, f := range list {
		m[f.Code] = f
	}
	return m
}

func TestPublicationMissing(t *testing.T) {
	b := newBench(t)
	err := b.start(&recorder{}, 0, func(c *SourceConfig) { c.Publication = "nobody" }).wait()
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("got %v", err)
	}
}

// TestSlotOlderThanPublication: the server looks for the publication as of the WAL it reads.
func TestSlotOlderThanPublication(t *testing.T) {
	b := newBench(t)
	b.exec("DROP PUBLICATION " + b.slot)
	b.exec("INSERT INTO t VALUES (1)")
	b.exec("CREATE PUBLICATION " + b.slot + " FOR TABLE t")
	err := b.start(&recorder{}, 0).wait()
	var slot *SlotError
	if !errors.As(err, &slot) || slot.Problem != SlotTooOld || !strings.Contains(slot.Hint(), "pg_drop_replication_slot") || !strings.Contains(slot.Hint(), "walhook setup; then: walhook run --adopt") {
		t.Errorf("got %v\nhint %s", err, slot.Hint())
	}
}

func TestPositionRefused(t *testing.T) {
	b := newBench(t)
	b.exec("INSERT INTO t VALUES (1)")
	end := b.lsn("SELECT pg_current_wal_insert_lsn()::text")
	confirmed := b.confirmed()
	system := b.text("SELECT system_identifier::text FROM pg_control_system()")
	var position *PositionError
	for _, c := range []struct {
		name    string
		from    LSN
		change  func(*SourceConfig)
		problem PositionProblem
		want    string
	}{
		{"none", 0, func(c *SourceConfig) { c.FromSlot = false }, PositionNone, confirmed.String()},
		{"behind", confirmed - 2048, nil, PositionBehind, "2.0 KiB of WAL can no longer be read"},
		{"ahead", end + 1<<30, nil, PositionAhead, "1.0 GiB earlier"},
		{"timeline", confirmed, func(c *SourceConfig) { c.Timeline = 99 }, PositionTimeline, "timeline 99"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := b.start(&recorder{}, c.from, func(cfg *SourceConfig) {
				if c.change != nil {
					c.change(cfg)
				}
			})
			err := r.wait()
			if !errors.As(err, &position) || position.Problem != c.problem || !strings.Contains(err.Error(), c.want) || position.Hint() == "" {
				t.Errorf("got %v", err)
			}
			if got := b.confirmed(); got != confirmed {
				t.Errorf("confirmed %s, was %s", got, confirmed)
			}
		})
	}
	var identity *IdentityError
	err := b.start(&recorder{}, confirmed, func(c *SourceConfig) { c.SystemID = "1" }).wait()
	if !errors.As(err, &identity) || identity.Got != system || identity.Hint() == "" {
		t.Errorf("got %v", err)
	}
	err = b.start(&recorder{}, confirmed, func(c *SourceConfig) { c.SystemID, c.DatabaseOID = system, 1 }).wait()
	if !errors.As(err, &identity) || identity.Want != "1" {
		t.Errorf("got %v", err)
	}
	// And with everything right it runs.
	rec := &recorder{}
	b.start(rec, confirmed, func(c *SourceConfig) { c.SystemID, c.Timeline = system, 1 })
	rec.sees(t, "create 1")
}

func TestAccessRefused(t *testing.T) {
	b := newBench(t)
	var refused *RefusedError
	name := b.slot + "_plain"
	b.exec("CREATE ROLE " + name + " LOGIN")
	t.Cleanup(func() { b.exec("DROP ROLE " + name) })
	b.exec("CREATE ROLE " + name + "_mute NOLOGIN")
	t.Cleanup(func() { b.exec("DROP ROLE " + name + "_mute") })
	cfg, err := parseDSN(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	dsn := func(user, database string) string {
		return pgtest.Server(t).DSNFor(user, "", database)
	}
	for _, c := range []struct{ dsn, want, hint string }{
		{dsn(name, cfg.Database), "may not replicate", "ALTER ROLE"},
		{dsn("nobody_there", cfg.Database), "does not let role", "CREATE ROLE"},
		{dsn(name+"_mute", cfg.Database), "does not let role", "ALTER ROLE"},
		{dsn(cfg.User, "no_such_database"), "no database", "source.dsn"},
	} {
		err := b.start(&recorder{}, 0, func(s *SourceConfig) { s.DSN = c.dsn }).wait()
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) || !strings.Contains(refused.Hint(), c.hint) {
			t.Errorf("got %v\nhint %s", err, refused.Hint())
		}
	}
}

// TestRefusedByHBA: whom pg_hba.conf does not let in may exist very well.
func TestRefusedByHBA(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, pgserver.Options{Trust: true, HBA: []string{"host all barred 127.0.0.1/32 reject", "host all gone 127.0.0.1/32 trust"}})
	for user, refused := range map[string]bool{"barred": false, "gone": true} {
		_, err := pgconn.Connect(t.Context(), server.DSNFor(user, "", "postgres"))
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "28000" || RefusesRole(pg) != refused {
			t.Errorf("%s: refuses the role: %t (%v)", user, !refused, err)
		}
		hint := connectError(err, user, "postgres").(*RefusedError).Hint()
		if strings.Contains(hint, "CREATE ROLE") != refused || strings.Contains(hint, "host postgres "+user+" <address>/32") == refused {
			t.Errorf("%s: %s", user, hint)
		}
	}
}

func TestNetworkErrorsAreRetried(t *testing.T) {
	for _, c := range []struct {
		err   error
		final bool
	}{
		{&pgconn.PgError{Code: "53300"}, false},
		{&pgconn.PgError{Code: "57P03"}, false},
		{&pgconn.PgError{Code: "57P01"}, false},
		{errors.New("connection reset by peer"), false},
		{&SpillError{Err: errors.New("no space left on device")}, false},
		{slotInUse("s", 1, nil), false},
		{missingSlot("s", nil), true},
		{&PositionError{}, true},
		{connectError(&pgconn.PgError{Code: "28P01"}, "u", "d"), true},
	} {
		if got := isFinal(fmt.Errorf("wrapped: %w", c.err)); got != c.final {
			t.Errorf("%v: final is %v", c.err, got)
		}
	}
}
