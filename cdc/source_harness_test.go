package cdc

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// recorder is a Handler that remembers what it was handed.
type recorder struct {
	mu       sync.Mutex
	seen     []string // "create 1", one per change
	ends     []LSN    // of the transactions
	advances []LSN
	lazy     bool                                     // transactions have no effects: nothing is durable before Advance
	durable  LSN                                      // what was returned last
	before   func(ctx context.Context, n int) error   // called first, with the number of the call; may block or fail
	advance  func(ctx context.Context, lsn LSN) error // called by Advance; may fail
	calls    int
}

func (r *recorder) Handle(ctx context.Context, txs []*Tx) (LSN, error) {
	r.mu.Lock()
	r.calls++
	n := r.calls
	r.mu.Unlock()
	if r.before != nil {
		if err := r.before(ctx, n); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, tx := range txs {
		for c, err := range tx.Changes() {
			if err != nil {
				return 0, err
			}
			r.seen = append(r.seen, strings.TrimSpace(c.Op.String()+" "+c.Key))
		}
		r.ends = append(r.ends, tx.EndLSN)
	}
	if !r.lazy {
		r.durable = txs[len(txs)-1].EndLSN
	}
	return r.durable, nil
}

func (r *recorder) Advance(ctx context.Context, lsn LSN) (LSN, error) {
	if r.advance != nil {
		if err := r.advance(ctx, lsn); err != nil {
			return 0, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advances = append(r.advances, lsn)
	r.durable = lsn
	return lsn, nil
}

func (r *recorder) snapshot() (seen []string, durable LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen), r.durable
}

// temporary is an error that a retry may mend.
type temporary string

func (e temporary) Error() string { return string(e) }
func (temporary) Temporary() bool { return true }

// bench is a database with a table t(id, v), a publication and a slot named alike.
type bench struct {
	t     *testing.T
	dsn   string
	slot  string
	conn  *pgx.Conn
	trace Trace // for sources started from now on; Disconnected is the harness's
}

const benchSchema = `CREATE TABLE t (id int PRIMARY KEY, v text);
	CREATE TABLE other (id int PRIMARY KEY, v text)`

func newBench(t *testing.T) *bench { return newBenchAt(t, pgtest.Database(t)) }

func newBenchAt(t *testing.T, dsn string) *bench {
	t.Helper()
	pgtest.Exec(t, dsn, benchSchema)
	b := &bench{t: t, dsn: dsn, conn: pgtest.Connect(t, dsn)}
	b.slot = "s_" + b.text("SELECT current_database()")
	b.exec("CREATE PUBLICATION " + quoteIdent(b.slot) + " FOR TABLE t")
	b.exec(createSlotSQL(b.slot, false))
	return b
}

func (b *bench) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.conn.Exec(context.Background(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func (b *bench) text(sql string, args ...any) string {
	b.t.Helper()
	var s *string
	if err := b.conn.QueryRow(context.Background(), sql, args...).Scan(&s); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	if s == nil {
		return ""
	}
	return *s
}

func (b *bench) lsn(sql string, args ...any) LSN {
	b.t.Helper()
	var l LSN
	if err := l.Scan(b.text(sql, args...)); err != nil {
		b.t.Fatal(err)
	}
	return l
}

func (b *bench) confirmed() LSN {
	b.t.Helper()
	return b.lsn("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", b.slot)
}

// config is quick enough for tests.
func (b *bench) config() SourceConfig {
	return SourceConfig{
		DSN: b.dsn, Slot: b.slot, Publication: b.slot, FromSlot: true,
		ConfirmInterval: 10 * time.Millisecond, StatusInterval: time.Second, IdleAdvance: time.Hour,
		ReconnectMin: 20 * time.Millisecond, ReconnectMax: 200 * time.Millisecond,
		KickedMin: 20 * time.Millisecond, KickedMax: 50 * time.Millisecond, RetryMin: 5 * time.Millisecond, RetryMax: 20 * time.Millisecond,
	}
}

// running is a source that runs in the background.
type running struct {
	*Source
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
	lost   chan error // errors of the connection
}

// start runs a source until stop, or the end of the test.
func (b *bench) start(h Handler, from LSN, change ...func(*SourceConfig)) *running {
	b.t.Helper()
	leaks := goleak.IgnoreCurrent()
	cfg := b.config()
	for _, f := range change {
		f(&cfg)
	}
	r := &running{t: b.t, done: make(chan error, 1), lost: make(chan error, 1000)}
	trace := b.trace
	trace.Disconnected = func(err error, _ time.Duration) {
		select {
		case r.lost <- err:
		default:
		}
	}
	r.Source = NewSource(cfg, h, wantNet, trace)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.done <- r.Run(ctx, from) }()
	b.t.Cleanup(func() {
		cancel()
		if !r.ended() {
			if err := r.wait(); err != nil && !b.t.Failed() {
				b.t.Errorf("source: %v", err)
			}
		}
		goleak.VerifyNone(b.t, leaks, goleak.IgnoreAnyFunction("walhook/internal/pgserver.(*Server).launch.func1"),
			goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"), goleak.IgnoreAnyFunction("walhook/cdc.forward"))
	})
	return r
}

func (r *running) ended() bool { return r.done == nil }

// wait returns what Run returned.
func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done = nil
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatal("the source does not end")
		return nil
	}
}

// stop ends it in an orderly way.
func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := r.wait(); err != nil {
		r.t.Fatalf("stop: %v", err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// connected waits until it streams.
func (r *running) connected() {
	r.t.Helper()
	until(r.t, "connected", func() bool { return r.Progress().Connected })
}

// sees waits until exactly these changes have been handled, in order.
func (r *recorder) sees(t *testing.T, want ...string) {
	t.Helper()
	var seen []string
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if seen, _ = r.snapshot(); slices.Equal(seen, want) {
			return
		}
		if time.Now().After(end) || len(seen) > len(want) {
			t.Fatalf("saw %q\nwant %q", seen, want)
		}
	}
}

func creates(from, to int) (s []string) {
	for i := from; i <= to; i++ {
		s = append(s, fmt.Sprintf("create %d", i))
	}
	return s
}

// ownServer starts a server for this test alone.
func ownServer(t *testing.T, settings map[string]string) *pgserver.Server {
	t.Helper()
	all := map[string]string{"fsync": "off", "shared_buffers": "32MB", "autovacuum": "off"}
	for k, v := range settings {
		all[k] = v
	}
	s := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: all})
	return s
}

// reconnect replaces the connection of the bench after a restart of the server.
func (b *bench) reconnect() {
	b.t.Helper()
	b.conn = pgtest.Connect(b.t, b.dsn)
}

func contains(s, part string) bool { return strings.Contains(s, part) }
