package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"walhook/internal/harness"
)

// Workload is the writers. Each does its actions one after the other, and each action again until it is committed or rolled back on purpose:
// what the writer does next depends on the seed alone, whatever breaks.
type Workload struct {
	t       *testing.T
	source  *Cluster
	seed    uint64
	actions int // of each writer
	rows    int // of a huge transaction
	writers []*writer
	tally   *harness.Tally
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	pause    sync.RWMutex // held for reading while a transaction is open
	progress atomic.Int64
	limit    atomic.Int64 // progress that is not passed for now
	brake    atomic.Bool  // too much waits to be delivered
	running  atomic.Int64
}

func newWorkload(t *testing.T, source *Cluster, seed uint64, writers, actions, rows int, counts *harness.Tally) *Workload {
	w := &Workload{t: t, source: source, seed: seed, actions: actions, rows: rows, tally: counts}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := range writers {
		w.writers = append(w.writers, &writer{Workload: w, id: i, m: newModel()})
	}
	t.Cleanup(func() {
		w.cancel()
		w.wg.Wait()
	})
	return w
}

func (w *Workload) start() {
	for _, one := range w.writers {
		w.running.Add(1)
		w.wg.Go(func() {
			defer w.running.Add(-1)
			if err := one.run(); err != nil && w.ctx.Err() == nil {
				w.t.Errorf("writer %d, action %d: %v", one.id, one.action, err)
			}
		})
	}
}

// Total is the progress at the end.
func (w *Workload) Total() int { return len(w.writers) * w.actions }

// Progress is how many actions have been done.
func (w *Workload) Progress() int { return int(w.progress.Load()) }

// Pause waits until no transaction is open, and lets none begin until Resume.
func (w *Workload) Pause() { w.pause.Lock() }

// Resume takes Pause back.
func (w *Workload) Resume() { w.pause.Unlock() }

// done tells whether all writers have finished.
func (w *Workload) done() bool { return w.running.Load() == 0 }

func (one *writer) run() error {
	defer one.hangUp()
	for one.action = 0; one.action < one.actions; one.action++ {
		for one.brake.Load() || one.Workload.progress.Load() >= one.limit.Load() {
			if one.ctx.Err() != nil {
				return nil
			}
			time.Sleep(time.Duration(5+len(one.writers)/4) * time.Millisecond) // not to wait for something, but to load it less
		}
		if err := one.act(); err != nil {
			return err
		}
		one.Workload.progress.Add(1)
	}
	return nil
}

// act does an action: again and again until it is over.
func (one *writer) act() error {
	one.pause.RLock()
	defer one.pause.RUnlock()
	maybe := map[int]snapshot{} // attempts whose commit was not answered
	for one.try = 0; one.try < 60; one.try++ {
		one.rnd = rand.New(rand.NewPCG(one.seed, uint64(one.id)<<32|uint64(one.action)))
		one.seq, one.pend = 0, nil
		before := one.snapshot()
		ended, err := one.attempt(maybe)
		if ended && err == nil {
			return nil
		}
		one.restore(before)
		if one.ctx.Err() != nil {
			return nil
		}
		if !transient(err) {
			return err
		}
		one.tally.Add("attempts of writers that failed", reason(err), 1)
		one.hangUp()
	}
	return errors.New("too many attempts")
}

func (one *writer) hangUp() {
	if one.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = one.conn.Close(ctx) // the server may be gone
		one.conn = nil
	}
}

// transient tells whether Odoo would try again: the connection or the server went away, somebody was faster, a lock was not to be had.
func transient(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err != nil
	}
	switch pg.Code[:2] {
	case "08", "40", "53", "55", "57", "58":
		return true
	}
	return false
}

func reason(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return "connection lost"
}

// attempt is one transaction. If an earlier attempt turns out to have been committed, that is what counts.
func (one *writer) attempt(maybe map[int]snapshot) (ended bool, err error) {
	if one.conn == nil {
		if one.conn, err = one.source.Connect(one.ctx); err != nil {
			return false, err
		}
	}
	// Odoo works under REPEATABLE READ; here a hot record would then fail most of the time.
	level := []string{"READ COMMITTED", "REPEATABLE READ"}[one.rnd.IntN(2)]
	if one.try > 2 {
		level = "READ COMMITTED"
	}
	if err := one.exec("BEGIN ISOLATION LEVEL " + level); err != nil {
		return false, err
	}
	got, err := one.ask(fmt.Sprintf("INSERT INTO done (writer, action, try) VALUES (%d, %d, %d) ON CONFLICT DO NOTHING RETURNING 'new'", one.id, one.action, one.try))
	if err != nil {
		return false, err
	}
	if len(got) == 0 {
		got, err := one.ask(fmt.Sprintf("SELECT try FROM done WHERE writer = %d AND action = %d; ROLLBACK", one.id, one.action))
		if err != nil {
			return false, err
		}
		var try int
		if _, err := fmt.Sscan(string(got[0][0]), &try); err != nil {
			return false, err
		}
		s, ok := maybe[try]
		if !ok {
			return true, fmt.Errorf("attempt %d is committed, and was never sent", try)
		}
		one.restore(s)
		one.tally.Add("transactions", "committed, answer lost", 1)
		return true, nil
	}
	one.began, one.hot = one.snapshot(), nil
	k := one.draw()
	if err := k.do(one); err != nil {
		return false, err
	}
	if err := one.flush(); err != nil {
		return false, err
	}
	one.forgetHot()
	if one.rnd.IntN(8) == 0 {
		if err := one.exec("ROLLBACK"); err != nil {
			return false, err
		}
		one.restore(one.began)
		one.tally.Add("transactions", "rolled back", 1)
		return true, nil
	}
	maybe[one.try] = one.snapshot()
	if err := one.exec("COMMIT"); err != nil {
		return false, err
	}
	one.tally.Add("transactions", k.name, 1)
	return true, nil
}
