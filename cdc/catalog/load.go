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
// Queries are sent together, in two or three messages, so that distance to the server matters little.
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
// search_path says, and numbers keep all their digits.
var begin = []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL search_path = pg_catalog", "SET LOCAL extra_float_digits = 1"}

func (c Config) load(ctx context.Context, conn *pgx.Conn) (_ *Catalog, err error) {
	pg := conn.PgConn()
	defer func() {
		if pg.TxStatus() == 'I' || pg.IsClosed() { // it closes with a cancellation, of which err tells
			return
		}
		// Nothing was written: ending the transaction is all there is to do.
		if end := pg.Exec(ctx, "ROLLBACK").Close(); err == nil {
			err = end
		}
	}()
	// What the role may read decides what can be asked for: an error would end the transaction.
	meta := newMetadata()
	ask := queries{}
	for _, sql := range begin {
		ask.queue("nothing", sql, nil)
	}
	meta.queue(&ask)
	if err := ask.run(ctx, pg); err != nil {
		return nil, err
	}
	names := make(map[string]string, 8192)
	tables := tablesReader{byOID: map[uint32]*Table{}}
	odoo, err := newOdooReader(c, meta)
	if err != nil {
		return nil, err
	}
	all := queries{names: names}
	if odoo != nil {
		odoo.queue(&all) // first: these are the most rows to take, and the server goes on meanwhile
	}
	tables.queue(&all)
	if err := all.run(ctx, pg); err != nil {
		return nil, err
	}
	types := typeRows{}
	more := queries{}
	types.queue(&more, tables.unknownTypes())
	if err := more.run(ctx, pg); err != nil {
		return nil, err
	}
	list, err := tables.assemble(types)
	if err != nil {
		return nil, err
	}
	found := loaded{}
	if odoo != nil {
		found = odoo.assemble(list)
	}
	cat := New(list, found.models, found.odoo)
	cat.tableless = found.tableless
	return cat, nil
}
