package state

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/delivery"
)

// Process is this program's membership of the group that works on one state schema. It owns the lanes that
// it acquired for as long as its lease is renewed, which [Process.Run] does. It implements [delivery.Store].
//
// One lease per process, not per lane: renewing one row replaces renewing thousands.
//
// A process whose lease expired, as the state database was away, may renew it as long as no other process has taken its row. Once
// one has, the Process is done for good (ErrLeaseLost, LeaseUntil is zero): what it has in memory
// may be sent by others. Register a new one and start with empty memory.
type Process struct {
	db *DB
	id int64

	until atomic.Pointer[time.Time] // local clock, monotonic
	lost  atomic.Bool
	done  chan struct{} // closed by Close
	once  sync.Once

	// tid is where the source row was after the last Enqueue. An update finds the row there at once, however
	// many dead versions of it a long transaction of someone else keeps.
	mu  sync.Mutex
	tid string

	claims   atomic.Uint64         // how many, ever
	marks    marks                 // how far they have come
	ripening ripening              // when it looks at what waits
	estimate estimate              // of what is kept per endpoint
	drops    map[string]dropCursor // by endpoint; guarded by mu

	// repeats is set once the outcome of a Finish has remained unknown: the same outcomes may come again.
	repeats atomic.Bool
	logOver bool // as upkeep found it last, the log is larger than it may be
	// orphans are lanes of transactions in doubt: perhaps ours, and nobody knows. Guarded by mu.
	orphans []orphan
	// acquiring is held for reading while lanes are acquired, and for writing while orphans are freed: a lane that was acquired
	// since is in memory and no orphan any more.
	acquiring sync.RWMutex
}

var _ delivery.Store = (*Process)(nil)

type orphan struct {
	xid   int64
	lanes []laneKey
}

// Register adds this program to the processes of the state and frees lanes of dead ones. The schema must be
// there. Call Run at once: the lease runs from now on.
func (db *DB) Register(ctx context.Context) (*Process, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	const insert = `INSERT INTO {schema}.process (host, pid, place, birth, version, lease_until)
		VALUES ($1, $2, $3, $4, $5, now() + $6) RETURNING id`
	me := thisProcess()
	p := &Process{db: db, done: make(chan struct{}), drops: map[string]dropCursor{}, ripening: ripening{wake: make(chan struct{}, 1)}, marks: marks{rescan: markRescan}}
	until := time.Now().Add(db.cfg.Lease) // before the server's clock starts: never later than what others see
	err = db.pool.QueryRow(ctx, db.sql(insert), host, me.pid, me.place, me.birth, db.cfg.Version, db.cfg.Lease).Scan(&p.id)
	if err != nil {
		return nil, db.translate("register process", err)
	}
	p.until.Store(&until)
	if err := p.expireOthers(ctx); err != nil {
		return nil, errors.Join(err, p.Close(ctx))
	}
	return p, nil
}

// ID is the process's id in the tables.
func (p *Process) ID() int64 { return p.id }

// LeaseUntil is when the lease ends unless it is renewed, on this machine's monotonic clock; zero
// when it was lost for good or given back. Nothing may be sent that could be in flight then (invariant 4).
//
// The monotonic clock stands still while the machine is suspended, so a lease that is over by the wall clock is over too. One that was
// set forward costs a pause until the next renewal.
func (p *Process) LeaseUntil() time.Time {
	if p.lost.Load() {
		return time.Time{}
	}
	return endOfLease(*p.until.Load(), time.Now())
}

// endOfLease is until, without its monotonic reading when the wall clock says that it is over.
func endOfLease(until, now time.Time) time.Time {
	if wall := until.Round(0); now.Round(0).After(wall) {
		return wall
	}
	return until
}

// StoredPosition is [DB.StoredPosition].
func (p *Process) StoredPosition(ctx context.Context) (delivery.Position, error) {
	return p.db.StoredPosition(ctx)
}

// renew prolongs the lease.
func (p *Process) renew(ctx context.Context) error {
	if p.lost.Load() {
		return ErrLeaseLost
	}
	const update = `UPDATE {schema}.process SET lease_until = now() + $2 WHERE id = $1`
	until := time.Now().Add(p.db.cfg.Lease)
	tag, err := p.db.pool.Exec(ctx, p.db.sql(update), p.id, p.db.cfg.Lease)
	switch {
	case err != nil:
		return p.db.translate("renew lease", err)
	case tag.RowsAffected() == 0:
		p.lost.Store(true)
		return ErrLeaseLost
	}
	p.until.Store(&until)
	return nil
}

// expireOthers removes processes whose lease has ended, or which are known to be dead, and frees their lanes. Whoever
// makes a process the owner of a lane locks its row FOR KEY SHARE meanwhile: no lane can be given to
// a process that is removed here.
func (p *Process) expireOthers(ctx context.Context) error {
	const look = `SELECT id, pid, place, birth, lease_until < now() FROM {schema}.process WHERE id <> $1`
	rows, err := p.db.pool.Query(ctx, p.db.sql(look), p.id)
	if err != nil {
		return p.db.translate("look for dead processes", err)
	}
	var expired, dead []int64
	me := thisProcess()
	var id int64
	var other programme
	var over bool
	_, err = pgx.ForEachRow(rows, []any{&id, &other.pid, &other.place, &other.birth, &over}, func() error {
		switch {
		case over:
			expired = append(expired, id)
		case me.knowsDead(other):
			dead = append(dead, id)
		}
		return nil
	})
	if err != nil || len(expired)+len(dead) == 0 {
		return p.db.translate("look for dead processes", err)
	}
	// A lease may have been renewed since. A process that was stopped within a transaction has its row
	// locked: skip it, the server ends that session soon.
	const take = `DELETE FROM {schema}.process WHERE id IN (SELECT id FROM {schema}.process
		WHERE id = ANY($1) AND lease_until < now() OR id = ANY($2) FOR UPDATE SKIP LOCKED) RETURNING id`
	var gone []int64
	var freed int64
	err = p.db.transact(ctx, "free lanes of dead processes", func(t *transaction) (err error) {
		gone, freed, err = p.db.remove(ctx, t, take, expired, dead)
		return err
	})
	if err == nil && len(gone) > 0 && p.db.cfg.Trace.Expired != nil {
		p.db.cfg.Trace.Expired(gone, freed)
	}
	return err
}

// remove takes processes away by a statement that returns their ids, and frees their lanes.
func (db *DB) remove(ctx context.Context, t *transaction, statement string, args ...any) (gone []int64, freed int64, err error) {
	if err = t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(statement), args...).Query(func(rows pgx.Rows) (err error) {
			gone, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
	}); err != nil || len(gone) == 0 {
		return nil, 0, err
	}
	freed, err = db.freeLanes(ctx, t, gone)
	return gone, freed, err
}

// freeLanes frees all lanes of processes that were removed in this transaction. It reads the whole table, which is cheaper than an index that every lane
// would have to enter.
//
// A process may have ended between the commit that wrote a dead letter that holds and the one that would have held the lane: the outcomes of a batch need
// not be committed together. Letters are locked before lanes, as by whoever discards them or sends them again, so that none goes meanwhile.
func (db *DB) freeLanes(ctx context.Context, t *transaction, owners []int64) (freed int64, err error) {
	const letters = `SELECT x.endpoint, x.lane FROM {schema}.dead_letter x WHERE x.holds AND EXISTS (
			SELECT FROM {schema}.lane l WHERE l.endpoint = x.endpoint AND l.key = x.lane AND l.owner = ANY($1)
		) ORDER BY x.seq FOR SHARE OF x`
	const free = `UPDATE {schema}.lane SET owner = NULL, due = now(), held = (lane.endpoint, lane.key) IN (SELECT u.e, u.k FROM unnest($2::text[], $3::text[]) u (e, k)) FROM (
			SELECT endpoint, key FROM {schema}.lane WHERE owner = ANY($1) ORDER BY endpoint, key FOR UPDATE
		) mine WHERE lane.endpoint = mine.endpoint AND lane.key = mine.key`
	var endpoints, keys []string
	if err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(letters), owners).Query(func(rows pgx.Rows) error {
			var endpoint, key string
			_, err := pgx.ForEachRow(rows, []any{&endpoint, &key}, func() error {
				endpoints, keys = append(endpoints, endpoint), append(keys, key)
				return nil
			})
			return err
		})
	}); err != nil {
		return 0, err
	}
	err = t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(free), owners, endpoints, keys).Exec(func(tag pgconn.CommandTag) error {
			freed = tag.RowsAffected()
			return nil
		})
	})
	return freed, err
}

// Close frees all lanes of the process and removes it: others go on with them at once. Call it when nothing is in flight any more.
func (p *Process) Close(ctx context.Context) error {
	p.lost.Store(true) // LeaseUntil is zero from here on
	p.once.Do(func() { close(p.done) })
	const own = `DELETE FROM {schema}.process WHERE id = $1 RETURNING id`
	err := p.atLast(ctx, func() error {
		return p.db.transact(ctx, "give back lanes", func(t *transaction) error {
			_, _, err := p.db.remove(ctx, t, own, p.id)
			return err
		})
	})
	return errors.Join(err, p.atLast(ctx, func() error { return p.db.FlushStatistics(ctx) }))
}

// atLast does what nobody does later: sessions may have been ended since they were used last, so that it is tried on a new one.
func (p *Process) atLast(ctx context.Context, do func() error) error {
	err := do()
	var temporary interface{ Temporary() bool }
	if ctx.Err() == nil && errors.As(err, &temporary) && temporary.Temporary() {
		p.db.pool.Reset()
		err = do()
	}
	return err
}
