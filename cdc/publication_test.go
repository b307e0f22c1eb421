package cdc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

func TestPublicationWatch(t *testing.T) {
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(`CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY);
		CREATE PUBLICATION "p p" FOR TABLE a, b, c`)
	major := serverMajor(conn.PgConn())
	l := newLive(t, dsn)
	need := func(names ...string) (needs []TableNeed) {
		for _, n := range names {
			needs = append(needs, TableNeed{Schema: "public", Table: n})
		}
		return needs
	}
	read := func(minute int, needs []TableNeed) *PublicationLook {
		t.Helper()
		seen, err := l.Publication(t.Context(), "p p", needs)
		if err != nil {
			t.Fatal(err)
		}
		if age := time.Since(seen.At); age < -time.Minute || age > time.Minute {
			t.Errorf("the server's clock is %s behind", age)
		}
		seen.At = time.Date(2026, 3, 1, 12, minute, 0, 0, time.UTC)
		return seen
	}
	const out = "not in the publication since 12:%02d at the earliest: %s; their changes are not streamed"
	const was = "not in the publication between 12:%02d and 12:%02d: %s; changes of then were not streamed"
	const back = "taken out of the publication and put back between 12:%02d and 12:%02d: %s; changes of meanwhile were not streamed"
	const anew = "the publication was dropped and made anew between 12:%02d and 12:%02d: the server may have left out changes of transactions that were open then"
	const gone = "there is no such publication, since 12:%02d at the earliest: nothing is streamed"
	const none = "there was no such publication between 12:%02d and 12:%02d: changes of then, and of transactions that were open then, were not streamed"
	type step struct {
		sql    string
		minute int
		news   int
		want   string
	}
	on := func(needs []TableNeed, steps ...step) {
		t.Helper()
		var w PublicationWatch
		w.Look(read(0, needs))
		for _, s := range steps {
			for one := range strings.SplitSeq(s.sql, "; ") {
				exec(one)
			}
			got, news := w.Look(read(s.minute, needs))
			if got = strings.NewReplacer("2026-03-01T", "", ":00Z", "", "public.", "").Replace(got); got != s.want || news != s.news {
				t.Errorf("minute %d, after %s: %d\n%s\nwant %d\n%s", s.minute, s.sql, news, got, s.news, s.want)
			}
		}
	}
	f := fmt.Sprintf
	drop, add := `ALTER PUBLICATION "p p" DROP TABLE `, `ALTER PUBLICATION "p p" ADD TABLE `
	remake := `DROP PUBLICATION "p p"; CREATE PUBLICATION "p p" FOR `
	ab := need("a", "b")
	on(ab,
		step{drop + "a, b, c", 1, 2, f(out, 0, "a, b")},
		step{add + "a", 2, 3, f(out, 0, "b") + "; " + f(was, 0, 2, "a")},
		step{drop + "a; " + add + "a, b, c", 3, 5, f(was, 0, 2, "a") + "; " + f(was, 0, 3, "b") + "; " + f(back, 2, 3, "a")},
		step{"SELECT 1", 4, 5, f(was, 0, 2, "a") + "; " + f(was, 0, 3, "b") + "; " + f(back, 2, 3, "a")},
	)
	on(ab, // what is over is told for an hour
		step{drop + "a; " + add + "a", 1, 1, f(back, 0, 1, "a")},
		step{"SELECT 1", 60, 1, f(back, 0, 1, "a")},
		step{"SELECT 1", 61, 1, ""},
	)
	on(ab, // tables that nobody needs, and those of which the publication holds the new one
		step{drop + "c", 1, 0, ""},
		step{"ALTER TABLE a RENAME TO z", 2, 0, ""},
		step{"ALTER TABLE z RENAME TO a", 3, 0, ""},
		step{"ALTER TABLE a RENAME TO z; CREATE TABLE a (id int PRIMARY KEY)", 4, 1, f(out, 3, "a")},
		step{add + "a", 5, 2, f(was, 3, 5, "a")},
		step{"DROP TABLE b", 6, 2, f(was, 3, 5, "a")}, // others tell of that
		step{"CREATE TABLE b (id int PRIMARY KEY); " + add + "b", 7, 3, f(was, 3, 5, "a") + "; " + f(back, 5, 7, "b")},
	)
	on(ab,
		step{`DROP PUBLICATION "p p"`, 1, 1, f(gone, 0)},
		step{"SELECT 1", 2, 1, f(gone, 0)},
		step{`CREATE PUBLICATION "p p" FOR TABLE b`, 3, 3, f(out, 0, "a") + "; " + f(none, 0, 3)},
		step{remake + "TABLE a, b", 4, 5, f(none, 0, 3) + "; " + f(anew, 3, 4) + "; " + f(was, 0, 4, "a")},
	)
	on(ab,
		step{remake + "ALL TABLES", 1, 1, f(anew, 0, 1)},
		step{"SELECT 1", 2, 1, f(anew, 0, 1)},
		step{remake + "TABLE a, b", 3, 2, f(anew, 0, 1) + "; " + f(anew, 2, 3)},
	)
	on(ab,
		step{`ALTER PUBLICATION "p p" SET (publish = 'insert')`, 1, 2, "not published with every operation since 12:00 at the earliest: a, b; their changes are not streamed"},
		step{`ALTER PUBLICATION "p p" SET (publish = 'insert, update, delete, truncate')`, 2, 3, "not published with every operation between 12:00 and 12:02: a, b; changes of then were not streamed"},
	)
	if major >= 13 {
		exec(`CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); ALTER PUBLICATION "p p" ADD TABLE parts; ALTER PUBLICATION "p p" SET (publish_via_partition_root = true)`)
		on(need("parts"), step{`ALTER PUBLICATION "p p" SET (publish_via_partition_root = false)`, 1, 1,
			"not published under its own name (publish_via_partition_root) since 12:00 at the earliest: parts; their changes are not streamed"})
	}
	if major >= 15 {
		exec(remake2(remake, "TABLE a, b"))
		on(ab,
			step{`ALTER PUBLICATION "p p" ADD TABLES IN SCHEMA public; ` + drop + "a, b", 1, 0, ""},
			step{`ALTER PUBLICATION "p p" DROP TABLES IN SCHEMA public; ` + add + "a, b WHERE (id > 1)", 2, 1, "not in the publication with all rows and columns since 12:01 at the earliest: b; their changes are not streamed"},
			step{drop + "a, b; " + add + "a (id), b", 3, 3, "not in the publication with all rows and columns since 12:02 at the earliest: a; their changes are not streamed; " +
				"not in the publication with all rows and columns between 12:01 and 12:03: b; changes of then were not streamed"},
		)
	}

	// What another process has left.
	exec(remake2(remake, "TABLE a, b"))
	var earlier PublicationWatch
	earlier.Look(read(0, ab))
	recall := func(what string, needs []TableNeed, name, want string) {
		t.Helper()
		var w PublicationWatch
		look := read(10, needs)
		w.Look(look)
		w.Recall(earlier.Memory("p p"), name)
		if got, news := w.Look(look); got != want || news != min(len(want), 1) {
			t.Errorf("%s: %d, %q, want %q", what, news, got, want)
		}
	}
	recall("as it was", ab, "p p", "")
	exec(drop + "b; " + add + "b")
	recall("put back", ab, "p p", "taken out of the publication and put back since walhook was here last: public.b; changes of meanwhile were not streamed")
	recall("another need", need("a"), "p p", "")
	exec(remake2(remake, "TABLE a, b"))
	recall("made anew", ab, "p p", "the publication was dropped and made anew since walhook was here last: the server may have left out changes of transactions that were open then")
	recall("of another name", ab, "q", "")
}

// remake2 is a remake in one transaction.
func remake2(remake, what string) string { return "BEGIN; " + remake + what + "; COMMIT" }

// What setup does to a publication, ALTER PUBLICATION, costs no change of tables that it held all the time, not even of a transaction that was open
// meanwhile and that is decoded after a later one. (DROP PUBLICATION and CREATE PUBLICATION do, on every server from 12 to 18: the server looks for
// the tables of the one with the publications of the other, and finds that nobody wants them.)
func TestAlteredPublicationLosesNothing(t *testing.T) {
	b := newBench(t)
	b.exec("CREATE TABLE third (id int PRIMARY KEY)")
	alter := "ALTER PUBLICATION " + quoteIdent(b.slot)
	b.exec(alter + " ADD TABLE other")
	r := &recorder{}
	source := b.start(r, 0)
	source.connected()
	open := pgtest.Connect(t, b.dsn)
	exec := func(sql string) {
		t.Helper()
		if _, err := open.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	b.exec("INSERT INTO t VALUES (1)")
	exec("BEGIN; INSERT INTO other VALUES (2)")
	b.exec(alter + " ADD TABLE third")
	b.exec(alter + " DROP TABLE third")
	b.exec(alter + " SET (publish = 'insert, update, delete')")
	b.exec("INSERT INTO t VALUES (3)")
	exec("INSERT INTO t VALUES (4); INSERT INTO other VALUES (5); COMMIT")
	b.exec("INSERT INTO other VALUES (6)")
	r.sees(t, "create 1", "create 3", "create 2", "create 4", "create 5", "create 6")
	source.stop()
}
