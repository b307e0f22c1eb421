package cdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestInvariant1Confirm compares, through restarts and checkpoints, what the server was told
// with what the handler has made durable (trap 1).
func TestInvariant1Confirm(t *testing.T) {
	b := newBench(t)
	rec := &recorder{}
	var from LSN
	for round := range 4 {
		r := b.start(rec, from)
		r.connected()
		for i := range 7 {
			b.exec("INSERT INTO t VALUES ($1, repeat('x', 2000))", round*10+i)
		}
		b.exec("UPDATE t SET v = v || 'y' WHERE id = $1", round*10) // full-page image after the checkpoint
		until(t, "handled", func() bool { seen, _ := rec.snapshot(); return len(seen) == (round+1)*8 })
		_, durable := rec.snapshot()
		until(t, "confirmed", func() bool { return r.Progress().Confirmed == durable })
		r.stop()
		_, durable = rec.snapshot() // the stop persists what the server said since
		if got := b.confirmed(); got != durable {
			t.Fatalf("round %d: confirmed_flush_lsn is %s, durable is %s", round, got, durable)
		}
		if end := b.lsn("SELECT pg_current_wal_lsn()::text"); durable > end {
			t.Fatalf("round %d: confirmed %s, beyond the end of WAL %s", round, durable, end)
		}
		b.exec("CHECKPOINT")
		from = durable
	}
	seen, _ := rec.snapshot()
	var want []string
	for round := range 4 {
		for i := range 7 {
			want = append(want, fmt.Sprintf("create %d", round*10+i))
		}
		want = append(want, fmt.Sprintf("write %d", round*10))
	}
	if !slices.Equal(seen, want) {
		t.Errorf("saw %q\nwant %q", seen, want)
	}
	if !slices.IsSorted(rec.ends) {
		t.Errorf("out of order: %v", rec.ends)
	}
}

// TestInvariant1LastTransaction kills the source without an orderly stop, right behind a batch: the
// slot stands exactly at its end, not a byte further, and nothing is lost.
func TestInvariant1LastTransaction(t *testing.T) {
	b := newBench(t)
	rec := &recorder{advance: func(context.Context, LSN) error { return temporary("no advance") }}
	r := b.start(rec, 0)
	r.connected()
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	_, durable := rec.snapshot()
	until(t, "confirmed", func() bool { return b.confirmed() == durable })
	if durable != rec.ends[0] {
		t.Fatalf("durable %s, the transaction ends at %s", durable, rec.ends[0])
	}
	r.stop()
	b.exec("INSERT INTO t VALUES (2)")
	b.start(rec, durable)
	rec.sees(t, "create 1", "create 2")
}

func TestIdleAdvance(t *testing.T) {
	b := newBench(t)
	rec := &recorder{lazy: true}
	r := b.start(rec, 0, func(c *SourceConfig) { c.IdleAdvance = 300 * time.Millisecond })
	r.connected()
	start := b.confirmed()
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	got := b.confirmed()
	if _, durable := rec.snapshot(); got > max(start, durable) { // on a busy machine the advance may have come by now
		t.Errorf("confirmed %s, durable is %s", got, durable)
	}
	until(t, "advance", func() bool { _, d := rec.snapshot(); return d >= rec.ends[0] })
	// WAL of tables that nobody watches moves the position too.
	b.exec("INSERT INTO other SELECT n, 'x' FROM generate_series(1, 1000) n")
	end := b.lsn("SELECT pg_current_wal_insert_lsn()::text")
	began := time.Now()
	until(t, "confirmed to the end", func() bool { return b.confirmed() >= end })
	rec.mu.Lock()
	advances := len(rec.advances)
	rec.mu.Unlock()
	if most := int(time.Since(began)/(300*time.Millisecond)) + 3; advances > most {
		t.Errorf("%d advances, at most %d were due", advances, most)
	}
	r.stop()
	if _, durable := rec.snapshot(); b.confirmed() != durable {
		t.Errorf("confirmed %s, durable %s", b.confirmed(), durable)
	}
}

// Much WAL that nobody watches is confirmed long before idle progress is due by time: the slot must not keep it.
func TestIdleAdvanceByBytes(t *testing.T) {
	b := newBench(t)
	rec := &recorder{}
	r := b.start(rec, 0) // idle progress is due in an hour
	r.connected()
	b.exec("INSERT INTO t VALUES (1)")
	rec.sees(t, "create 1")
	b.exec("SELECT pg_logical_emit_message(false, 'unwatched', repeat('x', 1 << 20)) FROM generate_series(1, 40)")
	end := b.lsn("SELECT pg_current_wal_insert_lsn()::text")
	until(t, "confirmed by bytes", func() bool { return b.confirmed()+advanceBytes >= end })
}

func TestHandlerRetries(t *testing.T) {
	b := newBench(t)
	rec := &recorder{before: func(_ context.Context, n int) error {
		if n%4 != 0 {
			return fmt.Errorf("commit: %w", temporary("state is away"))
		}
		return nil
	}}
	r := b.start(rec, 0)
	r.connected()
	pid := r.Progress().Session.PID
	for i := 1; i <= 5; i++ {
		b.exec("INSERT INTO t VALUES ($1)", i)
	}
	rec.sees(t, creates(1, 5)...)
	if p := r.Progress(); p.Session.PID != pid || p.LastError == "" {
		t.Errorf("lost the connection, or the error: %+v", p)
	}
}

func TestHandlerFails(t *testing.T) {
	b := newBench(t)
	broken := errors.New("superseded")
	r := b.start(&recorder{before: func(context.Context, int) error { return broken }}, 0)
	r.connected()
	start := b.confirmed()
	b.exec("INSERT INTO t VALUES (1)")
	if err := r.wait(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if got := b.confirmed(); got != start {
		t.Errorf("confirmed %s after a failure, was %s", got, start)
	}
}

// A handler that returns a position past what it was given would lose what comes in between.
func TestInvariant1HandlerOvershoots(t *testing.T) {
	b := newBench(t)
	r := b.start(overshooting{}, 0)
	r.connected()
	start := b.confirmed()
	b.exec("INSERT INTO t VALUES (1)")
	if err := r.wait(); err == nil {
		t.Error("no error")
	}
	if got := b.confirmed(); got != start {
		t.Errorf("confirmed %s", got)
	}
}

type overshooting struct{}

func (overshooting) Handle(_ context.Context, txs []*Tx) (LSN, error) {
	return txs[len(txs)-1].EndLSN + 1, nil
}
func (overshooting) Advance(_ context.Context, lsn LSN) (LSN, error) { return lsn, nil }

func TestOrderlyStop(t *testing.T) {
	b := newBench(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	rec := &recorder{before: func(ctx context.Context, n int) error {
		if n == 1 {
			close(entered)
			select {
			case <-leave:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}}
	r := b.start(rec, 0)
	r.connected()
	b.exec("INSERT INTO t VALUES (1)")
	<-entered
	b.exec("INSERT INTO t VALUES (2)") // will be queued, not handled
	until(t, "queued", func() bool { return r.Progress().InFlight == 2 })
	r.cancel()
	time.Sleep(50 * time.Millisecond)
	close(leave)
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	rec.sees(t, "create 1")
	if got := b.confirmed(); got != rec.ends[0] {
		t.Errorf("confirmed %s, want the end of the batch in flight %s", got, rec.ends[0])
	}
	if pid := b.text("SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = $1", b.slot); pid != "" {
		t.Errorf("the slot is still in use by %s", pid)
	}
	_, from := rec.snapshot()
	b.start(rec, from)
	rec.sees(t, "create 1", "create 2")
}

func TestStopGrace(t *testing.T) {
	b := newBench(t)
	entered := make(chan struct{})
	rec := &recorder{before: func(ctx context.Context, n int) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}}
	r := b.start(rec, 0, func(c *SourceConfig) { c.StopGrace = 100 * time.Millisecond })
	r.connected()
	start := b.confirmed()
	b.exec("INSERT INTO t VALUES (1)")
	<-entered
	r.stop()
	if got := b.confirmed(); got != start {
		t.Errorf("confirmed %s although nothing was handled", got)
	}
}

func TestInvariant9BoundedQueue(t *testing.T) {
	b := newBench(t)
	leave := make(chan struct{})
	rec := &recorder{before: func(context.Context, int) error { <-leave; return nil }}
	r := b.start(rec, 0, func(c *SourceConfig) { c.QueueTransactions, c.BatchTransactions = 10, 4 })
	r.connected()
	for i := 1; i <= 100; i++ {
		b.exec("INSERT INTO t VALUES ($1)", i)
	}
	until(t, "blocked", func() bool { return r.Progress().Blocked })
	time.Sleep(50 * time.Millisecond)
	p := r.Progress()
	if p.InFlight != 10 {
		t.Errorf("%d transactions in flight, the limit is 10", p.InFlight)
	}
	if lag, age := p.Lag(time.Now()); lag == 0 || age <= 0 {
		t.Errorf("lag %d bytes, %s", lag, age)
	}
	close(leave)
	rec.sees(t, creates(1, 100)...)
	until(t, "caught up", func() bool { _, age := r.Progress().Lag(time.Now()); return age == 0 })
	if p := r.Progress(); p.InFlight != 0 || p.Bytes != 0 || p.Transactions != 100 {
		t.Errorf("after all was handled: %+v", p)
	}
}

// TestSpilledTransaction runs a transaction that does not fit into memory through the source.
func TestSpilledTransaction(t *testing.T) {
	b := newBench(t)
	rec := &recorder{}
	var spilled, truncated atomic.Int32
	b.trace.Spilled = func(*Tx) { spilled.Add(1) }
	b.trace.Truncated = func(rel *Relation, _ *Tx) {
		if rel.Name == "t" {
			truncated.Add(1)
		}
	}
	r := b.start(rec, 0, func(c *SourceConfig) { c.Limits = Limits{Memory: 64 << 10, TempDir: t.TempDir()} })
	r.connected()
	b.exec("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n")
	b.exec("TRUNCATE t")
	rec.sees(t, append(creates(1, 5000), "truncate")...)
	b.exec(`DO $$ BEGIN TRUNCATE t; INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n; END $$`)
	until(t, "the second one", func() bool { return r.Progress().Transactions == 3 })
	if spilled.Load() != 2 || truncated.Load() != 2 {
		t.Errorf("spilled %d, truncated %d", spilled.Load(), truncated.Load())
	}
}

func TestValidateSourceConfig(t *testing.T) {
	if err := (SourceConfig{DSN: "host=x", Slot: "walhook", Publication: "Walhook"}).Validate(); err != nil {
		t.Error(err)
	}
	err := SourceConfig{DSN: "://", Slot: "Walhook", StatusInterval: -1, QueueBytes: -1, Limits: Limits{Memory: -1}}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"source.dsn:", `source.slot: "Walhook"`, "source.publication:", "source.status_interval:", "limits of the queue", "memory:"} {
		if !contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
}
