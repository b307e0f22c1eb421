package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// thing is what a receiver knows of one record.
type thing struct {
	version int64 // the newest that it was told of, also of one that is gone
	there   bool
	looked  bool // told of by a snapshot
}

// thingsView applies events in the order in which they arrive, and minds that no record ever steps back.
type thingsView struct {
	*httptest.Server
	mu     sync.Mutex
	ids    map[string]bool
	of     map[string]map[string]*thing // by path
	events int
	wrong  []string
	late   []time.Duration // of live events: from commit to here
	live   atomic.Bool     // whether these are taken down
}

func newThingsView(t *testing.T) *thingsView {
	v := &thingsView{ids: map[string]bool{}, of: map[string]map[string]*thing{}}
	v.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // walhook was killed in the middle of it
		}
		v.take(r.URL.Path, r.Header.Get("webhook-id"), body)
	}))
	t.Cleanup(v.Close)
	return v
}

func (v *thingsView) take(path, id string, body []byte) {
	var e struct {
		Type      string
		Timestamp time.Time
		Data      struct {
			ID     string
			Op     string
			Record struct {
				Version int64
				Body    *string
			}
			Omitted []string
		}
	}
	err := json.Unmarshal(body, &e)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ids[id] {
		return // sent again after a crash
	}
	v.ids[id] = true
	v.events++
	fail := func(format string, args ...any) {
		if len(v.wrong) < 20 {
			v.wrong = append(v.wrong, fmt.Sprintf(format, args...)+": "+string(body[:min(len(body), 300)]))
		}
	}
	if err != nil || e.Data.ID == "" || e.Data.Record.Version == 0 {
		fail("%v", err)
		return
	}
	if v.live.Load() && e.Data.Op != "snapshot" {
		v.late = append(v.late, time.Since(e.Timestamp))
	}
	if v.of[path] == nil {
		v.of[path] = map[string]*thing{}
	}
	known := v.of[path][e.Data.ID]
	if known == nil {
		known = &thing{}
		v.of[path][e.Data.ID] = known
	}
	version := e.Data.Record.Version
	switch {
	case version < known.version:
		fail("%s: version %d after %d", path, version, known.version)
	case e.Data.Op == "snapshot" && !known.there && known.version > 0 && version <= known.version:
		fail("%s: a row that is gone", path)
	case e.Data.Op == "snapshot" && e.Type != "thing.snapshot":
		fail("type")
	case len(e.Data.Omitted) > 0:
		fail("omitted")
	}
	known.version, known.there = max(version, known.version), e.Data.Op != "unlink"
	known.looked = known.looked || e.Data.Op == "snapshot"
}

// latency sums up how late live events were since it was asked last.
func (v *thingsView) latency() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	late := v.late
	v.late = nil
	if len(late) == 0 {
		return "none"
	}
	slices.Sort(late)
	return fmt.Sprintf("%d, median %s, 99th percentile %s", len(late), late[len(late)/2], late[len(late)*99/100])
}

// compare says how the view of a path differs from what is there.
func (v *thingsView) compare(path string, there map[string]int64) (problems []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for key, version := range there {
		if known := v.of[path][key]; known == nil || !known.there || known.version != version {
			problems = append(problems, fmt.Sprintf("%s: %s is at version %d, known %+v", path, key, version, known))
		}
	}
	for key, known := range v.of[path] {
		if _, ok := there[key]; known.there && !ok {
			problems = append(problems, fmt.Sprintf("%s: %s is gone, known %+v", path, key, known))
		}
	}
	return problems
}

// thingsWriter changes records in random transactions until it is told to stop.
type thingsWriter struct {
	conn *pgx.Conn
	rnd  *rand.Rand
	rows int
	n    int64 // transactions that were committed
}

func (w *thingsWriter) key() (string, int) {
	n := w.rnd.IntN(w.rows)
	return fmt.Sprintf("s,%d", n%3), n
}

// statement is one random write. What fails, as the key is there already, is rolled back.
func (w *thingsWriter) statement(ctx context.Context, tx pgx.Tx) error {
	shop, n := w.key()
	inner, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	switch k := w.rnd.IntN(100); {
	case k < 55:
		_, err = inner.Exec(ctx, "UPDATE thing SET version = nextval('version'), flag = $3 WHERE shop = $1 AND n = $2", shop, n, w.rnd.IntN(9))
	case k < 62:
		_, err = inner.Exec(ctx, "UPDATE thing SET version = nextval('version'), body = repeat(md5(random()::text), 200) WHERE shop = $1 AND n = $2", shop, n)
	case k < 74:
		_, err = inner.Exec(ctx, "DELETE FROM thing WHERE shop = $1 AND n = $2", shop, n)
	case k < 90:
		_, err = inner.Exec(ctx, "INSERT INTO thing (shop, n, version, flag) VALUES ($1, $2, nextval('version'), 1)", shop, n)
	default:
		other, m := w.key()
		_, err = inner.Exec(ctx, "UPDATE thing SET version = nextval('version'), shop = $3, n = $4 WHERE shop = $1 AND n = $2", shop, n, other, m)
	}
	if err != nil || w.rnd.IntN(8) == 0 {
		return inner.Rollback(ctx)
	}
	return inner.Commit(ctx)
}

func (w *thingsWriter) transaction(ctx context.Context) error {
	tx, err := w.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	for range 1 + w.rnd.IntN(5) {
		if err := w.statement(ctx, tx); err != nil {
			return err
		}
	}
	switch k := w.rnd.IntN(200); {
	case k < 4:
		time.Sleep(time.Duration(w.rnd.IntN(400)) * time.Millisecond)
	case k == 4: // too large for memory
		from := w.rnd.IntN(w.rows)
		if _, err := tx.Exec(ctx, "UPDATE thing SET version = nextval('version'), body = repeat(md5(random()::text), 300) WHERE n BETWEEN $1 AND $1 + 1000", from); err != nil {
			return err
		}
	}
	if w.rnd.IntN(10) == 0 {
		return tx.Rollback(ctx)
	}
	w.n++
	return tx.Commit(ctx)
}

// While records are written, deleted and given other keys in transactions of all kinds, a backfill sends all of them, and walhook is killed and
// taken over from: what the receiver knows in the end is what is there, it never stepped back, and every record that was there before was sent, also to a
// rule that the writes don't concern. The long form (make backfill-long) does it with a million rows.
func TestBackfillWhileTheTableIsWritten(t *testing.T) {
	t.Parallel()
	rows, rate, lives := 1200, 1000, 2
	long := os.Getenv("WALHOOK_LONG") != ""
	if long {
		rows, rate, lives = 1_000_000, 0, 12
		if n, err := strconv.Atoi(os.Getenv("WALHOOK_ROWS")); err == nil {
			rows = n
		}
	}
	super := pgtest.Database(t)
	ctx := context.Background()
	pgtest.Exec(t, super, fmt.Sprintf(`CREATE SEQUENCE version;
		CREATE TABLE thing (shop text, version bigint NOT NULL, n int, flag int, body text, PRIMARY KEY (n, shop));
		INSERT INTO thing SELECT 's,' || i %% 3, nextval('version'), i, 1, CASE WHEN i %% 50 = 0 THEN repeat(md5(i::text), 200) END FROM generate_series(0, %d) i`, rows-1))
	v := newThingsView(t)
	endpoint := func(name string) string {
		return fmt.Sprintf("[endpoints.%s]\nurl = \"%s/%[1]s\"\nsecrets = [\"%[3]s\"]\nconcurrency = 16\n", name, v.URL, secret)
	}
	h := harness.Install(t, super, harness.Options{Config: "[state]\nlease = \"6s\"\n" + endpoint("all") + endpoint("some") + `
[[rules]]
name = "all"
table = "thing"
on = ["create", "write", "unlink"]
fields = ["version", "body"]
endpoint = "all"
[[rules]]
name = "some"
table = "thing"
on = ["write", "unlink"]
when = 'op != "write" && (op == "unlink" || changed("flag"))'
fields = ["version", "body"]
endpoint = "some"
`})
	in := &installation{t: t, super: h.Super, owner: h.Owner, role: h.Role, config: h.Config, listen: h.Listen}
	in.must("setup", "--dsn", in.owner)
	pgtest.Exec(t, super, "GRANT SELECT ON thing TO "+pgx.Identifier{roleOf(t, in.role)}.Sanitize())
	processes := []*process{in.start(), in.standby(t)}
	in.wait("ready", 30*time.Second, func() bool { _, err := in.walhook("status", "--json"); return err == nil }, processes[0])

	var writers sync.WaitGroup
	stop := make(chan struct{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	counts := make([]int64, 4)
	for i := range counts {
		w := &thingsWriter{conn: pgtest.Connect(t, super), rnd: rand.New(rand.NewPCG(seed, uint64(i))), rows: rows}
		writers.Go(func() {
			defer func() { counts[i] = w.n }()
			for n := 0; long || n < 400; n++ { // on a busy machine the stream must not stay behind for ever: backfills would wait
				select {
				case <-stop:
					return
				default:
				}
				if err := w.transaction(ctx); err != nil && !strings.Contains(err.Error(), "40P01") { // a deadlock among writers is rolled back
					t.Errorf("write: %v", err)
					return
				}
				if long { // receivers keep up
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	v.live.Store(long)
	if long {
		time.Sleep(15 * time.Second)
		t.Logf("live events before it: %s", v.latency())
	}
	began := time.Now()
	args := []string{"backfill", "all", "some", "--yes", "--no-wait"}
	if rate > 0 {
		args = append(args, "--rate", fmt.Sprint(rate))
	}
	t.Log(in.must(args...))
	pause := 500 * time.Millisecond
	if long {
		pause = 20 * time.Second
	}
	rnd := rand.New(rand.NewPCG(seed, 99))
	for n := range lives {
		time.Sleep(pause/2 + time.Duration(rnd.Int64N(int64(pause))))
		i := n % 2
		if err := processes[i].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = processes[i].cmd.Wait() // killed
		if i == 0 {
			processes[i] = in.start()
		} else {
			processes[i] = in.standby(t)
		}
	}
	for _, id := range []string{"1", "2"} {
		in.wait("job "+id, 40*time.Minute, func() bool {
			out := in.must("backfill", "show", id, "--json")
			if strings.Contains(out, `"failed"`) {
				t.Fatalf("%s\n%s", out, last(processes[0].log.String(), 8000))
			}
			return strings.Contains(out, `"state": "done"`)
		}, processes[0])
	}
	took := time.Since(began)
	if long {
		t.Logf("live events during it: %s", v.latency())
	}
	close(stop)
	writers.Wait()
	there := map[string]int64{}
	conn := pgtest.Connect(t, super)
	list, err := conn.Query(ctx, `SELECT n || ',' || replace(shop, ',', '\,'), version FROM thing`)
	if err != nil {
		t.Fatal(err)
	}
	var key string
	var version int64
	if _, err := pgx.ForEachRow(list, []any{&key, &version}, func() error { there[key] = version; return nil }); err != nil {
		t.Fatal(err)
	}
	var problems []string
	in.wait("the receiver", 5*time.Minute, func() bool { problems = v.compare("/all", there); return len(problems) == 0 || len(v.problems()) > 0 }, processes[0])
	for _, p := range append(v.problems(), problems[:min(len(problems), 10)]...) {
		t.Error(p)
	}
	missing, looked := 0, 0
	v.mu.Lock()
	for i := range rows {
		known := v.of["/all"][fmt.Sprintf(`%d,s\,%d`, i, i%3)]
		if known == nil {
			missing++
		}
		if known := v.of["/some"][fmt.Sprintf(`%d,s\,%d`, i, i%3)]; known == nil { // a snapshot, or gone before it came to its turn
			missing++
		} else if known.looked {
			looked++
		}
	}
	events := v.events
	v.mu.Unlock()
	if missing > 0 || looked == 0 {
		t.Errorf("%d of %d records were never sent, %d by a snapshot", missing, rows, looked)
	}
	t.Logf("%d rows, %d deaths, %s; transactions %v; %d events; %d of %d by a snapshot at the second rule", rows, lives, took.Round(time.Millisecond), counts, events, looked, rows)
	for _, p := range processes {
		in.stop(p)
	}
}

func (v *thingsView) problems() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.wrong...)
}

// roleOf is the user of a DSN.
func roleOf(t *testing.T, dsn string) string {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.User
}

// standby starts another process on the same state.
func (in *installation) standby(t *testing.T) *process {
	t.Helper()
	text, err := os.ReadFile(in.config)
	if err != nil {
		t.Fatal(err)
	}
	path := in.config + ".standby.toml"
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), in.listen, "127.0.0.1:0", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(binary(t), "run", "--config", path, "--log-format", "json"), log: &strings.Builder{}}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}
