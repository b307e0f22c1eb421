package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Limit bounds rows and bytes of bodies. Zero means that there is no limit.
type Limit struct{ Rows, Bytes int64 }

// QueueLimit is what may be kept for one endpoint. Pending deliveries and dead letters are counted apart, each up to Limit.
type QueueLimit struct {
	Limit
	DropOldest bool // when the limit is reached: drop the oldest pending deliveries; false: park, that is not to enqueue new ones
}

// Limits keep a receiver that is away from filling the disk (F5).
type Limits struct {
	Total     Limit                 // of pending deliveries for all endpoints together
	Endpoints map[string]QueueLimit // endpoints that are not in here have no limit of their own
}

const (
	resumeAt = 0.8 // a parked queue takes new events again at this part of its limit
	alarmAt  = 0.8 // an alarm is raised at this part
	calmAt   = 0.7 // and ends at this one, so that it does not flicker
	// shareAt is the part of the total from which on endpoints that keep more than their share of it are refused: the rest is for those that keep
	// less, so that a receiver that is away does not take the place of one that works.
	shareAt = 0.9
	// watchAt is the part of a limit from which on every batch asks for the exact sizes.
	watchAt = 0.7
	// deadAt times its limit is when dead letters that hold their lanes, which are never dropped, park new events.
	deadAt = 2
)

func (l Limits) set() bool { return l.Total != Limit{} || len(l.Endpoints) > 0 }

func (l Limits) validate() error {
	var problems []error
	check := func(key string, limit Limit) {
		if limit.Rows < 0 || limit.Bytes < 0 {
			problems = append(problems, fmt.Errorf("%s: a limit cannot be negative", key))
		}
	}
	check("state.max_rows", l.Total)
	for _, name := range slices.Sorted(maps.Keys(l.Endpoints)) {
		check("endpoints."+name+".queue", l.Endpoints[name].Limit)
	}
	return errors.Join(problems...)
}

// Usage is how much is kept for an endpoint, or for all.
type Usage struct {
	Endpoint              string
	Pending, PendingBytes int64     // deliveries that have not ended
	Dead, DeadBytes       int64     // dead letters
	Parked                int64     // events that were never enqueued, ever
	Dropped               int64     // deliveries and dead letters that were dropped, ever
	ParkedSince           time.Time // new events are parked since then; zero when they are not
}

// sizes are the usages of all endpoints, and their sum.
type sizes struct {
	limits Limits
	of     map[string]*Usage
	total  Usage
}

func newSizes(limits Limits, list []Usage) *sizes {
	s := &sizes{limits: limits, of: make(map[string]*Usage, len(list))}
	for _, u := range list {
		s.of[u.Endpoint] = &u
		s.total.add(u)
	}
	return s
}

func (s *sizes) at(endpoint string) *Usage {
	u := s.of[endpoint]
	if u == nil {
		u = &Usage{Endpoint: endpoint}
		s.of[endpoint] = u
	}
	return u
}

// grow counts a delivery more.
func (s *sizes) grow(endpoint string, bytes int) {
	u := s.at(endpoint)
	u.Pending, u.PendingBytes = u.Pending+1, u.PendingBytes+int64(bytes)
	s.total.Pending, s.total.PendingBytes = s.total.Pending+1, s.total.PendingBytes+int64(bytes)
}

// add sums up what can be summed up.
func (u *Usage) add(o Usage) {
	u.Pending, u.PendingBytes, u.Dead, u.DeadBytes = u.Pending+o.Pending, u.PendingBytes+o.PendingBytes, u.Dead+o.Dead, u.DeadBytes+o.DeadBytes
	u.Parked, u.Dropped = u.Parked+o.Parked, u.Dropped+o.Dropped
}

// times is a part of a limit.
func (l Limit) times(part float64) Limit {
	return Limit{int64(float64(l.Rows) * part), int64(float64(l.Bytes) * part)}
}

// takes says whether rows and bytes are within the limit.
func (l Limit) takes(rows, bytes int64) bool {
	return (l.Rows == 0 || rows <= l.Rows) && (l.Bytes == 0 || bytes <= l.Bytes)
}

// ratio is the larger of the parts that rows and bytes are of their limits.
func (l Limit) ratio(rows, bytes int64) float64 {
	r := 0.0
	if l.Rows > 0 {
		r = float64(rows) / float64(l.Rows)
	}
	if l.Bytes > 0 {
		r = max(r, float64(bytes)/float64(l.Bytes))
	}
	return r
}

// totalFor is the part of the total limit that an endpoint may fill.
func (s *sizes) totalFor(u *Usage) Limit {
	n := int64(max(len(s.limits.Endpoints), 1))
	share := Limit{s.limits.Total.Rows / n, s.limits.Total.Bytes / n}
	if share.takes(u.Pending, u.PendingBytes) {
		return s.limits.Total
	}
	return s.limits.Total.times(shareAt)
}

// fits says whether an endpoint may take one more delivery. A parked one must first have drained.
func (s *sizes) fits(endpoint string, bytes int, parked bool) bool {
	u, l, part := s.at(endpoint), s.limits.Endpoints[endpoint].Limit, 1.0
	if parked {
		part = resumeAt
	}
	rows, size := u.Pending+1, u.PendingBytes+int64(bytes)
	if u.Pending == 0 {
		size = 0 // one delivery that is larger than the limit can still be sent
	}
	total := s.totalFor(u).times(part)
	return l.times(part).takes(rows, size) && l.times(deadAt).takes(u.Dead, u.DeadBytes) &&
		total.takes(s.total.Pending+1, s.total.PendingBytes+int64(bytes))
}

// excess is how many of the oldest rows, and bytes, an endpoint must drop before it may take so many more.
func (s *sizes) excess(endpoint string, rows, bytes int64) Limit {
	u, l := s.at(endpoint), s.limits.Endpoints[endpoint].Limit
	var e Limit
	over := func(have, more, limit int64, into *int64) {
		if limit > 0 {
			*into = max(*into, have+more-limit)
		}
	}
	total := s.totalFor(&Usage{Pending: u.Pending + rows, PendingBytes: u.PendingBytes + bytes})
	over(u.Pending, rows, l.Rows, &e.Rows)
	over(s.total.Pending, rows, total.Rows, &e.Rows)
	over(u.PendingBytes, bytes, l.Bytes, &e.Bytes)
	over(s.total.PendingBytes, bytes, total.Bytes, &e.Bytes)
	return e
}

// near says whether an endpoint that takes more may come close to a limit, so that its exact size matters.
func (s *sizes) near(endpoint string, rows, bytes int64) bool {
	u, l := s.at(endpoint), s.limits.Endpoints[endpoint].Limit
	watch := func(l Limit, haveRows, haveBytes int64) bool {
		// Below watchAt, and a batch more would stay below the limit.
		return !l.times(watchAt).takes(haveRows, haveBytes) || !l.takes(haveRows+rows, haveBytes+bytes)
	}
	return !u.ParkedSince.IsZero() || watch(l, u.Pending, u.PendingBytes) || watch(s.limits.Total, s.total.Pending, s.total.PendingBytes) ||
		!l.takes(u.Dead, u.DeadBytes)
}

// ratio is how full an endpoint's limits are: its own for pending deliveries and for dead letters, and the total.
func (s *sizes) ratio(endpoint string) float64 {
	u, l := s.at(endpoint), s.limits.Endpoints[endpoint].Limit
	return max(l.ratio(u.Pending, u.PendingBytes), l.ratio(u.Dead, u.DeadBytes))
}
