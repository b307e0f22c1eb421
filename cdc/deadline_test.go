package cdc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestLiveSilent: the network swallows everything without closing anything. The look-up gives the connection up by itself and asks
// again over a new one.
func TestLiveSilent(t *testing.T) {
	b := newBench(t)
	cfg, err := parseDSN(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	proxy := newProxy(t, fmt.Sprintf("%s:%d", cfg.Host, cfg.Port))
	l := newLive(t, fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", cfg.User, proxy.Addr(), cfg.Database))
	if l.cfg.Tracer != Deadline(40*time.Second) {
		t.Fatalf("look-ups have no deadline of their own: %v", l.cfg.Tracer)
	}
	l.cfg.Tracer = Deadline(2 * time.Second)
	if h, err := l.Health(t.Context(), b.slot); err != nil || h.Slot == nil {
		t.Fatalf("%+v %v", h, err)
	}
	proxy.freeze()
	if h, err := l.Health(t.Context(), b.slot); err != nil || h.Slot == nil {
		t.Errorf("%+v %v", h, err)
	}
}

// TestDeadline: every way to run statements is bounded, and one that is in time leaves nothing behind.
func TestDeadline(t *testing.T) {
	b := newBench(t)
	cfg, err := parseDSN(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 2 * time.Second
	cfg.Tracer = Deadline(limit)
	ctx := context.Background()
	for name, f := range map[string]func(*pgx.Conn, string) error{
		"exec": func(c *pgx.Conn, sleep string) error { _, err := c.Exec(ctx, "SELECT pg_sleep("+sleep+")"); return err },
		"query": func(c *pgx.Conn, sleep string) error {
			rows, err := c.Query(ctx, "SELECT pg_sleep("+sleep+")")
			if err != nil {
				return err
			}
			rows.Close()
			return rows.Err()
		},
		"row": func(c *pgx.Conn, sleep string) error {
			var v any
			return c.QueryRow(ctx, "SELECT 1 FROM (SELECT pg_sleep("+sleep+")) s").Scan(&v)
		},
		"batch": func(c *pgx.Conn, sleep string) error {
			var batch pgx.Batch
			batch.Queue("SELECT 1")
			batch.Queue("SELECT pg_sleep(" + sleep + ")")
			return c.SendBatch(ctx, &batch).Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = closeConn(conn.PgConn()) }()
			if err := f(conn, "0"); err != nil {
				t.Errorf("in time: %v", err)
			}
			time.Sleep(limit + 100*time.Millisecond) // the deadline of what is over passes, and ends nothing
			if err := f(conn, "0"); err != nil {
				t.Errorf("in time again: %v", err)
			}
			if err := f(conn, "60"); !errors.Is(err, context.DeadlineExceeded) || !conn.IsClosed() {
				t.Errorf("%v, closed %v", err, conn.IsClosed())
			}
		})
	}
}
