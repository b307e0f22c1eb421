package survival

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
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// view is what a receiver knows: of each record the last that it was told.
type view struct {
	mu      sync.Mutex
	records map[string]string // "partner/7" → name and number
	ops     map[string]int    // how often each op came
	gone    map[string]int    // unlinks of a resync, by record
	bodies  []string          // of resync and of unlinks that it has found
	repairs map[string]int    // how often these came, by record and op
}

func newView(t *testing.T) (*view, string) {
	v := &view{records: map[string]string{}, ops: map[string]int{}, gone: map[string]int{}, repairs: map[string]int{}}
	seen := map[string]bool{}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return // walhook was ended in the middle; it sends it again
		}
		var e struct {
			Type string `json:"type"`
			Data struct {
				ID     any            `json:"id"`
				Model  string         `json:"model"`
				Op     string         `json:"op"`
				Resync bool           `json:"resync"`
				Record map[string]any `json:"record"`
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("%v: %s", err, body)
			return
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		if id := req.Header.Get("webhook-id"); seen[id] {
			return
		} else {
			seen[id] = true
		}
		key := fmt.Sprintf("%s/%v", e.Data.Model, e.Data.ID)
		if e.Data.Model == "doc" && e.Type != "doc."+e.Data.Op { // of rules with a name for their events
			v.ops[fmt.Sprintf("%s %v", e.Type, e.Data.ID)]++
			return
		}
		v.ops[e.Data.Model+" "+e.Data.Op]++
		if e.Data.Op == "unlink" {
			delete(v.records, key)
		} else if e.Data.Model == "doc" {
			v.records[key] = fmt.Sprint(e.Data.Record["name"], " ", e.Data.Record["n"], " ", e.Data.Record["owner"])
		} else {
			v.records[key] = fmt.Sprint(e.Data.Record["name"], " ", e.Data.Record["n"])
		}
		if e.Data.Resync {
			v.gone[key]++
		}
		if e.Data.Resync || e.Data.Op == "resync" {
			v.bodies = append(v.bodies, string(body))
			v.repairs[key+" "+e.Data.Op]++
		}
	}))
	t.Cleanup(s.Close)
	return v, s.URL
}

func (v *view) all(model string) map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]string{}
	for key, value := range v.records {
		if strings.HasPrefix(key, model+"/") {
			out[strings.TrimPrefix(key, model+"/")] = value
		}
	}
	return out
}

// site is a database with tables as Odoo has them, and walhook on it.
type site struct {
	t     *testing.T
	in    *harness.Installation
	super string
	view  *view
	conn  *pgx.Conn
	rand  *rand.Rand
	cmd   *exec.Cmd
	log   *buffer
	env   []string
}

const siteSchema = `
	CREATE TABLE partner (id serial PRIMARY KEY, name text NOT NULL, n int NOT NULL DEFAULT 0, country int, create_date timestamp, write_date timestamp);
	CREATE TABLE country (id serial PRIMARY KEY, name text);
	ALTER TABLE partner ADD FOREIGN KEY (country) REFERENCES country ON DELETE SET NULL;
	CREATE TABLE tag (a int, b int, PRIMARY KEY (a, b));
	CREATE TABLE doc (id serial PRIMARY KEY, name text, n int, owner int REFERENCES country ON DELETE SET NULL, create_date timestamp, write_date timestamp);
	CREATE TABLE line (id serial PRIMARY KEY, doc int REFERENCES doc ON DELETE CASCADE, name text, n int);
	INSERT INTO country (name) SELECT 'c' || i FROM generate_series(1, 20) i;`

// newSite makes one; tags are those of the build.
func newSite(t *testing.T, server *pgserver.Server, tags string) *site {
	t.Helper()
	name := fmt.Sprintf("site%d", serial.Add(1))
	pgtest.Exec(t, server.DSN("postgres"), "CREATE DATABASE "+name)
	s := &site{t: t, super: server.DSN(name), rand: rand.New(rand.NewPCG(7, uint64(len(tags))))}
	var url string
	s.view, url = newView(t)
	pgtest.Exec(t, s.super, siteSchema)
	s.in = harness.Install(t, s.super, harness.Options{Server: server, Tags: tags, Source: "idle_advance = \"300ms\"", Config: fmt.Sprintf(`
[state]
lease = "5s"
[endpoints.erp]
url = %q
retry = { initial = "100ms", factor = 1, max = "1s", attempts = 1000 }
[[rules]]
name = "partner"
table = "partner"
on = ["create", "write", "unlink"]
endpoint = "erp"
[[rules]]
name = "new"
table = "partner"
on = ["create"]
event = "partner.new"
endpoint = "erp"
test = true
[[rules]]
name = "tag"
table = "tag"
on = ["create", "unlink"]
endpoint = "erp"
[[rules]]
name = "doc"
table = "doc"
on = ["create", "write", "unlink"]
endpoint = "erp"
[[rules]]
name = "doc_turned"
table = "doc"
on = ["write"]
when = "before.n == 3 && after.n == 103"
event = "doc.turned"
endpoint = "erp"
[[rules]]
name = "doc_new"
table = "doc"
on = ["create"]
event = "doc.new"
endpoint = "erp"
[[rules]]
name = "doc_gone"
table = "doc"
on = ["unlink"]
when = "before.n == 4"
event = "doc.gone"
endpoint = "erp"
[[rules]]
name = "line"
table = "line"
on = ["create", "write", "unlink"]
endpoint = "erp"
[images]
tables = ["doc", "line"]
`, url) + messageRule(server)})
	s.in.Must("setup", "--dsn", s.in.Owner)
	s.conn = pgtest.Connect(t, s.super)
	return s
}

// messageRule listens to messages, which PostgreSQL 14 and later send.
func messageRule(server *pgserver.Server) string {
	if server.Major() < 14 {
		return ""
	}
	return "[[rules]]\nname = \"message\"\non = [\"message\"]\nendpoint = \"erp\"\n"
}

func (s *site) sql(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.conn.Exec(context.Background(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

func (s *site) one(sql string) (text string) {
	s.t.Helper()
	if err := s.conn.QueryRow(context.Background(), "SELECT ("+sql+")::text").Scan(&text); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// start starts walhook run.
func (s *site) start() {
	s.t.Helper()
	s.log = &buffer{}
	s.cmd = s.in.Command("run", "--log-format", "json")
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = s.log, s.log, append(os.Environ(), s.env...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	cmd, log := s.cmd, s.log
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("walhook's log:\n%s", log.last(6000))
		}
	})
}

func (s *site) end(signal syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	_ = s.cmd.Wait()
}

func (s *site) until(what string, done func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// arrives waits until something written now has arrived.
func (s *site) arrives() {
	s.t.Helper()
	var id string
	if err := s.conn.QueryRow(context.Background(), "INSERT INTO partner (name, write_date, create_date) VALUES ('marker', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC') RETURNING id::text").Scan(&id); err != nil {
		s.t.Fatal(err)
	}
	s.until("a marker", func() bool { return s.view.all("partner")[id] != "" })
}

// writes does what Odoo's ORM does, n times: every write says when its transaction began.
func (s *site) writes(conn *pgx.Conn, r *rand.Rand, n int) {
	const stamp = `write_date = now() AT TIME ZONE 'UTC'`
	for range n {
		var sql string
		switch k := r.IntN(10); {
		case k < 3:
			sql = fmt.Sprintf("INSERT INTO partner (name, n, country, create_date, write_date) VALUES ('p', %d, %d, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')", r.IntN(1000), 1+r.IntN(10))
		case k < 7:
			sql = fmt.Sprintf("UPDATE partner SET n = n + %d, %s WHERE id IN (SELECT id FROM partner WHERE name <> 'raw' ORDER BY md5(id::text || '%d') LIMIT 3)", 1+r.IntN(9), stamp, r.IntN(1000))
		case k < 8:
			sql = fmt.Sprintf("DELETE FROM partner WHERE id IN (SELECT id FROM partner WHERE name <> 'raw' ORDER BY md5(id::text || '%d') LIMIT 1)", r.IntN(1000))
		case k < 9:
			sql = fmt.Sprintf("INSERT INTO tag VALUES (%d, %d) ON CONFLICT DO NOTHING", r.IntN(8), r.IntN(8))
		default:
			sql = fmt.Sprintf("DELETE FROM tag WHERE a = %d AND b = %d", r.IntN(8), r.IntN(8))
		}
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			s.t.Errorf("%s: %v", sql, err)
			return
		}
	}
}

// table is what is there.
func (s *site) table() map[string]string {
	s.t.Helper()
	rows, err := s.conn.Query(context.Background(), "SELECT id::text, name || ' ' || n FROM partner")
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]string{}
	var id, value string
	if _, err := pgx.ForEachRow(rows, []any{&id, &value}, func() error { out[id] = value; return nil }); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// lose makes the slot unusable: dropped, or given up by the server.
func (s *site) lose(how string) {
	s.t.Helper()
	if how == "dropped" {
		s.sql("SELECT pg_drop_replication_slot($1)", s.in.Slot)
		return
	}
	s.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
	s.sql("SELECT pg_reload_conf()")
	s.until("the slot to be lost", func() bool {
		for range 4 {
			s.sql("SELECT pg_switch_wal()")
			s.sql("INSERT INTO country (name) VALUES ('grow')")
		}
		s.sql("CHECKPOINT")
		return s.one("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '"+s.in.Slot+"'") == "lost"
	})
	s.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
	s.sql("SELECT pg_reload_conf()")
}

// A slot is lost while records are written: resync repairs all that write_date and the log can tell, also when it and walhook are killed on the way, and names
// the rest.
func TestResync(t *testing.T) {
	t.Parallel()
	server := ownServer(t, nil)
	for _, how := range []string{"dropped", "invalidated"} {
		t.Run(how, func(t *testing.T) {
			if how != "dropped" {
				pgtest.Needs(t, 13, "max_slot_wal_keep_size")
				long(t)
			}
			testResync(t, server, newSite(t, server, "failpoint"), how)
		})
	}
}

func testResync(t *testing.T, server *pgserver.Server, s *site, how string) {
	exact := how == "dropped"
	if exact { // walhook sees when others' transactions began
		s.sql("GRANT pg_read_all_stats TO walhook_" + databaseOf(t, s.super))
	}
	s.start()
	s.arrives()
	s.writes(s.conn, s.rand, 60)
	s.sql("INSERT INTO partner (name, n, country, write_date) SELECT 'raw', 0, 11 + i % 5, '2020-01-01' FROM generate_series(1, 10) i") // written past Odoo in the gap
	s.sql("INSERT INTO doc (name, n, owner, write_date) SELECT 'd', i % 6, CASE WHEN i <= 5 THEN 10 + i END, '2020-01-01' FROM generate_series(1, 12) i")
	s.sql("INSERT INTO line (doc, name, n) SELECT 11 + i % 2, 'l', i FROM generate_series(1, 4) i")
	s.arrives()
	s.until("images", func() bool {
		return s.one("SELECT count(*) = 2 AND bool_and(filled_at IS NOT NULL) FROM walhook.image_table") == "true"
	})
	s.end(syscall.SIGTERM)

	// An open transaction: it began before the gap, and commits within it.
	early := pgtest.Connect(t, s.super)
	if _, err := early.Exec(t.Context(), "BEGIN; INSERT INTO partner (name, n, write_date, create_date) VALUES ('early', 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')"); err != nil {
		t.Fatal(err)
	}
	var began string
	if err := early.QueryRow(t.Context(), "SELECT (now() AT TIME ZONE 'UTC')::text").Scan(&began); err != nil {
		t.Fatal(err)
	}
	s.start() // goes past what is open
	s.arrives()
	s.end(syscall.SIGTERM)
	s.lose(how)
	if _, err := early.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	told := s.view.all("partner")
	s.writes(s.conn, s.rand, 120)
	s.sql("UPDATE partner SET n = -1 WHERE name = 'raw' AND id % 2 = 0") // without write_date
	s.sql("DELETE FROM country WHERE id BETWEEN 11 AND 15")              // sets country to NULL in partner, which is not shown: the view differs in nothing
	s.sql("INSERT INTO tag VALUES (100, 1)")
	for _, sql := range docWrites {
		s.sql(sql)
	}

	rules := "9 rules (partner, new, tag, doc and 5 more)"
	if messageRule(server) == "" {
		rules = "8 rules (partner, new, tag, doc and 4 more)"
	}
	out, err := s.in.Walhook("run")
	if exitOf(err) != 3 || !contains(out, "changes are missed since") || !contains(out, rules+" on partner, tag, doc, line") || !contains(out, "walhook resync") || !contains(out, "--adopt") {
		t.Errorf("run: %v\n%s", err, out)
	}
	out, err = s.in.Walhook("resync", "--dry-run", "--json")
	var dry struct {
		Lost    []string
		Since   time.Time
		Derived string
		Rules   []struct {
			Rule     string
			Rows     int
			Gone     int      `json:"gone"`
			NotKnown []string `json:"not_known"`
			Remedy   string
		}
	}
	if err != nil || json.Unmarshal([]byte(out), &dry) != nil {
		t.Fatalf("dry run: %v\n%s", err, out)
	}
	if n := s.one("SELECT count(*) FROM walhook.resync"); n != "0" {
		t.Fatal("the dry run has changed something")
	}
	if begun, err := time.Parse("2006-01-02 15:04:05.999999", began); err != nil || !dry.Since.Before(begun) || exact != (begun.Sub(dry.Since) < 30*time.Second) {
		t.Errorf("since %s (%s), the transaction that was open began at %s (%v)", dry.Since, dry.Derived, began, err)
	}
	if len(dry.Lost) != 1 || !contains(dry.Lost[0], s.in.Slot) {
		t.Errorf("lost: %q", dry.Lost)
	}
	for _, r := range dry.Rules {
		switch r.Rule {
		case "partner":
			if r.Rows == 0 || r.Gone == 0 || !contains(strings.Join(r.NotKnown, "\n"), "SQL past Odoo") {
				t.Errorf("%+v", r)
			}
		case "doc":
			if r.Rows != 11 || r.Gone != 2 || contains(strings.Join(r.NotKnown, "\n"), "SQL past Odoo") {
				t.Errorf("%+v", r)
			}
		case "tag":
			if !contains(strings.Join(r.NotKnown, "\n"), "no write_date") || r.Remedy == "" {
				t.Errorf("%+v", r)
			}
		case "message":
			if !contains(strings.Join(r.NotKnown, "\n"), "nowhere but in WAL") {
				t.Errorf("%+v", r)
			}
		}
	}

	// Killed anywhere, and run again.
	points := []string{"resync-dropped", "resync-slot", "resync", "resynced"}
	if how == "dropped" {
		points = points[1:]
	}
	for _, point := range points {
		cmd := s.in.Command("resync", "--yes")
		cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT="+point+":1")
		out, err := cmd.CombinedOutput()
		if point == "resync-slot" && how == "invalidated" && err != nil && !contains(string(out), "failpoint "+point) {
			t.Fatalf("%s: %v\n%s", point, err, out)
		}
		if !contains(string(out), "failpoint "+point) {
			t.Fatalf("%s was not come by: %v\n%s", point, err, out)
		}
	}
	if out := s.in.Must("resync", "--yes"); !contains(out, "under way") {
		t.Errorf("a second resync: %s", out)
	}
	if n := s.one("SELECT count(*) FROM walhook.resync") + s.one("SELECT count(*) FROM walhook.adoption"); n != "11" {
		t.Errorf("resyncs and adoptions: %s", n)
	}

	if out, _ := s.in.Walhook("status"); !contains(out, "is under way: about") || !contains(out, "deletions left") { // nobody answers: it looks into the state
		t.Errorf("status: %s", out)
	}

	// What the stream brings before rows are compared: what they were before is not known to it.
	s.sql("UPDATE doc SET n = 800 WHERE id = 8")
	s.sql("DELETE FROM doc WHERE id = 12")
	s.sql("INSERT INTO doc (name, n) VALUES ('live', 14)")

	// Writers go on, and walhook is killed on the way.
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	other := pgtest.Connect(t, s.super)
	go func() {
		defer close(done)
		for r := rand.New(rand.NewPCG(1, 2)); ctx.Err() == nil; {
			s.writes(other, r, 1)
			time.Sleep(3 * time.Millisecond)
		}
	}()
	for _, point := range []string{"resync-told:1", "enqueued:3"} {
		s.env = []string{"WALHOOK_FAILPOINT=" + point}
		s.start()
		name, _, _ := strings.Cut(point, ":")
		s.until(point, func() bool { return contains(s.log.String(), "failpoint "+name) })
		_ = s.cmd.Wait()
	}
	s.env = nil
	s.start()
	s.until("the resync to be over", func() bool {
		return s.one("SELECT (SELECT count(*) FROM walhook.resync_gone) + (SELECT count(*) FROM walhook.job WHERE state <> 'done')") == "0"
	})
	stop()
	<-done
	s.arrives()

	want := s.table()
	unseen := 0
	for id, value := range told { // what write_date cannot tell stays as it was
		if value == "raw 0" && want[id] == "raw -1" {
			want[id] = value
			unseen++
		}
	}
	if unseen != 5 {
		t.Errorf("%d records were written past Odoo", unseen)
	}
	var diff string
	s.until("the receiver to know the table", func() bool {
		got := s.view.all("partner")
		diff = difference(want, got)
		return diff == "" || s.one("SELECT count(*) FROM walhook.queue") == "0"
	})
	if diff = difference(want, s.view.all("partner")); diff != "" {
		t.Errorf("the receiver's view differs: %s", diff)
	}
	for key, n := range s.view.gone {
		if n != 1 {
			t.Errorf("the resync told %d times that %s is gone", n, key)
		}
	}
	if s.view.ops["partner resync"] == 0 || len(s.view.gone) == 0 || s.view.ops["tag resync"] != 0 {
		t.Errorf("ops %v, gone %v", s.view.ops, s.view.gone)
	}
	if _, ok := s.view.all("tag")["100,1"]; ok {
		t.Error("a row without write_date was found")
	}
	var open int
	for key := range s.view.all("tag") { // deletions in a table without write_date are found by their keys
		a, b, _ := strings.Cut(key, ",")
		if s.one(fmt.Sprintf("SELECT count(*) FROM tag WHERE a = %s AND b = %s", a, b)) == "0" {
			open++
		}
	}
	if open > 0 {
		t.Errorf("%d tags are gone, and the receiver was not told", open)
	}
	s.checkDocs()
	if out := s.in.Must("resync", "show"); !contains(out, "done") || !contains(out, "no write_date") {
		t.Errorf("resync show: %s", out)
	}
	if out := s.in.Must("deliveries", "verify"); !contains(out, "missing") && !contains(out, "every number") {
		t.Logf("verify: %s", out)
	}
	if how == "dropped" {
		s.resyncsBesideWriters()
		s.deletesLate()
	}
	s.end(syscall.SIGTERM)
}

// docWrites are of tables in [images], with SQL past Odoo but for one.
var docWrites = []string{
	"UPDATE doc SET n = n + 100 WHERE id IN (3, 9)", // 3 becomes 103
	"UPDATE doc SET write_date = now() AT TIME ZONE 'UTC' WHERE id = 6",
	"UPDATE doc SET n = 77, write_date = now() AT TIME ZONE 'UTC' WHERE id = 7",
	"DELETE FROM doc WHERE id IN (10, 11)", // and two lines with 11
	"INSERT INTO doc (name, n) VALUES ('new', 13)",
}

// checkDocs looks at what has become of rows that had images: all that was missed is told, once, and as what it was.
func (s *site) checkDocs() {
	s.t.Helper()
	s.until("the deliveries of docs", func() bool { return s.one("SELECT count(*) FROM walhook.queue") == "0" })
	for model, list := range map[string]string{"doc": "name || ' ' || n || ' ' || coalesce(owner::text, '<nil>')", "line": "name || ' ' || n"} {
		want := map[string]string{}
		rows, err := s.conn.Query(context.Background(), "SELECT id::text, "+list+" FROM "+model)
		if err != nil {
			s.t.Fatal(err)
		}
		var id, value string
		if _, err := pgx.ForEachRow(rows, []any{&id, &value}, func() error { want[id] = value; return nil }); err != nil {
			s.t.Fatal(err)
		}
		if diff := difference(want, s.view.all(model)); diff != "" {
			s.t.Errorf("the receiver's view of %s differs: %s", model, diff)
		}
	}
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	repairs := map[string]int{}
	for key, n := range s.view.repairs {
		if strings.HasPrefix(key, "doc/") || strings.HasPrefix(key, "line/") {
			repairs[key] = n
		}
	}
	want := map[string]int{"doc/10 unlink": 1, "doc/11 unlink": 1, "line/2 unlink": 1, "line/4 unlink": 1, "doc/8 resync": 1, "doc/14 resync": 1}
	for _, id := range []int{1, 2, 3, 4, 5, 7, 9, 13} {
		want[fmt.Sprintf("doc/%d resync", id)] = 1
	}
	if !reflect.DeepEqual(repairs, want) {
		s.t.Errorf("told of rows with images: %v, not %v", repairs, want)
	}
	for what, n := range map[string]int{"doc.turned 3": 1, "doc.turned 9": 1, "doc.turned 7": 0, "doc.new 13": 1, "doc.new 7": 1, "doc.gone 10": 1, "doc.gone 11": 0} {
		if s.view.ops[what] != n {
			s.t.Errorf("%s came %d times; parked: %s", what, s.view.ops[what], s.one("SELECT coalesce(string_agg(rule || ' ' || record || ': ' || error, '; '), 'none') FROM walhook.parked"))
		}
	}
	for _, part := range []string{`"n":{"before":3,"after":103}`, `"owner":{"before":14,"after":null}`} {
		if !contains(strings.Join(s.view.bodies, "\n"), part) {
			s.t.Errorf("no resync shows %s:\n%s", part, strings.Join(s.view.bodies, "\n"))
		}
	}
	if !slices.ContainsFunc(s.view.bodies, func(body string) bool {
		return contains(body, `"model":"doc","op":"unlink","resync":true`) && contains(body, `"n":4`)
	}) {
		s.t.Error("no deletion shows the record as it was")
	}
}

// difference says in what two views differ; "" in nothing.
func difference(want, got map[string]string) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	var lines []string
	for id, value := range want {
		if got[id] != value {
			lines = append(lines, fmt.Sprintf("%s: %q in the table, %q at the receiver", id, value, got[id]))
		}
	}
	for id, value := range got {
		if _, ok := want[id]; !ok {
			lines = append(lines, fmt.Sprintf("%s: gone, %q at the receiver", id, value))
		}
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d records: %s", len(lines), strings.Join(lines[:min(len(lines), 5)], "; "))
}
