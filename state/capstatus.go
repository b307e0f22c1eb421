package state

import "walhook/status"

// queue is what /status shows of an endpoint's queue.
func (s *sizes) queue(endpoint string) status.QueueState {
	u, l := s.at(endpoint), s.limits.Endpoints[endpoint]
	q := shown(*u, l.Limit, s.ratio(endpoint))
	switch {
	case l.DropOldest:
		q.Overflow = "drop-oldest"
	case l.Limit != Limit{}:
		q.Overflow = "park"
	}
	return q
}

// all is what /status shows of all queues together.
func (s *sizes) all() status.QueueState {
	return shown(s.total, s.limits.Total, s.limits.Total.ratio(s.total.Pending, s.total.PendingBytes))
}

func shown(u Usage, l Limit, ratio float64) status.QueueState {
	parking := !u.ParkedSince.IsZero()
	return status.QueueState{
		Rows: u.Pending, Bytes: u.PendingBytes, MaxRows: l.Rows, MaxBytes: l.Bytes, Ratio: ratio, Alarm: ratio >= alarmAt || parking,
		DeadBytes: u.DeadBytes, Parking: parking, ParkedAt: u.ParkedSince.UTC(), Parked: u.Parked, Dropped: u.Dropped,
	}
}
