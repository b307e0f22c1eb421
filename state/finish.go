package state

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
	"walhook/internal/failpoint"
)

// lockLanes locks the lanes that this process still owns, in order.
const lockLanes = `SELECT u.n, l.ctid::text, l.priority, coalesce(l.back, 0)
	FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u (endpoint, key, n)
	JOIN {schema}.lane l ON l.endpoint = u.endpoint AND l.key = u.key
	WHERE l.owner = $3
	ORDER BY l.endpoint, l.key
	FOR UPDATE OF l`

// generic keeps the server from planning the statements of a Finish anew for the few rows of each: that costs more than to run them, and the plans
// are the same. choosing takes it back for what reads partitions, of which a plan for any day has to lock all.
const (
	generic  = "SET LOCAL plan_cache_mode = force_generic_plan"
	choosing = "SET LOCAL plan_cache_mode = auto"
)

const disabledEndpoints = `SELECT coalesce(array_agg(name), '{}') FROM {schema}.endpoint WHERE disabled_at IS NOT NULL OR paused_at IS NOT NULL`

// finishing is one lane of a Finish.
type finishing struct {
	wanted
	last  *delivery.Outcome
	owned bool
}

// Finish implements [delivery.Store]. It takes two round trips and the commit, and one more when lanes end or go on: lanes are
// locked; outcomes written, and what is next looked for; lanes deleted, next deliveries loaded.
func (p *Process) Finish(ctx context.Context, outcomes []delivery.Outcome, perLane int) ([]delivery.Lane, error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	var ready []delivery.Lane
	var w *writing
	err := p.db.withPartitions(ctx, func() error {
		return p.db.transact(ctx, "finish", func(t *transaction) (err error) {
			if p.tells(outcomes) {
				if err := p.db.lockSource(ctx, t); err != nil {
					return err
				}
			}
			if ready, w, err = p.finish(ctx, t, outcomes, perLane); err == nil {
				err = p.db.tell(ctx, t, w.told...)
			}
			failpoint.Hit(failpoint.Finish)
			return err
		})
	})
	if err != nil {
		var doubt *DoubtError
		if errors.As(err, &doubt) {
			p.repeats.Store(true)
		}
		return nil, err
	}
	failpoint.Hit(failpoint.Finished)
	p.db.stats.finished(w)
	p.marks.retried(outcomes)
	return ready, nil
}

func (p *Process) finish(ctx context.Context, t *transaction, outcomes []delivery.Outcome, perLane int) ([]delivery.Lane, *writing, error) {
	lanes, disabled, err := p.lock(ctx, t, outcomes)
	if err != nil {
		return nil, nil, err
	}
	w := &writing{process: p.id, repeats: p.repeats.Load()}
	for i := range outcomes {
		o := &outcomes[i]
		w.add(o, lanes[laneOf(o.Delivery)].owned)
		if o.Disable != "" && lanes[laneOf(o.Delivery)].owned {
			disabled = append(disabled, o.Delivery.Endpoint)
		}
	}
	next := make([]wanted, 0, len(lanes))
	var release released
	for _, f := range inOrder(lanes) {
		switch o := f.last; {
		case !f.owned || !o.LaneDone:
		case o.Hold:
			release.add(f.laneKey, time.Time{}, true)
		case o.Result == delivery.Retry:
			release.add(f.laneKey, o.Next, false)
		case o.Result == delivery.Released, o.Result == delivery.Regrouped:
			release.add(f.laneKey, time.Time{}, false)
		default:
			next = append(next, f.wanted)
		}
	}
	var all []found
	if err := t.send(ctx, func(b *pgx.Batch) {
		w.queue(p.db, b)
		release.queue(p.db, b)
		if len(next) > 0 {
			p.db.heads(b, next, max(perLane, 1), &all)
		}
	}); err != nil {
		return nil, nil, err
	}
	// Lanes that may not go on are released, unless nothing waits in them; so are those that would be too much at once.
	var stop released
	all = slices.DeleteFunc(all, func(f found) bool {
		stay := len(f.heads) > 0 && (perLane == 0 || slices.Contains(disabled, f.endpoint))
		if stay {
			stop.add(f.laneKey, time.Time{}, false)
		}
		return stay
	})
	all, later := ration(all)
	for _, f := range later {
		stop.add(f.laneKey, time.Time{}, false)
	}
	if err := p.db.backAgain(ctx, t, all); err != nil {
		return nil, nil, err
	}
	if len(stop.endpoints) > 0 {
		if err := t.send(ctx, func(b *pgx.Batch) { stop.queue(p.db, b) }); err != nil {
			return nil, nil, err
		}
	}
	if len(all) == 0 {
		return nil, w, nil
	}
	ready, err := p.db.handOut(ctx, t, all)
	return ready, w, err
}

// lock locks the outcomes' lanes and tells which endpoints are disabled.
func (p *Process) lock(ctx context.Context, t *transaction, outcomes []delivery.Outcome) (map[laneKey]*finishing, []string, error) {
	lanes := make(map[laneKey]*finishing, len(outcomes))
	keys := make([]laneKey, 0, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		k := laneOf(o.Delivery)
		f := lanes[k]
		if f == nil {
			// In front lie as many dead entries as the lane had deliveries while somebody's transaction keeps them, in the one lane of an endpoint always.
			f = &finishing{wanted: wanted{laneKey: k, after: o.Delivery.Seq - 1}}
			if p.repeats.Load() {
				f.after = 0 // a commit in doubt may have handed out what had come back, and cleared back
			}
			lanes[k] = f
			keys = append(keys, k)
		}
		f.last = o
	}
	slices.SortFunc(keys, compareLanes)
	endpoints, names := splitKeys(keys)
	var disabled []string
	err := t.send(ctx, func(b *pgx.Batch) {
		b.Queue(generic)
		b.Queue(p.db.sql(lockLanes), endpoints, names, p.id).Query(func(rows pgx.Rows) error {
			var n, back int64
			var tid string
			var priority delivery.Priority
			_, err := pgx.ForEachRow(rows, []any{&n, &tid, &priority, &back}, func() error {
				f := lanes[keys[n-1]]
				f.owned, f.tid, f.priority = true, tid, priority
				if f.back = back > 0; f.back {
					f.after = min(f.after, back-1)
				}
				return nil
			})
			return err
		})
		b.Queue(p.db.sql(disabledEndpoints)).QueryRow(func(row pgx.Row) error { return row.Scan(&disabled) })
	})
	return lanes, disabled, err
}

// tells says that the alert endpoint may have to be told what outcomes come to.
func (p *Process) tells(outcomes []delivery.Outcome) bool {
	return slices.ContainsFunc(outcomes, func(o delivery.Outcome) bool { return o.Disable != "" && p.db.alerts().about(o.Delivery.Endpoint) })
}

// inOrder returns the lanes in locking order.
func inOrder(lanes map[laneKey]*finishing) []*finishing {
	list := make([]*finishing, 0, len(lanes))
	for _, f := range lanes {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *finishing) int { return compareLanes(a.laneKey, b.laneKey) })
	return list
}

// released collects the columns of releaseLanes.
type released struct {
	endpoints, keys []string
	wait            []*float64
	held            []bool
}

// add releases a lane that is due at a time, or at once. What counts is how far away that is by the process's monotonic clock: its wall clock
// may be wrong at the moment, and other processes, and this one later, go by the database's.
func (r *released) add(k laneKey, due time.Time, held bool) {
	wait := 0.0
	if !due.IsZero() {
		wait = time.Until(due).Seconds()
	}
	r.put(k, &wait, held)
}

// stay releases a lane that is due when it was.
func (r *released) stay(k laneKey) { r.put(k, nil, false) }

func (r *released) put(k laneKey, wait *float64, held bool) {
	r.endpoints, r.keys, r.wait, r.held = append(r.endpoints, k.endpoint), append(r.keys, k.key), append(r.wait, wait), append(r.held, held)
}

func (r *released) queue(db *DB, b *pgx.Batch) {
	if len(r.endpoints) > 0 {
		b.Queue(db.sql(releaseLanes), r.endpoints, r.keys, r.wait, r.held)
	}
}
