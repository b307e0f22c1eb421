package state

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/status"
)

var _ status.Reader = (*DB)(nil)

// Endpoints implements [status.Reader]. It counts nothing that may be large: what is pending and dead comes from sizes that are kept with every
// change, totals come from counters, the rest is counted up to a bound.
func (db *DB) Endpoints(ctx context.Context) ([]status.EndpointState, error) {
	const totals = `SELECT name, delivered, failed_attempts, dead, last_success_at, last_error_at, coalesce(last_error, ''),
		disabled_at, coalesce(disabled_reason, '') FROM {schema}.endpoint`
	found := map[string]*status.EndpointState{}
	at := func(name string) *status.EndpointState {
		if found[name] == nil {
			found[name] = &status.EndpointState{Name: name}
		}
		return found[name]
	}
	db.stats.flushing.Lock() // no counts are on their way to the table
	defer db.stats.flushing.Unlock()
	err := db.read(ctx, "read endpoints", func(tx pgx.Tx) error {
		var name, message, reason string
		var a, b, c int64
		var t1, t2, t3 *time.Time
		return each(ctx, tx,
			look{db.sql(totals), []any{&name, &a, &b, &c, &t1, &t2, &message, &t3, &reason}, func() {
				e := at(name)
				e.Delivered, e.FailedAttempts, e.DeadTotal = a, b, c
				e.LastSuccess, e.LastFailure, e.LastError = timeOf(t1), timeOf(t2), message
				e.Disabled, e.DisabledAt, e.DisabledReason = t3 != nil, timeOf(t3), reason
			}},
			db.lookAtFlow(at),
			db.lookAtWaiting(func(endpoint, _ string, n int64) { at(endpoint).Waiting += n }))
	})
	if err != nil {
		return nil, err
	}
	s, err := db.sizes(ctx)
	if err != nil {
		return nil, err
	}
	for name, e := range found {
		e.Queue = s.queue(name)
	}
	if err := db.waiting(ctx, s, at); err != nil {
		return nil, err
	}
	db.stats.mu.Lock()
	defer db.stats.mu.Unlock()
	for name, c := range db.stats.endpoints {
		e := at(name)
		e.Delivered += c.delivered
		e.FailedAttempts += c.failed
		e.DeadTotal += c.dead
		e.LastSuccess = later(e.LastSuccess, c.success).UTC()
		if c.failure.After(e.LastFailure) {
			e.LastFailure, e.LastError = c.failure.UTC(), c.message
		}
	}
	return sorted(found), nil
}

// Rules implements [status.Reader]. Parked events are counted up to countedUpTo per rule.
func (db *DB) Rules(ctx context.Context) ([]status.RuleState, error) {
	const totals = `SELECT name, matched, parked, last_match_at, last_parked_at, coalesce(last_error, ''), sampled, ignored, dropped FROM {schema}.rule`
	found := map[string]*status.RuleState{}
	at := func(name string) *status.RuleState {
		if found[name] == nil {
			found[name] = &status.RuleState{Name: name}
		}
		return found[name]
	}
	db.stats.flushing.Lock()
	defer db.stats.flushing.Unlock()
	err := db.read(ctx, "read rules", func(tx pgx.Tx) error {
		var name, message string
		var a, b, c, i, d int64
		var t1, t2 *time.Time
		return each(ctx, tx,
			look{db.sql(totals), []any{&name, &a, &b, &t1, &t2, &message, &c, &i, &d}, func() {
				r := at(name)
				r.Matched, r.ParkedTotal, r.LastMatch, r.LastParked, r.LastError, r.Sampled, r.Ignored, r.Dropped = a, b, timeOf(t1), timeOf(t2), message, c, i, d
			}},
			db.lookAtWaiting(func(_, rule string, n int64) { at(rule).Waiting += n }),
			db.lookAtSchedules(func(rule string, s *status.ScheduleState) { at(rule).Schedule = s }),
			look{db.sql(parkedPerRule), []any{&name, &a}, func() { at(name).Parked = a }})
	})
	if err != nil {
		return nil, err
	}
	db.stats.mu.Lock()
	defer db.stats.mu.Unlock()
	for name, c := range db.stats.rules {
		r := at(name)
		r.Matched += c.matched
		r.ParkedTotal += c.parked
		r.Sampled += c.sampled
		r.Ignored += c.ignored
		r.Dropped += c.dropped
		r.LastMatch = later(r.LastMatch, c.match).UTC()
		if c.parkedTime.After(r.LastParked) {
			r.LastParked, r.LastError = c.parkedTime.UTC(), c.message
		}
	}
	return sorted(found), nil
}

// Position implements [status.Reader].
func (db *DB) Position(ctx context.Context) (status.PositionState, error) {
	const (
		source = `SELECT lsn::text, open_lsn::text, open_count, updated_at, slot, database_name FROM {schema}.source`
		rest   = `SELECT (SELECT coalesce(max(version), 0) FROM {schema}.migration),
			(SELECT count(*) FROM {schema}.process WHERE lease_until > now())`
		// relpages would be cheaper, but lags by days for tables that are only inserted into.
		size = `SELECT coalesce(sum(pg_catalog.pg_total_relation_size(c.oid)), 0)::bigint FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'm')`
	)
	var s status.PositionState
	err := db.read(ctx, "read position", func(tx pgx.Tx) error {
		var lsn, open string
		var at time.Time
		err := tx.QueryRow(ctx, db.sql(source)).Scan(&lsn, &open, &s.Position.Count, &at, &s.Slot, &s.Database)
		switch {
		case noRows(err):
		case err != nil:
			return err
		default:
			s.Bound, s.UpdatedAt = true, at.UTC()
			if s.Position, err = position(lsn, open, s.Position.Count); err != nil {
				return err
			}
		}
		if err := tx.QueryRow(ctx, db.sql(rest)).Scan(&s.SchemaVersion, &s.Processes); err != nil {
			return err
		}
		if s.Reader, err = db.readerOf(ctx, tx); err != nil {
			return err
		}
		u, err := scanUpgrade(tx.QueryRow(ctx, db.sql(lastUpgrade)))
		if err != nil && !noRows(err) {
			return err
		}
		s.Upgrade = status.NewUpgradeState(&u)
		if s.Jobs, err = db.openJobs(ctx, tx); err != nil {
			return err
		}
		if s.Resync, err = db.openResync(ctx, tx); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, size, db.cfg.Schema).Scan(&s.Bytes); err != nil {
			return err
		}
		s.Log, err = db.logState(ctx, tx)
		return err
	})
	if err != nil || !s.Bound {
		return s, err
	}
	kept, err := db.sizes(ctx)
	if err != nil {
		return status.PositionState{}, err
	}
	s.Queue = kept.all()
	return s, nil
}

// look is a query whose rows are scanned into variables that use then reads.
type look struct {
	sql  string
	into []any
	use  func()
}

// each runs queries one after the other.
func each(ctx context.Context, tx pgx.Tx, looks ...look) error {
	for _, l := range looks {
		rows, err := tx.Query(ctx, l.sql)
		if err != nil {
			return err
		}
		if _, err := pgx.ForEachRow(rows, l.into, func() error { l.use(); return nil }); err != nil {
			return err
		}
	}
	return nil
}

// sorted returns the values by their keys.
func sorted[T any](m map[string]*T) []T {
	list := make([]T, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, *m[name])
	}
	return list
}
