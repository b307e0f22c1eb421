package state

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// A look at what waits reads no table from end to end, also when the planner last saw empty ones, and counts no further than it says.
func TestStatusScansNothing(t *testing.T) {
	db := openState(t, nil)
	exec(t, db, "ANALYZE")
	for name, tc := range map[string]struct {
		sql   string
		args  []any
		plans []string
	}{
		"what waits":             {waits, []any{[]string{"a"}, countedUpTo}, []string{"using queue_retrying", "using lane_held", "using lane_due"}},
		"parked":                 {parkedPerRule, nil, []string{"using parked_rule"}},
		"a gap's end":            {gapsIn, []any{"a", 1, 1, 2}, []string{"using gap_"}},
		"what rules do not send": {"SELECT g.first FROM {schema}.delivery d, LATERAL " + unsentGap + " g WHERE d.seq = 1", nil, []string{"using gap_unsent"}},
	} {
		rows, err := db.pool.Query(t.Context(), "EXPLAIN "+expand(tc.sql, db.cfg.Schema), tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plan := strings.Join(lines, "\n")
		if regexp.MustCompile(`Seq Scan on (queue|lane|parked|gap)`).MatchString(plan) {
			t.Errorf("%s scans a table:\n%s", name, plan)
		}
		for _, want := range tc.plans {
			if !strings.Contains(plan, want) {
				t.Errorf("%s has no %q:\n%s", name, want, plan)
			}
		}
	}
	exec(t, db, `INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes, attempts) SELECT 'a', 'm/' || n, n, now(), 1, 1 FROM generate_series(1, 10100) n`)
	exec(t, db, `INSERT INTO {schema}.tally (endpoint, pending, pending_bytes) VALUES ('a', 10100, 10100)`)
	exec(t, db, `INSERT INTO {schema}.parked (id, rule, model, record, commit_lsn, xid, commit_at, error, change)
		SELECT n::text, CASE n % 101 WHEN 0 THEN 'b' ELSE 'a' END, '', '', '0/1', 1, now(), '', '' FROM generate_series(1, 10201) n`)
	list, err := db.Endpoints(t.Context())
	if err != nil || len(list) != 1 || list[0].Pending != 10100 || list[0].Retrying != countedUpTo {
		t.Errorf("%+v, %v", list, err)
	}
	rules, err := db.Rules(t.Context())
	if err != nil || len(rules) != 2 || rules[0].Parked != countedUpTo || rules[1].Parked != 101 {
		t.Errorf("%+v, %v", rules, err)
	}
}

// Beside a running process the oldest delivery is looked for in the background; status does it itself where that is cheap, or nobody does.
func TestOldestPending(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	since := func(endpoint string) time.Time {
		t.Helper()
		list, err := db.Endpoints(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			if e.Name == endpoint {
				return e.OldestPending
			}
		}
		return time.Time{}
	}
	old, young := f.delivery("a", "m/1"), f.delivery("a", "m/2")
	young.CommitAt = old.CommitAt.Add(time.Hour)
	lanes := f.enqueue(t, all, old, young)
	if at := since("a"); !at.Equal(old.CommitAt) {
		t.Errorf("the oldest is of %s", at)
	}
	db.oldest.watch(true)
	finish(t, p, 0, outcome(lanes[0].Deliveries[0], delivery.Delivered))
	if at := since("a"); !at.Equal(old.CommitAt) { // as it was found last
		t.Errorf("beside a process: the oldest is of %s", at)
	}
	db.oldest.took = 0 // however busy the machine
	f.enqueue(t, none, f.delivery("b", "m/1"))
	if at := since("b"); at.IsZero() {
		t.Error("what has just begun to wait has no age")
	}
	if at := since("a"); !at.Equal(young.CommitAt) {
		t.Errorf("after a look: the oldest is of %s", at)
	}
	db.oldest.took = time.Hour // a look is dear: it is left to the process
	f.enqueue(t, none, f.delivery("c", "m/1"))
	if at := since("c"); !at.IsZero() {
		t.Errorf("status has looked itself: %s", at)
	}
	db.oldest.watch(false)
	if at := since("c"); at.IsZero() {
		t.Error("nobody looks")
	}
}
