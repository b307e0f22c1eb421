package state

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// envBloat makes the test of bloat a long one: how long each of its phases lasts, as "2m".
const envBloat = "WALHOOK_BLOAT"

// hotTables are those whose rows come and go, or are rewritten, all the time.
var hotTables = []string{"queue", "lane", "tally", "source", "queue_size", "endpoint", "process"}

// cycle enqueues and finishes deliveries for a while, as a busy process does, and returns how many a second. Of every twentieth the first
// attempt fails.
func cycle(t *testing.T, f *feed, records int, for_ time.Duration) float64 {
	t.Helper()
	const batch = 200
	began, n := time.Now(), 0
	for time.Since(began) < for_ {
		list := make([]*delivery.Delivery, batch)
		for i := range list {
			list[i] = f.delivery("a", fmt.Sprintf("sale.order/%d", (f.next*7919)%records))
		}
		lanes := f.enqueue(t, all, list...)
		for len(lanes) > 0 {
			var done, again []delivery.Outcome
			for _, l := range lanes {
				for i, d := range l.Deliveries {
					o := outcome(d, delivery.Delivered)
					if o.LaneDone = i == len(l.Deliveries)-1; d.Seq%20 == 0 && d.Attempts == 0 && o.LaneDone {
						o.Result = delivery.Retry
						again = append(again, o)
						continue
					}
					done = append(done, o)
				}
			}
			lanes = finish(t, f.p, 50, append(done, again...)...)
			if len(again) > 0 {
				lanes = append(lanes, claim(t, f.p, "a", 100, 50)...)
			}
			n += len(done)
		}
		if err := f.p.db.FlushStatistics(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := f.p.db.fold(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return float64(n) / time.Since(began).Seconds()
}

// footprint returns the size of the hot tables with their indexes, together and apart.
func footprint(t *testing.T, db *DB) (total int64, text string) {
	t.Helper()
	var parts []string
	for _, name := range hotTables {
		var heap, all int64
		if err := db.pool.QueryRow(t.Context(), `SELECT pg_relation_size(($1 || '.' || $2)::regclass), pg_total_relation_size(($1 || '.' || $2)::regclass)`, db.cfg.Schema, name).Scan(&heap, &all); err != nil {
			t.Fatal(err)
		}
		total += all
		parts = append(parts, fmt.Sprintf("%s %d+%d", name, heap>>10, (all-heap)>>10))
	}
	return total, strings.Join(parts, ", ") + " KiB"
}

// The hot tables do not grow with what passes through them: autovacuum keeps them as they are. Somebody's transaction that is left open makes them grow, as nothing
// can be cleaned up meanwhile, and they are used again once it has ended.
func TestBloat(t *testing.T) {
	t.Parallel()
	phase, records := time.Second, 300
	if text := os.Getenv(envBloat); text != "" {
		long, err := time.ParseDuration(text)
		if err != nil {
			t.Fatalf("%s: %v", envBloat, err)
		}
		phase, records = long, 5000
	}
	long := os.Getenv(envBloat) != ""
	s := pgtest.Cluster(t, pgserver.Options{Trust: true, Settings: map[string]string{
		"fsync": "off", "autovacuum_naptime": "1s", "shared_buffers": "128MB", "max_wal_size": "2GB", "autovacuum_max_workers": "3",
	}})
	db := open(t, Config{DSN: s.DSN("postgres")})
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Bind(t.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		t.Fatal(err)
	}
	p := register(t, db)
	f := newFeed(t, p)
	run := func(name string, for_ time.Duration) (cpu float64, size int64) {
		t.Helper()
		cpu, first := backends(t, db), f.next
		rate := cycle(t, f, records, for_)
		cpu = 1e6 * (backends(t, db) - cpu) / float64(f.next-first)
		size, text := footprint(t, db)
		began := time.Now()
		if _, err := db.Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-22s %6.0f a second at %.0f us CPU of the server each; position read in %s; %s", name, rate, cpu, time.Since(began).Round(100*time.Microsecond), text)
		return cpu, size
	}
	// What one second leaves behind may always be there, and the log of pages that autovacuum has not seen yet; more than a few seconds' worth is growth.
	run("warm", phase/2)
	base, warm := run("autovacuum", phase)
	_, steady := run("autovacuum, later", phase)
	if limit := max(2*warm, 32<<20); steady > limit {
		t.Errorf("the hot tables have grown from %d to %d KiB", warm>>10, steady>>10)
	}
	idle := pgtest.Connect(t, s.DSN("postgres"))
	if _, err := idle.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current()"); err != nil {
		t.Fatal(err)
	}
	held, grown := run("an idle transaction", phase)
	if long {
		run("idle for longer", phase)
		held, grown = run("idle for longer still", phase)
	}
	t.Logf("beside an idle transaction the server needs %.2f times the CPU at last", held/base)
	if _, err := idle.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	waitVacuum(t, db, long)
	_, after := run("ended", phase)
	waitVacuum(t, db, long)
	again, reused := run("ended, later", phase)
	if limit := max(grown, steady) + grown/4 + 8<<20; after > limit || reused > limit {
		t.Errorf("the hot tables go on growing: %d KiB when the transaction ended, then %d and %d", grown>>10, after>>10, reused>>10)
	}
	t.Logf("afterwards %.2f times", again/base)
	exactSizes(t, db)
	if v := wantIntact(t, db); v.Queue != 0 {
		t.Errorf("%d are left over", v.Queue)
	}
}

// waitVacuum waits until autovacuum has passed over queue and lane once more. In a short time too little has gone for it to come; then its work is done here.
func waitVacuum(t *testing.T, db *DB, comes bool) {
	t.Helper()
	if !comes {
		for _, name := range hotTables {
			exec(t, db, "VACUUM {schema}."+name)
		}
		return
	}
	const look = `SELECT coalesce(min(autovacuum_count), 0) FROM pg_stat_user_tables WHERE schemaname = $1 AND relname IN ('queue', 'lane')`
	count := func() (n int64) {
		t.Helper()
		if err := db.pool.QueryRow(t.Context(), look, db.cfg.Schema).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	for end := time.Now().Add(30 * time.Second); count() == before; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			rows, err := db.pool.Query(t.Context(), `SELECT relname || ': ' || n_dead_tup || ' dead' FROM pg_stat_user_tables WHERE schemaname = $1 AND relname IN ('queue', 'lane')`, db.cfg.Schema)
			if err != nil {
				t.Fatal(err)
			}
			list, err := pgx.CollectRows(rows, pgx.RowTo[string])
			t.Fatal("autovacuum does not come: ", list, err)
		}
	}
}
