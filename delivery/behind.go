package delivery

import "slices"

// Who waits for an outcome to be committed: what nobody waits for is committed together with others, see finisher.

// awaited says that somebody waits for the outcome with which a lane leaves memory to be committed: a worker that has nothing else to do for what comes
// behind it in the store, another process for what is given back, people for what is dead. The caller holds the mutex.
func (o *outlet) awaited(l *heldLane, outcome *Outcome) bool {
	switch {
	case outcome.Disable != "" || outcome.Result == Dead || outcome.Result == Released:
		return true
	case outcome.Result == Retry:
		return false
	}
	return (l.more || o.held[l.key].behind) && o.ready.len() == 0
}

// behind lets the engine know of deliveries that were enqueued behind lanes that it holds, before it is given those that came to its memory by that.
func (e *Engine) behind(deliveries []*Delivery) {
	awaited := false
	for len(deliveries) > 0 {
		name := deliveries[0].Endpoint
		n := slices.IndexFunc(deliveries, func(d *Delivery) bool { return d.Endpoint != name })
		if n < 0 {
			n = len(deliveries)
		}
		if o := e.outlets[name]; o != nil {
			awaited = o.behind(deliveries[:n]) || awaited
		}
		deliveries = deliveries[n:]
	}
	if awaited {
		e.finisher.hurry()
	}
}

// behind says that a worker has nothing else to do than what has come behind a lane.
func (o *outlet) behind(deliveries []*Delivery) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	some := false
	for _, d := range deliveries {
		if h, held := o.held[d.Lane]; held && !h.behind {
			h.behind = true
			o.held[d.Lane] = h
			some = true
		}
	}
	return some && o.ready.len() == 0
}
