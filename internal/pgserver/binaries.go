//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MinimumVersion is the oldest major version of PostgreSQL that is used.
const MinimumVersion = 12

// programs are what a directory must hold to be used.
var programs = []string{"initdb", "postgres"}

// places are where distributions put PostgreSQL's programs when not in PATH.
var places = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // the PostgreSQL project's RPMs
	"/usr/lib/postgresql*/bin",          // SUSE
	"/usr/libexec/postgresql*",          // Alpine
	"/usr/local/pgsql/bin",              // built from source
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/opt/local/lib/postgresql*/bin", // MacPorts
}

// binaries is a directory of programs that were seen to run.
type binaries struct {
	dir   string
	major int
}

// findBinaries looks in the places of Options.Bin's comment, the download excepted.
// It returns nil when there is nothing, and an error when a directory that the
// caller named cannot be used.
func (o Options) findBinaries(ctx context.Context, a account) (*binaries, error) {
	named, by := o.Bin, "the directory"
	if named == "" {
		named, by = os.Getenv("WALHOOK_PG_BIN"), "WALHOOK_PG_BIN"
	}
	if named != "" {
		found, err := probe(ctx, a, named)
		if err != nil {
			return nil, &Error{
				Message: fmt.Sprintf("cannot use PostgreSQL in %s (%s)", named, by), Err: err,
				hint: "name the directory that holds initdb and postgres, for example WALHOOK_PG_BIN=/usr/lib/postgresql/17/bin",
			}
		}
		return found, nil
	}
	for _, dir := range slices.Concat(filepath.SplitList(os.Getenv("PATH")), installed(places)) {
		if found, err := probe(ctx, a, dir); err == nil {
			return found, nil
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, nil
}

// installed expands the patterns; of each pattern the newest version comes first.
func installed(patterns []string) []string {
	var dirs []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			continue // only a malformed pattern fails
		}
		slices.SortStableFunc(matches, func(a, b string) int { return versionIn(b) - versionIn(a) })
		dirs = append(dirs, matches...)
	}
	return dirs
}

// versionIn is the first number in a path, as in /usr/lib/postgresql/17/bin.
func versionIn(path string) int {
	start := strings.IndexAny(path, "0123456789")
	if start < 0 {
		return 0
	}
	end := start
	for end < len(path) && path[end] >= '0' && path[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(path[start:end])
	if err != nil {
		return 0
	}
	return n
}

// probe tells whether dir holds the programs and the account may run them.
func probe(ctx context.Context, a account, dir string) (*binaries, error) {
	if dir == "" {
		return nil, errors.New("no directory")
	}
	for _, program := range programs {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", program, err)
		}
		if info.IsDir() {
			return nil, fmt.Errorf("find %s: is a directory", program)
		}
	}
	// The programs' neighbours (psql, pg_dump) stand where the link points to.
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		return nil, fmt.Errorf("follow postgres: %w", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(real), "initdb")); err == nil {
		dir = filepath.Dir(real)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}

	cmd := a.command(ctx, "/", filepath.Join(dir, "postgres"), "--version")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("run postgres --version%s: %w", a.as(), err)
	}
	major, err := parseVersion(string(out))
	if err != nil {
		return nil, err
	}
	if major < MinimumVersion {
		return nil, fmt.Errorf("PostgreSQL %d is too old, %d or newer is needed", major, MinimumVersion)
	}
	return &binaries{dir: dir, major: major}, nil
}

// parseVersion reads "postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)" or "… 18beta1".
func parseVersion(out string) (int, error) {
	_, rest, found := strings.Cut(out, "(PostgreSQL) ")
	if !found {
		return 0, fmt.Errorf("read version: %q", strings.TrimSpace(out))
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	major, err := strconv.Atoi(rest[:end])
	if err != nil {
		return 0, fmt.Errorf("read version: %q", strings.TrimSpace(out))
	}
	return major, nil
}

// as names the account in messages.
func (a account) as() string {
	if !a.other {
		return ""
	}
	return " as user " + a.name
}
