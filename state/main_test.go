package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// openEmpty opens a state on a fresh database, without a schema.
func openEmpty(t testing.TB, change func(*Config)) *DB {
	t.Helper()
	cfg := Config{DSN: pgtest.Database(t), Version: "test"}
	if change != nil {
		change(&cfg)
	}
	return open(t, cfg)
}

func open(t testing.TB, cfg Config) *DB {
	t.Helper()
	db, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

var testBinding = Binding{SystemID: "7001", Timeline: 1, DatabaseOID: 16384, DatabaseName: "odoo", UUID: "u-1", CreateDate: "2026-01-01 10:00:00", Slot: "walhook"}

const testStart = cdc.LSN(0x1000)

// openState opens a migrated and bound state.
func openState(t testing.TB, change func(*Config)) *DB {
	t.Helper()
	db := openEmpty(t, change)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "UPDATE {schema}.source SET epoch = 1") // so that tests can write numbers down
	exec(t, db, hotChecks)
	return db
}

// hotChecks hold of the tables that every delivery passes through. They are checked in tests alone, see migration 23.
const hotChecks = `
	ALTER TABLE {schema}.source ADD CHECK (timeline > 0), ADD CHECK (open_count >= 0), ADD CHECK (last_seq >= 0), ADD CHECK (epoch > 0),
		ADD CHECK (jsonb_typeof(numbers) = 'object'), ADD CHECK (open_lsn <> '0/0' OR open_count = 0);
	ALTER TABLE {schema}.queue ADD CHECK (bytes >= 0), ADD CHECK (attempts >= 0);
	ALTER TABLE {schema}.lane ADD CHECK (NOT held OR owner IS NULL), ADD CHECK (priority BETWEEN -1 AND 1);
	ALTER TABLE {schema}.attempt ADD CHECK (number > 0), ADD CHECK (result IN ('delivered', 'retry', 'dead', 'regrouped')),
		ADD CHECK ((batch IS NULL) = (batch_position IS NULL) AND (batch IS NULL) = (batch_size IS NULL) AND batch_position BETWEEN 1 AND batch_size)`

func register(t testing.TB, db *DB) *Process {
	t.Helper()
	p, err := db.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// feed enqueues batches one after the other, as the reader.
type feed struct {
	p    *Process
	at   delivery.Position
	next int
}

func newFeed(t testing.TB, p *Process) *feed {
	t.Helper()
	turn, err := p.takeRole(t.Context(), p.db.pool)
	if err != nil {
		t.Fatal(err)
	}
	return &feed{p: p, at: turn.position}
}

// delivery makes the next delivery, of a lane.
func (f *feed) delivery(endpoint, lane string) *delivery.Delivery {
	f.next++
	record := lane[strings.LastIndexByte(lane, '/')+1:]
	return &delivery.Delivery{
		ID: fmt.Sprintf("msg_%d_%s_%d", f.p.id, endpoint, f.next), Endpoint: endpoint, Lane: lane, Rule: "rule", Event: "sale.order.write", Model: "sale.order",
		Record: record, Op: "write", CommitLSN: f.at.LSN + 1, XID: uint32(1000 + f.next), CommitAt: time.Date(2026, 5, 1, 12, 0, 0, 123000, time.UTC),
		Body: fmt.Appendf(nil, `{"n":%d}`, f.next), ContentType: "application/json",
	}
}

func (f *feed) enqueue(t testing.TB, take func(string, int) bool, deliveries ...*delivery.Delivery) []delivery.Lane {
	t.Helper()
	lanes, err := f.try(t.Context(), take, deliveries...)
	if err != nil {
		t.Fatal(err)
	}
	return lanes
}

func (f *feed) try(ctx context.Context, take func(string, int) bool, deliveries ...*delivery.Delivery) ([]delivery.Lane, error) {
	to := delivery.Position{LSN: f.at.LSN + 16}
	lanes, err := f.p.Enqueue(ctx, &delivery.Batch{From: f.at, To: to, Deliveries: deliveries, Matched: map[string]int64{"rule": int64(len(deliveries))}}, take)
	if err == nil {
		f.at = to
	}
	return lanes, err
}

func all(string, int) bool  { return true }
func none(string, int) bool { return false }

func outcome(d *delivery.Delivery, r delivery.Result) delivery.Outcome {
	o := delivery.Outcome{Delivery: d, Result: r, LaneDone: true}
	if r != delivery.Released {
		o.Attempt = &delivery.Attempt{Number: d.Attempts + 1, At: time.Now(), Method: "POST", URL: "https://example.com/hook", Status: 200,
			RequestHeaders: map[string][]string{"Webhook-Id": {d.ID}}, ResponseHeaders: map[string][]string{"Server": {"x"}}, ResponseBody: []byte("ok"),
			Connect: time.Millisecond, Total: 3 * time.Millisecond}
	}
	if r == delivery.Retry || r == delivery.Dead {
		o.Reason, o.Attempt.Status, o.Attempt.Class = "503 Service Unavailable", 503, "status"
	}
	return o
}

func finish(t testing.TB, p *Process, perLane int, outcomes ...delivery.Outcome) []delivery.Lane {
	t.Helper()
	lanes, err := p.Finish(t.Context(), outcomes, perLane)
	if err != nil {
		t.Fatal(err)
	}
	return lanes
}

func claim(t testing.TB, p *Process, endpoint string, limit, perLane int) []delivery.Lane {
	t.Helper()
	lanes, err := p.Claim(t.Context(), endpoint, limit, perLane)
	if err != nil {
		t.Fatal(err)
	}
	return lanes
}

// names shows lanes as "endpoint:key=seq,seq".
func names(lanes []delivery.Lane) string {
	var out []string
	for _, l := range lanes {
		var seqs []string
		for _, d := range l.Deliveries {
			seqs = append(seqs, fmt.Sprint(d.Seq))
		}
		s := l.Endpoint + ":" + l.Key + "=" + strings.Join(seqs, ",")
		if l.More {
			s += "+"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func wantLanes(t testing.TB, got []delivery.Lane, want string) {
	t.Helper()
	if names(got) != want {
		t.Fatalf("lanes: got %q, want %q", names(got), want)
	}
}

// rows counts the rows of a table, or of a query's FROM and WHERE.
func rows(t testing.TB, db *DB, from string) (n int) {
	t.Helper()
	if err := db.pool.QueryRow(t.Context(), expand("SELECT count(*) FROM {schema}."+from, db.cfg.Schema)).Scan(&n); err != nil {
		t.Fatalf("count %s: %v", from, err)
	}
	return n
}

func exec(t testing.TB, db *DB, sql string, args ...any) {
	t.Helper()
	if _, err := db.pool.Exec(t.Context(), expand(sql, db.cfg.Schema), args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// consistent checks what must hold whenever nothing is under way: a lane has queue rows or is held, a queue row has a
// lane and a log row, an owner exists, sizes are what the tables hold.
func consistent(t testing.TB, db *DB) {
	t.Helper()
	for what, from := range map[string]string{
		"queue rows without a lane":    `queue q WHERE NOT EXISTS (SELECT FROM {schema}.lane l WHERE l.endpoint = q.endpoint AND l.key = q.lane)`,
		"queue rows without a log row": `queue q WHERE NOT EXISTS (SELECT FROM {schema}.delivery d WHERE d.day = q.day AND d.seq = q.seq)`,
		"lanes without queue rows":     `lane l WHERE NOT l.held AND NOT EXISTS (SELECT FROM {schema}.queue q WHERE q.endpoint = l.endpoint AND q.lane = l.key)`,
		"lanes of no process":          `lane l WHERE l.owner IS NOT NULL AND l.owner NOT IN (SELECT id FROM {schema}.process)`,
		"held lanes without a reason":  `lane l WHERE l.held AND NOT EXISTS (SELECT FROM {schema}.dead_letter x WHERE x.endpoint = l.endpoint AND x.lane = l.key AND x.holds)`,
	} {
		if n := rows(t, db, from); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	exactSizes(t, db)
}

func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

func isTemporary(err error) bool {
	var h interface{ Temporary() bool }
	return errors.As(err, &h) && h.Temporary()
}
