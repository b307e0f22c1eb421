package delivery

import (
	"math"
	"strconv"
	"time"
)

// breaker decides when an endpoint that only fails may be sent something. It is pure: it knows no clock, no store and no goroutine.
//
//	closed ── so many failures in a row, or Retry-After ──► open
//	open ── its time has passed, a lane is ready ──► asking ── no other process probes ──► allowed ── a delivery is taken ──► probing
//	probing ── failed ──► open, for longer      probing ── answered ──► closed, with a slow start
//
// An attempt that was begun before the last change of phase counts as a failure or an answer, and does not open or close anything
// but by a Retry-After.
type breaker struct {
	cfg         BreakerConfig
	seed        string // of the jitter: the endpoint's name
	concurrency int

	phase  phase
	age    uint64 // counts changes between open and closed
	pauses int    // since it opened
	since  time.Time
	until  time.Time // of open: not before
	reason string    // why it opened, or why the last probe failed
	start  slowStart
	record failures
}

type phase uint8

const (
	phaseClosed  phase = iota
	phaseOpen          // nothing is sent before a time
	phaseAsking        // that time has passed; the right to send a probe is to be asked for
	phaseAllowed       // one delivery may be sent
	phaseProbing       // it is under way
)

// failures is what is known of attempts that failed in a row.
type failures struct {
	n     int
	since time.Time // the first one, or the last one for want of a token
}

// verdict is what an attempt says about the receiver.
type verdict uint8

const (
	says     verdict = iota // nothing: no request was made, or it was cut short by walhook itself
	answered                // it works: it has taken the delivery, or refused this one
	failed                  // what is tried again (network, timeout, 408, 425, 429, 5xx, no OAuth token to be had), and what turns away whoever comes
)

// pass lets one attempt through the gate.
type pass struct {
	age   uint64
	probe bool
}

// verdictOf tells what an attempt says about the receiver, and until when the receiver asked to be left alone: 429 or 503 with Retry-After.
func verdictOf(c *EndpointConfig, a *Attempt, now time.Time) (v verdict, hold time.Time) {
	switch {
	case a == nil || ownFault(a.Class):
		return says, hold
	case turnsAway(a.Status):
		return failed, hold
	case !retryable(a):
		return answered, hold
	}
	if asked := a.ResponseHeaders["Retry-After"]; len(asked) > 0 && (a.Status == 429 || a.Status == 503) {
		if wait := c.Retry.after(asked[0], now); wait > 0 {
			hold = now.Add(wait)
		}
	}
	return failed, hold
}

// admit lets an attempt through, or says when to ask again; zero when something else tells. sending is how many are under way.
func (b *breaker) admit(now time.Time, sending int) (p pass, ok bool, at time.Time) {
	b.pass(now)
	switch b.phase {
	case phaseOpen:
		return p, false, b.until
	case phaseAsking, phaseProbing:
		return p, false, at
	case phaseAllowed:
		b.phase = phaseProbing
		return pass{b.age, true}, true, at
	}
	if at := b.start.admit(now, sending, b.concurrency); !at.IsZero() {
		return p, false, at
	}
	if !b.start.on {
		b.pauses = 0 // it has come back for good
	}
	return pass{age: b.age}, true, at
}

// free says that admit would let everything through, at any time.
func (b *breaker) free() bool { return b.phase == phaseClosed && !b.start.on && b.pauses == 0 }

// pass lets time pass.
func (b *breaker) pass(now time.Time) {
	if b.phase == phaseOpen && !now.Before(b.until) {
		b.phase = phaseAsking
	}
}

// done learns what an attempt came to, and reports whether the breaker opened, closed, or waits for longer.
func (b *breaker) done(p pass, v verdict, now, hold time.Time, why string) (changed bool) {
	probe := p.probe && p.age == b.age && b.phase == phaseProbing
	switch v {
	case says:
		if probe {
			b.phase = phaseAllowed // it was none
		}
	case answered:
		b.record = failures{}
		b.start.note(p.age == b.age, true)
		if probe {
			b.close(now)
			return true
		}
	case failed:
		if b.record.n == 0 {
			b.record.since = now
		}
		b.record.n++
		tripped := p.age == b.age && b.phase == phaseClosed && b.cfg.limit() > 0 && b.record.n >= b.cfg.limit()
		switch {
		case probe || tripped:
			b.open(now, later(now.Add(b.pause(now)), hold), why)
			b.pauses++
			return true
		case hold.After(now) && hold.After(b.until):
			b.open(now, hold, why)
			return true
		default:
			b.start.note(p.age == b.age, false)
		}
	}
	return false
}

// pause is how long the next pause lasts.
func (b *breaker) pause(now time.Time) time.Duration {
	base := min(float64(b.cfg.Pause)*math.Pow(2, float64(min(b.pauses, 1000))), float64(b.cfg.MaxPause))
	jitter := defaultJitter
	if b.cfg.Jitter != nil {
		jitter = *b.cfg.Jitter
	}
	return time.Duration(base * (1 + jitter*spread(b.seed+strconv.FormatInt(now.UnixNano(), 36), b.pauses)))
}

func (b *breaker) open(now, until time.Time, why string) {
	if b.phase == phaseClosed {
		b.since = now
		b.age++
	}
	b.phase, b.until, b.reason, b.start = phaseOpen, until, why, slowStart{}
}

func (b *breaker) close(now time.Time) {
	b.age++
	b.phase, b.since, b.until, b.reason = phaseClosed, time.Time{}, time.Time{}, ""
	b.start = newSlowStart(now)
}

// isOpen says that nothing is sent but probes.
func (b *breaker) isOpen() bool { return b.phase != phaseClosed }

// slowStart lets a receiver that has come back take up its work by and by: in steps of a second, 1, 2, 4 ... requests at the same time and
// ten times as many in a second, until that is what the endpoint's concurrency allows. It goes a step back when more attempts of a step failed than
// were answered; a receiver that merely fails now and then comes to its full rate. A step without an answer is repeated.
type slowStart struct {
	on        bool
	step      int
	from      time.Time // when the step began
	used      int       // requests in it
	good, bad int       // attempts that were answered in it, and that failed
}

const (
	slowStep    = time.Second
	slowPerStep = 10 // requests of the first step
)

func newSlowStart(now time.Time) slowStart { return slowStart{on: true, from: now} }

// admit counts an attempt, or returns when to ask again.
func (s *slowStart) admit(now time.Time, sending, concurrency int) (at time.Time) {
	if !s.on {
		return at
	}
	if now.Sub(s.from) >= slowStep {
		switch {
		case s.bad > s.good:
			s.step = max(s.step-1, 0)
		case s.good > 0:
			s.step++
		}
		s.from, s.used, s.good, s.bad = now, 0, 0, 0
	}
	if 1<<s.step >= concurrency && s.step > 0 || s.step >= 30 {
		*s = slowStart{}
		return at
	}
	if sending >= 1<<s.step || s.used >= slowPerStep<<s.step {
		return s.from.Add(slowStep)
	}
	s.used++
	return at
}

// note counts what an attempt came to, if it was begun since the breaker closed.
func (s *slowStart) note(counts, good bool) {
	switch {
	case !counts:
	case good:
		s.good++
	default:
		s.bad++
	}
}
