package catalog

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Logins reads the logins of Odoo's users by their ids, to show people who wrote something: the first [nearUsers] of them. It is nil where the role
// may not read them.
func (c *Catalog) Logins(ctx context.Context, conn *pgx.Conn) (map[int64]string, error) {
	if c.Odoo == nil {
		return nil, nil
	}
	logins := map[int64]string{}
	rows, err := conn.Query(ctx, "SELECT id, login FROM "+pgx.Identifier{c.Odoo.Schema, "res_users"}.Sanitize()+" ORDER BY id LIMIT $1", nearUsers)
	if err == nil {
		var id int64
		var login string
		_, err = pgx.ForEachRow(rows, []any{&id, &login}, func() error {
			logins[id] = login
			return nil
		})
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return nil, nil
	}
	return logins, err
}
