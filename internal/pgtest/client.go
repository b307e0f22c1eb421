package pgtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"walhook/internal/pgserver"
)

// Client finds one of PostgreSQL's client programs: beside the server, or in PATH, since a downloaded server comes without. The test is
// skipped where there is none that works with the server.
func Client(t testing.TB, s *pgserver.Server, name string) string {
	t.Helper()
	path := FindClient(s, name)
	if path == "" {
		t.Skipf("no %s for PostgreSQL %d in %s or PATH: install PostgreSQL's client programs", name, s.Major(), s.Bin())
	}
	return path
}

// FindClient is [Client] for those who do not want to skip: it returns "" when there is no such program. All but psql refuse a
// server that is newer than themselves.
func FindClient(s *pgserver.Server, name string) string {
	own := filepath.Join(s.Bin(), name)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil {
		return ""
	}
	major, _ := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(string(out))) // 0 is too old
	if name != "psql" && major < s.Major() {
		return ""
	}
	return path
}
