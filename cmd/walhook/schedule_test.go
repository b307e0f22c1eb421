package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/delivery"
	"walhook/internal/pgtest"
	"walhook/rules"
	"walhook/state"
	"walhook/status"
)

// office is a database with an invoice table, and a state of which this process is the reader. Time stands still until it is moved.
type office struct {
	t       *testing.T
	dsn     string
	conn    *pgx.Conn
	db      *state.DB
	process *state.Process
	reader  *state.Reader
	now     time.Time
	failed  []error
	ran     []delivery.ScheduleState
	store   func(delivery.ScheduleStore) delivery.ScheduleStore
}

var officeIdentity = delivery.Identity{SystemID: "7001", DatabaseOID: 16384}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dsn: pgtest.Database(t), now: time.Date(2026, 3, 1, 5, 30, 0, 0, time.UTC)}
	o.conn = pgtest.Connect(t, o.dsn)
	o.exec(`CREATE TABLE invoice (id int PRIMARY KEY, name varchar, state varchar, due date, paid bool, total numeric, customer int, access_token varchar)`)
	var err error
	if o.db, err = state.Open(t.Context(), state.Config{DSN: o.dsn, Version: "test"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.db.Close() })
	if err := o.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	binding := state.Binding{SystemID: "7001", Timeline: 1, DatabaseOID: 16384, DatabaseName: "odoo", Slot: "walhook"}
	if _, err := o.db.Bind(t.Context(), binding, state.BindOptions{Start: 0x1000, Created: true}); err != nil {
		t.Fatal(err)
	}
	if o.process, err = o.db.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o.reader, err = o.process.Contend(t.Context(), state.ReaderTrace{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.reader.Close() })
	return o
}

func (o *office) exec(sql string, args ...any) {
	o.t.Helper()
	if _, err := o.conn.Exec(o.t.Context(), sql, args...); err != nil {
		o.t.Fatalf("%s: %v", sql, err)
	}
}

func (o *office) number(sql string, args ...any) (n int) {
	o.t.Helper()
	if err := o.conn.QueryRow(o.t.Context(), sql, args...).Scan(&n); err != nil {
		o.t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// clear forgets all that was.
func (o *office) clear() {
	o.t.Helper()
	o.now, o.failed, o.ran, o.store = time.Date(2026, 3, 1, 5, 30, 0, 0, time.UTC), nil, nil, nil
	o.exec("TRUNCATE invoice, walhook.schedule, walhook.crossing, walhook.delivery, walhook.queue, walhook.lane, walhook.parked")
}

// TestSchedule has one database for all that rules on schedule do.
func TestSchedule(t *testing.T) {
	o := newOffice(t)
	for name, test := range map[string]func(*testing.T){
		"fires once per crossing": o.firesOncePerCrossing, "missed runs": o.missedRuns, "begins": o.begins, "cap and parts": o.capAndParts,
		"broken off": o.brokenOff, "another reader": o.ofAnotherReader, "failures": o.failures, "forgotten": o.forgotten,
	} {
		t.Run(name, func(t *testing.T) {
			outer := o.t
			o.t = t
			defer func() { o.t = outer }()
			o.clear()
			test(t)
		})
	}
}

const overdue = `after.state == "posted" && !after.paid && after.due < date(now())`

func invoiceRule(change func(*rules.Config)) rules.Config {
	c := rules.Config{Name: "overdue", Table: "invoice", On: []string{"schedule"}, At: []string{"06:00"}, When: overdue, Endpoint: "erp", Fields: []string{"name", "due", "total"}}
	if change != nil {
		change(&c)
	}
	return c
}

// scheduler is a new one, as after a restart.
func (o *office) scheduler(configs ...rules.Config) *delivery.Scheduler {
	o.t.Helper()
	cat, err := catalog.Load(o.t.Context(), o.conn)
	if err != nil {
		o.t.Fatal(err)
	}
	set, err := rules.Compile(configs, cat)
	if err != nil {
		o.t.Fatal(err)
	}
	live, err := cdc.NewLive(o.dsn, "schedule", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(live.Close)
	c := delivery.SchedulerConfig{ID: officeIdentity, Rules: set, Endpoints: map[string]delivery.EndpointConfig{"erp": {}}, Store: o.process.Schedules(), Scanner: live,
		Loader: newRelatedRows(live, set), Now: func() time.Time { return o.now }, Sleep: func(context.Context, time.Duration) {},
		Trace: delivery.ScheduleTrace{
			Failed: func(_ string, err error, _ time.Duration) { o.failed = append(o.failed, err) },
			Ran:    func(_ string, s delivery.ScheduleState, _ int, _ time.Duration) { o.ran = append(o.ran, s) },
		}}
	if o.store != nil {
		c.Store = o.store(c.Store)
	}
	return delivery.NewScheduler(c)
}

// look lets a scheduler look at a time, "06:00" or "2 06:00" of a later day.
func (o *office) look(s *delivery.Scheduler, at string) {
	o.t.Helper()
	o.try(s, at)
	if len(o.failed) > 0 {
		o.t.Fatal(o.failed)
	}
}

func (o *office) try(s *delivery.Scheduler, at string) {
	o.t.Helper()
	form := "15:04"
	if strings.Contains(at, " ") {
		form = "2 15:04"
	}
	clock, err := time.Parse(form, at)
	if err != nil {
		o.t.Fatal(err)
	}
	day := o.now.Day()
	if strings.Contains(at, " ") {
		day = clock.Day()
	}
	o.now = time.Date(2026, 3, day, clock.Hour(), clock.Minute(), 0, 0, time.UTC)
	if _, err := s.Look(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// sent lists the records of the log, in order.
func (o *office) sent() []string {
	o.t.Helper()
	rows, err := o.conn.Query(o.t.Context(), "SELECT record || ' ' || to_char(commit_at AT TIME ZONE 'UTC', 'DD HH24:MI') FROM walhook.delivery ORDER BY seq")
	if err != nil {
		o.t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}

func (o *office) wants(want ...string) {
	o.t.Helper()
	if got := o.sent(); !slices.Equal(got, want) {
		o.t.Fatalf("sent %q\nwant %q", got, want)
	}
}

// What holds when a rule begins is not sent; what comes to hold is sent once, at the next set time, until it no longer holds and comes to hold again.
func (o *office) firesOncePerCrossing(t *testing.T) {
	o.exec(`INSERT INTO invoice (id, name, state, due, total, access_token) VALUES (1, 'old', 'posted', '2026-02-01', 10.50, 'secret'), (2, 'soon', 'posted', '2026-03-01', 20.00, 'secret'), (3, 'draft', 'draft', '2026-02-01', 1, NULL)`)
	s := o.scheduler(invoiceRule(nil))
	o.look(s, "05:30") // takes stock
	o.wants()
	o.look(s, "06:00")
	o.wants()
	o.look(s, "2 05:59")
	o.wants()
	o.look(s, "2 06:00")
	o.wants("2 02 06:00")
	o.look(s, "2 06:01")
	o.look(s, "3 06:00")
	o.wants("2 02 06:00") // it still holds
	o.exec("UPDATE invoice SET paid = true WHERE id = 2")
	o.look(s, "4 06:00")
	o.exec("UPDATE invoice SET paid = NULL WHERE id = 2")
	o.look(s, "4 07:00")
	o.wants("2 02 06:00")
	o.look(s, "5 06:00")
	o.wants("2 02 06:00", "2 05 06:00")
	o.exec("DELETE FROM invoice WHERE id IN (1, 2)")
	o.look(s, "6 06:00")
	if n := o.number("SELECT count(*) FROM walhook.crossing"); n != 0 {
		t.Errorf("%d records are remembered that are gone", n)
	}
	o.exec("INSERT INTO invoice (id, name, state, due) VALUES (1, 'again', 'posted', '2026-02-01')")
	o.look(s, "7 06:00")
	o.wants("2 02 06:00", "2 05 06:00", "1 07 06:00")

	var body string
	if err := o.conn.QueryRow(t.Context(), "SELECT convert_from(body, 'UTF8') FROM walhook.delivery ORDER BY seq LIMIT 1").Scan(&body); err != nil {
		t.Fatal(err)
	}
	var event struct {
		Type, Timestamp string
		Data            struct {
			ID     int
			Model  string
			Op     string
			Record json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(body), &event); err != nil {
		t.Fatal(err)
	}
	if event.Type != "invoice.schedule" || event.Timestamp != "2026-03-02T06:00:00Z" || event.Data.ID != 2 || event.Data.Op != "schedule" ||
		string(event.Data.Record) != `{"name":"soon","due":"2026-03-01","total":20.00}` {
		t.Errorf("body %s", body)
	}
	if n := o.number("SELECT count(DISTINCT id) FROM walhook.delivery"); n != 3 {
		t.Errorf("%d ids of 3 crossings", n)
	}
	states, err := o.db.Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(states, func(s status.RuleState) bool { return s.Name == "overdue" })
	if i < 0 || states[i].Schedule == nil || states[i].Schedule.Total != 3 || states[i].Schedule.Runs != 8 || !states[i].Schedule.NextRun.Equal(time.Date(2026, 3, 8, 6, 0, 0, 0, time.UTC)) {
		t.Errorf("status %+v", states)
	} else {
		var b strings.Builder
		err := printSchedules(&b, &status.Document{At: time.Date(2026, 3, 7, 6, 5, 0, 0, time.UTC), Rules: []status.Rule{{RuleState: states[i], Configured: true}}})
		if err != nil || !strings.Contains(b.String(), "5 min 0 s ago  2026-03-08 06:00:00 UTC") {
			t.Errorf("%v\n%s", err, b.String())
		}
	}
	if n := o.number("SELECT count(*) FROM walhook.lane WHERE endpoint = 'erp'"); n != 2 {
		t.Errorf("%d lanes of 2 records", n)
	}
	if n := o.number("SELECT fired_total FROM walhook.schedule WHERE rule = 'overdue' AND error IS NULL AND ended_at IS NOT NULL AND next_at = '2026-03-08 06:00Z'"); n != 3 {
		t.Errorf("schedule tells of %d events", n)
	}
}

// Runs that were missed while nobody read are made up for by one; what a rule saw outlives restarts.
func (o *office) missedRuns(t *testing.T) {
	o.look(o.scheduler(invoiceRule(nil)), "05:30")
	o.exec("INSERT INTO invoice (id, state, due) SELECT i, 'posted', date '2026-03-01' + i FROM generate_series(1, 5) i")
	o.look(o.scheduler(invoiceRule(nil)), "5 09:17")
	o.wants("1 05 09:17", "2 05 09:17", "3 05 09:17")
	o.look(o.scheduler(invoiceRule(nil)), "5 09:18")
	o.look(o.scheduler(invoiceRule(nil)), "6 06:00")
	o.wants("1 05 09:17", "2 05 09:17", "3 05 09:17", "4 06 06:00")
	if runs := o.number("SELECT runs FROM walhook.schedule"); runs != 3 {
		t.Errorf("%d runs", runs)
	}
}

// With first = "send" what holds already is sent at the first set time. A rule whose condition changes begins anew, but sends nothing again that still holds.
func (o *office) begins(t *testing.T) {
	o.exec("INSERT INTO invoice (id, state, due) VALUES (1, 'posted', '2026-01-01'), (2, 'posted', '2026-02-20')")
	month := `after.state == "posted" && after.due < date(now()) - duration("30d")`
	send := func(when string) *delivery.Scheduler {
		return o.scheduler(invoiceRule(func(c *rules.Config) { c.First, c.When = "send", when }))
	}
	o.look(send(month), "05:30")
	o.wants()
	o.look(send(month), "06:00")
	o.wants("1 01 06:00")
	o.look(send(overdue), "2 05:00")
	o.look(send(overdue), "2 06:00")
	o.wants("1 01 06:00", "2 02 06:00")
	skip := o.scheduler(invoiceRule(func(c *rules.Config) { c.When = `after.state == "posted"` }))
	o.exec("INSERT INTO invoice (id, state, due) VALUES (3, 'posted', NULL)")
	o.look(skip, "2 07:00")
	o.look(skip, "3 06:00")
	o.wants("1 01 06:00", "2 02 06:00")
	o.exec("INSERT INTO invoice (id, state, due) VALUES (4, 'posted', NULL)")
	o.look(skip, "4 06:00")
	o.wants("1 01 06:00", "2 02 06:00", "4 04 06:00")
}

// A run sends so many events at most; the others are found by the next one. Rows are read in parts, gaps and ends of keys included.
func (o *office) capAndParts(t *testing.T) {
	s := o.scheduler(invoiceRule(func(c *rules.Config) {
		c.MaxPerRun, c.First, c.When = 700, "send", `after.state == "posted" && lower(after.name) == "x"`
	}))
	o.look(s, "05:30")
	o.exec(`INSERT INTO invoice (id, state, name) SELECT i * 1700000, 'posted', 'X' FROM generate_series(-600, 599) i;
		INSERT INTO invoice (id, state, name) VALUES (-2147483648, 'posted', 'x'), (2147483647, 'posted', 'x'), (5, 'posted', 'y')`)
	o.look(s, "06:00")
	if n := len(o.sent()); n != 700 {
		t.Fatalf("%d events", n)
	}
	if at := o.ran[0]; at.Fired != 700 || at.Rows != 1203 {
		t.Errorf("run %+v", at)
	}
	o.look(s, "2 06:00")
	o.look(s, "3 06:00")
	if n, records := len(o.sent()), o.number("SELECT count(DISTINCT record) FROM walhook.delivery"); n != 1202 || records != 1202 {
		t.Fatalf("%d events of %d records", n, records)
	}
	o.exec("UPDATE invoice SET name = 'z'")
	o.look(s, "4 06:00")
	if n := o.number("SELECT count(*) FROM walhook.crossing"); n != 0 {
		t.Errorf("%d records are remembered that no longer hold", n)
	}
}

// breaking is a store that fails at a commit, before or after it.
type breaking struct {
	delivery.ScheduleStore
	left  int
	after bool
}

func (b *breaking) Advance(ctx context.Context, step *delivery.ScheduleStep) error {
	b.left--
	if b.left == 0 && !b.after {
		return errBroken
	}
	err := b.ScheduleStore.Advance(ctx, step)
	if b.left == 0 && err == nil {
		err = errBroken
	}
	return err
}

var errBroken = errors.New("broken off")

// A run that is broken off at any commit, before it or after it, is gone on with: each record is sent once, under the id that it would have had.
func (o *office) brokenOff(t *testing.T) {
	ids := map[string]string{}
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			o.clear()
			o.exec("INSERT INTO invoice (id, state, due) SELECT i, 'posted', '2026-02-01' FROM generate_series(1, 600) i")
			config := invoiceRule(func(c *rules.Config) { c.First = "send" })
			b := &breaking{left: n, after: after}
			o.store = func(s delivery.ScheduleStore) delivery.ScheduleStore { b.ScheduleStore = s; return b }
			o.try(o.scheduler(config), "05:30")
			if len(o.failed) > 0 {
				o.try(o.scheduler(config), "05:31")
			} else {
				o.try(o.scheduler(config), "06:00")
			}
			broken := len(o.failed) > 0
			o.failed = nil
			o.look(o.scheduler(config), "06:00") // it begins at the same time if it has not begun, and goes on later if it has
			o.look(o.scheduler(config), "06:30")
			rows, err := o.conn.Query(t.Context(), "SELECT record, id FROM walhook.delivery")
			if err != nil {
				t.Fatal(err)
			}
			var record, id string
			count := 0
			if _, err := pgx.ForEachRow(rows, []any{&record, &id}, func() error {
				count++
				if known := ids[record]; known != "" && known != id {
					return fmt.Errorf("record %s has id %s and %s", record, known, id)
				}
				ids[record] = id
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if fired := o.number("SELECT fired_total FROM walhook.schedule"); count != 600 || len(ids) != 600 || fired != 600 {
				t.Fatalf("broken off at commit %d: %d events of %d records, %d told of", n, count, len(ids), fired)
			}
			if !broken {
				break
			}
			if n > 20 {
				t.Fatal("there is no end of commits")
			}
		}
	}
}

// Another process that reads fences this one off: nothing is sent, nothing is remembered.
func (o *office) ofAnotherReader(t *testing.T) {
	o.exec("INSERT INTO invoice (id, state, due) VALUES (1, 'posted', '2026-01-01')")
	s := o.scheduler(invoiceRule(func(c *rules.Config) { c.First = "send" }))
	o.look(s, "05:30")
	o.exec("UPDATE walhook.source SET reader = reader + 1000")
	o.now = o.now.Add(time.Hour)
	if _, err := s.Look(t.Context()); !errors.Is(err, delivery.ErrSuperseded) {
		t.Fatalf("a process that does not read: %v", err)
	}
	o.wants()
	if n := o.number("SELECT count(*) FROM walhook.crossing"); n != 0 {
		t.Errorf("%d records are remembered", n)
	}
	o.exec("UPDATE walhook.source SET reader = reader - 1000")
	o.look(o.scheduler(invoiceRule(func(c *rules.Config) { c.First = "send" })), "07:00")
	o.wants("1 01 07:00")
}

// A row on which the condition fails is parked once, and what is wrong with a table is told and tried again.
func (o *office) failures(t *testing.T) {
	o.exec("INSERT INTO invoice (id, state, total) VALUES (1, 'posted', 0), (2, 'posted', 5)")
	config := invoiceRule(func(c *rules.Config) { c.When, c.First = `after.state == "posted" && 10 / after.total > 1`, "send" })
	s := o.scheduler(config)
	o.look(s, "05:30")
	o.look(s, "06:00")
	o.look(s, "2 06:00")
	o.wants("2 01 06:00")
	if n := o.number("SELECT count(*) FROM walhook.parked WHERE rule = 'overdue' AND record = '1' AND error LIKE '%divi%'"); n != 1 {
		t.Errorf("%d events parked", n)
	}
	o.exec("ALTER TABLE invoice RENAME TO gone")
	o.try(s, "3 06:00")
	if len(o.failed) != 1 || o.number("SELECT count(*) FROM walhook.schedule WHERE error LIKE '%invoice%'") != 1 {
		t.Errorf("failed with %v", o.failed)
	}
	o.exec("ALTER TABLE gone RENAME TO invoice; INSERT INTO invoice (id, state, total) VALUES (3, 'posted', 1)")
	o.failed = nil
	o.look(s, "3 06:05")
	o.wants("2 01 06:00", "3 03 06:00")
	if n := o.number("SELECT count(*) FROM walhook.schedule WHERE error IS NULL"); n != 1 {
		t.Error("the error outlives its cause")
	}
}

// What a rule saw is kept for a month after the rule is gone.
func (o *office) forgotten(t *testing.T) {
	o.exec("INSERT INTO invoice (id, state, due) VALUES (1, 'posted', '2026-01-01')")
	o.look(o.scheduler(invoiceRule(nil)), "05:30")
	o.look(o.scheduler(), "05:31")
	if n := o.number("SELECT count(*) FROM walhook.crossing"); n != 1 {
		t.Fatalf("%d records are remembered", n)
	}
	o.exec("UPDATE walhook.schedule SET seen_at = now() - interval '31 days'")
	o.look(o.scheduler(invoiceRule(nil)), "05:32")
	if n := o.number("SELECT count(*) FROM walhook.crossing"); n != 1 {
		t.Fatalf("%d records are remembered of a rule that is there", n)
	}
	o.exec("UPDATE walhook.schedule SET seen_at = now() - interval '31 days'")
	o.look(o.scheduler(), "05:33")
	if n := o.number("SELECT count(*) FROM walhook.crossing"); n != 0 {
		t.Errorf("%d records are remembered of a rule that is gone", n)
	}
}

// What goes to SQL never leaves out a row for which the condition holds: random conditions on random rows, with and without it.
func TestScheduleNarrowsRight(t *testing.T) {
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	values := map[string][]string{
		"n": {"NULL", "-1", "0", "1", "7", "2147483647"}, "b": {"NULL", "true", "false"}, "d": {"NULL", "'2026-02-28'", "'2026-03-01'", "'2026-03-02'", "'infinity'", "'0044-03-15 BC'"},
		"m": {"NULL", "0", "1.0", "1.00", "1.5", "'NaN'", "-3"}, "t": {"NULL", "''", "'a'", "'A'", "'a '", "'ä'", "'b'", "'z'"},
		"ts": {"NULL", "'2026-03-01 05:59:59.999999'", "'2026-03-01 06:00:00'", "'-infinity'"}, "tz": {"NULL", "'2026-03-01 06:00:00+00'", "'2026-03-01 06:00:00+02'"},
	}
	sql := "CREATE TABLE x (id int PRIMARY KEY, n int, b bool, d date, m numeric, t varchar, ts timestamp, tz timestamptz);"
	for i := range 150 {
		var row []string
		for _, c := range []string{"n", "b", "d", "m", "t", "ts", "tz"} {
			row = append(row, pick(values[c]...))
		}
		sql += fmt.Sprintf("INSERT INTO x VALUES (%d, %s);", i, strings.Join(row, ", "))
	}
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	cat, err := catalog.Load(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	constants := map[string][]string{"n": {"0", "1", "7", "1.5", "nil"}, "m": {"1", "1.0", "-3", "1.5", "0.1", "nil"}, "t": {`"a"`, `"A"`, `"a "`, `""`, `"ä"`, "nil"},
		"d": {"date(now())", "now()", `date("2026-03-01")`, `now() - duration("1d")`, "nil"}, "ts": {"now()", `now() - duration("1ms")`, "nil"}, "tz": {"now()", `date("2026-03-01 04:00")`, "nil"}}
	var condition func(depth int) string
	condition = func(depth int) string {
		if depth > 0 && rnd.IntN(3) > 0 {
			switch rnd.IntN(3) {
			case 0:
				return "!(" + condition(depth-1) + ")"
			case 1:
				return "(" + condition(depth-1) + " && " + condition(depth-1) + ")"
			}
			return "(" + condition(depth-1) + " || " + condition(depth-1) + ")"
		}
		c := pick("n", "m", "t", "d", "ts", "tz", "b", "odd")
		switch c {
		case "b":
			return pick("after.b", "!after.b", "after.b == true", "after.b == false", "after.b != true", "after.b == nil", "after.b != nil")
		case "odd":
			return pick("len(after.t) == 1", "after.n == after.m", `after.ts + duration("1h") > now()`, `after.ts - duration("1h") <= now()`)
		}
		field, constant := "after."+c, pick(constants[c]...)
		switch op := pick("==", "!=", "<", "<=", ">", ">=", "in", "not in"); {
		case strings.HasSuffix(op, "in"):
			return fmt.Sprintf("%s %s [%s, %s]", field, op, constant, pick(constants[c]...))
		case constant == "nil":
			return field + pick(" == ", " != ") + "nil"
		case rnd.IntN(4) == 0:
			return constant + " " + op + " " + field
		default:
			return field + " " + op + " " + constant
		}
	}
	live, err := cdc.NewLive(dsn, "schedule", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	at := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	narrowed, left := 0, 0
	for range 200 {
		when := condition(3)
		set, err := rules.Compile([]rules.Config{{Name: "r", Table: "x", On: []string{"schedule"}, Every: "1h", Endpoint: "erp", When: when}}, cat)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		r := set.Rules()[0]
		m := set.NewMatcherOf(r)
		filter := m.Filter(r, at)
		scan := cdc.Scan{Schema: "public", Table: "x", Key: "id", Columns: r.Columns(), After: -1, Until: 1000}
		holding := func(filter *cdc.Filter) (all []int64, rows int) {
			scan.Filter = filter
			found, err := live.Scan(t.Context(), scan)
			if err != nil {
				t.Fatalf("%s: %s: %v", when, filter, err)
			}
			for i, id := range found.Keys {
				c := &cdc.Change{Op: cdc.Schedule, Rel: found.Rel, Key: fmt.Sprint(id), After: found.Rows[i]}
				ok, err := m.Holds(r, rules.TxInfo{Time: at}, c)
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				if ok {
					all = append(all, id)
				}
			}
			return all, len(found.Keys)
		}
		want, _ := holding(nil)
		got, rows := holding(filter)
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %s holds for %v, and with %s for %v", seed, when, want, filter, got)
		}
		if filter != nil {
			narrowed++
			left += 150 - rows
		}
	}
	if narrowed < 70 || left == 0 {
		t.Errorf("%d of 200 conditions went to SQL, and spared %d rows", narrowed, left)
	}
}
