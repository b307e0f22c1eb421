package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ddlFaults change the schema under the stream, and tidy up. Nothing is lost by any of them.
var ddlFaults = []Fault{
	ddl{"column added and dropped", (*revision).column}, ddl{"column renamed", (*revision).rename}, ddl{"type of a column changed", (*revision).retype},
	ddl{"index made and dropped", (*revision).index}, ddl{"table made, written and dropped", (*revision).newTable}, ddl{"table renamed and back", (*revision).renameTable},
	ddl{"table renamed and back in one transaction", (*revision).renameAtOnce}, ddl{"replica identity changed and back", (*revision).identity},
	ddl{"table taken from the publication and put back", (*revision).publication}, ddl{"publication made anew", (*revision).remake},
	ddl{"DDL rolled back", (*revision).rollback}, ddl{"VACUUM FULL", (*revision).vacuumFull}, ddl{"CLUSTER", (*revision).cluster}, ddl{"REINDEX", (*revision).reindex}, ddl{"ANALYZE", (*revision).analyze},
	ddl{"module upgrade", (*revision).upgrade},
}

// leavesImages are those after which what a row was before is not known to images until they are filled again: rows have other columns, or the table was not
// there when somebody looked for it, as a process does that begins just then.
var leavesImages = map[string]bool{"column added and dropped": true, "column renamed": true, "type of a column changed": true, "module upgrade": true, "table renamed and back": true}

// ddl is one kind of change.
type ddl struct {
	name string
	do   func(*revision) error
}

func (d ddl) Name() string { return "DDL: " + d.name }

func (ddl) Weight() int { return 4 }

// Inject does it to some tables, one after the other.
func (d ddl) Inject(ctx context.Context, w *World, rnd *rand.Rand) (count int, err error) {
	some := slices.Clone(tables)
	if w.Images && leavesImages[d.name] {
		some = slices.DeleteFunc(some, func(t *table) bool { return t == documents })
	}
	for _, i := range rnd.Perm(len(some))[:2+rnd.IntN(4)] {
		c := &revision{ctx: ctx, w: w, rnd: rnd, table: some[i].name}
		if err := d.do(c); err != nil {
			return count, err
		}
		if c.proof != "" {
			var holds bool
			if err := w.Source.Query(ctx, &holds, "SELECT "+c.proof); err != nil {
				return count, err
			} else if !holds {
				return count, fmt.Errorf("%s had no effect: %s", d.name, c.proof)
			}
		}
		count++
	}
	return count, nil
}

// revision is a table that is changed.
type revision struct {
	ctx   context.Context
	w     *World
	rnd   *rand.Rand
	table string
	proof string // what must hold in the end
}

// exec runs statements one by one, each in a transaction of its own, with a short patience for locks: what waits for a lock
// keeps others from getting it. It tries again until it gets them.
func (c *revision) exec(statements ...string) error {
	conn, err := c.w.Source.Connect(c.ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(c.ctx))
	if _, err := conn.Exec(c.ctx, "SET lock_timeout = '300ms'"); err != nil {
		return err
	}
	for _, sql := range statements {
		for end := time.Now().Add(patience); ; {
			_, err := conn.PgConn().Exec(c.ctx, sql).ReadAll()
			var pg *pgconn.PgError
			if errors.As(err, &pg) && (pg.Code == "55P03" || pg.Code == "40P01") && time.Now().Before(end) {
				if _, err := conn.Exec(c.ctx, "ROLLBACK"); err != nil { // of what began with BEGIN
					return err
				}
				if err := moment(c.ctx, c.rnd, 10*time.Millisecond, 200*time.Millisecond); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
			break
		}
	}
	return nil
}

func (c *revision) alter(format string, args ...any) string {
	return fmt.Sprintf("ALTER TABLE %s "+format, append([]any{c.table}, args...)...)
}

// quietly does something while nobody writes: what would be written meanwhile is not defined.
func (c *revision) quietly(statements ...string) error {
	c.w.Work.Pause()
	defer c.w.Work.Resume()
	return c.exec(statements...)
}

// name is a new one.
func (c *revision) name() string { return fmt.Sprintf("x_%d", c.rnd.Uint32()) }

func (c *revision) wait() error {
	return moment(c.ctx, c.rnd, 50*time.Millisecond, 700*time.Millisecond)
}

func (c *revision) column() error {
	x := c.name()
	if err := c.exec(c.alter("ADD COLUMN %s %s", x, oneOf(c.rnd, "int", "text DEFAULT 'x'", "numeric(8, 2)", "timestamptz DEFAULT now()", "jsonb", "int[] DEFAULT '{1,NULL}'", "uuid DEFAULT gen_random_uuid()", "bytea"))); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	return c.exec(c.alter("DROP COLUMN %s", x))
}

func (c *revision) rename() error {
	x := c.name()
	if err := c.exec(c.alter("ADD COLUMN %s int DEFAULT 7", x), c.alter("RENAME COLUMN %s TO %s_b", x, x)); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	return c.exec(c.alter("RENAME COLUMN %s_b TO %s", x, x), c.alter("DROP COLUMN %s", x))
}

func (c *revision) retype() error {
	x := c.name()
	if err := c.exec(c.alter("ADD COLUMN %s int DEFAULT 7", x)); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	return c.exec(c.alter("ALTER COLUMN %s TYPE %s", x, oneOf(c.rnd, "bigint", "numeric", "text", "float8")), c.alter("DROP COLUMN %s", x)) // rewrites the table
}

func (c *revision) index() error {
	x := c.name()
	return c.exec(fmt.Sprintf("CREATE INDEX %s ON %s (stamp)", x, c.table), "DROP INDEX "+x)
}

func (c *revision) newTable() error {
	x := c.name()
	return c.exec(fmt.Sprintf("CREATE TABLE %s (id serial PRIMARY KEY, t text)", x), fmt.Sprintf("INSERT INTO %s (t) SELECT repeat('x', 3000) FROM generate_series(1, 20)", x),
		fmt.Sprintf("UPDATE %s SET t = 'y'", x), "DROP TABLE "+x)
}

func (c *revision) renameTable() error {
	c.w.Work.Pause()
	defer c.w.Work.Resume()
	if err := c.exec(c.alter("RENAME TO %s_away", c.table)); err != nil {
		return err
	}
	if err := c.wait(); err != nil {
		return err
	}
	return c.exec(fmt.Sprintf("ALTER TABLE %s_away RENAME TO %s", c.table, c.table))
}

func (c *revision) renameAtOnce() error {
	return c.exec(fmt.Sprintf("BEGIN; ALTER TABLE %[1]s RENAME TO %[1]s_away; ALTER TABLE %[1]s_away RENAME TO %[1]s; COMMIT", c.table))
}

// identity takes the old rows out of WAL for a moment in which nobody writes.
func (c *revision) identity() error {
	var was string
	if err := c.w.Source.Query(c.ctx, &was, "SELECT relreplident::text FROM pg_class WHERE oid = $1::regclass", c.table); err != nil {
		return err
	}
	c.proof = fmt.Sprintf("relreplident = '%s' FROM pg_class WHERE oid = '%s'::regclass", was, c.table)
	full := map[string]string{"f": "FULL", "d": "DEFAULT"}
	return c.quietly(c.alter("REPLICA IDENTITY %s", map[string]string{"f": "DEFAULT", "d": "FULL"}[was]), c.alter("REPLICA IDENTITY %s", full[was]))
}

func (c *revision) publication() error {
	published := fmt.Sprintf("EXISTS (SELECT FROM pg_publication_tables WHERE pubname = '%s' AND tablename = '%s')", c.w.Publication, c.table)
	var is bool
	if err := c.w.Source.Query(c.ctx, &is, "SELECT "+published); err != nil || !is {
		return err
	}
	c.proof = published
	return c.quietly(fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE %s", c.w.Publication, c.table), fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s", c.w.Publication, c.table))
}

// remake drops the publication and makes it again in one transaction, while nobody writes: pgoutput compares what it knows of publications now with what a
// transaction that was open meanwhile saw of them, and leaves out changes of that transaction (12 to 18; the server tells nobody).
func (c *revision) remake() error {
	const list = `SELECT string_agg(quote_ident(schemaname) || '.' || quote_ident(tablename), ', ') FROM pg_publication_tables WHERE pubname = $1`
	const with = `SELECT 'publish = ''' || concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END, CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END) || '''' FROM pg_publication WHERE pubname = $1`
	const noted = `SELECT coalesce(quote_literal(obj_description(oid, 'pg_publication')), 'NULL') FROM pg_publication WHERE pubname = $1`
	const owned = `SELECT pg_get_userbyid(pubowner) FROM pg_publication WHERE pubname = $1`
	texts := make([]string, 4)
	for i, sql := range []string{list, with, noted, owned} {
		if err := c.w.Source.Query(c.ctx, &texts[i], sql, c.w.Publication); err != nil {
			return err
		}
	}
	p := c.w.Publication
	c.proof = fmt.Sprintf("(SELECT count(*) FROM pg_publication_tables WHERE pubname = '%s') = %d", p, strings.Count(texts[0], ",")+1)
	return c.quietly(fmt.Sprintf("BEGIN; DROP PUBLICATION %[1]s; CREATE PUBLICATION %[1]s FOR TABLE %[2]s WITH (%[3]s); COMMENT ON PUBLICATION %[1]s IS %[4]s; ALTER PUBLICATION %[1]s OWNER TO %[5]s; COMMIT",
		p, texts[0], texts[1], texts[2], texts[3]))
}

func (c *revision) rollback() error {
	return c.exec(fmt.Sprintf("BEGIN; ALTER TABLE %[1]s ADD COLUMN %[2]s int DEFAULT 3; CREATE TABLE %[2]s_t (id int PRIMARY KEY); INSERT INTO %[2]s_t VALUES (1); ROLLBACK", c.table, c.name()))
}

// filenode changes when a table is written anew.
func (c *revision) filenode() (n int64, err error) {
	err = c.w.Source.Query(c.ctx, &n, "SELECT pg_relation_filenode($1::regclass)::bigint", c.table)
	return n, err
}

func (c *revision) rewritten(sql string) error {
	before, err := c.filenode()
	if err != nil {
		return err
	}
	if err := c.exec(sql); err != nil {
		return err
	}
	c.proof = fmt.Sprintf("pg_relation_filenode('%s'::regclass) <> %d", c.table, before)
	return nil
}

func (c *revision) vacuumFull() error { return c.rewritten("VACUUM FULL " + c.table) }

func (c *revision) cluster() error {
	return c.rewritten("CLUSTER " + c.table + " USING " + c.table + "_pkey")
}

func (c *revision) reindex() error { return c.exec("REINDEX TABLE " + c.table) }

func (c *revision) analyze() error { return c.exec("ANALYZE " + c.table) }

// upgrade does what -u does: modules are marked, the registry is written in masses, columns come and go, rows are
// written without being changed, all in several transactions; then the modules are marked as installed.
func (c *revision) upgrade() error {
	x := c.name()
	return c.exec(
		"UPDATE ir_module_module SET state = 'to upgrade'",
		"UPDATE ir_model SET name = name; UPDATE ir_model_fields SET field_description = field_description; UPDATE ir_model_fields_selection SET name = name",
		c.alter("ADD COLUMN %s int", x),
		fmt.Sprintf("INSERT INTO ir_model_fields (model_id, model, name, ttype, field_description) SELECT id, model, '%s', 'integer', '{}' FROM ir_model WHERE model = 'sale.order'", x),
		"UPDATE res_users SET active = active",
		fmt.Sprintf("DELETE FROM ir_model_fields WHERE name = '%s'", x),
		c.alter("DROP COLUMN %s", x),
		"UPDATE ir_module_module SET state = 'installed', latest_version = latest_version",
	)
}
