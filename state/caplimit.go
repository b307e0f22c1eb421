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
	// shareAt is the part of the total that is for all; the rest is reserved, in equal parts, for each endpoint, so that receivers that are away
	// do not take the place of one that works.
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

	takesPlace map[waitingKey]bool // what waits, and would be replaced by a delivery that is judged
}

func newSizes(limits Limits, list []Usage) *sizes {
	s := &sizes{limits: limits, of: make(map[string]*Usage, len(list)), takesPlace: map[waitingKey]bool{}}
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

// times is a part of a limit. Of a limit at least one is left: zero would be none.
func (l Limit) times(part float64) Limit {
	of := func(n int64) int64 { return max(int64(float64(n)*part), min(n, 1)) }
	return Limit{of(l.Rows), of(l.Bytes)}
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

// reserve is an endpoint's part of the last tenth of the total limit. Nobody else can take it.
func (s *sizes) reserve() Limit {
	part := func(n int64) int64 {
		if n == 0 {
			return 0
		}
		return max(int64(float64(n)*(1-shareAt))/int64(max(len(s.limits.Endpoints), 1)), 1)
	}
	return Limit{part(s.limits.Total.Rows), part(s.limits.Total.Bytes)}
}

// fitsTotal says whether the total limit lets an endpoint keep so many rows and bytes, of which the last delivery is new: within its reserve
// always, beyond it while all together keep less than shareAt. So the total is never exceeded, however many receivers are away.
func (s *sizes) fitsTotal(rows, size, bytes int64, part float64) bool {
	return s.reserve().times(part).takes(rows, size) || s.limits.Total.times(shareAt*part).takes(s.total.Pending+1, s.total.PendingBytes+bytes)
}

// fits says whether an endpoint may take one more delivery. A parked one must first have drained, unless it drops the oldest.
func (s *sizes) fits(endpoint string, bytes int, parked bool) bool {
	u, l, part := s.at(endpoint), s.limits.Endpoints[endpoint], 1.0
	if parked && !l.DropOldest {
		part = resumeAt
	}
	rows, size := u.Pending+1, u.PendingBytes+int64(bytes)
	if u.Pending == 0 {
		size = 0 // one delivery that is larger than the limit can still be sent
	}
	return l.times(part).takes(rows, size) && l.times(deadAt).takes(u.Dead, u.DeadBytes) && s.fitsTotal(rows, size, int64(bytes), part)
}

// excess is how many of the oldest rows, and bytes, an endpoint must drop before it may take so many more.
func (s *sizes) excess(endpoint string, rows, bytes int64) Limit {
	u, l, r := s.at(endpoint), s.limits.Endpoints[endpoint].Limit, s.reserve()
	total := s.limits.Total.times(shareAt)
	over := func(have, more, limit int64) int64 {
		if limit == 0 {
			return 0
		}
		return max(have+more-limit, 0)
	}
	e := Limit{over(u.Pending, rows, l.Rows), over(u.PendingBytes, bytes, l.Bytes)}
	if !r.takes(u.Pending+rows, u.PendingBytes+bytes) { // what would lead beyond its reserve must find room in the total
		e.Rows = max(e.Rows, min(over(s.total.Pending, rows, total.Rows), over(u.Pending, rows, r.Rows)))
		e.Bytes = max(e.Bytes, min(over(s.total.PendingBytes, bytes, total.Bytes), over(u.PendingBytes, bytes, r.Bytes)))
	}
	return Limit{min(e.Rows, u.Pending), min(e.Bytes, u.PendingBytes)} // more than it keeps it cannot drop
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
