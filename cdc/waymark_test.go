package cdc

import (
	"slices"
	"testing"
	"time"

	"walhook/internal/pgtest"
)

// A waymark tells how long the oldest transaction has been open, to those who may see it, and lies behind what has committed.
func TestWaymark(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int)")
	l, open := newLive(t, dsn), pgtest.Connect(t, dsn)
	var began time.Time
	if _, err := open.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if err := open.QueryRow(t.Context(), "SELECT now()").Scan(&began); err != nil {
		t.Fatal(err)
	}
	w, err := l.Waymark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w.Oldest.After(began) || w.At.Before(began) || w.LSN == 0 || w.Hidden {
		t.Errorf("%+v, a transaction has been open since %s", w, began)
	}
	if _, err := open.Exec(t.Context(), "INSERT INTO t VALUES (1); COMMIT"); err != nil {
		t.Fatal(err)
	}
	after, err := l.Waymark(t.Context())
	if err != nil || after.LSN <= w.LSN {
		t.Errorf("%+v, %v: not behind %s", after, err, w.LSN)
	}
	// Without the right to see others' sessions it says so.
	database := l.cfg.Database
	role := "blind_" + database
	pgtest.Exec(t, dsn, "CREATE ROLE "+role+" LOGIN")
	t.Cleanup(func() { pgtest.Exec(t, pgtest.Server(t).DSN("postgres"), "DROP ROLE "+role) })
	blind := newLive(t, pgtest.Server(t).DSNFor(role, "", database))
	for range 300 { // with nothing to be seen the two times are the statement's own, and must keep their order by the microsecond: the state insists on it
		if w, err := blind.Waymark(t.Context()); err != nil || !w.Hidden || w.Oldest.After(w.At) {
			t.Fatalf("a role that sees nothing: %+v, %v", w, err)
		}
	}
	blind.Close()
}

// What is missing is told by keys of any shape; a key that can be none of the table's is missing.
func TestMissing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, `CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one VALUES (1), (3);
		CREATE TABLE pair (a int, b text, PRIMARY KEY (b, a)); INSERT INTO pair VALUES (1, 'x'), (2, 'a,b\c'), (3, '')`)
	l := newLive(t, dsn)
	for _, tc := range []struct {
		table      string
		keys, want []string
	}{
		{"one", []string{"1", "2", "3", "4"}, []string{"2", "4"}},
		{"one", []string{"1", "one", "99999999999999999999"}, []string{"one", "99999999999999999999"}},
		{"one", []string{"1"}, nil},
		{"pair", []string{"x,1", "x,2", `a\,b\\c,2`, ",3", "x"}, []string{"x", "x,2"}},
	} {
		got, end, err := l.Missing(t.Context(), "public", tc.table, tc.keys)
		slices.Sort(got)
		slices.Sort(tc.want)
		if err != nil || end == 0 || !slices.Equal(got, tc.want) {
			t.Errorf("%s %q: %q at %s, %v, want %q", tc.table, tc.keys, got, end, err, tc.want)
		}
	}
	if _, _, err := l.Missing(t.Context(), "public", "none", []string{"1"}); err == nil {
		t.Error("a table that is not there")
	}
}

// A record that is gone has its key and nothing else.
func TestNewGone(t *testing.T) {
	t.Parallel()
	typ := &Type{OID: 23, Name: "integer", Kind: KindInt}
	rel := NewRelation(1, "public", "pair", 'd', []Column{{Name: "n", Type: typ}, {Name: "a", Type: typ}, {Name: "b", Type: typ}}, []string{"b", "a"})
	c, err := NewGone(rel, "2,1")
	if err != nil {
		t.Fatal(err)
	}
	if key, ok := appendKey(nil, c.Before); !ok || string(key) != "2,1" || c.Op != Unlink || c.Origin != FromResync {
		t.Errorf("%q, %+v", key, c)
	}
	if v := c.Before.Value(0); v.State != Unknown {
		t.Errorf("n is known: %+v", v)
	}
	if _, err := NewGone(rel, "2"); err == nil {
		t.Error("half a key")
	}
}
