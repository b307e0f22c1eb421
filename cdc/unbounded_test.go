package cdc

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/internal/pgtest"
)

// newerLimits are the limits of [unbounded] that the server knows.
func newerLimits(t *testing.T) []string {
	t.Helper()
	pgtest.Needs(t, 14, "idle_session_timeout")
	if pgtest.Server(t).Major() < 17 {
		return []string{"idle_session_timeout"}
	}
	return []string{"idle_session_timeout", "transaction_timeout"}
}

// No limit that newer servers have ends a session, whatever the database's defaults are.
func TestSessionsAreUnbounded(t *testing.T) {
	limits := newerLimits(t)
	b := newBench(t)
	for _, name := range limits {
		b.exec("ALTER DATABASE " + quoteIdent(b.text("SELECT current_database()")) + " SET " + name + " = '1min'")
	}
	replication, err := replicationConfig(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	ordinary, err := parseDSN(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	for kind, cfg := range map[string]*pgconn.Config{"replication": replication, "ordinary": &ordinary.Config} {
		pg, err := pgconn.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range limits {
			if rows, err := simpleQuery(t.Context(), pg, "SHOW "+name); err != nil || string(rows[0][0]) != "0" {
				t.Errorf("%s: %s is %q, %v", kind, name, rows, err)
			}
		}
		if err := pg.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// A transaction that takes the server longer to send than any of the database's may last.
func TestTransactionTimeout(t *testing.T) {
	pgtest.Needs(t, 17, "transaction_timeout")
	b := newBench(t)
	const rows = 200_000
	b.exec("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, $1::int) i", rows)
	b.exec("ALTER DATABASE " + quoteIdent(b.text("SELECT current_database()")) + " SET transaction_timeout = '20ms'")
	rec := &recorder{}
	r := b.start(rec, 0)
	until(t, "the transaction", func() bool { seen, _ := rec.snapshot(); return len(seen) == rows })
	if n := len(r.lost); n != 0 {
		t.Errorf("the session was ended %d times", n)
	}
}
