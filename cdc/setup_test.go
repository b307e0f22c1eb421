package cdc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// estate is a database of one role, and another role that is to stream from it.
type estate struct {
	*bench
	owner, role         string // names
	ownerConn, roleConn *pgx.Conn
}

// newEstate makes roles with the least privileges: the owner is no superuser, the streaming role has
// LOGIN and REPLICATION and nothing else.
func newEstate(t *testing.T, schema string) *estate {
	t.Helper()
	dsn := pgtest.Database(t)
	b := &bench{t: t, dsn: dsn, conn: pgtest.Connect(t, dsn)}
	database := b.text("SELECT current_database()")
	b.slot = "s_" + database
	e := &estate{bench: b, owner: "Owner " + database, role: "Walhook " + database}
	owner, role := quoteIdent(e.owner), quoteIdent(e.role)
	b.exec("CREATE ROLE " + owner + " LOGIN")
	b.exec("CREATE ROLE " + role + " LOGIN REPLICATION")
	t.Cleanup(func() {
		b.exec("ALTER DATABASE " + quoteIdent(database) + " OWNER TO CURRENT_USER")
		for _, name := range []string{role, owner} {
			b.exec("DROP OWNED BY " + name + " CASCADE")
			b.exec("DROP ROLE " + name)
		}
	})
	b.exec("ALTER DATABASE " + quoteIdent(database) + " OWNER TO " + owner)
	b.exec("ALTER SCHEMA public OWNER TO " + owner)
	e.ownerConn = pgtest.Connect(t, pgtest.Server(t).DSNFor(e.owner, "", database))
	e.roleConn = pgtest.Connect(t, pgtest.Server(t).DSNFor(e.role, "", database))
	if _, err := e.ownerConn.PgConn().Exec(context.Background(), schema).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *estate) inspect(needs []TableNeed) *Facts {
	e.t.Helper()
	f, err := InspectAs(context.Background(), e.ownerConn, e.role, e.slot, e.slot, needs)
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

func (e *estate) apply(steps []Step) {
	e.t.Helper()
	if err := Apply(context.Background(), Logins{Owner: e.ownerConn, Replication: e.roleConn}, steps, ApplyOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

func sqlOf(steps []Step) (list []string) {
	for _, s := range steps {
		sql := s.SQL
		if before, _, ok := strings.Cut(sql, " IS '"+recordPrefix); ok {
			sql = before + " IS (a record)"
		}
		list = append(list, s.As+": "+sql)
	}
	return list
}

const estateSchema = `
	CREATE SCHEMA "Shop";
	CREATE TABLE "Shop"."Order" (id int PRIMARY KEY, state text);
	CREATE TABLE partner (id int PRIMARY KEY, name text);
	CREATE TABLE child (more text) INHERITS (partner);
	CREATE TABLE rel (a int, b int, PRIMARY KEY (b, a));
	CREATE TABLE ir_model (id int PRIMARY KEY, model text);
	CREATE TABLE frozen (id int PRIMARY KEY); ALTER TABLE frozen REPLICA IDENTITY NOTHING;
	CREATE TABLE loose (a int);
	CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY);
	CREATE VIEW seen AS SELECT * FROM partner`

// TestSetup is the whole way with least privileges: setup by the owner and the streaming role, nothing left to do the
// second time, streaming as that role, teardown, nothing left.
func TestSetup(t *testing.T) {
	e := newEstate(t, estateSchema)
	needs := []TableNeed{
		{Schema: "Shop", Table: "Order", Full: true, Why: []string{`rule "x" reads before.state`}},
		{Schema: "public", Table: "partner"},
		{Schema: "public", Table: "rel", Full: true},
		{Schema: "public", Table: "frozen"},
		{Schema: "public", Table: "ir_model", ReadOnly: true},
	}
	role := quoteIdent(e.role)
	steps := SetupSteps(e.inspect(needs), needs, e.role)
	want := []string{
		`owner: CREATE PUBLICATION "` + e.slot + `" WITH (publish = 'insert, update, delete, truncate'); COMMENT ON PUBLICATION "` + e.slot + `" IS (a record)`,
		`owner: ALTER TABLE ONLY "public"."frozen" REPLICA IDENTITY DEFAULT`,
		`owner: ALTER PUBLICATION "` + e.slot + `" SET TABLE ONLY "Shop"."Order", ONLY "public"."partner", ONLY "public"."rel", ONLY "public"."frozen"`,
		`owner: ALTER TABLE ONLY "Shop"."Order" REPLICA IDENTITY FULL`,
		`owner: ALTER TABLE ONLY "public"."rel" REPLICA IDENTITY FULL`,
		`owner: GRANT USAGE ON SCHEMA "Shop" TO ` + role,
		`owner: GRANT SELECT ON TABLE "Shop"."Order" TO ` + role,
		`owner: GRANT SELECT ON TABLE "public"."partner", "public"."rel", "public"."frozen", "public"."ir_model" TO ` + role,
		`replication: SELECT pg_create_logical_replication_slot('` + e.slot + `', 'pgoutput')`,
	}
	if diff := cmp.Diff(want, sqlOf(steps)); diff != "" {
		t.Fatalf("steps (-want +got):\n%s", diff)
	}
	e.apply(steps)

	facts := e.inspect(needs)
	if again := SetupSteps(facts, needs, e.role); len(again) != 0 {
		t.Errorf("a second time: %q", sqlOf(again))
	}
	for _, f := range Preflight(facts, needs) {
		if f.Severity == SeverityError {
			t.Errorf("finding %+v", f)
		}
	}
	// The streaming role sees the same.
	asRole, err := Inspect(context.Background(), e.roleConn, e.slot, e.slot, needs)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Preflight(asRole, needs) {
		if f.Severity == SeverityError {
			t.Errorf("finding as the role: %+v", f)
		}
	}

	rec := &recorder{}
	r := e.start(rec, 0, func(c *SourceConfig) { c.DSN = e.roleConn.Config().ConnString() })
	r.connected()
	e.exec(`INSERT INTO "Shop"."Order" VALUES (7, 'draft'); UPDATE partner SET name = name; INSERT INTO child VALUES (8, 'not published')`)
	e.exec(`INSERT INTO rel VALUES (1, 2); UPDATE frozen SET id = id`)
	rec.sees(t, "create 7", "create 2,1")
	r.stop()

	// Fewer needs: the publication shrinks, in one statement.
	fewer := needs[:1]
	shrink := SetupSteps(e.inspect(fewer), fewer, e.role)
	if diff := cmp.Diff([]string{`owner: ALTER PUBLICATION "` + e.slot + `" SET TABLE ONLY "Shop"."Order"`}, sqlOf(shrink)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}

	down, left := TeardownSteps(e.inspect(nil), e.role)
	want = []string{
		`replication: SELECT pg_drop_replication_slot('` + e.slot + `')`,
		`owner: ALTER PUBLICATION "` + e.slot + `" DROP TABLE ONLY "Shop"."Order", ONLY "public"."frozen", ONLY "public"."partner", ONLY "public"."rel"`,
		`owner: ALTER TABLE ONLY "public"."frozen" REPLICA IDENTITY NOTHING`,
		`owner: ALTER TABLE ONLY "Shop"."Order" REPLICA IDENTITY DEFAULT`,
		`owner: ALTER TABLE ONLY "public"."rel" REPLICA IDENTITY DEFAULT`,
		`owner: REVOKE SELECT ON TABLE "Shop"."Order", "public"."partner", "public"."rel", "public"."frozen", "public"."ir_model" FROM ` + role,
		`owner: REVOKE USAGE ON SCHEMA "Shop" FROM ` + role,
		`owner: DROP PUBLICATION "` + e.slot + `"`,
	}
	if diff := cmp.Diff(want, sqlOf(down)); diff != "" || len(left) != 1 {
		t.Fatalf("left %q, teardown (-want +got):\n%s", left, diff)
	}
	e.apply(down)
	if again, _ := TeardownSteps(e.inspect(nil), e.role); len(again) != 0 {
		t.Errorf("teardown a second time: %q", sqlOf(again))
	}
}

// TestScript runs the printed SQL as a superuser would, through one session.
func TestScript(t *testing.T) {
	e := newEstate(t, estateSchema)
	needs := []TableNeed{{Schema: "public", Table: "partner", Full: true, Why: []string{"two\nlines"}}}
	pgtest.Exec(t, e.dsn, Script(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role))))
	left := SetupSteps(e.inspect(needs), needs, e.role)
	if len(left) != 1 || left[0].As != AsReplication {
		t.Errorf("left %q", sqlOf(left))
	}
	if script := Script(left); !strings.Contains(script, "statement_timeout") || !strings.HasSuffix(script, "'pgoutput');\n") {
		t.Error(script)
	}
}

func ownerSteps(steps []Step) []Step {
	return slices.DeleteFunc(steps, func(s Step) bool { return s.As != AsOwner })
}

// TestSetupRepairs makes a publication right that somebody made wrong.
func TestSetupRepairs(t *testing.T) {
	e := newEstate(t, estateSchema)
	needs := []TableNeed{{Schema: "public", Table: "partner", Full: true}}
	pub := quoteIdent(e.slot)
	e.asOwner("CREATE PUBLICATION " + pub + " FOR TABLE rel, loose, partner WITH (publish = 'insert')")
	if pgtest.Server(t).Major() >= 15 {
		e.asOwner("ALTER PUBLICATION " + pub + " SET TABLE rel, loose, partner (id) WHERE (id > 3)")
	}
	codes := findings(Preflight(e.inspect(needs), needs))
	for _, code := range []string{"publication_operations", "publication_extra", "identity", "slot_missing"} {
		if f, ok := codes[code]; !ok || !f.Setup {
			t.Errorf("no finding %s that setup mends: %v", code, f)
		}
	}
	if pgtest.Server(t).Major() >= 15 {
		if _, ok := codes["column_list"]; !ok {
			t.Error("no finding column_list")
		}
		if _, ok := codes["row_filter"]; !ok {
			t.Error("no finding row_filter")
		}
	}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	facts := e.inspect(needs)
	if steps := ownerSteps(SetupSteps(facts, needs, e.role)); len(steps) != 0 {
		t.Errorf("left %q", sqlOf(steps))
	}
	if len(facts.Publication.Tables) != 1 || facts.Publication.Tables[0].ColumnList || !facts.Publication.Truncate {
		t.Errorf("publication %+v", facts.Publication)
	}
	// No rule at all: the publication is emptied, not dropped.
	e.apply(ownerSteps(SetupSteps(e.inspect(nil), nil, e.role)))
	if f := e.inspect(nil); f.Publication == nil || len(f.Publication.Tables) != 0 {
		t.Errorf("publication %+v", f.Publication)
	}
}

func (e *estate) asOwner(sql string) {
	e.t.Helper()
	if _, err := e.ownerConn.Exec(context.Background(), sql); err != nil {
		e.t.Fatalf("%s: %v", sql, err)
	}
}

// TestSetupNeverBreaksWrites: whatever is asked for, every table can be updated after each step (trap 8).
func TestSetupNeverBreaksWrites(t *testing.T) {
	e := newEstate(t, `CREATE TABLE plain (id int PRIMARY KEY, v int); CREATE TABLE nothing (id int PRIMARY KEY, v int);
		CREATE TABLE lost (id int PRIMARY KEY, v int NOT NULL); CREATE TABLE keyless (id int, v int); CREATE TABLE listed (id int PRIMARY KEY, v int);
		CREATE UNIQUE INDEX lost_v ON lost (v); ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_v; DROP INDEX lost_v;
		ALTER TABLE nothing REPLICA IDENTITY NOTHING`)
	tables := []string{"plain", "nothing", "lost", "keyless", "listed"}
	for _, name := range tables {
		e.asOwner("INSERT INTO " + name + " VALUES (1, 1)")
	}
	if pgtest.Server(t).Major() >= 15 {
		e.asOwner("CREATE PUBLICATION " + e.slot + " FOR TABLE listed (id)")
	}
	var needs []TableNeed
	for i, name := range tables {
		needs = append(needs, TableNeed{Schema: "public", Table: name, Full: i%2 == 0 || name == "listed"})
	}
	for _, s := range ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)) {
		e.apply([]Step{s})
		for _, name := range tables {
			if _, err := e.ownerConn.Exec(context.Background(), "UPDATE "+name+" SET v = v + 1"); err != nil {
				t.Errorf("after %s: %v", s.SQL, err)
			}
		}
	}
	facts := e.inspect(needs)
	if len(facts.Failing) != 0 {
		t.Errorf("failing: %v", facts.Failing)
	}
	if f := findings(Preflight(facts, needs))["no_primary_key"]; f.Setup || !strings.Contains(f.Message, "keyless") {
		t.Errorf("finding %+v", f)
	}
}

// TestSetupBehindIdleTransaction: an ALTER gives up after lock_timeout, lets those behind it pass, tries again, and
// in the end says who is in the way (trap 18).
func TestSetupBehindIdleTransaction(t *testing.T) {
	e := newEstate(t, estateSchema)
	idle := pgtest.Connect(t, e.dsn+"&application_name=odoo-worker")
	ctx := context.Background()
	tx, err := idle.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "SELECT * FROM partner"); err != nil {
		t.Fatal(err)
	}
	steps := []Step{{As: AsOwner, SQL: "ALTER TABLE ONLY partner REPLICA IDENTITY FULL"}}
	var states []string
	options := ApplyOptions{LockTimeout: 700 * time.Millisecond, Patience: time.Second, Report: func(r Report) {
		if r.State == "waiting" && len(r.Waiting) > 0 {
			states = append(states, r.Waiting[0].Application)
		}
	}}
	began := time.Now()
	err = Apply(ctx, Logins{Owner: e.ownerConn}, steps, options)
	var blocked *BlockedError
	if !errors.As(err, &blocked) || len(blocked.Blockers) == 0 || blocked.Blockers[0].PID != int(idle.PgConn().PID()) {
		t.Fatalf("after %s: %v", time.Since(began), err)
	}
	if !strings.Contains(err.Error(), "odoo-worker") || !strings.Contains(blocked.Hint(), "pg_terminate_backend") || !slices.Contains(states, "odoo-worker") {
		t.Errorf("%v\nhint: %s\nreported %q", err, blocked.Hint(), states)
	}
	// Somebody who comes after the ALTER is not held up longer than lock_timeout, and once the transaction ends the
	// ALTER succeeds at the next try.
	ended := make(chan error, 1)
	time.AfterFunc(1500*time.Millisecond, func() { ended <- tx.Rollback(ctx) })
	options.Patience = 20 * time.Second
	if err := errors.Join(Apply(ctx, Logins{Owner: e.ownerConn}, steps, options), <-ended); err != nil {
		t.Error(err)
	}
	if timeout := e.ownerSetting("lock_timeout"); timeout != "0" {
		t.Errorf("lock_timeout is left at %s", timeout)
	}
}

func (e *estate) ownerSetting(name string) (value string) {
	e.t.Helper()
	if err := e.ownerConn.QueryRow(context.Background(), "SHOW "+name).Scan(&value); err != nil {
		e.t.Fatal(err)
	}
	return value
}

// TestCreateSlotBlocked: the creation waits for a transaction that writes, says so, gives up, and leaves no slot.
func TestCreateSlotBlocked(t *testing.T) {
	e := newEstate(t, estateSchema)
	ctx := context.Background()
	writer := pgtest.Connect(t, e.dsn+"&application_name=odoo-cron")
	tx, err := writer.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(ctx)
	if _, err := tx.Exec(ctx, "INSERT INTO partner VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if f := e.inspect(nil); !slices.ContainsFunc(f.Blockers, func(b Blocker) bool { return b.PID == int(writer.PgConn().PID()) }) {
		t.Errorf("blockers %v", f.Blockers)
	}
	waited := make(chan Blocker, 10)
	_, err = CreateSlot(ctx, e.roleConn, e.slot, SlotOptions{Timeout: 1500 * time.Millisecond, Waiting: func(b []Blocker) { waited <- b[0] }})
	var blocked *BlockedError
	if !errors.As(err, &blocked) || !strings.Contains(err.Error(), "odoo-cron") {
		t.Fatalf("got %v", err)
	}
	if b := <-waited; b.PID != int(writer.PgConn().PID()) || b.Application != "odoo-cron" {
		t.Errorf("waited for %+v", b)
	}
	if n := e.text("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1", e.slot); n != "0" {
		t.Error("a slot was left")
	}
	// A user who presses Ctrl-C leaves no slot either, even if the transaction ends later.
	cancelled, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, err = CreateSlot(cancelled, e.roleConn, e.slot, SlotOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if n := e.text("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1", e.slot); n != "0" {
		t.Error("a slot was left after a cancel")
	}
	at, err := CreateSlot(ctx, e.roleConn, e.slot, SlotOptions{})
	if err != nil || at != e.confirmed() {
		t.Errorf("%s %v", at, err)
	}
}

func TestApplyWithoutRights(t *testing.T) {
	e := newEstate(t, estateSchema)
	ctx := context.Background()
	var refused *RefusedError
	steps := []Step{{As: AsOwner, SQL: "ALTER TABLE ONLY partner REPLICA IDENTITY FULL"}}
	err := Apply(ctx, Logins{Replication: e.roleConn}, steps, ApplyOptions{})
	if !errors.As(err, &refused) || !strings.Contains(refused.Hint(), "--dsn") {
		t.Errorf("got %v", err)
	}
	err = Apply(ctx, Logins{Owner: e.roleConn}, steps, ApplyOptions{})
	if !errors.As(err, &refused) || !strings.Contains(refused.Hint(), "--dsn") {
		t.Errorf("got %v", err)
	}
	err = Apply(ctx, Logins{Replication: e.ownerConn}, []Step{{As: AsReplication, SQL: createSlotSQL("x", false), slot: "x"}}, ApplyOptions{})
	if !errors.As(err, &refused) || !strings.Contains(refused.Hint(), "REPLICATION") {
		t.Errorf("got %v", err)
	}
}
