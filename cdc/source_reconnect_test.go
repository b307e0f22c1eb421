package cdc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"walhook/internal/pgtest"
)

// TestKeepaliveWhileBlocked: wal_sender_timeout is 1 s, the handler takes 2.5 s; first with room in the queue, where
// the server's keepalives are answered, then with a full one, where nothing is read (trap 3).
func TestKeepaliveWhileBlocked(t *testing.T) {
	s := ownServer(t, map[string]string{"wal_sender_timeout": "1s"})
	for _, c := range []struct {
		name  string
		queue int
	}{{"queue has room", 1000}, {"queue is full", 1}} {
		t.Run(c.name, func(t *testing.T) {
			dsn := databaseOn(t, s.DSN("postgres"), "d"+strconv.Itoa(c.queue), s.DSN)
			b := newBenchAt(t, dsn)
			rec := &recorder{before: func(_ context.Context, n int) error {
				if n == 1 {
					time.Sleep(2500 * time.Millisecond)
				}
				return nil
			}}
			r := b.start(rec, 0, func(c2 *SourceConfig) { c2.StatusInterval, c2.QueueTransactions = 10*time.Second, c.queue })
			r.connected()
			pid := r.Progress().Session.PID
			for i := 1; i <= 20; i++ {
				b.exec("INSERT INTO t VALUES ($1, repeat('x', 10000))", i)
			}
			rec.sees(t, creates(1, 20)...)
			if p := r.Progress(); p.Session.PID != pid || p.LastError != "" {
				t.Errorf("the connection was lost: %s", p.LastError)
			}
			r.stop()
		})
	}
}

func databaseOn(t *testing.T, admin, name string, dsn func(string) string) string {
	t.Helper()
	pgtest.Exec(t, admin, "CREATE DATABASE "+quoteIdent(name))
	return dsn(name)
}

// TestKickedBackend ends the session as Odoo does before it duplicates or drops a database: the source stays away
// for the time that takes, then goes on without loss.
func TestKickedBackend(t *testing.T) {
	b := newBench(t)
	rec := &recorder{}
	r := b.start(rec, 0, func(c *SourceConfig) { c.KickedMin, c.KickedMax = 1500*time.Millisecond, 2*time.Second })
	r.connected()
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	b.exec("SELECT pg_terminate_backend($1::int)", r.Progress().Session.PID)
	err := <-r.lost
	if sqlState(err) != "57P01" {
		t.Errorf("got %v", err)
	}
	began := time.Now()
	b.exec("INSERT INTO t VALUES (2)")
	rec.sees(t, "create 1", "create 2")
	if away := time.Since(began); away < time.Second {
		t.Errorf("was back after %s", away)
	}
	if p := r.Progress(); p.Reconnects != 1 || !p.Connected {
		t.Errorf("%+v", p)
	}
}

// TestRestarts: the server is restarted in both ways while rows are written. A fast shutdown waits until the walsender's client
// has confirmed everything or gone; the source must not make it wait, even when its handler cannot persist
// anything because the state is in the same server.
func TestRestarts(t *testing.T) {
	for _, c := range []struct {
		mode string
		lazy bool // nothing is durable before Advance, which is not due
		full bool // the handler fails and the queue is full
	}{{"fast", false, false}, {"fast", true, false}, {"fast", true, true}, {"immediate", false, false}} {
		t.Run(fmt.Sprintf("%s lazy=%v full=%v", c.mode, c.lazy, c.full), func(t *testing.T) {
			s := ownServer(t, nil)
			b := newBenchAt(t, databaseOn(t, s.DSN("postgres"), "d", s.DSN))
			var away atomic.Bool
			rec := &recorder{lazy: c.lazy, before: func(context.Context, int) error {
				if away.Load() {
					return temporary("state is away")
				}
				return nil
			}}
			r := b.start(rec, 0, func(cfg *SourceConfig) {
				if c.full {
					cfg.QueueTransactions = 2
				}
			})
			r.connected()
			away.Store(c.full)
			for i := 1; i <= 10; i++ {
				b.exec("INSERT INTO t VALUES ($1)", i)
			}
			if c.full {
				until(t, "blocked", func() bool { return r.Progress().Blocked })
			} else {
				rec.sees(t, creates(1, 10)...)
			}
			b.conn.Close(context.Background())
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := s.Restart(ctx, c.mode); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("the restart took %s", took)
			}
			away.Store(false)
			b.reconnect()
			b.exec("INSERT INTO t VALUES (11)")
			rec.sees(t, creates(1, 11)...)
			r.stop()
		})
	}
}

func TestSwitchPoint(t *testing.T) {
	history := "1\t0/3000028\tno recovery target specified\n\n2\t0/5000000\tbefore 2000-01-01\n"
	for _, c := range []struct {
		timeline uint32
		want     LSN
		ok       bool
	}{{1, 0x3000028, true}, {2, 0x5000000, true}, {3, 0, false}} {
		if got, ok := switchPoint(history, c.timeline); got != c.want || ok != c.ok {
			t.Errorf("timeline %d: %s %v", c.timeline, got, ok)
		}
	}
}

// TestInvariant8Timelines promotes a server. A position before the switch is accepted; one after
// it, reached on the old timeline, is not: those transactions never happened here.
func TestInvariant8Timelines(t *testing.T) {
	s := ownServer(t, nil)
	b := newBenchAt(t, databaseOn(t, s.DSN("postgres"), "d", s.DSN))
	rec := &recorder{}
	r := b.start(rec, 0, func(c *SourceConfig) { c.Timeline = 1 })
	r.connected()
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	r.stop()
	_, before := rec.snapshot()
	b.exec("INSERT INTO t VALUES (2)")
	b.conn.Close(context.Background())

	if err := s.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.DataDir(), "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(s.DataDir(), "PG_VERSION")); err == nil {
		owner := info.Sys().(*syscall.Stat_t)
		if err := os.Chown(filepath.Join(s.DataDir(), "standby.signal"), int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.reconnect()
	b.exec("SELECT pg_promote()")
	b.exec("INSERT INTO t VALUES (3)")
	after := b.lsn("SELECT pg_current_wal_lsn()::text")
	facts, err := Inspect(context.Background(), b.conn, b.slot, b.slot, nil)
	if err != nil {
		t.Fatal(err)
	}
	if facts.Timeline != 2 {
		t.Fatalf("timeline %d after promotion", facts.Timeline)
	}

	var position *PositionError
	err = b.start(&recorder{}, after, func(c *SourceConfig) { c.Timeline = 1 }).wait()
	if !errors.As(err, &position) || position.Problem != PositionTimeline || position.Server == 0 {
		t.Errorf("got %v", err)
	}
	if err := CheckTimeline(context.Background(), b.dsn, 1, after); !errors.As(err, &position) {
		t.Errorf("got %v", err)
	}
	for timeline, at := range map[uint32]LSN{1: before, 2: after, 0: after} {
		if err := CheckTimeline(context.Background(), b.dsn, timeline, at); err != nil {
			t.Errorf("timeline %d: %v", timeline, err)
		}
	}
	noted := make(chan uint32, 10)
	refused := errors.New("the state is away")
	r = b.start(rec, before, func(c *SourceConfig) {
		c.Timeline = 1
		c.NewTimeline = func(_ context.Context, timeline uint32) error {
			noted <- timeline
			if seen, _ := rec.snapshot(); len(seen) != 1 {
				t.Errorf("streamed before the timeline was noted: %q", seen)
			}
			if len(noted) == 1 {
				return refused
			}
			return nil
		}
	})
	if err := <-r.lost; !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	rec.sees(t, "create 1", "create 2", "create 3")
	if n := len(noted); n != 2 || <-noted != 2 {
		t.Errorf("the new timeline was noted %d times", n)
	}
	if got := r.Progress().Session.Timeline; got != 2 {
		t.Errorf("session on timeline %d", got)
	}
	r.stop()
}

func TestBackoff(t *testing.T) {
	b := backoff{lo: 100 * time.Millisecond, hi: time.Second}
	for i, most := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
		most *= time.Millisecond
		if got := b.next(); got < most/2 || got > most {
			t.Errorf("pause %d is %s, want %s to %s", i, got, most/2, most)
		}
	}
	b.reset()
	if got := b.next(); got > 100*time.Millisecond {
		t.Errorf("after reset %s", got)
	}
}

// TestConcurrentWriters writes from many connections while the session is ended again and again: everything
// arrives once and in commit order.
func TestConcurrentWriters(t *testing.T) {
	b := newBench(t)
	rec := &recorder{}
	r := b.start(rec, 0)
	r.connected()
	const writers, each = 4, 50
	var g errgroup.Group
	for w := range writers {
		conn := pgtest.Connect(t, b.dsn)
		g.Go(func() error {
			for i := range each {
				if _, err := conn.Exec(context.Background(), "INSERT INTO t VALUES ($1)", w*each+i); err != nil {
					return err
				}
				if w == 0 && i%10 == 5 {
					if _, err := conn.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE pid = $1::int", r.Progress().Session.PID); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	until(t, "all", func() bool { seen, _ := rec.snapshot(); return len(seen) >= writers*each })
	seen, _ := rec.snapshot()
	count := make(map[string]int)
	last := make(map[int]int)
	for _, s := range seen {
		count[s]++
		id, err := strconv.Atoi(strings.TrimPrefix(s, "create "))
		if err != nil {
			t.Fatal(err)
		}
		if id%each < last[id/each] {
			t.Errorf("writer %d: %d after %d", id/each, id%each, last[id/each])
		}
		last[id/each] = id % each
	}
	if len(seen) != writers*each || len(count) != writers*each {
		t.Errorf("%d changes, %d different, want %d", len(seen), len(count), writers*each)
	}
}

// TestSilentServer cuts the network without a word, as a firewall does: the connection stays open, and nothing
// comes through any more.
func TestSilentServer(t *testing.T) {
	s := ownServer(t, map[string]string{"wal_sender_timeout": "1s"})
	b := newBenchAt(t, databaseOn(t, s.DSN("postgres"), "d", s.DSN))
	proxy := newProxy(t, fmt.Sprintf("127.0.0.1:%d", s.Port()))
	rec := &recorder{}
	r := b.start(rec, 0, func(c *SourceConfig) {
		c.DSN = fmt.Sprintf("postgres://postgres@%s/d?sslmode=disable", proxy.Addr())
		c.ReceiveTimeout = time.Second // 2 s is the least for this server
	})
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	proxy.freeze()
	b.exec("INSERT INTO t VALUES (2)")
	if err := <-r.lost; !errors.Is(err, errSilent) {
		t.Errorf("got %v", err)
	}
	rec.sees(t, "create 1", "create 2")
	r.stop()
}

// TestSeveralHosts: of several hosts in the DSN the first that answers is taken, at each attempt anew.
func TestSeveralHosts(t *testing.T) {
	b := newBench(t)
	cfg, err := parseDSN(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	rec := &recorder{}
	r := b.start(rec, 0, func(c *SourceConfig) {
		c.DSN = fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=1,%d user=%s dbname=%s sslmode=disable", cfg.Port, cfg.User, cfg.Database)
	})
	r.connected()
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	b.exec("SELECT pg_terminate_backend($1::int)", r.Progress().Session.PID)
	b.exec("INSERT INTO t VALUES (2)")
	rec.sees(t, "create 1", "create 2")
}

// proxy forwards connections until it is frozen; those made after that are forwarded again.
type proxy struct {
	net.Listener
	mu      sync.Mutex
	current chan struct{} // closed: connections made before forward nothing more
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, current: make(chan struct{})}
	var open []net.Conn
	var copies sync.WaitGroup
	copies.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			frozen := p.current
			open = append(open, in, out)
			p.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				copies.Go(func() { forward(pair[0], pair[1], frozen) })
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		close(p.current)
		for _, c := range open {
			c.Close()
		}
		p.mu.Unlock()
		copies.Wait()
	})
	return p
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.current)
	p.current = make(chan struct{})
}

// forward copies until the connection ends, which it passes on, or frozen is closed, which it does not.
func forward(from, to net.Conn, frozen chan struct{}) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-frozen:
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			to.Close()
			return
		}
	}
}
