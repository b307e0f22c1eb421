package cdc

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"walhook/internal/pgtest"
)

// Where columns were granted, one that came later is named as hidden, and no chunk leaves it out without a word.
func TestColumnsThatWereGrantedToNobody(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	cfg, err := parseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := "reader_" + cfg.Database
	pgtest.Exec(t, dsn, "CREATE TABLE t (id int PRIMARY KEY, a text, password text); INSERT INTO t VALUES (1, 'x', 's'); CREATE ROLE "+role+" LOGIN; GRANT SELECT (id, a) ON t TO "+role)
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	l, err := NewLive(pgtest.Server(t).DSNFor(role, "", cfg.Database), "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	request := ChunkRequest{Schema: "public", Table: "t", Key: []string{"id"}, Columns: []string{"a", "later"}}
	if c, err := l.Chunk(t.Context(), request); err != nil || len(c.Rows) != 1 {
		t.Fatalf("before there is such a column: %+v, %v", c, err)
	}
	pgtest.Exec(t, dsn, "ALTER TABLE t ADD later text DEFAULT 'new'")
	rel, hidden, err := l.Shape(t.Context(), "public", "t")
	if err != nil || !slices.Equal(hidden, []string{"password", "later"}) || rel.Column("later") >= 0 {
		t.Errorf("hidden %q, %v", hidden, err)
	}
	var refused *RefusedError
	if _, err := l.Chunk(t.Context(), request); !errors.As(err, &refused) || !strings.Contains(refused.Hint(), `GRANT SELECT ("later") ON TABLE "public"."t"`) {
		t.Errorf("a chunk without it: %v", err)
	}
	pgtest.Exec(t, dsn, "GRANT SELECT (later) ON t TO "+role)
	if c, err := l.Chunk(t.Context(), request); err != nil || c.Rel.Column("later") < 0 || string(c.Rows[0].Value(c.Rel.Column("later")).Text) != "new" {
		t.Errorf("once it is granted: %v", err)
	}
}

// What only a person can mend of a table is told apart from what passes by itself: jobs fail by the one, and are tried again after the other.
func TestShapeErrors(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE keyless (n int); CREATE TABLE key (id int PRIMARY KEY)")
	l, err := NewLive(dsn, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var gone *TableGoneError
	if _, _, err := l.Shape(t.Context(), "public", "none"); !errors.As(err, &gone) || isTemporary(err) {
		t.Errorf("of a table that is gone: %v", err)
	}
	var refused *RefusedError
	if _, _, err := l.Shape(t.Context(), "public", "keyless"); !errors.As(err, &refused) || isTemporary(err) || refused.Hint() == "" {
		t.Errorf("of a table without primary key: %v", err)
	}
	if rel, hidden, err := l.Shape(t.Context(), "public", "key"); err != nil || len(rel.Key) != 1 || len(hidden) != 0 {
		t.Errorf("%v, %q, %v", rel, hidden, err)
	}
	away, err := NewLive("postgres://walhook@127.0.0.1:1/none", "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	if _, _, err := away.Shape(t.Context(), "public", "key"); !isTemporary(err) {
		t.Errorf("of a server that is away: %v", err)
	}
}

// What the role lacks is named, and nothing else, with names as the server needs them written.
func TestGrantsThatAreMissing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	cfg, err := parseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	role := "Reader-" + cfg.Database
	quoted := `"` + role + `"`
	pgtest.Exec(t, dsn, `CREATE SCHEMA "Our Own"; CREATE TABLE "Our Own"."Order" (id int PRIMARY KEY, "Date" text, password text); CREATE ROLE `+quoted+" LOGIN")
	t.Cleanup(func() { pgtest.Exec(t, dsn, "DROP OWNED BY "+quoted+"; DROP ROLE "+quoted) })
	l := newLive(t, pgtest.Server(t).DSNFor(role, "", cfg.Database))
	scan := func() string {
		t.Helper()
		_, err := l.Scan(t.Context(), Scan{Schema: "Our Own", Table: "Order", Key: "id", Columns: []string{"Date"}, Until: 10})
		var refused *RefusedError
		if err == nil {
			return ""
		} else if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		grants, ok := strings.CutPrefix(refused.Hint(), "as the table's owner: ")
		if !ok {
			t.Fatal(refused.Hint())
		}
		return grants
	}
	usage, whole, column := `GRANT USAGE ON SCHEMA "Our Own" TO `+quoted, `GRANT SELECT ON TABLE "Our Own"."Order" TO `+quoted, `GRANT SELECT ("Date") ON TABLE "Our Own"."Order" TO `+quoted
	for _, step := range []struct{ before, want string }{
		{"SELECT 1", usage + "; " + whole},
		{usage, whole},
		{`GRANT SELECT (id) ON TABLE "Our Own"."Order" TO ` + quoted, column},
		{"REVOKE USAGE ON SCHEMA \"Our Own\" FROM " + quoted, usage + "; " + column},
		{usage + "; " + column, ""},
	} {
		pgtest.Exec(t, dsn, step.before)
		if got := scan(); got != step.want {
			t.Errorf("after %s: %q, want %q", step.before, got, step.want)
		}
	}
	if _, _, _, err := l.Bounds(t.Context(), "Our Own", "Order", "id"); err != nil {
		t.Error(err)
	}
}
