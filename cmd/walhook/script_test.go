package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// Two of the scripts run this test binary under the name walhook.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "walhook" {
		main()
	}
	pgtest.Main(m)
}

// TestScripts runs the command line as people do. Each script has a database of its own, with the demo's tables owned
// by $OWNER, a role $ROLE with LOGIN and REPLICATION, and these further commands:
//
//	sql DSN 'SQL'              run SQL
//	query DSN 'SQL' 'want'     compare the first column of the first row, retrying for some seconds
//	receiver [STATUS…]         start a receiver at $RECEIVER; its first answers have these statuses, further ones 204
//	received N                 wait until N webhooks were accepted, and that there are not more; copies them to "received"
//	until 'REGEXP' COMMAND…    run a command again and again until a line that it prints matches
//	port                       take a port and set $PORT to it; "port busy" keeps it taken
//	copydb                     copy the database, and set $COPY_DSN and $COPY_OWNER_DSN to the copy's
//	exits STATUS COMMAND…      run a command that must end with this status
//	cluster SETTING=VALUE      give the script a server of its own, with the database in it
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := func(program string) string {
		dir := t.TempDir()
		if err := os.Symlink(program, filepath.Join(dir, "walhook")); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	shipped, own := folder(harness.Binary(t, "")), folder(executable)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		bin := shipped
		if name == "run" || name == "standby" { // with the race detector, if this test has it: every start takes seconds then
			bin = own
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &scripted{t: t}
			testscript.Run(t, testscript.Params{
				Files: []string{file},
				Setup: func(env *testscript.Env) error { return s.setup(env, bin) },
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"sql": s.sql, "query": s.query, "receiver": s.receiver, "received": s.received, "port": s.port, "cluster": s.cluster, "until": s.until, "copydb": s.copydb, "exits": s.exits,
				},
				Condition: func(name string) (bool, error) {
					if major, err := strconv.Atoi(strings.TrimPrefix(name, "pg")); err == nil { // pg13: PostgreSQL 13 or later
						return pgtest.Server(t).Major() >= major, nil
					}
					if name != "pg_dump" && name != "pg_recvlogical" {
						return false, fmt.Errorf("unknown condition %q", name)
					}
					return pgtest.FindClient(pgtest.Server(t), name) != "", nil
				},
				RequireExplicitExec: true,
				UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
			})
		})
	}
}

// scripted is what one script uses.
type scripted struct {
	t *testing.T

	mu       sync.Mutex
	statuses []int
	bodies   []string
}

func (s *scripted) setup(env *testscript.Env, bin string) error {
	super := pgtest.Database(s.t)
	for _, name := range []string{"HOME", "GOCOVERDIR"} {
		env.Setenv(name, os.Getenv(name))
	}
	env.Setenv("PATH", bin+string(filepath.ListSeparator)+pgtest.Server(s.t).Bin()+string(filepath.ListSeparator)+os.Getenv("PATH"))
	return provide(s.t, env.Setenv, super, pgtest.Server(s.t))
}

// provide makes roles and tables in a fresh database and tells the script of them.
func provide(t *testing.T, setenv func(string, string), super string, server *pgserver.Server) error {
	cfg, err := pgx.ParseConfig(super)
	if err != nil {
		return err
	}
	db := cfg.Database
	owner, role, password := "owner_"+db, "walhook_"+db, rand.Text()
	pgtest.Exec(t, super, fmt.Sprintf(`
		CREATE ROLE %[1]s LOGIN PASSWORD '%[3]s';
		CREATE ROLE %[2]s LOGIN REPLICATION PASSWORD '%[3]s';
		ALTER DATABASE %[4]s OWNER TO %[1]s;
		ALTER SCHEMA public OWNER TO %[1]s`, owner, role, password, db))
	ownerDSN := server.DSNFor(owner, password, db)
	pgtest.Exec(t, ownerDSN, demoSchema)
	for name, value := range map[string]string{
		"DB": db, "OWNER": owner, "ROLE": role, "SLOT": "slot_" + db, "SUPER_DSN": super, "OWNER_DSN": ownerDSN, "WALHOOK_DSN": server.DSNFor(role, password, db),
		"SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "DB_PORT": strconv.Itoa(server.Port()),
	} {
		setenv(name, value)
	}
	return nil
}

func (s *scripted) sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql DSN 'SQL'")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, args[0])
	ts.Check(err)
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, args[1]).ReadAll()
	ts.Check(err)
}

func (s *scripted) query(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: query DSN 'SQL' 'want'")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, args[0])
	ts.Check(err)
	defer conn.Close(ctx)
	got := ""
	for range 100 {
		ts.Check(conn.QueryRow(ctx, "SELECT coalesce(("+args[1]+")::text, '')").Scan(&got))
		if got == args[2] {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	ts.Fatalf("%s gives %q, want %q", args[1], got, args[2])
}

func (s *scripted) until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until 'REGEXP' COMMAND…")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...) // what it prints counts
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not print %q", strings.Join(args[1:], " "), args[0])
		}
	}
}

func (s *scripted) receiver(ts *testscript.TestScript, neg bool, args []string) {
	for _, a := range args {
		n, err := strconv.Atoi(a)
		ts.Check(err)
		s.statuses = append(s.statuses, n)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.statuses) > 0 {
			w.WriteHeader(s.statuses[0])
			s.statuses = s.statuses[1:]
			return
		}
		s.bodies = append(s.bodies, string(body))
		w.WriteHeader(http.StatusNoContent)
	}))
	ts.Defer(server.Close)
	ts.Setenv("RECEIVER", server.URL)
}

func (s *scripted) received(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: received N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	for end := time.Now().Add(20 * time.Second); s.count() < want && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // for one too many
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bodies) != want {
		ts.Fatalf("%d webhooks were accepted, want %d:\n%s", len(s.bodies), want, strings.Join(s.bodies, "\n"))
	}
	ts.Check(os.WriteFile(ts.MkAbs("received"), []byte(strings.Join(s.bodies, "\n")+"\n"), 0o600))
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bodies)
}

func (s *scripted) port(ts *testscript.TestScript, neg bool, args []string) {
	address, err := freeAddress(context.Background())
	ts.Check(err)
	if len(args) == 1 && args[0] == "busy" {
		server := httptest.NewServer(http.NotFoundHandler())
		ts.Defer(server.Close)
		address = server.Listener.Addr().String()
	}
	ts.Setenv("PORT", address[strings.LastIndexByte(address, ':')+1:])
}

func (s *scripted) copydb(ts *testscript.TestScript, neg bool, args []string) {
	db := ts.Getenv("DB")
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, pgtest.Server(s.t).DSN("postgres"))
	ts.Check(err)
	defer conn.Close(ctx)
	for _, sql := range []string{
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + db + "'",
		fmt.Sprintf("CREATE DATABASE %s_copy TEMPLATE %s OWNER %s", db, db, ts.Getenv("OWNER")),
	} {
		_, err := conn.Exec(ctx, sql)
		ts.Check(err)
	}
	for _, name := range []string{"WALHOOK_DSN", "OWNER_DSN", "SUPER_DSN"} {
		ts.Setenv("COPY_"+strings.TrimPrefix(strings.TrimPrefix(name, "WALHOOK_"), "COPY_"), strings.Replace(ts.Getenv(name), "/"+db+"?", "/"+db+"_copy?", 1))
	}
}

func (s *scripted) exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND…")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s ended with status %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func (s *scripted) cluster(ts *testscript.TestScript, neg bool, args []string) {
	settings := map[string]string{"fsync": "off"}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		settings[name] = value
	}
	server, err := pgserver.Start(context.Background(), pgserver.Options{Settings: settings})
	ts.Check(err)
	ts.Defer(func() {
		if err := server.Close(); err != nil {
			s.t.Errorf("close the script's server: %v", err)
		}
	})
	super := server.DSN("odoo")
	pgtest.Exec(s.t, server.DSN("postgres"), "CREATE DATABASE odoo")
	ts.Check(provide(s.t, ts.Setenv, super, server))
}

// Every command says how it is used, by example.
func TestEveryHelpEndsWithExamples(t *testing.T) {
	walk := func(path []string) {
		var out, errs strings.Builder
		if code := run(t.Context(), append(path, "--help"), &out, &errs); code != exitOK {
			t.Errorf("walhook %s --help: status %d %s", strings.Join(path, " "), code, errs.String())
		}
		_, examples, found := strings.Cut(out.String(), "Examples:\n  walhook")
		if !found || strings.Contains(examples, "\n\n") {
			t.Errorf("walhook %s --help does not end with examples", strings.Join(path, " "))
		}
	}
	root := (&app{stdout: io.Discard, stderr: io.Discard}).root()
	walk(nil)
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		walk([]string{c.Name()})
		for _, sub := range c.Commands() {
			walk([]string{c.Name(), sub.Name()})
		}
	}
}

func TestUsageErrors(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"chekc"}, `unknown command "chekc"`},
		{[]string{"run", "now"}, `unknown command "now"`},
		{[]string{"run", "--fast"}, "unknown flag: --fast"},
		{[]string{"rules", "lst"}, `unknown command "lst" for "walhook rules"`},
		{[]string{"deliveries", "retry"}, "name ids, select by flags, or say --all"},
		{[]string{"deliveries", "show"}, "needs one argument: the id of a delivery"},
		{[]string{"run", "--config", "/nowhere/walhook.toml"}, "the configuration file /nowhere/walhook.toml does not exist"},
	}
	for _, tt := range tests {
		var out, errs strings.Builder
		if code := run(t.Context(), tt.args, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), tt.want) || !strings.Contains(errs.String(), "\nhint: ") {
			t.Errorf("walhook %s: status %d\n%s", strings.Join(tt.args, " "), code, errs.String())
		}
	}
}

func TestVersion(t *testing.T) {
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"version", "--json"}, &out, &errs); code != exitOK {
		t.Fatalf("status %d %s", code, errs.String())
	}
	var b build
	if err := json.Unmarshal([]byte(out.String()), &b); err != nil || b.Version == "" || b.Go == "" {
		t.Errorf("%s: %v", out.String(), err)
	}
}

// The demo is a real check: it ends with status 0 only when every expected webhook arrived.
func TestDemo(t *testing.T) {
	var out, errs strings.Builder
	began := time.Now()
	code := run(t.Context(), []string{"demo"}, &out, &errs)
	if code != exitOK {
		t.Fatalf("status %d\n%s\n%s", code, out.String(), errs.String())
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the demo took %s", took)
	}
	for _, want := range []string{"S00001 · 1396.10", "attempt 3, after 2 × 503", "nothing: what is rolled back never happened", "30 webhooks delivered in 32 requests"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not print %q:\n%s", want, out.String())
		}
	}
}
