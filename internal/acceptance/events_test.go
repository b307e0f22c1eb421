package acceptance

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
	"walhook/internal/pgtest"
)

// A scheduled run is killed at its commits, before them and after them: every record is sent once. Messages arrive in order with the rows of their
// transaction, and nothing does that was rolled back.
func TestScheduleAndMessages(t *testing.T) {
	t.Parallel()
	pgtest.Needs(t, 14, "logical messages in pgoutput")
	const records = 1100
	super := pgtest.Database(t)
	pgtest.Exec(t, super, fmt.Sprintf(`CREATE TABLE task (id int PRIMARY KEY, name text, due date, done bool NOT NULL DEFAULT false);
		INSERT INTO task SELECT i, 'task ' || i, current_date - 1 FROM generate_series(1, %d) i`, records))
	r := newReceiver(t)
	h := harness.Install(t, super, harness.Options{Tags: "failpoint", Source: `idle_advance = "2m"`, Config: strings.ReplaceAll(`
[endpoints.e]
url = "{{receiver}}/e"
secrets = ["`+secret+`"]
[[rules]]
name = "due"
table = "task"
on = ["schedule"]
every = "5s"
first = "send"
when = '!after.done && after.due < date(now())'
endpoint = "e"
[[rules]]
name = "made"
table = "task"
on = ["create"]
endpoint = "e"
fields = ["name"]
[[rules]]
name = "told"
on = ["message"]
messages = ["task.*"]
when = "message.data.n != 0"
endpoint = "e"
`, "{{receiver}}", r.URL)})
	h.Must("setup", "--dsn", h.Owner)
	if out := h.Must("check"); !strings.Contains(out, "ready") {
		t.Fatal(out)
	}
	conn := pgtest.Connect(t, super)
	ask := func(sql string) (n int) {
		t.Helper()
		if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	deaths := 0
	start := func(point string) (*process, chan error) {
		p := &process{cmd: h.Command("run", "--log-format", "json"), log: &strings.Builder{}}
		p.cmd.Env = append(os.Environ(), "WALHOOK_FAILPOINT="+point)
		p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- p.cmd.Wait() }()
		return p, done
	}
	sent := func() int { return ask("SELECT count(*) FROM walhook.delivery WHERE rule = 'due'") }
	for _, point := range []string{"enqueue:1", "enqueued:1", "enqueue:2"} {
		p, done := start(point)
		for end := time.Now().Add(15 * time.Second); ; {
			select {
			case <-done:
				deaths++
				t.Logf("%s: %d sent", point, sent())
			case <-time.After(20 * time.Millisecond):
				if sent() < records && time.Now().Before(end) {
					continue
				}
				_ = p.cmd.Process.Kill()
				<-done
			}
			break
		}
	}
	if deaths < 3 {
		t.Errorf("%d of 3 lives ended at their point", deaths)
	}
	p, done := start("")
	wait := func(what string, f func() bool) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); !f(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				_ = p.cmd.Process.Kill()
				<-done
				t.Fatalf("waited in vain for %s\n%s", what, last(p.log.String(), 8000))
			}
		}
	}
	wait("all records", func() bool { return sent() >= records && ask("SELECT count(*) FROM walhook.queue") == 0 })
	if n, ids, of := sent(), ask("SELECT count(DISTINCT id) FROM walhook.delivery WHERE rule = 'due'"), ask("SELECT count(DISTINCT record) FROM walhook.delivery WHERE rule = 'due'"); n != records || ids != records || of != records {
		t.Errorf("%d deliveries with %d ids of %d records", n, ids, of)
	}

	emit := func(content string) string {
		return fmt.Sprintf("SELECT pg_logical_emit_message(true, 'walhook', '%s');", content)
	}
	pgtest.Exec(t, super, "BEGIN;"+emit(`{"event": "task.before", "model": "task", "id": 9001, "data": {"n": 1}}`)+"INSERT INTO task VALUES (9001, 'new');"+
		"SAVEPOINT s;"+emit(`{"event": "task.lost", "model": "task", "id": 9001}`)+"ROLLBACK TO s;"+emit(`{"event": "task.after", "model": "task", "id": 9001}`)+"COMMIT;"+
		"BEGIN;"+emit(`{"event": "task.rolled.back"}`)+"ROLLBACK;"+emit(`{"event": "task.zero", "data": {"n": 0}}`)+emit(`{"event": "other"}`)+emit(`stock is low`))
	// As Odoo's server actions emit: PostgreSQL makes the JSON.
	pgtest.Exec(t, super, `SELECT pg_logical_emit_message(true, 'walhook', json_build_object('event', 'task.action', 'model', record_model, 'id', record_id,
		'data', json_build_object('sku', sku, 'qty', qty))::text) FROM (VALUES ('task', 7, 'A-"1"', 2.5), ('task', 8, 'é', 0)) AS m (record_model, record_id, sku, qty)`)
	wait("messages", func() bool {
		return ask("SELECT count(*) FROM walhook.delivery WHERE rule = 'told'") >= 4 && ask("SELECT count(*) FROM walhook.queue") == 0
	})
	rows, err := conn.Query(context.Background(), `SELECT event || ' ' || lane || ' ' || (convert_from(body, 'UTF8')::json -> 'data' ->> 'record') FROM walhook.delivery WHERE rule IN ('told', 'made') ORDER BY seq`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	want := []string{`task.before task/9001 {"n": 1}`, `task.create task/9001 {"name":"new"}`, `task.after task/9001 {}`,
		`task.action task/7 {"sku" : "A-\"1\"", "qty" : 2.5}`, `task.action task/8 {"sku" : "é", "qty" : 0}`}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if n := ask("SELECT count(*) FROM walhook.parked WHERE rule = 'walhook' AND convert_from(change, 'UTF8') LIKE '%stock is low%'"); n != 1 {
		t.Errorf("%d malformed messages are parked", n)
	}
	if out, err := h.Walhook("deliveries", "verify"); err != nil {
		t.Errorf("deliveries verify: %v\n%s", err, out)
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("walhook run: %v\n%s", err, last(p.log.String(), 4000))
	}
}
