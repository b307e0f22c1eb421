package state

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. Steps are never edited once released.
type migration struct {
	version int
	name    string
	sql     string // with placeholders
}

var migrationName = regexp.MustCompile(`^(\d{4})_(\w+)\.sql$`)

// migrations returns all steps in order.
func migrations() ([]migration, error) {
	entries, err := fs.ReadDir(migrationFiles, "migrations") // sorted by name
	if err != nil {
		return nil, fmt.Errorf("read embedded migrations: %w", err)
	}
	var list []migration
	for i, e := range entries {
		m := migrationName.FindStringSubmatch(e.Name())
		if m == nil {
			return nil, fmt.Errorf("embedded migration %q is not named like 0001_name.sql", e.Name())
		}
		version, _ := strconv.Atoi(m[1]) // four digits
		if version != i+1 {
			return nil, fmt.Errorf("embedded migration %q: the number should be %d", e.Name(), i+1)
		}
		text, err := fs.ReadFile(migrationFiles, "migrations/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("read embedded migration: %w", err)
		}
		list = append(list, migration{version, m[2], string(text)})
	}
	return list, nil
}

const createSchema = `CREATE SCHEMA {schema};
COMMENT ON SCHEMA {schema} IS 'Webhooks of walhook: position, queue and log. Removing it loses what is pending.';`

const createMigration = `CREATE TABLE {schema}.migration (
    version    integer     PRIMARY KEY CHECK (version > 0),
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    walhook    text        NOT NULL
);
COMMENT ON TABLE {schema}.migration IS 'Versions of this schema, and the walhook that made each.';`

// grants let the database's owner, and the owner of Odoo's tables, read the schema: they
// run pg_dump over the whole database, which fails on the first relation that it may not read, also on
// partitions that come later (hence the default privileges).
const grants = `DO $do$
DECLARE
    reader name;
BEGIN
    FOR reader IN
        SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
        UNION
        SELECT pg_catalog.pg_get_userbyid(relowner) FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('public.ir_model')
    LOOP
        CONTINUE WHEN reader = current_user;
        EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', {schema_text}, reader);
        EXECUTE pg_catalog.format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', {schema_text}, reader);
        EXECUTE pg_catalog.format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', {schema_text}, reader);
        EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO %I', {schema_text}, reader);
        EXECUTE pg_catalog.format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON SEQUENCES TO %I', {schema_text}, reader);
    END LOOP;
END
$do$;`

// steps returns the SQL that takes a schema from version have to the newest. have is -1 when
// there is no schema and 0 when it is there but empty.
func steps(schema, by string, have int) (sql []string, newest int, err error) {
	list, err := migrations()
	if err != nil {
		return nil, 0, err
	}
	if have < 0 {
		sql = append(sql, expand(createSchema, schema))
	}
	if have <= 0 {
		sql = append(sql, expand(createMigration, schema))
	}
	for _, m := range list {
		newest = m.version
		if m.version <= have {
			continue
		}
		sql = append(sql, expand(m.sql, schema),
			expand(fmt.Sprintf("INSERT INTO {schema}.migration (version, name, walhook) VALUES (%d, %s, %s);", m.version, literal(m.name), literal(by)), schema))
	}
	return append(sql, expand(grants, schema)), newest, nil
}

// MigrationSQL returns the SQL that makes the whole schema, as [DB.Migrate] runs it. The role that
// runs it owns the schema; it must be the role that walhook uses. It is for `setup --dry-run`.
func MigrationSQL(cfg Config) (string, error) {
	cfg = cfg.WithDefaults()
	sql, _, err := steps(cfg.Schema, cfg.Version, -1)
	if err != nil {
		return "", err
	}
	return "BEGIN;\nSET LOCAL search_path = '';\n\n" + strings.Join(sql, "\n\n") + "\n\nCOMMIT;\n", nil
}

// Migrate creates the schema or brings it up to date, grants the database's owner the right to read it, and adds
// partitions. It is idempotent and may run in several processes at once. A schema that was created
// beforehand for walhook's role (CREATE SCHEMA walhook AUTHORIZATION walhook) is used.
func (db *DB) Migrate(ctx context.Context) error {
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		pc := tx.Conn().PgConn()
		// A pg_dump or a long report may hold locks on tables that a migration alters.
		setup := fmt.Sprintf("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '10s'; SET LOCAL client_min_messages = warning; SET LOCAL enable_seqscan = on; SELECT pg_advisory_xact_lock(%d)", db.lockKey("migrate"))
		if err := pc.Exec(ctx, setup).Close(); err != nil {
			return err
		}
		have, err := db.version(ctx, tx)
		if err != nil {
			return err
		}
		sql, newest, err := steps(db.cfg.Schema, db.cfg.Version, have)
		if err != nil {
			return err
		}
		if have > newest {
			return &VersionError{Schema: db.cfg.Schema, Have: have, Want: newest}
		}
		for _, s := range sql {
			if err := pc.Exec(ctx, s).Close(); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, db.sql(addPartitions), partitionsAhead)
		return err
	})
	var version *VersionError
	if errors.As(err, &version) {
		return version
	}
	return db.translate("migrate", err)
}

// version returns the schema's version; -1 when there is no schema, 0 when there is one without our tables.
func (db *DB) version(ctx context.Context, q querier) (int, error) {
	const look = `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1),
		EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'migration')`
	var schema, table bool
	if err := q.QueryRow(ctx, look, db.cfg.Schema).Scan(&schema, &table); err != nil {
		return 0, err
	}
	switch {
	case !schema:
		return -1, nil
	case !table:
		return 0, nil
	}
	const newest = `SELECT coalesce(max(version), 0) FROM {schema}.migration`
	var v int
	err := q.QueryRow(ctx, db.sql(newest)).Scan(&v)
	return v, err
}

// querier is what version needs of a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Check returns a *[VersionError] unless the schema has the version that this program needs, and an
// *[Error] with a hint when the role may not use it.
func (db *DB) Check(ctx context.Context) error {
	list, err := migrations()
	if err != nil {
		return err
	}
	have, err := db.version(ctx, db.pool)
	if err != nil {
		return db.translate("check", err)
	}
	if want := len(list); have != want {
		return &VersionError{Schema: db.cfg.Schema, Have: max(have, 0), Want: want}
	}
	const may = `SELECT coalesce(string_agg(c.relname, ', ' ORDER BY c.relname), '')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE')`
	var foreign string
	if err := db.pool.QueryRow(ctx, may, db.cfg.Schema).Scan(&foreign); err != nil {
		return db.translate("check", err)
	}
	if foreign != "" {
		return &Error{Op: "state: check", Err: fmt.Errorf("role %q does not own these tables of schema %q: %s", db.role, db.cfg.Schema, foreign),
			hint: db.hint(&pgconn.PgError{Code: "42501"})}
	}
	return nil
}

// Drop removes the schema with all that is in it, for teardown. It reports false when there was none.
func (db *DB) Drop(ctx context.Context) (bool, error) {
	have, err := db.version(ctx, db.pool)
	if err != nil {
		return false, db.translate("drop", err)
	}
	if have < 0 {
		return false, nil
	}
	for try := 0; ; try++ {
		err = db.transact(ctx, "drop", func(t *transaction) error {
			return t.send(ctx, func(b *pgx.Batch) {
				b.Queue("SET LOCAL lock_timeout = '3s'")
				b.Queue(db.sql(`DROP SCHEMA {schema} CASCADE`))
			})
		})
		var e *Error
		if err == nil || try == 9 || !errors.As(err, &e) || !e.Temporary() {
			return err == nil, err
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(time.Second):
		}
	}
}
