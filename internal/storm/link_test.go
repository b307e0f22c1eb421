package storm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"walhook/internal/harness"
)

// Link is the way from walhook to a server or a receiver. It can be cut, refused and made a black hole at once (the [harness.Proxy]
// in front, which also counts), and poisoned by toxiproxy's toxics: latency, bandwidth, slow_close, timeout, reset_peer, limit_data, slicer.
type Link struct {
	*harness.Proxy
	t  testing.TB
	to string

	mu    sync.Mutex
	toxic *toxiproxy.Proxy
	lost  int // proxies that were given up
}

// newLink leads to an address ("127.0.0.1:5432") until the end of the test. Link.Addr is where walhook connects to; Link.Through changes a
// DSN to lead there.
func newLink(t testing.TB, to string) *Link {
	t.Helper()
	l := &Link{t: t, to: to}
	if err := l.renew(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Cut() // whoever waits for a connection has it no more
		within(5*time.Second, func() error { l.toxic.Stop(); return nil })
	})
	l.Proxy = harness.NewProxy(t, l.toxic.Listen)
	return l
}

// renew makes a proxy without toxics.
func (l *Link) renew() error {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l.toxic = toxiproxy.NewProxy(server, "storm", "127.0.0.1:0", l.to)
	return l.toxic.Start()
}

// poison adds a toxic to one direction, "upstream" (to the server) or "downstream", of all connections, those that are open included.
// The function that it returns takes it away.
func (l *Link) poison(kind, direction string, attributes map[string]int) (heal func() error, err error) {
	name := kind + " " + direction
	text, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": direction, "attributes": attributes})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	add := func() error { _, err := l.toxic.Toxics.AddToxicJson(bytes.NewReader(text)); return err }
	if err := within(toxicPatience, add); errors.Is(err, errStuck) {
		if err := l.replace(); err != nil {
			return nil, err
		}
		if err := add(); err != nil { // there is no connection yet that could hold it up
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("add toxic %s: %w", text, err)
	}
	return func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		err := within(toxicPatience, func() error { return l.toxic.Toxics.RemoveToxic(context.Background(), name) })
		if errors.Is(err, errStuck) {
			return l.replace()
		}
		return err
	}, nil
}

// toxicPatience is how long toxiproxy may take to change what it does to its connections. It can hang for good when one of them stands
// still or ends in that moment, as all of them wait for each.
const toxicPatience = 3 * time.Second

var errStuck = errors.New("toxiproxy hangs")

func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return errStuck
	}
}

// replace gives the proxy up, with its connections, and leads to a new one.
func (l *Link) replace() error {
	l.lost++
	if err := l.renew(); err != nil {
		return err
	}
	l.Lead(l.toxic.Listen)
	l.Cut()
	return nil
}
