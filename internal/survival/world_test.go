package survival

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait most of the time: for servers, and for walhook, which stays away on purpose.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	pgtest.Main(m, harness.Remove)
}

// patience is how long anything may take. It is a limit, not an expectation: after 57P01 alone walhook stays away for up to
// 30 s, and the machine may be busy.
const patience = 2 * time.Minute

// isLong tells whether tests may take minutes.
func isLong() bool { return os.Getenv("WALHOOK_LONG") != "" }

// long skips a test that takes minutes, unless they are asked for.
func long(t *testing.T) {
	t.Helper()
	if !isLong() {
		t.Skip("takes minutes; set WALHOOK_LONG=1, or run: make survival")
	}
}

// world is a source with its state in another database, a walhook that runs between them and a receiver, a writer, and
// somebody who looks at the status pages all the time.
type world struct {
	t        *testing.T
	in       *harness.Installation
	super    string // DSN of the source's superuser, past any proxy
	state    string // the same of the state's database
	receiver *receiver
	writer   *writer
	cmd      *exec.Cmd
	args     []string // of run
	log      *buffer
	ended    chan struct{} // closed when the process has ended
	watch    *watcher
}

// options of a world. The zero value uses the shared cluster for both.
type options struct {
	source, state         *pgserver.Server    // clusters of their own
	dialSource, dialState func(string) string // change DSNs, as to a proxy
	config                string              // further lines of [source]
	stateConfig           string              // further lines of [state]
	prepare               func(*world)        // runs before walhook does
}

// serial tells the databases apart that tests make in clusters of their own.
var serial atomic.Int64

const schema = `
	CREATE TABLE event (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, note text NOT NULL);
	CREATE TABLE doc (id int PRIMARY KEY, n int NOT NULL);
	INSERT INTO doc SELECT i, 0 FROM generate_series(0, 4) i`

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, receiver: newReceiver(t)}
	if o.source != nil {
		name := fmt.Sprintf("own%d", serial.Add(1))
		pgtest.Exec(t, o.source.DSN("postgres"), "CREATE DATABASE "+name)
		w.super = o.source.DSN(name)
	} else {
		w.super = pgtest.Database(t)
	}
	pgtest.Exec(t, w.super, schema)
	db := databaseOf(t, w.super)
	role := "walhook_" + db
	stateServer := o.state
	if stateServer == nil {
		stateServer = pgtest.Server(t)
	}
	stateDB := "state_" + db
	pgtest.Exec(t, stateServer.DSN("postgres"), "CREATE DATABASE "+stateDB)
	w.state = stateServer.DSN(stateDB)
	stateDSN := stateServer.DSNFor(role, "", stateDB)
	if o.dialState != nil {
		stateDSN = o.dialState(stateDSN)
	}
	lines := fmt.Sprintf("idle_advance = \"1s\"\n%s\n[state]\ndsn = %q\n%s", o.config, stateDSN, o.stateConfig)
	w.in = harness.Install(t, w.super, harness.Options{Server: o.source, Dial: o.dialSource, Source: lines, Config: fmt.Sprintf(`
[endpoints.erp]
url = %q
timeout = "5s"
retry = { initial = "100ms", factor = 1, max = "1s", attempts = 1000 }

[[rules]]
name = "event"
table = "event"
on = ["create"]
endpoint = "erp"

[[rules]]
name = "doc"
table = "doc"
on = ["write"]
endpoint = "erp"
`, w.receiver.URL)})
	if o.state != o.source {
		pgtest.Exec(t, stateServer.DSN("postgres"), "CREATE ROLE "+role+" LOGIN")
	}
	pgtest.Exec(t, stateServer.DSN("postgres"), "ALTER DATABASE "+stateDB+" OWNER TO "+role)
	if o.state == nil {
		t.Cleanup(func() {
			// A network that swallowed everything leaves sessions behind that the server takes for alive.
			pgtest.Exec(t, stateServer.DSN("postgres"), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+stateDB+"'")
			pgtest.Exec(t, stateServer.DSN("postgres"), "DROP DATABASE "+stateDB)
		})
	}
	w.in.Must("setup", "--dsn", w.in.Owner)
	if o.prepare != nil {
		o.prepare(w)
	}
	w.start()
	return w
}

func databaseOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// start starts walhook, the watcher and the writer.
func (w *world) start() {
	w.t.Helper()
	w.launch()
	w.ready()
	w.writer = startWriter(w.t, w.super)
	w.arrives()
}

// launch starts walhook, and somebody who looks at it.
func (w *world) launch() {
	w.t.Helper()
	w.log, w.ended = &buffer{}, make(chan struct{})
	cmd, log, ended := w.in.Command(append([]string{"run", "--log-format", "json"}, w.args...)...), w.log, w.ended
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.cmd = cmd
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ended is looked at by those who care
	}()
	w.t.Cleanup(func() {
		select {
		case <-ended:
		default:
			_ = cmd.Process.Kill()
			<-ended
		}
		if w.t.Failed() {
			w.t.Logf("walhook's log:\n%s", log.last(10_000))
		}
	})
	w.wait("the status pages", func() bool { code, _ := w.page("/healthz"); return code == 200 })
	w.watch = watchPages(w)
}

// exits waits until walhook has ended by itself.
func (w *world) exits(code int) {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(patience):
		w.t.Fatal("walhook goes on")
	}
	w.watch.stop()
	if got := w.cmd.ProcessState.ExitCode(); got != code {
		w.t.Errorf("walhook ended with %d, want %d", got, code)
	}
}

// said looks for words in what the process has written.
func (w *world) said(words ...string) {
	w.t.Helper()
	for _, word := range words {
		if !strings.Contains(w.log.String(), word) {
			w.t.Errorf("walhook did not say %q", word)
		}
	}
}

// reconfigure replaces a text of the configuration file.
func (w *world) reconfigure(old, new string) {
	w.t.Helper()
	text, err := os.ReadFile(w.in.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		w.t.Fatalf("the configuration lacks %q", old)
	}
	if err := os.WriteFile(w.in.Config, []byte(strings.ReplaceAll(string(text), old, new)), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func exitOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// wait waits for a condition, as long as walhook runs.
func (w *world) wait(what string, done func() bool) {
	w.t.Helper()
	w.waitFor(patience, what, done)
}

func (w *world) waitFor(limit time.Duration, what string, done func() bool) {
	w.t.Helper()
	began := time.Now()
	for end := began.Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		select {
		case <-w.ended:
			w.t.Fatalf("walhook has ended (%s) while the test waited for %s", w.cmd.ProcessState, what)
		default:
		}
		if time.Now().After(end) {
			_ = w.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines tell where it hangs
			<-w.ended
			w.t.Fatalf("waited %s for %s", limit, what)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		w.t.Logf("%5.1fs for %s", took.Seconds(), what)
	}
}

// page asks for one of the status pages; code is 0 when nobody answers.
func (w *world) page(path string) (code int, body string) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + w.in.Listen + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}

// document is a part of what /status says.
type document struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	Source  struct {
		Connected  bool   `json:"connected"`
		Reconnects int    `json:"reconnects"`
		Retained   int64  `json:"retained_bytes"`
		WALStatus  string `json:"wal_status"`
		SlotError  string `json:"slot_error"`
		LastError  string `json:"last_error"`
		Alarms     []struct {
			Name, Message string
		} `json:"slot_alarms"`
	} `json:"source"`
	Position struct {
		LSN       string `json:"lsn"`
		Confirmed string `json:"confirmed"`
	} `json:"position"`
}

// status is the document, or what little is known of it.
func (w *world) status() (d document) {
	code, body := w.page("/status")
	if code == 200 {
		if err := json.Unmarshal([]byte(body), &d); err != nil {
			w.t.Errorf("/status: %v\n%s", err, body)
		}
	}
	return d
}

// ready waits until /readyz says so.
func (w *world) ready() {
	w.t.Helper()
	w.wait("/readyz to be true again", func() bool { code, _ := w.page("/readyz"); return code == 200 })
}

// unready waits until /readyz is false for a reason that holds one of the words.
func (w *world) unready(words ...string) {
	w.t.Helper()
	last := ""
	w.wait(fmt.Sprintf("/readyz to be false for one of %q", words), func() bool {
		code, body := w.page("/readyz")
		if body != last && code != 200 {
			last = body
		}
		for _, word := range words {
			if code == 503 && strings.Contains(body, word) {
				return true
			}
		}
		return false
	})
}

// arrives waits until something that is written from now on has arrived.
func (w *world) arrives() {
	w.t.Helper()
	w.arrivesWithin(patience)
}

func (w *world) arrivesWithin(limit time.Duration) {
	w.t.Helper()
	before := w.writer.count()
	w.wait("something to be written", func() bool { return w.writer.count() > before })
	last := w.writer.last()
	w.waitFor(limit, "what was written just now", func() bool { return w.receiver.has(last) })
}

// complete stops the writer and holds everything that was committed against what has arrived, and against the
// state, where nothing may be twice. Then walhook is stopped, and must end in good order.
func (w *world) complete() {
	w.t.Helper()
	w.writer.stop()
	want := w.writer.committed()
	w.wait(fmt.Sprintf("all of %d events", len(want.events)), func() bool { return w.receiver.missing(want) == "" })
	w.wait("an empty queue", func() bool { return w.number(w.state, "SELECT count(*) FROM walhook.queue") == 0 })
	w.receiver.check(want)
	for rule, n := range map[string]int{"event": len(want.events), "doc": want.writes} {
		if got := w.number(w.state, "SELECT count(*) FROM walhook.delivery WHERE rule = '"+rule+"'"); got != n {
			w.t.Errorf("rule %s: %d deliveries in the state, %d were committed", rule, got, n)
		}
		if got := w.number(w.state, "SELECT count(DISTINCT id) FROM walhook.delivery WHERE rule = '"+rule+"'"); got != n {
			w.t.Errorf("rule %s: %d different ids in the state, want %d", rule, got, n)
		}
	}
	w.stop()
}

// stop ends walhook, which must be ready, in good order.
func (w *world) stop() {
	w.t.Helper()
	w.ready()
	w.watch.stop()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	select {
	case <-w.ended:
	case <-time.After(patience):
		w.t.Fatal("walhook does not stop")
	}
	if code := w.cmd.ProcessState.ExitCode(); code != 0 {
		w.t.Errorf("walhook ended with %d", code)
	}
	confirmed := w.text(w.super, "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '"+w.in.Slot+"'")
	position := w.text(w.state, "SELECT lsn::text FROM walhook.source")
	if w.number(w.super, "SELECT ('"+confirmed+"'::pg_lsn > '"+position+"'::pg_lsn)::int") != 0 {
		w.t.Errorf("the slot was confirmed up to %s, the state ends at %s", confirmed, position)
	}
}

// text runs a query of one value.
func (w *world) text(dsn, sql string) (s string) {
	w.t.Helper()
	w.scan(dsn, sql, &s)
	return s
}

func (w *world) number(dsn, sql string) (n int) {
	w.t.Helper()
	w.scan(dsn, sql, &n)
	return n
}

func (w *world) scan(dsn, sql string, into any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql).Scan(into); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *buffer) last(n int) string {
	s := b.String()
	if len(s) > n {
		return "... " + s[len(s)-n:]
	}
	return s
}

// sharedServer is the address of the test binary's cluster.
func sharedServer(t *testing.T) string {
	t.Helper()
	return addressOf(pgtest.Server(t))
}

func addressOf(s *pgserver.Server) string { return fmt.Sprintf("127.0.0.1:%d", s.Port()) }
