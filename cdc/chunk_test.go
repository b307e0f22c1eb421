package cdc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// readAll reads a table by chunks, and returns the keys in the order in which they came.
func readAll(t *testing.T, l *Live, r ChunkRequest) (keys []string, chunks int) {
	t.Helper()
	for {
		c, err := l.Chunk(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		keys, chunks = append(keys, c.Keys...), chunks+1
		if c.Done {
			return keys, chunks
		}
		if slices.Equal(c.Last, r.After) || chunks > 10_000 {
			t.Fatalf("no headway after %v", c.Last)
		}
		r.After, r.Like = c.Last, c.Rel
	}
}

// Chunks go through a table in the order of its key, whatever its type, each row once, and rows of other tables that inherit from it are not its own.
func TestChunksGoThroughATable(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN name AS varchar(9);
		CREATE TABLE by_int (id int PRIMARY KEY, v text);
		CREATE TABLE child () INHERITS (by_int); INSERT INTO child VALUES (6, 'not mine');
		INSERT INTO by_int SELECT i, CASE WHEN i % 10 = 0 THEN 'x' END FROM generate_series(-100, 400, 3) i;
		CREATE TABLE by_all (b bool, m mood, t text, c char(5), n name, u uuid, y bytea, d date, z timestamptz, f float8, x numeric, i interval, PRIMARY KEY (m, t, b, c, n, u, y, d, z, f, x, i));
		INSERT INTO by_all SELECT i % 2 = 0, (enum_range(NULL::mood))[1 + i % 3], chr(1 + 60 * (i % 5)) || ',\' || i, 'c' || i, 'n' || i, md5(i::text)::uuid, decode(md5(i::text), 'hex'),
			date '2026-01-01' + i, timestamptz '2026-01-01 00:00 Europe/Paris' + i * interval '1 hour', i / 3.0::float8, i / 7.0, i * interval '1 day 2 hours' FROM generate_series(1, 200) i;
		CREATE TABLE parts (a int, b int, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
		CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
		INSERT INTO parts SELECT 1 + i % 2, i FROM generate_series(1, 50) i;
		CREATE TABLE none (id int PRIMARY KEY)`)
	l, err := NewLive(dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	text := &Filter{Kind: FilterCompare, Column: "v", Type: BuiltinType(25), Operator: "=", Text: "x"}
	all := []string{"m", "t", "b", "c", "n", "u", "y", "d", "z", "f", "x", "i"}
	for _, tc := range []struct {
		name string
		r    ChunkRequest
		want int
	}{
		{"whole numbers", ChunkRequest{Table: "by_int", Key: []string{"id"}, Columns: []string{"v", "gone"}, Rows: 10}, 167},
		{"one at a time, by bytes", ChunkRequest{Table: "by_int", Key: []string{"id"}, Columns: []string{"v"}, Bytes: 1}, 167},
		{"a filter", ChunkRequest{Table: "by_int", Key: []string{"id"}, Columns: []string{"v"}, Filter: text, Rows: 3, Look: 20}, 17},
		{"a filter, one row looked at", ChunkRequest{Table: "by_int", Key: []string{"id"}, Filter: text, Rows: 1, Look: 1}, 17},
		{"all types", ChunkRequest{Table: "by_all", Key: all, Rows: 7}, 200},
		{"partitions", ChunkRequest{Table: "parts", Key: []string{"a", "b"}, Rows: 7}, 50},
		{"nothing", ChunkRequest{Table: "none", Key: []string{"id"}}, 0},
	} {
		tc.r.Schema = "public"
		keys, chunks := readAll(t, l, tc.r)
		distinct := slices.Clone(keys)
		slices.Sort(distinct)
		if len(keys) != tc.want || len(slices.Compact(distinct)) != tc.want || slices.Contains(keys, "6") {
			t.Errorf("%s: %d keys in %d chunks, want %d", tc.name, len(keys), chunks, tc.want)
		}
	}
	if n, exact, err := l.Count(context.Background(), "public", "by_int", text); err != nil || n != 17 || !exact {
		t.Errorf("counted %d, %t, %v", n, exact, err)
	}
	pgtest.Exec(t, dsn, "ALTER TABLE by_int RENAME COLUMN v TO w")
	if keys, _ := readAll(t, l, ChunkRequest{Schema: "public", Table: "by_int", Key: []string{"id"}, Columns: []string{"v", "w"}}); len(keys) != 167 {
		t.Errorf("%d keys after a column was renamed", len(keys))
	}
	pgtest.Exec(t, dsn, "DROP TABLE none")
	var gone *TableGoneError
	if _, err := l.Chunk(context.Background(), ChunkRequest{Schema: "public", Table: "none", Key: []string{"id"}}); !errors.As(err, &gone) {
		t.Errorf("of a table that is gone: %v", err)
	}
}

// A snapshot has not seen what was running when it was taken, and has seen all that lies in WAL before it, also what was committed without waiting for the disk.
func TestChunkSnapshot(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	l, err := NewLive(b.dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	b.exec("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
	open := pgtest.Connect(t, b.dsn)
	tx, err := open.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var running, seen uint32
	if err := tx.QueryRow(t.Context(), "UPDATE t SET v = 'x' WHERE id = 1 RETURNING txid_current()::int8").Scan(&running); err != nil {
		t.Fatal(err)
	}
	b.exec("SET synchronous_commit = off")
	if err := b.conn.QueryRow(t.Context(), "UPDATE t SET v = 'c' WHERE id = 2 RETURNING txid_current()::int8").Scan(&seen); err != nil {
		t.Fatal(err)
	}
	end := b.lsn("SELECT pg_current_wal_insert_lsn()::text")
	c, err := l.Chunk(t.Context(), ChunkRequest{Schema: "public", Table: "t", Key: []string{"id"}, Columns: []string{"v"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s %s", c.Rows[0].Value(1).Text, c.Rows[1].Value(1).Text); got != "a c" || c.High < end {
		t.Errorf("rows %s, high %s, WAL was inserted up to %s", got, c.High, end)
	}
	// Other tests write to the same server: what nobody has begun yet lies far ahead.
	for xid, want := range map[uint32]bool{running: false, seen: true, running + 1<<30: false} {
		if is, known := c.Seen.Sees(xid, 0, 0); is != want || !known {
			t.Errorf("transaction %d: seen %t", xid, is)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestChunkSnapshotOfAStandby(t *testing.T) {
	s := ChunkSnapshot{standby: true, before: 1000, after: 2000}
	for end, want := range map[LSN][2]bool{1000: {true, true}, 1001: {false, false}, 2000: {false, false}, 3000: {false, true}} {
		if seen, known := s.Sees(7, end-100, end); seen != want[0] || known != want[1] {
			t.Errorf("ends at %d: %t %t", end, seen, known)
		}
	}
}

// Where the next record would begin behind a page's header, everything has been sent at the end of the page before.
func TestEndOfRecord(t *testing.T) {
	const segment = 16 << 20
	for next, want := range map[LSN]LSN{3*segment + 40: 3 * segment, 3*segment + 24: 3*segment + 24, 3*segment + 8192 + 24: 3*segment + 8192, 3*segment + 8192 + 40: 3*segment + 8192 + 40,
		3*segment + 8192 + 25: 3*segment + 8192 + 25, 3*segment + 100: 3*segment + 100} {
		if got := endOfRecord(next, 8192, segment); got != want {
			t.Errorf("%s: %s, want %s", next, got, want)
		}
	}
}

// chunkRow is a row of (id, v, big) as text; nil is NULL, "?" unknown.
func chunkRow(rel *Relation, values ...any) Row {
	var all []Value
	for _, v := range values {
		switch v {
		case nil:
			all = append(all, Value{State: Null})
		case "?":
			all = append(all, Value{})
		default:
			all = append(all, Value{State: Present, Text: fmt.Append(nil, v)})
		}
	}
	row, _ := NewRow(rel, ImageFull, AppendTuple(nil, all))
	return row
}

func chunkRelation(columns ...string) *Relation {
	var cols []Column
	for _, c := range columns {
		cols = append(cols, Column{Name: c, Type: BuiltinType(25)})
	}
	return NewRelation(1, "public", "t", 'd', cols, []string{"id"})
}

// A chunk is brought up to date with what its snapshot has not seen, in order, and with nothing else.
func TestChunkWindow(t *testing.T) {
	rel, wal := chunkRelation("id", "v", "big"), chunkRelation("big", "v", "id", "other")
	other := NewRelation(2, "public", "u", 'd', nil, nil)
	wrote := func(key string, v, big any) *Change {
		return &Change{Op: Write, Rel: wal, Key: key, After: chunkRow(wal, big, v, key, "o")}
	}
	made := func(key string, v any) *Change {
		return &Change{Op: Create, Rel: wal, Key: key, After: chunkRow(wal, "new", v, key, nil)}
	}
	gone := func(key string) *Change { return &Change{Op: Unlink, Rel: wal, Key: key} }
	tx := func(xid uint32, changes ...*Change) *Tx { return NewTx(xid, LSN(xid), LSN(xid), time.Time{}, changes) }
	chunk := func() *Chunk {
		return &Chunk{Rel: rel, Keys: []string{"1", "2", "3"}, Rows: []Row{chunkRow(rel, "1", "a", "A"), chunkRow(rel, "2", "b", "B"), chunkRow(rel, "3", "c", nil)},
			Seen: ChunkSnapshot{xids: snapshot{next: 100, running: []uint32{50}}}}
	}
	large := tx(200)
	large.spill = &spool{}
	small := tx(99)
	small.spill = &spool{}
	narrow := chunkRelation("id", "v")
	for _, tc := range []struct {
		name string
		txs  []*Tx
		want string // rows; "" for a chunk that must be read again
	}{
		{"nothing", nil, "1aA 2bB 3c-"},
		{"seen", []*Tx{tx(49, wrote("1", "x", "X"), gone("2"))}, "1aA 2bB 3c-"},
		{"running then", []*Tx{tx(50, wrote("1", "x", "X"))}, "1xX 2bB 3c-"},
		{"later, and what WAL left out", []*Tx{tx(100, wrote("2", "x", "?")), tx(101, wrote("2", nil, "?"))}, "1aA 2-B 3c-"},
		{"left out after it was written", []*Tx{tx(100, wrote("2", "x", "Y")), tx(101, wrote("2", "z", "?"))}, "1aA 2zY 3c-"},
		{"told of twice", []*Tx{tx(100, wrote("2", "x", "Y")), tx(101, wrote("2", "z", "?")), tx(100, wrote("2", "x", "Y")), tx(101, wrote("2", "z", "?"))}, "1aA 2zY 3c-"},
		{"gone", []*Tx{tx(100, gone("2"))}, "1aA 3c-"},
		{"gone, and made anew", []*Tx{tx(100, gone("2")), tx(101, made("2", "n"))}, "1aA 3c-"},
		{"another key", []*Tx{tx(100, gone("2"), made("7", "b"))}, "1aA 3c-"},
		{"a key that another row had", []*Tx{tx(100, gone("3"), gone("2"), made("3", "b"))}, "1aA"},
		{"truncated", []*Tx{tx(100, &Change{Op: Truncate, Rel: wal}), tx(101, made("1", "n"))}, " "},
		{"truncated, and seen", []*Tx{tx(99, &Change{Op: Truncate, Rel: wal})}, "1aA 2bB 3c-"},
		{"another table", []*Tx{tx(100, &Change{Op: Unlink, Rel: other, Key: "1"})}, "1aA 2bB 3c-"},
		{"raw writes", []*Tx{tx(100, &Change{Op: Write, Raw: true, Rel: wal, Key: "1", After: chunkRow(wal, "?", "p", "1", "o")}, &Change{Op: Write, Raw: true, Rel: wal, Key: "1", After: chunkRow(wal, "Q", "q", "1", "o")})}, "1qQ 2bB 3c-"},
		{"another shape", []*Tx{tx(100, &Change{Op: Write, Rel: narrow, Key: "1", After: chunkRow(narrow, "1", "x")})}, ""},
		{"no key", []*Tx{tx(100, &Change{Op: Write, Raw: true, Rel: wal, After: chunkRow(wal, "?", "p", "1", "o")})}, ""},
		{"too large", []*Tx{large}, ""},
		{"too large, and seen", []*Tx{small}, "1aA 2bB 3c-"},
		{"too large, and then a small one that was seen", []*Tx{large, small}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, c := OpenChunkWindow("public", "t"), chunk()
			for _, tx := range tc.txs {
				w.Note(tx)
			}
			err := w.Settle(c)
			got := ""
			for i := range c.Rows {
				for j := range 3 {
					if v := c.Rows[i].Value(j); v.State == Present {
						got += string(v.Text)
					} else {
						got += "-"
					}
				}
				if got += " "; c.Keys[i] != string(c.Rows[i].Value(0).Text) {
					t.Errorf("row %d has key %s", i, c.Keys[i])
				}
			}
			switch {
			case tc.want == "":
				if !errors.Is(err, ErrChunkStale) {
					t.Errorf("%s, %v", got, err)
				}
			case err != nil || got != tc.want+" " && got+" " != tc.want:
				t.Errorf("%q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

// What is kept of changes is bounded: more of them make the chunk be read again.
func TestInvariant9ChunkWindow(t *testing.T) {
	wal := chunkRelation("id", "v", "big")
	w := OpenChunkWindow("public", "t")
	big := strings.Repeat("x", 100<<10)
	for i := range 1000 {
		w.Note(NewTx(uint32(100+i), 1, 1, time.Time{}, []*Change{{Op: Write, Rel: wal, Key: "1", After: chunkRow(wal, "1", "v", big)}}))
	}
	if w.bytes > maxWindow+200<<10 || len(w.noted) > 0 {
		t.Errorf("%d bytes of %d transactions are kept", w.bytes, len(w.noted))
	}
	c := &Chunk{Rel: wal, Seen: ChunkSnapshot{xids: snapshot{next: 100}}}
	if err := w.Settle(c); !errors.Is(err, ErrChunkStale) {
		t.Errorf("got %v", err)
	}
}

// A chunk is never read with columns that are others by now: the shape of the table is looked at anew, which the table's own job does once.
func TestChunkOfAColumnMadeAnew(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT i, 'old' FROM generate_series(1, 20) i")
	l, err := NewLive(dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	number := func(after ...string) int16 {
		t.Helper()
		c, err := l.Chunk(t.Context(), ChunkRequest{Schema: "public", Table: "t", Key: []string{"id"}, Columns: []string{"a"}, After: after, Rows: 5})
		if err != nil {
			t.Fatal(err)
		}
		return c.Rel.Columns[c.Rel.Column("a")].Number
	}
	if n := number(); n != 2 {
		t.Fatalf("a is number %d", n)
	}
	pgtest.Exec(t, dsn, "ALTER TABLE t DROP a, ADD a text")
	if n := number("5"); n != 3 {
		t.Errorf("after a was made anew it is number %d", n)
	}
	pgtest.Exec(t, dsn, "ALTER TABLE t RENAME a TO b; ALTER TABLE t ADD a text")
	if n := number("10"); n != 4 {
		t.Errorf("after another column was given its name it is number %d", n)
	}
}
