package state

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/internal/periodic"
)

// Intervals of upkeep.
const (
	statisticsEvery = time.Second
	upkeepEvery     = 10 * time.Minute
	recordEvery     = time.Minute
	imagesEvery     = 10 * time.Second
)

// Run renews the lease, takes lanes over from dead processes, queues what has waited long enough, writes statistics, adds partitions and drops those past
// retention. It returns nil when ctx ends or the Process is closed, and [ErrLeaseLost] when another process has taken this one's place; nothing else
// ends it: failures are traced and tried again.
func (p *Process) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // ends the others when the process is closed
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	})
	wg.Go(func() {
		every(ctx, statisticsEvery, func() { p.trace("statistics", p.db.FlushStatistics(ctx)) })
	})
	wg.Go(func() {
		every(ctx, recordEvery, func() { p.trace("look after recorded changes", p.keepRecord(ctx)) })
	})
	wg.Go(func() {
		every(ctx, imagesEvery, func() { p.trace("look after images", p.keepImages(ctx)) })
	})
	wg.Go(func() { p.watchSizes(ctx) })
	wg.Go(func() { p.watchOldest(ctx) })
	wg.Go(func() { p.watchWaiting(ctx) })
	wg.Go(func() {
		every(ctx, p.db.cfg.Lease/3, func() { p.trace("free lanes of a lost answer", p.settleOrphans(ctx)) })
	})
	wg.Go(func() {
		p.upkeep(ctx)
		every(ctx, upkeepEvery, func() {
			p.upkeep(ctx)
			_, err := p.db.Recount(ctx) // not at the start: it reads the whole queue, of which others have just begun to claim
			p.trace("recount the queue", err)
		})
	})
	defer cancel() // runs before the wait
	return p.keepLease(ctx)
}

// keepLease renews at a third of the lease, and more often while that fails.
func (p *Process) keepLease(ctx context.Context) error {
	pause := periodic.First(p.db.cfg.Lease / 3)
	for {
		if !periodic.Wait(ctx, pause) {
			return nil
		}
		pause = p.db.cfg.Lease / 3
		tctx, cancel := context.WithTimeout(ctx, p.db.cfg.Lease/3)
		err := p.renew(tctx)
		if err == nil {
			err = p.expireOthers(tctx)
		}
		cancel()
		switch {
		case errors.Is(err, ErrLeaseLost):
			select {
			case <-p.done:
				return nil // closed by ourselves
			default:
				return err
			}
		case err != nil && ctx.Err() == nil:
			pause = min(pause, time.Second)
			if f := p.db.cfg.Trace.RenewFailed; f != nil {
				f(err)
			}
		}
	}
}

// upkeep looks after the partitions.
func (p *Process) upkeep(ctx context.Context) {
	made, err := p.db.AddPartitions(ctx)
	p.trace("add partitions", err)
	if f := p.db.cfg.Trace.Partitions; f != nil && made > 0 {
		f(made)
	}
	p.trace("drop old gaps", p.db.dropGaps(ctx))
	dropped, log, err := p.db.DropPartitions(ctx)
	p.trace("drop partitions", err)
	for _, d := range dropped {
		if f := p.db.cfg.Trace.Dropped; f != nil {
			f(d)
		}
	}
	if f := p.db.cfg.Trace.LogFull; f != nil && err == nil && log.Over != p.logOver {
		f(log)
	}
	p.logOver = log.Over
}

// trace reports a failure, unless it is that the process ends.
func (p *Process) trace(task string, err error) {
	if f := p.db.cfg.Trace.UpkeepFailed; f != nil && err != nil && !errors.Is(err, context.Canceled) {
		f(task, err)
	}
}

// every calls fn at intervals until ctx ends.
func every(ctx context.Context, interval time.Duration, fn func()) {
	_ = periodic.Run(ctx, interval, func() error { fn(); return nil }) // which never fails
}

// forget notes lanes that a transaction in doubt may have acquired. Their deliveries were handed to
// nobody, so they must be given back if it was committed.
func (p *Process) forget(err error, lanes []laneKey) {
	var doubt *DoubtError
	if !errors.As(err, &doubt) || len(lanes) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.orphans = append(p.orphans, orphan{doubt.XID, lanes})
}

// adopted takes lanes off the orphans: they were acquired, so the transaction in doubt has not been committed, or was
// settled by others since.
func (p *Process) adopted(lanes []laneKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.orphans {
		o := &p.orphans[i]
		o.lanes = slices.DeleteFunc(slices.Clone(o.lanes), func(k laneKey) bool { return slices.Contains(lanes, k) })
	}
}

// settleOrphans looks the transactions in doubt up and frees their lanes. It waits until nobody acquires lanes, which on a busy system is
// never so by chance, and nobody may begin to meanwhile.
func (p *Process) settleOrphans(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.db.cfg.Lease/3)
	defer cancel()
	p.mu.Lock()
	none := len(p.orphans) == 0
	p.mu.Unlock()
	if none {
		return nil
	}
	p.acquiring.Lock()
	defer p.acquiring.Unlock()
	p.mu.Lock()
	orphans := slices.Clone(p.orphans)
	p.mu.Unlock()
	for _, o := range orphans {
		verdict, _ := p.db.ask(ctx, o.xid)
		if verdict == unknown || verdict == running {
			return nil // the next time
		}
		if verdict == committed { // perhaps another transaction under its id; then the lanes are not ours, or do not exist
			const free = `UPDATE {schema}.lane l SET owner = NULL, due = now() FROM unnest($1::text[], $2::text[]) u(endpoint, key)
				WHERE l.endpoint = u.endpoint AND l.key = u.key AND l.owner = $3`
			endpoints, keys := splitKeys(o.lanes)
			if err := p.db.transact(ctx, "free lanes of a lost answer", func(t *transaction) error {
				return t.send(ctx, func(b *pgx.Batch) { b.Queue(p.db.sql(free), endpoints, keys, p.id) })
			}); err != nil {
				return err
			}
		}
		p.mu.Lock()
		p.orphans = p.orphans[1:] // only appended to elsewhere
		p.mu.Unlock()
	}
	return nil
}
