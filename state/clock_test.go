package state

import (
	"testing"
	"time"
	"unsafe"

	"walhook/delivery"
)

// ahead is a time as a process knows it whose wall clock was set an hour ahead: the monotonic clock goes on as before. Of a time's first word
// the seconds stand above 30 bits of nanoseconds.
func ahead(t time.Time) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += 3600 << 30
	return t
}

// A wall clock that is wrong for a moment must not keep a retry back for as long as it was wrong by.
func TestRetryIsDueByTheDatabasesClock(t *testing.T) {
	p := register(t, openState(t, nil))
	f := newFeed(t, p)
	f.enqueue(t, none, f.delivery("a", "m/1"))
	o := outcome(claim(t, p, "a", 1, 1)[0].Deliveries[0], delivery.Retry)
	o.Next = ahead(time.Now().Add(50 * time.Millisecond))
	if off := time.Until(o.Next.Round(0)); off < 59*time.Minute {
		t.Fatalf("the clock is %s ahead, want an hour", off)
	}
	finish(t, p, 1, o)
	for end := time.Now().Add(30 * time.Second); len(claim(t, p, "a", 1, 1)) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the retry is not due after half a minute")
		}
	}
}
