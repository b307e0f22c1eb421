//go:build failpoint && unix

package failpoint

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"
)

// envClock names a file that says how far the wall clock is off: "90m", "-2h". It is read again and again, and what was read is written to
// a file beside it, named .seen, from then on it holds.
const envClock = "WALHOOK_CLOCK"

// shift is how far the wall clock is off, in seconds.
var shift atomic.Int64

// following is set before main runs.
var following = follow(os.Getenv(envClock))

// follow obeys a file for as long as the program lives.
func follow(path string) bool {
	if path == "" {
		return false
	}
	here := time.Now()
	if there := jump(here, 3600); there.Sub(here) != 0 || there.Round(0).Sub(here.Round(0)) != time.Hour {
		refuseClock(path, "this Go's times are not made as they were when this was written: the wall clock cannot be moved alone")
	}
	last := obey(path, "")
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			last = obey(path, last)
		}
	}()
	return true
}

// obey reads the file, and moves the clock if it says something else than before.
func obey(path, last string) string {
	text, err := os.ReadFile(path)
	if err != nil || string(text) == last || len(text) == 0 {
		return last // it is being written, perhaps
	}
	by, err := time.ParseDuration(string(text))
	if err != nil {
		refuseClock(path, err.Error())
	}
	shift.Store(int64(by / time.Second))
	if err := os.WriteFile(path+".seen", text, 0o600); err != nil {
		refuseClock(path, err.Error())
	}
	fmt.Fprintf(os.Stderr, "failpoint clock %s\n", by)
	return string(text)
}

// refuseClock ends the program: a test must not go on believing that the clock jumps.
func refuseClock(path, why string) {
	fmt.Fprintf(os.Stderr, "error: %s=%s: %s\n", envClock, path, why)
	os.Exit(2)
}

// Now is time.Now with the wall clock moved. The monotonic clock goes on as it does when somebody sets a machine's clock.
func Now() time.Time { return jump(time.Now(), shift.Load()) }

// Since is time.Since by this clock.
func Since(t time.Time) time.Duration { return Now().Sub(t) }

// Until is time.Until by this clock.
func Until(t time.Time) time.Duration { return t.Sub(Now()) }

// jump moves the wall clock's reading and leaves the monotonic one, which no function of package time does: the first word of a time that has both holds, from the
// top, a bit that says so, 33 bits of seconds and 30 bits of nanoseconds.
func jump(t time.Time, seconds int64) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(seconds) << 30
	return t
}
