package cdc

import (
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
	l := newLive(t, dsn)
	var w PublicationWatch
	var now time.Time
	needed := []string{"public.a", "public.b", "public.never"}
	look := func(minute int) string {
		t.Helper()
		seen, err := l.Publication(t.Context(), "p p")
		if err != nil {
			t.Fatal(err)
		}
		now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(minute) * time.Minute)
		return w.Look(now, seen, needed)
	}
	const (
		anew  = "the publication was dropped and made anew between 2026-03-01T12:04:00Z and 2026-03-01T12:05:00Z: the server may have left out changes of transactions that were open then"
		gone  = "there is no such publication any more: nothing is streamed"
		out   = "not in the publication since 2026-03-01T12:00:00Z at the earliest: public.a, public.b; their changes are not streamed"
		was   = "not in the publication from 2026-03-01T12:00:00Z at the earliest to 2026-03-01T12:02:00Z: public.a; changes of then were not streamed"
		still = "not in the publication since 2026-03-01T12:00:00Z at the earliest: public.b; their changes are not streamed"
		back  = "taken out of the publication and put back between 2026-03-01T12:02:00Z and 2026-03-01T12:03:00Z: public.a; changes of meanwhile were not streamed"
	)
	steps := []struct {
		sql    string
		minute int
		want   []string
	}{
		{"", 0, nil},
		{`ALTER PUBLICATION "p p" DROP TABLE a, b, c`, 1, []string{out}},
		{`ALTER PUBLICATION "p p" ADD TABLE a`, 2, []string{still, was}},
		{`ALTER PUBLICATION "p p" DROP TABLE a; ALTER PUBLICATION "p p" ADD TABLE a, b`, 3, []string{was, strings.Replace(strings.Replace(was, "public.a", "public.b", 1), "12:02", "12:03", 1), back}},
		{"", 62, []string{strings.Replace(strings.Replace(was, "public.a", "public.b", 1), "12:02", "12:03", 1), back}},
		{"", 64, nil},
		{`DROP PUBLICATION "p p"`, 65, []string{gone}},
		{`CREATE PUBLICATION "p p" FOR TABLE a, b`, 66, []string{strings.NewReplacer("12:04", "13:04", "12:05", "13:06").Replace(anew)}},
		{`BEGIN; DROP PUBLICATION "p p"; CREATE PUBLICATION "p p" FOR TABLE a, b; COMMIT`, 200, []string{strings.NewReplacer("12:04", "13:06", "12:05", "15:20").Replace(anew)}},
		{`ALTER PUBLICATION "p p" SET (publish = 'insert')`, 300, []string{"not published with every operation since 2026-03-01T15:20:00Z at the earliest: public.a, public.b; their changes are not streamed"}},
		{`ALTER PUBLICATION "p p" SET (publish = 'insert, update, delete, truncate')`, 301,
			[]string{"not published with every operation from 2026-03-01T15:20:00Z at the earliest to 2026-03-01T17:01:00Z: public.a, public.b; changes of then were not streamed"}},
	}
	for _, s := range steps {
		if s.sql != "" {
			for one := range strings.SplitSeq(s.sql, "; ") {
				exec(one)
			}
		}
		if got, want := look(s.minute), strings.Join(s.want, "; "); got != want {
			t.Errorf("minute %d, after %s:\n%s\nwant\n%s", s.minute, s.sql, got, want)
		}
	}
	exec("ALTER TABLE a RENAME TO z")
	if got := look(450); got != "" {
		t.Errorf("a table that is renamed: %s", got)
	}
	exec("ALTER TABLE z RENAME TO a")
	if got := look(460); got != "" {
		t.Errorf("a table that was renamed and back: %s", got)
	}
	if l.conn != nil && serverMajor(l.conn.PgConn()) >= 15 {
		exec(`ALTER PUBLICATION "p p" SET TABLE a (id), b`)
		if got := look(500); !strings.Contains(got, "not in the publication with all rows and columns since 2026-03-01T19:40:00Z at the earliest: public.a; their") {
			t.Errorf("a list of columns: %s", got)
		}
	}
	seen, err := l.Publication(t.Context(), "p p")
	if err != nil {
		t.Fatal(err)
	}
	var later PublicationWatch
	later.Look(now, seen, needed)
	later.Earlier(now, seen.OID)
	if got := later.Look(now, seen, needed[1:]); got != "" {
		t.Errorf("the same one as an earlier process saw: %q", got)
	}
	later.Earlier(now, seen.OID-1)
	if got := later.Look(now, seen, needed[1:]); !strings.HasPrefix(got, "the publication was dropped and made anew since walhook was here last: ") {
		t.Errorf("another one than an earlier process saw: %q", got)
	}
	var same PublicationWatch
	if got := same.Look(now, &PublicationLook{OID: 7, AllTables: true, Complete: true}, needed); got != "" {
		t.Errorf("a publication of all tables: %q", got)
	}
}

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
