package catalog

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Config says what the database does not. Its zero value is right where all modules are Odoo's own.
type Config struct {
	// Tables names the tables of models that are stored elsewhere than Odoo's rule says ("my.model" in my_model), because their class
	// sets _table. A table that is not there is passed over, see [Config.Validate] and [Config.Misplaced].
	Tables map[string]string
}

// Load is [Config.Load] with no exceptions.
func Load(ctx context.Context, conn *pgx.Conn) (*Catalog, error) { return Config{}.Load(ctx, conn) }

// Load reads the metadata of the database that conn is connected to. All of it
// comes from one read-only snapshot, so that tables and models fit each other.
// Queries are sent in two batches, so that distance to the server matters little.
//
// pg_catalog alone, which every role can read, is enough on databases that are
// not Odoo's. On Odoo's the role needs SELECT on ir_model, ir_model_fields,
// ir_model_fields_selection and ir_config_parameter, or at least on the columns
// that are read; otherwise the error is a [*PrivilegeError]. What else it may not
// read is missing from the catalog and named in Odoo.Unread: without ir_module_module there is no version.
//
// conn must be a plain (not a replication) connection outside any transaction.
func (c Config) Load(ctx context.Context, conn *pgx.Conn) (*Catalog, error) {
	cat, err := c.load(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("load catalog: %w", err)
	}
	return cat, nil
}

// begin makes operators and type names mean pg_catalog's, whatever the role's
// search_path says.
const begin = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog`

func (c Config) load(ctx context.Context, conn *pgx.Conn) (_ *Catalog, err error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return nil, err
	}
	defer func() {
		// Nothing was written: ending the transaction is all there is to do. After a
		// cancellation the connection is closed already, and err says so.
		if end := tx.Rollback(ctx); err == nil {
			err = end
		}
	}()
	tables, meta, err := loadTables(ctx, tx)
	if err != nil {
		return nil, err
	}
	o, err := loadOdoo(ctx, tx, c, tables, meta)
	if err != nil {
		return nil, err
	}
	cat := New(tables, o.models, o.odoo)
	cat.tableless = o.tableless
	return cat, nil
}

// queries is a batch of queries with, for each, the function that takes its rows.
type queries struct {
	batch pgx.Batch
	what  []string
	scan  []func(pgx.Rows) error
}

// queue adds a query. What it reads is named for errors.
func (q *queries) queue(what, sql string, scan func(pgx.Rows) error, args ...any) {
	q.batch.Queue(sql, args...)
	q.what = append(q.what, what)
	q.scan = append(q.scan, scan)
}

// run sends all queries at once and takes their rows, query by query.
func (q *queries) run(ctx context.Context, tx pgx.Tx) (err error) {
	results := tx.SendBatch(ctx, &q.batch)
	defer func() {
		if end := results.Close(); err == nil {
			err = end
		}
	}()
	for i, what := range q.what {
		if err := q.take(results, q.scan[i]); err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
	}
	return nil
}

func (q *queries) take(results pgx.BatchResults, scan func(pgx.Rows) error) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
