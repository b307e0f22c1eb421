//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"

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
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache directory: %w", err)
	}
	// The library fetches, unpacks and then runs a server of its own. Only the first two are
	// wanted: where it can't run one (as root), the programs are there all the same.
	scratch, err := os.MkdirTemp(dir, "scratch-")
	if err != nil {
		return nil, fmt.Errorf("make a scratch directory: %w", err)
	}
	defer os.RemoveAll(scratch)
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config := embedded.DefaultConfig().Version(version).Port(uint32(port)).
		CachePath(filepath.Join(dir, "archives")).BinariesPath(home).
		RuntimePath(filepath.Join(scratch, "run")).DataPath(filepath.Join(scratch, "data")).
		Logger(io.Discard).StartTimeout(o.startTimeout()).
		BinaryRepositoryURL(cmp.Or(o.Repository, os.Getenv("WALHOOK_PG_REPOSITORY"), DefaultRepository))
	done := make(chan error, 1)
	go func() {
		server := embedded.NewDatabase(config)
		err := server.Start()
		if err == nil {
			err = server.Stop()
		}
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		return nil, ctx.Err() // the download goes on in the background until it ends or the process does
	}
	found, probeErr := probe(ctx, a, bin)
	if probeErr != nil {
		return nil, o.missing(cmp.Or(err, probeErr))
	}
	return found, nil
}

func (o Options) missing(err error) error {
	return &Error{
		Message: "no PostgreSQL programs on this machine, and none could be downloaded", Err: err,
		hint: "install PostgreSQL with your system's package manager (Debian, Ubuntu: apt-get install postgresql), or set WALHOOK_PG_BIN to the directory that holds initdb and postgres",
	}
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
