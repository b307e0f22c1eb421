package fencing

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// promote stops a server, makes it a standby of nobody and promotes it: what follows is on the next timeline, with the slots kept.
func promote(t *testing.T, s *pgserver.Server) {
	t.Helper()
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	signal := filepath.Join(s.DataDir(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(s.DataDir(), "PG_VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(signal, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, s.DSN("postgres"), "SELECT pg_promote()")
}

// The source fails over while walhook runs, and the position moves on past the point where the old timeline was left (invariant 8).
// A stand-by that takes over after that, and a process that starts, know which timeline the position is on.
func TestInvariant8FailoverThenTakeover(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: map[string]string{"fsync": "off", "shared_buffers": "32MB"}})
	proxy := harness.NewProxy(t, fmt.Sprintf("127.0.0.1:%d", server.Port()))
	s := newSite(t, options{server: server, dial: proxy.Through})
	a, b := s.node("a"), s.node("b")
	a.start()
	a.becomes("reader")
	b.start()
	b.becomes("standby")
	stop := s.traffic()
	s.more(30)
	stop()
	proxy.Refuse(true) // as when a host is gone: nobody says good-bye
	promote(t, server)
	proxy.Refuse(false)
	stop = s.traffic()
	s.more(50)
	until(t, "one reader and one stand-by", func() bool {
		x, y := a.status(), b.status()
		return x.Ready && y.Ready && x.Process.Role != y.Process.Role
	})
	reader, standby := a, b
	if a.status().Process.Role == "standby" {
		reader, standby = b, a
	}
	reader.kill()
	standby.becomes("reader")
	s.more(50)
	standby.stop()
	reader.start()
	reader.becomes("reader")
	s.more(50)
	stop()
	s.check()
	reader.stop()
}
