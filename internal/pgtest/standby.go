package pgtest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"walhook/internal/pgserver"
)

// Standby makes a physical standby of a server, which streams through a replication slot of the given name. The primary is stopped for a
// moment, as it is copied as files: not every server's programs include pg_basebackup. It must let everybody replicate ([ReplicationHBA]).
func Standby(t testing.TB, primary *pgserver.Server, slot string, settings map[string]string) *pgserver.Server {
	t.Helper()
	Exec(t, primary.DSN("postgres"), fmt.Sprintf("SELECT pg_create_physical_replication_slot('%s', true)", slot))
	all := map[string]string{"hot_standby_feedback": "on", "primary_slot_name": slot, "wal_receiver_status_interval": "1s", "wal_retrieve_retry_interval": "200ms",
		"primary_conninfo": fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=postgres", primary.Port(), pgserver.Superuser)}
	maps.Copy(all, settings)
	s := Cluster(t, pgserver.Options{Trust: true, Settings: all, HBA: ReplicationHBA})
	ctx := context.Background()
	for _, stop := range []*pgserver.Server{s, primary} {
		if err := stop.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := os.ReadFile(filepath.Join(s.DataDir(), "postgresql.conf"))
	if err != nil {
		t.Fatal(err)
	}
	owner, err := os.Stat(s.DataDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"rm -rf", "cp -a " + primary.DataDir()} {
		if out, err := exec.Command("sh", "-c", command+" "+s.DataDir()).CombinedOutput(); err != nil {
			t.Fatalf("copy the primary: %v %s", err, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.DataDir(), "pg_replslot", slot)); err != nil { // a base backup has none either
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"postgresql.conf": conf, "standby.signal": nil} {
		path := filepath.Join(s.DataDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if as, ok := owner.Sys().(*syscall.Stat_t); ok {
			if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, start := range []*pgserver.Server{primary, s} {
		if err := start.Resume(ctx); err != nil {
			t.Fatal(err)
		}
	}
	Replayed(t, s, primary)
	return s
}

// Replayed waits until a standby has replayed what the primary has written.
func Replayed(t testing.TB, standby, primary *pgserver.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var end string
	if err := Connect(t, primary.DSN("postgres")).QueryRow(ctx, "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text").Scan(&end); err != nil {
		t.Fatal(err)
	}
	conn := Connect(t, standby.DSN("postgres"))
	for done := false; !done; time.Sleep(10 * time.Millisecond) {
		if err := conn.QueryRow(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)", end).Scan(&done); err != nil {
			t.Fatalf("wait for the standby: %v", err)
		}
	}
}

// ReplicationHBA lets everybody on this machine replicate.
var ReplicationHBA = []string{"host replication all 127.0.0.1/32 trust"}

// TwoHosts leads a DSN of one server to another one, too.
func TwoHosts(dsn string, one, other *pgserver.Server) string {
	host := fmt.Sprintf("127.0.0.1:%d", one.Port())
	return strings.Replace(dsn, host, host+fmt.Sprintf(",127.0.0.1:%d", other.Port()), 1)
}
