package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

// cutter stands between walhook and the server and can break a connection at its COMMIT.
type cutter struct {
	addr   string
	mode   atomic.Int32 // what happens to the next COMMIT
	cuts   atomic.Int32
	refuse atomic.Bool // new connections
}

const (
	cutNothing   int32 = iota
	cutAnswer          // the server commits, its answer is lost
	cutStatement       // the COMMIT never arrives
)

func newCutter(t *testing.T, dsn string) (*cutter, string) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{addr: ln.Addr().String()}
	network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			if c.refuse.Load() {
				client.Close()
				continue
			}
			server, err := net.Dial(network, address)
			if err != nil {
				client.Close()
				continue
			}
			wg.Go(func() { c.pipe(client, server) })
			wg.Go(func() { copyUntilClosed(client, server); client.Close(); server.Close() })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	host, port, _ := net.SplitHostPort(c.addr)
	return c, fmt.Sprintf("host=%s port=%s user=%s password='%s' dbname=%s sslmode=disable", host, port, cfg.User, cfg.Password, cfg.Database)
}

func copyUntilClosed(dst, src net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pipe forwards what the client says, and breaks off at a COMMIT when told to.
func (c *cutter) pipe(client, server net.Conn) {
	defer client.Close()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("COMMIT\x00")) {
			switch c.mode.Swap(cutNothing) {
			case cutAnswer:
				client.Close()
				c.cuts.Add(1)
				_, _ = server.Write(buf[:n])
				time.Sleep(100 * time.Millisecond) // the server commits
				return
			case cutStatement:
				c.cuts.Add(1)
				return
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A commit whose answer is lost is looked up: Enqueue, Claim and Finish return what really happened.
func TestCommitInDoubt(t *testing.T) {
	cut, dsn := newCutter(t, pgtest.Database(t))
	var doubts atomic.Int32
	db := open(t, Config{DSN: dsn, Trace: Trace{CommitInDoubt: func(error) { doubts.Add(1) }}})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		t.Fatal(err)
	}
	p := register(t, db)
	f := newFeed(t, p)

	cut.mode.Store(cutAnswer)
	d := f.delivery("a", "m/1")
	wantLanes(t, f.enqueue(t, all, d), "a:m/1=1")

	cut.mode.Store(cutStatement)
	if _, err := f.try(t.Context(), all, f.delivery("a", "m/2")); !isTemporary(err) {
		t.Fatalf("a batch that was not committed: %v", err)
	}
	if pos, err := p.StoredPosition(t.Context()); pos != f.at || err != nil {
		t.Fatalf("position %+v, %v", pos, err)
	}
	d2 := f.delivery("a", "m/2")
	f.enqueue(t, none, d2)

	cut.mode.Store(cutAnswer)
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/2=2")

	cut.mode.Store(cutAnswer)
	wantLanes(t, finish(t, p, 5, outcome(d, delivery.Delivered)), "")
	cut.mode.Store(cutStatement)
	if _, err := p.Finish(t.Context(), []delivery.Outcome{outcome(d2, delivery.Delivered)}, 5); !isTemporary(err) {
		t.Fatalf("a Finish that was not committed: %v", err)
	}
	finish(t, p, 5, outcome(d2, delivery.Delivered))
	if n := rows(t, db, "attempt"); n != 2 {
		t.Errorf("%d attempts logged", n)
	}
	if cut.cuts.Load() != 5 || doubts.Load() != 5 {
		t.Errorf("%d connections were cut, %d commits in doubt", cut.cuts.Load(), doubts.Load())
	}
	consistent(t, db)
}

// When the server stays away and the caller's time ends, the outcome is unknown. The lanes that may
// have been acquired are given back, and outcomes that come again are not logged twice.
func TestDoubtThatOutlivesItsCaller(t *testing.T) {
	cut, dsn := newCutter(t, pgtest.Database(t))
	db := open(t, Config{DSN: dsn})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		t.Fatal(err)
	}
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)

	db.grace = 300 * time.Millisecond
	keepOne := func() { // exactly one idle connection, which the next call uses
		conns := db.pool.AcquireAllIdle(t.Context())
		for i, c := range conns {
			if i > 0 {
				_ = c.Conn().Close(t.Context())
			}
			c.Release()
		}
	}
	run := func(call func(context.Context) error) {
		t.Helper()
		keepOne()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		cut.mode.Store(cutAnswer)
		cut.refuse.Store(true)
		time.AfterFunc(200*time.Millisecond, cancel)
		err := call(ctx)
		cut.refuse.Store(false)
		var doubt *DoubtError
		if !errors.As(err, &doubt) {
			t.Fatalf("got %v, want a doubt", err)
		}
	}
	o := []delivery.Outcome{outcome(d, delivery.Delivered)}
	run(func(ctx context.Context) error { _, err := p.Finish(ctx, o, 5); return err })
	finish(t, p, 5, o...)
	if n := rows(t, db, "attempt"); n != 1 {
		t.Errorf("%d attempts logged, want 1", n)
	}
	run(func(ctx context.Context) error { _, err := f.try(ctx, all, f.delivery("a", "m/2")); return err })
	if pos, _ := p.StoredPosition(t.Context()); pos == f.at {
		t.Fatal("the batch was not committed, so the test shows nothing")
	}
	f.at, _ = p.StoredPosition(t.Context())
	wantLanes(t, claim(t, p, "a", 5, 5), "")
	if err := p.settleOrphans(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/2=2")
	if len(p.orphans) != 0 {
		t.Error("orphans are left")
	}
}
