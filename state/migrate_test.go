package state

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

func TestMigrateIsIdempotentAndConcurrent(t *testing.T) {
	db := openEmpty(t, nil)
	var missing *VersionError
	if err := db.Check(t.Context()); !errors.As(err, &missing) || missing.Have != 0 || !strings.Contains(missing.Hint(), "walhook setup") {
		t.Fatalf("check of nothing: %v", err)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := db.Migrate(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if list, err := migrations(); err != nil || rows(t, db, "migration") != len(list) {
		t.Errorf("%d rows in migration, of %d: %v", rows(t, db, "migration"), len(list), err)
	}
	exec(t, db, "INSERT INTO {schema}.migration (version, name, walhook) VALUES (99, 'future', 'x')")
	for _, err := range []error{db.Check(t.Context()), db.Migrate(t.Context())} {
		var newer *VersionError
		if !errors.As(err, &newer) || newer.Have != 99 || !strings.Contains(hintOf(err), "newer walhook") {
			t.Errorf("newer schema: %v", err)
		}
	}
}

// Every name works as a schema, and no statement relies on the search path.
func TestOddSchemaNames(t *testing.T) {
	for _, name := range []string{"we ird", `quo"te`, `it's \ {schema} %s`, "Wählhook", "select", strings.Repeat("x", 63)} {
		t.Run(name, func(t *testing.T) {
			db := openState(t, func(c *Config) { c.Schema = name })
			if err := db.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			p := register(t, db)
			f := newFeed(t, p)
			d := f.delivery("a", "m/1")
			f.enqueue(t, all, d)
			finish(t, p, 1, outcome(d, delivery.Dead))
			if _, err := db.RetryDead(t.Context(), Filter{}); err != nil {
				t.Error(err)
			}
			if _, _, err := db.GetDelivery(t.Context(), d.ID); err != nil {
				t.Error(err)
			}
			if _, err := db.Endpoints(t.Context()); err != nil {
				t.Error(err)
			}
			if _, _, err := db.DropPartitions(t.Context()); err != nil {
				t.Error(err)
			}
			for _, view := range []string{"pending_delivery", "recent_attempt", "dead", "backlog"} {
				rows(t, db, view)
			}
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if was, err := db.Drop(t.Context()); !was || err != nil {
				t.Error(was, err)
			}
			if was, err := db.Drop(t.Context()); was || err != nil {
				t.Error(was, err)
			}
		})
	}
}

// The printed SQL makes the same schema as Migrate.
func TestMigrationSQL(t *testing.T) {
	db := openEmpty(t, func(c *Config) { c.Schema = "we ird" })
	sql, err := MigrationSQL(db.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sql, "{schema") {
		t.Error("a placeholder is left")
	}
	pgtest.Exec(t, db.cfg.DSN, sql)
	if err := db.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := openEmpty(t, func(c *Config) { c.Schema = "we ird" })
	if err := other.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	const shape = `SELECT string_agg(format('%s %s %s', c.relkind, c.relname, pg_get_indexdef(i.indexrelid)), E'\n' ORDER BY c.relname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid WHERE nspname = 'we ird'`
	var a, b string
	if err := errors.Join(db.pool.QueryRow(t.Context(), shape).Scan(&a), other.pool.QueryRow(t.Context(), shape).Scan(&b)); err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Errorf("printed:\n%s\nmigrated:\n%s", a, b)
	}
}

// Everything a DBA finds in the schema is documented.
func TestEverythingHasAComment(t *testing.T) {
	db := openState(t, nil)
	const silent = `SELECT coalesce(string_agg(c.relname, ', '), '') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE nspname = 'walhook' AND relkind IN ('r', 'p', 'v') AND NOT relispartition AND obj_description(c.oid, 'pg_class') IS NULL`
	var names string
	if err := db.pool.QueryRow(t.Context(), silent).Scan(&names); err != nil || names != "" {
		t.Errorf("without a comment: %s %v", names, err)
	}
}

// withUser makes a role and returns a DSN for it.
func withUser(t *testing.T, dsn, role string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		t.Fatalf("the DSN %q is not a URL", dsn)
	}
	name := fmt.Sprintf("%s_%s", role, strings.TrimPrefix(u.Path, "/"))
	server := pgtest.Server(t).DSN("postgres")
	pgtest.Exec(t, dsn, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'pw'", name))
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.PgConn().Exec(context.Background(), fmt.Sprintf("REASSIGN OWNED BY %[1]s TO CURRENT_USER; DROP OWNED BY %[1]s", name)).ReadAll(); err != nil {
			t.Error(err)
		}
		pgtest.Exec(t, server, fmt.Sprintf("ALTER DATABASE %s OWNER TO CURRENT_USER; DROP ROLE %s", strings.TrimPrefix(u.Path, "/"), name))
	})
	u.User = url.UserPassword(name, "pw")
	return u.String()
}

func roleOf(dsn string) string {
	u, _ := url.Parse(dsn)
	return u.User.Username()
}

// The state lives beside Odoo, in a schema of its own role: Odoo's pg_dump as its role works, also after new partitions.
func TestOwnersDumpWorks(t *testing.T) {
	dsn := pgtest.Database(t)
	owner, walhook := withUser(t, dsn, "odoo"), withUser(t, dsn, "wh")
	u, _ := url.Parse(dsn)
	database := strings.TrimPrefix(u.Path, "/")
	pgtest.Exec(t, dsn, fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", database, roleOf(owner)))
	pgtest.Exec(t, owner, "CREATE TABLE mine (id int); INSERT INTO mine VALUES (1)")

	db := open(t, Config{DSN: walhook, Schema: "we ird"})
	err := db.Migrate(t.Context())
	if want := fmt.Sprintf(`GRANT CREATE ON DATABASE "%s" TO "%s"`, database, roleOf(walhook)); isTemporary(err) || !strings.Contains(hintOf(err), want) {
		t.Fatalf("without privileges: %v\nhint: %s", err, hintOf(err))
	}
	pgtest.Exec(t, owner, fmt.Sprintf(`GRANT CREATE ON DATABASE "%s" TO "%s"`, database, roleOf(walhook)))
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, owner, fmt.Sprintf(`REVOKE CREATE ON DATABASE "%s" FROM "%s"`, database, roleOf(walhook)))
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatalf("again, without CREATE: %v", err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Created: true}); err != nil {
		t.Fatal(err)
	}
	f := newFeed(t, register(t, db))
	f.enqueue(t, none, f.delivery("a", "m/1"))
	exec(t, db, "DROP TABLE {schema}.delivery_"+time.Now().UTC().AddDate(0, 0, 2).Format("20060102"))
	if n, err := db.AddPartitions(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	file := filepath.Join(t.TempDir(), "dump")
	dump := run(t, pgtest.Client(t, pgtest.Server(t), "pg_dump"), "-Fc", "-f", file, owner)
	if dump != "" {
		t.Fatalf("pg_dump as the owner: %s", dump)
	}
	list := run(t, pgtest.Client(t, pgtest.Server(t), "pg_restore"), "-l", file)
	if !strings.Contains(list, "TABLE DATA we ird queue") || !strings.Contains(list, "TABLE DATA public mine") {
		t.Errorf("the dump holds:\n%s", list)
	}
	// Reading is all the owner may do.
	conn := pgtest.Connect(t, owner)
	if _, err := conn.Exec(t.Context(), `DELETE FROM "we ird".queue`); err == nil {
		t.Error("the database's owner may delete from the queue")
	}
	// A schema that a DBA made for us is used.
	pgtest.Exec(t, dsn, fmt.Sprintf("CREATE SCHEMA ready AUTHORIZATION %s", roleOf(walhook)))
	ready := open(t, Config{DSN: walhook, Schema: "ready"})
	if err := errors.Join(ready.Migrate(t.Context()), ready.Check(t.Context())); err != nil {
		t.Error(err)
	}
	// Somebody else's is not.
	if err := open(t, Config{DSN: owner, Schema: "ready"}).Check(t.Context()); err == nil || !strings.Contains(hintOf(err), "OWNER") {
		t.Errorf("check as another role: %v, hint %s", err, hintOf(err))
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(t, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
	return string(out)
}

func command(t *testing.T, name string, args ...string) *osexec.Cmd {
	return osexec.CommandContext(t.Context(), name, args...)
}

// Sessions are pinned, whatever the role's defaults say.
func TestSessionSettings(t *testing.T) {
	dsn := pgtest.Database(t)
	user := withUser(t, dsn, "odd")
	pgtest.Exec(t, dsn, fmt.Sprintf(`ALTER ROLE %[1]s SET synchronous_commit = off; ALTER ROLE %[1]s SET timezone = 'Asia/Tokyo'; ALTER ROLE %[1]s SET search_path = public;
		ALTER ROLE %[1]s SET default_transaction_isolation = 'serializable'; ALTER ROLE %[1]s SET datestyle = 'German'`, roleOf(user)))
	newer := map[string]int{"idle_session_timeout": 14, "transaction_timeout": 17}
	for name, since := range newer {
		if pgtest.Server(t).Major() >= since {
			pgtest.Exec(t, dsn, "ALTER ROLE "+roleOf(user)+" SET "+name+" = '1min'")
		}
	}
	db := open(t, Config{DSN: user})
	for name, want := range map[string]string{"idle_session_timeout": "0", "transaction_timeout": "0", "synchronous_commit": "on", "TimeZone": "UTC", "search_path": "", "application_name": "walhook/state",
		"default_transaction_isolation": "read committed", "jit": "off"} {
		var got string
		if pgtest.Server(t).Major() < newer[name] {
			continue
		}
		if err := db.pool.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", name, got, want, err)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  Config
		want []string
	}{
		"good":    {Config{DSN: "postgres://localhost/x"}, nil},
		"nothing": {Config{}, []string{"state.dsn: is missing"}},
		"all wrong": {Config{DSN: "postgres://u:sesame@h:port/x", Schema: "pg_x", Retention: time.Hour, Lease: time.Millisecond, PoolSize: 1},
			[]string{"state.dsn", "state.schema", "state.retention", "state.lease", "state.pool_size"}},
		"public": {Config{DSN: "dbname=x", Schema: "public"}, []string{"state.schema"}},
		"long":   {Config{DSN: "dbname=x", Schema: strings.Repeat("ü", 32)}, []string{"state.schema"}},
	} {
		err := tc.cfg.Validate()
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range tc.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not name %s", name, err, w)
			}
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: the password is in %q", name, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	s := pgtest.Server(t)
	ctx := t.Context()
	_, err := Open(ctx, Config{DSN: s.DSN("nowhere")})
	if !strings.Contains(hintOf(err), `CREATE DATABASE "nowhere"`) || isTemporary(err) {
		t.Errorf("missing database: %v, hint %q", err, hintOf(err))
	}
	_, err = Open(ctx, Config{DSN: "postgres://u:sesame@127.0.0.1:1/x"})
	if !isTemporary(err) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("no server: %v", err)
	}
	pgtest.Exec(t, s.DSN("postgres"), "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() { pgtest.Exec(t, s.DSN("postgres"), "DROP DATABASE latin") })
	_, err = Open(ctx, Config{DSN: s.DSN("latin")})
	if !strings.Contains(hintOf(err), "ENCODING 'UTF8'") {
		t.Errorf("encoding: %v", err)
	}
	db := openEmpty(t, nil)
	_, err = db.Register(ctx)
	if !strings.Contains(hintOf(err), "walhook setup") {
		t.Errorf("without a schema: %v, hint %q", err, hintOf(err))
	}
	exec(t, db, "CREATE SCHEMA {schema}")
	if err := db.Check(ctx); !strings.Contains(hintOf(err), "walhook setup") {
		t.Errorf("empty schema: %v", err)
	}
}
