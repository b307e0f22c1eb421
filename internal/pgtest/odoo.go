package pgtest

import (
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// EnvOdoo names a directory with recorded Odoo databases; the default is shared/odoo beside the checkout.
const EnvOdoo = "WALHOOK_ODOO_DATA"

var templates struct {
	sync.Mutex
	made map[string]bool
}

// OdooFile returns the path of one of the recorded files, "18/workload.sql.gz". The test
// is skipped when the data is not on this machine: it is made by running Odoo and not part of walhook.
func OdooFile(t testing.TB, name string) string {
	t.Helper()
	path := odooPath(name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no recorded Odoo data at %s (set %s)", path, EnvOdoo)
	}
	return path
}

// Odoo returns the DSN of a fresh copy of a recorded Odoo database, "18" or "16".
func Odoo(t testing.TB, version string) string {
	t.Helper()
	dump := OdooFile(t, version+"/database.sql.gz")
	name := "odoo" + version
	templates.Lock()
	defer templates.Unlock()
	if !templates.made[name] {
		s := Server(t)
		Exec(t, s.DSN("postgres"), "CREATE DATABASE "+name)
		psql(t, s.DSN(name), dump)
		if templates.made == nil {
			templates.made = make(map[string]bool)
		}
		templates.made[name] = true
	}
	return create(t, name)
}

func odooPath(name string) string {
	dir := os.Getenv(EnvOdoo)
	if dir == "" {
		_, file, _, _ := runtime.Caller(0)
		dir = filepath.Join(filepath.Dir(file), "..", "..", "..", "shared", "odoo")
	}
	return filepath.Join(dir, name)
}

// HasOdoo says whether a recorded Odoo database is at hand.
func HasOdoo(version string) bool {
	_, err := os.Stat(odooPath(version + "/database.sql.gz"))
	return err == nil
}

// LoadOdoo fills an empty database of any server with a recorded one.
func LoadOdoo(t testing.TB, dsn, version string) {
	t.Helper()
	psql(t, dsn, OdooFile(t, version+"/database.sql.gz"))
}

// PlayWorkload repeats against a copy of a recorded database the transactions that Odoo
// committed, through psql.
func PlayWorkload(t testing.TB, version, dsn string) {
	t.Helper()
	psql(t, dsn, OdooFile(t, version+"/workload.sql.gz"))
}

// newerView is what PostgreSQL 12 and 13 say to views of a dump of a later version, whose extract() is numeric. These views stay empty;
// no test reads them.
const newerView = "cannot change data type of view column"

func psql(t testing.TB, dsn, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sql, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	stop := "1"
	if Server(t).Major() < 14 {
		stop = "0"
	}
	cmd := exec.Command(Client(t, Server(t), "psql"), "-qX", "-v", "ON_ERROR_STOP="+stop, "-d", dsn)
	cmd.Stdin = sql
	var out strings.Builder
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("play %s: %v\n%s", path, err, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "ERROR:") && !strings.Contains(line, newerView) {
			t.Fatalf("play %s: %s", path, line)
		}
	}
}
