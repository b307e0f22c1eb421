package state

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// releasePoll is how often a process looks at what waits although it knows of nothing that is due: what others have put there.
	releasePoll = 5 * time.Second
	// releaseSlack is added to due times, which the server's clock tells.
	releaseSlack = 2 * time.Millisecond
	// releasePause is the least time between two looks: what is due at nearly the same time goes together.
	releasePause = 5 * time.Millisecond
	// releaseYield is the pause while something is due that cannot be had: another process is at it.
	releaseYield = 50 * time.Millisecond
)

// ripening is when a process looks next at what waits. Its zero value looks at once.
type ripening struct {
	wake chan struct{} // capacity 1

	mu   sync.Mutex
	next time.Time

	due func(endpoints []string) // see OnDue; may be nil
}

// by makes sure that the process looks at a time, or before.
func (r *ripening) by(at time.Time) {
	r.mu.Lock()
	earlier := at.Before(r.next)
	if earlier {
		r.next = at
	}
	r.mu.Unlock()
	if earlier {
		select {
		case r.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

func (r *ripening) set(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = at
}

func (r *ripening) left() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(r.next)
}

// wakeRelease makes the process look at what waits when the first of what it has just put there may be due; wait is 0 when it has put
// nothing there.
func (p *Process) wakeRelease(wait time.Duration) {
	if wait > 0 {
		p.ripening.by(time.Now().Add(wait + releaseSlack))
	}
}

// OnDue lets f be told, from a goroutine of Run, of endpoints for which something that waited has come to the queue. It is called before Run.
func (p *Process) OnDue(f func(endpoints []string)) { p.ripening.due = f }

// watchWaiting moves what is due to the queue, until ctx ends. Every process does: what a process that died has left is due like all else.
func (p *Process) watchWaiting(ctx context.Context) {
	for {
		began := time.Now()
		p.ripening.set(began.Add(releasePoll)) // what comes meanwhile may bring it forward
		endpoints, left, err := p.releaseDue(ctx)
		p.trace("move what has waited to the queue", err)
		if len(endpoints) > 0 && p.ripening.due != nil {
			p.ripening.due(endpoints)
		}
		switch {
		case err != nil:
		case left > 0:
			p.ripening.by(time.Now().Add(max(left+releaseSlack, releasePause)))
		default:
			p.ripening.by(time.Now().Add(releaseYield))
		}
		for left := p.ripening.left(); left > 0; left = p.ripening.left() {
			select {
			case <-ctx.Done():
				return
			case <-p.ripening.wake:
			case <-time.After(left):
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// releaseDue moves all that is due, and tells for which endpoints, and how long until the next is due.
func (p *Process) releaseDue(ctx context.Context) (endpoints []string, left time.Duration, err error) {
	const due = `w.due <= now()`
	for {
		list, err := p.db.releaseSome(ctx, due, nil)
		if err != nil {
			return endpoints, 0, err
		}
		for _, w := range list {
			if !slices.Contains(endpoints, w.endpoint) {
				endpoints = append(endpoints, w.endpoint)
			}
		}
		if len(list) < chunk {
			break
		}
	}
	const next = `SELECT coalesce((extract(epoch FROM min(due) - now()) * 1000000)::bigint, $1) FROM {schema}.waiting`
	var micros int64
	err = p.db.pool.QueryRow(ctx, p.db.sql(next), releasePoll.Microseconds()).Scan(&micros)
	return endpoints, time.Duration(micros) * time.Microsecond, p.db.translate("look at what waits", err)
}

// ReleaseExcept moves everything to the queue that waits for rules other than these, whether it is due or not. The reader calls it before it
// reads on with rules that may have changed: what a rule without debounce sends from now on must not be overtaken by what it sent before.
func (p *Process) ReleaseExcept(ctx context.Context, rules []string) (n int, err error) {
	if rules == nil {
		rules = []string{} // nil would be NULL
	}
	for {
		list, err := p.db.releaseSome(ctx, `NOT w.rule = ANY($2::text[])`, []any{rules})
		n += len(list)
		if err != nil || len(list) < chunk {
			return n, err
		}
	}
}

// waitingRow is a row that leaves waiting.
type waitingRow struct {
	missing
	lane     string
	seq      int64
	bytes    int64
	priority int16
}

const pickWaiting = `SELECT w.endpoint, w.lane, w.seq, w.bytes, w.priority, w.epoch, w.sequence, w.commit_lsn::text, w.commit_at
	FROM {schema}.waiting w %s WHERE %s ORDER BY w.due LIMIT $1 FOR UPDATE OF w SKIP LOCKED`

// openLanesFor makes lanes, or locks them and raises their priority; it notes what comes back into them, see
// the column back: null for what comes to their end.
const openLanesFor = `INSERT INTO {schema}.lane AS l (endpoint, key, due, priority, back)
	SELECT u.endpoint, u.key, now(), max(u.priority), min(u.seq)
	FROM unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[]) u (endpoint, key, priority, seq)
	GROUP BY u.endpoint, u.key ORDER BY u.endpoint COLLATE "C", u.key COLLATE "C"
	ON CONFLICT (endpoint, key) DO UPDATE SET priority = greatest(l.priority, excluded.priority), back = least(l.back, excluded.back)
		WHERE l.priority < excluded.priority OR excluded.back < coalesce(l.back, excluded.back + 1)`

// queueWaiting moves rows to the queue, with their seq: they come before what has entered their lane since. again_at lets their age begin now.
const queueWaiting = `WITH gone AS (
		DELETE FROM {schema}.waiting w USING unnest($1::bigint[]) u (seq) WHERE w.seq = u.seq RETURNING w.endpoint, w.lane, w.seq, w.day, w.bytes
	)
	INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes, again_at) SELECT endpoint, lane, seq, day, bytes, now() FROM gone`

// backAgain notes of owned lanes that what has come back into them is handed out.
func (db *DB) backAgain(ctx context.Context, t *transaction, all []found) error {
	const clear = `UPDATE {schema}.lane l SET back = NULL FROM unnest($1::text[], $2::text[]) u (endpoint, key) WHERE l.endpoint = u.endpoint AND l.key = u.key`
	var keys []laneKey
	for _, f := range all {
		if f.back && len(f.heads) > 0 { // others end
			keys = append(keys, f.laneKey)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	endpoints, names := splitKeys(keys)
	return t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(clear), endpoints, names) })
}

// releaseSome moves up to a chunk of what a condition on waiting selects to the queue, in one transaction: it is never in both, nor in neither.
// Rows that others have locked are passed over.
func (db *DB) releaseSome(ctx context.Context, where string, args []any) (list []waitingRow, err error) {
	err = db.transact(ctx, "queue what waits", func(t *transaction) (err error) {
		list, err = db.pickWaiting(ctx, t, "", where, chunk, args)
		if err != nil || len(list) == 0 {
			return err
		}
		return db.queueWaiting(ctx, t, list)
	})
	return list, err
}

// pickWaiting locks rows. join is put behind the table; the first parameter of where is $2.
func (db *DB) pickWaiting(ctx context.Context, t *transaction, join, where string, limit int64, args []any) (list []waitingRow, err error) {
	err = t.send(ctx, func(b *pgx.Batch) {
		b.Queue(expand(fmt.Sprintf(pickWaiting, join, where), db.cfg.Schema), append([]any{limit}, args...)...).Query(func(rows pgx.Rows) (err error) {
			list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w waitingRow, err error) {
				return w, row.Scan(&w.endpoint, &w.lane, &w.seq, &w.bytes, &w.priority, &w.epoch, &w.sequence, &w.lsn, &w.at)
			})
			return err
		})
	})
	return list, err
}

// queueWaiting moves locked rows.
func (db *DB) queueWaiting(ctx context.Context, t *transaction, list []waitingRow) error {
	endpoints, lanes, priorities, seqs := make([]string, len(list)), make([]string, len(list)), make([]int16, len(list)), make([]int64, len(list))
	for i, w := range list {
		endpoints[i], lanes[i], priorities[i], seqs[i] = w.endpoint, w.lane, w.priority, w.seq
	}
	return t.send(ctx, func(b *pgx.Batch) {
		b.Queue(db.sql(openLanesFor), endpoints, lanes, priorities, seqs)
		b.Queue(db.sql(queueWaiting), seqs)
	})
}
