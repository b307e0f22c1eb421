package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// A table that is renamed for a moment, or dropped and made anew, while walhook looks at the database's metadata: what is written to it when it is back is sent.
func TestTableThatIsAwayForAMoment(t *testing.T) {
	t.Parallel()
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE doc (id int PRIMARY KEY, name text); CREATE TABLE other (id int PRIMARY KEY, name text)")
	r := newReceiver(t)
	in := install(t, super, r, `
[endpoints.erp]
url = "{{receiver}}/erp"
secrets = ["`+secret+`"]
[[rules]]
name = "docs"
table = "doc"
on = ["create"]
endpoint = "erp"
[[rules]]
name = "others"
table = "other"
on = ["create"]
endpoint = "erp"
`)
	in.must("setup", "--dsn", in.owner)
	p := in.run()
	arrives := func(rule string, id int) {
		t.Helper()
		in.wait(fmt.Sprintf("%s %d", rule, id), 30*time.Second, func() bool {
			for _, e := range r.all() {
				if e.Data.Rule == rule && e.Data.ID.String() == fmt.Sprint(id) {
					return true
				}
			}
			return false
		}, p)
	}
	unfit := func() bool {
		out, _ := in.walhook("status", "--json") // which says that the process is not ready at the moment of taking over
		return strings.Contains(out, `unknown table \"doc\"`)
	}
	for n, away := range []struct{ goes, comes string }{
		{"DROP TABLE doc", "CREATE TABLE doc (id int PRIMARY KEY, name text, more int); ALTER PUBLICATION walhook ADD TABLE doc"},
		{"ALTER TABLE doc RENAME TO doc_away", "ALTER TABLE doc_away RENAME TO doc"},
	} {
		in.wait("the rule to fit", 30*time.Second, func() bool { return !unfit() }, p)
		pgtest.Exec(t, super, fmt.Sprintf("INSERT INTO doc VALUES (%d)", 10*n))
		arrives("docs", 10*n)
		pgtest.Exec(t, super, fmt.Sprintf("%s; ALTER TABLE other ADD more%d int; INSERT INTO other (id) VALUES (%d)", away.goes, n, n)) // a reason to look
		in.wait("the rule to be told of", 30*time.Second, unfit, p)
		arrives("others", n)
		pgtest.Exec(t, super, away.comes)
		pgtest.Exec(t, super, fmt.Sprintf("INSERT INTO doc VALUES (%d)", 10*n+1))
		arrives("docs", 10*n+1)
	}
	in.stop(p)
}

// What was written to a table of [images] under another name is never missing from a value before: it is known, or the event is parked.
func TestImagesOfATableThatWasRenamed(t *testing.T) {
	t.Parallel()
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE doc (id int PRIMARY KEY, name text); INSERT INTO doc SELECT i, 'first' FROM generate_series(1, 4) i; CREATE TABLE other (id int PRIMARY KEY)")
	r := newReceiver(t)
	in := install(t, super, r, `
[images]
tables = ["doc"]
[endpoints.erp]
url = "{{receiver}}/erp"
secrets = ["`+secret+`"]
[[rules]]
name = "docs"
table = "doc"
on = ["write"]
endpoint = "erp"
[[rules]]
name = "others"
table = "other"
on = ["create"]
endpoint = "erp"
`)
	in.must("setup", "--dsn", in.owner)
	p := in.run()
	// told are the writes of docs as they arrived: record, value before and after.
	told := func() (list []string) {
		for _, e := range r.all() {
			if c, ok := e.Data.Changes["name"]; ok && e.Data.Rule == "docs" {
				list = append(list, fmt.Sprintf("%s: %s to %s", e.Data.ID, c.Before, c.After))
			}
		}
		return list
	}
	passed := func(rule string, id int) bool {
		return slices.ContainsFunc(r.all(), func(e received) bool { return e.Data.Rule == rule && e.Data.ID.String() == fmt.Sprint(id) })
	}
	conn := pgtest.Connect(t, super)
	in.wait("the images", 30*time.Second, func() bool {
		var filled bool
		err := conn.QueryRow(t.Context(), "SELECT count(*) = 1 AND bool_and(filled_at IS NOT NULL) FROM walhook.image_table").Scan(&filled)
		return err == nil && filled
	}, p)
	pgtest.Exec(t, super, "UPDATE doc SET name = 'second' WHERE id = 1")
	in.wait("the first write", 30*time.Second, func() bool { return slices.Contains(told(), `1: "first" to "second"`) }, p)
	want := []string{`1: "first" to "second"`}
	const away, back = "ALTER TABLE doc RENAME TO doc_away", "ALTER TABLE doc_away RENAME TO doc"
	for n, statements := range [][]string{ // each in a transaction of its own
		{away, "UPDATE doc_away SET name = 'hidden' WHERE id = 1", back},
		{away + "; UPDATE doc_away SET name = 'hidden' WHERE id = 2; " + back},
		{away, "CREATE TABLE doc (LIKE doc_away INCLUDING ALL)", "UPDATE doc_away SET name = 'hidden' WHERE id = 3", "DROP TABLE doc", back},
		{away, "DELETE FROM doc_away WHERE id = 4", "INSERT INTO doc_away VALUES (4, 'hidden')", "ALTER TABLE doc_away ADD more int DEFAULT 5", "UPDATE doc_away SET more = 6 WHERE id = 4",
			"ALTER TABLE doc_away DROP more", back},
	} {
		for _, sql := range append(statements, fmt.Sprintf("UPDATE doc SET name = 'third' WHERE id = %d", n+1)) {
			pgtest.Exec(t, super, sql)
		}
		want = append(want, fmt.Sprintf(`%d: "hidden" to "third"`, n+1))
		pgtest.Exec(t, super, fmt.Sprintf("INSERT INTO other VALUES (%d)", n))
		in.wait("what came behind it", 30*time.Second, func() bool { return passed("others", n) }, p)
		if n%2 == 1 { // the next process follows it from the start
			in.stop(p)
			p = in.run()
		}
	}
	in.wait("the writes", 30*time.Second, func() bool { return len(told()) >= len(want) }, p)
	got := told()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	in.stop(p)
}
