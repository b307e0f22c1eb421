package cdc

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

func newLive(t *testing.T, dsn string) *Live {
	t.Helper()
	l, err := NewLive(dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestLiveTypes(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN price AS numeric(10,2); CREATE DOMAIN nice AS mood; CREATE DOMAIN prices AS price[];
		CREATE TYPE pair AS (a int, b int); CREATE TYPE span AS RANGE (subtype = float8);
		CREATE TABLE t (a mood, b price, c nice, d mood[], e price[], f prices, g pair, h span, i pair[])`)
	l := newLive(t, dsn)
	conn := pgtest.Connect(t, dsn)
	rows, err := conn.Query(t.Context(), "SELECT attname::text, atttypid::int8 FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum")
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var oid uint32
	oids := make(map[string]uint32)
	if _, err := pgx.ForEachRow(rows, []any{&name, &oid}, func() error { oids[name] = oid; return nil }); err != nil {
		t.Fatal(err)
	}
	describe := func(typ *Type) string {
		s := typ.Name + " " + typ.Kind.String()
		if typ.Elem != nil {
			s += " of " + typ.Elem.Name + " " + typ.Elem.Kind.String() + string(typ.Delim)
		}
		return s
	}
	for column, want := range map[string]string{
		"a": "mood text", "b": "price numeric", "c": "nice text", "d": "mood[] array of mood text,", "e": "price[] array of price numeric,",
		"f": "prices array of price numeric,", "g": "pair other", "h": "span other", "i": "pair[] array of pair other,",
	} {
		for range 2 { // the second time from memory
			typ, err := l.Type(t.Context(), oids[column])
			if err != nil || typ == nil || describe(typ) != want {
				t.Errorf("%s: %v %v, want %s", column, typ, err, want)
			}
		}
	}
	if typ, err := l.Type(t.Context(), 4_000_000_000); typ != nil || err != nil {
		t.Errorf("a type that does not exist: %v %v", typ, err)
	}
}

func TestLiveDescribe(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE rel (a int, b int, c int, PRIMARY KEY (c, a) INCLUDE (b)); CREATE TABLE none (a int UNIQUE)`)
	l := newLive(t, dsn)
	conn := pgtest.Connect(t, dsn)
	for table, want := range map[string][]string{"rel": {"c", "a"}, "none": nil} {
		var oid uint32
		if err := conn.QueryRow(t.Context(), "SELECT $1::text::regclass::oid::int8", table).Scan(&oid); err != nil {
			t.Fatal(err)
		}
		d, err := l.Describe(t.Context(), oid)
		if err != nil || strings.Join(d.Key, ",") != strings.Join(want, ",") || d.Columns["a"] != (ColumnNumber{Number: 1}) || d.Seen == 0 {
			t.Errorf("%s: %+v %v", table, d, err)
		}
	}
	if d, err := l.Describe(t.Context(), 4_000_000_000); len(d.Key) != 0 || len(d.Columns) != 0 || err != nil {
		t.Errorf("a table that does not exist: %+v %v", d, err)
	}
}

// A column that has taken the place of one that was dropped has another number; once the slots have passed the drop, it is certain which one WAL names.
func TestDescribeAColumnMadeAnew(t *testing.T) {
	b := newBench(t)
	l := newLive(t, b.dsn)
	conn := pgtest.Connect(t, b.dsn)
	describe := func() Description {
		t.Helper()
		var oid uint32
		if err := conn.QueryRow(t.Context(), "SELECT 'again'::regclass::oid::int8").Scan(&oid); err != nil {
			t.Fatal(err)
		}
		d, err := l.Describe(t.Context(), oid)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	b.exec("CREATE TABLE again (id int PRIMARY KEY, a text, b text)")
	first := describe()
	if first.Columns["a"] != (ColumnNumber{Number: 2}) {
		t.Errorf("%+v", first)
	}
	b.exec("ALTER TABLE again DROP a; ALTER TABLE again ADD a text")
	d := describe()
	if d.Columns["a"] != (ColumnNumber{Number: 4, Anew: true}) || d.Columns["id"].Anew || !d.Columns["b"].Anew || d.Seen <= first.Seen {
		t.Errorf("right after it: %+v", d)
	}
	pgtest.Exec(t, b.dsn, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()")
	pgtest.Exec(t, b.dsn, "SELECT pg_create_logical_replication_slot('walhook_anew', 'pgoutput')")
	defer pgtest.Exec(t, b.dsn, "SELECT pg_drop_replication_slot('walhook_anew')")
	if d := describe(); d.Columns["a"] != (ColumnNumber{Number: 4}) {
		t.Errorf("with a slot that begins after it: %+v", d)
	}
	// Under a name that another column had there is another one also when none was dropped: what was renamed since the slot began is in doubt.
	b.exec("ALTER TABLE again RENAME b TO b_legacy; ALTER TABLE again ADD b text")
	if d := describe(); d.Columns["b"] != (ColumnNumber{Number: 5, Anew: true}) || !d.Columns["b_legacy"].Anew || d.Columns["a"].Anew {
		t.Errorf("a column renamed and another made: %+v", d)
	}
}

func TestHealth(t *testing.T) {
	b := newBench(t)
	l := newLive(t, b.dsn)
	h, err := l.Health(t.Context(), b.slot)
	if err != nil || h.Slot == nil || h.Slot.Plugin != "pgoutput" || h.End == 0 || h.Slot.PID != 0 {
		t.Fatalf("%+v %v", h, err)
	}
	b.exec("INSERT INTO other SELECT n, repeat('x', 100) FROM generate_series(1, 10000) n")
	later, err := l.Health(t.Context(), b.slot)
	if err != nil || later.Retained <= h.Retained || later.End <= h.End {
		t.Errorf("%+v %v", later, err)
	}
	if h, err := l.Health(t.Context(), "nobody"); err != nil || h.Slot != nil || h.End == 0 {
		t.Errorf("%+v %v", h, err)
	}
}

// TestPins: neither the DSN nor the role nor the database can change how values are written.
func TestPins(t *testing.T) {
	dsn := pgtest.Database(t) + "&datestyle=German&TIMEZONE=Asia/Tokyo&options=-c%20intervalstyle%3Diso_8601&application_name=mine"
	conn, err := Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	got := make(map[string]string)
	for name := range pins {
		var value string
		if err := conn.QueryRow(t.Context(), "SHOW "+name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		got[name] = value
	}
	if diff := cmp.Diff(pins, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestProgressLag(t *testing.T) {
	now := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		name  string
		p     Progress
		bytes int64
		age   time.Duration
	}{
		{"caught up", Progress{Connected: true, ServerEnd: 100, Handled: 100, CaughtUp: ago(time.Hour)}, 0, 0},
		{"behind", Progress{Connected: true, ServerEnd: 300, Handled: 100, OldestCommit: ago(7 * time.Second)}, 200, 7 * time.Second},
		{"the server's clock is ahead", Progress{Connected: true, Received: 300, Handled: 100, OldestCommit: ago(-time.Second)}, 200, 0},
		{"no connection", Progress{ServerEnd: 100, Handled: 100, CaughtUp: ago(time.Minute)}, 0, time.Minute},
		{"never connected", Progress{}, 0, 0},
	} {
		if bytes, age := c.p.Lag(now); bytes != c.bytes || age != c.age {
			t.Errorf("%s: %d bytes, %s", c.name, bytes, age)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1.0 KiB", 1536 << 10: "1.5 MiB", 5 << 40: "5.0 TiB", 5 << 50: "5120.0 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// FuzzParseEvent: nothing that a server sends makes it panic, and a data message never comes out empty.
func FuzzParseEvent(f *testing.F) {
	f.Add([]byte("k\x00\x00\x00\x00\x01\x02\x03\x04aaaaaaaa\x01"))
	f.Add(append([]byte("w"), make([]byte, 30)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		ev, err := parseEvent(data)
		if err == nil && data[0] == 'w' && len(ev.wal) == 0 {
			t.Error("an empty message")
		}
	})
}
