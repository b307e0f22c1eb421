package storm

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// sessionFaults end walhook's sessions, and give it none.
var sessionFaults = []Fault{
	terminated{"source", "walhook/stream%"}, terminated{"source", "walhook/lookups%"}, terminated{"source", "walhook/%"},
	terminated{"state", "walhook/state"}, terminated{"state", "walhook/process%"}, terminated{"state", "walhook/%"},
	canceled{"source"}, canceled{"state"}, exhausted{"source"}, exhausted{"state"},
}

// sessionsOf is a condition on pg_stat_activity.
func sessionsOf(pattern string) string {
	return fmt.Sprintf("FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%s'", pattern)
}

// terminated ends sessions as an administrator does. From the source walhook then keeps away for 10 to 30 s, as Odoo may want the database for itself.
type terminated struct{ server, sessions string }

func (t terminated) Name() string {
	return fmt.Sprintf("sessions of the %s ended, %s", t.server, t.sessions)
}

func (t terminated) Costly() bool { return t.server == "source" }

func (t terminated) Weight() int {
	if t.server == "source" {
		return 2
	}
	return 10
}

func (t terminated) Inject(ctx context.Context, w *World, _ *rand.Rand) (count int, err error) {
	err = w.cluster(t.server).Query(ctx, &count, "SELECT count(pg_terminate_backend(pid)) "+sessionsOf(t.sessions))
	return count, err
}

// canceled cancels what sessions are doing.
type canceled struct{ server string }

func (c canceled) Name() string { return "statements of the " + c.server + " canceled" }

// Inject looks for a while: most of the time walhook's sessions wait for their client.
func (c canceled) Inject(ctx context.Context, w *World, _ *rand.Rand) (count int, err error) {
	conn, err := w.cluster(c.server).Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for end := time.Now().Add(1500 * time.Millisecond); count == 0 && time.Now().Before(end); {
		err = conn.QueryRow(ctx, "SELECT count(pg_cancel_backend(pid)) "+sessionsOf("walhook/%")+" AND state = 'active' AND backend_type = 'client backend'").Scan(&count)
		if err != nil {
			return count, err
		}
		time.Sleep(time.Millisecond) // a statement of walhook's takes about as long
	}
	return count, nil
}

// exhausted leaves no connection for walhook's role, and cuts those that it has.
type exhausted struct{ server string }

func (e exhausted) Name() string { return "connections of the " + e.server + " exhausted" }

func (e exhausted) Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error) {
	c, link := w.Source, w.ToSource
	if e.server == "state" {
		c, link = w.State, w.ToState
	}
	var role string
	if err := c.Query(ctx, &role, "SELECT coalesce((SELECT usename::text "+sessionsOf("walhook/%")+" LIMIT 1), '')"); err != nil || role == "" {
		return 0, err
	}
	before, err := e.refusals(w)
	if err != nil {
		return 0, err
	}
	if err := c.Exec(ctx, "ALTER ROLE "+role+" CONNECTION LIMIT 0"); err != nil {
		return 0, err
	}
	defer func() {
		if mend := c.Exec(context.WithoutCancel(ctx), "ALTER ROLE "+role+" CONNECTION LIMIT -1"); mend != nil && err == nil {
			err = mend
		}
	}()
	link.Cut()
	err = w.Await(ctx, "the server to refuse connections", func(context.Context) (bool, error) {
		n, err := e.refusals(w)
		count = n - before
		return count > 0, err
	})
	if err != nil {
		return 0, err
	}
	return count, moment(ctx, rnd, 0, 2*time.Second)
}

// refusals counts them in the server's log.
func (e exhausted) refusals(w *World) (int, error) {
	log, err := os.ReadFile(filepath.Join(w.Dir, e.server+".log"))
	return bytes.Count(log, []byte("too many connections for role")), err
}
