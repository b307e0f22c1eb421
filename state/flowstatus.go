package state

import (
	"time"

	"walhook/status"
)

// lookAtFlow is the query for whether endpoints are sent to.
func (db *DB) lookAtFlow(at func(name string) *status.EndpointState) look {
	const read = `SELECT name, paused_at, coalesce(paused_reason, ''), failures, failing_since, open_since, open_until, coalesce(open_reason, '') FROM {schema}.endpoint`
	var name, paused, open string
	var failures int
	var t1, t2, t3, t4 *time.Time
	return look{db.sql(read), []any{&name, &t1, &paused, &failures, &t2, &t3, &t4, &open}, func() {
		s := &at(name).FlowState
		*s = status.FlowState{Paused: t1 != nil, PausedAt: timeOf(t1), PausedReason: paused, Failures: failures, FailingSince: timeOf(t2),
			OpenSince: timeOf(t3), NextProbe: timeOf(t4), OpenWhy: open}
		if t3 != nil {
			s.Breaker = status.BreakerOpen
		}
	}}
}
