package torture

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// expected is an event that must arrive.
type expected struct {
	change
	XID   uint32
	Order int64 // of the record's last write
}

// routes are the rules of configuration: what the ledger calls net changes and single writes, and where they go.
var routes = []struct{ kind, table, rule, endpoint string }{
	{"net", "sale_order", "orders", "first"},
	{"net", "sale_order", "orders", "second"},
	{"net", "sale_order", "orders", "third"},
	{"net", "sale_order_line", "lines", "first"},
	{"net", "sale_order_tag_rel", "tags", "first"},
	{"each", "sale_order_tag_rel", "tags_each", "first"},
	{"each", "sale_order_tag_rel", "tags_each", "second"},
}

// ledger reads what must arrive.
func (r *round) ledger() []expected {
	r.t.Helper()
	conn := pgtest.Connect(r.t, r.in.Super)
	rows, err := conn.Query(context.Background(), "SELECT kind, tab, xid & 4294967295, key, coalesce(before, 0), coalesce(after, 0), n FROM expected")
	if err != nil {
		r.t.Fatal(err)
	}
	var all []expected
	var kind string
	var xid int64
	var e expected
	if _, err := pgx.ForEachRow(rows, []any{&kind, &e.Table, &xid, &e.Key, &e.Before, &e.After, &e.Order}, func() error {
		e.XID = uint32(xid)
		for _, to := range routes {
			if to.kind == kind && to.table == e.Table {
				e.Rule, e.Endpoint = to.rule, to.endpoint
				all = append(all, e)
			}
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	// Single writes come before the net change that ends with them.
	slices.SortFunc(all, func(a, b expected) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(b.Rule, a.Rule))
	})
	return all
}

// verify holds what arrived, and what the state holds, against the ledger.
func (r *round) verify(want []expected) {
	r.t.Helper()
	complaints := 0
	complain := func(format string, args ...any) {
		r.t.Helper()
		if complaints++; complaints <= 20 {
			r.t.Errorf(format, args...)
		}
	}
	arrivals := r.receiver.arrivals()
	verifyArrivals(want, arrivals, complain)
	verifyNumbers(arrivals, complain)
	r.verifyState(want, complain)
	r.prove()
	if complaints > 20 {
		r.t.Errorf("… and %d more", complaints-20)
	}
}

// verifyArrivals finds events that did not arrive or were not to, and arrivals out of order. In the order of commits per lane:
//
//   - an event first arrives after the one before it was accepted;
//   - within one life arrivals never go back. A repetition of what an earlier life has delivered is allowed.
//
// Of one rule the row before is the row after of the event before.
func verifyArrivals(want []expected, arrivals []arrival, complain func(string, ...any)) {
	type place struct {
		expected
		index    int // in its lane
		accepted bool
	}
	places := make(map[change]*place, len(want))
	lanes := map[lane][]*place{}
	versions := map[stream]int64{}
	for _, e := range want {
		if places[e.change] != nil {
			complain("the ledger has two of %+v", e)
		}
		l := e.lane()
		p := &place{expected: e, index: len(lanes[l])}
		places[e.change] = p
		lanes[l] = append(lanes[l], p)
		if v, ok := versions[e.stream()]; ok && v != e.Before {
			complain("%+v comes after version %d: they do not join", e, v)
		}
		versions[e.stream()] = e.After
	}
	type course struct {
		lane
		life int
	}
	last := map[course]int{}
	for _, a := range arrivals {
		p := places[a.change]
		if p == nil {
			complain("event %s was not to be: %+v, transaction %d", a.id, a.change, a.xid)
			continue
		}
		if a.xid != p.XID {
			complain("event %s comes from transaction %d, it was %d: %+v", a.id, a.xid, p.XID, a.change)
		}
		l := a.change.lane()
		if p.index > 0 {
			if previous := lanes[l][p.index-1]; !previous.accepted {
				complain("%+v arrived in life %d although %+v, which comes before, was not accepted yet", a.change, a.life, previous.change)
			}
		}
		c := course{l, a.life}
		if i, ok := last[c]; ok && p.index < i {
			complain("%+v arrived in life %d after %+v", a.change, a.life, lanes[l][i].change)
		}
		last[c] = p.index
		p.accepted = p.accepted || a.accepted
	}
	for _, e := range want {
		if !places[e.change].accepted {
			complain("%+v never arrived", e)
		}
	}
}

// verifyNumbers finds gaps in what an endpoint's deliveries are counted by.
func verifyNumbers(arrivals []arrival, complain func(string, ...any)) {
	seen := map[number]bool{}
	counts, last := map[string]int{}, map[string]int{}
	for _, a := range arrivals {
		if e := a.number.endpoint; !seen[a.number] {
			seen[a.number] = true
			counts[e], last[e] = counts[e]+1, max(last[e], a.number.n)
		}
	}
	for endpoint, n := range counts {
		if last[endpoint] != n {
			complain("endpoint %s has seen %d numbers, the last is %d", endpoint, n, last[endpoint])
		}
	}
}

// verifyState holds the log of deliveries against the ledger: each event once, numbered without a gap, delivered once. Where
// dead letters were retried it is logged again, under its old number.
func (r *round) verifyState(want []expected, complain func(string, ...any)) {
	r.t.Helper()
	conn := pgtest.Connect(r.t, r.state)
	never := 0 // dead
	for _, e := range want {
		if e.Endpoint != "third" {
			never++
		}
	}
	for _, q := range []struct {
		sql  string
		want int64
	}{
		{"SELECT count(*) FROM walhook.delivery WHERE endpoint <> 'third'", int64(never)},
		{"SELECT count(DISTINCT id) FROM walhook.delivery", int64(len(want))},
		{"SELECT count(DISTINCT seq) FROM walhook.delivery WHERE seq BETWEEN 1 AND (SELECT last_seq FROM walhook.source)", int64(len(want))},
		{"SELECT last_seq FROM walhook.source", int64(len(want))},
		{"SELECT count(*) FROM walhook.attempt WHERE result = 'delivered'", int64(len(want))},
		{"SELECT count(DISTINCT seq) FROM walhook.attempt WHERE result = 'delivered'", int64(len(want))},
		{"SELECT count(*) FROM walhook.queue", 0},
		{"SELECT count(*) FROM walhook.lane", 0},
		{"SELECT count(*) FROM walhook.dead_letter", 0},
		{"SELECT count(*) FROM walhook.parked", 0},
		{"SELECT count(*) FROM walhook.process", 0},
		{"SELECT count(*) FROM walhook.source WHERE open_count <> 0 AND open_lsn >= lsn", 0},
	} {
		if got := count(r.t, conn, q.sql); got != q.want {
			complain("%s: %d, want %d", q.sql, got, q.want)
		}
	}
	r.verifyLog(conn, complain)
	// Stopped in order, so the server has been told everything.
	var confirmed, position string
	if err := pgtest.Connect(r.t, r.in.Super).QueryRow(context.Background(), "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = $1", r.in.Slot).Scan(&confirmed); err != nil {
		r.t.Fatal(err)
	}
	if err := conn.QueryRow(context.Background(), "SELECT lsn::text FROM walhook.source").Scan(&position); err != nil {
		r.t.Fatal(err)
	}
	if confirmed != position {
		complain("after an orderly stop confirmed_flush is %s and the position %s", confirmed, position)
	}
}

// prove has walhook itself tell whether everything is accounted for.
func (r *round) prove() {
	r.t.Helper()
	cmd := r.in.Command("deliveries", "verify")
	cmd.Env = r.environment(0, "")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Errorf("deliveries verify after life %d: %v\n%s", r.lives, err, out)
	}
}

// verifyLog finds ids that arrived and are not in the log, or the other way round.
func (r *round) verifyLog(conn *pgx.Conn, complain func(string, ...any)) {
	r.t.Helper()
	logged := map[string]bool{}
	rows, err := conn.Query(context.Background(), "SELECT id FROM walhook.delivery")
	if err != nil {
		r.t.Fatal(err)
	}
	var id string
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { logged[id] = true; return nil }); err != nil {
		r.t.Fatal(err)
	}
	arrived := map[string]bool{}
	for _, a := range r.receiver.arrivals() {
		if arrived[a.id] = true; !logged[a.id] {
			complain("event %s arrived and is not in the log: %+v", a.id, a.change)
		}
	}
	for id := range logged {
		if !arrived[id] {
			complain("event %s is in the log and did not arrive", id)
		}
	}
}

func count(t *testing.T, conn *pgx.Conn, sql string) (n int64) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}
