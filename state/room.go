package state

import (
	"context"
	"fmt"
)

// FullError says that an endpoint's queue has no room for more that is sent again: it would take the place of new events, which
// would be parked or dropped.
type FullError struct {
	Endpoint string
}

// Error says so.
func (e *FullError) Error() string {
	return fmt.Sprintf("the queue of endpoint %q is %.0f %% full: what is sent again would take the place of new events", e.Endpoint, 100*resumeAt)
}

// Hint says what to do.
func (e *FullError) Hint() string {
	return fmt.Sprintf("do the rest when it has drained (walhook status); or raise max_rows and max_bytes in endpoints.%s.queue and in [state]", e.Endpoint)
}

// thatFit returns the first of a list for which their endpoints' queues have room; a *[FullError] when not even the
// first fits. Limits leave a part free for new events.
func thatFit[T any](ctx context.Context, db *DB, list []T, of func(T) (endpoint string, bytes int64)) ([]T, error) {
	if !db.cfg.Limits.set() || len(list) == 0 {
		return list, nil
	}
	s, err := db.sizes(ctx)
	if err != nil {
		return nil, err
	}
	for i, d := range list {
		endpoint, bytes := of(d)
		if s.room(endpoint, bytes) {
			s.grow(endpoint, int(bytes))
			continue
		}
		if i == 0 {
			return nil, &FullError{Endpoint: endpoint}
		}
		return list[:i], nil
	}
	return list, nil
}

// room says whether a queue may take a delivery that is sent again.
func (s *sizes) room(endpoint string, bytes int64) bool {
	u := s.at(endpoint)
	return u.Pending == 0 || s.limits.Endpoints[endpoint].times(resumeAt).takes(u.Pending+1, u.PendingBytes+bytes) &&
		s.limits.Total.times(resumeAt).takes(s.total.Pending+1, s.total.PendingBytes+bytes)
}
