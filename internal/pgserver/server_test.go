package pgserver

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func query(t *testing.T, s *Server, sql string) string {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var out string
	if err := conn.QueryRow(ctx, sql).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestServerLifecycle(t *testing.T) {
	ctx := context.Background()
	s, err := Start(ctx, Options{Settings: map[string]string{"work_mem": "5MB"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, s, "SHOW wal_level") + query(t, s, "SHOW work_mem"); got != "logical5MB" {
		t.Errorf("settings: %s", got)
	}
	port := s.Port()
	for _, mode := range []string{"fast", "immediate"} {
		if err := s.Restart(ctx, mode); err != nil {
			t.Fatalf("restart %s: %v", mode, err)
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Resume(ctx); err != nil {
		t.Fatalf("resume after kill: %v", err)
	}
	if s.Port() != port || query(t, s, "SELECT 'up'") != "up" {
		t.Errorf("port %d became %d", port, s.Port())
	}
	dir := s.DataDir()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestBadSettingIsExplained(t *testing.T) {
	_, err := Start(context.Background(), Options{Settings: map[string]string{"wal_level": "nonsense"}})
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "wal_level") {
		t.Fatalf("want the server's own words, got %v", err)
	}
}

func TestProgramsFromTheEnvironment(t *testing.T) {
	t.Setenv("WALHOOK_PG_BIN", t.TempDir())
	_, err := Start(context.Background(), Options{})
	var e *Error
	if !errors.As(err, &e) || e.Hint() == "" || !strings.Contains(err.Error(), "WALHOOK_PG_BIN") {
		t.Fatalf("an empty directory was taken: %v", err)
	}
}

func TestVersions(t *testing.T) {
	for path, want := range map[string]int{"/usr/lib/postgresql/15/bin": 15, "/usr/pgsql-9/bin": 9, "/usr/local/pgsql/bin": 0} {
		if got := versionIn(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for out, want := range map[string]int{"postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)": 15, "postgres (PostgreSQL) 18beta1": 18, "no": 0} {
		if got, err := parseVersion(out); got != want || (err != nil) != (want == 0) {
			t.Errorf("%s: %d, %v", out, got, err)
		}
	}
}

func TestOccupiedDirectoryIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/precious", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(context.Background(), Options{Dir: dir}); err == nil {
		t.Fatal("a directory with files in it was taken for a cluster")
	}
	if _, err := os.Stat(dir + "/precious"); err != nil {
		t.Fatal(err)
	}
}
