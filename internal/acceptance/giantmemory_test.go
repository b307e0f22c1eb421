package acceptance

import (
	"fmt"
	"testing"
)

// TestGiantMemory holds the program that is shipped against its promise of memory where rows are many: a transaction of a million rows each of which makes an
// event, and ten million rows of which one in a thousand does, in one transaction and in as many.
func TestGiantMemory(t *testing.T) {
	long(t)
	for _, c := range []struct {
		name         string
		transactions int
		rows, every  int // one of so many rows makes an event
	}{
		{"1,000,000 rows in one transaction", 1, 1_000_000, 1},
		{"10,000,000 rows in one transaction", 1, 10_000_000, 1000},
		{"10,000,000 rows in as many transactions", 10_000_000, 10_000_000, 1000},
	} {
		t.Run(c.name, func(t *testing.T) { manyRows(t, c.transactions, c.rows, c.every) })
	}
}

// manyRows updates rows under REPLICA IDENTITY FULL, all at once or one by one, and counts what arrives.
func manyRows(t *testing.T, transactions, rows, every int) {
	f := newGiantFixture(t)
	f.tags = ""
	f.install(1, fmt.Sprintf(`
[endpoints.live]
url = "%s/live"

[[rules]]
name = "narrow"
table = "narrow"
on = ["write"]
endpoint = "live"
when = 'after.qty == before.qty + 1 && after.id %% %d == 0'
`, f.live.URL, every), fmt.Sprintf(`CREATE TABLE narrow (id int PRIMARY KEY, qty int NOT NULL, name text NOT NULL);
		INSERT INTO narrow SELECT i, 0, 'row ' || i FROM generate_series(1, %d) i`, rows))
	f.start("")
	f.stage("%d rows are there", rows)
	if transactions == 1 {
		f.exec("UPDATE narrow SET qty = qty + 1")
	} else {
		f.exec(fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP UPDATE narrow SET qty = qty + 1 WHERE id = i; COMMIT; END LOOP; END $$`, rows))
	}
	f.stage("written in %d transactions", transactions)
	want := rows / every
	f.wait("the receiver", func() bool { return f.live.distinct() >= want })
	f.wait("outcomes", func() bool { return f.count("queue") == 0 })
	f.stage("%d of %d rows delivered", want, rows)
	f.stop()
	if logged, ids := f.count("delivery"), f.live.distinct(); logged != want || ids != want {
		t.Errorf("%d deliveries are in the log and %d arrived, want %d", logged, ids, want)
	}
	f.frugal()
}
