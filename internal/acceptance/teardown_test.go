package acceptance

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// catalogSQL writes down everything that setup could have changed in a database, a line each. Privileges are written out: a
// GRANT that is taken back leaves the owner's own, which before were implied.
const catalogSQL = `
WITH acl AS (
	SELECT 'table' AS kind, c.oid, c.oid::regclass::text AS name, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_|^information_schema$' AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	UNION ALL SELECT 'schema', oid, nspname, coalesce(nspacl, acldefault('n', nspowner)) FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'
	UNION ALL SELECT 'database', oid, datname, coalesce(datacl, acldefault('d', datdba)) FROM pg_database WHERE datname = current_database()
)
SELECT line FROM (
	SELECT 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || c.relowner::regrole || ' identity ' || c.relreplident::text || ' ' || coalesce((SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = c.oid AND indisreplident), '') || ' options ' || coalesce(c.reloptions::text, '') AS line
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_|^information_schema$'
	UNION ALL SELECT 'column privileges ' || attrelid::regclass || '.' || attname || ' ' || attacl::text FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384
	UNION ALL SELECT 'privilege on ' || kind || ' ' || name || ': ' || x.grantee::regrole || ' ' || x.privilege_type || ' by ' || x.grantor::regrole FROM acl, aclexplode(acl) x
	UNION ALL SELECT 'default privilege ' || defaclrole::regrole || ' ' || defaclnamespace::regnamespace || ' ' || defaclobjtype::text || ' ' || defaclacl::text FROM pg_default_acl
	UNION ALL SELECT 'schema ' || nspname || ' ' || nspowner::regrole FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)'
	UNION ALL SELECT 'publication ' || pubname || ' ' || pubowner::regrole || ' ' || puballtables || ' ' || coalesce(obj_description(oid, 'pg_publication'), '') FROM pg_publication
	UNION ALL SELECT 'published ' || p.pubname || ' ' || prrelid::regclass FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid
	UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
	UNION ALL SELECT 'function ' || oid::regprocedure FROM pg_proc WHERE oid >= 16384
	UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
	UNION ALL SELECT 'trigger ' || tgname || ' ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal
	UNION ALL SELECT 'setting ' || coalesce(setrole::regrole::text, '') || ' ' || setconfig::text FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
	UNION ALL SELECT 'extension ' || extname FROM pg_extension
	UNION ALL SELECT 'comment ' || objoid::regclass || ' ' || description FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid >= 16384
) AS lines ORDER BY 1`

func catalogOf(t *testing.T, dsn string) []string {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), catalogSQL)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// teardownTables have every replica identity there is before walhook comes.
const teardownTables = `
	CREATE TABLE plain (id int PRIMARY KEY, state text); CREATE TABLE fully (id int PRIMARY KEY, state text); ALTER TABLE fully REPLICA IDENTITY FULL;
	CREATE TABLE never (id int PRIMARY KEY, state text); ALTER TABLE never REPLICA IDENTITY NOTHING;
	CREATE TABLE "By Index" (id int PRIMARY KEY, code text NOT NULL, state text); CREATE UNIQUE INDEX by_code ON "By Index" (code); ALTER TABLE "By Index" REPLICA IDENTITY USING INDEX by_code;
	CREATE TABLE parted (id int PRIMARY KEY, state text) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100)`

func teardownRules(tables ...string) string {
	rules := "[endpoints.erp]\nurl = \"{{receiver}}/erp\"\nsecrets = [\"" + secret + "\"]\n"
	for i, table := range tables {
		rules += fmt.Sprintf("[[rules]]\nname = \"r%d\"\ntable = %q\non = [\"create\", \"write\", \"unlink\"]\nwhen = 'changed(\"state\")'\nendpoint = \"erp\"\n", i, table)
	}
	return rules
}

// TestTeardownLeavesNothing: what teardown leaves is what was there before setup, whoever ran setup and wherever the state lies,
// and also when half of it is gone already.
func TestTeardownLeavesNothing(t *testing.T) {
	t.Parallel()
	all := []string{"plain", "fully", "never", "By Index"}
	if pgtest.Server(t).Major() >= 13 { // else partitioned tables cannot be published
		all = append(all, "parted")
	}
	for _, c := range []struct {
		name   string
		apart  bool
		script bool // a superuser runs what setup --dry-run prints
		member bool // the owner is in walhook's role, so that Odoo can end walhook's sessions
		broken func(in *installation, slot string)
	}{
		{name: "by the owner"},
		{name: "by the owner, state apart", apart: true},
		{name: "by an owner in walhook's role", member: true},
		{name: "by a superuser's script", script: true},
		{name: "by a superuser's script, state apart", apart: true, script: true},
		{name: "without its slot and its state", broken: func(in *installation, slot string) {
			pgtest.Exec(in.t, in.super, "SELECT pg_drop_replication_slot('"+slot+"')")
			pgtest.Exec(in.t, in.super, "DROP SCHEMA walhook CASCADE")
		}},
		{name: "without half of its state", broken: func(in *installation, _ string) {
			pgtest.Exec(in.t, in.super, "DROP TABLE walhook.queue, walhook.source, walhook.process CASCADE")
		}},
		{name: "without the state's database", apart: true, broken: func(in *installation, _ string) {
			cfg, err := pgx.ParseConfig(in.super)
			if err != nil {
				in.t.Fatal(err)
			}
			pgtest.DropDatabase(in.t, pgtest.Server(in.t).DSN("postgres"), cfg.Database+"_state")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			super := pgtest.Database(t)
			cfg, err := pgx.ParseConfig(super)
			if err != nil {
				t.Fatal(err)
			}
			db := cfg.Database
			pgtest.Exec(t, super, teardownTables)
			more, stateDSN := "", ""
			if c.apart {
				stateDSN = pgtest.Server(t).DSN(db + "_state")
				more = fmt.Sprintf("[state]\ndsn = %q\n", pgtest.Server(t).DSNFor("walhook_"+db, "", db+"_state"))
			}
			in := install(t, super, newReceiver(t), teardownRules(all...)+more)
			admin := pgtest.Server(t).DSN("postgres")
			if c.apart {
				pgtest.Exec(t, admin, "CREATE DATABASE "+db+"_state OWNER walhook_"+db)
				t.Cleanup(func() { pgtest.DropDatabase(t, admin, db+"_state") })
			}
			if c.member {
				pgtest.Exec(t, super, "GRANT walhook_"+db+" TO owner_"+db)
			}
			before := catalogOf(t, super)
			var stateBefore []string
			if c.apart {
				stateBefore = catalogOf(t, stateDSN)
			}
			if c.script {
				in.runScript(in.must("setup", "--dry-run"))
			} else {
				in.must("setup", "--dsn", in.owner)
			}
			if out := in.must("setup", "--dsn", in.owner); !strings.Contains(out, "nothing to do") {
				t.Errorf("setup again: %s", out)
			}
			if cmp.Equal(before, catalogOf(t, super)) {
				t.Fatal("setup has changed nothing that this test can see")
			}
			if c.broken != nil {
				c.broken(in, "walhook_"+db)
			}
			in.must("teardown", "--dsn", in.owner, "--yes")
			if diff := cmp.Diff(before, catalogOf(t, super)); diff != "" {
				t.Errorf("after teardown (-before +after):\n%s", diff)
			}
			if c.apart && c.broken == nil {
				if diff := cmp.Diff(stateBefore, catalogOf(t, stateDSN)); diff != "" {
					t.Errorf("in the state's database (-before +after):\n%s", diff)
				}
			}
			if out := in.must("teardown", "--dsn", in.owner); !strings.Contains(out, "nothing to remove") {
				t.Errorf("teardown again: %s", out)
			}
		})
	}
}

// runScript runs what a dry run has printed, as a superuser in psql.
func (in *installation) runScript(script string) {
	in.t.Helper()
	cmd := exec.Command(pgtest.Client(in.t, pgtest.Server(in.t), "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", in.super)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		in.t.Fatalf("psql: %v\n%s\nscript:\n%s", err, out, script)
	}
}

// TestTeardownUnderRun: teardown does not work under a walhook that runs, nor under one that stays away and comes back.
func TestTeardownUnderRun(t *testing.T) {
	t.Parallel()
	super := pgtest.Database(t)
	pgtest.Exec(t, super, teardownTables)
	in := install(t, super, newReceiver(t), teardownRules("plain"))
	in.must("setup", "--dsn", in.owner)
	p := in.run()
	refused := func(want string) {
		t.Helper()
		out, err := in.walhook("teardown", "--dsn", in.owner, "--yes")
		if err == nil || !strings.Contains(out, want) || !strings.Contains(out, "hint: stop it first") {
			t.Errorf("teardown: %v\n%s", err, out)
		}
	}
	refused(fmt.Sprintf("walhook runs: process %d", p.cmd.Process.Pid))
	in.must("detach", "--for", "1h", "--wait")
	refused("it stays away from the database and comes back in")
	in.stop(p)
	in.must("teardown", "--dsn", in.owner, "--yes")
}

// TestOdooBacksUp: Odoo's pg_dump as its own role works beside the state, on the day of setup and when partitions have come since, also when
// setup was a superuser's script.
func TestOdooBacksUp(t *testing.T) {
	t.Parallel()
	for _, script := range []bool{false, true} {
		super := pgtest.Database(t)
		pgtest.Exec(t, super, teardownTables)
		in := install(t, super, newReceiver(t), teardownRules("plain", "never"))
		if script {
			in.runScript(in.must("setup", "--dry-run"))
		} else {
			in.must("setup", "--dsn", in.owner)
		}
		dump := func(day string) {
			t.Helper()
			out, err := exec.Command(pgtest.Client(t, pgtest.Server(t), "pg_dump"), "--no-owner", "-d", in.owner).CombinedOutput()
			if err != nil {
				t.Errorf("pg_dump as the owner, %s (script: %v): %v\n%s", day, script, err, last(string(out), 500))
			}
			if want := "CREATE TABLE walhook.delivery_" + day; !strings.Contains(string(out), want) {
				t.Errorf("the dump holds no %q", want)
			}
		}
		today := time.Now().UTC()
		dump(today.Format("20060102"))
		pgtest.Exec(t, in.role, "SELECT walhook.add_partitions(40)") // as walhook run does, day by day
		dump(today.AddDate(0, 0, 40).Format("20060102"))
	}
}
