package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/delivery"
)

// openLedger opens a state whose epoch has just begun, so that all of it is in the log.
func openLedger(t testing.TB, change func(*Config)) *DB {
	t.Helper()
	db := openState(t, change)
	exec(t, db, "UPDATE {schema}.source SET epoch = (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
	return db
}

func verify(t testing.TB, db *DB, opts VerifyOptions) *Verified {
	t.Helper()
	v, err := db.Verify(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range v.Ledgers {
		if l.Sum() != l.Matched {
			t.Errorf("endpoint %s: %d matched, %d accounted for: %+v", l.Endpoint, l.Matched, l.Sum(), l)
		}
		if l.Epoch > 0 && l.Matched > 0 && l.Last-l.First+1 != l.Matched {
			t.Errorf("endpoint %s: numbers %d to %d, and %d matched", l.Endpoint, l.First, l.Last, l.Matched)
		}
	}
	return v
}

// wantIntact checks that nothing is found.
func wantIntact(t testing.TB, db *DB) *Verified {
	t.Helper()
	v := verify(t, db, VerifyOptions{})
	if !v.Intact {
		t.Errorf("findings: %+v", v.Findings)
	}
	return v
}

// balance shows a ledger as text.
func balance(l Ledger) string {
	s := fmt.Sprintf("%s %d-%d: %d = %d delivered, %d pending, %d dead", l.Endpoint, l.First, l.Last, l.Matched, l.Delivered, l.Pending, l.Dead)
	for _, reason := range slices.Sorted(maps.Keys(l.Gaps)) {
		s += fmt.Sprintf(", %d %s", l.Gaps[reason], reason)
	}
	for _, x := range []struct {
		n    int64
		name string
	}{{l.Untold, "untold"}, {l.Lost, "lost"}, {l.Missing, "missing"}, {l.Again, "again"}} {
		if x.n > 0 {
			s += fmt.Sprintf(", %d %s", x.n, x.name)
		}
	}
	return s
}

func wantBalance(t testing.TB, v *Verified, want ...string) {
	t.Helper()
	var got []string
	for _, l := range v.Ledgers {
		got = append(got, balance(l))
	}
	if !slices.Equal(got, want) {
		t.Errorf("balance:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// ledgerOfAll makes a state in which there is one of everything: endpoint a has numbers 1 to 9.
func ledgerOfAll(t testing.TB) (*DB, *feed) {
	t.Helper()
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var d []*delivery.Delivery
	for i := range 9 {
		d = append(d, f.delivery("a", fmt.Sprintf("m/%d", i)), f.delivery("b", fmt.Sprintf("m/%d", i)))
	}
	lanes := f.enqueue(t, all, d...)
	of := func(endpoint string, i int) *delivery.Delivery {
		for _, l := range lanes {
			if l.Endpoint == endpoint && l.Key == fmt.Sprintf("m/%d", i) {
				return l.Deliveries[0]
			}
		}
		t.Fatal("no such lane")
		return nil
	}
	hold := outcome(of("a", 5), delivery.Dead)
	hold.Hold = true
	finish(t, p, 0, outcome(of("a", 0), delivery.Delivered), outcome(of("a", 1), delivery.Delivered), outcome(of("a", 2), delivery.Dead),
		outcome(of("a", 3), delivery.Dead), outcome(of("a", 4), delivery.Dead), hold, outcome(of("a", 6), delivery.Dead), outcome(of("a", 7), delivery.Retry))
	if n, err := db.DiscardDead(t.Context(), Filter{IDs: []string{of("a", 3).ID}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := db.RetryDead(t.Context(), Filter{IDs: []string{of("a", 4).ID, of("a", 5).ID, of("a", 6).ID}}); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	if n, _, err := db.Replay(t.Context(), Filter{IDs: []string{of("a", 1).ID}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for _, l := range claim(t, p, "a", 100, 10) { // what was retried: one delivered, one dead again and discarded; 5 goes on waiting
		for _, d := range l.Deliveries {
			switch l.Key {
			case "m/4":
				finish(t, p, 0, outcome(d, delivery.Delivered))
			case "m/6":
				finish(t, p, 0, outcome(d, delivery.Dead))
			default:
				finish(t, p, 0, outcome(d, delivery.Released))
			}
		}
	}
	if n, err := db.DiscardDead(t.Context(), Filter{IDs: []string{of("a", 6).ID}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	return db, f
}

const balanceOfAll = "a 1-9: 9 = 3 delivered, 3 pending, 1 dead, 2 discarded, 3 again"

func TestVerifyBalancesEverything(t *testing.T) {
	db, f := ledgerOfAll(t)
	v := wantIntact(t, db)
	wantBalance(t, v, balanceOfAll, "b 1-9: 9 = 0 delivered, 9 pending, 0 dead")
	if v.From != "0/1001" || v.To != "0/1001" || v.Rows != 21 || len(v.Limits) != 0 {
		t.Errorf("%+v", v)
	}
	wantBalance(t, verify(t, db, VerifyOptions{Endpoint: "a"}), balanceOfAll)

	// Parked events have no row in the log. Those at the end have nothing after them either.
	exec(t, db, `INSERT INTO {schema}.gap SELECT 'a', epoch, 10, 12, 'parked', '0/1011', '0/1011', now(), now() FROM {schema}.source`)
	exec(t, db, `UPDATE {schema}.source SET numbers = numbers || '{"a": "12", "c": "2"}'`)
	exec(t, db, `INSERT INTO {schema}.gap SELECT 'c', epoch, 1, 2, 'dropped', '0/1011', '0/1011', now(), now() FROM {schema}.source`)
	f.enqueue(t, none, f.delivery("a", "m/20"))
	v = wantIntact(t, db)
	wantBalance(t, v, "a 1-13: 13 = 3 delivered, 4 pending, 1 dead, 2 discarded, 3 parked, 3 again", "b 1-9: 9 = 0 delivered, 9 pending, 0 dead",
		"c 1-2: 2 = 0 delivered, 0 pending, 0 dead, 2 dropped")

	// What waits for its window is pending, what a later event replaced, or a test, is a gap although it is in the log.
	d := f.delivery("w", "m/1")
	f.enqueue(t, none, d, f.delivery("w", "m/2"), f.delivery("w", "m/3"))
	exec(t, db, `INSERT INTO {schema}.waiting (endpoint, rule, key, lane, seq, day, bytes, priority, epoch, sequence, commit_lsn, commit_at, until, due)
		SELECT endpoint, rule, 'm/1', lane, seq, day, 1, 0, epoch, sequence, commit_lsn, commit_at, now(), now() FROM {schema}.delivery WHERE id = $1`, d.ID)
	exec(t, db, `INSERT INTO {schema}.gap SELECT 'w', epoch, 2, 2, 'superseded', '0/1011', '0/1011', now(), now() FROM {schema}.source`)
	exec(t, db, `INSERT INTO {schema}.gap SELECT 'w', epoch, 3, 3, 'test', '0/1011', '0/1011', now(), now() FROM {schema}.source`)
	exec(t, db, `DELETE FROM {schema}.queue WHERE endpoint = 'w'`)
	exec(t, db, `DELETE FROM {schema}.lane WHERE endpoint = 'w'`)
	if v := wantIntact(t, db); balance(v.Ledgers[3]) != "w 1-3: 3 = 0 delivered, 1 pending, 0 dead, 1 superseded, 1 test" {
		t.Errorf("%s", balance(v.Ledgers[3]))
	}

	// A new epoch begins: each is judged apart, and the end of the one before is known.
	if err := db.inTransaction(t, db.newEpoch); err != nil {
		t.Fatal(err)
	}
	f.enqueue(t, all, f.delivery("a", "m/21"))
	if v := wantIntact(t, db); len(v.Ledgers) != 5 {
		t.Errorf("%d ledgers: %+v", len(v.Ledgers), v.Ledgers)
	}
	exec(t, db, `DELETE FROM {schema}.gap WHERE endpoint = 'c'`)
	if v := verify(t, db, VerifyOptions{}); v.Counts[MissingNumber] != 2 || v.Findings[0].Endpoint != "c" || v.Findings[0].Last != 2 {
		t.Errorf("%+v", v.Findings)
	}
}

// Each way to lose something is named.
func TestVerifyNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, sabotage string
		want           string // kind and number of every finding
	}{
		{"log row", `DELETE FROM {schema}.delivery WHERE endpoint = 'b' AND sequence = 4`, "missing 4-4, queue_without_log"},
		{"log rows at the end", `DELETE FROM {schema}.delivery WHERE endpoint = 'b' AND sequence >= 8; DELETE FROM {schema}.queue WHERE endpoint = 'b' AND lane IN ('m/7', 'm/8'); DELETE FROM {schema}.lane WHERE endpoint = 'b' AND key IN ('m/7', 'm/8')`,
			"missing 8-9"},
		{"log row at the beginning", `DELETE FROM {schema}.delivery WHERE endpoint = 'a' AND sequence = 1`, "missing 1-1"},
		{"queue row", `DELETE FROM {schema}.queue WHERE endpoint = 'b' AND lane = 'm/2'`, "lane_without_queue, lost 3-3"},
		{"queue row and lane", `DELETE FROM {schema}.queue WHERE endpoint = 'b' AND lane = 'm/2'; DELETE FROM {schema}.lane WHERE endpoint = 'b' AND key = 'm/2'`, "lost 3-3"},
		{"attempt", `DELETE FROM {schema}.attempt WHERE seq = 1`, "lost 1-1"},
		{"dead letter", `DELETE FROM {schema}.dead_letter WHERE sequence = 3`, "lost 3-3"},
		{"gap", `DELETE FROM {schema}.gap WHERE first = 4`, "lost 4-4"},
		{"what was replayed", `DELETE FROM {schema}.queue q USING {schema}.delivery d WHERE d.again AND d.sequence = 2 AND q.seq = d.seq`, "lane_without_queue, lost 2-2"},
		{"lane", `DELETE FROM {schema}.lane WHERE endpoint = 'b' AND key = 'm/2'`, "queue_without_lane"},
		{"owner", `UPDATE {schema}.lane SET owner = 12345 WHERE endpoint = 'b' AND key = 'm/2'`, "lane_of_nobody"},
		{"held", `UPDATE {schema}.lane SET owner = NULL, held = true WHERE endpoint = 'b' AND key = 'm/2'`, "lane_held"},
		{"hold", `INSERT INTO {schema}.lane (endpoint, key, due) SELECT endpoint, lane, now() FROM {schema}.dead_letter WHERE sequence = 3; UPDATE {schema}.dead_letter SET holds = true WHERE sequence = 3`,
			"lane_not_held, lane_without_queue"},
		{"held lane", `UPDATE {schema}.dead_letter SET holds = true WHERE sequence = 3`, "lane_not_held"},
		{"number", `UPDATE {schema}.delivery SET sequence = 4 WHERE endpoint = 'b' AND sequence = 5`, "missing 5-5, number_twice 4-4"},
		{"waiting", `INSERT INTO {schema}.waiting (endpoint, rule, key, lane, seq, day, bytes, priority, epoch, sequence, commit_lsn, commit_at, until, due)
			SELECT endpoint, rule, 'm/1', lane, 999, day, 1, 0, epoch, sequence, commit_lsn, commit_at, now(), now() FROM {schema}.delivery WHERE seq = 1`, "queue_without_log"},
		{"number in the source", `UPDATE {schema}.source SET numbers = jsonb_set(numbers, '{b}', '"7"')`, "number_beyond 8-9"},
		{"event", `UPDATE {schema}.delivery SET id = (SELECT id FROM {schema}.delivery WHERE endpoint = 'b' AND sequence = 2) WHERE endpoint = 'b' AND sequence = 7`, "event_twice 7-7"},
		{"dead and queued", `INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes) SELECT endpoint, lane, seq, (now() AT TIME ZONE 'UTC')::date, 1 FROM {schema}.dead_letter WHERE sequence = 3;
			INSERT INTO {schema}.lane (endpoint, key, due) SELECT endpoint, lane, now() FROM {schema}.dead_letter WHERE sequence = 3`, "dead_and_queued"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			db, _ := ledgerOfAll(t)
			for _, sql := range strings.Split(tc.sabotage, ";") {
				exec(t, db, sql)
			}
			v := verify(t, db, VerifyOptions{})
			var got []string
			for _, f := range v.Findings {
				s := string(f.Kind)
				if f.First > 0 {
					s += fmt.Sprintf(" %d-%d", f.First, f.Last)
				}
				if !slices.Contains(got, s) {
					got = append(got, s)
				}
			}
			if s := strings.Join(got, ", "); s != tc.want {
				t.Errorf("found %q, want %q\n%+v", s, tc.want, v.Findings)
			}
		})
	}
}

// A range of LSNs or of time is proven at its ends too.
func TestVerifyRange(t *testing.T) {
	db := openLedger(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	for range 10 { // LSNs 0x1001, 0x1011 ... 0x1091, two numbers each
		f.enqueue(t, none, f.delivery("a", "m/1"), f.delivery("a", "m/2"))
	}
	exec(t, db, "UPDATE {schema}.delivery SET enqueued_at = now() - interval '1 hour' + sequence * interval '1 second'")
	f.enqueue(t, none, f.delivery("rare", "m/1"))
	opts := VerifyOptions{From: 0x1021, To: 0x1051, Endpoint: "a"}
	v := verify(t, db, opts)
	wantBalance(t, v, "a 5-12: 8 = 0 delivered, 8 pending, 0 dead")
	if v.From != "0/1021" || v.To != "0/1051" {
		t.Errorf("from %s to %s", v.From, v.To)
	}
	var from time.Time
	if err := db.pool.QueryRow(t.Context(), expand("SELECT enqueued_at FROM {schema}.delivery WHERE sequence = 7 AND endpoint = 'a'", db.cfg.Schema)).Scan(&from); err != nil {
		t.Fatal(err)
	}
	wantBalance(t, verify(t, db, VerifyOptions{Since: from, Until: from.Add(5 * time.Second)}), "a 7-11: 5 = 0 delivered, 5 pending, 0 dead")
	wantBalance(t, verify(t, db, VerifyOptions{From: 0x10a1}), "rare 1-1: 1 = 0 delivered, 1 pending, 0 dead")
	wantBalance(t, verify(t, db, VerifyOptions{From: 0x9999}))

	// At the ends of the range a row is missed by its neighbours.
	for _, sequence := range []int{5, 12} {
		exec(t, db, "DELETE FROM {schema}.delivery WHERE endpoint = 'a' AND sequence = $1", sequence)
	}
	v = verify(t, db, opts)
	wantBalance(t, v, "a 5-12: 8 = 0 delivered, 6 pending, 0 dead, 2 missing")
	if v.Counts[MissingNumber] != 2 {
		t.Errorf("%+v", v.Findings)
	}
	// Events that were parked before or after the range are not in it.
	exec(t, db, `INSERT INTO {schema}.gap SELECT 'a', epoch, 5, 5, 'parked', '0/1011', '0/1011', now(), now() FROM {schema}.source`)
	exec(t, db, `INSERT INTO {schema}.gap SELECT 'a', epoch, 12, 12, 'parked', '0/1061', '0/1061', now(), now() FROM {schema}.source`)
	wantBalance(t, verify(t, db, opts), "a 6-11: 6 = 0 delivered, 6 pending, 0 dead")
	wantBalance(t, verify(t, db, VerifyOptions{From: 0x1011, To: 0x1051, Endpoint: "a"}), "a 3-11: 9 = 0 delivered, 8 pending, 0 dead, 1 parked")
}

// What retention has dropped is said, and not taken for missing.
func TestVerifyAfterRetention(t *testing.T) {
	db := openLedger(t, func(c *Config) { c.Retention = 48 * time.Hour })
	day, _ := addDay(t, db, 1)
	_, gone := addDay(t, db, 5)
	p := register(t, db)
	f := newFeed(t, p)
	lanes := f.enqueue(t, all, f.delivery("a", "m/1"), f.delivery("a", "m/2"), f.delivery("a", "m/3"), f.delivery("a", "m/4"))
	var done []delivery.Outcome
	for _, l := range lanes {
		done = append(done, outcome(l.Deliveries[0], delivery.Delivered))
	}
	finish(t, p, 0, done...)
	exec(t, db, "UPDATE {schema}.source SET epoch = 1770000000000")
	exec(t, db, "UPDATE {schema}.delivery SET epoch = 1770000000000")
	exec(t, db, "UPDATE {schema}.delivery SET day = to_date($1, 'YYYYMMDD') WHERE seq <= 2", gone)
	exec(t, db, "UPDATE {schema}.delivery SET day = $1 WHERE seq = 3", day)
	if n, _, err := db.Replay(t.Context(), Filter{IDs: []string{lanes[0].Deliveries[0].ID}}); n != 1 || err != nil {
		t.Fatal(n, err) // logged again today, under a number from before the cut
	}
	if _, _, err := db.DropPartitions(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := wantIntact(t, db)
	wantBalance(t, v, "a 3-4: 2 = 2 delivered, 0 pending, 0 dead, 1 again")
	if len(v.Limits) != 1 || !strings.Contains(v.Limits[0], "numbers before 3 are past retention") {
		t.Errorf("limits: %q", v.Limits)
	}
	// Without the attempts of a day nobody knows whether what was enqueued then was delivered.
	exec(t, db, "DROP TABLE {schema}.attempt_"+day.Format("20060102"))
	exec(t, db, "DELETE FROM {schema}.attempt")
	v = verify(t, db, VerifyOptions{})
	wantBalance(t, v, "a 3-4: 2 = 0 delivered, 0 pending, 0 dead, 1 untold, 1 lost, 1 again")
	if v.Counts[LostDelivery] != 1 || v.Findings[0].First != 4 {
		t.Errorf("%+v", v.Findings)
	}
}

// A delivery that waits longer than retention keeps its day, and the days after it go: they are past retention, not missing.
func TestVerifyBesideADayThatIsNeeded(t *testing.T) {
	db := openLedger(t, func(c *Config) { c.Retention, c.AttemptRetention = 2*24*time.Hour, 2*24*time.Hour })
	exec(t, db, "UPDATE {schema}.source SET epoch = epoch - 20 * 86400000::bigint")
	p := register(t, db)
	f := newFeed(t, p)
	put := func(ago int, deliveries ...*delivery.Delivery) {
		t.Helper()
		day, _ := addDay(t, db, ago)
		for _, l := range f.enqueue(t, all, deliveries...) {
			if l.Endpoint == "a" {
				finish(t, p, 0, outcome(l.Deliveries[0], delivery.Delivered))
			}
		}
		for _, d := range deliveries {
			exec(t, db, "UPDATE {schema}.delivery SET day = $1 WHERE seq = $2", day, d.Seq)
			exec(t, db, "UPDATE {schema}.queue SET day = $1 WHERE seq = $2", day, d.Seq)
		}
		exec(t, db, "UPDATE {schema}.attempt SET day = $1 WHERE day = (now() AT TIME ZONE 'UTC')::date", day)
	}
	held := f.delivery("c", "m/1")
	put(6, f.delivery("a", "m/1"), f.delivery("b", "m/1"), held)
	for ago := 5; ago >= 1; ago-- {
		put(ago, f.delivery("a", "m/1"))
	}
	wantIntact(t, db)
	if dropped, _, err := db.DropPartitions(t.Context()); len(dropped) == 0 || err != nil {
		t.Fatal(dropped, err)
	}
	v := wantIntact(t, db)
	if len(v.Ledgers) == 0 || v.Ledgers[0].Endpoint != "a" || v.Ledgers[0].Lost != 0 || v.Ledgers[0].Missing != 0 || !v.LogSince.After(time.Now().AddDate(0, 0, -5)) {
		t.Errorf("the log is whole since %s: %+v", v.LogSince, v.Ledgers)
	}
	for _, ago := range []int{5, 1} { // a range has numbers next to it that are far away
		if v := verify(t, db, VerifyOptions{Since: time.Now().AddDate(0, 0, -ago), Until: time.Now()}); !v.Intact {
			t.Errorf("findings: %+v", v.Findings)
		}
	}
	// One that goes back to the front of its lane is in today's log, with its old place.
	o := outcome(held, delivery.Dead)
	o.Hold = true
	finish(t, p, 0, o)
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantIntact(t, db)
}
