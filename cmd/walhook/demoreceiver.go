package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"walhook/delivery/signature"
)

// arrival is one webhook that the demo's receiver has accepted.
type arrival struct {
	endpoint, event, record, id string
	data                        json.RawMessage // "record" of the body
	changes                     json.RawMessage
	lsn                         string
	attempts                    int // requests with this id, this one included
	at                          time.Time
}

// demoReceiver is the other end: it verifies signatures as a receiver should, refuses what it was told to refuse, and
// keeps what came. It is what the demo's claims are checked against.
type demoReceiver struct {
	secrets []signature.Secret
	server  *http.Server
	address string
	live    func(arrival) // called for each arrival; may be nil

	mu       sync.Mutex
	refuse   map[string]int // event → how many more requests get a 503
	seen     map[string]int // id → requests
	arrived  []arrival
	problems []string
	changed  chan struct{} // closed and replaced whenever something came
}

func startReceiver(ctx context.Context, secret signature.Secret) (*demoReceiver, error) {
	r := &demoReceiver{secrets: []signature.Secret{secret}, refuse: map[string]int{}, seen: map[string]int{}, changed: make(chan struct{})}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the receiver: %w", err)
	}
	r.address = "http://" + l.Addr().String()
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(l) }() // ends with Close
	return r, nil
}

// Close ends the server.
func (r *demoReceiver) Close() error { return r.server.Close() }

// ServeHTTP takes one webhook.
func (r *demoReceiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, 4<<20))
	if err != nil {
		http.Error(w, "read: "+err.Error(), http.StatusBadRequest)
		return
	}
	var message struct {
		Type string
		Data struct {
			ID      json.RawMessage
			Model   string
			Record  json.RawMessage
			Changes json.RawMessage
			LSN     string
		}
	}
	verified := signature.Verify(r.secrets, request.Header, body, time.Now(), 0)
	if err := json.Unmarshal(body, &message); err != nil {
		verified = fmt.Errorf("no JSON: %w", err)
	}
	id := request.Header.Get(signature.HeaderID)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.announce()
	r.seen[id]++
	if verified != nil {
		r.problems = append(r.problems, fmt.Sprintf("%s: %v", id, verified))
		http.Error(w, verified.Error(), http.StatusUnauthorized)
		return
	}
	if r.refuse[message.Type] > 0 {
		r.refuse[message.Type]--
		http.Error(w, "out to lunch", http.StatusServiceUnavailable)
		return
	}
	a := arrival{
		endpoint: strings.TrimPrefix(request.URL.Path, "/"), event: message.Type, record: message.Data.Model + "/" + strings.Trim(string(message.Data.ID), `"`), id: id,
		data: message.Data.Record, changes: message.Data.Changes, lsn: message.Data.LSN, attempts: r.seen[id], at: time.Now(),
	}
	r.arrived = append(r.arrived, a)
	if r.live != nil {
		r.live(a)
	}
	w.WriteHeader(http.StatusNoContent)
}

// announce wakes who waits. The caller holds mu.
func (r *demoReceiver) announce() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// expectRefusals makes the next n requests of an event fail.
func (r *demoReceiver) expectRefusals(event string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refuse[event] = n
}

// from returns what arrived from an index on, and a channel that is closed when more does.
func (r *demoReceiver) from(index int) ([]arrival, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]arrival(nil), r.arrived[index:]...), r.changed
}

// wait returns what arrived from an index on, once there are n or the context ends.
func (r *demoReceiver) wait(ctx context.Context, index, n int) []arrival {
	for {
		got, more := r.from(index)
		if len(got) >= n {
			return got
		}
		select {
		case <-more:
		case <-ctx.Done():
			return got
		}
	}
}

// totals counts accepted webhooks, all requests, and what was wrong with them.
func (r *demoReceiver) totals() (accepted, requests int, problems []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.seen {
		requests += n
	}
	return len(r.arrived), requests, append([]string(nil), r.problems...)
}

// follow calls f for everything that arrived from an index on, and from now on as it comes.
func (r *demoReceiver) follow(index int, f func(arrival)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.arrived[index:] {
		f(a)
	}
	r.live = f
}
