package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var built struct {
	once sync.Once
	path string
	err  error
}

// binary builds walhook, once.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "walhook-bin-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "walhook")
		out, err := exec.Command("go", "build", "-o", built.path, "walhook/cmd/walhook").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("build walhook: %v", built.err)
	}
	return built.path
}

// installation is a database with its owner, a role for walhook that has nothing but what the README says, and
// a configuration file.
type installation struct {
	t      *testing.T
	super  string // DSN
	owner  string
	role   string
	config string
	listen string
}

// install makes roles, hands the database to the owner, and writes the configuration. rules is TOML; {{receiver}} in it
// is the receiver's address.
func install(t *testing.T, super string, r *receiver, rules string) *installation {
	t.Helper()
	u, err := url.Parse(super)
	if err != nil {
		t.Fatal(err)
	}
	db := strings.TrimPrefix(u.Path, "/")
	owner, role := "owner_"+db, "walhook_"+db
	pgtest.Exec(t, super, fmt.Sprintf("CREATE ROLE %s LOGIN; CREATE ROLE %s LOGIN REPLICATION; ALTER DATABASE %s OWNER TO %s; ALTER SCHEMA public OWNER TO %s",
		owner, role, db, owner, owner))
	pgtest.Exec(t, super, fmt.Sprintf(`DO $$ DECLARE r record; BEGIN
		FOR r IN SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm', 'f') LOOP
			EXECUTE 'ALTER TABLE ' || r.name || ' OWNER TO %s';
		END LOOP; END $$`, owner))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{t: t, super: super, owner: pgtest.Server(t).DSNFor(owner, "", db), role: pgtest.Server(t).DSNFor(role, "", db),
		config: filepath.Join(t.TempDir(), "walhook.toml"), listen: l.Addr().String()}
	l.Close()
	text := fmt.Sprintf("[source]\ndsn = %q\nidle_advance = \"1s\"\n[http]\nlisten = %q\n%s", in.role, in.listen, strings.ReplaceAll(rules, "{{receiver}}", r.URL))
	if err := os.WriteFile(in.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the database is gone
		pgtest.Exec(t, pgtest.Server(t).DSN("postgres"), fmt.Sprintf("REASSIGN OWNED BY %s TO postgres; DROP OWNED BY %s; REASSIGN OWNED BY %s TO postgres; DROP OWNED BY %s", owner, owner, role, role))
	})
	return in
}

// walhook runs a command and returns what it printed.
func (in *installation) walhook(args ...string) (string, error) {
	out, err := exec.Command(binary(in.t), append(args, "--config", in.config)...).CombinedOutput()
	return string(out), err
}

func (in *installation) must(args ...string) string {
	in.t.Helper()
	out, err := in.walhook(args...)
	if err != nil {
		in.t.Fatalf("walhook %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// process is a running `walhook run`.
type process struct {
	cmd *exec.Cmd
	log *strings.Builder
}

// run starts walhook and waits until it streams. It is stopped at the end of the test, and must then exit with 0.
func (in *installation) run() *process {
	in.t.Helper()
	p := in.start()
	in.wait("ready", 30*time.Second, func() bool {
		_, err := in.walhook("status", "--json")
		return err == nil
	}, p)
	in.t.Cleanup(func() { in.stop(p) })
	return p
}

func (in *installation) start() *process {
	in.t.Helper()
	p := &process{cmd: exec.Command(binary(in.t), "run", "--config", in.config, "--log-format", "json"), log: &strings.Builder{}}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	return p
}

// stop ends a process with SIGTERM; a second call does nothing.
func (in *installation) stop(p *process) {
	in.t.Helper()
	if p.cmd.ProcessState != nil {
		return
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		in.t.Fatal(err)
	}
	timer := time.AfterFunc(40*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		in.t.Errorf("walhook run: %v\n%s", err, p.log)
	}
	if in.t.Failed() {
		in.t.Logf("walhook's log:\n%s", last(p.log.String(), 6000))
	}
}

func last(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (in *installation) wait(what string, limit time.Duration, done func() bool, p *process) {
	in.t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			_ = p.cmd.Process.Signal(syscall.SIGQUIT)
			_ = p.cmd.Wait()
			in.t.Fatalf("waited %s for %s\n%s", limit, what, last(p.log.String(), 12000))
		}
	}
}

// position is what the state holds, and the number of deliveries that wait.
func (in *installation) position() (lsn string, pending int) {
	in.t.Helper()
	out := in.must("status", "--json")
	var doc struct {
		Position struct {
			LSN string `json:"lsn"`
		} `json:"position"`
		Endpoints []struct {
			Pending int `json:"pending"`
		} `json:"endpoints"`
	}
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		in.t.Fatalf("status: %v\n%s", err, out)
	}
	for _, e := range doc.Endpoints {
		pending += e.Pending
	}
	return doc.Position.LSN, pending
}

// drained waits until everything that is committed now has been read, delivered and finished.
func (in *installation) drained(p *process, limit time.Duration) {
	in.t.Helper()
	conn := pgtest.Connect(in.t, in.super)
	ctx := context.Background()
	var end string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&end); err != nil {
		in.t.Fatal(err)
	}
	in.wait("position "+end, limit, func() bool {
		lsn, pending := in.position()
		var past bool
		if err := conn.QueryRow(ctx, "SELECT $1::pg_lsn >= $2::pg_lsn", lsn, end).Scan(&past); err != nil {
			in.t.Fatal(err)
		}
		return past && pending == 0
	}, p)
}
