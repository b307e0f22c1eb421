package delivery

import "time"

const (
	// gatherFor is the time from one commit of outcomes to the next one unless somebody waits for it, or gatherMost outcomes or gatherBytes have come
	// together. A commit is a transaction with its fsync: of one outcome each they cost the server several times as much, and ingest's commits queue behind
	// them. For the latter's sake it is up to twice that long while ingest commits deliveries, see moment.
	gatherFor   = 10 * time.Millisecond
	gatherMost  = 64
	gatherBytes = 256 << 10
	// lull is for how long after a commit of ingest its deliveries are on their way to the receivers.
	lull = time.Millisecond
)

// due says that what is pending waits for no more. The caller holds the mutex.
func (f *finisher) due() bool {
	return f.urgent || f.closing || len(f.pending) >= gatherMost || f.bytes >= gatherBytes
}

// during tells that ingest commits deliveries, or does no more. What can wait gives way to that, as long again at most.
func (f *finisher) during(intake bool) {
	f.mu.Lock()
	f.intake = intake
	if !intake {
		f.ended = time.Now()
	}
	call := !intake && len(f.pending) > 0
	f.mu.Unlock()
	if call {
		f.signal()
	}
}

// hurry has what is pending committed at once.
func (f *finisher) hurry() {
	f.mu.Lock()
	f.urgent = len(f.pending) > 0
	call := f.urgent
	f.mu.Unlock()
	if call {
		f.signal()
	}
}

// moment is how long what is pending, and waits for company alone, waits still; last is when the last group was taken. While transactions keep coming it is
// committed when deliveries of one of them have just been sent: at any other moment, a commit beside that of the source's transaction, or of its deliveries,
// would make both take longer, and the receivers wait. The caller holds the mutex.
func (f *finisher) moment(now, last time.Time) time.Duration {
	soonest, latest := last.Add(gatherFor).Sub(now), last.Add(2*gatherFor).Sub(now)
	sent := now.Sub(f.ended)
	switch {
	case latest <= 0:
		return 0
	case f.intake:
		return latest
	case soonest > 0:
		return soonest
	case sent >= gatherFor || lull <= sent && sent <= 3*lull:
		return 0
	case sent < lull:
		return min(lull-sent, latest)
	}
	return min(gatherFor-sent, latest) // unless more is sent meanwhile
}
