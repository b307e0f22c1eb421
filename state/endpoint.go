package state

import (
	"context"

	"github.com/jackc/pgx/v5"
)

const disableEndpoint = `INSERT INTO {schema}.endpoint AS e (name, disabled_at, disabled_reason) VALUES ($1, now(), $2)
	ON CONFLICT (name) DO UPDATE SET disabled_at = now(), disabled_reason = excluded.disabled_reason WHERE e.disabled_at IS NULL`

// DisableEndpoint keeps deliveries of an endpoint waiting, for a reason that people read. An endpoint that is disabled already keeps its first
// reason. What is in flight, or in the memory of a process, may still be sent.
func (db *DB) DisableEndpoint(ctx context.Context, name, reason string) error {
	if reason == "" {
		reason = "disabled"
	}
	_, err := db.pool.Exec(ctx, db.sql(disableEndpoint), name, clean(reason))
	return db.translate("disable endpoint", err)
}

// EnableEndpoint lets deliveries of an endpoint go again and reports whether it was disabled.
func (db *DB) EnableEndpoint(ctx context.Context, name string) (bool, error) {
	const enable = `UPDATE {schema}.endpoint SET disabled_at = NULL, disabled_reason = NULL WHERE name = $1 AND disabled_at IS NOT NULL`
	tag, err := db.pool.Exec(ctx, db.sql(enable), name)
	return tag.RowsAffected() > 0, db.translate("enable endpoint", err)
}

// DisabledEndpoints returns the disabled endpoints and why each is.
func (db *DB) DisabledEndpoints(ctx context.Context) (map[string]string, error) {
	const read = `SELECT name, disabled_reason FROM {schema}.endpoint WHERE disabled_at IS NOT NULL`
	disabled := map[string]string{}
	rows, err := db.pool.Query(ctx, db.sql(read))
	if err != nil {
		return nil, db.translate("read disabled endpoints", err)
	}
	var name, reason string
	_, err = pgx.ForEachRow(rows, []any{&name, &reason}, func() error {
		disabled[name] = reason
		return nil
	})
	return disabled, db.translate("read disabled endpoints", err)
}
