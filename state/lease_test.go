package state

import (
	"testing"
	"time"
)

// Invariant 4: the monotonic clock stands still while the machine is suspended, the lease does not.
func TestInvariant4LeaseEndsByTheWallClock(t *testing.T) {
	now := time.Now()
	until := now.Add(30 * time.Second)
	if got := endOfLease(until, now.Add(10*time.Second)); got != until {
		t.Errorf("in time: %v, want %v", got, until)
	}
	// An hour later by the wall clock alone: what time.Until says without a monotonic reading.
	later := now.Round(0).Add(time.Hour)
	if got := endOfLease(until, later); got.Sub(later) > -59*time.Minute {
		t.Errorf("after an hour of suspension the lease has %v left", got.Sub(later))
	}
}
