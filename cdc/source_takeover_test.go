package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// lingering is the session of a reader whose process stands still: it streams from the slot and answers nothing.
func (b *bench) lingering(group string) *pgconn.PgConn {
	b.t.Helper()
	cfg, err := replicationConfig(b.dsn)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg.RuntimeParams["application_name"] = streamName(group)
	pg, err := pgconn.ConnectConfig(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = pg.Close(context.Background()) })
	if _, err := startStream(b.t.Context(), pg, b.slot, b.slot, b.confirmed()); err != nil {
		b.t.Fatal(err)
	}
	return pg
}

// A session that a reader of the same state left behind is ended, and nothing of what it had not confirmed is lost.
func TestPredecessorIsEnded(t *testing.T) {
	b := newBench(t)
	old := b.lingering("g1")
	b.exec("INSERT INTO t VALUES (1)")
	var ended atomic.Int64
	b.trace.Ended = func(pid int) { ended.Store(int64(pid)) }
	asked := make(chan struct{}, 10)
	rec := &recorder{}
	r := b.start(rec, 0, func(c *SourceConfig) {
		c.Group = "g1"
		c.MayEnd = func(context.Context) error { asked <- struct{}{}; return nil }
	})
	rec.sees(t, "create 1")
	if got := ended.Load(); got != int64(old.PID()) || len(asked) != 1 {
		t.Errorf("ended session %d, want %d; asked %d times", got, old.PID(), len(asked))
	}
	if name := b.text("SELECT application_name FROM pg_stat_activity WHERE pid = $1", r.Progress().Session.PID); name != "walhook/stream/g1" {
		t.Errorf("the session is called %q", name)
	}
	r.stop()
}

// A session of anybody else is not ended, nor is any by a process that may not read.
func TestForeignSessionIsNotEnded(t *testing.T) {
	b := newBench(t)
	superseded := errors.New("another process reads")
	for name, tc := range map[string]struct {
		holder, group string
		may           error
		want          string
	}{
		"another state's": {"g2", "g1", nil, "streams from it"},
		"nobody's":        {"", "g1", nil, "streams from it"},
		"without a group": {"g1", "", nil, "streams from it"},
		"not the reader":  {"g1", "g1", superseded, "streams from it"},
	} {
		t.Run(name, func(t *testing.T) {
			inner := *b
			inner.t = t
			holder := inner.lingering(tc.holder)
			asked := make(chan struct{}, 100)
			r := inner.start(&recorder{}, 0, func(c *SourceConfig) {
				c.Group = tc.group
				c.MayEnd = func(context.Context) error { asked <- struct{}{}; return tc.may }
			})
			err := <-r.lost
			var slot *SlotError
			if !errors.As(err, &slot) || slot.Problem != SlotInUse || !strings.Contains(err.Error(), fmt.Sprintf("process %d of the server %s", holder.PID(), tc.want)) {
				t.Errorf("got %v", err)
			}
			if errors.Is(err, superseded) != (tc.may != nil) || len(asked) > 0 != (tc.may != nil) {
				t.Errorf("asked %d times, got %v", len(asked), err)
			}
			if n := inner.text("SELECT count(*)::text FROM pg_stat_activity WHERE pid = $1", holder.PID()); n != "1" {
				t.Error("the session is gone")
			}
			r.stop()
			if err := holder.Close(t.Context()); err != nil {
				t.Error(err)
			}
			until(t, "the slot to be free", func() bool {
				return inner.text("SELECT active::text FROM pg_replication_slots WHERE slot_name = $1", inner.slot) == "false"
			})
		})
	}
}
