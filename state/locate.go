package state

import "context"

// Locate tells which database a configuration leads to, whatever names its connection string uses: the cluster's
// system identifier and the database's oid. It opens one connection and closes it.
func Locate(ctx context.Context, cfg Config) (systemID string, databaseOID uint32, err error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return "", 0, err
	}
	cfg.PoolSize = 2
	db, err := Open(ctx, cfg)
	if err != nil {
		return "", 0, err
	}
	defer db.pool.Close()
	const where = `SELECT (SELECT system_identifier::text FROM pg_catalog.pg_control_system()), oid::int8
		FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`
	var oid int64
	if err := db.pool.QueryRow(ctx, where).Scan(&systemID, &oid); err != nil {
		return "", 0, db.translate("locate", err)
	}
	return systemID, uint32(oid), nil
}
