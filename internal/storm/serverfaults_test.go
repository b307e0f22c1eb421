package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"walhook/internal/pgserver"
)

// serverFaults end servers and start them again.
var serverFaults = []Fault{
	restart{"source", "immediate"}, restart{"source", "fast"}, restart{"source", "SIGKILL"}, restart{"source", "away"},
	restart{"state", "immediate"}, restart{"state", "fast"}, restart{"state", "SIGKILL"}, restart{"state", "away"},
}

func (w *World) cluster(name string) *Cluster {
	if name == "source" {
		return w.Source
	}
	return w.State
}

// restart ends a server and starts it again: fast (sessions are ended in order), immediate (as in a crash), by SIGKILL of the postmaster, or so that
// it is away for seconds.
type restart struct{ server, mode string }

func (r restart) Name() string { return fmt.Sprintf("%s restarted, %s", r.server, r.mode) }

func (r restart) Weight() int {
	if r.mode == "away" {
		return 3
	}
	return 5
}

func (r restart) Costly() bool { return r.mode == "away" }

func (r restart) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	c := w.cluster(r.server)
	const began = "SELECT pg_postmaster_start_time()"
	var before, after time.Time
	if err := c.Query(ctx, &before, began); err != nil {
		return 0, err
	}
	err := c.With(func(s *pgserver.Server) error {
		switch r.mode {
		case "SIGKILL":
			if err := s.Kill(); err != nil {
				return err
			}
			return resurrect(ctx, s)
		case "away":
			if err := s.Stop(ctx); err != nil {
				return err
			}
			if err := moment(ctx, rnd, time.Second, 5*time.Second); err != nil {
				return err
			}
			return s.Resume(ctx)
		}
		return s.Restart(ctx, r.mode)
	})
	if err != nil {
		return 0, err
	}
	if err := c.Query(ctx, &after, began); err != nil {
		return 0, err
	}
	if !after.After(before) {
		return 0, fmt.Errorf("the %s has run since %s, and still does", r.server, before)
	}
	return 1, nil
}

// resurrect starts a server whose postmaster was killed. It refuses for as long as one of its processes has not noticed.
func resurrect(ctx context.Context, s *pgserver.Server) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		err := s.Resume(ctx)
		if err == nil || !strings.Contains(err.Error(), "pre-existing shared memory block") || time.Now().After(end) {
			return err
		}
	}
}
