package acceptance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// bearerReceiver notes with which token each record came, by path.
type bearerReceiver struct {
	*httptest.Server
	mu   sync.Mutex
	got  map[string][]string // "path/record" → tokens
	hold chan struct{}       // requests for "held" rows wait for it
	held chan struct{}       // one has come
}

func newBearerReceiver(t *testing.T) *bearerReceiver {
	r := &bearerReceiver{got: map[string][]string{}, hold: make(chan struct{}), held: make(chan struct{}, 10)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // cut short: the sender counts it as no delivery
		}
		var event struct {
			Data struct {
				ID     json.Number
				Record struct{ Name string }
			}
		}
		if err := json.Unmarshal(body, &event); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if event.Data.Record.Name == "held" {
			r.held <- struct{}{}
			select {
			case <-r.hold:
			case <-req.Context().Done():
				return
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		key := req.URL.Path + "/" + event.Data.ID.String()
		r.got[key] = append(r.got[key], strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *bearerReceiver) of(path string, id int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[fmt.Sprintf("%s/%d", path, id)]
}

// reloadable is an installation whose configuration a test rewrites.
type reloadable struct {
	*installation
	head string
}

func installReloadable(t *testing.T, super, rest string) *reloadable {
	h := harness.Install(t, super, harness.Options{})
	head, err := os.ReadFile(h.Config)
	if err != nil {
		t.Fatal(err)
	}
	in := &reloadable{&installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}, string(head)}
	in.write(rest)
	in.must("setup", "--dsn", in.owner)
	return in
}

func (in *reloadable) write(rest string) {
	in.t.Helper()
	if err := os.WriteFile(in.config, []byte(in.head+rest), 0o600); err != nil {
		in.t.Fatal(err)
	}
}

// C8 and E2: a secret is changed under load. Nothing is lost, nothing is sent twice, a request under way is answered, and what is committed after
// the reload goes out with the new secret only.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	r := newBearerReceiver(t)
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE thing (id serial PRIMARY KEY, name text)")
	token := filepath.Join(t.TempDir(), "token")
	setToken := func(text string) {
		t.Helper()
		if err := os.WriteFile(token, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	setToken("token-0")
	config := func(more string) string {
		return fmt.Sprintf("[endpoints.a]\nurl = \"%s/a\"\nauth = { type = \"bearer\", token_file = %q }\n%s[[rules]]\nname = \"r\"\ntable = \"thing\"\non = [\"create\"]\nendpoint = \"a\"\n",
			r.URL, token, more)
	}
	in := installReloadable(t, super, config(""))
	p := in.run()
	conn := pgtest.Connect(t, super)
	insert := func(name string) (id int) {
		t.Helper()
		if err := conn.QueryRow(context.Background(), "INSERT INTO thing (name) VALUES ($1) RETURNING id", name).Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	held := insert("held")
	<-r.held

	writers, stop := sync.WaitGroup{}, make(chan struct{})
	for range 2 {
		writer := pgtest.Connect(t, super)
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(2 * time.Millisecond):
				}
				if _, err := writer.Exec(context.Background(), "INSERT INTO thing (name) VALUES ('x')"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	after := map[int]int{} // the first row after each reload → which one
	for n := range 3 {
		setToken(fmt.Sprintf("token-%d", n+1))
		if out := in.must("reload"); !strings.Contains(out, "has taken over the configuration") {
			t.Fatal(out)
		}
		after[insert("x")] = n + 1
	}
	last := insert("x")
	in.wait("the last row", 30*time.Second, func() bool { return len(r.of("/a", last)) > 0 }, p)
	if got := r.of("/a", held); got != nil {
		t.Errorf("the request that is held was answered: %q", got)
	}
	close(r.hold)
	close(stop)
	writers.Wait()
	in.drained(p, 30*time.Second)
	rows := insert("x")
	in.wait("the last row", 30*time.Second, func() bool { return len(r.of("/a", rows)) > 0 }, p)
	least := 0
	for id := 1; id <= rows; id++ {
		got := r.of("/a", id)
		if len(got) != 1 {
			t.Fatalf("row %d of %d arrived with %q: not once", id, rows, got)
		}
		var n int
		if _, err := fmt.Sscanf(got[0], "token-%d", &n); err != nil {
			t.Fatal(err)
		}
		least = max(least, after[id])
		if n < least {
			t.Errorf("row %d, committed after reload %d, came with %s", id, least, got[0])
		}
	}
	if got := r.of("/a", held)[0]; got != "token-0" {
		t.Errorf("the request under way was made again, with %s", got)
	}
	if out := in.must("deliveries", "list", "--json", "--limit", "5"); strings.Contains(out, `"attempts": 2`) {
		t.Errorf("a second attempt: %s", out)
	}
	if out, _ := in.walhook("status", "--json"); !strings.Contains(out, `"reloads": 3`) {
		t.Errorf("status: %s", out)
	}
	t.Logf("%d rows", rows)

	// Endpoints come, are switched off, and go; what waits for them is sent when they are back.
	second := func(active string) string {
		return fmt.Sprintf("[endpoints.b]\nurl = \"%s/b\"\nactive = %s\n[[rules]]\nname = \"second\"\ntable = \"thing\"\non = [\"create\"]\nendpoint = \"b\"\n", r.URL, active)
	}
	in.write(config(second("false")))
	in.must("reload")
	waits := insert("x")
	in.wait("the row at a", 30*time.Second, func() bool { return len(r.of("/a", waits)) == 1 }, p)
	in.write(config(second("true")))
	in.must("reload")
	in.wait("the row at b", 30*time.Second, func() bool { return len(r.of("/b", waits)) == 1 }, p)
	in.write(config(""))
	in.must("reload")
	alone := insert("x")
	in.wait("the row at a", 30*time.Second, func() bool { return len(r.of("/a", alone)) == 1 }, p)
	if got := r.of("/b", alone); got != nil {
		t.Errorf("a rule that is gone made a delivery: %q", got)
	}
}

// C8: what is wrong changes nothing, and is told where it is asked for: by the command, in the log and by status.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	r := newBearerReceiver(t)
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE thing (id serial PRIMARY KEY, name text); CREATE TABLE other (id serial PRIMARY KEY, name text)")
	good := fmt.Sprintf("[endpoints.a]\nurl = \"%s/a\"\n[[rules]]\nname = \"r\"\ntable = \"thing\"\non = [\"create\"]\nendpoint = \"a\"\n", r.URL)
	in := installReloadable(t, super, good)
	p := in.run()
	conn := pgtest.Connect(t, super)
	row := 0
	works := func(after string) {
		t.Helper()
		row++
		if _, err := conn.Exec(t.Context(), "INSERT INTO thing (name) VALUES ('x')"); err != nil {
			t.Fatal(err)
		}
		in.wait("the row after "+after, 30*time.Second, func() bool { return len(r.of("/a", row)) == 1 }, p)
	}
	works("the start")
	state := func() (c struct {
		Reloads int
		Error   string   `json:"reload_error"`
		Hint    string   `json:"reload_error_hint"`
		Restart []string `json:"restart_needed"`
	}) {
		t.Helper()
		resp, err := http.Get("http://" + in.listen + "/status") // the command would trip over the file itself
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var doc struct{ Configuration json.RawMessage }
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(doc.Configuration, &c); err != nil {
			t.Fatal(err)
		}
		return c
	}

	in.write(good + "[endpoints.b]\nulr = \"http://x/\"\n")
	if out, err := in.walhook("reload"); exitStatus(err) != 2 || !strings.Contains(out, `did you mean "url"?`) ||
		!strings.Contains(out, "nothing was reloaded: the running process goes on with the configuration before") {
		t.Errorf("%v: %s", err, out)
	}
	if got := state(); got.Reloads != 0 {
		t.Errorf("the process was bothered: %+v", got)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // as systemd does
		t.Fatal(err)
	}
	in.wait("the refusal", 30*time.Second, func() bool { return state().Error != "" }, p)
	if got := state(); got.Reloads != 1 || !strings.Contains(got.Error, `walhook.toml:`) || !strings.Contains(got.Error, `unknown key "ulr"`) || got.Hint == "" {
		t.Errorf("status: %+v", got)
	}
	in.write(good)
	if out, _ := in.walhook("status"); !strings.Contains(out, "the one before goes on") {
		t.Errorf("status: %s", out)
	}
	resp, err := http.Get("http://" + in.listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(text), "\nwalhook_config_last_reload_successful 0\n") {
		t.Errorf("metrics do not tell of the refusal: %v", err)
	}
	works("a mistake in the file")

	in.write(good + "[[rules]]\nname = \"o\"\ntable = \"other\"\non = [\"create\"]\nendpoint = \"a\"\n")
	out, err := in.walhook("reload")
	if exitStatus(err) != 1 || !strings.Contains(out, "walhook setup") {
		t.Errorf("a table that is not published: %v: %s", err, out)
	}
	works("a table that is not published")
	in.must("setup", "--dsn", in.owner)
	in.must("reload")
	if _, err := conn.Exec(t.Context(), "INSERT INTO other (id, name) VALUES (1000, 'x')"); err != nil {
		t.Fatal(err)
	}
	in.wait("the row of the new table", 30*time.Second, func() bool { return len(r.of("/a", 1000)) == 1 }, p)
	if got := state(); got.Error != "" || got.Reloads != 3 || got.Restart != nil {
		t.Errorf("status: %+v", got)
	}

	in.write(strings.Replace(good, "[endpoints.a]", "[state]\npool_size = 9\nretention = \"40d\"\n[log]\nlevel = \"warn\"\n[endpoints.a]", 1))
	if out := in.must("reload"); !strings.Contains(out, "state.retention, state.pool_size, log.level") {
		t.Errorf("keys that need a restart: %s", out)
	}
	works("a change that needs a restart")
	if out, err := in.walhook("reload", "--pid", fmt.Sprint(p.cmd.Process.Pid)); err != nil || !strings.Contains(out, "was asked to reload") {
		t.Errorf("--pid: %v: %s", err, out)
	}
	in.wait("the reload", 30*time.Second, func() bool { return state().Reloads == 5 }, p)
	works("a reload by number")
	in.stop(p)
	if out, err := in.walhook("reload"); exitStatus(err) != 3 || !strings.Contains(out, "or was http.listen changed in this file?") || !strings.Contains(out, "--pid PID") {
		t.Errorf("without a process: %v: %s", err, out)
	}
}

// exitStatus is what a command ended with.
func exitStatus(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
