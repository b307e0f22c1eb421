package state

import (
	"sync"
	"time"

	"walhook/delivery"
)

const (
	// markOverlap is how far before its mark a claim looks: a transaction that frees lanes as of its begin may be committed a little later.
	markOverlap = 50 * time.Millisecond
	// markRescan is how long claims go on from a mark before one looks from the beginning again.
	markRescan = time.Second
	// markShare is how much longer than that look takes it must have been since the last one.
	markShare = 20
)

// marks remember, for every endpoint and priority, how far claims have come in the index of free lanes: behind what they took last. What lies in
// front are entries of lanes that were taken. While anybody keeps a transaction open on the database they cannot be removed, nor
// marked as dead, and a claim that began in front would read all of them each time.
//
// A mark spares work and decides nothing. It goes back for what this process puts in front of it, so that retries are on time. A lane that comes to lie
// there all the same, as it was locked when its turn came, raised to another priority or put there by another process, is found when a claim looks from the beginning, which one does every second, or
// less often where that takes more than 50 ms.
type marks struct {
	mu     sync.Mutex
	of     map[string]*mark // by endpoint
	rescan time.Duration    // markRescan, and other values in tests
}

// mark is how far claims of one endpoint have come.
type mark struct {
	due  map[delivery.Priority]time.Time
	full time.Time     // when a claim last began in front
	took time.Duration // and how long that took
	back time.Time     // the least that came in front since a claim began; zero when nothing did
}

// begin says from where a claim looks, by priority, and whether that is from the beginning.
func (m *marks) begin(endpoint string, now time.Time) (from map[delivery.Priority]time.Time, full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.of[endpoint]
	if k != nil {
		k.back = time.Time{}
	}
	if k == nil || now.Sub(k.full) >= max(m.rescan, markShare*k.took) {
		return nil, true
	}
	from = make(map[delivery.Priority]time.Time, len(k.due))
	for priority, due := range k.due {
		from[priority] = due.Add(-markOverlap)
	}
	return from, false
}

// end notes what a claim that is committed took, and which of it was left in its place. A full one began at a time and took so long; where it took
// all that it was to take, more may lie there.
func (m *marks) end(endpoint string, took []wanted, left []found, full, more bool, began time.Time, duration time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]*mark{}
	}
	k := m.of[endpoint]
	if k == nil {
		k = &mark{due: map[delivery.Priority]time.Time{}}
		m.of[endpoint] = k
	}
	if full {
		k.full, k.took = began, duration
		if more { // the next claim goes on from where this one ended, not from where the last one did
			clear(k.due)
		}
	}
	for _, w := range took {
		if w.due.After(k.due[w.priority]) {
			k.due[w.priority] = w.due
		}
	}
	for _, f := range left {
		k.goBack(f.due)
	}
	if !k.back.IsZero() {
		k.goBack(k.back) // it may have been committed after this claim has looked
	}
}

// retried notes when lanes are due again whose outcomes are committed. Under load that can be over before the commit.
func (m *marks) retried(outcomes []delivery.Outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range outcomes {
		if o := &outcomes[i]; o.Result == delivery.Retry {
			m.of[o.Delivery.Endpoint].goBack(o.Next)
		}
	}
}

// goBack makes the next claim look from a time on, whatever the priority.
func (k *mark) goBack(due time.Time) {
	if k == nil {
		return // nothing was claimed yet
	}
	if k.back.IsZero() || due.Before(k.back) {
		k.back = due
	}
	for priority, at := range k.due {
		if due.Before(at) {
			k.due[priority] = due
		}
	}
}
