package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"walhook/internal/pgtest"
	"walhook/status"
)

// installed sets walhook up with one rule and one endpoint, and the state in a database of its own. It returns the configuration file, and what it names.
func installed(t *testing.T, receiver string) (config string, env map[string]string) {
	t.Helper()
	env = map[string]string{"RECEIVER": receiver, "STATE_DSN": pgtest.Database(t)}
	if err := provide(t, func(k, v string) { env[k] = v }, pgtest.Database(t), pgtest.Server(t)); err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(t.TempDir(), "walhook.toml")
	text := os.Expand("[source]\ndsn = \"$WALHOOK_DSN\"\nslot = \"$SLOT\"\n[state]\ndsn = \"$STATE_DSN\"\n[http]\nlisten = \"off\"\n[endpoints.e]\nurl = \"$RECEIVER\"\n"+
		"[[rules]]\nname = \"r\"\nmodel = \"res.partner\"\non = [\"create\"]\nendpoint = \"e\"\n", func(k string) string { return env[k] })
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	if code := run(t.Context(), []string{"setup", "--config", config, "--dsn", env["OWNER_DSN"]}, io.Discard, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	return config, env
}

// opened is a pipeline of what installed has set up.
func opened(t *testing.T, config string) *pipeline {
	t.Helper()
	cfg, err := loadConfig(config, variables())
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPipeline(t.Context(), cfg, zerolog.New(zerolog.NewTestWriter(t)), false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Whoever asks walhook to stop while it begins to read, which a locked table can make long, is obeyed, and that is no failure.
func TestStopWhileItBegins(t *testing.T) {
	config, env := installed(t, "http://127.0.0.1:1")
	p := opened(t, config)
	conn := pgtest.Connect(t, env["STATE_DSN"])
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE walhook.image_table"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	until(t, "the lock to be waited for", func() (waits bool) {
		if err := tx.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'walhook.image_table'::regclass AND NOT granted)").Scan(&waits); err != nil {
			t.Fatal(err)
		}
		return waits
	})
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A process that reloads again and again, while a receiver is slow and when it is stopped in the middle of it, loses nothing, leaves nothing
// behind, and cuts no request short.
func TestReloadLeavesNothingBehind(t *testing.T) {
	pgtest.Server(t)
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) })
	var began, answered atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		began.Add(1)
		select {
		case <-time.After(1500 * time.Millisecond):
			answered.Add(1)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(receiver.Close)
	config, env := installed(t, receiver.URL)
	reading, goOn := make(chan struct{}), make(chan struct{})
	load := func() (*Config, error) {
		reading <- struct{}{}
		<-goOn
		return loadConfig(config, variables())
	}
	p := opened(t, config)
	asked := make(chan os.Signal, 1)
	p.reload.asked, p.reload.load = asked, load
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(stop)
	rows := 0
	insert := func() {
		t.Helper()
		pgtest.Exec(t, env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('x')")
		rows++
	}
	for n := 1; n <= 3; n++ {
		insert()
		until(t, "the request", func() bool { return int(began.Load()) == rows })
		if n != 2 {
			asked <- syscall.SIGHUP
		}
		<-reading
		if c := p.server.Info().Config; c.Begun != n || c.Reloads != n-1 {
			t.Errorf("while it reads: %+v", c)
		}
		if n == 1 {
			asked <- syscall.SIGHUP // the second one, which waits
		}
		goOn <- struct{}{}
		until(t, "the reload", func() bool { return p.server.Info().Config.Reloads == n })
		if c := p.server.Info().Config; n == 1 && !c.Pending && c.Begun == 1 {
			t.Errorf("another reload waits: %+v", c)
		}
		if e := p.server.Info().Config.Error; e != "" {
			t.Fatal(e)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if int(answered.Load()) != rows || int(began.Load()) != rows {
		t.Errorf("%d requests for %d rows, %d answered", began.Load(), rows, answered.Load())
	}
	var left, processes int
	conn := pgtest.Connect(t, env["STATE_DSN"])
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM walhook.queue), (SELECT count(*) FROM walhook.process)").Scan(&left, &processes); err != nil {
		t.Fatal(err)
	}
	conn.Close(context.Background())
	if left != 0 || processes != 0 {
		t.Errorf("%d deliveries and %d processes are left", left, processes)
	}
}

// What a running process cannot change stays, and is named.
func TestKeep(t *testing.T) {
	parse := func(text string) *Config {
		t.Helper()
		cfg, err := parseConfig("w.toml", []byte(whole(text)), variables())
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	running := parse("[source]\ndsn = \"postgres://u:old@h/d\"\nslot = \"a\"\n[http]\ntoken = \"0123456789abcdef\"\n")
	same := parse("[source]\ndsn = \"postgres://u:old@h/d\"\nslot = \"a\"\n[http]\ntoken = \"0123456789abcdef\"\n[endpoints.e]\nurl = \"https://e/\"\n")
	if changed := same.keep(running); len(changed) != 0 || len(same.Endpoints) != 1 {
		t.Errorf("changed: %q", changed)
	}
	other := parse("[source]\ndsn = \"postgres://u:new@h/d\"\nalarm = { lag = \"9m\" }\n[state]\nretention = \"40d\"\n[http]\ntoken = \"another-0123456789\"\n[log]\nlevel = \"warn\"\n")
	want := []string{"source.dsn", "source.slot", "source.alarm", "state.dsn", "state.retention", "http.token", "log.level"}
	if diff := cmp.Diff(want, other.keep(running)); diff != "" {
		t.Error(diff)
	}
	if other.Source.DSN.reveal() != "postgres://u:old@h/d" || other.Source.Slot != "a" || other.Log.Level != "" || other.State.Retention != running.State.Retention {
		t.Errorf("the running process's sections were not kept: %+v", other)
	}
}

// What another reload came to is not taken for one's own: an attempt counts that began after the process was asked, and none may be under way.
func TestOverlappingReloads(t *testing.T) {
	answers := []status.ConfigState{
		{Begun: 2, Reloads: 1},                                        // another's is under way, which has read the file as it was
		{Begun: 2, Reloads: 2, Error: "another's"},                    // and refused
		{Begun: 3, Reloads: 2, Error: "another's"},                    // one's own begins
		{Begun: 3, Reloads: 3, Error: "a third one's", Pending: true}, // ended, and yet another was asked for meanwhile
		{Begun: 4, Reloads: 4, Restart: []string{"state.lease"}},
	}
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		d := status.Document{Process: &status.Process{PID: 42, Host: hostname()}, Config: &answers[min(int(asked.Add(1)), len(answers))-1]}
		_ = json.NewEncoder(w).Encode(&d) // the client tells of what is cut
	}))
	t.Cleanup(server.Close)
	cfg, err := parseConfig("w.toml", []byte(whole("[http]\nlisten = \""+strings.TrimPrefix(server.URL, "http://")+"\"\n")), variables())
	if err != nil {
		t.Fatal(err)
	}
	before, err := cfg.running(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after, err := cfg.reloaded(t.Context(), before)
	if err != nil {
		t.Fatal(err)
	}
	if after.Error != "" || after.Reloads != 4 || int(asked.Load()) != len(answers) {
		t.Errorf("after %d answers: %+v", asked.Load(), after)
	}
}

// Where the file no longer says how to reach the process, the hint names the way around.
func TestReloadOfAnotherToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(server.Close)
	cfg, err := parseConfig("w.toml", []byte(whole("[http]\nlisten = \""+strings.TrimPrefix(server.URL, "http://")+"\"\n")), variables())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.running(t.Context()); err == nil || !strings.Contains(hintOf(err), "walhook reload --pid PID") {
		t.Errorf("%v; hint: %s", err, hintOf(err))
	}
}

// A breaker that is open as a person has resumed the endpoint is no failure.
func TestResumedIsLoggedAsSuch(t *testing.T) {
	for reason, want := range map[string]string{status.ResumedReason: `"level":"info"`, "timeout": `"level":"warn"`} {
		var log strings.Builder
		p := &pipeline{log: zerolog.New(&log)}
		p.engineTrace().BreakerOpened("erp", reason, 1, time.Now())
		if !strings.Contains(log.String(), want) || strings.Contains(log.String(), "endpoint fails") == (reason == status.ResumedReason) {
			t.Errorf("%s: %s", reason, log.String())
		}
	}
}
