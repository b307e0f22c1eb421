package delivery

// settle hands the outcomes of a batch on and puts its lanes back: into the line, into smaller batches, or out of memory.
func (o *outlet) settle(shares []share, r batchResult, through pass) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending--
	said := r.verdicts[r.first]
	o.judge(through, r.attempt, &said) // one request, however many deliveries
	if r.first != nil {
		r.verdicts[r.first] = said
	}
	for _, outcome := range r.verdicts {
		if outcome.Disable != "" && o.state == enabled {
			o.state = disabling
			o.engine.opts.Trace.disabled(o.name, outcome.Disable)
			o.release()
		}
	}
	var again []share
	for _, s := range shares {
		if n := o.settleLane(s, r.verdicts); n > 0 {
			again = append(again, share{s.lane, n})
		}
	}
	o.regroup(again)
	o.roomMade()
}

// settleLane hands on the outcomes of one lane. It returns how many of its first deliveries are to be sent again
// in a smaller batch, and leaves the lane to the caller then. The caller holds the mutex.
func (o *outlet) settleLane(s share, verdicts map[*Delivery]Outcome) (again int) {
	l, f := s.lane, o.engine.finisher
	outcomes := make([]Outcome, s.n)
	var stay, gone []*Delivery
	goesOn, decides := !o.closed && o.state == enabled, s.n-1
	for i, d := range l.rest[:s.n] {
		outcome, sent := verdicts[d]
		if !sent {
			outcome = Outcome{Delivery: d, Result: Released}
		}
		outcomes[i] = outcome
		if outcome.Result == Regrouped {
			stay = append(stay, d)
		} else {
			gone = append(gone, d)
		}
		goesOn = goesOn && rank(&outcome) <= rankRegrouped
	}
	if goesOn && (len(stay) > 0 || len(l.rest) > s.n) {
		for _, outcome := range outcomes {
			f.add(outcome)
		}
		o.forget(gone)
		l.rest = append(stay, l.rest[s.n:]...)
		if len(stay) > 0 {
			return len(stay)
		}
		if l.most *= 2; l.most >= o.cfg.Batch.Size {
			l.most = 0
		}
		o.queue(l)
		return 0
	}
	// The rest of the lane leaves memory. The store goes by the lane's last outcome, so the one that decides comes last: the
	// first that stops the lane.
	for i := s.n - 1; i >= 0; i-- {
		if r := rank(&outcomes[i]); r > rankEnded && r >= rank(&outcomes[decides]) {
			decides = i
		}
	}
	for i, outcome := range outcomes {
		if i != decides && outcome.Result != Released {
			f.add(outcome)
		}
	}
	o.forget(l.rest)
	for i := range outcomes { // a lane holds, whatever else stops it
		outcomes[decides].Hold = outcomes[decides].Hold || outcomes[i].Hold
	}
	outcomes[decides].LaneDone = true
	f.add(outcomes[decides])
	return 0
}

// The ranks of outcomes of one lane: the highest says what becomes of it.
const (
	rankEnded = iota // it goes on
	rankRegrouped
	rankReleased
	rankRetry
	rankHold
	rankDisable
)

func rank(o *Outcome) int {
	switch {
	case o.Disable != "":
		return rankDisable
	case o.Hold:
		return rankHold
	case o.Result == Retry:
		return rankRetry
	case o.Result == Released:
		return rankReleased
	case o.Result == Regrouped:
		return rankRegrouped
	}
	return rankEnded
}

// regroup puts what was in a batch that was refused into the line again, as two batches of half the size, so that in the end only
// what the receiver refuses is dead. A lane is never in both, so of a batch that is one lane's only the first half is sent, and the next one of
// that lane may be twice as large once it was taken. The caller holds the mutex.
func (o *outlet) regroup(shares []share) {
	total := 0
	for _, s := range shares {
		total += s.n
	}
	switch len(shares) {
	case 0:
	case 1:
		shares[0].lane.most = max(total/2, 1)
		o.queue(shares[0].lane)
		o.staff()
	default:
		k, n := 1, shares[0].n
		for k < len(shares)-1 && n < total/2 {
			n += shares[k].n
			k++
		}
		for _, part := range [][]share{shares[:k:k], shares[k:]} {
			first := part[0].lane
			if len(part) == 1 {
				first.most = part[0].n
			} else {
				first.half = part
			}
			o.queue(first)
			o.staff()
		}
	}
}

// together lists the lanes that leave the line with l.
func (l *heldLane) together() []*heldLane {
	if l.half == nil {
		return []*heldLane{l}
	}
	var all []*heldLane
	for _, s := range l.half {
		all = append(all, s.lane)
	}
	return all
}
