package cdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// looked reads what a link leads to from ids, as text: "1: {id=1 name=a} {id=2 name=b}".
func looked(t testing.TB, load func(context.Context, *Link, []int64, func(int64, Linked) error) error, link *Link, ids ...int64) string {
	t.Helper()
	got := map[int64]string{}
	err := load(context.Background(), link, ids, func(id int64, l Linked) error {
		if _, again := got[id]; again {
			t.Errorf("%s: id %d comes twice", link, id)
		}
		var rows []string
		for _, r := range l.Rows {
			rows = append(rows, showRow(r))
		}
		got[id] = strings.Join(rows, " ")
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", link, err)
	}
	var lines []string
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		rows, ok := got[id]
		if !ok {
			t.Errorf("%s: nothing was said of id %d", link, id)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%d: %s", id, rows)))
	}
	return strings.Join(lines, "\n")
}

// executor runs statements on a connection of the superuser.
func executor(t *testing.T, dsn string) func(sql string) {
	conn := pgtest.Connect(t, dsn)
	return func(sql string) {
		t.Helper()
		if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestLiveLoad looks rows up while the table changes under it, and compares the text with what
// WAL would hold (trap 9: the database's settings must not matter).
func TestLiveLoad(t *testing.T) {
	dsn := pgtest.Database(t)
	exec := executor(t, dsn)
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range []string{"datestyle = 'German, DMY'", "timezone = 'Asia/Tokyo'", "bytea_output = 'escape'", "intervalstyle = 'iso_8601'", "extra_float_digits = -15"} {
		exec("ALTER DATABASE " + cfg.Database + " SET " + setting)
	}
	exec(`CREATE TABLE partner (id int PRIMARY KEY, "Name" text, at timestamptz, raw bytea, span interval, f float8, "odd ""col" date)`)
	exec(`INSERT INTO partner VALUES (1, 'Ä', '2024-02-03 04:05:06+00', '\x00ff', '1 day 02:00', 0.1, '2024-02-03'); INSERT INTO partner (id) VALUES (2)`)
	l := newLive(t, dsn)
	many2one := func(table string, columns ...string) *Link {
		return &Link{Schema: "public", Table: table, By: "id", Columns: columns}
	}
	all := many2one("partner", "Name", "at", "raw", "span", "f", `odd "col`, "id", "no_such_column")
	want := `1: {Name=Ä at=2024-02-03 04:05:06+00 raw=\x00ff span=1 day 02:00:00 f=0.1 odd "col=2024-02-03 id=1}
2: {Name=NULL at=NULL raw=NULL span=NULL f=NULL odd "col=NULL id=2}
3:`
	if diff := cmp.Diff(want, looked(t, l.Load, all, 3, 1, 2, 1)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, missing := range []*Link{many2one("gone", "id"), {Schema: "other", Table: "partner", By: "id"}, {Schema: "public", Table: "partner", By: "parent_id"},
		{Schema: "public", Table: "partner", Rel: &LinkRelation{"public", "gone", "a", "b"}}} {
		if got := looked(t, l.Load, missing, 1); got != "1:" {
			t.Errorf("%s: %s", missing, got)
		}
	}
	// DDL in between: the statement was prepared, and its plan kept.
	exec(`ALTER TABLE partner DROP COLUMN "Name"`)
	few := many2one("partner", "Name", "f")
	for range 7 {
		if got := looked(t, l.Load, few, 1); got != "1: {f=0.1}" {
			t.Errorf("after DROP COLUMN: %s", got)
		}
	}
	exec(`ALTER TABLE partner ALTER COLUMN f TYPE numeric USING f * 10`)
	if got := looked(t, l.Load, few, 1); got != "1: {f=1}" {
		t.Errorf("after another type: %s", got)
	}
	exec(`DROP TABLE partner; CREATE TABLE partner (id bigint PRIMARY KEY, f text); INSERT INTO partner VALUES (1, 'new')`)
	if got := looked(t, l.Load, few, 1); got != "1: {f=new}" {
		t.Errorf("after CREATE TABLE: %s", got)
	}
	exec(`DROP TABLE partner`)
	if got := looked(t, l.Load, few, 1); got != "1:" {
		t.Errorf("found a row of a dropped table: %s", got)
	}
}

// TestLiveLoadMany reads lists, with and without an index that leads to them: in order, of the rows that count, up to the limit.
func TestLiveLoadMany(t *testing.T) {
	dsn := pgtest.Database(t)
	exec := executor(t, dsn)
	exec(`CREATE TABLE "Line" (id int PRIMARY KEY, "Order" int, sequence int, "name" jsonb, active boolean, odd json, n text, p xml);
		CREATE TABLE rel ("from id" int NOT NULL, "to id" int NOT NULL);
		INSERT INTO "Line" SELECT n, CASE WHEN n < 10 THEN 1 ELSE 2 END, -n / 2, to_jsonb(n), n % 5 > 0, '1', 'n' || n FROM generate_series(1, 12) n;
		INSERT INTO "Line" VALUES (50, NULL, 1, '1', true), (51, 3, 1, '1', false), (52, 3, 1, '1', NULL);
		INSERT INTO rel VALUES (7, 3), (7, 1), (7, 5), (7, 99), (8, 2), (9, 5)`)
	l := newLive(t, dsn)
	lines := func(more func(*Link)) *Link {
		link := &Link{Schema: "public", Table: "Line", By: "Order", Columns: []string{"id", "n", "gone"}, Order: []string{"gone", "odd", "p", "sequence"}}
		more(link)
		return link
	}
	tags := func(more func(*Link)) *Link {
		return lines(func(l *Link) {
			l.By, l.Rel, l.Columns = "", &LinkRelation{"public", "rel", "from id", "to id"}, []string{"id"}
			more(l)
		})
	}
	cases := []struct {
		name string
		link *Link
		ids  []int64
		want string
	}{
		{"by sequence, then id", lines(func(*Link) {}), []int64{1, 2, 3, 4}, "1: {id=8 n=n8} {id=9 n=n9} {id=6 n=n6} {id=7 n=n7} {id=4 n=n4} {id=2 n=n2} {id=3 n=n3} {id=1 n=n1}\n2: {id=12 n=n12} {id=11 n=n11}\n3:\n4:"},
		{"archived ones too", lines(func(l *Link) { l.Archived = true }), []int64{2, 3}, "2: {id=12 n=n12} {id=10 n=n10} {id=11 n=n11}\n3: {id=51 n=NULL} {id=52 n=NULL}"},
		{"a limit for each", lines(func(l *Link) { l.Limit = 2 }), []int64{1, 2}, "1: {id=8 n=n8} {id=9 n=n9}\n2: {id=12 n=n12} {id=11 n=n11}"},
		{"the other way round", lines(func(l *Link) { l.Order, l.Limit = []string{"sequence desc", "id"}, 2 }), []int64{1}, "1: {id=1 n=n1} {id=2 n=n2}"},
		{"by jsonb", lines(func(l *Link) { l.Order, l.Limit = []string{"name desc"}, 1 }), []int64{1}, "1: {id=9 n=n9}"},
		{"no column", lines(func(l *Link) { l.Columns, l.Limit = nil, 1 }), []int64{1}, "1: {}"},
		{"many2many", tags(func(*Link) {}), []int64{7, 8, 9, 10}, "7: {id=3} {id=1}\n8: {id=2}\n9:\n10:"},
		{"many2many, archived ones too", tags(func(l *Link) { l.Archived = true }), []int64{7, 9}, "7: {id=5} {id=3} {id=1}\n9: {id=5}"},
		{"many2many, one each", tags(func(l *Link) { l.Limit = 1 }), []int64{7, 8}, "7: {id=3}\n8: {id=2}"},
	}
	for _, step := range []struct{ name, sql string }{
		{"without an index", ""},
		{"with one", `CREATE INDEX ON "Line" ("Order") WHERE "Order" IS NOT NULL; CREATE UNIQUE INDEX ON rel ("from id", "to id")`},
	} {
		if step.sql != "" {
			exec(step.sql)
			l = newLive(t, dsn)
		}
		for _, c := range cases {
			if diff := cmp.Diff(c.want, looked(t, l.Load, c.link, c.ids...)); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", c.name, step.name, diff)
			}
		}
		if plan, _, err := l.plan(t.Context(), cases[2].link); err != nil || strings.Contains(plan.sql, "LATERAL") != (step.sql != "") {
			t.Errorf("%s: %v %s", step.name, err, plan.sql)
		}
	}
	// What is kept in memory must know all members, of those too that do not count.
	var got Linked
	if err := l.Load(t.Context(), cases[6].link, []int64{7}, func(_ int64, l Linked) error { got = l; return nil }); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(got.members); !slices.Equal(got.members, []int64{1, 3, 5, 99}) || got.partial {
		t.Errorf("members %v, partial %v", got.members, got.partial)
	}
	if err := l.Load(t.Context(), cases[8].link, []int64{7}, func(_ int64, l Linked) error { got = l; return nil }); err != nil || !got.partial {
		t.Errorf("members %v, partial %v: %v", got.members, got.partial, err)
	}
}

// Invariant 9: the rows for one id are not read without bound, and a look-up ends when the caller has had enough.
func TestLiveLoadBounded(t *testing.T) {
	dsn := pgtest.Database(t)
	executor(t, dsn)(`CREATE TABLE line (id int PRIMARY KEY, parent int, note text);
		INSERT INTO line SELECT n, 1, repeat('x', 100000) FROM generate_series(1, 120) n; INSERT INTO line VALUES (1000, 2, 'y')`)
	l := newLive(t, dsn)
	link := &Link{Schema: "public", Table: "line", By: "parent", Columns: []string{"note"}}
	var large *TooManyRowsError
	if err := l.Load(t.Context(), link, []int64{1, 2}, func(int64, Linked) error { return nil }); !errors.As(err, &large) || large.ID != 1 || large.Hint() == "" || isTemporary(err) {
		t.Errorf("got %v", err)
	}
	enough := errors.New("enough")
	n := 0
	if err := l.Load(t.Context(), &Link{Schema: "public", Table: "line", By: "id"}, []int64{1, 2, 3}, func(int64, Linked) error { n++; return enough }); err != enough || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
	if got := looked(t, l.Load, &Link{Schema: "public", Table: "line", By: "parent", Columns: []string{"id"}, Limit: 2}, 1, 2); got != "1: {id=1} {id=2}\n2: {id=1000}" {
		t.Error(got)
	}
}

// TestLiveRefused: without a right to it, the error says how to grant it, on no more than what is read. With a right to these columns
// alone, look-ups work.
func TestLiveRefused(t *testing.T) {
	e := newEstate(t, estateSchema)
	l := newLive(t, e.roleConn.Config().ConnString())
	link := &Link{Schema: "public", Table: "partner", By: "id", Columns: []string{"name"}}
	load := func(link *Link) error {
		return l.Load(t.Context(), link, []int64{1}, func(int64, Linked) error { return nil })
	}
	err := load(link)
	var refused *RefusedError
	least := `GRANT SELECT ("id", "name") ON TABLE "public"."partner" TO "` + e.role + `"`
	if !errors.As(err, &refused) || isTemporary(err) || !strings.Contains(refused.Hint(), `GRANT SELECT ON TABLE "public"."partner" TO "`+e.role+`"`) || !strings.Contains(refused.Hint(), least) {
		t.Errorf("got %v", err)
	}
	executor(t, e.dsn)(`GRANT USAGE ON SCHEMA public TO "` + e.role + `"; ` + least)
	if err := load(link); err != nil {
		t.Error(err)
	}
	if err := load(&Link{Schema: "public", Table: "partner", By: "id", Columns: []string{"name", "email"}}); err != nil && !errors.As(err, &refused) {
		t.Error(err)
	}
	if _, err := newLive(t, pgtest.Server(t).DSNFor("nobody_there", "", "postgres")).Type(t.Context(), 4_000_000_000); !errors.As(err, &refused) || isTemporary(err) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := newLive(t, "host=127.0.0.1 port=1 user=x").Type(ctx, 4_000_000_000); !isTemporary(err) {
		t.Errorf("got %v", err)
	}
}

// A commit is in WAL before other sessions see it, and stays invisible while a synchronous standby does not answer.
func TestAwait(t *testing.T) {
	dsn := pgtest.Database(t)
	l, conn := newLive(t, dsn), pgtest.Connect(t, dsn)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var xid uint32
	var lsn LSN
	if err := tx.QueryRow(t.Context(), "SELECT (txid_current() % 4294967296)::int8, pg_current_wal_lsn()::text").Scan(&xid, &lsn); err != nil {
		t.Fatal(err)
	}
	missing, err := l.visible(t.Context(), lsn, []uint32{xid - 1, xid})
	if err != nil || missing == nil || missing.XID != xid || !isTemporary(missing) || missing.Hint() == "" {
		t.Errorf("%v %v", missing, err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Await(context.Background(), lsn, []uint32{xid - 1, xid}) }()
	select {
	case err := <-done:
		t.Fatalf("a transaction that is open is taken for visible: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	// A server that has not come as far as the stream is another one.
	far := lsn + 1<<40
	if missing, err := l.visible(t.Context(), far, nil); err != nil || missing == nil || missing.LSN != far || missing.XID != 0 || missing.Hint() == "" {
		t.Errorf("%v %v", missing, err)
	}
	var behind *NotVisibleError
	if err := l.Load(t.Context(), &Link{Schema: "pg_catalog", Table: "pg_class", By: "id"}, []int64{1}, func(int64, Linked) error { return nil }); err != nil {
		t.Errorf("nothing to ask for: %v", err)
	}
	executor(t, dsn)("CREATE TABLE t (id int PRIMARY KEY)")
	if err := l.Load(t.Context(), &Link{Schema: "public", Table: "t", By: "id"}, []int64{1}, func(int64, Linked) error { return nil }); !errors.As(err, &behind) || !isTemporary(err) {
		t.Errorf("a look-up on a server that is behind gives %v", err)
	}
}

// Transaction numbers are 32 bits in WAL and go round.
func TestSnapshot(t *testing.T) {
	for _, c := range []struct {
		text      string
		in, after []uint32 // not visible; visible
	}{
		{"10:20:12,15", []uint32{12, 15, 20, 21}, []uint32{5, 10, 13, 19}},
		{"4294967300:4294967310:4294967302", []uint32{6, 14, 15}, []uint32{4294967290, 3, 5, 13}},
		{"4294967290:4294967294:", []uint32{4294967294, 4294967295, 3}, []uint32{4294967293, 4294967289}},
	} {
		s, err := parseSnapshot(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for _, xid := range c.in {
			if !s.has(xid) {
				t.Errorf("%s: %d is taken for visible", c.text, xid)
			}
		}
		for _, xid := range c.after {
			if s.has(xid) {
				t.Errorf("%s: %d is taken for running", c.text, xid)
			}
		}
	}
	for _, text := range []string{"", "1:2", "1:x:", "1:2:x"} {
		if _, err := parseSnapshot(text); err == nil {
			t.Errorf("%q is a snapshot", text)
		}
	}
}
