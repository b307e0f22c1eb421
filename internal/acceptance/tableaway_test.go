package acceptance

import (
	"fmt"
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
