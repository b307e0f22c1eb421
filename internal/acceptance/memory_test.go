package acceptance

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// memoryLimit is what walhook may hold resident at any time of its life, in kB (invariant 9). It is a promise about
// the whole process: the program's text, the runtime, drivers and buffers included.
const memoryLimit = 64 << 10

// giantFixture is an installation with a receiver that takes everything and one that can be dead, and eyes on the memory of
// the program in each of its lives.
type giantFixture struct {
	t          *testing.T
	super      string
	conn       *pgx.Conn
	in         *harness.Installation
	temp       string // temp_dir
	tags       string // of the program
	live, dead *sink

	began   time.Time
	cmd     *exec.Cmd
	logFile string

	mu    sync.Mutex
	peak  int   // most memory resident in any life, kB
	files int64 // most bytes of temporary files at a time
	watch sync.WaitGroup
	end   chan struct{}
}

func newGiantFixture(t *testing.T) *giantFixture {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skipf("memory is read from /proc: %v", err)
	}
	f := &giantFixture{t: t, tags: "failpoint", super: pgtest.Database(t), live: newSink(t), dead: newSink(t), temp: t.TempDir()}
	f.conn = pgtest.Connect(t, f.super)
	f.exec("SET jit = off; SET work_mem = '256MB'") // for the oracle
	f.logFile = filepath.Join(t.TempDir(), "log")
	return f
}

func (f *giantFixture) exec(sql string) {
	f.t.Helper()
	if _, err := f.conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		f.t.Fatalf("%s: %v", sql, err)
	}
}

// install makes tables with so many rows, as wide as a small Odoo record, and more, and sets walhook up.
func (f *giantFixture) install(rows int, config string, more ...string) {
	f.t.Helper()
	pgtest.Exec(f.t, f.super, fmt.Sprintf(`
		CREATE TABLE thing (id int PRIMARY KEY, name text NOT NULL, qty int NOT NULL, price numeric, state text, note text, ref text,
			partner int, active bool, created timestamp, written timestamp, tags int[]);
		ALTER TABLE thing ALTER tags SET STORAGE PLAIN;
		CREATE TABLE other (id int PRIMARY KEY, note text);
		INSERT INTO thing SELECT i, 'thing ' || i, 0, i / 7.0, 'draft', repeat('n', 80), 'REF/' || i, i %% 1000, true, '2026-01-01', '2026-01-01', '{1,2,3}'
			FROM generate_series(1, %d) i;
		CREATE UNLOGGED TABLE before AS TABLE thing`, rows))
	for _, sql := range more {
		pgtest.Exec(f.t, f.super, sql)
	}
	f.in = harness.Install(f.t, f.super, harness.Options{Tags: f.tags, Source: fmt.Sprintf("temp_dir = %q\nidle_advance = \"1s\"\n[log]\nlevel = \"warn\"", f.temp), Config: config})
	f.in.Must("setup", "--dsn", f.in.Owner)
	f.began = time.Now()
}

// start begins a life of walhook and waits until it streams. armed is a fail point and what happens there.
func (f *giantFixture) start(armed string) {
	f.t.Helper()
	log, err := os.OpenFile(f.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	f.cmd = f.in.Command("run", "--log-format", "json")
	f.cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT="+armed)
	f.cmd.Stdout, f.cmd.Stderr = log, log
	if err := f.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	f.end = make(chan struct{})
	cmd, end := f.cmd, f.end
	f.watch.Go(func() { f.observe(cmd.Process.Pid, end) })
	f.t.Cleanup(func() {
		if f.cmd == cmd {
			f.kill()
		}
	})
	if armed == "" { // else it may be over any moment
		f.wait("walhook to stream", func() bool {
			resp, err := http.Get("http://" + f.in.Listen + "/healthz")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
}

func (f *giantFixture) pid() int { return f.cmd.Process.Pid }

// observe notes the memory and the temporary files of a life until its end.
func (f *giantFixture) observe(pid int, end <-chan struct{}) {
	for {
		files, peak := openTemporary(pid), status(pid)["VmHWM"]
		f.mu.Lock()
		f.files, f.peak = max(f.files, files), max(f.peak, peak)
		f.mu.Unlock()
		select {
		case <-end:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// over takes the last look at a life, which must be there still.
func (f *giantFixture) over() {
	if f.end == nil {
		return
	}
	close(f.end)
	f.end = nil
	f.watch.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peak = max(f.peak, status(f.pid())["VmHWM"])
}

// kill ends a life with SIGKILL.
func (f *giantFixture) kill() {
	f.over()
	_ = f.cmd.Process.Kill() // it may have ended by itself
	_ = f.cmd.Wait()
	f.cmd = nil
}

// stop ends the last life in order.
func (f *giantFixture) stop() {
	f.t.Helper()
	f.over()
	if err := f.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { _ = f.cmd.Process.Kill() })
	defer timer.Stop()
	if err := f.cmd.Wait(); err != nil {
		f.t.Errorf("walhook run: %v\n%s", err, last(f.log(), 4000))
	}
	f.cmd = nil
}

// stopped waits until a life stands still at its fail point.
func (f *giantFixture) stopped(k kill) {
	f.t.Helper()
	f.wait(fmt.Sprintf("hit %d of %s", k.hit, k.point), func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", f.pid()))
		if err != nil {
			f.t.Fatal(err)
		}
		_, state, _ := strings.Cut(string(text), ") ")
		return strings.HasPrefix(state, "T")
	})
}

func (f *giantFixture) wait(what string, done func() bool) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if state := status(f.pid()); state["VmHWM"] == 0 || time.Now().After(end) {
			f.t.Fatalf("waited in vain for %s\n%s", what, last(f.log(), 8000))
		}
	}
}

func (f *giantFixture) log() string {
	f.t.Helper()
	text, err := os.ReadFile(f.logFile)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(text)
}

// stage logs how long it took to come here, and the memory.
func (f *giantFixture) stage(format string, args ...any) {
	f.t.Helper()
	now := map[string]int{}
	if f.cmd != nil {
		now = status(f.pid())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peak = max(f.peak, now["VmHWM"])
	f.t.Logf("%6.1fs  %-60s peak %5.1f MiB of all lives; now %5.1f MiB (%.1f of them anonymous)", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...),
		mib(f.peak), mib(now["VmRSS"]), mib(now["RssAnon"]))
}

func mib(kb int) float64 { return float64(kb) / 1024 }

// frugal holds the memory of all lives against the promise.
func (f *giantFixture) frugal() {
	f.t.Helper()
	f.t.Logf("VmHWM %.1f MiB, temporary files %.1f MiB", mib(f.peak), float64(f.files)/(1<<20))
	if f.peak == 0 || f.peak >= memoryLimit {
		f.t.Errorf("walhook had %d kB resident, the limit is %d kB", f.peak, memoryLimit)
	}
}

// status reads /proc/PID/status, in kB. A process that has ended has no memory there.
func status(pid int) map[string]int {
	all := map[string]int{}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return all
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err == nil {
			all[name] = n
		}
	}
	return all
}

// sink is a receiver that only counts, as fast as it can; while it is down, it answers 500.
type sink struct {
	*httptest.Server
	down atomic.Bool
	page string // its answer then; set before the first request
	mu   sync.Mutex
	ids  map[uint64]struct{}
}

func newSink(t *testing.T) *sink {
	s := &sink{ids: map[uint64]struct{}{}, page: strings.Repeat("down for maintenance ", 20)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		if s.down.Load() {
			http.Error(w, s.page, http.StatusInternalServerError)
			return
		}
		h := fnv.New64a()
		_, _ = io.WriteString(h, req.Header.Get("webhook-id"))
		s.mu.Lock()
		s.ids[h.Sum64()] = struct{}{}
		s.mu.Unlock()
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}
