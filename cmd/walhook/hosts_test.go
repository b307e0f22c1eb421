package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// Of several hosts in a DSN the commands mean the one that is no standby, as the stream does: a standby has no slot, and
// what a command would advise there loses changes.
func TestConnectPrefersThePrimary(t *testing.T) {
	t.Parallel()
	settings := map[string]string{"fsync": "off", "shared_buffers": "16MB"}
	standby := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: settings})
	primary := pgtest.Server(t)
	if err := standby.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	signal := filepath.Join(standby.DataDir(), "standby.signal")
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := standby.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := connect(t.Context(), "source.dsn", fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=postgres dbname=postgres sslmode=disable", standby.Port(), primary.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	var port int
	if err := conn.QueryRow(t.Context(), "SELECT inet_server_port()").Scan(&port); err != nil {
		t.Fatal(err)
	}
	if port != primary.Port() {
		t.Errorf("connected to the standby")
	}
}
