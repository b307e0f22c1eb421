package state

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// A state of the first version, with deliveries that wait and dead letters, is brought up to date: its sizes are counted, what is in it has no number, and what comes has.
func TestUpgradeOfAStateInUse(t *testing.T) {
	db := openEmpty(t, nil)
	list, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	if err := pgx.BeginFunc(t.Context(), db.pool, func(tx pgx.Tx) error {
		for _, sql := range []string{createSchema, createMigration, list[0].sql, `INSERT INTO {schema}.migration (version, name, walhook) VALUES (1, 'state', 'old')`,
			`INSERT INTO {schema}.source (system_id, timeline, database_oid, database_name, uuid, create_date, slot, lsn, last_seq)
				VALUES ('7001', 1, 16384, 'odoo', 'u-1', '2026-01-01 10:00:00', 'walhook', '0/1000', 3)`,
			`INSERT INTO {schema}.delivery SELECT n, (now() AT TIME ZONE 'UTC')::date, 'msg_' || n, 'a', 'm/' || n, 'r', 'e', 'm', n::text, 'write', false, '0/900', 7, now(), now(), 'application/json', 'body'
				FROM generate_series(1, 3) n`,
			`INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes) SELECT endpoint, lane, seq, day, 4 FROM {schema}.delivery WHERE seq <= 2`,
			`INSERT INTO {schema}.lane (endpoint, key, due) SELECT endpoint, lane, now() FROM {schema}.queue`,
			`INSERT INTO {schema}.dead_letter SELECT seq, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, 1, 'no', '', 500, false
				FROM {schema}.delivery WHERE seq = 3`,
		} {
			if err := tx.Conn().PgConn().Exec(t.Context(), expand(sql, db.cfg.Schema)).Close(); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if u := usage(t, db, "a"); u != (Usage{Endpoint: "a", Pending: 2, PendingBytes: 8, Dead: 1, DeadBytes: 4}) {
		t.Errorf("usage: %+v", u)
	}
	consistent(t, db)
	p := register(t, db)
	lanes := claim(t, p, "a", 10, 10)
	if len(lanes) != 2 {
		t.Fatalf("claimed %s", names(lanes))
	}
	wantNumbers(t, "a:0/0", lanes[0].Deliveries...)
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f := newFeed(t, p)
	d := f.delivery("a", "m/9")
	f.enqueue(t, none, d)
	if d.Sequence != 1 || d.Epoch == 0 {
		t.Errorf("the first number is %d in epoch %d", d.Sequence, d.Epoch)
	}
	finish(t, p, 0, outcome(lanes[0].Deliveries[0], delivery.Delivered), outcome(lanes[1].Deliveries[0], delivery.Dead))
	consistent(t, db)
}
