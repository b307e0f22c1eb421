package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"walhook/cdc"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
	"walhook/state"
)

// attached is a database with walhook set up on it and a receiver that counts.
type attached struct {
	t        *testing.T
	env      map[string]string
	config   string
	binary   string
	requests atomic.Int64
}

func attach(t *testing.T) *attached {
	t.Helper()
	return attachTo(t, pgtest.Server(t), pgtest.Database(t), "")
}

// attachTo is attach on a server, with further lines of the configuration.
func attachTo(t *testing.T, server *pgserver.Server, super, more string) *attached {
	t.Helper()
	a := &attached{t: t, env: map[string]string{}}
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { a.requests.Add(1) }))
	t.Cleanup(receiver.Close)
	a.env["RECEIVER"] = receiver.URL
	if err := provide(t, func(k, v string) { a.env[k] = v }, super, server); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a.config, a.binary = filepath.Join(dir, "walhook.toml"), filepath.Join(dir, "walhook")
	text := os.Expand("[source]\ndsn = \"$WALHOOK_DSN\"\nslot = \"$SLOT\"\nmemory = \"64KiB\"\n[http]\nlisten = \"off\"\n[endpoints.e]\nurl = \"$RECEIVER\"\n"+
		"[[rules]]\nname = \"r\"\nmodel = \"res.partner\"\non = [\"create\"]\nendpoint = \"e\"\n", func(k string) string { return a.env[k] }) + more
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(executable, a.binary); err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	if code := run(t.Context(), []string{"setup", "--config", a.config, "--dsn", a.env["OWNER_DSN"]}, io.Discard, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	return a
}

// start starts `walhook run` and waits until it streams.
func (a *attached) start(args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	a.t.Helper()
	stderr = &bytes.Buffer{}
	cmd = exec.Command(a.binary, append([]string{"run", "--config", a.config, "--log-format", "json"}, args...)...)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = cmd.Process.Kill() })
	conn := pgtest.Connect(a.t, a.env["SUPER_DSN"])
	a.until("the slot is active", func() (active bool) {
		if err := conn.QueryRow(context.Background(), "SELECT active FROM pg_replication_slots WHERE slot_name = $1", a.env["SLOT"]).Scan(&active); err != nil {
			a.t.Fatal(err)
		}
		return active
	})
	return cmd, stderr
}

func (a *attached) until(what string, done func() bool) {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// delivers runs walhook until it has delivered a new record, and stops it. Older ones may come again where the slot forgets what was
// confirmed (trap 5).
func (a *attached) delivers(args ...string) {
	a.t.Helper()
	before := a.requests.Load()
	cmd, stderr := a.start(args...)
	pgtest.Exec(a.t, a.env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('new')")
	defer func() {
		if a.t.Failed() {
			a.t.Log(stderr)
		}
	}()
	a.until("the webhook", func() bool { return a.requests.Load() > before })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	if code := a.ends(cmd); code != exitOK {
		a.t.Fatalf("run %v: status %d\n%s", args, code, stderr)
	}
}

// ends waits for a process and returns its exit status.
func (a *attached) ends(cmd *exec.Cmd) int {
	a.t.Helper()
	kill := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		a.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// Invariant 5: a database that is neutralized, or given another uuid, while walhook runs ends it. What was committed later is not
// sent, until an operator says so; then nothing of it is missing.
func TestInvariant5CopyRecognisedInTheStream(t *testing.T) {
	for name, tc := range map[string]struct{ sql, says string }{
		"neutralized":            {"INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', 'true')", "the database is neutralized"},
		"uuid":                   {"UPDATE ir_config_parameter SET value = 'another' WHERE key = 'database.uuid'", `and is \"another\"`},
		"in a large transaction": {"BEGIN; INSERT INTO res_partner (name) SELECT 'later' FROM generate_series(1, 2000); INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', 'true'); COMMIT", "the database is neutralized"},
		"in passing": { // two values in a row: neither is taken for good, and the last one counts after --adopt. A look may come before the stream
			"UPDATE ir_config_parameter SET value = 'first' WHERE key = 'database.uuid'; COMMIT; UPDATE ir_config_parameter SET value = 'last' WHERE key = 'database.uuid'", `database.uuid was`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := attach(t)
			cmd, stderr := a.start()
			pgtest.Exec(t, a.env["OWNER_DSN"], tc.sql)
			pgtest.Exec(t, a.env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('later')")
			if code := a.ends(cmd); code != exitEnvironment || !strings.Contains(strings.ReplaceAll(stderr.String(), `"`, `\"`), tc.says) || !strings.Contains(stderr.String(), "walhook run --adopt") {
				t.Errorf("status %d\n%s", code, stderr)
			}
			var errs strings.Builder
			if code := run(t.Context(), []string{"run", "--config", a.config}, io.Discard, &errs); code != exitEnvironment {
				t.Errorf("started again: status %d\n%s", code, errs.String())
			}
			if n := a.requests.Load(); n != 0 {
				t.Errorf("%d requests", n)
			}
			for _, args := range [][]string{{"--adopt"}, nil} { // it is remembered
				before := a.requests.Load()
				cmd, stderr = a.start(args...)
				if before > 0 {
					pgtest.Exec(t, a.env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('more')")
				}
				want := before + 1
				if before == 0 && name == "in a large transaction" {
					want += 2000
				}
				a.until("the webhooks", func() bool { return a.requests.Load() == want })
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if code := a.ends(cmd); code != exitOK {
					t.Errorf("run %v: status %d\n%s", args, code, stderr)
				}
			}
		})
	}
}

// What the stream does not show, the look at intervals finds: a parameter that is deleted, or another database in the old one's place.
func TestInvariant5CopyRecognisedByLook(t *testing.T) {
	super := pgtest.Database(t)
	pgtest.Exec(t, super, demoSchema)
	live, err := cdc.NewLive(super, "lookups", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	id, err := live.Identity(t.Context(), "public")
	if err != nil || id.Parameters[cdc.ParameterUUID] == "" || id.DatabaseOID == 0 {
		t.Fatalf("%+v, %v", id, err)
	}
	look := func(long time.Duration, change func(*state.Binding)) error {
		w := &identityWatch{bound: identityOf(id, state.Binding{}, "s"), name: "walhook", schema: "public", live: live, every: 10 * time.Millisecond, log: zerolog.Nop()}
		change(&w.bound)
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		return w.Run(ctx)
	}
	same := func(*state.Binding) {}
	confirm := func(change func(*state.Binding)) error {
		w := &identityWatch{bound: identityOf(id, state.Binding{}, "s"), name: "walhook", schema: "public", live: live, every: time.Minute, log: zerolog.Nop()}
		change(&w.bound)
		return w.confirm(t.Context())
	}
	if err := confirm(same); err != nil {
		t.Errorf("the same database, before anything is sent: %v", err)
	}
	if err := confirm(func(b *state.Binding) { b.UUID = "another" }); exitCode(err) != exitEnvironment {
		t.Errorf("another uuid, before anything is sent: %v", err)
	}
	// A process that has not made sure yet knows a copy when it sees one: not even a request without an event goes out from it.
	own := func(change func(*state.Binding), verified bool) error {
		m := &member{verified: make(chan struct{}), identity: &identityWatch{bound: identityOf(id, state.Binding{}, "s"), name: "walhook", schema: "public", live: live, every: time.Minute}}
		change(&m.identity.bound)
		if verified {
			m.verify()
		}
		return (&pipeline{member: m}).ownSource(t.Context())
	}
	for _, verified := range []bool{false, true} {
		var mismatch *state.MismatchError
		if err := own(func(b *state.Binding) { b.UUID = "another" }, verified); !errors.As(err, &mismatch) {
			t.Errorf("another uuid, verified %t: %v", verified, err)
		}
		if err := own(same, verified); errors.Is(err, errNotVerified) == verified || verified && err != nil {
			t.Errorf("the same database, verified %t: %v", verified, err)
		}
	}
	if err := look(100*time.Millisecond, same); err != nil {
		t.Errorf("the same database: %v", err)
	}
	for what, change := range map[string]func(*state.Binding){
		"system identifier": func(b *state.Binding) { b.SystemID = "1" },
		"database oid":      func(b *state.Binding) { b.DatabaseOID = 1 },
		"database name":     func(b *state.Binding) { b.DatabaseName = "x" },
	} {
		if err := look(time.Minute, change); err == nil || exitCode(err) != exitEnvironment || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	pgtest.Exec(t, super, "DELETE FROM ir_config_parameter WHERE key = 'database.uuid'")
	if err := look(time.Minute, same); err == nil || !strings.Contains(err.Error(), "database.uuid was") {
		t.Errorf("uuid deleted: %v", err)
	}
	pgtest.Exec(t, super, "DROP TABLE ir_config_parameter")
	if err := look(time.Minute, same); err == nil || !strings.Contains(err.Error(), "database.uuid was") {
		t.Errorf("table dropped: %v", err)
	}
}

// Invariant 5: no command sends anything from a copy, or makes anything due there. A new command must be added here.
func TestInvariant5EveryCommandOnACopy(t *testing.T) {
	refused := []string{"run", "run --adopt", "check", "setup", "deliveries retry --all --yes", "deliveries retry --parked --all --yes", "deliveries discard --all --yes",
		"replay --all --yes", "replay --test --all --yes", "deliveries retry --waiting --all --yes", "endpoints resume e", "endpoints send-test e", "endpoints verify e", "endpoints verify e --send", "resync --yes", "resync --dry-run", "resync --since 1h --yes", "backfill r --yes", "backfill r --dry-run", "backfill pause 1", "backfill resume 1", "backfill cancel 1"}
	cases := filepath.Join(t.TempDir(), "cases.toml")
	if err := os.WriteFile(cases, []byte("[[cases]]\nrule = \"r\"\nafter = { name = \"a\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	harmless := []string{"status", "rules list", "deliveries list", "deliveries show msg_1", "deliveries verify", "deliveries gaps", "endpoints list", "endpoints show e", "endpoints keys", "endpoints pause e", "resync list", "resync show", "backfill list", "backfill show 1", "reload", "detach", "teardown --dry-run", "version",
		"rules explain r --id 1", "rules show r", "rules preview r --id 1", "rules test " + cases, "rules backtest", "tail --for 1ms", "models", "fields res.partner", "recipes list", "recipes show customer_created", "recipes add customer_created --dry-run"}
	apart := []string{"demo", "init", "help", "completion"} // have nothing to do with the configured database

	a := attach(t)
	cmd, stderr := a.start()
	pgtest.Exec(t, a.env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('first')")
	a.until("the webhook", func() bool { return a.requests.Load() == 1 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := a.ends(cmd); code != exitOK {
		t.Fatalf("status %d\n%s", code, stderr)
	}
	// Something of each kind waits.
	pgtest.Exec(t, a.env["SUPER_DSN"], `SET search_path = walhook;
		INSERT INTO queue (endpoint, lane, seq, day, bytes) SELECT endpoint, lane, seq, day, 2 FROM delivery;
		INSERT INTO lane (endpoint, key, due) SELECT endpoint, lane, now() FROM queue;
		INSERT INTO endpoint (name, disabled_at, disabled_reason) VALUES ('e', now(), 'test') ON CONFLICT (name) DO UPDATE SET disabled_at = now(), disabled_reason = 'test'`)
	postgres := pgtest.Server(t).DSN("postgres")
	pgtest.Exec(t, postgres, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+a.env["DB"]+"'")
	pgtest.Exec(t, postgres, "CREATE DATABASE copy_of_"+a.env["DB"]+" TEMPLATE "+a.env["DB"])
	text, err := os.ReadFile(a.config)
	if err != nil {
		t.Fatal(err)
	}
	copied := strings.Replace(string(text), "/"+a.env["DB"]+"?", "/copy_of_"+a.env["DB"]+"?", 1)
	if copied == string(text) {
		t.Fatal("the configuration does not name the database")
	}
	if err := os.WriteFile(a.config, []byte(copied), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(line string) (int, string) {
		var out strings.Builder
		code := run(t.Context(), append(strings.Fields(line), "--config", a.config), &out, &out)
		return code, out.String()
	}
	for _, line := range refused {
		if code, out := command(line); code != exitEnvironment || !strings.Contains(out, "belongs to another source") {
			t.Errorf("walhook %s: status %d\n%s", line, code, out)
		}
	}
	for _, line := range harmless {
		if code, out := command(line); code == exitUsage {
			t.Errorf("walhook %s: status %d\n%s", line, code, out)
		}
	}
	if n := a.requests.Load(); n != 1 {
		t.Errorf("%d requests from the copy", n-1)
	}
	var left string
	copyConn := pgtest.Connect(t, pgtest.Server(t).DSN("copy_of_"+a.env["DB"]))
	if err := copyConn.QueryRow(t.Context(), `SELECT concat_ws(' ', (SELECT count(*) FROM walhook.queue), (SELECT count(*) FROM walhook.delivery),
		(SELECT count(*) FROM walhook.endpoint WHERE disabled_at IS NOT NULL))`).Scan(&left); err != nil || left != "1 1 1" {
		t.Errorf("queue, log, disabled endpoints: %s, %v", left, err)
	}
	known := slices.Concat(refused, harmless, apart)
	for _, c := range (&app{stdout: io.Discard, stderr: io.Discard}).root().Commands() {
		leaves := c.Commands()
		if len(leaves) == 0 {
			leaves = []*cobra.Command{c}
		}
		for _, leaf := range leaves {
			path := strings.TrimPrefix(leaf.CommandPath(), "walhook ")
			if !slices.ContainsFunc(known, func(line string) bool {
				return line == path || strings.HasPrefix(line, path+" ") || strings.HasPrefix(path, line+" ")
			}) {
				t.Errorf("walhook %s: does it send, or make due? Add it to a list above", path)
			}
		}
	}
}

// Invariant 8: a server that was restored from a snapshot of its files ends before the position: changes up to there would be swallowed.
func TestInvariant8ServerRestored(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	server := pgtest.Cluster(t, pgserver.Options{Settings: map[string]string{"fsync": "off"}})
	pgtest.Exec(t, server.DSN("postgres"), "CREATE DATABASE odoo")
	a := attachTo(t, server, server.DSN("odoo"), fmt.Sprintf("[state]\ndsn = %q\n", pgtest.Database(t)))
	a.delivers()
	files := func(do func()) {
		t.Helper()
		if err := server.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		do()
		if err := server.Resume(ctx); err != nil {
			t.Fatal(err)
		}
	}
	command := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	snapshot := server.DataDir() + ".snapshot"
	files(func() { command("cp", "-a", server.DataDir(), snapshot) })
	pgtest.Exec(t, a.env["OWNER_DSN"], "CREATE TABLE other AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
	a.delivers()
	files(func() { command("rm", "-r", server.DataDir()); command("mv", snapshot, server.DataDir()) })

	before := a.requests.Load()
	for _, line := range []string{"check", "run"} {
		var out strings.Builder
		code := run(ctx, []string{line, "--config", a.config}, &out, &out)
		if code != exitEnvironment || !regexp.MustCompile(`position is ahead of the server: \S+ was processed already, but the server's WAL ends [0-9.]+ MiB earlier, at `).MatchString(out.String()) || !strings.Contains(out.String(), "walhook run --adopt") {
			t.Errorf("walhook %s: status %d\n%s", line, code, out.String())
		}
	}
	if n := a.requests.Load(); n != before {
		t.Errorf("%d requests", n-before)
	}
	a.delivers("--adopt")
	a.delivers()
}
