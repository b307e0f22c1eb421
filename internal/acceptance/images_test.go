package acceptance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/internal/failpoint"
	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// twins are two sets of tables to which the same is done in the same transactions: one has REPLICA IDENTITY FULL, of the other images are kept. Nobody
// may be able to tell them apart by what walhook makes of them (A10).
type twins struct {
	t    *testing.T
	in   *harness.Installation
	conn *pgx.Conn
	cmd  *exec.Cmd
	log  strings.Builder
	rand *rand.Rand
	next int
}

const twinTables = `
CREATE TABLE %[1]s_doc (id int PRIMARY KEY, name text, qty numeric(12,2), flag boolean, note text, big text, tags text[], data jsonb, access_token text, write_date timestamp);
ALTER TABLE %[1]s_doc ALTER big SET STORAGE EXTERNAL, ALTER data SET STORAGE EXTERNAL;
CREATE TABLE %[1]s_pair (a int, b text, note text, big text, PRIMARY KEY (a, b));
ALTER TABLE %[1]s_pair ALTER big SET STORAGE EXTERNAL;
INSERT INTO %[1]s_doc SELECT i, 'doc ' || i, i, i %% 2 = 0, NULL, CASE WHEN i %% 3 = 0 THEN repeat(md5(i::text), 100) END, ARRAY['a', NULL], jsonb_build_object('n', repeat(md5(i::text), 80)), 'token ' || i, '2026-01-01 10:00:00.5'
	FROM generate_series(1, 300) i;
INSERT INTO %[1]s_pair SELECT i %% 10, 'k,' || i, 'pair', repeat('x', 3000 * (i %% 2)) FROM generate_series(1, 60) i;`

const twinRules = `
[[rules]]
name = "%[1]s_net"
table = "%[1]s_doc"
on = ["create", "write", "unlink"]
endpoint = "off"
[[rules]]
name = "%[1]s_when"
table = "%[1]s_doc"
on = ["write", "unlink"]
when = 'before.qty != 7 && (op == "unlink" || changed("name", "big", "data"))'
endpoint = "off"
payload = { old = "before.big", new = "after.data" }
[[rules]]
name = "%[1]s_each"
table = "%[1]s_doc"
on = ["create", "write", "unlink"]
each_write = true
endpoint = "off"
[[rules]]
name = "%[1]s_pairs"
table = "%[1]s_pair"
on = ["create", "write", "unlink"]
endpoint = "off"
`

func newTwins(t *testing.T) *twins {
	t.Helper()
	w := &twins{t: t, rand: rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano()))), next: 1000}
	super := pgtest.Database(t)
	w.conn = pgtest.Connect(t, super)
	w.exec("SET synchronous_commit = on") // so that the end of WAL, as far as it is written, has what was committed
	w.exec(fmt.Sprintf(twinTables, "full"))
	w.exec(fmt.Sprintf(twinTables, "imgs"))
	w.in = harness.Install(t, super, harness.Options{Tags: "failpoint", Source: "idle_advance = \"1s\"\nmemory = \"384KiB\"", Config: `
[images]
tables = ["imgs_doc", "public.imgs_pair"]
[endpoints.off]
url = "http://127.0.0.1:9"
active = false
` + fmt.Sprintf(twinRules, "full") + fmt.Sprintf(twinRules, "imgs")})
	t.Cleanup(w.kill)
	return w
}

func (w *twins) exec(sql string) {
	w.t.Helper()
	if _, err := w.conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
}

func (w *twins) start(armed string) {
	w.t.Helper()
	w.cmd = w.in.Command("run", "--log-format", "json")
	w.cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT="+armed)
	w.cmd.Stdout, w.cmd.Stderr = &w.log, &w.log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *twins) kill() {
	if w.cmd == nil {
		return
	}
	_ = w.cmd.Process.Kill() // it may have ended by itself
	_ = w.cmd.Wait()
	w.cmd = nil
}

// died waits until the process has ended at its fail point.
func (w *twins) died() {
	w.t.Helper()
	timer := time.AfterFunc(60*time.Second, func() { _ = w.cmd.Process.Kill() })
	_ = w.cmd.Wait()
	if !timer.Stop() {
		w.t.Fatalf("it never came to its fail point\n%s", last(w.log.String(), 4000))
	}
	w.cmd = nil
}

// until polls a condition.
func (w *twins) until(what, condition string, args ...any) {
	w.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var ok bool
		if err := w.conn.QueryRow(context.Background(), "SELECT "+condition, args...).Scan(&ok); err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
		if ok {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("waited for %s\n%s", what, last(w.log.String(), 6000))
		}
	}
}

func (w *twins) filled() {
	w.t.Helper()
	w.until("images", "count(*) = 2 AND bool_and(filled_at IS NOT NULL) FROM walhook.image_table")
}

// handled waits until what is committed now is in the queue.
func (w *twins) handled() {
	w.t.Helper()
	var lsn string
	if err := w.conn.QueryRow(context.Background(), "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
		w.t.Fatal(err)
	}
	w.until("position "+lsn, "lsn >= $1::text::pg_lsn FROM walhook.source", lsn)
}

// both does something to both sets of tables; @ stands for the set.
func both(sql string) string {
	return strings.ReplaceAll(sql, "@", "full") + ";\n" + strings.ReplaceAll(sql, "@", "imgs") + ";\n"
}

// statement is a random one.
func (w *twins) statement() string {
	r, id := w.rand, 1+w.rand.IntN(330)
	w.next++
	switch r.IntN(17) {
	case 0:
		return both(fmt.Sprintf("INSERT INTO @_doc (id, name, qty, big, access_token) VALUES (%d, 'new', %d, %s, 'secret')", w.next, r.IntN(9), []string{"NULL", "repeat('n', 4000)"}[r.IntN(2)]))
	case 1:
		return both(fmt.Sprintf("DELETE FROM @_doc WHERE id = %d", id))
	case 2:
		return both(fmt.Sprintf("UPDATE @_doc SET big = repeat('%d', 1000) WHERE id = %d", w.next, id))
	case 3:
		return both(fmt.Sprintf("UPDATE @_doc SET id = %d WHERE id = %d", w.next, id)) // the key, with unchanged TOAST
	case 4:
		return both(fmt.Sprintf("UPDATE @_doc SET id = %d, name = 'twice' WHERE id = (SELECT max(id) FROM @_doc)", w.next))
	case 5:
		return both(fmt.Sprintf("DELETE FROM @_doc WHERE id = %[1]d; INSERT INTO @_doc (id, name, qty) VALUES (%[1]d, 'again', 3)", id))
	case 6:
		return both(fmt.Sprintf("UPDATE @_doc SET write_date = now() WHERE id = %d", id)) // nothing that counts
	case 7:
		return both(fmt.Sprintf("UPDATE @_doc SET access_token = '%d' WHERE id BETWEEN %d AND %d", w.next, id, id+3))
	case 8:
		return "SAVEPOINT s;\n" + both(fmt.Sprintf("UPDATE @_doc SET name = 'rolled back', big = NULL WHERE id <= %d", id%20)) + "ROLLBACK TO SAVEPOINT s;\n"
	case 9:
		return "SAVEPOINT s;\n" + both(fmt.Sprintf("UPDATE @_doc SET note = 'kept %d' WHERE id = %d", w.next, id)) + "RELEASE SAVEPOINT s;\n"
	case 10:
		return both(fmt.Sprintf("UPDATE @_pair SET note = note || '%d' WHERE a = %d", w.next%7, id%10))
	case 11:
		return both(fmt.Sprintf("UPDATE @_pair SET b = '%d\\,' WHERE (a, b) = (SELECT a, b FROM @_pair ORDER BY a, b OFFSET %d LIMIT 1)", w.next, id%40))
	case 12:
		return both(fmt.Sprintf("INSERT INTO @_pair VALUES (%d, '%d', NULL, repeat('y', 2500))", id%10, w.next))
	case 13:
		return both(fmt.Sprintf("UPDATE @_doc SET qty = qty + 1, name = NULL WHERE id BETWEEN %d AND %d", id, id+8))
	}
	return both(fmt.Sprintf("UPDATE @_doc SET name = 'name %d', qty = 7, tags = tags || 'x'::text WHERE id = %d", w.next, id))
}

// work commits random transactions; some are rolled back.
func (w *twins) work(transactions int) {
	w.t.Helper()
	for range transactions {
		var sql strings.Builder
		sql.WriteString("BEGIN;\n")
		for range 1 + w.rand.IntN(6) {
			sql.WriteString(w.statement())
		}
		sql.WriteString([]string{"COMMIT", "COMMIT", "COMMIT", "COMMIT", "ROLLBACK"}[w.rand.IntN(5)])
		w.exec(sql.String())
	}
}

// compare compares what was made of both sets.
func (w *twins) compare() {
	w.t.Helper()
	made := func(set string) (list []string) { // of one statement's rows, in the order of their keys: they lie in another order in the other table

		for _, query := range []string{
			`SELECT rule || ' ' || op || ' ' || record || ' ' || convert_from(body, 'UTF8') FROM walhook.delivery WHERE rule LIKE $1 ORDER BY rule, commit_lsn, record, seq`,
			`SELECT rule || ' parked ' || record || ' ' || error FROM walhook.parked WHERE rule LIKE $1 ORDER BY rule, commit_lsn, record, n`,
		} {
			rows, err := w.conn.Query(context.Background(), query, set+"%")
			if err != nil {
				w.t.Fatal(err)
			}
			found, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				w.t.Fatal(err)
			}
			for _, line := range found {
				list = append(list, strings.ReplaceAll(line, set+"_", "@_"))
			}
		}
		return list
	}
	full, images := made("full"), made("imgs")
	w.t.Logf("%d events each", len(full))
	if len(full) == 0 || slices.ContainsFunc(full, func(s string) bool { return strings.Contains(s, " parked ") }) {
		w.t.Errorf("the tables with REPLICA IDENTITY FULL make %d events, some of which may be parked", len(full))
	}
	if diff := cmp.Diff(full, images); diff != "" {
		w.t.Errorf("FULL (-) and images (+) differ:\n%s", last(diff, 3000))
		var stands string
		if err := w.conn.QueryRow(context.Background(), `SELECT (SELECT json_agg(t) FROM walhook.image_table t)::text || (SELECT json_agg(j) FROM (SELECT id, table_name, state, rows, made_at, ended_at, after_key FROM walhook.job) j)
			|| (SELECT json_agg(c) FROM (SELECT tbl, shape, generation, count(*), min(key) FROM walhook.image GROUP BY 1, 2, 3) c) || (SELECT json_agg(s) FROM (SELECT tbl, number, convert_from(columns, 'UTF8') FROM walhook.image_shape) s)`).Scan(&stands); err != nil {
			w.t.Error(err)
		}
		w.t.Logf("images: %s", stands)
	}
	// An image of each row, of no other, with what is in it: without secrets.
	w.until("an image of each row", `(SELECT count(*) FROM walhook.image) = (SELECT count(*) FROM imgs_doc) + (SELECT count(*) FROM imgs_pair)
		AND NOT EXISTS (SELECT FROM imgs_doc d WHERE NOT EXISTS (SELECT FROM walhook.image i WHERE i.key = d.id::text))`)
	var secrets int
	if err := w.conn.QueryRow(context.Background(), `SELECT count(*) FROM walhook.image WHERE position('token'::bytea in data) > 0 OR position('secret'::bytea in data) > 0`).Scan(&secrets); err != nil || secrets > 0 {
		w.t.Errorf("%d images hold secrets, %v", secrets, err)
	}
}

// Before-values from images are those of REPLICA IDENTITY FULL: in random transactions with savepoints, TOAST and changes of keys, through kills, in a
// transaction that spills and is enqueued in parts, after TRUNCATE and after columns came and went.
func TestInvariant2ImagesLikeReplicaIdentityFull(t *testing.T) {
	t.Parallel()
	w := newTwins(t)
	w.in.Must("setup", "--dsn", w.in.Owner)
	var identities string
	if err := w.conn.QueryRow(context.Background(), "SELECT string_agg(relname || ' ' || relreplident::text, ', ' ORDER BY relname) FROM pg_class WHERE relname IN ('full_doc', 'full_pair', 'imgs_doc', 'imgs_pair')").Scan(&identities); err != nil || identities != "full_doc f, full_pair f, imgs_doc d, imgs_pair d" {
		t.Fatalf("replica identities: %s, %v", identities, err)
	}
	if out := w.in.Must("check"); !strings.Contains(out, "ready") {
		t.Fatal(out)
	}
	w.start("")
	w.filled()

	w.work(60)
	w.kill() // wherever it is
	w.work(40)
	for _, armed := range []string{string(failpoint.Enqueue) + ":3", string(failpoint.Enqueued) + ":2", string(failpoint.CommitSent) + ":5"} {
		w.start(armed)
		w.work(20)
		w.died()
	}
	w.start("")
	w.handled()

	// Larger than what is held in memory, with each kind of change, and enqueued in parts: read anew after a kill in between, it must find the rows
	// as they were before it.
	w.kill()
	w.exec("BEGIN;" + both(`UPDATE @_doc SET note = 'large', qty = qty + 1; UPDATE @_doc SET flag = NOT flag WHERE id % 2 = 0; DELETE FROM @_doc WHERE id % 7 = 0;
		INSERT INTO @_doc (id, name) SELECT i, 'large' FROM generate_series(5000, 6200) i; UPDATE @_doc SET id = id + 100000 WHERE id % 11 = 0; UPDATE @_pair SET note = 'large'`) + "COMMIT")
	for _, armed := range []string{string(failpoint.Segment) + ":1", string(failpoint.Segment) + ":2", string(failpoint.Enqueue) + ":1"} {
		w.start(armed)
		w.died()
	}
	w.start("")
	w.handled()
	w.work(20)

	w.exec("BEGIN;" + both("TRUNCATE @_pair; INSERT INTO @_pair VALUES (1, 'after', 'x', repeat('z', 3000)); UPDATE @_pair SET note = 'y'") + "COMMIT")
	w.work(20)

	// Columns come with a value for every row, and go. Those of rows that were written before are looked up.
	w.exec("BEGIN;" + both("ALTER TABLE @_doc ADD x_new text DEFAULT 'given', DROP note; UPDATE @_doc SET name = 'ddl' WHERE id = (SELECT min(id) FROM @_doc)") + "ROLLBACK")
	w.handled()
	w.compare()
	for n, ddl := range []string{"ADD x_new text DEFAULT 'given', DROP flag", "ADD x_two int DEFAULT 2"} {
		w.exec(both("ALTER TABLE @_doc " + ddl))
		w.in.Must("setup", "--dsn", w.in.Owner) // there is a secret, so that columns are granted one by one
		w.exec(both("UPDATE @_doc SET name = 'ddl' WHERE id = (SELECT min(id) FROM @_doc)"))
		w.handled()
		w.until("another walk through the table", "count(*) = $1 FROM walhook.job WHERE kind = 'image' AND table_name = 'imgs_doc' AND state = 'done'", n+2)
		w.filled()
		w.exec("DELETE FROM walhook.queue; DELETE FROM walhook.delivery; DELETE FROM walhook.parked")
		w.work(20)
		w.handled()
		w.compare()
	}
}
