package delivery

import "slices"

// An outcome that nobody waits for is committed together with others, see finisher. A worker waits for one when it has nothing else to do than what has
// come behind a lane that leaves memory: the store hands that out with the commit.

// awaited says that an outcome is not to wait for others: another process waits for what is given back, people for what is dead.
func awaited(outcome *Outcome) bool {
	return outcome.Disable != "" || outcome.Result == Dead || outcome.Result == Released
}

// leave notes that a lane leaves memory and may go on once its outcome is committed. The caller holds the mutex.
func (o *outlet) leave(l *heldLane) {
	h := o.held[l.key]
	h.leaving, h.behind = true, h.behind || l.more
	o.held[l.key] = h
	if h.behind {
		o.followed++
	}
}

// leftMemory forgets a lane whose outcome is committed. The caller holds the mutex.
func (o *outlet) leftMemory(key string) holding {
	h := o.held[key]
	delete(o.held, key)
	if h.leaving && h.behind {
		o.followed--
	}
	return h
}

// idleBehind says that a worker has nothing else to do than what is behind a lane that leaves. The caller holds the mutex.
func (o *outlet) idleBehind() bool { return o.followed > 0 && o.ready.len() == 0 }

// noteBehind lets the engine know of deliveries that were enqueued behind lanes that it holds, before it is given those that came to its memory by that.
func (e *Engine) noteBehind(deliveries []*Delivery) {
	hurry := false
	for len(deliveries) > 0 {
		name := deliveries[0].Endpoint
		n := slices.IndexFunc(deliveries, func(d *Delivery) bool { return d.Endpoint != name })
		if n < 0 {
			n = len(deliveries)
		}
		if o := e.outlets[name]; o != nil {
			hurry = o.noteBehind(deliveries[:n]) || hurry
		}
		deliveries = deliveries[n:]
	}
	if hurry {
		e.finisher.hurry()
	}
}

// noteBehind marks the lanes, and says whether an outcome of theirs is awaited now: by a worker with nothing else to do, or as what has come has a high
// priority.
func (o *outlet) noteBehind(deliveries []*Delivery) (hurry bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	some := false
	for _, d := range deliveries {
		h, held := o.held[d.Lane]
		if !held || d.Aside() || d.Seq == 0 {
			continue
		}
		if h.leaving {
			some = true
			hurry = hurry || d.Priority == PriorityHigh
			if !h.behind {
				o.followed++
			}
		}
		if !h.behind {
			h.behind = true
			o.held[d.Lane] = h
		}
	}
	return hurry || some && o.idleBehind()
}
