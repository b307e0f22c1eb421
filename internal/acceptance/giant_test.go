package acceptance

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"walhook/internal/failpoint"
)

// long skips the forms of the tests of memory that take minutes: WALHOOK_LONG=1, `make giant`.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("WALHOOK_LONG") == "" {
		t.Skip("takes minutes; set WALHOOK_LONG=1, or run: make giant")
	}
}

// A transaction of 200,000 rows, of which a part makes events, killed while it is spilled and while it is enqueued.
func TestGiantTransaction(t *testing.T) {
	t.Parallel()
	giant{rows: 200_000, every: 8, live: 100, kills: []kill{{failpoint.Spill, 20}, {failpoint.Segment, 20}}}.run(t)
}

// Every row makes two events, one for a receiver that takes them as fast as it can, and one for a receiver that answers 503.
func TestGiantTransaction200k(t *testing.T) {
	long(t)
	giant{rows: 200_000, every: 1, live: 1, dead: true, kills: []kill{
		{failpoint.Spill, 1}, {failpoint.Spill, 60}, {failpoint.Merge, 1}, {failpoint.Enqueue, 3}, {failpoint.Segment, 100}, {failpoint.Enqueued, 200}, {failpoint.Segment, 1}}}.run(t)
}

// A million rows, every one of which makes two events: one for a receiver that takes them as fast as it can, and one
// for an endpoint that is not active.
func TestGiantTransaction1M(t *testing.T) {
	long(t)
	giant{rows: 1_000_000, every: 1, live: 1, kills: []kill{{failpoint.Spill, 300}, {failpoint.Segment, 700}, {failpoint.Enqueue, 900}}}.run(t)
}

// Of a million rows hardly one makes an event.
func TestGiantTransaction1MFewMatch(t *testing.T) {
	long(t)
	giant{rows: 1_000_000, every: 10_000, live: 10_000, kills: []kill{{failpoint.Spill, 300}, {failpoint.Merge, 1}}}.run(t)
}

// A million deliveries wait for an endpoint that is dead: one answers 500, one refuses connections. walhook is
// killed and started again in that state, and goes on with what is new.
func TestBacklog(t *testing.T) {
	long(t)
	for name, dead := range map[string]func(*giantFixture) string{
		"500": func(f *giantFixture) string { return f.dead.URL + "/dead" },
		"refused": func(f *giantFixture) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				f.t.Fatal(err)
			}
			defer l.Close()
			return "http://" + l.Addr().String()
		},
	} {
		t.Run(name, func(t *testing.T) { backlog(t, 1_000_000, dead) })
	}
}

func backlog(t *testing.T, rows int, dead func(*giantFixture) string) {
	f := newGiantFixture(t)
	f.dead.down.Store(true)
	f.install(1000, fmt.Sprintf(`
[endpoints.live]
url = "%s/live"

[endpoints.dead]
url = %q

[[rules]]
name = "thing"
table = "thing"
on = ["write"]
endpoint = "live"

[[rules]]
name = "other"
table = "other"
on = ["create"]
endpoint = "dead"
`, f.live.URL, dead(f)))
	f.start("")
	f.exec(fmt.Sprintf("INSERT INTO other SELECT i, repeat('w', 600) FROM generate_series(1, %d) i", rows))
	f.stage("one transaction of %d rows for a dead endpoint", rows)
	f.wait("the backlog", func() bool { return f.count("queue") >= rows })
	f.stage("%d deliveries wait", rows)
	sent := 0
	stream := func(n int) { // single transactions for the other endpoint
		f.t.Helper()
		for range n {
			sent += 1000
			f.exec(`DO $$ BEGIN FOR i IN 1..1000 LOOP UPDATE thing SET qty = qty + 1 WHERE id = i; COMMIT; END LOOP; END $$`)
		}
		f.wait("what is new", func() bool { return f.live.distinct() >= sent }) // some of it twice after a kill
		f.stage("%d transactions delivered beside it", 1000*n)
	}
	stream(5)
	f.kill()
	f.start("")
	f.stage("killed and started again")
	stream(20)
	f.stop()
	if n := f.count("queue"); n != rows {
		t.Errorf("%d deliveries wait, want %d", n, rows)
	}
	if logged, ids := f.count("delivery"), f.live.distinct(); logged != rows+sent || ids != sent {
		t.Errorf("%d deliveries are in the log and %d arrived, want %d and %d", logged, ids, rows+sent, sent)
	}
	f.frugal()
}

// Large bodies for one receiver that takes them and one that answers each with an error page of 50 KiB.
func TestBacklogOfLargeBodies(t *testing.T) {
	long(t)
	page := strings.Repeat("<p>Internal Server Error</p>\n", 1800)
	for _, c := range []struct{ rows, body int }{{8000, 600}, {3000, 100_000}} {
		t.Run(fmt.Sprintf("%d bytes", c.body), func(t *testing.T) {
			f := newGiantFixture(t)
			f.dead.down.Store(true)
			f.dead.page = page
			f.install(1000, fmt.Sprintf(`
[endpoints.live]
url = "%s/live"

[endpoints.dead]
url = "%s/dead"
breaker = { failures = 0 } # each is to be answered with a page

[[rules]]
name = "other"
table = "other"
on = ["create"]
endpoints = ["live", "dead"]
fields = ["id", "note"]
`, f.live.URL, f.dead.URL))
			f.start("")
			f.exec(fmt.Sprintf("INSERT INTO other SELECT i, repeat(md5(i::text), %d) FROM generate_series(1, %d) i", c.body/32, c.rows))
			f.wait("the receiver", func() bool { return f.live.distinct() >= c.rows })
			f.wait("attempts", func() bool { return f.count("attempt") >= 2*c.rows })
			f.stage("%d deliveries answered with %d bytes", c.rows, len(page))
			f.stop()
			f.frugal()
		})
	}
}

// giant is one large transaction: rows that exist before it are updated several times far apart, deleted, inserted again,
// given another key; rows are inserted, updated and deleted again; a savepoint is rolled back.
type giant struct {
	rows  int
	every int    // one of so many ids makes an event that waits: its endpoint is not active, or dead
	live  int    // one of so many ids makes an event for a receiver that takes it at once
	dead  bool   // the endpoint of the former is tried, and answers 503
	kills []kill // one life of walhook after the other
}

// kill is the end of a life: at the nth hit of a fail point.
type kill struct {
	point failpoint.Point
	hit   int
}

func (g giant) run(t *testing.T) {
	f := newGiantFixture(t)
	f.dead.down.Store(true)
	rule := func(name, endpoint string, every int) string {
		return fmt.Sprintf("\n[[rules]]\nname = %q\ntable = \"thing\"\non = [\"create\", \"write\", \"unlink\"]\nendpoint = %q\nwhen = '(op == \"unlink\" ? before.id : after.id) %% %d == 0'\n",
			name, endpoint, every)
	}
	f.install(g.rows, fmt.Sprintf("[endpoints.live]\nurl = %q\n[endpoints.waiting]\nurl = %q\nactive = %t\n", f.live.URL+"/live", f.dead.URL+"/dead", g.dead)+
		rule("live", "live", g.live)+rule("waiting", "waiting", g.every)+`
[[rules]]
name = "never"
table = "thing"
on = ["create", "write", "unlink"]
endpoint = "waiting"
when = 'op == "write" && before.qty > 1000000'
`)
	f.start(armed(g.kills, 0))
	f.play(g.rows)
	f.stage("transaction of %d rows committed", g.rows)
	for i, k := range g.kills {
		f.stopped(k)
		f.kill()
		f.stage("killed at %s %d; %d deliveries in the log", k.point, k.hit, f.count("delivery"))
		f.start(armed(g.kills, i+1))
	}
	live, waiting := f.expected(g.live), f.expected(g.every)
	f.wait("everything to be enqueued", func() bool { return f.count("delivery") >= live+waiting })
	f.stage("%d deliveries enqueued", live+waiting)
	f.compare("live", g.live, live)
	f.compare("waiting", g.every, waiting)
	f.wait("the receiver", func() bool { return f.live.distinct() >= live })
	f.stage("%d delivered", live)
	f.wait("the queue", func() bool { return f.count("queue") == waiting })
	f.stage("outcomes committed")
	f.stop()
	f.stage("stopped")
	if n := f.live.distinct(); n != live {
		t.Errorf("the receiver has %d events, want %d", n, live)
	}
	if f.files == 0 {
		t.Error("no temporary file was seen: the transaction was not a giant")
	}
	f.frugal()
}

// armed is the environment's word for the ith kill; nothing after the last one.
func armed(kills []kill, i int) string {
	if i == len(kills) {
		return ""
	}
	return fmt.Sprintf("%s:%d:stop", kills[i].point, kills[i].hit)
}

// play runs the transaction.
func (f *giantFixture) play(rows int) {
	f.t.Helper()
	f.exec(fmt.Sprintf(`
		BEGIN;
		UPDATE thing SET qty = qty + 1;
		SAVEPOINT s;
		UPDATE thing SET name = 'ghost' WHERE id %% 10 = 0;
		INSERT INTO thing SELECT i, 'ghost', 0 FROM generate_series(%[1]d * 10, %[1]d * 10 + %[1]d / 50) i;
		ROLLBACK TO s;
		INSERT INTO thing SELECT i, 'new ' || i, 0 FROM generate_series(%[1]d + 1, %[1]d + %[1]d / 10) i;
		UPDATE thing SET qty = qty + 10, state = 'done' WHERE id %% 3 = 0;
		DELETE FROM thing WHERE id %% 20 = 0;
		UPDATE thing SET qty = qty + 100, note = 'seven' WHERE id %% 7 = 0;
		INSERT INTO thing SELECT id, 'again', -1 FROM before WHERE id %% 40 = 0;
		UPDATE thing SET id = -id WHERE id %% 101 = 0;
		UPDATE thing SET qty = qty + 1000 WHERE id %% 11 = 0;
		COMMIT`, rows))
}

// netChanges is the oracle: what the transaction did to each record, read off the table's state before and after.
const netChanges = `SELECT coalesce(a.id, b.id)::text AS record, CASE WHEN b IS NULL THEN 'create' WHEN a IS NULL THEN 'unlink' ELSE 'write' END AS op,
		b.qty AS qty_before, a.qty AS qty_after, coalesce(a.name, b.name) AS name, b.name AS name_before, coalesce(a.note, b.note) AS note
	FROM before b FULL JOIN thing a USING (id) WHERE b IS DISTINCT FROM a AND id %% %d = 0`

func (f *giantFixture) expected(every int) (n int) {
	f.t.Helper()
	f.scan("SELECT count(*) FROM ("+fmt.Sprintf(netChanges, every)+") x", &n)
	return n
}

// compare holds a rule's log against the oracle: each net change once, with the first before and the last after.
func (f *giantFixture) compare(rule string, every, events int) {
	f.t.Helper()
	var logged, ids, wrong int
	f.scan("SELECT count(*), count(DISTINCT id) FROM walhook.delivery WHERE rule = '"+rule+"'", &logged, &ids)
	if logged != events || ids != events {
		f.t.Errorf("rule %s: %d deliveries with %d ids in the log, want %d", rule, logged, ids, events)
	}
	f.scan(`WITH want AS (`+fmt.Sprintf(netChanges, every)+`), got AS MATERIALIZED (
			SELECT record, op, convert_from(body, 'UTF8')::jsonb -> 'data' AS data FROM walhook.delivery WHERE rule = '`+rule+`'
		)
		SELECT count(*) FROM want FULL JOIN got USING (record, op)
		WHERE want.name IS NULL OR data IS NULL
			OR data -> 'record' ->> 'id' IS DISTINCT FROM record
			OR data -> 'record' ->> 'name' IS DISTINCT FROM name
			OR op <> 'write' AND data -> 'record' ->> 'note' IS DISTINCT FROM note
			OR (data -> 'record' ->> 'qty')::int IS DISTINCT FROM coalesce(qty_after, qty_before)
			OR op = 'write' AND qty_before <> qty_after AND (data -> 'changes' -> 'qty' ->> 'before')::int IS DISTINCT FROM qty_before
			OR op = 'write' AND (data -> 'changes' -> 'name' ->> 'before') IS DISTINCT FROM nullif(name_before, name)`, &wrong)
	if wrong != 0 {
		f.t.Errorf("rule %s: %d of %d events are missing, doubled or not the net change", rule, wrong, events)
	}
}

// A temporary file that finds no room stops the stream at this transaction, says what to do, and goes on by itself once there is room.
func TestGiantTransactionWithoutRoom(t *testing.T) {
	t.Parallel()
	disk := newSmallDisk(t)
	f := newGiantFixture(t)
	f.temp = disk.dir
	f.install(40_000, fmt.Sprintf(`
[endpoints.live]
url = "%s/live"

[[rules]]
name = "thing"
table = "thing"
on = ["write"]
endpoint = "live"
when = 'after.id %% 100 == 0'
`, f.live.URL))
	f.start("")
	disk.limit(f.pid())
	f.exec("UPDATE thing SET qty = qty + 1")
	f.exec("UPDATE thing SET qty = qty + 1 WHERE id = 100")
	f.wait("two failures", func() bool { return strings.Count(f.log(), disk.message) >= 2 })
	if log := f.log(); !strings.Contains(log, "make room in "+f.temp) || !strings.Contains(log, "source.temp_dir") {
		t.Errorf("the log has no hint:\n%s", last(log, 4000))
	}
	if n := f.count("delivery"); n != 0 {
		t.Errorf("%d deliveries of a transaction that was not read, or of one behind it", n)
	}
	disk.grow(f.pid())
	f.wait("both transactions", func() bool { return f.live.distinct() >= 401 })
	f.stop()
	if logged, ids := f.count("delivery"), f.live.distinct(); logged != 401 || ids != 401 {
		t.Errorf("%d deliveries in the log, %d arrived, want 401", logged, ids)
	}
	if entries, err := os.ReadDir(f.temp); err != nil || len(entries) > 0 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}

// count is the number of rows of a table of the state.
func (f *giantFixture) count(table string) (n int) {
	f.t.Helper()
	f.scan("SELECT count(*) FROM walhook."+table, &n)
	return n
}

func (f *giantFixture) scan(query string, into ...any) {
	f.t.Helper()
	if err := f.conn.QueryRow(context.Background(), query).Scan(into...); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
}

// openTemporary is the size of the files without a name that a process has open.
func openTemporary(pid int) (size int64) {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return 0
	}
	for _, name := range names {
		if to, err := os.Readlink(name); err != nil || !strings.HasSuffix(to, " (deleted)") {
			continue
		}
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
	}
	return size
}
