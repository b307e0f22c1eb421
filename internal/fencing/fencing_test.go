package fencing

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// A reader that stood still until its place was taken can write nothing: its batch fails, and it becomes the stand-by (invariant 2).
// When the new reader is killed, it takes over in its turn.
func TestInvariant2Fencing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		point string // where the reader stands still; "" for anywhere
		long  bool
	}{
		{"anywhere", "", false},
		{"between the batch and its commit", "enqueue:40:stop", false},
		{"between the commit and its answer", "commit-sent:90:stop", true},
		{"between the commit and the memory", "enqueued:40:stop", true},
		{"between the commit and the confirmation", "confirm:3:stop", true},
		{"before a request", "request:100:stop", true},
		{"between a request and its outcome", "answered:100:stop", true},
		{"between the outcomes and their commit", "finish:60:stop", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.long && os.Getenv("WALHOOK_LONG") == "" {
				t.Skip("set WALHOOK_LONG=1, or run: make fencing")
			}
			t.Parallel()
			s := newSite(t, options{})
			a, b := s.node("a"), s.node("b")
			if tc.point == "" {
				a.start()
			} else {
				a.start("WALHOOK_FAILPOINT=" + tc.point)
			}
			a.becomes("reader")
			b.start()
			b.becomes("standby")
			until(t, "both to be ready", func() bool { return a.status().Ready && b.status().Ready })
			if r := b.status().Reader; r == nil || r.PID != a.cmd.Process.Pid {
				t.Errorf("the stand-by says that %+v reads, not process %d", r, a.cmd.Process.Pid)
			}

			stop := s.traffic()
			if tc.point == "" {
				s.more(100)
				a.signal(syscall.SIGSTOP)
			}
			until(t, "a to stand still", a.stopped)
			took := b.becomes("reader")
			until(t, "the old reader's session to be ended", func() bool {
				return strings.Contains(b.log.String(), "the session that a former reader has left at the slot was ended")
			})
			s.more(100)
			a.signal(syscall.SIGCONT)
			until(t, "a to learn that it was superseded", func() bool { return strings.Contains(a.log.String(), "this process was superseded") })
			back := a.becomes("standby")
			s.more(50)
			if role := b.status().Process.Role; role != "reader" {
				t.Errorf("the new reader is %q", role)
			}
			until(t, "both to be ready again", func() bool { return a.status().Ready && b.status().Ready })

			b.kill()
			again := a.becomes("reader")
			s.more(100)

			// A rolling restart: the reader is told to stop when a stand-by is there.
			b.start()
			b.becomes("standby")
			began := time.Now()
			a.signal(syscall.SIGTERM)
			b.becomes("reader")
			handed := time.Since(began)
			if err := a.cmd.Wait(); err != nil {
				t.Errorf("a: %v", err)
			}
			s.more(50)
			stop()
			s.check()
			b.stop()
			t.Logf("taken over after: standstill %s (lease %s), back as stand-by %s, kill -9 %s, SIGTERM %s", took, lease, back, again, handed)
		})
	}
}

// When the state database restarts there is one reader again soon, never two, whichever process it is.
func TestStateRestart(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: map[string]string{"shared_buffers": "32MB"}})
	pgtest.Exec(t, server.DSN("postgres"), "CREATE DATABASE state")
	s := newSite(t, options{state: server.DSN("state")})
	a, b := s.node("a"), s.node("b")
	a.start()
	a.becomes("reader")
	b.start()
	b.becomes("standby")
	stop := s.traffic()
	for _, mode := range []string{"fast", "immediate"} {
		s.more(50)
		if err := server.Restart(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.more(50)
		t.Logf("%s: events arrive again after %s", mode, time.Since(began))
		until(t, "one reader and one stand-by", func() bool {
			x, y := a.status(), b.status()
			return x.Ready && y.Ready && x.Process.Role != y.Process.Role
		})
	}
	stop()
	s.check()
	a.stop()
	b.stop()
}
