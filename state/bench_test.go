package state

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"walhook/delivery"
	"walhook/internal/pgserver"
	"walhook/internal/pgtest"
)

// durable opens a state on a cluster that syncs to disk, as production does.
func durable(b *testing.B) *DB {
	b.Helper()
	s := pgtest.Cluster(b, pgserver.Options{Trust: true, Settings: map[string]string{"wal_level": "logical", "max_wal_size": "4GB"}})
	db := open(b, Config{DSN: s.DSN("postgres")})
	if err := db.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := db.Bind(b.Context(), testBinding, BindOptions{Start: testStart, Created: true}); err != nil {
		b.Fatal(err)
	}
	return db
}

func batchOf(f *feed, n, records int) []*delivery.Delivery {
	batch := make([]*delivery.Delivery, n)
	body := []byte(`{"type":"sale.order.confirmed","data":"` + strings.Repeat("x", 500) + `"}`)
	for i := range batch {
		d := f.delivery("erp", fmt.Sprintf("sale.order/%d", f.next%records))
		d.Body = body
		batch[i] = d
	}
	return batch
}

// backends sums the CPU time of the cluster's sessions, in seconds, where /proc tells.
func backends(b testing.TB, db *DB) (seconds float64) {
	rows, err := db.pool.Query(b.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'walhook%'")
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var pid int
		if err := rows.Scan(&pid); err != nil {
			b.Fatal(err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		var user, system float64
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		fmt.Sscan(f[11], &user)
		fmt.Sscan(f[12], &system)
		seconds += (user + system) / 100
	}
	return seconds
}

// measure runs fn b.N times with a batch of n rows each and reports rates.
func measure(b *testing.B, db *DB, n int, fn func()) {
	before := backends(b, db)
	b.ResetTimer()
	for b.Loop() {
		fn()
	}
	rows := float64(b.N) * float64(n)
	b.ReportMetric(rows/b.Elapsed().Seconds(), "rows/s")
	b.ReportMetric((backends(b, db)-before)*1e6/rows, "pg-µs/row")
}

func BenchmarkEnqueue(b *testing.B) {
	for _, n := range []int{1, 20, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := durable(b)
			f := newFeed(b, register(b, db))
			measure(b, db, n, func() { f.enqueue(b, all, batchOf(f, n, 1<<30)...) })
		})
	}
}

// BenchmarkCycle enqueues and finishes every delivery, each lane ending with it.
func BenchmarkCycle(b *testing.B) {
	for _, n := range []int{1, 20, 1000} {
		for _, idle := range []bool{false, true} {
			if idle && n != 1000 {
				continue
			}
			b.Run(fmt.Sprintf("%d/idle_transaction=%v", n, idle), func(b *testing.B) {
				db := durable(b)
				p := register(b, db)
				f := newFeed(b, p)
				if idle {
					tx, err := db.pool.Begin(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					defer tx.Rollback(context.Background())
					if _, err := tx.Exec(b.Context(), "SET idle_in_transaction_session_timeout = 0; SELECT txid_current()"); err != nil {
						b.Fatal(err)
					}
				}
				measure(b, db, n, func() {
					batch := batchOf(f, n, 1<<30)
					f.enqueue(b, all, batch...)
					out := make([]delivery.Outcome, n)
					for i, d := range batch {
						out[i] = outcome(d, delivery.Delivered)
					}
					finish(b, p, 10, out...)
				})
			})
		}
	}
}

// BenchmarkCycleConcurrently has a reader and two finishers at work at once.
func BenchmarkCycleConcurrently(b *testing.B) {
	const n = 1000
	db := durable(b)
	p := register(b, db)
	f := newFeed(b, p)
	batches := make(chan []*delivery.Delivery, 4)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for batch := range batches {
				out := make([]delivery.Outcome, len(batch))
				for i, d := range batch {
					out[i] = outcome(d, delivery.Delivered)
				}
				if _, err := p.Finish(b.Context(), out, 10); err != nil {
					b.Error(err)
				}
			}
		})
	}
	measure(b, db, n, func() {
		batch := batchOf(f, n, 1<<30)
		f.enqueue(b, all, batch...)
		batches <- batch
	})
	close(batches)
	wg.Wait()
}

// BenchmarkClaim claims 100 lanes of ten, with 1,000 and with 200,000 deliveries waiting.
func BenchmarkClaim(b *testing.B) {
	for _, pending := range []int{1000, 200_000} {
		b.Run(fmt.Sprint(pending), func(b *testing.B) {
			db := durable(b)
			p := register(b, db)
			fill(b, db, p, pending)
			var keys []string
			for b.Loop() {
				lanes := claim(b, p, "erp", 100, 10)
				if len(lanes) != 100 {
					b.Fatalf("claimed %d lanes", len(lanes))
				}
				b.StopTimer()
				keys = keys[:0]
				for _, l := range lanes {
					keys = append(keys, l.Key)
				}
				if _, err := db.pool.Exec(b.Context(), db.sql("UPDATE {schema}.lane SET owner = NULL, due = now() WHERE endpoint = 'erp' AND key = ANY($1)"), keys); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// fill makes a backlog.
func fill(t testing.TB, db *DB, p *Process, pending int) {
	f := newFeed(t, p)
	for f.next < pending {
		f.enqueue(t, none, batchOf(f, min(5000, pending-f.next), pending/10)...)
	}
}

// Claiming costs the same whatever waits: the median with 30,000 deliveries stays near that with 1,000.
func TestClaimIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table")
	}
	median := func(pending int) time.Duration {
		db := openState(t, nil)
		p := register(t, db)
		fill(t, db, p, pending)
		var took []time.Duration
		for range 9 {
			start := time.Now()
			if lanes := claim(t, p, "erp", 10, 10); len(lanes) != 10 {
				t.Fatalf("claimed %d lanes", len(lanes))
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	small, large := median(1000), median(30_000)
	t.Logf("1,000 pending: %s; 30,000 pending: %s", small, large)
	if large > 5*small+10*time.Millisecond {
		t.Errorf("claiming takes %s with 1,000 pending and %s with 30,000", small, large)
	}
}
