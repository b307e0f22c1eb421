package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"walhook/internal/pgtest"
	"walhook/state"
	"walhook/status"
)

// until polls for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// A process whose right to read was taken goes on: its batch fails, it joins again under a new id and stands by, and reads
// again when the other one is gone. Nothing of the first membership is left behind.
func TestSupersededProcessStandsBy(t *testing.T) {
	pgtest.Server(t)
	leaks := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // after everything else
	arrived := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get("webhook-id") }))
	t.Cleanup(receiver.Close)
	config, env := installed(t, receiver.URL)
	p := opened(t, config)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(stop)
	becomes := func(role string) {
		t.Helper()
		until(t, "the process to become "+role, func() bool { return p.current().role().Name == role })
	}
	insert := func(name string) {
		pgtest.Exec(t, env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('"+name+"')")
	}
	arrives := func() string {
		t.Helper()
		select {
		case id := <-arrived:
			return id
		case <-time.After(30 * time.Second):
			t.Fatal("nothing arrived")
			return ""
		}
	}
	becomes(status.RoleReader)
	insert("A")
	seen := map[string]bool{arrives(): true}
	before := p.current().process.ID()

	db, err := state.Open(t.Context(), p.cfg.state("rival"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rival, err := db.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	won := make(chan *state.Reader, 1)
	go func() {
		reader, err := rival.Contend(t.Context(), state.ReaderTrace{})
		if err != nil {
			t.Error(err)
		}
		won <- reader
	}()
	// The reader loses its session, again and again until the rival is faster.
	until(t, "the rival to become the reader", func() bool {
		pgtest.Exec(t, env["STATE_DSN"], fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'walhook/process %d'", before))
		return len(won) == 1
	})
	reader := <-won
	if reader == nil {
		t.FailNow()
	}
	insert("B")
	becomes(status.RoleStandby)
	if after := p.current().process.ID(); after == before {
		t.Errorf("it is process %d still", after)
	}
	if len(arrived) != 0 {
		t.Error("the batch of a process that is not the reader was sent")
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	becomes(status.RoleReader)
	if id := arrives(); seen[id] {
		t.Error("A arrived again")
	}
	if err := rival.Close(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if n := len(arrived); n != 0 {
		t.Errorf("%d webhooks too many", n)
	}
}
