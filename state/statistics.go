package state

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// statistics collects counts in memory and writes them once a second: counters that every
// batch updated would be the hottest rows of all, and leave a dead version each for as long as anyone's transaction lasts.
// What a crash loses is a second of counting, never an event. Status adds what is not written yet.
type statistics struct {
	mu        sync.Mutex
	endpoints map[string]*endpointCount
	rules     map[string]*ruleCount

	// flushing is held while counts travel to the table, and by readers that add both up.
	flushing sync.Mutex
}

type endpointCount struct {
	delivered, failed, dead, discarded int64
	success, failure                   time.Time
	message                            string
}

type ruleCount struct {
	matched, parked   int64
	sampled           int64 // of matched
	ignored           int64 // of matched
	dropped           int64 // of matched
	match, parkedTime time.Time
	message           string
}

func (s *statistics) endpoint(name string) *endpointCount {
	if s.endpoints == nil {
		s.endpoints = map[string]*endpointCount{}
	}
	c := s.endpoints[name]
	if c == nil {
		c = &endpointCount{}
		s.endpoints[name] = c
	}
	return c
}

func (s *statistics) rule(name string) *ruleCount {
	if s.rules == nil {
		s.rules = map[string]*ruleCount{}
	}
	c := s.rules[name]
	if c == nil {
		c = &ruleCount{}
		s.rules[name] = c
	}
	return c
}

// enqueued counts a batch that was committed.
func (s *statistics) enqueued(batch *delivery.Batch, at time.Time) {
	if len(batch.Matched) == 0 && len(batch.Parked) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, n := range batch.Matched {
		c := s.rule(name)
		c.matched += n
		c.match = at
	}
	for name, n := range batch.Sampled {
		s.rule(name).sampled += n
	}
	for name, n := range batch.Ignored {
		s.rule(name).ignored += n
	}
	for name, n := range batch.Dropped {
		s.rule(name).dropped += n
	}
	for _, e := range batch.Parked {
		c := s.rule(e.Rule)
		c.parked++
		c.parkedTime, c.message = at, clean(e.Error)
	}
}

// finished counts outcomes that were committed.
func (s *statistics) finished(w *writing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range w.counted {
		c := s.endpoint(o.Delivery.Endpoint)
		at := time.Now()
		if o.Attempt != nil {
			at = o.Attempt.At.Add(o.Attempt.Total)
		}
		if o.Result == delivery.Delivered {
			c.delivered++
			c.success = later(c.success, at)
			continue
		}
		if o.Attempt != nil {
			c.failed++
		}
		if o.Result == delivery.Dead {
			c.dead++
		}
		if !at.Before(c.failure) {
			c.failure, c.message = at, clean(o.Reason)
		}
	}
}

// FlushStatistics writes what has been counted since the last time.
func (db *DB) FlushStatistics(ctx context.Context) error {
	s := &db.stats
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	endpoints, rules := s.endpoints, s.rules
	s.endpoints, s.rules = nil, nil
	s.mu.Unlock()
	if len(endpoints)+len(rules) == 0 {
		return nil
	}
	err := db.transact(ctx, "write statistics", func(t *transaction) error {
		return t.send(ctx, func(b *pgx.Batch) {
			b.Queue("SET LOCAL synchronous_commit = off")
			if len(endpoints) > 0 {
				b.Queue(db.sql(countEndpoints), endpointColumns(endpoints)...)
			}
			if len(rules) > 0 {
				b.Queue(db.sql(countRules), ruleColumns(rules)...)
			}
		})
	})
	var doubt *DoubtError
	if err != nil && !errors.As(err, &doubt) {
		s.putBack(endpoints, rules)
	}
	return err
}

// countEndpoints and countRules add columns of counts up, in the order of names: a statement for each of many would cost ten times as much.
const countEndpoints = `INSERT INTO {schema}.endpoint AS e (name, delivered, failed_attempts, dead, discarded, last_success_at, last_error_at, last_error)
	SELECT u.name, u.delivered, u.failed, u.dead, u.discarded, u.success, u.failure, CASE WHEN u.failure IS NOT NULL THEN u.message END
	FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::timestamptz[], $8::text[])
		u (name, delivered, failed, dead, discarded, success, failure, message)
	ON CONFLICT (name) DO UPDATE SET delivered = e.delivered + excluded.delivered, failed_attempts = e.failed_attempts + excluded.failed_attempts,
		dead = e.dead + excluded.dead, discarded = e.discarded + excluded.discarded,
		last_success_at = greatest(e.last_success_at, excluded.last_success_at), last_error_at = greatest(e.last_error_at, excluded.last_error_at),
		last_error = CASE WHEN excluded.last_error_at >= coalesce(e.last_error_at, '-infinity') THEN excluded.last_error ELSE e.last_error END`

const countRules = `INSERT INTO {schema}.rule AS r (name, matched, parked, last_match_at, last_parked_at, last_error, sampled, ignored, dropped)
	SELECT u.name, u.matched, u.parked, u.match, u.failure, CASE WHEN u.failure IS NOT NULL THEN u.message END, u.sampled, u.ignored, u.dropped
	FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[])
		u (name, matched, parked, match, failure, message, sampled, ignored, dropped)
	ON CONFLICT (name) DO UPDATE SET matched = r.matched + excluded.matched, sampled = r.sampled + excluded.sampled, ignored = r.ignored + excluded.ignored, dropped = r.dropped + excluded.dropped, parked = r.parked + excluded.parked,
		last_match_at = greatest(r.last_match_at, excluded.last_match_at), last_parked_at = greatest(r.last_parked_at, excluded.last_parked_at),
		last_error = CASE WHEN excluded.last_parked_at >= coalesce(r.last_parked_at, '-infinity') THEN excluded.last_error ELSE r.last_error END`

func endpointColumns(counts map[string]*endpointCount) []any {
	names := slices.Sorted(maps.Keys(counts))
	numbers, times, messages := newColumns[int64](4, len(names)), newColumns[*time.Time](2, len(names)), make([]string, len(names))
	for i, name := range names {
		c := counts[name]
		numbers[0][i], numbers[1][i], numbers[2][i], numbers[3][i] = c.delivered, c.failed, c.dead, c.discarded
		times[0][i], times[1][i], messages[i] = orNull(c.success), orNull(c.failure), c.message
	}
	return []any{names, numbers[0], numbers[1], numbers[2], numbers[3], times[0], times[1], messages}
}

func ruleColumns(counts map[string]*ruleCount) []any {
	names := slices.Sorted(maps.Keys(counts))
	numbers, times, messages := newColumns[int64](5, len(names)), newColumns[*time.Time](2, len(names)), make([]string, len(names))
	for i, name := range names {
		c := counts[name]
		numbers[0][i], numbers[1][i], numbers[2][i], numbers[3][i], numbers[4][i] = c.matched, c.parked, c.sampled, c.ignored, c.dropped
		times[0][i], times[1][i], messages[i] = orNull(c.match), orNull(c.parkedTime), c.message
	}
	return []any{names, numbers[0], numbers[1], times[0], times[1], messages, numbers[2], numbers[3], numbers[4]}
}

// newColumns makes n columns of so many values.
func newColumns[T any](n, rows int) [][]T {
	all := make([][]T, n)
	for i := range all {
		all[i] = make([]T, rows)
	}
	return all
}

// putBack adds counts that could not be written to those that came meanwhile.
func (s *statistics) putBack(endpoints map[string]*endpointCount, rules map[string]*ruleCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, old := range endpoints {
		s.endpoint(name).add(old)
	}
	for name, old := range rules {
		s.rule(name).add(old)
	}
}

// add adds the counts of an equal or earlier time.
func (c *endpointCount) add(old *endpointCount) {
	c.delivered += old.delivered
	c.failed += old.failed
	c.dead += old.dead
	c.discarded += old.discarded
	c.success = later(c.success, old.success)
	if old.failure.After(c.failure) {
		c.failure, c.message = old.failure, old.message
	}
}

func (c *ruleCount) add(old *ruleCount) {
	c.matched += old.matched
	c.parked += old.parked
	c.sampled += old.sampled
	c.ignored += old.ignored
	c.dropped += old.dropped
	c.match = later(c.match, old.match)
	if old.parkedTime.After(c.parkedTime) {
		c.parkedTime, c.message = old.parkedTime, old.message
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// orNull makes SQL's NULL of the zero time.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// timeOf makes the zero time of SQL's NULL.
func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
