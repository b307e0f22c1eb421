package cdc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"walhook/internal/pgtest"
)

// TestTeardownAfterChanges: what somebody else has made or changed since setup stays as it is, and is named.
func TestTeardownAfterChanges(t *testing.T) {
	e := newEstate(t, `CREATE TABLE "it's ""a"" table" (id int PRIMARY KEY, v int); CREATE TABLE touched (id int PRIMARY KEY, v int NOT NULL);
		CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE full_before (id int PRIMARY KEY); ALTER TABLE full_before REPLICA IDENTITY FULL;
		CREATE TABLE indexed (id int PRIMARY KEY, v int NOT NULL); CREATE UNIQUE INDEX indexed_v ON indexed (v); ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_v;
		CREATE TABLE lost (id int PRIMARY KEY, v int NOT NULL); CREATE UNIQUE INDEX lost_v ON lost (v); ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_v; DROP INDEX lost_v`)
	var needs []TableNeed
	for _, name := range []string{`it's "a" table`, "touched", "gone", "full_before", "indexed", "lost"} {
		needs = append(needs, TableNeed{Schema: "public", Table: name, Full: true})
	}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	if steps := ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)); len(steps) != 0 {
		t.Errorf("setup again: %q", sqlOf(steps))
	}
	e.asOwner("ALTER TABLE touched REPLICA IDENTITY NOTHING")
	e.asOwner("DROP TABLE gone")
	down, left := TeardownSteps(e.inspect(nil), e.role)
	var identities []string
	for _, s := range sqlOf(down) {
		if strings.Contains(s, "REPLICA IDENTITY") {
			identities = append(identities, s)
		}
	}
	want := []string{
		`owner: ALTER TABLE ONLY "public"."indexed" REPLICA IDENTITY USING INDEX "indexed_v"`,
		`owner: ALTER TABLE ONLY "public"."lost" REPLICA IDENTITY DEFAULT`,
		`owner: ALTER TABLE ONLY "public"."it's ""a"" table" REPLICA IDENTITY DEFAULT`,
	}
	if diff := cmp.Diff(want, identities); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
	for _, part := range []string{"public.touched, which somebody has changed", "public.lost with REPLICA IDENTITY DEFAULT", "FULL of public.full_before"} {
		if !strings.Contains(strings.Join(left, "\n"), part) {
			t.Errorf("nothing is said of %s: %q", part, left)
		}
	}
	e.apply(down)
	if steps, left := TeardownSteps(e.inspect(nil), e.role); len(steps) != 0 || !strings.Contains(strings.Join(left, " "), "there is no publication") {
		t.Errorf("teardown again: %q %q", sqlOf(steps), left)
	}
}

// TestRecordFromTheBeginning: a setup that is killed at any moment leaves no publication without its record, which teardown would take for
// somebody else's. The printed script makes them in one transaction too.
func TestRecordFromTheBeginning(t *testing.T) {
	e := newEstate(t, `CREATE TABLE a (id int PRIMARY KEY)`)
	needs := []TableNeed{{Schema: "public", Table: "a", Full: true}}
	steps := SetupSteps(e.inspect(needs), needs, e.role)
	e.apply(steps[:1])
	if p := e.inspect(nil).Publication; p == nil || !p.record().Made {
		t.Fatalf("publication %+v after %q", p, sqlOf(steps[:1]))
	}
	script := Script(steps)
	begin, create := strings.Index(script, "BEGIN;"), strings.Index(script, "CREATE PUBLICATION")
	comment, commit := strings.Index(script, "COMMENT ON"), strings.Index(script, "COMMIT;")
	if begin < 0 || begin > create || create > comment || comment > commit {
		t.Errorf("not one transaction:\n%s", script)
	}
	down, left := TeardownSteps(e.inspect(nil), e.role)
	e.apply(down)
	if p := e.inspect(nil).Publication; p != nil || strings.Contains(strings.Join(left, " "), "publication") {
		t.Errorf("publication %+v, left %q", p, left)
	}
}

// TestTeardownBesideOthers: the identity of a table that another publication holds too stays: writes would fail without it, or another
// walhook lose the values before a change.
func TestTeardownBesideOthers(t *testing.T) {
	e := newEstate(t, `CREATE TABLE none (id int PRIMARY KEY, v int); ALTER TABLE none REPLICA IDENTITY NOTHING; INSERT INTO none VALUES (1, 1);
		CREATE TABLE shared (id int PRIMARY KEY); CREATE TABLE own (id int PRIMARY KEY); CREATE TABLE appended (id int PRIMARY KEY);
		CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9)`)
	var needs []TableNeed
	for _, name := range []string{"none", "shared", "own", "appended", "part"} {
		needs = append(needs, TableNeed{Schema: "public", Table: name, Full: name != "none"})
	}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	other := "other_" + e.slot
	through, whole := "part", "" // before PostgreSQL 13 a partition is published by itself
	if pgtest.Server(t).Major() >= 13 {
		through, whole = "parted", " WITH (publish_via_partition_root = true)"
	}
	e.asOwner("CREATE PUBLICATION " + quoteIdent(other) + " FOR TABLE none, shared, " + through + whole)
	e.asOwner("CREATE PUBLICATION " + quoteIdent(e.slot+"_inserts") + " FOR TABLE appended WITH (publish = 'insert')") // needs no identity
	down, left := TeardownSteps(e.inspect(nil), e.role)
	e.apply(down)
	e.asOwner("UPDATE none SET v = 2")
	for name, want := range map[string]string{"none": "d", "shared": "f", "part": "f", "own": "d", "appended": "d"} {
		if got := e.inspect(needs).table("public", name).Identity; got != want {
			t.Errorf("the identity of %s is %s, want %s", name, got, want)
		}
		said := strings.Contains(strings.Join(left, "\n"), fmt.Sprintf("the replica identity of public.%s, which publication %q needs too", name, other))
		if stays := name != "own" && name != "appended"; said != stays {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

// TestTeardownOfOthersPublication: a publication that was there before setup stays, with what it held and its comment.
func TestTeardownOfOthersPublication(t *testing.T) {
	e := newEstate(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	name := quoteIdent(e.slot)
	e.asOwner("CREATE PUBLICATION " + name + " FOR TABLE a")
	e.asOwner("COMMENT ON PUBLICATION " + name + " IS 'of the DBA''s'")
	needs := []TableNeed{{Schema: "public", Table: "a"}, {Schema: "public", Table: "b"}}
	e.apply(ownerSteps(SetupSteps(e.inspect(needs), needs, e.role)))
	if n := len(e.inspect(nil).Publication.Tables); n != 2 {
		t.Fatalf("%d tables", n)
	}
	down, left := TeardownSteps(e.inspect(nil), e.role)
	e.apply(down)
	p := e.inspect(nil).Publication
	if p == nil || p.Comment != "of the DBA's" || len(p.Tables) != 1 || p.Tables[0].Name != "a" || !strings.Contains(strings.Join(left, " "), "which setup has not made") {
		t.Errorf("publication %+v, left %q, by %q", p, left, sqlOf(down))
	}
}

// TestHandOver: what a superuser's setup or script makes belongs to the owner, who can go on with it.
func TestHandOver(t *testing.T) {
	e := newEstate(t, `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)`)
	needs := []TableNeed{{Schema: "public", Table: "a", Full: true}}
	more := append(needs, TableNeed{Schema: "public", Table: "b", Full: true})
	asRole := func() *Facts {
		f, err := Inspect(t.Context(), e.roleConn, e.slot, e.slot, needs)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, how := range []string{"script", "setup"} {
		if how == "script" {
			f := asRole()
			pgtest.Exec(t, e.dsn, Script(ownerSteps(SetupSteps(f, needs, e.role)))+HandOver(f, needs))
		} else {
			f, err := InspectAs(t.Context(), e.conn, e.role, e.slot, e.slot, needs)
			if err != nil {
				t.Fatal(err)
			}
			if err := Apply(t.Context(), Logins{Owner: e.conn}, ownerSteps(SetupSteps(f, needs, e.role)), ApplyOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if owner := e.inspect(needs).Publication.Owner; owner != e.owner {
			t.Errorf("%s: the publication belongs to %s", how, owner)
		}
		e.apply(ownerSteps(SetupSteps(e.inspect(more), more, e.role)))
		if HandOver(asRole(), needs) != "" {
			t.Errorf("%s: the owner's publication is to be handed over again", how)
		}
		down, _ := TeardownSteps(e.inspect(nil), e.role)
		e.apply(down)
	}
	// An owner who runs the script keeps it.
	f := asRole()
	if _, err := e.ownerConn.PgConn().Exec(t.Context(), Script(ownerSteps(SetupSteps(f, needs, e.role)))+HandOver(f, needs)).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if owner := e.inspect(needs).Publication.Owner; owner != e.owner {
		t.Errorf("the publication belongs to %s", owner)
	}
}
