package state

import (
	"context"
	"fmt"
)

// FullError says that an endpoint's queue has no room for more that is sent again: it would take the place of new events, which
// would be parked or dropped.
type FullError struct {
	Endpoint string
	Total    bool // the endpoint's own queue has room; all queues together do not
}

// Error says so.
func (e *FullError) Error() string {
	if e.Total {
		return fmt.Sprintf("the queues of all endpoints together leave no room for more in that of endpoint %q: what is sent again would take the place of new events", e.Endpoint)
	}
	return fmt.Sprintf("the queue of endpoint %q is %.0f %% full: what is sent again would take the place of new events", e.Endpoint, 100*resumeAt)
}

// Hint says what to do.
func (e *FullError) Hint() string {
	if e.Total {
		return "do the rest when they have drained (walhook status); or raise max_rows and max_bytes in [state]"
	}
	return fmt.Sprintf("do the rest when it has drained (walhook status); or raise max_rows and max_bytes in endpoints.%s.queue", e.Endpoint)
}

// thatFit returns the first of a list for which their endpoints' queues have room; a *[FullError] when not even the
// first fits. Limits leave a part free for new events.
func thatFit[T any](ctx context.Context, db *DB, list []T, of func(T) (endpoint string, bytes int64)) ([]T, error) {
	n, full, err := fitting(ctx, db, list, of)
	if err == nil && full != nil && n == 0 {
		err = full
	}
	return list[:n], err
}

// fitting counts the first of a list that fit, and says what the next one lacks.
func fitting[T any](ctx context.Context, db *DB, list []T, of func(T) (endpoint string, bytes int64)) (int, *FullError, error) {
	if !db.limits().set() || len(list) == 0 {
		return len(list), nil, nil
	}
	s, err := db.sizes(ctx)
	if err != nil {
		return 0, nil, err
	}
	for i, d := range list {
		endpoint, bytes := of(d)
		if !s.room(endpoint, bytes) {
			return i, s.full(endpoint, bytes), nil
		}
		s.grow(endpoint, int(bytes))
	}
	return len(list), nil, nil
}

// room says whether a queue may take a delivery that is sent again.
func (s *sizes) room(endpoint string, bytes int64) bool {
	u := s.at(endpoint)
	return u.Pending == 0 || s.roomOfItsOwn(u, bytes) && s.fitsTotal(u.Pending+1, u.PendingBytes+bytes, bytes, resumeAt)
}

// roomOfItsOwn says whether the endpoint's own limit lets it.
func (s *sizes) roomOfItsOwn(u *Usage, bytes int64) bool {
	return s.limits.Endpoints[u.Endpoint].times(resumeAt).takes(u.Pending+1, u.PendingBytes+bytes)
}

// full says which limit leaves no room.
func (s *sizes) full(endpoint string, bytes int64) *FullError {
	return &FullError{Endpoint: endpoint, Total: s.roomOfItsOwn(s.at(endpoint), bytes)}
}
