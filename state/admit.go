package state

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// admission is what becomes of a batch at the limits of the endpoints that it is for: what is enqueued, and what is parked, that is takes its
// numbers and is not enqueued. Of one endpoint the parked deliveries are the batch's last: order is kept, and their numbers are one gap.
type admission struct {
	admitted, parked []*delivery.Delivery
	stop, resume     []string // endpoints that begin to be parked, and that take new events again
}

// limited says that limits have a say in the batch.
func (a *admission) limited() bool { return len(a.parked)+len(a.stop)+len(a.resume) > 0 }

// admit decides on a batch, dropping the oldest deliveries of endpoints that are configured so. Far from every limit it asks nobody: what this
// process enqueues it counts itself, and looks at the exact sizes every second.
func (p *Process) admit(ctx context.Context, deliveries []*delivery.Delivery) (admission, error) {
	far := admission{admitted: deliveries}
	if len(deliveries) == 0 || !p.db.limits().set() {
		return far, nil
	}
	more := pendingOf(deliveries)
	if !p.estimate.near(more) {
		return far, nil
	}
	s, err := p.db.sizes(ctx)
	if err != nil {
		return far, err
	}
	if s.takesPlace, err = p.db.takePlace(ctx, deliveries); err != nil {
		return far, err
	}
	dropped := false
	for name, u := range s.needing(deliveries) {
		if e := s.excess(name, u.Pending, u.PendingBytes); p.db.limits().Endpoints[name].DropOldest && (e.Rows > 0 || e.Bytes > 0) {
			if err := p.dropOldest(ctx, name, e); err != nil {
				return far, err
			}
			dropped = true
		}
	}
	if dropped {
		places := s.takesPlace
		if s, err = p.db.sizes(ctx); err != nil {
			return far, err
		}
		s.takesPlace = places
	}
	return s.judge(deliveries), nil
}

// needing sums up what needs room: neither tests do, nor what takes the place of a delivery that waits, be it of the same batch.
func (s *sizes) needing(deliveries []*delivery.Delivery) tally {
	y, places := tally{}, maps.Clone(s.takesPlace)
	for _, d := range deliveries {
		if d.Test {
			continue
		}
		if d.Wait > 0 {
			k := waitingKeyOf(d)
			if places[k] {
				continue
			}
			places[k] = true
		}
		u := y.at(d.Endpoint)
		u.Pending, u.PendingBytes = u.Pending+1, u.PendingBytes+int64(len(d.Body))
	}
	return y
}

// judge decides on deliveries, one after the other, and counts those that are admitted. It is pure but for the sizes.
func (s *sizes) judge(deliveries []*delivery.Delivery) admission {
	var a admission
	parked := map[string]bool{}
	for _, d := range deliveries {
		if d.Test || d.Wait > 0 && s.takesPlace[waitingKeyOf(d)] {
			a.admitted = append(a.admitted, d) // takes no room, or the place of one that waits
			continue
		}
		was := !s.at(d.Endpoint).ParkedSince.IsZero()
		stop, seen := parked[d.Endpoint]
		switch {
		case stop:
		case s.fits(d.Endpoint, len(d.Body), was && !seen):
			if was && !seen {
				a.resume = append(a.resume, d.Endpoint)
			}
			parked[d.Endpoint] = false
			s.grow(d.Endpoint, len(d.Body))
			if d.Wait > 0 {
				s.takesPlace[waitingKeyOf(d)] = true // of the next one
			}
			a.admitted = append(a.admitted, d)
			continue
		default:
			parked[d.Endpoint] = true
			if !was || seen {
				a.stop = append(a.stop, d.Endpoint)
			}
		}
		a.parked = append(a.parked, d)
	}
	return a
}

// setParked notes since when an endpoint is parked, or that it no longer is.
const setParked = `INSERT INTO {schema}.queue_size AS q (endpoint, parked_since) VALUES ($1, CASE WHEN $2 THEN now() END)
	ON CONFLICT (endpoint) DO UPDATE SET parked_since = CASE WHEN $2 THEN coalesce(q.parked_since, now()) END`

// note writes what was parked, in the transaction that takes the numbers.
func (a *admission) note(ctx context.Context, db *DB, t *transaction) error {
	return t.send(ctx, func(b *pgx.Batch) {
		gone, y := make([]missing, len(a.parked)), tally{}
		for i, d := range a.parked {
			gone[i] = missingOf(d)
			y.at(d.Endpoint).Parked++
		}
		db.noteGaps(b, gone, gapParked)
		y.queue(db, b)
		// In the order in which fold takes the rows; an endpoint that resumes and stops in one batch ends parked.
		last := map[string]bool{}
		for _, name := range a.resume {
			last[name] = false
		}
		for _, name := range a.stop {
			last[name] = true
		}
		for _, name := range slices.Sorted(maps.Keys(last)) {
			b.Queue(db.sql(setParked), name, last[name])
		}
	})
}
