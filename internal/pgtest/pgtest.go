package pgtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgserver"
)

var cluster struct {
	once   sync.Once
	server *pgserver.Server
	err    error
	serial atomic.Int64
}

// Main is the body of a TestMain: it runs the tests, then what the caller wants done at the end, then removes the cluster.
func Main(m *testing.M, after ...func()) {
	code := m.Run()
	for _, f := range after {
		f()
	}
	if cluster.server != nil {
		if err := cluster.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "remove the test cluster:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// patience is how long a server may take to be made and to start: a limit for machines that are busy, not an expectation.
const patience = 3 * time.Minute

// Server returns the test binary's cluster, started on first use. It doesn't sync to disk.
func Server(t testing.TB) *pgserver.Server {
	t.Helper()
	cluster.once.Do(func() {
		cluster.server, cluster.err = pgserver.Start(context.Background(), pgserver.Options{Trust: true, StartTimeout: patience, Settings: map[string]string{
			"max_wal_senders": "50", "max_replication_slots": "50", "max_connections": "200", "shared_buffers": "64MB",
			"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "autovacuum_naptime": "1h",
		}})
	})
	if cluster.err != nil {
		t.Fatalf("start a PostgreSQL for tests: %v", cluster.err)
	}
	return cluster.server
}

// Cluster starts a server for one test alone, which may restart, fill or kill it. It is removed at the end of the test.
func Cluster(t testing.TB, opts pgserver.Options) *pgserver.Server {
	t.Helper()
	opts.StartTimeout = max(opts.StartTimeout, patience)
	s, err := pgserver.Start(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Database makes an empty database and returns a DSN of the superuser. The database goes
// at the end of the test, with its slots and sessions.
func Database(t testing.TB) string {
	t.Helper()
	return create(t, "")
}

func create(t testing.TB, template string) string {
	t.Helper()
	s := Server(t)
	name := fmt.Sprintf("t%d", cluster.serial.Add(1))
	sql := "CREATE DATABASE " + name
	if template != "" {
		sql += " TEMPLATE " + template
		if s.Major() >= 15 {
			sql += " STRATEGY FILE_COPY" // four times faster, and does not flood the WAL that tests read
		}
	}
	Exec(t, s.DSN("postgres"), sql)
	t.Cleanup(func() { drop(t, s, name) })
	return s.DSN(name)
}

// drop ends the sessions of a database, drops its slots, then itself. An
// ended walsender holds its slot for a moment.
func drop(t testing.TB, s *pgserver.Server, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Errorf("drop database %s: %v", name, err)
		return
	}
	defer conn.Close(ctx)
	for _, sql := range []string{
		"ALTER DATABASE " + name + " CONNECTION LIMIT 0",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + name + "'",
		"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '" + name + "'",
		"DROP DATABASE " + name,
	} {
		for try := 0; ; try++ {
			if _, err = conn.Exec(ctx, sql); err == nil {
				break
			}
			if try == 100 || ctx.Err() != nil {
				t.Errorf("drop database %s: %v", name, err)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// Exec runs SQL, which may be several statements.
func Exec(t testing.TB, dsn, sql string) {
	t.Helper()
	conn := Connect(t, dsn)
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Connect opens a connection that is closed at the end of the test.
func Connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
