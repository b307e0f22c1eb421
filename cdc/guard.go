package cdc

import (
	"errors"
	"fmt"
	"time"
)

// GuardAction is what a slot guard does when its limit is exceeded.
type GuardAction string

// The actions of a slot guard.
const (
	GuardDrop GuardAction = "drop" // stop the stream and drop the slot: the server's disk is saved, the changes it kept are lost to the stream
	GuardStop GuardAction = "stop" // stop and leave the slot: nothing is lost and nothing is freed, a person decides
)

// GuardConfig is the optional limit of the WAL that a slot may keep on the server's disk. It is off unless MaxRetained is set.
type GuardConfig struct {
	MaxRetained int64         // bytes of WAL; 0 for no limit
	Action      GuardAction   // required with a limit
	After       time.Duration // how long the limit must be exceeded, without a net decrease; 1 min
}

// Off says that there is no limit.
func (c GuardConfig) Off() bool { return c.MaxRetained == 0 && c.Action == "" && c.After == 0 }

// WithDefaults fills what is zero.
func (c GuardConfig) WithDefaults() GuardConfig {
	setDefault(&c.After, time.Minute)
	return c
}

// minGuard is the least limit: below a few segments of WAL a slot that is read without delay exceeds it.
const minGuard = 32 << 20

// Validate reports all mistakes at once. idleAdvance is the longest pause between two confirmations of a stream that works: what the slot
// keeps is a saw-tooth of that period.
func (c GuardConfig) Validate(idleAdvance time.Duration) error {
	if c.Off() {
		return nil
	}
	var errs []error
	switch {
	case c.MaxRetained == 0:
		errs = append(errs, errors.New("guard.max_retained: missing"))
	case c.MaxRetained < minGuard:
		errs = append(errs, fmt.Errorf("guard.max_retained: %s is less than %s: a slot keeps that much in normal operation", bytesText(c.MaxRetained), bytesText(minGuard)))
	}
	switch c.Action {
	case GuardDrop, GuardStop:
	case "":
		errs = append(errs, errors.New("guard.action: missing"))
	default:
		errs = append(errs, fmt.Errorf("guard.action: %q is no action: write %q or %q", c.Action, GuardDrop, GuardStop))
	}
	switch after := c.WithDefaults().After; {
	case after < 0 || after > time.Hour:
		errs = append(errs, fmt.Errorf("guard.after: %s is not between 0s and 1h", c.After))
	case after < 2*idleAdvance:
		errs = append(errs, fmt.Errorf("guard.after: %s is less than twice idle_advance (%s): between two confirmations a slot keeps WAL that nobody is late with", after, idleAdvance))
	}
	return errors.Join(errs...)
}

// Every is how often to look at the slot, so that the limit is seen to be exceeded several times before the guard acts.
func (c GuardConfig) Every(most time.Duration) time.Duration {
	if c.MaxRetained == 0 {
		return most
	}
	return min(most, max(c.WithDefaults().After/3, 200*time.Millisecond))
}

// Guard decides when a slot has kept too much WAL for too long. It is pure: it is told what was seen and when. It acts on
// measurements alone (see [Health.Measured]): of a look that failed it is not told, another server's answer makes it Forget, and a standby's
// begins the time anew.
//
// A slot that catches up is left alone: as long as it keeps less at the end of [GuardConfig.After] than at its beginning, the time begins anew.
// So is one that is confirmed up to within the limit and lets the server free WAL: the server frees it late, and keeps much of a busy cluster's
// until then. A stream that stands still is too far behind for that, and somebody's open transaction holds restart_lsn where it is.
type Guard struct {
	cfg     GuardConfig
	since   time.Time // when the limit was first exceeded; zero when it is not
	first   int64     // what was kept then
	restart LSN       // from where on
	looks   int       // since then
}

// NewGuard returns a guard, which may be off.
func NewGuard(cfg GuardConfig) *Guard { return &Guard{cfg: cfg.WithDefaults()} }

// Forget begins anew: nothing was seen.
func (g *Guard) Forget() { g.since, g.first, g.restart, g.looks = time.Time{}, 0, 0, 0 }

// Exceeded says since when the limit has been exceeded; zero when it is not.
func (g *Guard) Exceeded() time.Time { return g.since }

// Look takes a look into account and says whether it is time to act. At least three looks must have exceeded the limit, and none between them not.
func (g *Guard) Look(now time.Time, h *Health) bool {
	if g.cfg.MaxRetained == 0 || !h.Measured() || h.Retained <= g.cfg.MaxRetained {
		g.Forget()
		return false
	}
	if g.since.IsZero() {
		g.since, g.first, g.restart, g.looks = now, h.Retained, h.Slot.Restart, 0
	}
	g.looks++
	if g.looks < 3 || now.Sub(g.since) < g.cfg.After {
		return false
	}
	if h.Retained < g.first || h.Behind <= g.cfg.MaxRetained && h.Slot.Restart > g.restart {
		g.since, g.first, g.restart, g.looks = now, h.Retained, h.Slot.Restart, 1
		return false
	}
	return true
}

// GuardError says that the slot guard has ended the stream.
type GuardError struct {
	Slot     string
	Action   GuardAction
	Dropped  bool  // the slot is gone
	Retained int64 // bytes of WAL that it kept
	Max      int64 // the limit
	Position LSN   // up to here everything is in the state
	End      LSN   // end of WAL then
	Cause    string
	Err      error // why the slot could not be dropped; nil otherwise
}

func (e *GuardError) Error() string {
	text := fmt.Sprintf("slot guard: replication slot %q kept %s of WAL, more than source.guard.max_retained (%s): ", e.Slot, bytesText(e.Retained), bytesText(e.Max))
	switch {
	case e.Dropped:
		text += fmt.Sprintf("it was dropped to save the server's disk; the changes after %s (WAL ended at %s) are lost to the stream", e.Position, e.End)
	case e.Action == GuardDrop:
		text += fmt.Sprintf("it should have been dropped to save the server's disk, and still keeps WAL: %v", e.Err)
	default:
		text += fmt.Sprintf("the stream was stopped; the slot still keeps WAL from before %s", e.Position)
	}
	if e.Cause != "" {
		text += "; the last trouble was: " + e.Cause
	}
	return text
}

// Unwrap returns why the slot could not be dropped.
func (e *GuardError) Unwrap() error { return e.Err }

// Hint says how to go on.
func (e *GuardError) Hint() string {
	drop := fmt.Sprintf("SELECT pg_drop_replication_slot(%s)", quoteText(e.Slot))
	switch {
	case e.Dropped:
		return "deliveries that are queued already are kept. First mend what kept walhook from reading; then: " + repair + "\nOr without a repair: walhook setup; then: " + adoptSlot
	case errors.Is(e.Err, errNotDropped):
		return fmt.Sprintf("nothing was dropped; look at SELECT * FROM pg_replication_slots WHERE slot_name = %s, then start walhook again", quoteText(e.Slot))
	case e.Action == GuardDrop:
		return "free the server's disk by hand: " + drop + "; the changes that it keeps are lost to the stream then"
	}
	return fmt.Sprintf("nothing is lost yet and nothing is freed: mend what keeps walhook from reading, raise source.guard.max_retained or take [source] guard out until it has caught up, and start it again; "+
		"or save the disk and lose the changes since %s: %s", e.Position, drop)
}
