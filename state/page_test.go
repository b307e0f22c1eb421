package state

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// However small the window is that a page looks at, pages go to the end without gaps or repeats, while deliveries are enqueued.
func TestPagesToTheEnd(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var want []string
	for i := range 60 {
		endpoint := "a"
		if i%5 == 0 {
			endpoint = "rare"
		}
		d := f.delivery(endpoint, "m/1")
		f.enqueue(t, all, d)
		result := delivery.Delivered
		if i%7 == 0 {
			result = delivery.Dead
		}
		finish(t, p, 1, outcome(d, result))
		if endpoint == "rare" && result == delivery.Delivered {
			want = append([]string{d.ID}, want...)
		}
	}
	for _, window := range []int{1, 7, 100} {
		db.window = window
		var got []string
		pages := 0
		for filter := (Filter{State: Delivered, Endpoint: "rare", Limit: 3}); ; pages++ {
			list, next, err := db.PageDeliveries(t.Context(), filter)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range list {
				got = append(got, l.ID)
			}
			if next == 0 {
				break
			}
			filter.Before = next
			f.enqueue(t, none, f.delivery("rare", "m/2"))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("window %d: %v, want %v", window, got, want)
		}
		if window < 10 && pages < 60/window {
			t.Errorf("window %d: %d pages only", window, pages)
		}
		if list, err := db.ListDeliveries(t.Context(), Filter{State: Delivered, Endpoint: "rare"}); err != nil || len(list) != len(want) {
			t.Errorf("window %d: %d in one list, %v", window, len(list), err)
		}
		for state, n := range map[State]int{Dead: 9, Pending: -1} {
			list, err := db.ListDeliveries(t.Context(), Filter{State: state})
			if err != nil || n >= 0 && len(list) != n || n < 0 && len(list) == 0 {
				t.Errorf("window %d: %d %s, %v", window, len(list), state, err)
			}
		}
	}
}

// What held its lane and was retried on another day is in the log twice under its seq, and listed once.
func TestListNamesADeliveryOnce(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	o := outcome(d, delivery.Dead)
	o.Hold = true
	finish(t, p, 1, o)
	exec(t, db, "SELECT {schema}.add_partitions(1)")
	exec(t, db, "UPDATE {schema}.delivery SET day = day + 1, enqueued_at = enqueued_at - interval '1 day'") // it died yesterday
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n := rows(t, db, "delivery"); n != 2 {
		t.Fatalf("%d rows of the log", n)
	}
	list, err := db.ListDeliveries(t.Context(), Filter{})
	if err != nil || len(list) != 1 || list[0].State != Pending {
		t.Errorf("%+v %v", list, err)
	}
}

// The server gives a page up when the caller's time is over, and does not go on for nobody.
func TestReadsEndWithTheirCaller(t *testing.T) {
	db := openState(t, nil)
	for limit, want := range map[time.Duration]func(time.Duration) bool{
		10 * time.Second: func(d time.Duration) bool { return d > 0 && d <= 10*time.Second },
		time.Hour:        func(d time.Duration) bool { return d == statementTimeout },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		var ms int
		err := db.read(ctx, "look", func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'").Scan(&ms)
		})
		cancel()
		if got := time.Duration(ms) * time.Millisecond; err != nil || !want(got) {
			t.Errorf("limit %s: statement_timeout %s, %v", limit, got, err)
		}
	}
}

// envLong makes tests work on as much as a large installation has.
const envLong = "WALHOOK_LONG"

// A list over a big log looks at no more of it than a window, and never at all of it: not even to find what is rare.
func TestListsOfABigLogAreBounded(t *testing.T) {
	size := 40_000
	if os.Getenv(envLong) != "" {
		size = 1_000_000
	}
	db := openState(t, nil)
	fillLog(t, db, size)
	window := 2_000
	db.window = window
	filters := map[string]Filter{
		"newest":      {},
		"next page":   {Before: int64(size / 2)},
		"pending":     {State: Pending},
		"retrying":    {State: Retrying},
		"dead":        {State: Dead},
		"dead of one": {State: Dead, Endpoint: "e1"},
		"delivered":   {State: Delivered, Before: int64(size / 3)},
		"discarded":   {State: Discarded},
		"rare":        {Endpoint: "nobody"},
		"rare error":  {State: Dead, Error: "no such text"},
		"rare record": {Model: "sale.order", Record: "0"},
		"an id":       {IDs: []string{"msg_77"}},
		"ids":         {IDs: []string{"msg_77", "msg_78", "msg_79"}},
	}
	bounded := func(name, statement string, args ...any) {
		explain(t, db, statement, args).walk(func(n *planNode) {
			big := n.Relation == "dead_letter" || n.Relation == "queue" || strings.HasPrefix(n.Relation, "delivery_") || strings.HasPrefix(n.Relation, "attempt_")
			read := (n.Rows + n.Removed) * n.Loops
			if big && (n.Kind == "Seq Scan" && read > 100 || read > 2*float64(window)) {
				t.Errorf("%s: %s of %s reads %.0f rows", name, n.Kind, n.Relation, read)
			}
		})
	}
	for name, f := range filters {
		s, err := f.listStatement(db.window, false)
		if err != nil {
			t.Fatal(err)
		}
		bounded(name, s.rows, s.args...)
		if s.window != "" {
			bounded("window of "+name, s.window, s.args[:s.shared]...)
		}
	}
	bounded("recent attempts", recentAttempts(db.window), "e5", 10)
	bounded("recent attempts of a rare endpoint", recentAttempts(db.window), "nobody", 10)
	db.window = listWindow
	for name, f := range filters {
		began := time.Now()
		list, next, err := db.PageDeliveries(t.Context(), f)
		if err != nil {
			t.Error(err)
		}
		t.Logf("%-12s %3d listed, more %-5t %s", name, len(list), next != 0, time.Since(began).Round(100*time.Microsecond))
	}
	db.window = window
	// A queue of many rows is not read whole either.
	err := db.read(t.Context(), "look", func(tx pgx.Tx) error {
		few, err := db.fewQueued(t.Context(), tx, Filter{State: Pending})
		if few || err != nil {
			t.Errorf("few %t, %v", few, err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if list, next, err := db.PageDeliveries(t.Context(), Filter{Endpoint: "nobody"}); len(list) != 0 || next == 0 || err != nil {
		t.Errorf("%d, next %d, %v: there is more to look at", len(list), next, err)
	}
}

// fillLog makes a log of deliveries to ten endpoints, of which a tenth is pending and a tenth dead.
func fillLog(t *testing.T, db *DB, n int) {
	t.Helper()
	exec(t, db, `INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence)
		SELECT g, (now() AT TIME ZONE 'UTC')::date, 'msg_' || g, 'e' || g % 10, 'sale.order/' || g, 'rule', 'sale.order.write', 'sale.order', g::text, 'write', false, '0/1', 1, now(), now(), 'application/json', '{}', 1, g
		FROM generate_series(1, `+itoa(n)+`) g`)
	exec(t, db, `INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes) SELECT endpoint, lane, seq, day, 2 FROM {schema}.delivery WHERE seq % 10 = 0`)
	exec(t, db, `INSERT INTO {schema}.dead_letter (seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, attempts, reason, class, status, holds, epoch, sequence)
		SELECT seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, 1, 'r', 'timeout', 0, false, epoch, sequence FROM {schema}.delivery WHERE seq % 10 = 1`)
	exec(t, db, `INSERT INTO {schema}.attempt (day, seq, number, at, endpoint, process, result, reason, class, method, url, request_headers, status, response_headers, response_body, response_cut, error, dns_us, connect_us, tls_us, first_byte_us, total_us)
		SELECT day, seq, 1, now(), endpoint, 1, 'delivered', '', '', 'POST', 'u', '{}', 200, '{}', '', false, '', 0, 0, 0, 0, 0 FROM {schema}.delivery WHERE seq % 10 > 1`)
	exec(t, db, "ANALYZE {schema}.delivery, {schema}.queue, {schema}.dead_letter, {schema}.attempt")
}

// planNode is a part of what EXPLAIN (ANALYZE, FORMAT JSON) says.
type planNode struct {
	Kind     string      `json:"Node Type"`
	Relation string      `json:"Relation Name"`
	Rows     float64     `json:"Actual Rows"`
	Removed  float64     `json:"Rows Removed by Filter"`
	Loops    float64     `json:"Actual Loops"`
	Parts    []*planNode `json:"Plans"`
}

func (n *planNode) walk(f func(*planNode)) {
	f(n)
	for _, p := range n.Parts {
		p.walk(f)
	}
}

// explain runs a statement as lists do, and returns what was done.
func explain(t *testing.T, db *DB, statement string, args []any) *planNode {
	t.Helper()
	var text []byte
	err := db.read(t.Context(), "explain", func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), byIndex); err != nil {
			return err
		}
		return tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, SUMMARY OFF) "+expand(statement, db.cfg.Schema), args...).Scan(&text)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, statement)
	}
	var plans []struct{ Plan planNode }
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%v %s", err, text)
	}
	return &plans[0].Plan
}
