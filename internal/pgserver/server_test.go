package pgserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
	if !errors.As(err, &e) || e.Output == "" {
		t.Fatalf("want the server's own words, got %v", err)
	}
}

func TestBinariesFromEnvironment(t *testing.T) {
	t.Setenv(EnvBin, t.TempDir())
	if dir, err := FindBinaries(); !errors.Is(err, ErrNoBinaries) {
		t.Errorf("an empty directory was taken: %s %v", dir, err)
	}
	dir := t.TempDir()
	for _, name := range []string{"initdb", "postgres"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(EnvBin, dir)
	if got, err := FindBinaries(); got != dir || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestVersionOfPath(t *testing.T) {
	for path, want := range map[string]int{"/usr/lib/postgresql/15/bin": 15, "/usr/pgsql-9/bin": 9, "/usr/local/pgsql/bin": 0} {
		if got := version(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
