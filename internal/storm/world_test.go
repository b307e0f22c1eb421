package storm

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"walhook/internal/harness"
)

//go:embed schema.sql
var schema string

// patience bounds every wait. It is a limit, not an expectation.
const patience = 5 * time.Minute

// World is what a round breaks: servers, two processes of walhook, receivers, the ways between them, and the workload.
type World struct {
	T    *testing.T
	Seed uint64
	Dir  string // of logs, and of evidence when the round fails

	Source, State                  *Cluster
	Disk                           *disk      // of the state's database; nil where none can be mounted
	ToSource, ToState, ToReceivers *Link      // that walhook connects through; nobody else does
	Walhooks                       []*Process // one of them reads
	Receivers                      *Receivers
	Work                           *Workload
	Slot, Publication              string
	Config                         string // path of a configuration that goes past all links
	Images                         bool   // of documents: the table is not altered

	tally *harness.Tally
	owner string // DSN of the database's owner
	temp  string // folder for walhook's temporary files

	mu      sync.Mutex
	repairs []repair
	once    map[string]bool // repairs that are registered
	lost    []span          // of the ledger, whose events may be missing
	walks   []walk          // backfills and resyncs
	since   time.Time       // of the resync that has just been begun
	lossy   atomic.Bool     // position and slot are not to be compared
	loses   atomic.Int64
}

type repair struct {
	what string
	do   func(ctx context.Context) error
}

// span is what the ledger's numbers are between, the first one not included.
type span struct {
	from, to int64
	since    time.Time // a resync has looked for what was written since; zero if there was none
}

// newWorld starts everything but the processes and the writers.
func newWorld(t *testing.T, seed uint64, p plan, counts *harness.Tally) *World {
	t.Helper()
	w := &World{T: t, Seed: seed, Dir: folder(t, seed), Publication: "walhook", tally: counts, temp: t.TempDir(), Images: p.images}
	w.Disk = newDisk(t, 512)
	var both sync.WaitGroup
	settings := func(more ...string) map[string]string {
		s := map[string]string{"fsync": "off", "full_page_writes": "off", "max_connections": "300", "log_line_prefix": "%m [%p] %q%a ", "max_wal_senders": "20", "max_replication_slots": "20"}
		for i := 0; i < len(more); i += 2 {
			s[more[i]] = more[i+1]
		}
		return s
	}
	both.Go(func() {
		w.Source = newCluster(t, w.Dir, "source", nil, settings("wal_sender_timeout", "10s"))
	})
	both.Go(func() { w.State = newCluster(t, w.Dir, "state", w.Disk, settings()) })
	both.Wait()
	if t.Failed() {
		t.FailNow()
	}
	if major := w.Source.server.Major(); major < 14 {
		t.Skipf("the storm writes custom events, which take PostgreSQL 14; this is %d", major)
	}
	ctx := context.Background()
	if err := w.Source.Exec(ctx, schema); err != nil {
		t.Fatal(err)
	}
	w.Receivers = newReceivers(t, seed, counts)
	w.ToSource, w.ToState = newLink(t, w.Source.Addr()), newLink(t, w.State.Addr())
	w.ToReceivers = newLink(t, w.Receivers.Listener.Addr().String())
	w.install()
	w.Work = newWorkload(t, w.Source, seed, p.writers, p.actions, p.rows, counts)
	return w
}

// folder is where a round keeps its logs: they stay when it fails.
func folder(t *testing.T, seed uint64) string {
	t.Helper()
	base := os.Getenv(envDir)
	if base != "" {
		if err := os.MkdirAll(base, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(base, fmt.Sprintf("walhook-storm-%d-", seed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("evidence is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

const endpointKeys = `secrets = ["` + harness.Secret + `"]
headers = { X-Life = "${WALHOOK_LIFE}" }
timeout = "5s"
breaker = { failures = 20, pause = "100ms", max_pause = "500ms" }
retry = { initial = "50ms", factor = 1.5, max = "500ms", attempts = %d, jitter = 0.5, max_retry_after = "1s" }`

// install makes roles, writes a configuration for each process and one that goes past the links, and runs setup.
func (w *World) install() {
	t := w.T
	const role = "walhook_storm"
	if err := w.State.Exec(context.Background(), "CREATE ROLE "+role+" LOGIN; ALTER DATABASE "+w.State.Database+" OWNER TO "+role); err != nil {
		t.Fatal(err)
	}
	state, ca := w.State.server.DSNFor(role, "", w.State.Database), filepath.Join(w.Dir, "ca.pem")
	if err := os.WriteFile(ca, w.Receivers.faces.authority.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("{{ca}}", ca, "{{receivers}}", w.ToReceivers.Addr().String(), "{{endpoint}}", fmt.Sprintf(endpointKeys, 1000), "{{held}}", fmt.Sprintf(endpointKeys, 2)).Replace(configuration)
	if w.Images {
		text += "\n[images]\ntables = [\"document\"]\n"
	}
	in := harness.Install(t, w.Source.DSN(), harness.Options{Tags: "failpoint", Server: w.Source.server, Dial: w.ToSource.Through,
		Source: fmt.Sprintf("memory = \"32KiB\"\ntemp_dir = %q\nidle_advance = \"300ms\"\n[state]\ndsn = %q\nlease = \"6s\"", w.temp, w.ToState.Through(state)), Config: text})
	w.Slot, w.owner = in.Slot, in.Owner
	if w.Seed%2 == 0 { // then walhook sees when others' transactions began, which resync goes by
		if err := w.Source.Exec(context.Background(), "GRANT pg_read_all_stats TO "+role); err != nil {
			t.Fatal(err)
		}
	}
	own, err := os.ReadFile(in.Config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		path := filepath.Join(w.Dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	direct := strings.NewReplacer(w.ToSource.Addr().String(), w.Source.Addr(), w.ToState.Addr().String(), w.State.Addr(), w.ToReceivers.Addr().String(), w.Receivers.Listener.Addr().String(), in.Listen, freeAddress(t))
	w.Config = write("direct.toml", direct.Replace(string(own)))
	if out, err := w.Setup(context.Background()); err != nil {
		t.Fatalf("setup: %v\n%s", err, out)
	}
	program := harness.Binary(t, "failpoint")
	for i := range 2 {
		config := write(configFile(i), strings.ReplaceAll(string(own), in.Listen, freeAddress(t)))
		w.Walhooks = append(w.Walhooks, newProcess(t, w.Dir, i, func() *exec.Cmd {
			return exec.Command(program, "run", "--log-format", "json", "--config", config)
		}))
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Repair registers what has to be mended before the check. Repairs run last in, first out.
func (w *World) Repair(what string, do func(ctx context.Context) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.repairs = append(w.repairs, repair{what, do})
}

// mend runs the repairs.
func (w *World) mend(ctx context.Context) error {
	for {
		w.mu.Lock()
		n := len(w.repairs)
		if n == 0 {
			w.mu.Unlock()
			return nil
		}
		one := w.repairs[n-1]
		w.repairs = w.repairs[:n-1]
		w.mu.Unlock()
		if err := one.do(ctx); err != nil {
			return fmt.Errorf("repair %s: %w", one.what, err)
		}
	}
}

// Walhook runs a command of walhook's past all links, with the installation's configuration, and returns what it printed.
func (w *World) Walhook(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, harness.Binary(w.T, "failpoint"), append(args, "--config", w.Config)...)
	cmd.Env = append(os.Environ(), "WALHOOK_LIFE=command")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("walhook %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Setup runs walhook setup as the database's owner: after something changed the publication, the slot or replica identities.
func (w *World) Setup(ctx context.Context, args ...string) (string, error) {
	return w.Walhook(ctx, append([]string{"setup", "--dsn", w.owner}, args...)...)
}

// Await polls a condition until it holds, or patience ends.
func (w *World) Await(ctx context.Context, what string, done func(ctx context.Context) (bool, error)) error {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ok, err := done(ctx)
		switch {
		case ok && err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("waited %s for %s: %w", patience, what, err)
		}
	}
}

// CaughtUp waits until the state's position has passed what is the end of WAL now.
func (w *World) CaughtUp(ctx context.Context) error {
	var end string
	if err := w.Source.Query(ctx, &end, "SELECT pg_current_wal_lsn()::text"); err != nil {
		return err
	}
	return w.Await(ctx, "the position to pass "+end, func(ctx context.Context) (ok bool, err error) {
		err = w.State.Query(ctx, &ok, "SELECT lsn >= $1::text::pg_lsn FROM walhook.source", end)
		return ok, err
	})
}

// Arrives waits until something that is committed from now on has been delivered: all is in order again.
func (w *World) Arrives(ctx context.Context) error {
	token := fmt.Sprint(-time.Now().UnixNano())
	if err := w.Source.Exec(ctx, fmt.Sprintf(`SELECT pg_logical_emit_message(true, 'walhook', '{"event": "order.note", "model": "sale.order", "id": -1, "data": {"token": %s}}')`, token)); err != nil {
		return err
	}
	return w.Await(ctx, "a sign of life to arrive", func(context.Context) (bool, error) { return w.Receivers.has("notes", "first", token), nil })
}

// written is how far the ledger has come.
func (w *World) written(ctx context.Context) (n int64, err error) {
	err = w.Source.Query(ctx, &n, "SELECT coalesce(max(n), 0) FROM ledger")
	return n, err
}

// Lossy does something that may lose the changes of what is committed meanwhile (the slot is dropped, the position moved): their events may
// arrive or not, as a whole or in part, and nothing else is excused. Writers pause for a moment before and after it; in between they go on.
// Before, walhook catches up, so it has to run.
func (w *World) Lossy(ctx context.Context, do func(ctx context.Context) error) error {
	w.Work.Pause()
	err := w.CaughtUp(ctx)
	from, err2 := w.written(ctx)
	w.Work.Resume()
	if err != nil || err2 != nil {
		return fmt.Errorf("before what may lose changes: %w, %w", err, err2)
	}
	w.loses.Add(1)
	w.lossy.Store(true)
	err = do(ctx)
	w.Work.Pause()
	to, err2 := w.written(ctx)
	w.Work.Resume()
	w.lossy.Store(false)
	w.mu.Lock()
	w.lost = append(w.lost, span{from, to, w.since})
	if !w.since.IsZero() {
		w.walks = append(w.walks, walk{op: "resync", from: from, since: w.since})
	}
	w.since = time.Time{}
	w.mu.Unlock()
	if err2 != nil {
		return err2
	}
	return err
}
