package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

const neighbourRules = `
[endpoints.erp]
url = "{{receiver}}/erp"
secrets = ["` + secret + `"]

[[rules]]
name = "order"
table = "sale_order"
on = ["create", "write"]
when = 'changed("state")'
endpoint = "erp"
`

// neighbour is a database of Odoo's, in which walhook runs, and somebody who manages databases.
type neighbour struct {
	*installation
	admin *pgx.Conn // a superuser, in another database
	odoo  *pgx.Conn // the database's owner, who is none, in another database as Odoo is then
	db    string
	got   *gate
	p     *process
}

// gate is a receiver that keeps the first request waiting.
type gate struct {
	*httptest.Server
	begun, release chan struct{}
	mu             sync.Mutex
	ids            []string // webhook-ids, in order of arrival
	records        []string
}

func newGate(t *testing.T) *gate {
	g := &gate{begun: make(chan struct{}), release: make(chan struct{})}
	first := sync.OnceFunc(func() { close(g.begun) })
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var e received
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil {
			t.Errorf("request: %v", err)
		}
		first()
		<-g.release
		g.mu.Lock()
		defer g.mu.Unlock()
		g.ids, g.records = append(g.ids, req.Header.Get("webhook-id")), append(g.records, e.Data.ID.String())
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gate) has(record string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.records, record)
}

// newNeighbour makes the database and starts walhook in it, with the state in the same database or in another one.
func newNeighbour(t *testing.T, name string, apart bool) *neighbour {
	t.Helper()
	server := pgtest.Server(t)
	n := &neighbour{admin: pgtest.Connect(t, server.DSN("postgres")), db: name, got: newGate(t)}
	n.do("CREATE DATABASE " + name)
	t.Cleanup(func() { n.do("DROP DATABASE IF EXISTS " + name) })
	rules := neighbourRules
	if apart {
		rules += fmt.Sprintf("[source.guard]\nmax_retained = \"1GiB\"\naction = \"stop\"\n[state]\ndsn = %q\n", server.DSNFor("walhook_"+name, "", name+"_state"))
	}
	pgtest.Exec(t, server.DSN(name), "CREATE TABLE sale_order (id int PRIMARY KEY, state text)")
	n.installation = install(t, server.DSN(name), &receiver{Server: n.got.Server}, rules)
	if apart {
		n.do("CREATE DATABASE " + name + "_state OWNER walhook_" + name)
		t.Cleanup(func() { pgtest.DropDatabase(t, server.DSN("postgres"), name+"_state") })
	}
	n.do("ALTER ROLE owner_" + name + " CREATEDB; GRANT walhook_" + name + " TO owner_" + name)
	n.odoo = pgtest.Connect(t, server.DSNFor("owner_"+name, "", "postgres"))
	n.must("setup", "--dsn", n.owner)
	if out := n.must("check"); strings.Contains(out, "may not end the sessions") {
		t.Errorf("check: %s", out)
	}
	n.p = n.start()
	t.Cleanup(func() {
		if n.p.cmd.ProcessState == nil {
			_ = n.p.cmd.Process.Kill()
			_ = n.p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("walhook's log:\n%s", last(n.p.log.String(), 8000))
		}
		n.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + n.db + "'")
		n.wait("the slot to be free", 30*time.Second, func() bool {
			return n.text("SELECT count(*) FROM pg_replication_slots WHERE database = '"+n.db+"' AND active") == "0"
		}, n.p)
		n.do("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '" + n.db + "'")
	})
	n.wait("ready", 30*time.Second, func() bool { _, err := n.walhook("status", "--json"); return err == nil }, n.p)
	return n
}

func (n *neighbour) do(sql string) {
	if _, err := n.admin.Exec(context.Background(), sql); err != nil {
		n.t.Errorf("%s: %v", sql, err)
	}
}

func (n *neighbour) text(sql string) string {
	var s string
	if err := n.admin.QueryRow(context.Background(), "SELECT coalesce(("+sql+")::text, '')").Scan(&s); err != nil {
		n.t.Fatalf("%s: %v", sql, err)
	}
	return s
}

// manage runs SQL as Odoo.
func (n *neighbour) manage(sql string) {
	if _, err := n.odoo.Exec(context.Background(), sql); err != nil {
		n.t.Errorf("as Odoo: %s: %v", sql, err)
	}
}

// dropConnections ends every session of the database, as Odoo's service/db.py does before it touches one. Sessions of superusers are
// only the tests' own; autovacuum gives way by itself.
func (n *neighbour) dropConnections() {
	n.wait("the tests' own sessions to end", 30*time.Second, func() bool {
		return n.text("SELECT count(*) FROM pg_stat_activity WHERE datname = '"+n.db+"' AND usename = 'postgres'") == "0"
	}, n.p)
	n.manage("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + n.db + "' AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'")
}

// sessions counts walhook's in the database.
func (n *neighbour) sessions() string {
	return n.text("SELECT count(*) FROM pg_stat_activity WHERE datname = '" + n.db + "' AND application_name LIKE 'walhook%'")
}

// write commits an order through a session of its own.
func (n *neighbour) write(id int) {
	pgtest.Exec(n.t, n.super, fmt.Sprintf("INSERT INTO sale_order VALUES (%d, 'draft')", id))
}

// startAnother starts a second process on the same state, and waits until it stands by.
func (n *neighbour) startAnother() *process {
	n.t.Helper()
	text, err := os.ReadFile(n.config)
	if err != nil {
		n.t.Fatal(err)
	}
	another := *n.installation
	another.config = filepath.Join(n.t.TempDir(), "another.toml")
	if err := os.WriteFile(another.config, []byte(strings.Replace(string(text), n.listen, "off", 1)), 0o600); err != nil {
		n.t.Fatal(err)
	}
	p := another.start()
	n.t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if n.t.Failed() {
			n.t.Logf("the other's log:\n%s", last(p.log.String(), 8000))
		}
	})
	n.wait("two processes", 30*time.Second, func() bool {
		return n.text("SELECT count(*) FROM pg_stat_activity WHERE datname = '"+n.db+"' AND application_name LIKE 'walhook/process%'") == "2"
	}, p)
	return p
}

// reasons is why walhook is not ready.
func (n *neighbour) reasons() string {
	out, _ := exec.Command(binary(n.t), "status", "--json", "--config", n.config).Output()
	var doc struct {
		Live    bool     `json:"live"`
		Reasons []string `json:"reasons"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		n.t.Fatalf("status: %v\n%s", err, out)
	}
	return strings.Join(doc.Reasons, "; ")
}

// TestOdooManagesItsDatabase: Odoo ends all sessions of a database and at once duplicates, renames or drops it. Each works at the first
// attempt for the login of Odoo's that owns the database and was granted walhook's role, walhook says why it waits, and afterwards delivers what came meanwhile. A request that was under
// way is not charged.
func TestOdooManagesItsDatabase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		apart bool // the state lies in another database
		pair  bool // another process stands by
	}{{"neighbour_in", false, false}, {"neighbour_apart", true, false}, {"neighbour_pair", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := c.name
			n := newNeighbour(t, name, c.apart)
			all := []*process{n.p}
			if c.pair {
				all = append(all, n.startAnother())
			}
			stateIn := n.super
			if c.apart {
				stateIn = pgtest.Server(t).DSN(name + "_state")
			}
			n.write(1)
			<-n.got.begun
			began := time.Now()
			n.dropConnections()
			n.manage("CREATE DATABASE " + name + "_copy TEMPLATE " + name)
			t.Cleanup(func() { n.do("DROP DATABASE " + name + "_copy") })
			n.write(2)
			close(n.got.release)
			if s := n.reasons(); !strings.Contains(s, "stays away from the database until") || !strings.Contains(s, "as Odoo does") {
				t.Errorf("status: %s", s)
			}
			if s := n.sessions(); s != "0" && time.Since(began) < 9*time.Second {
				t.Errorf("%s sessions %s after they were ended", s, time.Since(began))
			}
			if took := time.Since(began); took < 5*time.Second { // later it may be back
				n.manage("ALTER DATABASE " + name + " RENAME TO " + name + "_renamed")
				n.manage("ALTER DATABASE " + name + "_renamed RENAME TO " + name)
			}
			n.wait("what came meanwhile", time.Minute, func() bool { return n.got.has("2") && n.got.has("1") }, n.p)
			if away := time.Since(began); away < 10*time.Second {
				t.Errorf("was back after %s", away)
			}
			var attempts string
			conn := pgtest.Connect(t, stateIn)
			n.wait("the outcomes", 30*time.Second, func() bool {
				err := conn.QueryRow(context.Background(), `SELECT coalesce(string_agg(d.record || ' ' || a.number || ' ' || a.result, ', ' ORDER BY d.record), '')
					FROM walhook.attempt a JOIN walhook.delivery d USING (seq)`).Scan(&attempts)
				if err != nil {
					t.Fatal(err)
				}
				return strings.Contains(attempts, "1 1 ") && strings.Contains(attempts, "2 1 ")
			}, n.p)
			// Of two processes the one that is back first may take the other's lanes over, and send the request again.
			if attempts != "1 1 delivered, 2 1 delivered" && !(c.pair && attempts == "1 1 delivered, 1 1 delivered, 2 1 delivered") {
				t.Errorf("attempts: %s", attempts)
			}
			conn.Close(context.Background())
			if s := n.text("SELECT string_agg(DISTINCT application_name, ' ') FROM pg_stat_activity WHERE usename = 'walhook_" + name + "' AND application_name NOT LIKE 'walhook/%'"); s != "" {
				t.Errorf("sessions that nobody recognises: %s", s)
			}
			if s := n.text("SELECT string_agg(DISTINCT application_name, ' ') FROM pg_stat_activity WHERE usename = 'walhook_" + name + "'"); !strings.Contains(s, "walhook/stream") || !strings.Contains(s, "walhook/state") {
				t.Errorf("sessions: %s", s)
			}

			n.dropConnections()
			n.wait("the database to be dropped", 8*time.Second, func() bool { // the walsender has yet to end, for which DROP does not wait
				_, err := n.odoo.Exec(context.Background(), "DROP DATABASE "+name)
				return err == nil
			}, n.p)
			for _, p := range all {
				if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				// Of two, one may have come back to find no database.
				if err := p.cmd.Wait(); err != nil && !c.pair {
					t.Errorf("a stop while it stays away: %v\n%s", err, last(p.log.String(), 3000))
				}
			}
		})
	}
}

// TestDetach: walhook leaves the database when it is asked to, so that anybody can duplicate and rename it, and comes back by
// itself, or when the wish is taken back where it can see that. A walhook that is started meanwhile waits as well.
func TestDetach(t *testing.T) {
	t.Parallel()
	for name, apart := range map[string]bool{"detach_in": false, "detach_apart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNeighbour(t, name, apart)
			close(n.got.release)
			long := "25s"
			if apart {
				long = "10m"
			}
			began, early := time.Now(), false
			out := n.must("detach", "--for", long, "--wait")
			if !strings.Contains(out, "walhook stays away from the database until") || strings.Contains(out, "still there") {
				t.Errorf("detach: %s", out)
			}
			if warned := strings.Contains(out, "warning: the slot guard sees nothing until then"); warned != apart { // where one is configured
				t.Errorf("detach: %s", out)
			}
			n.do("CREATE DATABASE " + name + "_copy TEMPLATE " + name)
			t.Cleanup(func() { n.do("DROP DATABASE " + name + "_copy") })
			if apart || time.Since(began) < 20*time.Second { // later it may be back
				n.do("ALTER DATABASE " + name + " RENAME TO " + name + "_renamed")
				n.do("ALTER DATABASE " + name + "_renamed RENAME TO " + name)
			}
			if s := n.reasons(); !strings.Contains(s, "stays away from the database until") || !strings.Contains(s, "`walhook detach` was run") {
				t.Errorf("status: %s", s)
			}
			n.write(1)
			if apart {
				if out := n.must("detach", "--end", "--json"); !strings.Contains(out, `"ended": true`) {
					t.Errorf("detach --end: %s", out)
				}
			} else {
				n.stop(n.p)
				n.p = n.start()
				early = time.Since(began) < 15*time.Second
			}
			n.wait("what came meanwhile", time.Minute, func() bool { return n.got.has("1") }, n.p)
			if out := n.must("detach", "--end"); !strings.Contains(out, "nothing to take back") {
				t.Errorf("detach --end: %s", out)
			}
			n.stop(n.p)
			if early && !strings.Contains(n.p.log.String(), "not started yet") {
				t.Errorf("a walhook that was started meanwhile did not wait:\n%s", n.p.log)
			}
		})
	}
}
