package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/harness"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// patience bounds every wait.
const patience = 5 * time.Minute

// Names in the cluster. The state has a database of its own, as production should, in the same
// cluster: its WAL passes the slot's decoder as well.
const (
	database  = "bench"
	state     = "bench_state"
	pristine  = "bench_state_0" // the state after setup: every round begins with a copy
	slotBase  = "bench_base"    // where the backlog begins: every round begins with a copy
	slotFloor = "bench_floor"
	roleFloor = "floor"
	roleQueue = "queue"
)

// world is the machine that all contenders share: a PostgreSQL that syncs to disk, a receiver, and walhook's installation.
type world struct {
	t        *testing.T
	server   *pgserver.Server
	super    *pgx.Conn // superuser, in the source's database
	in       *harness.Installation
	receiver *child
	addr     string // of the receiver
	meter    *meter
	role     string // of walhook in the database
	source   string // more of the section [source]
	rule     string // what a rule sends of sale orders, if the world has these; otherwise rules watch items
	rules    string // the rules, if they are neither

	prepared func() func() // called before walhook drains a backlog, and what it returns afterwards; may be nil
}

// newWorld sets everything up, with a table of items. Only a durable one is worth measuring.
func newWorld(t *testing.T, durable bool) *world {
	t.Helper()
	w := startWorld(t, durable)
	w.exec(itemSchema)
	w.install()
	return w
}

const itemSchema = `CREATE TABLE item (id int PRIMARY KEY, version int NOT NULL, name text, amount numeric, state text, note text, partner int, active boolean, written timestamp);
	CREATE PROCEDURE backlog(events int, records int) LANGUAGE plpgsql AS $$
	BEGIN
		SET LOCAL synchronous_commit = off;
		FOR i IN 0 .. events - 1 LOOP
			INSERT INTO item VALUES (i % records, 1, 'item ' || i % records, i / 7.0, 'draft', repeat('n', 80), i % 100, true, '2026-01-01')
				ON CONFLICT (id) DO UPDATE SET version = item.version + 1, amount = excluded.amount, state = 'v' || item.version;
			COMMIT;
			SET LOCAL synchronous_commit = off;
		END LOOP;
	END $$`

// startWorld starts the server, with an empty database.
func startWorld(t *testing.T, durable bool) *world {
	t.Helper()
	w := &world{t: t, role: "walhook_" + database}
	settings := map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
	if !durable {
		settings = map[string]string{"fsync": "off", "full_page_writes": "off"}
	}
	w.server = pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: settings})
	pgtest.Exec(t, w.server.DSN("postgres"), "CREATE DATABASE "+database)
	w.super = pgtest.Connect(t, w.server.DSN(database))
	w.exec("CREATE ROLE " + roleFloor + " SUPERUSER LOGIN; CREATE ROLE " + roleQueue + " SUPERUSER LOGIN")
	w.receiver = spawn(t, "receiver")
	w.addr = w.receiver.line()
	return w
}

// install makes walhook's roles and runs its setup.
func (w *world) install() {
	t := w.t
	t.Helper()
	w.in = harness.Install(t, w.server.DSN(database), harness.Options{Server: w.server, Config: w.tail(endpoint("a", "/ok/a", 16))})
	pgtest.Exec(t, w.server.DSN("postgres"), "CREATE DATABASE "+state+" OWNER "+w.role)
	w.in.Must("setup", "--dsn", w.in.Owner)
	pgtest.Exec(t, w.server.DSN("postgres"), "ALTER DATABASE "+state+" RENAME TO "+pristine)
	w.meter = newMeter(t, w.server.DataDir(), w.role, roleFloor, roleQueue)
}

// endpoint is a table of the configuration.
func endpoint(name, path string, concurrency int, more ...string) string {
	return fmt.Sprintf("[endpoints.%s]\nurl = \"http://{{receiver}}%s\"\nsecrets = [%q]\nconcurrency = %d\n%s\n", name, path, harness.Secret, concurrency, strings.Join(more, "\n"))
}

// tail is the configuration behind the installation's own part: the state, endpoints, and a rule to each of them.
func (w *world) tail(endpoints ...string) string {
	var names []string
	for _, e := range endpoints {
		name, _, _ := strings.Cut(strings.TrimPrefix(e, "[endpoints."), "]")
		names = append(names, fmt.Sprintf("%q", name))
	}
	watched, more := `table = "item"`, ""
	if w.rule != "" {
		watched, more = `model = "sale.order"`, w.rule
	}
	head := fmt.Sprintf("[state]\ndsn = %q\n%s\n", w.server.DSNFor(w.role, "", state), strings.ReplaceAll(strings.Join(endpoints, "\n"), "{{receiver}}", w.addr))
	if w.rules != "" {
		return head + w.rules
	}
	return head + fmt.Sprintf("[[rules]]\nname = \"item\"\n%s\non = [\"create\", \"write\"]\nendpoints = [%s]\n%s\n", watched, strings.Join(names, ", "), more)
}

// exec runs statements as the superuser, each in a transaction of its own.
func (w *world) exec(statements ...string) {
	w.t.Helper()
	for _, sql := range statements {
		if _, err := w.super.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
			w.t.Fatalf("%s: %v", sql, err)
		}
	}
}

// number asks the source's cluster.
func (w *world) number(conn *pgx.Conn, sql string, args ...any) (n int) {
	w.t.Helper()
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// mark makes here and now the place where all rounds begin to read.
func (w *world) mark() {
	w.t.Helper()
	w.dropSlots()
	w.exec("TRUNCATE item", "CHECKPOINT", "SELECT pg_create_logical_replication_slot('"+slotBase+"', 'pgoutput')")
}

// backlog writes transactions of one row each, over so many records.
func (w *world) backlog(events, records int) {
	w.t.Helper()
	w.exec(fmt.Sprintf("CALL backlog(%d, %d)", events, records))
}

// dropSlots drops all of them; one that a process has just let go of may be held for a moment.
func (w *world) dropSlots() {
	w.t.Helper()
	w.until("the slots to be free", func() bool {
		return w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE active") == 0
	})
	w.exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
}

// reset gives the next round what the first one had: a state that knows nothing, a slot at the mark, a receiver that remembers nothing.
func (w *world) reset() {
	w.t.Helper()
	w.until("the slots to be free", func() bool {
		return w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE active") == 0
	})
	w.exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name <> '" + slotBase + "'")
	for _, name := range []string{w.in.Slot, slotFloor} {
		w.exec(fmt.Sprintf("SELECT pg_copy_logical_replication_slot('%s', '%s')", slotBase, name))
	}
	w.exec("DROP DATABASE IF EXISTS "+state+" WITH (FORCE)", "CREATE DATABASE "+state+" TEMPLATE "+pristine+" OWNER "+w.role)
	var at string
	if err := w.super.QueryRow(context.Background(), "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", slotBase).Scan(&at); err != nil {
		w.t.Fatal(err)
	}
	pgtest.Exec(w.t, w.server.DSN(state), "UPDATE walhook.source SET lsn = '"+at+"'")
	w.exec("CHECKPOINT")
	w.ask("reset", "", nil)
}

// until polls for a condition.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// ask asks the receiver about a path.
func (w *world) ask(verb, path string, answer any) {
	w.t.Helper()
	resp, err := http.Get("http://" + w.addr + "/control/" + verb + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(answer)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
