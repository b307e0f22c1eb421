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
			for _, name := range slices.Sorted(maps.Keys(endpoints)) {
				c := endpoints[name]
				b.Queue(db.sql(countEndpoint), name, c.delivered, c.failed, c.dead, c.discarded, orNull(c.success), orNull(c.failure), c.message)
			}
			for _, name := range slices.Sorted(maps.Keys(rules)) {
				c := rules[name]
				b.Queue(db.sql(countRule), name, c.matched, c.parked, orNull(c.match), orNull(c.parkedTime), c.message, c.sampled, c.ignored, c.dropped)
			}
		})
	})
	var doubt *DoubtError
	if err != nil && !errors.As(err, &doubt) {
		s.putBack(endpoints, rules)
	}
	return err
}

const countEndpoint = `INSERT INTO {schema}.endpoint AS e (name, delivered, failed_attempts, dead, discarded, last_success_at, last_error_at, last_error)
	VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $7::timestamptz IS NOT NULL THEN $8::text END)
	ON CONFLICT (name) DO UPDATE SET delivered = e.delivered + excluded.delivered, failed_attempts = e.failed_attempts + excluded.failed_attempts,
		dead = e.dead + excluded.dead, discarded = e.discarded + excluded.discarded,
		last_success_at = greatest(e.last_success_at, excluded.last_success_at), last_error_at = greatest(e.last_error_at, excluded.last_error_at),
		last_error = CASE WHEN excluded.last_error_at >= coalesce(e.last_error_at, '-infinity') THEN excluded.last_error ELSE e.last_error END`

const countRule = `INSERT INTO {schema}.rule AS r (name, matched, parked, last_match_at, last_parked_at, last_error, sampled, ignored, dropped)
	VALUES ($1, $2, $3, $4, $5, CASE WHEN $5::timestamptz IS NOT NULL THEN $6::text END, $7, $8, $9)
	ON CONFLICT (name) DO UPDATE SET matched = r.matched + excluded.matched, sampled = r.sampled + excluded.sampled, ignored = r.ignored + excluded.ignored, dropped = r.dropped + excluded.dropped, parked = r.parked + excluded.parked,
		last_match_at = greatest(r.last_match_at, excluded.last_match_at), last_parked_at = greatest(r.last_parked_at, excluded.last_parked_at),
		last_error = CASE WHEN excluded.last_parked_at >= coalesce(r.last_parked_at, '-infinity') THEN excluded.last_error ELSE r.last_error END`

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
