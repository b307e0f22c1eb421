package cdc

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// TestGateTimes: the longer absence wins, the end comes by itself or early, and waiting can be given up.
func TestGateTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		g := NewGate(time.Minute, time.Minute, func(a *AwayError) { told = append(told, a.Why) })
		if g.Away() != nil || !g.Wait(t.Context(), nil) {
			t.Fatal("a new gate is shut")
		}
		shut := g.Shut()
		began := time.Now()
		g.StayAway(10*time.Second, "first")
		g.StayAway(5*time.Second, "shorter")
		g.StayAway(20*time.Second, "longer")
		g.StayAway(20*time.Second+999*time.Millisecond, "the same")
		g.StayAway(0, "nothing")
		<-shut
		if away := g.Away(); away == nil || away.Why != "longer" || !isTemporary(away) || away.Hint() == "" {
			t.Errorf("away: %v", away)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if g.Wait(ctx, nil) {
			t.Error("the wait did not end with its context")
		}
		if !g.Wait(t.Context(), nil) || time.Since(began) != 20*time.Second {
			t.Errorf("open after %s", time.Since(began))
		}
		g.StayAway(time.Hour, "again")
		g.Open()
		if !g.Wait(t.Context(), nil) || time.Since(began) != 20*time.Second {
			t.Errorf("open after %s", time.Since(began))
		}
		if got := strings.Join(told, ","); got != "first,longer,again" {
			t.Errorf("told of %s", got)
		}
	})
	var none *Gate
	none.Guard(nil)
	if none.Away() != nil || none.Shut() != nil || !none.Wait(t.Context(), nil) {
		t.Error("a nil gate is shut")
	}
}

// sessions counts ours in the database.
func (b *bench) sessions() string {
	return b.text("SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'walhook/%'")
}

// TestGateKicked: when an administrator ends one session all others go, and nobody comes back while the gate is shut.
func TestGateKicked(t *testing.T) {
	b := newBench(t)
	shut := make(chan *AwayError, 10)
	g := NewGate(time.Hour, time.Hour, func(a *AwayError) { shut <- a })
	rec := &recorder{}
	r := b.start(rec, 0, func(c *SourceConfig) { c.Gate = g })
	r.connected()
	look := b.looks(g)
	load := func() error {
		return look.Load(t.Context(), &Link{Schema: "public", Table: "t", By: "id"}, []int64{1}, func(int64, Linked) error { return nil })
	}
	if err := load(); err != nil {
		t.Fatal(err)
	}
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	if names := b.text("SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); names != "walhook/decoder walhook/lookups walhook/stream" {
		t.Errorf("sessions: %s", names)
	}

	b.exec("SELECT pg_terminate_backend($1::int)", r.Progress().Session.PID)
	select {
	case a := <-shut:
		if !strings.Contains(a.Error(), "Odoo") {
			t.Errorf("shut because of %v", a)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the gate stays open")
	}
	until(t, "all sessions gone", func() bool { return b.sessions() == "0" })
	var away *AwayError
	if err := load(); !errors.As(err, &away) || !isTemporary(err) {
		t.Errorf("a look-up gives %v", err)
	}
	until(t, "the progress to say so", func() bool { return strings.Contains(r.Progress().LastError, "stays away") })
	b.exec("INSERT INTO t VALUES (2)")
	g.Open()
	rec.sees(t, "create 1", "create 2")
	if err := load(); err != nil {
		t.Error(err)
	}
}

// TestGateKickedWhileBlocked: a stream that is not being read cannot see why it was ended. Another session tells.
func TestGateKickedWhileBlocked(t *testing.T) {
	b := newBench(t)
	shut := make(chan *AwayError, 10)
	g := NewGate(time.Hour, time.Hour, func(a *AwayError) { shut <- a })
	release := make(chan struct{})
	rec := &recorder{before: func(ctx context.Context, _ int) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	}}
	r := b.start(rec, 0, func(c *SourceConfig) { c.Gate, c.QueueTransactions, c.StatusInterval = g, 1, 50*time.Millisecond })
	r.connected()
	for i := 1; i <= 3; i++ {
		b.exec("INSERT INTO t VALUES ($1)", i)
	}
	until(t, "blocked", func() bool { return r.Progress().Blocked })
	b.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	select {
	case <-shut:
	case <-time.After(30 * time.Second):
		t.Fatal("the gate stays open")
	}
	until(t, "all sessions gone", func() bool { return b.sessions() == "0" })
	close(release)
	g.Open()
	rec.sees(t, creates(1, 3)...)
}

// TestGateRestart: a server that stops ends its sessions in the same words. Nobody wants the database for himself then,
// and walhook comes back as soon as the server does. A session that learns of it late says nothing new.
func TestGateRestart(t *testing.T) {
	s := ownServer(t, nil)
	b := newBenchAt(t, databaseOn(t, s.DSN("postgres"), "d", s.DSN))
	shut := make(chan *AwayError, 10)
	g := NewGate(time.Hour, time.Hour, func(a *AwayError) { shut <- a })
	late, look := b.looks(g), b.looks(g)
	b.conn.Close(context.Background())

	// A stream that confirms nothing keeps the server in shutdown until it goes.
	cfg, err := replicationConfig(s.DSN("d"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := startStream(ctx, stream, b.slot, b.slot, 0); err != nil {
		t.Fatal(err)
	}
	restarted := make(chan error, 1)
	go func() { restarted <- s.Restart(ctx, "fast") }()
	until(t, "the session to be ended", func() bool {
		_, err := look.Health(ctx, b.slot)
		return err != nil
	})
	until(t, "the gate to shut", func() bool { return len(shut) > 0 })
	until(t, "the gate to open", func() bool { return g.Away() == nil })
	if err := errors.Join(ignoreClosed(closeConn(stream)), <-restarted); err != nil {
		t.Fatal(err)
	}
	until(t, "the look-up to work", func() bool {
		_, err := look.Health(ctx, b.slot)
		return err == nil
	})
	if _, err := late.Health(ctx, b.slot); err != nil || g.Away() != nil {
		t.Errorf("the other look-up: %v; the gate: %v", err, g.Away())
	}
}

// TestGateLateNews: a session that was idle when it was ended tells so when others have been there for long.
func TestGateLateNews(t *testing.T) {
	b := newBench(t)
	g := NewGate(time.Hour, time.Hour, nil)
	old := b.looks(g)
	pid := old.conn.PgConn().PID()
	member := old.conn.PgConn().Conn().(*member)
	member.mu.Lock()
	member.ended = member.ended.Add(-time.Minute) // so long ago
	member.mu.Unlock()
	young := b.looks(g)
	b.exec("SELECT pg_terminate_backend($1::int)", pid)
	until(t, "its end", func() bool { return b.sessions() == "1" })
	if _, err := old.Health(t.Context(), b.slot); err != nil || g.Away() != nil {
		t.Errorf("news of before another session began: %v; the gate: %v", err, g.Away())
	}
	b.exec("SELECT pg_terminate_backend($1::int)", old.conn.PgConn().PID())
	if _, err := young.Health(t.Context(), b.slot); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Health(t.Context(), b.slot); err == nil || g.Away() == nil {
		t.Errorf("news of now: %v; the gate: %v", err, g.Away())
	}
}

// looks returns a Live with a session.
func (b *bench) looks(g *Gate) *Live {
	b.t.Helper()
	l, err := NewLive(b.dsn, "lookups", g)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(l.Close)
	if _, err := l.Health(b.t.Context(), b.slot); err != nil {
		b.t.Fatal(err)
	}
	return l
}

// TestSessions: any role sees walhook's sessions, those of other roles too.
func TestSessions(t *testing.T) {
	e := newEstate(t, "")
	g := NewGate(time.Hour, time.Hour, nil)
	l, err := NewLive(e.dsn, "lookups", g)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Health(t.Context(), e.slot); err != nil {
		t.Fatal(err)
	}
	for _, conn := range []*pgx.Conn{e.roleConn, e.conn} {
		all, err := Sessions(t.Context(), conn)
		if err != nil || len(all) != 1 || all[0].Application != "walhook/lookups" || (all[0].Since != nil) != (conn == e.conn) {
			t.Errorf("as %s: %v %v", conn.Config().User, all, err)
		}
	}
}
