package state

import (
	"testing"

	"walhook/delivery"
)

// Somebody's publication FOR ALL TABLES, as other tools make them, also holds the tables of a state in that database. PostgreSQL then refuses
// updates and deletes of tables without a key: there may be none but the log, which is only written and dropped.
func TestUnderAPublicationOfAllTables(t *testing.T) {
	db := openState(t, nil)
	exec(t, db, "CREATE PUBLICATION everything FOR ALL TABLES")
	p := register(t, db)
	f := newFeed(t, p)
	ds := f.many("a", 4)
	f.enqueue(t, all, ds...)
	finish(t, p, 1, outcome(ds[0], delivery.Delivered), outcome(ds[1], delivery.Dead), outcome(ds[2], delivery.Dead), outcome(ds[3], delivery.Retry))
	if err := db.fold(t.Context()); err != nil {
		t.Errorf("fold: %v", err)
	}
	if _, err := db.DiscardDead(t.Context(), Filter{IDs: []string{ds[1].ID}}); err != nil {
		t.Errorf("discard: %v", err)
	}
	if _, err := db.RetryDead(t.Context(), Filter{}); err != nil {
		t.Errorf("retry: %v", err)
	}
	exactSizes(t, db)

	const keyless = `SELECT coalesce(string_agg(c.relname, ', '), '') FROM pg_catalog.pg_class c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r'
		AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
		AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)`
	var names string
	if err := db.pool.QueryRow(t.Context(), keyless, db.cfg.Schema).Scan(&names); err != nil {
		t.Fatal(err)
	}
	if names != "" {
		t.Errorf("tables that cannot be updated then: %s", names)
	}
}
