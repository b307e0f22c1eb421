package survival

import (
	"testing"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// Every session of walhook in the state's database is ended by an administrator, again and again; in the long form then, all at once as
// Odoo does, those in the source's.
func TestBackendsTerminated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	end := "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'walhook_" + databaseOf(t, w.super) + "'"
	for range 3 {
		if w.number(w.state, end) == 0 {
			t.Error("walhook has no session in the state's database")
		}
		w.arrives()
	}
	if isLong() {
		if n := w.number(w.super, end); n < 2 {
			t.Errorf("%d sessions ended in the source, want the stream's and the slot watch's", n)
		}
		w.unready("stays away", "the stream is not connected")
		w.arrives() // after the 10 to 30 s that Odoo may need
	}
	w.complete()
}

// Each kind of session is ended alone, in the source and in the state: whichever it is, walhook makes a new one and goes on by itself.
func TestBackendsTerminatedOneByOne(t *testing.T) {
	t.Parallel()
	long(t)
	w := newWorld(t, options{})
	for _, c := range []struct{ dsn, name string }{{w.super, "walhook/decoder"}, {w.super, "walhook/stream"}, {w.super, "walhook/slot"}, {w.state, "walhook/state"}, {w.state, "walhook/process"}} {
		sessions := " FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '" + c.name + "%'"
		w.wait("a session "+c.name, func() bool { return w.number(c.dsn, "SELECT count(*)"+sessions) > 0 })
		if n := w.number(c.dsn, "SELECT count(pg_terminate_backend(pid))"+sessions); n == 0 {
			t.Errorf("there was no session %s to end", c.name)
		}
		if c.name != "walhook/decoder" { // which is made when it is needed
			w.wait("a new session "+c.name, func() bool { return w.number(c.dsn, "SELECT count(*)"+sessions) > 0 })
		}
		w.arrives()
		w.ready()
	}
	w.complete()
}

// There are no connections to be had for a while (53300), and those that were there are cut: first at the source, where the role may
// have none; then at the state, whose server has really none left.
func TestConnectionsExhausted(t *testing.T) {
	t.Parallel()
	state := ownServer(t, map[string]string{"max_connections": "16", "superuser_reserved_connections": "3"})
	p := harness.NewProxy(t, sharedServer(t))
	w := newWorld(t, options{state: state, stateConfig: "pool_size = 4", dialSource: p.Through})
	role := "walhook_" + databaseOf(t, w.super)

	pgtest.Exec(t, w.super, "ALTER ROLE "+role+" CONNECTION LIMIT 0")
	p.Cut()
	w.wait("the server's refusal to be named", func() bool {
		code, body := w.page("/readyz")
		return code == 503 && contains(body, "too many connections", "53300")
	})
	pgtest.Exec(t, w.super, "ALTER ROLE "+role+" CONNECTION LIMIT -1")
	w.arrives()
	w.ready()

	// Everybody else's sessions take what the state's server has, and walhook's are ended.
	release := exhaust(t, state, role)
	w.unready("the state database does not answer")
	if d := w.status(); !d.Source.Connected {
		t.Errorf("the stream has ended with the state's connections: %+v", d)
	}
	release()
	w.arrives()
	w.complete()
}
