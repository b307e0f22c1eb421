package acceptance

import (
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m, harness.Remove) }

// binary builds walhook, once.
func binary(t *testing.T) string { return harness.Binary(t, "") }

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
	h := harness.Install(t, super, harness.Options{Config: strings.ReplaceAll(rules, "{{receiver}}", r.URL)})
	return &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
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
