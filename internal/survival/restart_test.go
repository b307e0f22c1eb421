package survival

import (
	"context"
	"maps"
	"testing"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// ownServer is a cluster that a test may restart.
func ownServer(t *testing.T, settings map[string]string) *pgserver.Server {
	t.Helper()
	all := map[string]string{"shared_buffers": "16MB", "fsync": "off", "autovacuum": "off"}
	maps.Copy(all, settings)
	s := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: all})
	return s
}

// Source and state are restarted, each in a cluster of its own: fast, immediate and by SIGKILL of the postmaster, and one after the other.
func TestServersRestart(t *testing.T) {
	t.Parallel()
	source, state := ownServer(t, nil), ownServer(t, nil)
	w := newWorld(t, options{source: source, state: state})
	ctx := context.Background()
	restart := func(s *pgserver.Server, mode string) {
		t.Helper()
		if err := s.Restart(ctx, mode); err != nil {
			t.Fatal(err)
		}
		w.arrives()
		w.ready()
	}
	before := w.status().Source.Reconnects
	restart(source, "immediate")
	if n := w.status().Source.Reconnects; n == before {
		t.Error("the stream was not attached again")
	}
	restart(state, "immediate")
	restart(state, "fast")

	// Away for as long as it takes to be noticed.
	if err := source.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	w.unready("the stream is not connected")
	if err := source.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	w.arrives()
	w.ready()
	if err := state.Kill(); err != nil {
		t.Fatal(err)
	}
	w.unready("the state database does not answer")
	if err := state.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	w.arrives()
	if isLong() {
		for range 5 {
			for _, mode := range []string{"fast", "immediate"} {
				restart(source, mode)
				restart(state, mode)
			}
			if err := state.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := state.Resume(ctx); err != nil {
				t.Fatal(err)
			}
			w.arrives()
		}
	}
	w.complete()
}
