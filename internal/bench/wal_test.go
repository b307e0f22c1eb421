package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wide is a world for draining WAL: updates of a wide table, behind them one row of another table that a rule sends, so that it is known when
// all of them have been looked at.
type wide struct {
	*world
	columns int
	rows    int    // of the table, each of which is updated once
	end     string // behind it the last transaction begins
	size    int    // bytes of WAL up to there
}

// otherModels have rules of their own, on tables that nobody writes to.
const otherModels, otherRules = 200, 1000

// wideColumns defines the columns behind id and version, of the kinds and in the proportions that Odoo's sale_order has: a third are
// references, two fifths are NULL.
func wideColumns(n int) (defs, values []string) {
	kinds := []struct{ typ, value string }{
		{"int", "n % 1000"}, {"int", "NULL"}, {"varchar", "'S' || n"}, {"int", "1"}, {"timestamp", "'2026-01-02 03:04:05.678901'"}, {"varchar", "NULL"}, {"numeric", "n / 8.0"},
		{"boolean", "n % 2 = 0"}, {"int", "NULL"}, {"varchar", "'draft'"}, {"date", "NULL"}, {"int", "7"}, {"numeric", "1234.50"}, {"text", "NULL"}, {"int", "n"}, {"boolean", "false"},
		{"varchar", "NULL"}, {"timestamp", "'2026-01-01'"}, {"int", "2"}, {"jsonb", "NULL"},
	}
	for i := range n {
		k := kinds[i%len(kinds)]
		defs, values = append(defs, fmt.Sprintf("c%d %s", i, k.typ)), append(values, k.value)
	}
	return defs, values
}

// newWide makes a world with such a table and updates of it that are yet to come.
func newWide(b *bench, durable bool, columns, rows, models int) *wide {
	w := &wide{world: startWorld(b.t, durable), columns: columns, rows: rows}
	defs, values := wideColumns(columns - 2)
	w.exec(fmt.Sprintf("CREATE TABLE wide (id int PRIMARY KEY, version int NOT NULL%s) WITH (fillfactor = 50, autovacuum_enabled = off)", ", "+strings.Join(defs, ", ")),
		fmt.Sprintf("INSERT INTO wide SELECT n, 0%s FROM generate_series(1, %d) n", ", "+strings.Join(values, ", "), rows),
		"CREATE TABLE sentinel (id int PRIMARY KEY, version int NOT NULL)",
		`CREATE PROCEDURE drive(rows int, per int) LANGUAGE plpgsql AS $$
		BEGIN
			SET LOCAL synchronous_commit = off;
			FOR i IN 0 .. (rows - 1) / per LOOP
				UPDATE wide SET version = version + 1, c4 = clock_timestamp() WHERE id > i * per AND id <= (i + 1) * per;
				COMMIT;
				SET LOCAL synchronous_commit = off;
			END LOOP;
		END $$`)
	for i := range models {
		w.exec(fmt.Sprintf("CREATE TABLE other_%d (id int PRIMARY KEY, state varchar, amount numeric)", i))
	}
	w.rules = sentinelRule + quietRules(20, true) + rulesElsewhere(models, otherRules)
	w.install()
	return w
}

const sentinelRule = "[[rules]]\nname = \"sentinel\"\ntable = \"sentinel\"\non = [\"create\"]\nendpoint = \"a\"\n"

// quietRules are rules on the wide table whose conditions read columns and never hold. Without old rows in WAL they look at each write by
// itself, and at the new row.
func quietRules(n int, old bool) string {
	conditions := []string{
		`after.c9 == "sale"`, `after.c6 > 1000000`, `after.c2 startsWith "X"`, `after.c7 && after.c15`, `after.c9 in ["sale", "done"]`, `after.c4 < date("2020-01-01")`,
		`after.c1 != nil && after.c3 == 2`, `after.c12 < 5 && after.c18 == 2`, `after.c11 == 8`, `after.c5 == "x"`,
	}
	if old {
		conditions = append(conditions, `became("c9", "sale")`, `before.c9 != "sale" && after.c9 == "sale"`, `changed("c0", "c2")`, `before.c6 < after.c6`, `entered("c9", ["sale", "done"])`,
			`changed("c12")`, `before.c7 != after.c7`, `before.c14 > after.c14`, `became("c3", 5)`, `changed("c17", "c18", "c11")`)
	}
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "[[rules]]\nname = \"quiet_%d\"\ntable = \"wide\"\non = [\"create\", \"write\"]\nendpoint = \"a\"\nwhen = '%s'\n", i, conditions[i%len(conditions)])
		if !old {
			text.WriteString("each_write = true\n")
		}
	}
	return text.String()
}

// rulesElsewhere are rules on other tables.
func rulesElsewhere(models, n int) string {
	var text strings.Builder
	for i := range n {
		if models > 0 {
			fmt.Fprintf(&text, "[[rules]]\nname = \"other_%d\"\ntable = \"other_%d\"\non = [\"create\", \"write\"]\nendpoint = \"a\"\nwhen = 'before.state != \"sale\" && after.state == \"sale\"'\n", i, i%models)
		}
	}
	return text.String()
}

// write makes here and now the place where rounds begin to read, and writes so many updates behind it.
func (w *wide) write(rows, per int, identity string) {
	w.t.Helper()
	w.dropSlots()
	w.exec("ALTER TABLE wide REPLICA IDENTITY "+identity, "TRUNCATE sentinel", "VACUUM wide", "CHECKPOINT", "SELECT pg_create_logical_replication_slot('"+slotBase+"', 'pgoutput')")
	w.exec(fmt.Sprintf("CALL drive(%d, %d)", rows, per))
	ctx := context.Background()
	if err := w.super.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), confirmed_flush_lsn)::int FROM pg_replication_slots WHERE slot_name = $1", slotBase).
		Scan(&w.end, &w.size); err != nil {
		w.t.Fatal(err)
	}
	w.exec("INSERT INTO sentinel VALUES (1, 1)", "SELECT pg_logical_emit_message(true, 'bench', 'so that WAL goes on behind it')", "CHECKPOINT")
}

// slot makes a copy of the slot.
func (w *wide) slot(name string) {
	w.t.Helper()
	w.exec(fmt.Sprintf("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '%s'", name), fmt.Sprintf("SELECT pg_copy_logical_replication_slot('%s', '%s')", slotBase, name))
}

// flowing waits until somebody streams from a slot, and says when; the zero time when it is over before that was seen.
func (w *wide) flowing(slot string, over func() bool) time.Time {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if over() {
			return time.Time{}
		}
		if w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND active", slot) == 1 {
			return time.Now()
		}
		if time.Now().After(end) {
			w.t.Fatalf("nobody streams from %s", slot)
		}
	}
}

// reading is what a contender needed to read all of it, from the start of streaming.
type reading struct {
	seconds, own, server float64 // wall time; CPU of the contender; CPU of the walsender and other backends that serve it
	peak                 float64 // MiB resident at most; 0 when not known
	late                 float64 // seconds until the server knew
}

func (r reading) figures(rows int) []figure {
	per := 1e6 / float64(rows)
	list := []figure{{"rows/s", float64(rows) / r.seconds}, {"CPU", r.own * per}, {"walsender", r.server * per}}
	if r.peak > 0 {
		list = append(list, figure{"peak MiB", r.peak}, figure{"until confirmed s", r.late})
	}
	return list
}

// ceiling reads with pg_recvlogical, which throws everything away. It reports false where there is no such program.
func (w *wide) ceiling() (r reading, ok bool) {
	w.t.Helper()
	program := filepath.Join(w.server.Bin(), "pg_recvlogical")
	if _, err := os.Stat(program); err != nil {
		return r, false
	}
	w.slot(slotFloor)
	server, _ := w.meter.of(roleFloor)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--dbname", w.server.DSNFor(roleFloor, "", database), "--slot", slotFloor, "--start", "--endpos", w.end, "--no-loop", "--file", os.DevNull,
		"--option", "proto_version=1", "--option", "publication_names=walhook")
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	over := make(chan error, 1)
	started := time.Now()
	go func() { over <- cmd.Wait() }()
	began := w.flowing(slotFloor, func() bool { return len(over) > 0 })
	if err := <-over; err != nil {
		w.t.Fatalf("pg_recvlogical: %v\n%s", err, said.String())
	}
	if began.IsZero() { // it had so little to read that nobody has seen it
		began = started
	}
	r.seconds = time.Since(began).Seconds()
	r.own = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	after, _ := w.meter.of(roleFloor)
	r.server = after - server
	return r, true
}

// loop reads with a loop around pglogrepl that receives messages and does nothing with them.
func (w *wide) loop() (r reading) {
	w.t.Helper()
	w.slot(slotFloor)
	server, _ := w.meter.of(roleFloor)
	c := spawn(w.t, "reader", "BENCH_DSN="+w.server.DSNFor(roleFloor, "", database), "BENCH_SLOT="+slotFloor, "BENCH_PUBLICATION=walhook", "BENCH_END="+w.end)
	var took readerTook
	decode(w.t, c.line(), &took)
	after, _ := w.meter.of(roleFloor)
	c.end()
	return reading{seconds: took.Seconds, own: took.CPU, server: after - server}
}

// walhookReads lets walhook read, with rules that look at every row and match none.
func (w *wide) walhookReads(path, rules string) (r reading) {
	w.t.Helper()
	w.rules = rules
	w.reset()
	server, _ := w.meter.of(w.role)
	l := w.walhook(endpoint("a", path, 1))
	began := w.flowing(w.in.Slot, func() bool { l.alive(); return false })
	own, _ := cpuOf(l.pid)
	var s summary
	for end := time.Now().Add(patience); s.Accepted == 0; w.ask("summary", path, &s) {
		l.alive()
		if time.Now().After(end) {
			w.t.Fatalf("the sentinel did not arrive\n%s", l.said())
		}
		time.Sleep(20 * time.Millisecond)
	}
	after, _ := cpuOf(l.pid)
	r.seconds, r.own = float64(s.Last-began.UnixNano())/1e9, after-own
	serving, _ := w.meter.of(w.role)
	r.server = serving - server
	_, r.peak = memoryOf(l.pid)
	w.until("the end to be confirmed", func() bool {
		return w.number(w.super, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1 AND confirmed_flush_lsn >= $2::pg_lsn", w.in.Slot, w.end) == 1
	})
	r.late = float64(time.Now().UnixNano()-s.Last) / 1e9
	l.stop()
	if s.Accepted != 1 {
		w.t.Errorf("%d deliveries, want the sentinel's alone", s.Accepted)
	}
	return r
}

// wal drains WAL, against programs that do nothing with it. BENCH_WAL=FULL/100 chooses one of its tables.
func (b *bench) wal() {
	rows := setting(b.t, "BENCH_ROWS", 300_000)
	w := newWide(b, true, 47, rows, otherModels)
	for _, identity := range []string{"FULL", "DEFAULT"} {
		few := sentinelRule + quietRules(20, identity == "FULL")
		many := few + rulesElsewhere(otherModels, otherRules)
		for _, per := range []int{1, 100, rows} {
			if only := os.Getenv("BENCH_WAL"); only != "" && only != fmt.Sprintf("%s/%d", identity, per) {
				continue
			}
			s := b.report.scenario("h", "draining %d updates of a table with %d columns, REPLICA IDENTITY %s, %d to a transaction; CPU is us for each row", rows, w.columns, identity, per)
			w.write(rows, per, identity)
			for range b.rounds {
				if r, ok := w.ceiling(); ok {
					s.add("pg_recvlogical", r.figures(rows)...)
				}
				s.add("receive only", w.loop().figures(rows)...)
				s.add("walhook", w.walhookReads("/ok/few", few).figures(rows)...)
				s.add("walhook + 1000", w.walhookReads("/ok/many", many).figures(rows)...)
			}
			s.target("rate, of pg_recvlogical's", s.ratio("walhook", "pg_recvlogical", "rows/s"), true, 0.95)
			s.target("client CPU, of the loop's that only receives", s.ratio("walhook", "receive only", "CPU"), false, 1.5)
			s.target("rate with 1,000 further rules, of that without", s.ratio("walhook + 1000", "walhook", "rows/s"), true, 0.97)
		}
	}
}

// All who drain WAL come to its end, walhook with conditions that look at every row; none of them matches.
func TestWALShort(t *testing.T) {
	t.Parallel()
	b := &bench{report: &report{t: t, began: time.Now(), quiet: true}, world: &world{t: t}}
	w := newWide(b, false, 24, 300, 2)
	for _, identity := range []string{"FULL", "DEFAULT"} {
		w.write(300, 100, identity)
		w.ceiling()
		w.loop()
		w.walhookReads("/ok/"+identity, sentinelRule+quietRules(20, identity == "FULL")+rulesElsewhere(2, 10))
	}
}
