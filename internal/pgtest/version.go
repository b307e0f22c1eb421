package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Needs skips a test of something that servers have only from a major version on.
func Needs(t testing.TB, major int, what string) {
	t.Helper()
	if have := Server(t).Major(); have < major {
		t.Skipf("%s: needs PostgreSQL %d", what, major)
	}
}

// DropDatabase drops a database that sessions may be in: before PostgreSQL 13 there is no DROP DATABASE … WITH (FORCE).
func DropDatabase(t testing.TB, admin, name string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), admin)
	if err != nil {
		t.Fatalf("drop database %s: %v", name, err)
	}
	defer conn.Close(context.Background())
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := conn.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
		if err == nil {
			_, err = conn.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name)
		}
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Errorf("drop database %s: %v", name, err)
			return
		}
	}
}
