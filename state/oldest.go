package state

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/periodic"
)

// oldest remembers since when the oldest delivery of each endpoint has been pending. The queue has no index by age, which every delivery would have
// to enter, so finding it takes a look at the whole queue. A process takes that look beside everything else, in at most a small part of the
// time, and status reads what was found: with a small queue it is a second old, with a million deliveries half a minute. Deliveries that wait for the end
// of their rule's window are not late, and do not count until then. It is safe for concurrent use.
type oldest struct {
	mu      sync.Mutex
	since   map[string]time.Time // commit time, by endpoint
	took    time.Duration        // the last look
	looked  bool
	watched bool // a process looks by itself
}

const (
	oldestEvery = time.Second
	oldestShare = 200 // one part of so many of the time goes into looking
	// oldestCheap is what a look may take that status itself takes for an endpoint that has nothing pending as far as is known.
	oldestCheap = 10 * time.Millisecond
)

// watchOldest looks until ctx ends.
func (p *Process) watchOldest(ctx context.Context) {
	o := &p.db.oldest
	o.watch(true)
	defer o.watch(false)
	for pause := periodic.First(oldestEvery); ; pause = oldestEvery {
		p.trace("look for the oldest delivery", p.db.lookForOldest(ctx))
		o.mu.Lock()
		pause = max(pause, oldestShare*o.took)
		o.mu.Unlock()
		if !periodic.Wait(ctx, pause) {
			return
		}
	}
}

func (o *oldest) watch(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watched = on
}

// lookForOldest reads the whole queue.
func (db *DB) lookForOldest(ctx context.Context) error {
	const read = `SELECT q.endpoint, d.commit_at FROM (SELECT endpoint, min(seq) AS seq FROM {schema}.queue GROUP BY endpoint) q
		CROSS JOIN LATERAL (SELECT min(commit_at) AS commit_at FROM {schema}.delivery WHERE seq = q.seq) d`
	found := map[string]time.Time{}
	began := time.Now()
	err := db.read(ctx, "look for the oldest delivery", func(tx pgx.Tx) error {
		var name string
		var at *time.Time
		return each(ctx, tx, look{db.sql(read), []any{&name, &at}, func() { found[name] = timeOf(at) }})
	})
	if err != nil {
		return err
	}
	db.oldest.mu.Lock()
	defer db.oldest.mu.Unlock()
	db.oldest.since, db.oldest.took, db.oldest.looked = found, time.Since(began), true
	return nil
}

// oldestPending returns what is known, for endpoints with pending deliveries. Where no process looks, as in a command, it looks itself.
func (db *DB) oldestPending(ctx context.Context, pending []string) (map[string]time.Time, error) {
	o := &db.oldest
	o.mu.Lock()
	fresh := o.watched && o.looked
	for _, name := range pending {
		if _, known := o.since[name]; !known && o.took < oldestCheap {
			fresh = false // has just begun to wait
		}
	}
	o.mu.Unlock()
	if !fresh && len(pending) > 0 {
		if err := db.lookForOldest(ctx); err != nil {
			return nil, err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since, nil // replaced, never changed
}
