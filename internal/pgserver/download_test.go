//go:build unix

package pgserver

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ulikunitz/xz"
)

// repository is a Maven repository with one artifact, in the form in which PostgreSQL's programs
// are published: a jar with a .txz in it.
type repository struct {
	*httptest.Server
	jar      []byte
	checksum string
	jars     atomic.Int32 // times that the jar was asked for
}

// newRepository serves programs that are shell scripts.
func newRepository(t *testing.T, programs map[string]string) *repository {
	t.Helper()
	var txz bytes.Buffer
	x, err := xz.NewWriter(&txz)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(x)
	for name, script := range programs {
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(script))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(script)); err != nil {
			t.Fatal(err)
		}
	}
	var jar bytes.Buffer
	z := zip.NewWriter(&jar)
	entry, closeErr := z.Create("postgres-test-x86_64.txz")
	if err := errors.Join(archive.Close(), x.Close(), closeErr); err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Write(txz.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(jar.Bytes())
	r := &repository{jar: jar.Bytes(), checksum: hex.EncodeToString(sum[:])}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case !strings.HasPrefix(req.URL.Path, "/mirror/io/zonky/test/postgres/embedded-postgres-binaries-") || !strings.Contains(req.URL.Path, "/17.5.0/"):
			http.NotFound(w, req)
		case strings.HasSuffix(req.URL.Path, ".jar.sha256"):
			_, _ = w.Write([]byte(r.checksum))
		case strings.HasSuffix(req.URL.Path, ".jar"):
			r.jars.Add(1)
			_, _ = w.Write(r.jar)
		default:
			http.NotFound(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

var scripts = map[string]string{
	"bin/postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) 17.5'\n",
	"bin/initdb":   "#!/bin/sh\nexit 1\n",
	"bin/pg_ctl":   "#!/bin/sh\nexit 1\n",
}

// cacheFor is a directory that the server's account can reach, which t.TempDir is not for others.
func cacheFor(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "walhook-cache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "walhook")
}

func testAccount(t *testing.T) account {
	t.Helper()
	a, err := serverAccount()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestDownloadOnce(t *testing.T) {
	r := newRepository(t, scripts)
	o := Options{Repository: r.URL + "/mirror", Version: "17.5.0", CacheDir: cacheFor(t)}
	for range 2 {
		found, err := o.download(context.Background(), testAccount(t))
		if err != nil {
			t.Fatal(err)
		}
		if found.major != 17 || !strings.HasPrefix(found.dir, o.CacheDir) {
			t.Errorf("found version %d in %s", found.major, found.dir)
		}
	}
	if n := r.jars.Load(); n != 1 {
		t.Errorf("downloaded %d times", n)
	}
	left, err := filepath.Glob(filepath.Join(o.CacheDir, "scratch-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	o.Offline = true
	if _, err := o.download(context.Background(), testAccount(t)); err != nil {
		t.Errorf("offline, what was downloaded before is not used: %v", err)
	}
}

func TestDownloadFromTheEnvironmentsRepository(t *testing.T) {
	r := newRepository(t, scripts)
	t.Setenv("WALHOOK_PG_REPOSITORY", r.URL+"/mirror")
	if _, err := (Options{Version: "17.5.0", CacheDir: cacheFor(t)}).download(context.Background(), testAccount(t)); err != nil {
		t.Fatal(err)
	}
}

func TestDownloadFailures(t *testing.T) {
	r := newRepository(t, scripts)
	tampered := newRepository(t, scripts)
	tampered.checksum = strings.Repeat("0", 64)
	partial := newRepository(t, map[string]string{"bin/postgres": scripts["bin/postgres"], "bin/pg_ctl": scripts["bin/pg_ctl"]})
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, c := range map[string]struct {
		options Options
		want    string
	}{
		"offline":         {Options{Offline: true}, "no PostgreSQL programs on this machine"},
		"unknown version": {Options{Repository: r.URL + "/mirror", Version: "17.99.0"}, "17.99.0"},
		"unreachable":     {Options{Repository: gone.URL}, gone.URL},
		"tampered":        {Options{Repository: tampered.URL + "/mirror", Version: "17.5.0"}, "checksum"},
		"incomplete":      {Options{Repository: partial.URL + "/mirror", Version: "17.5.0"}, "initdb"},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.CacheDir = cacheFor(t)
			_, err := c.options.download(context.Background(), testAccount(t))
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("want an error with %q, got %v", c.want, err)
			}
			if !strings.Contains(e.Hint(), "WALHOOK_PG_BIN") {
				t.Errorf("hint: %q", e.Hint())
			}
			homes, err := filepath.Glob(filepath.Join(c.options.CacheDir, "postgresql-*"))
			if err != nil || len(homes) > 0 {
				t.Errorf("left in the cache: %v, %v", homes, err)
			}
		})
	}
}

func TestDownloadCanBeCancelled(t *testing.T) {
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer hanging.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := (Options{Repository: hanging.URL, CacheDir: cacheFor(t)}).download(ctx, testAccount(t))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want the context's error, got %v", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}
