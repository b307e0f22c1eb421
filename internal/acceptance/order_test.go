package acceptance

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// TestOrderPerRecordWithOneSlowEndpoint writes 10,000 single-row changes (make order: 50,000) over 1,000 records to two endpoints, of which
// one is slow: the order per record holds at both, and the fast one is not held back.
func TestOrderPerRecordWithOneSlowEndpoint(t *testing.T) {
	const records = 1000
	rounds := 10
	if os.Getenv("WALHOOK_LONG") != "" {
		rounds = 50
	}
	super := pgtest.Database(t)
	pgtest.Exec(t, super, "CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL); INSERT INTO item SELECT i, 0 FROM generate_series(1, 1000) i")
	r := newReceiver(t)
	r.slow = 4 * time.Millisecond
	in := install(t, super, r, `
[endpoints.fast]
url = "{{receiver}}/fast"
secrets = ["`+secret+`"]
concurrency = 8

[endpoints.slow]
url = "{{receiver}}/slow"
secrets = ["`+secret+`"]
concurrency = 8

[[rules]]
name = "item"
table = "item"
on = ["write"]
endpoints = ["fast", "slow"]
`)
	in.must("setup", "--dsn", in.owner)
	p := in.run()
	pgtest.Exec(t, super, fmt.Sprintf(`CREATE PROCEDURE play() LANGUAGE plpgsql AS $$ BEGIN
		FOR n IN 1..%d LOOP FOR i IN 1..%d LOOP UPDATE item SET n = item.n + 1 WHERE id = i; COMMIT; END LOOP; END LOOP; END $$`, rounds, records))
	pgtest.Exec(t, super, "CALL play()")
	total := records * rounds
	var fast, slow []received
	in.wait("all events", 4*time.Minute, func() bool { return r.count() >= 2*total }, p)
	in.drained(p, 30*time.Second)
	for _, e := range r.all() {
		if e.Path == "/fast" {
			fast = append(fast, e)
		} else {
			slow = append(slow, e)
		}
	}
	for name, events := range map[string][]received{"fast": fast, "slow": slow} {
		if len(events) != total {
			t.Errorf("%s: %d events, want %d", name, len(events), total)
		}
		next := map[string]int{}
		for _, e := range events {
			key := e.Data.ID.String()
			next[key]++
			if n, err := strconv.Atoi(string(e.Data.Record["n"])); err != nil || n != next[key] {
				t.Fatalf("%s: record %s got n = %s as number %d", name, key, e.Data.Record["n"], next[key])
			}
		}
	}
	done := fast[len(fast)-1].At
	behind := 0
	for _, e := range slow {
		if e.At.After(done) {
			behind++
		}
	}
	t.Logf("when the fast endpoint had everything, the slow one still lacked %d of %d", behind, total)
	if behind < total/10 {
		t.Errorf("the fast endpoint finished when the slow one had %d of %d: it was held back", total-behind, total)
	}
}
