package delivery

// crew is an outlet's workers, at most as many as its concurrency. Whoever became idle last is called first: what an endpoint with little to do does not
// need lets go of its stack, and of its connection when that has lain idle for long enough.
type crew struct {
	workers int               // goroutines started
	idle    []chan<- struct{} // of them, those that wait for work
}

// staff makes sure that somebody sends one more lane. The caller holds the mutex.
func (o *outlet) staff() {
	c := &o.crew
	switch last := len(c.idle) - 1; {
	case o.gathers():
	case last >= 0:
		c.idle[last] <- struct{}{} // empty: who is in the list waits for one
		c.idle = c.idle[:last]     // now, not when it wakes: the next lane must not count on the same worker
	case c.workers < o.cfg.Concurrency && o.engine.running.Load() && !o.closed:
		c.workers++
		o.engine.workers.Go(o.send)
	}
}

// dismiss lets all workers that are idle end. The caller holds the mutex, and has closed the outlet.
func (o *outlet) dismiss() {
	for _, idle := range o.crew.idle {
		idle <- struct{}{}
	}
	o.crew.idle = nil
}

// send is a worker: it takes a lane, sends its next delivery, and puts it back.
func (o *outlet) send() {
	call := make(chan struct{}, 1)
	for {
		o.engine.finisher.awaitRoom()
		l := o.next(call)
		if l == nil {
			return
		}
		if o.cfg.Batch.On() {
			o.attemptBatch(l)
		} else {
			o.attempt(l)
		}
	}
}

// next waits for a lane, or rather to be called to look for one; nil when the outlet is closed.
func (o *outlet) next(call chan struct{}) *heldLane {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if o.closed {
			return nil
		}
		if l, ok := o.nextLane(); ok {
			o.sending++
			if o.cfg.Batch.On() {
				l.shares = o.bundle(l) // at once: another worker would take some of the company
			}
			return l
		}
		if o.idleBehind() {
			o.engine.finisher.hurry()
		}
		o.crew.idle = append(o.crew.idle, call)
		o.mu.Unlock()
		<-call
		o.mu.Lock()
	}
}
