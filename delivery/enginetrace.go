package delivery

import "time"

// Trace observes an [Engine]. Any of its functions may be nil. They are called from many
// goroutines, at times while a lane waits, and must return quickly.
type Trace struct {
	// AttemptDone is called once for every attempt, before its outcome is
	// committed. An attempt that was Released tells why in a.Error.
	AttemptDone func(d *Delivery, a *Attempt, o Outcome)

	// Sent is called after the first attempt of a delivery that went from its commit straight to memory: how long it waited for the request, how long
	// that took, and, when the receiver took it, how much time has passed since the commit of its transaction by the source's clock (otherwise 0). It is not
	// called for what waited in the store: retries, late ones, what an endpoint that was paused or too slow has left there.
	Sent func(d *Delivery, waited, took, whole time.Duration)

	// Claimed is called when lanes were read from the store.
	Claimed func(endpoint string, lanes int, took time.Duration)

	// ClaimFailed is called when reading lanes failed; it is tried again.
	ClaimFailed func(endpoint string, err error, retry time.Duration)

	// Finished is called when outcomes were committed.
	Finished func(outcomes int, took time.Duration)

	// FinishFailed is called when committing failed; it is tried again. waiting
	// outcomes are kept in memory until then.
	FinishFailed func(err error, waiting int, retry time.Duration)

	// Disabled is called when a receiver's answer disables its endpoint.
	Disabled func(endpoint, reason string)

	// Enabled is called when a disabled endpoint turns out to be enabled again.
	Enabled func(endpoint string)

	// Paused is called when a person has paused an endpoint.
	Paused func(endpoint, reason string)

	// BreakerOpened is called when nothing more is sent to an endpoint but a probe at times, the first one at until.
	BreakerOpened func(endpoint, reason string, failures int, until time.Time)

	// BreakerClosed is called when a probe was answered: the endpoint is sent to again.
	BreakerClosed func(endpoint string)

	// FlowFailed is called when the state of breakers was not read or stored; it is tried again after retry, or not at all if that is 0.
	FlowFailed func(err error, retry time.Duration)

	// LeaseLost is called when the process lease has run out: nothing is sent until
	// LeaseRegained.
	LeaseLost     func(until time.Time)
	LeaseRegained func(until time.Time)
}

func (t *Trace) attemptDone(d *Delivery, a *Attempt, o Outcome) {
	t.staged(d, a, &o)
	if t.AttemptDone != nil {
		t.AttemptDone(d, a, o)
	}
}

func (t *Trace) claimed(endpoint string, lanes int, took time.Duration) {
	if t.Claimed != nil {
		t.Claimed(endpoint, lanes, took)
	}
}

func (t *Trace) claimFailed(endpoint string, err error, retry time.Duration) {
	if t.ClaimFailed != nil {
		t.ClaimFailed(endpoint, err, retry)
	}
}

func (t *Trace) finished(outcomes int, took time.Duration) {
	if t.Finished != nil {
		t.Finished(outcomes, took)
	}
}

func (t *Trace) finishFailed(err error, waiting int, retry time.Duration) {
	if t.FinishFailed != nil {
		t.FinishFailed(err, waiting, retry)
	}
}

func (t *Trace) disabled(endpoint, reason string) {
	if t.Disabled != nil {
		t.Disabled(endpoint, reason)
	}
}

func (t *Trace) enabled(endpoint string) {
	if t.Enabled != nil {
		t.Enabled(endpoint)
	}
}

func (t *Trace) leaseLost(until time.Time) {
	if t.LeaseLost != nil {
		t.LeaseLost(until)
	}
}

func (t *Trace) leaseRegained(until time.Time) {
	if t.LeaseRegained != nil {
		t.LeaseRegained(until)
	}
}

// blocked tells of an endpoint that others have paused or disabled.
func (t *Trace) blocked(endpoint string, s FlowState) {
	switch {
	case !s.Paused:
		t.disabled(endpoint, s.Blocked)
	case t.Paused != nil:
		t.Paused(endpoint, s.Blocked)
	}
}

func (t *Trace) breakerOpened(endpoint, reason string, failures int, until time.Time) {
	if t.BreakerOpened != nil {
		t.BreakerOpened(endpoint, reason, failures, until)
	}
}

func (t *Trace) breakerClosed(endpoint string) {
	if t.BreakerClosed != nil {
		t.BreakerClosed(endpoint)
	}
}

func (t *Trace) flowFailed(err error, retry time.Duration) {
	if t.FlowFailed != nil {
		t.FlowFailed(err, retry)
	}
}
