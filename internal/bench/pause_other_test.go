//go:build !linux

package bench

import "time"

// pause returns when that time has come, or a little later.
func pause(until time.Time) { time.Sleep(time.Until(until)) }
