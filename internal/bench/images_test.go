package bench

import (
	"fmt"
	"testing"

	"walhook/internal/pgtest"
)

// Two tables to which the same is done, of Odoo's usual width: of one WAL holds the rows before, of the other the state.
const imagedTables = `
	CREATE TABLE %[1]s (id int PRIMARY KEY, version int NOT NULL DEFAULT 0, name text, %[2]s, write_date timestamp);
	INSERT INTO %[1]s (id, name, c1, c2, c3, c4) SELECT i, 'row ' || i, md5(i::text), md5(i::text), md5(i::text), md5(i::text) FROM generate_series(1, %[3]d) i;
	CREATE OR REPLACE PROCEDURE write_%[1]s(events int, records int) LANGUAGE plpgsql AS $$
	BEGIN
		SET LOCAL synchronous_commit = off;
		FOR i IN 0 .. events - 1 LOOP
			UPDATE %[1]s SET version = version + 1, c2 = i::text, write_date = now() WHERE id = 1 + i %% records;
			COMMIT;
			SET LOCAL synchronous_commit = off;
		END LOOP;
	END $$`

const imagedRule = `[[rules]]
name = "item"
table = %q
on = ["write"]
when = 'before.version >= 0 && changed("c2")'
endpoints = ["a"]
fields = ["id", "version", "name", "c2"]
`

// imagedWorld is a world whose backlog is one of the two tables', with a mark behind which it was written. wal is what the source wrote.
func imagedWorld(t *testing.T, durable bool, table string, events, records int) (w *world, wal int) {
	t.Helper()
	w = startWorld(t, durable)
	columns := ""
	for i := 1; i <= 40; i++ {
		columns += fmt.Sprintf(", c%d text", i)
	}
	w.exec(fmt.Sprintf(imagedTables, table, columns[2:], records))
	w.rules = fmt.Sprintf(imagedRule, table)
	if table == "imaged" {
		w.rules = "[images]\ntables = [\"imaged\"]\n" + w.rules
	}
	w.install()
	if table == "imaged" { // every row has an image before the backlog begins: the rounds begin with such a state
		w.dropSlots()
		w.exec("SELECT pg_create_logical_replication_slot('" + slotBase + "', 'pgoutput')")
		w.reset()
		l := w.walhook(endpoint("a", "/ok/a", 16))
		conn := pgtest.Connect(t, w.server.DSN(state))
		w.until("the images", func() bool {
			l.alive()
			return w.number(conn, "SELECT count(*) FROM walhook.image_table WHERE filled_at IS NOT NULL") == 1
		})
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.stop()
		pgtest.Exec(t, w.server.DSN("postgres"), "DROP DATABASE "+pristine)
		pgtest.Exec(t, w.server.DSN("postgres"), "ALTER DATABASE "+state+" RENAME TO "+pristine)
	}
	w.dropSlots()
	w.exec("CHECKPOINT", "SELECT pg_create_logical_replication_slot('"+slotBase+"', 'pgoutput')")
	before := w.number(w.super, "SELECT pg_current_wal_lsn() - '0/0'")
	w.exec(fmt.Sprintf("CALL write_%s(%d, %d)", table, events, records))
	return w, w.number(w.super, "SELECT pg_current_wal_lsn() - '0/0'") - before
}

// images compares a table whose rows before are in WAL with one whose rows before are in the state.
func (b *bench) images() {
	s := b.report.scenario("k", "a backlog of %d updates of %d rows of 43 columns, each in a transaction of its own, with a rule that reads the row before: REPLICA IDENTITY FULL, and DEFAULT with row images", b.events, b.records)
	for _, table := range []string{"plain", "imaged"} {
		w, wal := imagedWorld(b.t, true, table, b.events, b.records)
		name := map[string]string{"plain": "FULL", "imaged": "images"}[table]
		for range b.rounds {
			figures := w.drain(b.events, "/ok/"+table, 32).figures()
			s.add(name, append(figures, figure{"WAL/event B", float64(wal) / float64(b.events)}, figure{"state MB", float64(w.stateBytes()) / 1e6})...)
		}
		w.dropSlots()
	}
	s.target("rate with images against FULL", s.ratio("images", "FULL", "webhooks/s"), true, 0.5)
	s.target("WAL of the source with images against FULL", s.ratio("images", "FULL", "WAL/event B"), false, 1)
}

// stateBytes is how large the state is.
func (w *world) stateBytes() int {
	w.t.Helper()
	conn := pgtest.Connect(w.t, w.server.DSN(state))
	n := w.number(conn, "SELECT pg_database_size(current_database())")
	if err := conn.Close(w.t.Context()); err != nil {
		w.t.Error(err)
	}
	return n
}
