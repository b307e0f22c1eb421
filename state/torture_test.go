package state

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"walhook/delivery"
	"walhook/internal/pgtest"
)

// ledger watches what torture hands out, and when.
type ledger struct {
	t  *testing.T
	mu sync.Mutex
	// by lane: who sends from it at this moment, the last seq that ended, what was delivered
	sending map[laneKey]int64
	ended   map[laneKey]int64
	sent    map[string]int // by id, ended deliveries
	count   int
}

// begin is a request that starts. Its lane must be nobody else's, its order kept.
func (l *ledger) begin(process int64, d *delivery.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := laneOf(d)
	if other, busy := l.sending[k]; busy {
		l.t.Errorf("lane %v is sent by processes %d and %d at once", k, other, process)
	}
	if d.Seq <= l.ended[k] {
		l.t.Errorf("lane %v: seq %d is sent after %d ended", k, d.Seq, l.ended[k])
	}
	l.sending[k] = process
}

func (l *ledger) end(d *delivery.Delivery, final bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := laneOf(d)
	delete(l.sending, k)
	if final {
		l.ended[k] = d.Seq
		l.sent[d.ID]++
		l.count++
		if l.sent[d.ID] > 1 {
			l.t.Errorf("%s ended %d times", d.ID, l.sent[d.ID])
		}
	}
}

// worker is a small engine: it sends what it gets, one delivery per lane at a time, and finishes outcomes in batches.
type worker struct {
	p    *Process
	l    *ledger
	room atomic.Int64
	in   chan delivery.Lane
	rnd  *rand.Rand
}

func (w *worker) take(_ string, n int) bool {
	if w.room.Add(-int64(n)) < 0 {
		w.room.Add(int64(n))
		return false
	}
	return true
}

func (w *worker) run(ctx context.Context, endpoints []string) error {
	for ctx.Err() == nil {
		var lanes []delivery.Lane
		select {
		case l := <-w.in:
			lanes = append(lanes, l)
		default:
			got, err := w.p.Claim(ctx, endpoints[w.rnd.IntN(len(endpoints))], 1+w.rnd.IntN(20), 1+w.rnd.IntN(4))
			if err != nil && !isTemporary(err) {
				return err
			}
			lanes = got
		}
		for len(lanes) > 0 && ctx.Err() == nil {
			next, err := w.send(ctx, lanes)
			if err != nil {
				return err
			}
			lanes = next
		}
	}
	return nil
}

// send attempts the lanes' deliveries and returns what Finish hands back.
func (w *worker) send(ctx context.Context, lanes []delivery.Lane) ([]delivery.Lane, error) {
	var outcomes []delivery.Outcome
	var held []*delivery.Delivery // ended for the ledger once committed
	for _, l := range lanes {
		for i, d := range l.Deliveries {
			if i == 0 {
				w.l.begin(w.p.id, d)
			}
			o := outcome(d, delivery.Delivered)
			switch n := w.rnd.IntN(20); {
			case n == 0:
				o = outcome(d, delivery.Retry)
				o.Next = time.Now().Add(time.Duration(w.rnd.IntN(20)) * time.Millisecond)
			case n == 1:
				o = outcome(d, delivery.Released)
			case n == 2:
				o = outcome(d, delivery.Dead)
			}
			o.LaneDone = i == len(l.Deliveries)-1 || o.Result == delivery.Retry || o.Result == delivery.Released
			outcomes = append(outcomes, o)
			held = append(held, d)
			if o.LaneDone {
				break
			}
		}
	}
	if w.rnd.IntN(4) == 0 {
		time.Sleep(time.Duration(w.rnd.IntN(3)) * time.Millisecond)
	}
	// The request is over before its outcome is written: from the commit on, others may send the lane.
	for i, d := range held {
		r := outcomes[i].Result
		w.l.end(d, r == delivery.Delivered || r == delivery.Dead)
		if !outcomes[i].LaneDone {
			w.l.begin(w.p.id, held[i+1])
		}
	}
	for {
		next, err := w.p.Finish(ctx, outcomes, w.rnd.IntN(4))
		if err == nil || !isTemporary(err) || ctx.Err() != nil {
			return next, err
		}
	}
}

// torture lets processes enqueue, claim and finish at once until everything has ended.
func torture(t *testing.T, total int, disturb func(context.Context, *DB)) {
	db := openState(t, func(c *Config) { c.PoolSize = 20; c.Lease = 20 * time.Second })
	look := open(t, Config{DSN: db.cfg.DSN}) // before sessions are ended
	l := &ledger{t: t, sending: map[laneKey]int64{}, ended: map[laneKey]int64{}, sent: map[string]int{}}
	endpoints := []string{"a", "b", "one"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var workers []*worker
	for i := range 4 {
		w := &worker{p: register(t, db), l: l, in: make(chan delivery.Lane, 10000), rnd: rand.New(rand.NewPCG(uint64(i), 7))}
		w.room.Store(500)
		workers = append(workers, w)
		wg.Go(func() {
			if err := w.run(ctx, endpoints); err != nil && ctx.Err() == nil {
				t.Error(err)
				cancel()
			}
		})
		wg.Go(func() { _ = w.p.keepLease(ctx) })
	}
	if disturb != nil {
		wg.Go(func() { disturb(ctx, db) })
	}
	reader := workers[0]
	f := newFeed(t, reader.p)
	rnd := rand.New(rand.NewPCG(1, 2))
	for made := 0; made < total && ctx.Err() == nil; {
		var batch []*delivery.Delivery
		for range 1 + rnd.IntN(60) {
			d := f.delivery(endpoints[rnd.IntN(3)], fmt.Sprintf("m/%d", rnd.IntN(40)))
			if d.Endpoint == "one" {
				d.Lane = ""
			}
			batch = append(batch, d)
		}
		made += len(batch)
		for {
			before := f.at
			lanes, err := f.try(ctx, reader.take, batch...)
			if err == nil {
				for _, lane := range lanes {
					reader.in <- lane
				}
				break
			}
			// The contract: ask for the position after a failure.
			pos, e := reader.p.StoredPosition(ctx)
			if e == nil && pos != before {
				t.Errorf("a batch that failed (%v) is committed", err)
			}
			if errors.Is(err, delivery.ErrSuperseded) || !isTemporary(err) && ctx.Err() == nil {
				t.Errorf("enqueue: %v", err)
				cancel()
				break
			}
			if ctx.Err() != nil {
				break
			}
		}
		total = max(total, made)
		if rnd.IntN(10) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	made := f.next
	for ctx.Err() == nil {
		l.mu.Lock()
		n := l.count
		l.mu.Unlock()
		if n >= made {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("stuck: %d of %d ended", l.count, made)
	}
	for end := time.Now().Add(30 * time.Second); left(ctx, look) != 0 && time.Now().Before(end); { // until the last Finish has been committed
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	for _, w := range workers {
		if err := w.p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if q, lanes := rows(t, db, "queue"), rows(t, db, "lane"); q+lanes != 0 || rows(t, db, "delivery") != made {
		t.Errorf("left over: %d queue rows, %d lanes; %d of %d logged", q, lanes, rows(t, db, "delivery"), made)
	}
	consistent(t, db)
	proveComplete(t, db)
}

// left counts what is in the queue; sessions may be ended while it does.
func left(ctx context.Context, db *DB) int {
	var n int
	if err := db.pool.QueryRow(ctx, db.sql("SELECT (SELECT count(*) FROM {schema}.queue) + (SELECT count(*) FROM {schema}.lane)")).Scan(&n); err != nil {
		return -1
	}
	return n
}

// Invariant 4: with several processes at work every delivery is in one pair of hands at a time, lanes keep
// their order, and none gets stuck between Enqueue, Claim and Finish.
func TestInvariant4Torture(t *testing.T) { torture(t, 4000, nil) }

// The same while the server ends sessions at random, in the middle of transactions and commits.
func TestTortureWithBrokenConnections(t *testing.T) {
	torture(t, 2000, func(ctx context.Context, db *DB) {
		admin := pgtest.Connect(t, db.cfg.DSN)
		for ctx.Err() == nil {
			time.Sleep(30 * time.Millisecond)
			const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE 'walhook%'
				ORDER BY random() LIMIT 2`
			if _, err := admin.Exec(ctx, kill); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
}
