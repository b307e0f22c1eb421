package state

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// The network swallows everything without closing anything: whoever asks the state gets an error in a bounded time that says that
// it passes, and an answer as soon as there is a network again. No connection of the pool stays behind.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	proxy := harness.NewProxy(t, fmt.Sprintf("127.0.0.1:%d", pgtest.Server(t).Port()))
	db := openState(t, func(c *Config) {
		c.DSN, c.PoolSize, c.patience = proxy.Through(c.DSN)+"&connect_timeout=2", 2, 1500*time.Millisecond
	})
	p := register(t, db)
	f := newFeed(t, p)
	ask := map[string]func() error{
		"status":   func() error { _, err := db.Position(t.Context()); return err },
		"position": func() error { _, err := p.StoredPosition(t.Context()); return err },
		"advance":  func() error { return p.Advance(t.Context(), f.at, f.at) },
		"renew":    func() error { return p.renew(t.Context()) },
	}
	for name, f := range ask {
		if err := f(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	proxy.Swallow(true)
	for name, f := range ask {
		done := make(chan error, 1)
		go func() { done <- f() }()
		select {
		case err := <-done:
			if e, ok := err.(interface{ Temporary() bool }); !ok || !e.Temporary() {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s waits for ever", name)
		}
	}
	proxy.Swallow(false)
	for name, f := range ask {
		var err error
		for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if err = f(); err == nil {
				break
			}
		}
		if err != nil {
			t.Errorf("%s, when the network is back: %v", name, err)
		}
	}
}

// Of several hosts in the DSN the one that answers is taken, also by a role that is read-only by default.
func TestSeveralHosts(t *testing.T) {
	t.Parallel()
	db := openState(t, func(c *Config) {
		u, err := url.Parse(c.DSN)
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, c.DSN, "ALTER DATABASE "+u.Path[1:]+" SET default_transaction_read_only = on")
		u.Host = "127.0.0.1:1," + u.Host
		c.DSN = u.String()
	})
	if err := db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}
