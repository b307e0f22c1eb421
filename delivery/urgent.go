package delivery

// What has a higher priority than most does not wait for room in memory, nor behind what its lane holds at a lower one.

// urgentShare is the part of an endpoint's memory that is taken beyond its limit, while it is full of lower priorities.
const urgentShare = 4

// hasten lets the engine know of deliveries that were enqueued and did not come to its memory by that: those of lanes that it holds raise them,
// and others are claimed at once if their priority is high.
func (e *Engine) hasten(deliveries []*Delivery, lanes []Lane) {
	fresh := map[string]bool{} // endpoint + lane of what came to memory; made when it is needed
	for _, d := range deliveries {
		o := e.outlets[d.Endpoint]
		if o == nil || d.Priority < PriorityHigh && !o.low.Load() || d.Aside() || d.Seq == 0 {
			continue
		}
		if len(fresh) == 0 {
			for _, l := range lanes {
				fresh[l.Endpoint+"\x00"+l.Key] = true
			}
		}
		if !fresh[d.Endpoint+"\x00"+d.Lane] {
			o.hasten(d)
		}
	}
}

// hasten raises the lane of a delivery, or has it claimed.
func (o *outlet) hasten(d *Delivery) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if h, held := o.held[d.Lane]; held {
		if h.lane != nil {
			o.ready.raise(h.lane, d.Priority)
		}
		return // of one that is on its way out, the store knows the priority
	}
	if d.Priority == PriorityHigh && o.state == enabled {
		o.urgent++
		o.signal()
	}
}

// urgently says how many lanes to claim although there is not enough room for a claim: as many as urgent ones were left to the store. The
// store hands out high priorities first. The caller holds the mutex.
func (o *outlet) urgently() int {
	if o.urgent == 0 || o.ready.high() > o.maxDels/urgentShare || o.free() < -o.maxMem/urgentShare {
		return 0
	}
	return max(min(o.urgent, maxClaim, o.maxDels+o.maxDels/urgentShare-o.deliveries-o.reserved), 0)
}

// served takes the urgent lanes that a claim brought off those that are waited for; all, when it brought all that there was. The caller
// holds the mutex.
func (o *outlet) served(lanes []Lane, more bool) {
	if !more {
		o.urgent = 0
	}
	for _, l := range lanes {
		if l.Priority == PriorityHigh && o.urgent > 0 {
			o.urgent--
		}
	}
}

// Nudge makes the engine look at the store for lanes of these endpoints at once: something has come there by another way than Enqueue.
func (e *Engine) Nudge(endpoints []string) {
	for _, name := range endpoints {
		if o := e.outlets[name]; o != nil {
			o.nudge()
		}
	}
}
