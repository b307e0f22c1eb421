package fencing

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait most of the time: for leases to run out.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	pgtest.Main(m, harness.Remove)
}

// tags are those of the program under test: its fail points stop it where it hurts.
const tags = "failpoint"

// patience bounds every wait.
const patience = 60 * time.Second

// lease is short, so that a reader that hangs is replaced soon.
const lease = 6 * time.Second

// until polls for a condition.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// arrival is a request that the receiver accepted.
type arrival struct {
	id     string // of the delivery
	record string
	n      int
}

// options of a site. The zero value uses the shared cluster.
type options struct {
	server *pgserver.Server    // of the source
	state  string              // DSN of the state; default the source's database
	dial   func(string) string // changes the DSN that walhook connects with
	lease  time.Duration       // default short
}

// site is a database, a receiver and the nodes between them.
type site struct {
	options
	t  *testing.T
	in *harness.Installation

	fell time.Time // when the reader died

	mu       sync.Mutex
	arrivals []arrival
}

// newSite sets everything up.
func newSite(t *testing.T, o options) *site {
	t.Helper()
	s := &site{t: t, options: o}
	if s.lease == 0 {
		s.lease = lease
	}
	receiver := httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(receiver.Close)
	var super string
	if s.server == nil {
		super = pgtest.Database(t)
	} else {
		pgtest.Exec(t, s.server.DSN("postgres"), "CREATE DATABASE own")
		super = s.server.DSN("own")
	}
	pgtest.Exec(t, super, "CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL)")
	state := ""
	if s.state != "" {
		state = fmt.Sprintf("dsn = %q", s.state)
	}
	s.in = harness.Install(t, super, harness.Options{Tags: tags, Server: s.server, Dial: s.dial, Config: fmt.Sprintf(`
[state]
lease = %q
%s

[endpoints.hook]
url = %q
secrets = [%q]
concurrency = 8

[[rules]]
name = "item"
table = "item"
on = ["create", "write"]
endpoint = "hook"
`, s.lease, state, receiver.URL, harness.Secret)})
	if s.state == "" {
		s.state = s.in.Super
	}
	s.in.Must("setup", "--dsn", s.in.Owner)
	return s
}

func (s *site) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut short by its sender
	}
	if err := harness.VerifySignature(r.Header, body); err != nil {
		s.t.Error(err)
	}
	var e struct {
		Data struct {
			ID     json.Number `json:"id"`
			Record struct {
				N int `json:"n"`
			} `json:"record"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		s.t.Errorf("body %s: %v", body, err)
	}
	time.Sleep(rand.N(4 * time.Millisecond)) // so that lanes are in memory, and requests under way, whenever a node is stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = append(s.arrivals, arrival{r.Header.Get("webhook-id"), e.Data.ID.String(), e.Data.Record.N})
}

func (s *site) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.arrivals)
}

// more waits until so many further events have arrived.
func (s *site) more(n int) {
	s.t.Helper()
	want := s.count() + n
	until(s.t, fmt.Sprintf("%d more events", n), func() bool { return s.count() >= want })
}

// node prepares a further process; its configuration differs in nothing but the port.
func (s *site) node(name string) *node {
	s.t.Helper()
	text, err := os.ReadFile(s.in.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	n := &node{t: s.t, site: s, name: name, listen: freePort(s.t), config: s.t.TempDir() + "/walhook.toml"}
	if err := os.WriteFile(n.config, []byte(strings.Replace(string(text), s.in.Listen, n.listen, 1)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// traffic counts records up, one per transaction, until the returned function is called.
func (s *site) traffic() (stop func()) {
	s.t.Helper()
	conn := pgtest.Connect(s.t, s.in.Owner)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		rnd := rand.New(rand.NewPCG(1, 2))
		for ctx.Err() == nil {
			const up = "INSERT INTO item VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = item.n + 1"
			if _, err := conn.Exec(context.Background(), up, rnd.IntN(30)); err != nil {
				s.t.Errorf("write: %v", err)
				return
			}
			time.Sleep(time.Duration(rnd.Int64N(int64(8 * time.Millisecond))))
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return stop
}

// check waits until everything that was committed has arrived, and compares: each event is in the state once, nothing is
// lost, and at the receiver the order per record holds; an event may arrive again under the same id.
func (s *site) check() {
	s.t.Helper()
	ctx := context.Background()
	source, state := pgtest.Connect(s.t, s.in.Super), pgtest.Connect(s.t, s.state)
	want := map[string]int{}
	rows, err := source.Query(ctx, "SELECT id::text, n FROM item")
	if err != nil {
		s.t.Fatal(err)
	}
	events := 0
	for rows.Next() {
		var record string
		var n int
		if err := rows.Scan(&record, &n); err != nil {
			s.t.Fatal(err)
		}
		want[record] = n
		events += n
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	var logged, ids, waiting int
	until(s.t, "everything to be delivered", func() bool {
		const counts = "SELECT (SELECT count(*) FROM walhook.delivery), (SELECT count(DISTINCT id) FROM walhook.delivery), (SELECT count(*) FROM walhook.queue)"
		if err := state.QueryRow(ctx, counts).Scan(&logged, &ids, &waiting); err != nil {
			s.t.Fatal(err)
		}
		return logged >= events && waiting == 0
	})
	if logged != events || ids != events {
		s.t.Errorf("%d deliveries of %d ids are in the state, of %d events", logged, ids, events)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := map[string]arrival{}
	at := map[string]int{}
	for i, a := range s.arrivals {
		if before, again := first[a.id]; again {
			if a != before {
				s.t.Errorf("arrival %d: %+v came before as %+v", i, a, before)
			}
			continue
		}
		first[a.id] = a
		if at[a.record]++; a.n != at[a.record] {
			s.t.Fatalf("arrival %d: record %s came at %d, want %d", i, a.record, a.n, at[a.record])
		}
	}
	for record, n := range want {
		if at[record] != n {
			s.t.Errorf("record %s arrived up to %d of %d", record, at[record], n)
		}
	}
	s.t.Logf("%d events, %d arrivals", events, len(s.arrivals))
}
