package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// A newcomer leaves the demo running, types SQL, and ends it with Ctrl-C: nothing is left behind.
func TestDemoKeep(t *testing.T) {
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	out, in := io.Pipe()
	done := make(chan int, 1)
	var errs strings.Builder
	go func() {
		code := run(ctx, []string{"demo", "--keep"}, in, &errs)
		in.Close()
		done <- code
	}()
	lines := bufio.NewScanner(out)
	next := func(pattern string) string {
		t.Helper()
		re := regexp.MustCompile(pattern)
		for lines.Scan() {
			if m := re.FindStringSubmatch(lines.Text()); m != nil {
				return m[1]
			}
		}
		t.Fatalf("the demo did not print %s\n%s", pattern, errs.String())
		return ""
	}
	dsn := next(`psql '(.*)'$`)
	config := next(`walhook status --config (.*)$`)
	page := next(`^  (http://.*)$`)
	next(`(as they arrive)`)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "INSERT INTO res_partner (name, city, is_company) VALUES ('You', 'Here', false)"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(ctx); err != nil {
		t.Fatal(err)
	}
	next(`customer.created +res.partner/\d+ +(\{"name":"You")`)
	var status strings.Builder
	if code := run(ctx, []string{"status", "--config", config}, &status, io.Discard); code != exitOK || !strings.HasPrefix(status.String(), "ready") {
		t.Errorf("walhook status: %d %s", code, status.String())
	}
	response, err := http.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	go io.Copy(io.Discard, out)
	interrupt(errInterrupted)
	if code := <-done; code != exitOK {
		t.Errorf("status %d\n%s", code, errs.String())
	}
	if _, err := os.Stat(filepath.Dir(config)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the demo left its folder: %v", err)
	}
	if _, err := pgx.Connect(context.Background(), dsn); err == nil {
		t.Error("the demo left its server")
	}
}

// The first signal stops in order and waits for the request under way; a second one later than sameWish ends at once with 130.
func TestSecondSignal(t *testing.T) {
	asked, release := make(chan struct{}, 10), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer receiver.Close()
	defer close(release)
	dir := t.TempDir()
	env := map[string]string{"RECEIVER": receiver.URL}
	if err := provide(t, func(k, v string) { env[k] = v }, pgtest.Database(t), pgtest.Server(t)); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "walhook.toml")
	text := os.Expand("[source]\ndsn = \"$WALHOOK_DSN\"\nslot = \"$SLOT\"\n[http]\nlisten = \"off\"\n[endpoints.e]\nurl = \"$RECEIVER\"\n[[rules]]\nname = \"r\"\nmodel = \"res.partner\"\non = [\"create\"]\nendpoint = \"e\"\n",
		func(k string) string { return env[k] })
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	if code := run(t.Context(), []string{"setup", "--config", config, "--dsn", env["OWNER_DSN"]}, io.Discard, &errs); code != exitOK {
		t.Fatal(errs.String())
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "walhook")
	if err := os.Symlink(executable, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(link, "run", "--config", config, "--log-format", "json")
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, env["OWNER_DSN"], "INSERT INTO res_partner (name) VALUES ('A')")
	select {
	case <-asked:
	case <-time.After(20 * time.Second):
		t.Fatal("no request")
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	signal := func() {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	time.Sleep(sameWish / 10) // two signals at once may arrive as one
	signal()                  // timeout(1) signals the process and its group
	select {
	case err := <-ended:
		t.Fatalf("the first signal did not wait for the request: %v", err)
	case <-time.After(sameWish + 500*time.Millisecond):
	}
	signal()
	err = <-ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
		t.Errorf("the second signal: %v", err)
	}
	if !strings.Contains(log.String(), "ended at once by a second signal") {
		t.Errorf("it is not logged:\n%s", log.String())
	}
}
