package delivery

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// gathering is what an outlet that batches knows of the lanes that are ready.
type gathering struct {
	since      time.Time   // when the first of them came; zero when there are none
	deliveries int         // in them
	bytes      int64       // of their elements
	eager      int         // how many of the lanes wait for no others
	handing    int         // lanes are being handed over: more come at once
	refilled   bool        // the one lane of the endpoint was given back, to come again with all that the store has of it
	timer      *time.Timer // ends the wait; nil when none is set
}

// share is what of a lane is in a batch: its first n deliveries. The lane is in one batch at a time and in no line meanwhile, so that
// at most one request of it is under way (invariant 4).
type share struct {
	lane *heldLane
	n    int
}

// queue puts a lane at the end of the line. The caller holds the mutex.
func (o *outlet) queue(l *heldLane) {
	if o.cfg.Batch.On() {
		g := &o.gather
		if g.since.IsZero() {
			g.since = o.engine.opts.Clock()
		}
		l.eager = l.eager || l.more || g.refilled || l.most > 0 || l.half != nil
		g.refilled = false
		g.count(l, 1)
	}
	o.ready.push(l)
}

// take removes the first lane of the line. The caller holds the mutex.
func (o *outlet) take() (l *heldLane, ok bool) {
	if l, ok = o.ready.pop(); ok && o.cfg.Batch.On() {
		o.gather.count(l, -1)
		l.eager = false
		if o.ready.len() == 0 {
			o.gather.since = time.Time{}
		}
	}
	return l, ok
}

// takeNext is take for a worker: it finds nothing while lanes wait for others. The caller holds the mutex.
func (o *outlet) takeNext() (l *heldLane, ok bool) {
	if o.gathers() {
		return nil, false
	}
	return o.take()
}

func (g *gathering) count(l *heldLane, sign int) {
	if l.eager {
		g.eager += sign
	}
	g.deliveries += sign * len(l.rest)
	for _, d := range l.rest {
		g.bytes += int64(sign * elementSize(d))
	}
}

// gathers says that the lanes that are ready wait for others to share a request with, and sees to it that they wait no longer
// than they may. Nothing waits when there is enough for a batch, no room for more, or the breaker wants something to probe with. The caller
// holds the mutex.
func (o *outlet) gathers() bool {
	c, g := &o.cfg.Batch, &o.gather
	switch {
	case g.handing > 0 && !o.closed:
		return true
	case c.Wait == 0, g.since.IsZero(), o.closed, o.gate.breaker.isOpen(), g.eager > 0, g.deliveries >= c.Size, g.bytes >= int64(c.Bytes),
		o.room() == 0, o.backlog && !o.ample():
		return false
	}
	left := c.Wait.Std() - o.engine.opts.Clock().Sub(g.since)
	if left > 0 && g.timer == nil {
		g.timer = time.AfterFunc(left, o.waited)
	}
	return left > 0
}

// handOver lets nobody send a batch until the lanes that are handed over one by one are all there: what was committed or claimed together
// goes together. The function that it returns ends that.
func (e *Engine) handOver() (done func()) {
	for _, o := range e.batching {
		o.mu.Lock()
		o.gather.handing++
		o.mu.Unlock()
	}
	return func() {
		for _, o := range e.batching {
			o.mu.Lock()
			o.gather.handing--
			if o.ready.len() > 0 {
				o.staff()
			}
			o.mu.Unlock()
		}
	}
}

// waited ends a wait. The one lane of an endpoint gets no longer in memory: what came behind it meanwhile is in the store. It goes back
// there, and comes again, with all that fits into a batch.
func (o *outlet) waited() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gather.timer = nil
	if o.ready.len() == 0 || o.closed {
		return
	}
	if o.cfg.Ordering == OrderEndpoint && !o.gathers() && o.gather.eager == 0 && o.gather.deliveries < o.cfg.Batch.Size {
		o.gather.refilled = true
		o.release()
		o.signal()
		return
	}
	o.staff()
}

// bundle chooses what goes into a request with a lane that was taken: further lanes in their turn, as long as they fit. The caller
// holds the mutex, and has since it took the lane.
func (o *outlet) bundle(l *heldLane) []share {
	if half := l.half; half != nil {
		l.half = nil
		return half
	}
	var shares []share
	var head *Delivery // one that is in it
	count, most, bytes := 0, o.cfg.Batch.Size, int64(2)
	switch {
	case l.pass.probe:
		most = 1 // which may fail, and costs an attempt
	case l.most > 0:
		most = min(most, l.most)
	}
	for {
		n := 0
		for _, d := range l.rest {
			limit, size := min(most, o.company(d)), int64(elementSize(d))
			if count > 0 && (count >= limit || bytes+size > int64(o.cfg.Batch.Bytes) || !companions(head, d)) {
				break
			}
			head = d
			most = limit
			bytes += size
			count++
			n++
		}
		if n > 0 {
			shares = append(shares, share{l, n})
		} else {
			o.queue(l) // the next one has room for it
		}
		if n < len(l.rest) || count >= most || shares[0].lane.most > 0 {
			break
		}
		next, ok := o.take()
		if !ok {
			break
		}
		if l = next; l.most > 0 || l.half != nil {
			o.queue(l)
			break
		}
	}
	if o.ready.len() > 0 {
		o.staff()
	}
	return shares
}

// company is the number of deliveries in the largest batch that a delivery may be in: fewer from attempt to attempt, and in the last
// one it is alone. A receiver that fails whenever it sees one certain delivery, or that is too slow for so many, so makes no other one dead.
func (o *outlet) company(d *Delivery) int {
	size, limit := o.cfg.Batch.Size, o.cfg.Retry.Limit()
	if d.Attempts == 0 || limit < 2 {
		return size
	}
	left := max(float64(limit-1-d.Attempts), 0) / float64(limit-1)
	return max(int(math.Pow(float64(size), left)), 1)
}

// attemptBatch sends a lane's next deliveries together with those of others, and decides what becomes of each.
func (o *outlet) attemptBatch(l *heldLane) {
	through := l.pass
	shares := l.shares
	l.shares = nil
	o.settle(shares, o.sendBatch(shares), through)
}

// batchResult is what became of a batch.
type batchResult struct {
	verdicts map[*Delivery]Outcome // what is missing was not sent, for a reason of our own
	first    *Delivery             // of what was sent; nil when nothing was
	attempt  *Attempt              // the request; nil when none was made
}

// sendBatch makes the request.
func (o *outlet) sendBatch(shares []share) (r batchResult) {
	e := o.engine
	r.verdicts = map[*Delivery]Outcome{}
	ctx := e.sending()
	if ctx.Err() != nil || !e.leaseValid() {
		return r
	}
	var sent []*Delivery
	for _, s := range shares {
		for _, d := range s.lane.rest[:s.n] {
			if a := o.cfg.Queue.expired(d, e.opts.Clock()); a != nil {
				r.verdicts[d] = decide(&o.cfg, d, a, e.opts.Clock())
				e.opts.Trace.attemptDone(d, a, r.verdicts[d])
				continue
			}
			sent = append(sent, d)
		}
	}
	if len(sent) == 0 {
		return r
	}
	// In the order of enqueueing, which is each lane's own too.
	slices.SortStableFunc(sent, func(a, b *Delivery) int { return cmp.Compare(a.Seq, b.Seq) })
	message := NewBatch(sent)
	r.attempt = e.request(ctx, message)
	r.first = sent[0]
	for i, outcome := range decideBatch(&o.cfg, message, sent, r.attempt, e.opts.Clock()) {
		r.verdicts[sent[i]] = outcome
		shown := outcome.Attempt
		if shown == nil {
			shown = r.attempt
		}
		e.opts.Trace.attemptDone(sent[i], shown, outcome)
	}
	return r
}
