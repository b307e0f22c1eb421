package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// counted are tables whose rows count their writes up, one at a time, with images in place of old rows in WAL: a value before that is not one less than the one after was
// invented. Each row has a large text that no write touches, and that WAL leaves out.
type counted struct {
	t     *testing.T
	in    *harness.Installation
	conn  *pgx.Conn
	head  string
	nodes []*countedNode
}

// countedNode is a process.
type countedNode struct {
	cmd    *exec.Cmd
	log    strings.Builder
	config string
	listen string
}

const countedTables = `
CREATE TABLE one (id int PRIMARY KEY, n int NOT NULL, big text); ALTER TABLE one ALTER big SET STORAGE EXTERNAL;
CREATE TABLE two (id int PRIMARY KEY, n int NOT NULL, big text); ALTER TABLE two ALTER big SET STORAGE EXTERNAL;
CREATE TABLE tick (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
INSERT INTO one SELECT i, 0, repeat(md5('one' || i), 100) FROM generate_series(1, 200) i;
INSERT INTO two SELECT i, 0, repeat(md5('two' || i), 100) FROM generate_series(1, 200) i`

// countedRows is the number of rows of each table.
const countedRows = 200

const tickRule = "[[rules]]\nname = \"tick\"\ntable = \"tick\"\non = [\"create\"]\nendpoint = \"off\"\n"

func newCounted(t *testing.T) *counted {
	t.Helper()
	super := pgtest.Database(t)
	w := &counted{t: t, conn: pgtest.Connect(t, super)}
	w.exec("SET synchronous_commit = on")
	w.exec(countedTables)
	w.in = harness.Install(t, super, harness.Options{Source: "idle_advance = \"1s\"\nmemory = \"256KiB\""})
	text, err := os.ReadFile(w.in.Config)
	if err != nil {
		t.Fatal(err)
	}
	w.head = string(text) + "[state]\nlease = \"6s\"\n"
	return w
}

// config is the rest of a configuration: tables with images, and tables with a rule that reads what was before. The others have one on create.
func (w *counted) config(images, before string) string {
	text := fmt.Sprintf("[images]\ntables = [%s]\n[endpoints.off]\nurl = \"http://127.0.0.1:9\"\nactive = false\n", images)
	text += tickRule
	for _, table := range []string{"one", "two"} {
		rule := fmt.Sprintf("[[rules]]\nname = %[1]q\ntable = %[1]q\nendpoint = \"off\"\n", table)
		if strings.Contains(before, table) {
			rule += "on = [\"write\"]\nwhen = 'before.n != after.n'\npayload = { was = \"before.n\", now = \"after.n\", digest = \"sha256(after.big)\", old = \"sha256(before.big)\" }\n"
		} else {
			rule += "on = [\"create\"]\n"
		}
		text += rule
	}
	return text
}

func (w *counted) write(path, rest string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(w.head+rest), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *counted) exec(sql string) {
	w.t.Helper()
	if _, err := w.conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

// start runs a process by a configuration of its own that differs in the port alone, or, for the first one, by the installation's.
func (w *counted) start(args ...string) *countedNode {
	w.t.Helper()
	c := &countedNode{config: w.in.Config, listen: w.in.Listen}
	if len(w.nodes) > 0 && w.nodes[len(w.nodes)-1].cmd.ProcessState == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		c.config, c.listen = filepath.Join(w.t.TempDir(), "walhook.toml"), l.Addr().String()
		l.Close()
		text, err := os.ReadFile(w.in.Config)
		if err == nil {
			err = os.WriteFile(c.config, []byte(strings.Replace(string(text), w.in.Listen, c.listen, 1)), 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	c.cmd = exec.Command(harness.Binary(w.t, ""), append([]string{"run", "--log-format", "json", "--config", c.config}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if err := c.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, c)
	w.t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		if w.t.Failed() {
			w.t.Logf("a process said:\n%s", last(c.log.String(), 5000))
		}
	})
	return c
}

// stop ends a process, in order or not.
func (w *counted) stop(c *countedNode, sig syscall.Signal) {
	w.t.Helper()
	if err := c.cmd.Process.Signal(sig); err != nil {
		w.t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil && sig == syscall.SIGTERM {
		w.t.Errorf("walhook run: %v", err)
	}
}

// becomes waits until a process has a role.
func (w *counted) becomes(c *countedNode, role string) {
	w.t.Helper()
	client := http.Client{Timeout: time.Second}
	w.wait(c.listen+" to be the "+role, func() bool {
		r, err := client.Get("http://" + c.listen + "/status")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		var a struct{ Process struct{ Role string } }
		return json.NewDecoder(r.Body).Decode(&a) == nil && a.Process.Role == role
	})
}

func (w *counted) wait(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited for %s", what)
		}
	}
}

// is asks for a condition.
func (w *counted) is(condition string, args ...any) (ok bool) {
	w.t.Helper()
	if err := w.conn.QueryRow(context.Background(), "SELECT "+condition, args...).Scan(&ok); err != nil {
		w.t.Fatalf("%s: %v", condition, err)
	}
	return ok
}

// filled waits until every row of each of so many tables has an image.
func (w *counted) filled(tables int) {
	w.t.Helper()
	w.wait("images", func() bool {
		return w.is("count(*) = $1 AND bool_and(filled_at IS NOT NULL) FROM walhook.image_table WHERE removed_at IS NULL", tables)
	})
}

// handled waits until what is committed now is in the queue: a row that is committed after it is.
func (w *counted) handled() {
	w.t.Helper()
	var id int
	if err := w.conn.QueryRow(context.Background(), "INSERT INTO tick DEFAULT VALUES RETURNING id").Scan(&id); err != nil {
		w.t.Fatal(err)
	}
	w.wait("the stream", func() bool {
		return w.is("EXISTS (SELECT FROM walhook.delivery WHERE rule = 'tick' AND record = $1::text)", fmt.Sprint(id))
	})
}

// up counts rows of both tables up: some transactions with a few rows each.
func (w *counted) up(transactions int) {
	w.t.Helper()
	for n := range transactions {
		w.exec(fmt.Sprintf("BEGIN; UPDATE one SET n = n + 1 WHERE id %% 20 = %[1]d; UPDATE two SET n = n + 1 WHERE id %% 20 = %[1]d; COMMIT", n%20))
	}
}

// meanwhile counts up until the returned function is called.
func (w *counted) meanwhile() (end func()) {
	conn := pgtest.Connect(w.t, w.in.Super)
	var writing sync.WaitGroup
	done := make(chan struct{})
	writing.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if _, err := conn.PgConn().Exec(context.Background(), fmt.Sprintf("BEGIN; UPDATE one SET n = n + 1 WHERE id %% 50 = %[1]d; UPDATE two SET n = n + 1 WHERE id %% 50 = %[1]d; COMMIT", n%50)).ReadAll(); err != nil {
				w.t.Error(err)
				return
			}
		}
	})
	end = sync.OnceFunc(func() { close(done); writing.Wait() })
	w.t.Cleanup(end)
	return end
}

// mark is a moment: events from before it do not count in complete.
func (w *counted) mark() (seq int64) {
	w.t.Helper()
	w.handled()
	w.exec("DELETE FROM walhook.parked; CREATE TABLE IF NOT EXISTS marked (name text, id int, n int); DELETE FROM marked; INSERT INTO marked SELECT 'one', id, n FROM one UNION ALL SELECT 'two', id, n FROM two")
	if err := w.conn.QueryRow(context.Background(), "SELECT coalesce(max(seq), 0) FROM walhook.delivery").Scan(&seq); err != nil {
		w.t.Fatal(err)
	}
	return seq
}

const countedEvents = `(SELECT seq, rule, record::int AS id, (body #>> '{data,record,was}')::int AS was, (body #>> '{data,record,now}')::int AS now, body #>> '{data,record,digest}' AS digest, body #>> '{data,record,old}' AS old
	FROM (SELECT seq, rule, record, op, convert_from(body, 'UTF8')::jsonb AS body FROM walhook.delivery) d WHERE op = 'write') e`

// true checks that no value before was invented, in any event so far, and no text that WAL leaves out.
func (w *counted) true() {
	w.t.Helper()
	if !w.is("count(*) > 0 FROM " + countedEvents) {
		w.t.Error("there are no events")
	}
	var wrong *string
	if err := w.conn.QueryRow(context.Background(), `SELECT string_agg(format('%s %s: %s -> %s', rule, id, was, now), ', ') FROM `+countedEvents+
		` WHERE was IS DISTINCT FROM now - 1 OR digest IS DISTINCT FROM encode(sha256(repeat(md5(rule || id), 100)::bytea), 'hex') OR old IS DISTINCT FROM digest`).Scan(&wrong); err != nil {
		w.t.Fatal(err)
	}
	if wrong != nil {
		w.t.Errorf("invented: %s", last(*wrong, 2000))
	}
}

// complete checks that since a mark every write of a table has its event, once, and none is parked.
func (w *counted) complete(table string, seq int64) {
	w.t.Helper()
	w.handled()
	w.true()
	if !w.is("NOT EXISTS (SELECT FROM walhook.parked WHERE rule = $1)", table) {
		w.t.Errorf("events of %s are parked: what was before is not known", table)
	}
	if !w.is(fmt.Sprintf(`(SELECT sum(t.n - m.n) FROM %[1]s t JOIN marked m ON m.name = '%[1]s' AND m.id = t.id) = (SELECT count(*) FROM `, table)+countedEvents+` WHERE rule = $1 AND seq > $2)
		AND (SELECT count(DISTINCT (id, now)) = count(*) FROM `+countedEvents+` WHERE rule = $1 AND seq > $2)`, table, seq) {
		w.t.Errorf("the writes of %s since the mark do not have one event each", table)
	}
}

// A10 and C8: a reload names further tables under [images], takes tables out, is refused where a rule would lose what was before, and puts tables back that were written meanwhile: what was
// before is never taken from images that have missed something.
func TestImagesAcrossReloads(t *testing.T) {
	t.Parallel()
	w := newCounted(t)
	w.write(w.in.Config, w.config(`"one"`, "one"))
	w.in.Must("setup", "--dsn", w.in.Owner)
	c := w.start()
	w.filled(1)
	w.becomes(c, "reader")
	since := w.mark()
	w.up(20)
	w.complete("one", since)

	// Another table, while it is written. Setup grants the right to read its rows, and leaves its identity alone.
	end := w.meanwhile()
	w.write(w.in.Config, w.config(`"one", "two"`, "one two"))
	w.in.Must("setup", "--dsn", w.in.Owner)
	w.in.Must("reload")
	if !w.is("bool_and(relreplident = 'd') FROM pg_class WHERE relname IN ('one', 'two')") {
		t.Error("setup has changed a replica identity")
	}
	w.filled(2)
	end()
	w.complete("one", since)
	since = w.mark()
	w.up(20)
	w.complete("one", since)
	w.complete("two", since)

	// A table whose rule reads what was before cannot be taken out, unless WAL has it.
	w.write(w.in.Config, w.config(`"two"`, "one two"))
	if out, err := w.in.Walhook("reload"); exitStatus(err) != 1 || !strings.Contains(out, "public.one has no REPLICA IDENTITY FULL") || !strings.Contains(out, "name it in [images] tables") {
		t.Errorf("taken out although a rule needs it: %v\n%s", err, out)
	}
	w.up(5)
	w.complete("one", since)

	// It is taken out with its rule, and written: the images go. Put back, it is filled anew, and nothing comes from the images of before.
	w.write(w.in.Config, w.config(`"two"`, "two"))
	w.in.Must("reload")
	w.filled(1)
	w.up(20)
	w.complete("two", since)
	w.write(w.in.Config, w.config(`"one", "two"`, "one two"))
	end = w.meanwhile()
	w.in.Must("reload")
	w.filled(2)
	end()
	w.handled()
	w.true()
	since = w.mark()
	w.up(20)
	w.complete("one", since)
	w.complete("two", since)

	// A kill right after a reload, and a transaction that goes to a file.
	w.write(w.in.Config, w.config(`"two"`, "two"))
	w.in.Must("reload")
	w.stop(c, syscall.SIGKILL)
	w.exec("UPDATE one SET n = n + 1; UPDATE two SET n = n + 1")
	w.write(w.in.Config, w.config(`"two", "one"`, "one two"))
	w.start()
	w.filled(2)
	w.handled()
	w.true()
	since = w.mark()
	w.exec("UPDATE one SET n = n + 1; UPDATE two SET n = n + 1")
	w.complete("one", since)
	w.complete("two", since)
}

// A10 and F4: the stand-by takes over, after a kill and in order, and goes on with the images as they are at the position: every write has its event with what was before.
func TestImagesThroughATakeOver(t *testing.T) {
	t.Parallel()
	w := newCounted(t)
	w.write(w.in.Config, w.config(`"one", "two"`, "one two"))
	w.in.Must("setup", "--dsn", w.in.Owner)
	a := w.start()
	w.filled(2)
	w.becomes(a, "reader")
	b := w.start()
	w.becomes(b, "standby")
	since := w.mark()
	end := w.meanwhile()
	w.up(20)
	w.exec("UPDATE one SET n = n + 1; UPDATE two SET n = n + 1") // more than is held in memory
	w.stop(a, syscall.SIGKILL)
	w.becomes(b, "reader")
	w.up(10)
	a = w.start() // another port: b has the installation's neighbour
	w.becomes(a, "standby")
	w.stop(b, syscall.SIGTERM)
	w.becomes(a, "reader")
	w.up(10)
	end()
	w.complete("one", since)
	w.complete("two", since)
}

// A10: after a gap that run --adopt accepts, nothing is taken from the images of before it. Events whose before is not known are parked until the tables are filled again.
func TestImagesAfterAnAdoptedGap(t *testing.T) {
	t.Parallel()
	w := newCounted(t)
	w.write(w.in.Config, w.config(`"one", "two"`, "one two"))
	w.in.Must("setup", "--dsn", w.in.Owner)
	c := w.start()
	w.filled(2)
	since := w.mark()
	w.up(20)
	w.complete("one", since)
	w.stop(c, syscall.SIGTERM)
	w.exec("SELECT pg_drop_replication_slot('" + w.in.Slot + "')")
	w.exec("UPDATE one SET n = n + 1 WHERE id <= 100") // nobody reads it
	if out, err := w.in.Walhook("setup", "--dsn", w.in.Owner); exitStatus(err) != 3 || !strings.Contains(out, "walhook run --adopt") {
		t.Fatalf("setup after the slot was dropped: %v\n%s", err, out)
	}
	w.exec("UPDATE one SET n = n + 1 WHERE id IN (7, 107)") // read, of rows that were and were not written in the gap
	end := w.meanwhile()
	w.start("--adopt")
	w.wait("the gap to be accepted", func() bool { return w.is("EXISTS (SELECT FROM walhook.adoption)") })
	w.filled(2)
	end()
	w.handled()
	w.true()
	if !w.is("EXISTS (SELECT FROM walhook.parked WHERE rule = 'one' AND record = '7') AND EXISTS (SELECT FROM walhook.parked WHERE rule = 'one' AND record = '107')") {
		t.Error("what was before the first write after the gap is not known, and the event is not parked")
	}
	since = w.mark()
	w.up(20)
	w.complete("one", since)
	w.complete("two", since)
	if !w.is("count(*) = $1 AND count(DISTINCT i.generation) = 1 FROM walhook.image i JOIN walhook.image_table t ON t.id = i.tbl AND t.generation = i.generation", 2*countedRows) {
		t.Error("there is not an image of each row")
	}
}

// A column is dropped and another one made under its name, of the same type or not, and nothing is written in between: WAL describes the table as before. What the old column held is never told as
// what was before in the new one: under REPLICA IDENTITY FULL, with images, and where walhook comes later than all of it.
func TestAColumnMadeAnewInSilence(t *testing.T) {
	t.Parallel()
	super := pgtest.Database(t)
	conn := pgtest.Connect(t, super)
	w := &counted{t: t, conn: conn}
	w.exec("SET synchronous_commit = on")
	for _, table := range []string{"whole", "imgs"} {
		w.exec(fmt.Sprintf("CREATE TABLE %[1]s (id int PRIMARY KEY, n int NOT NULL, a text); INSERT INTO %[1]s SELECT i, 0, '1' FROM generate_series(1, 50) i", table))
	}
	w.exec("CREATE TABLE tick (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
	rules := tickRule
	for _, table := range []string{"whole", "imgs"} {
		rules += fmt.Sprintf("[[rules]]\nname = %[1]q\ntable = %[1]q\non = [\"write\"]\nendpoint = \"off\"\npayload = { was = \"before.n\", now = \"after.n\", old = \"before.a\" }\n", table)
	}
	w.in = harness.Install(t, super, harness.Options{Config: "[images]\ntables = [\"imgs\"]\n[endpoints.off]\nurl = \"http://127.0.0.1:9\"\nactive = false\n" + rules})
	w.in.Must("setup", "--dsn", w.in.Owner)
	c := w.start()
	w.filled(1)
	both := func(sql string) { w.exec(both2(sql)) }
	// old is what the events since tell of before.a, by rule: "-" where it is not known.
	old := func(rule string, since int64) (list string) {
		t.Helper()
		if err := conn.QueryRow(context.Background(), `SELECT coalesce(string_agg(DISTINCT CASE WHEN b #> '{data,record}' ? 'old' THEN coalesce(b #>> '{data,record,old}', 'NULL') ELSE '-' END, ' '), '') FROM (SELECT seq, rule, convert_from(body, 'UTF8')::jsonb AS b FROM walhook.delivery) d
			WHERE rule = $1 AND seq > $2`, rule, since).Scan(&list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	seq := func() (n int64) {
		t.Helper()
		w.handled()
		if err := conn.QueryRow(context.Background(), "SELECT coalesce(max(seq), 0) FROM walhook.delivery").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	both("UPDATE @ SET n = n + 1")
	w.handled()
	if got := old("whole", 0) + old("imgs", 0); got != "11" {
		t.Fatalf("before anything is dropped: %q", got)
	}
	for round, typ := range []string{"text", "int", "text"} {
		since := seq()
		both("ALTER TABLE @ DROP a; ALTER TABLE @ ADD a " + typ)
		both("UPDATE @ SET n = n + 1 WHERE id <= 25")
		w.handled()
		if got := old("whole", since); got != "NULL" {
			t.Errorf("%s: under FULL the new column was %q before", typ, got)
		}
		if got := old("imgs", since); strings.Contains(got, "1") {
			t.Errorf("%s: from images the new column was %q before", typ, got)
		}
		w.wait("another walk through the table", func() bool {
			return w.is("count(*) >= $1 FROM walhook.job WHERE kind = 'image' AND state = 'done'", round+2)
		})
		w.filled(1)
		since = seq()
		both("UPDATE @ SET n = n + 1, a = '1'")
		w.handled()
		if full, imgs := old("whole", since), old("imgs", since); full != "NULL" || imgs != "NULL" {
			t.Errorf("%s: once the table is filled again: %q under FULL, %q from images", typ, full, imgs)
		}
	}

	// The same while walhook is away: when it looks, the catalog is ahead of what it reads.
	since := seq()
	w.stop(c, syscall.SIGTERM)
	both("UPDATE @ SET n = n + 1")
	both("ALTER TABLE @ DROP a; ALTER TABLE @ ADD a text")
	both("UPDATE @ SET n = n + 1")
	w.start()
	w.handled()
	if got := old("whole", since); got != "1 NULL" {
		t.Errorf("under FULL: %q", got)
	}
	if !w.is(`NOT EXISTS (SELECT FROM (SELECT seq, rule, convert_from(body, 'UTF8')::jsonb AS b FROM walhook.delivery) d WHERE rule = 'imgs' AND seq > $1
		AND b #>> '{data,record,old}' = '1' AND (b #>> '{data,record,now}')::int = (SELECT n FROM imgs WHERE id = (b #>> '{data,id}')::int))`, since) {
		t.Error("from images: the second write tells of the column that was dropped before it")
	}
}

// both2 does something to the table under FULL and to the one with images; @ stands for it.
func both2(sql string) string {
	return strings.ReplaceAll(sql, "@", "whole") + "; " + strings.ReplaceAll(sql, "@", "imgs")
}
