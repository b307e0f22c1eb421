package state

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

// addDay makes partitions for a day before the one that counts as today, as if walhook had run then.
func addDay(t *testing.T, db *DB, ago int) (day time.Time, name string) {
	t.Helper()
	day = writtenTo(time.Now()).AddDate(0, 0, -ago)
	name = day.Format("20060102")
	for _, parent := range []string{"delivery", "attempt"} {
		exec(t, db, "CREATE TABLE {schema}."+parent+"_"+name+" PARTITION OF {schema}."+parent+" FOR VALUES FROM ('"+day.Format(time.DateOnly)+"') TO ('"+day.AddDate(0, 0, 1).Format(time.DateOnly)+"')")
	}
	return day, name
}

func TestRetentionDropsWholeDays(t *testing.T) {
	db := openState(t, func(c *Config) { c.Retention = 7 * 24 * time.Hour })
	_, d10 := addDay(t, db, 10)
	_, d9 := addDay(t, db, 9)
	_, d8 := addDay(t, db, 8)
	addDay(t, db, 7)
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	// The delivery of nine days ago still waits: its day stays, and no other.
	exec(t, db, "UPDATE {schema}.delivery SET day = $1::text::date", writtenTo(time.Now()).AddDate(0, 0, -9).Format(time.DateOnly))
	exec(t, db, "UPDATE {schema}.queue SET day = $1::text::date", writtenTo(time.Now()).AddDate(0, 0, -9).Format(time.DateOnly))
	wantDropped(t, db, "attempt_"+d10+" age", "delivery_"+d10+" age", "attempt_"+d9+" age", "attempt_"+d8+" age", "delivery_"+d8+" age")
	lanes := claim(t, p, "a", 1, 1)
	wantLanes(t, lanes, "a:m/1=1")
	finish(t, p, 1, outcome(lanes[0].Deliveries[0], delivery.Dead))
	wantDropped(t, db, "delivery_"+d9+" age")
	// The dead letter has all that is needed.
	if n, err := db.RetryDead(t.Context(), Filter{}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantLanes(t, claim(t, p, "a", 1, 1), "a:m/1=2")
}

// A day without partitions (nobody looked after them) is mended on the way.
func TestEnqueueAndFinishAddPartitions(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	today := time.Now().UTC().Format("20060102")
	exec(t, db, "DROP TABLE {schema}.delivery_"+today+", {schema}.attempt_"+today)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	exec(t, db, "DROP TABLE {schema}.attempt_"+today)
	finish(t, p, 1, outcome(d, delivery.Delivered))
	if rows(t, db, "delivery")+rows(t, db, "attempt") != 2 || rows(t, db, "queue") != 0 {
		t.Error("rows are missing")
	}
}

// Several who find a day without partitions at once all go on.
func TestAddPartitionsAtOnce(t *testing.T) {
	db := openState(t, func(c *Config) { c.Record = Record{Keep: 24 * time.Hour, MaxBytes: 1 << 30} })
	for range 20 {
		var made atomic.Int64
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				n, err := db.AddPartitions(t.Context())
				if err != nil {
					t.Error(err)
				}
				made.Add(int64(n))
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		for ahead := range partitionsAhead + 1 {
			exec(t, db, "DROP TABLE {schema}.recorded_"+time.Now().UTC().AddDate(0, 0, ahead).Format("20060102"))
		}
		if n := made.Load(); n != partitionsAhead+1 {
			t.Fatalf("%d were made", n)
		}
	}
}

// A dump or report that reads the log delays neither new partitions nor, for long, the writers when old ones are due.
func TestPartitionsBesideALongReader(t *testing.T) {
	db := openState(t, func(c *Config) { c.Retention = 24 * time.Hour })
	addDay(t, db, 5)
	p := register(t, db)
	f := newFeed(t, p)
	dump := pgtest.Connect(t, db.cfg.DSN)
	if _, err := dump.Exec(t.Context(), db.sql("BEGIN; LOCK TABLE {schema}.delivery IN ACCESS SHARE MODE; LOCK TABLE {schema}.attempt IN ACCESS SHARE MODE")); err != nil {
		t.Fatal(err)
	}
	exec(t, db, "INSERT INTO {schema}.rule (name) VALUES ('x')")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var made int
	if err := db.pool.QueryRow(ctx, db.sql(addPartitions), partitionsAhead+2).Scan(&made); err != nil || made != 4 {
		t.Fatalf("added %d: %v", made, err)
	}
	start := time.Now()
	dropped, _, err := db.DropPartitions(ctx)
	if len(dropped) != 0 || !isTemporary(err) || time.Since(start) > 3*time.Second {
		t.Errorf("dropped %v in %s: %v", dropped, time.Since(start), err)
	}
	f.enqueue(t, none, f.delivery("a", "m/1"))
	if _, err := dump.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if dropped, _, err := db.DropPartitions(ctx); len(dropped) != 2 || err != nil {
		t.Errorf("dropped %v: %v", dropped, err)
	}
}

// New partitions have the parents' indexes and no others.
func TestPartitionIndexes(t *testing.T) {
	db := openState(t, nil)
	const odd = `SELECT coalesce(string_agg(c.relname, ', '), '') FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class r ON r.oid = i.indrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE nspname = 'walhook' AND r.relispartition AND NOT EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid)`
	var names string
	if err := db.pool.QueryRow(t.Context(), odd).Scan(&names); err != nil || names != "" {
		t.Errorf("indexes without a parent: %s %v", names, err)
	}
	const invalid = `SELECT coalesce(string_agg(c.relname, ', '), '') FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT indisvalid`
	if err := db.pool.QueryRow(t.Context(), invalid).Scan(&names); err != nil || names != "" {
		t.Errorf("invalid indexes: %s %v", names, err)
	}
}
