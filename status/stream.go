package status

import (
	"time"

	"walhook/cdc"
)

// SlotState is the slot as the server sees it, looked at every few seconds over a plain
// connection.
type SlotState struct {
	At         time.Time // of the look; zero before the first
	Error      string    // why the last look failed; the figures are then older
	Missing    bool      // there is no such slot: Error says so
	Active     bool
	WALStatus  string  // reserved, extended, unreserved, lost; "" before PostgreSQL 13
	CurrentWAL cdc.LSN // the end of WAL
	Retained   int64   // bytes of WAL that the slot keeps
	Headroom   int64   // bytes of WAL that may still be written before the slot is lost; -1 when unlimited
	Reason     string  // why it is lost, where the server says
	Written    float64 // bytes of WAL that the server writes in a second
	Growth     float64 // bytes a second by which Retained grows

	Restart       cdc.LSN     // WAL from here on is kept
	Confirmed     cdc.LSN     // as the server knows it
	InactiveSince time.Time   // since when nobody streams from it; zero when somebody does, or the server does not say
	CatalogAge    int64       // transactions since its catalog_xmin
	Spilled       cdc.Spilled // what the server's decoder has written to disk
	Failover      bool        // a failover slot

	Behind    int64         // bytes of WAL that the confirmed position is behind the end
	BehindFor time.Duration // how long ago the confirmed position was the end
	Alarms    []SlotAlarm   // that are raised
	Guard     *SlotGuard    // nil when there is none
}

// SlotAlarm says what about the slot needs a person, and since when.
type SlotAlarm struct {
	Name    string    `json:"name"` // retained, lag, headroom, lost, guard, unseen
	Since   time.Time `json:"since"`
	Message string    `json:"message"`
	Hint    string    `json:"hint,omitempty"`
}

// SlotGuard is the limit of WAL that the slot may keep.
type SlotGuard struct {
	MaxRetained int64  `json:"max_retained_bytes"`
	Action      string `json:"action"` // drop or stop
}

// Activity is what the engine does for one endpoint at this moment.
type Activity struct {
	Endpoint string
	InFlight int // requests
	InMemory int // deliveries handed over and waiting in memory
}

// HandlerState is how the last batch fared on its way into the state schema.
type HandlerState struct {
	Error string // why it could not be committed; "" once one has passed
	Hint  string // what to do about it, where that is known
	At    time.Time
	Since time.Time // of the first failure since one has passed
}

// Sources are where a document comes from. All functions but State may be nil, are
// called often and must not block.
type Sources struct {
	State    Reader
	Stream   func() cdc.Progress
	Handler  func() HandlerState
	Slot     func() SlotState
	Role     func() Role // nil: the only process, which reads
	Activity func() []Activity
	Related  func() *RelatedState  // nil, or answering nil: nothing is looked up
	Reserved func() []ReservedSlot // nil: nobody looks at them
	Images   func() *ImagesState   // nil: as Reserved; it returns nil when none are kept
	Blockers func() []string       // further reasons not to be ready: "the identity check has not passed yet"

	Desk  Desk        // what the API does; nil: there is no API
	Audit func(Audit) // is told of every call of the API that changes something; nil: nobody is
}

// lagSamples bounds the memory of a LagClock (invariant 9).
const lagSamples = 512

// LagClock tells lag in seconds: it remembers where the end of WAL was at which
// time, and so how long ago the position that has been handled now was the end. During a
// long outage old samples are thinned out, so the answer is coarse by a
// small fraction of the outage. Not safe for concurrent use.
type LagClock struct {
	samples []lagSample // ascending in both
	handled cdc.LSN
	moved   time.Time // when handled last grew
}

type lagSample struct {
	at  time.Time
	end cdc.LSN
}

// Observe notes a fresh look at the stream: end is where WAL ended at the time now. Without a
// connection there is no fresh look: call advance.
func (c *LagClock) Observe(now time.Time, handled, end cdc.LSN) {
	c.advance(now, handled)
	if n := len(c.samples); n > 0 && c.samples[n-1].end >= end {
		// Nothing was written since: the end was still here at this time.
		if c.samples[n-1].end <= c.handled {
			c.samples[n-1].at = now
		}
		return
	}
	c.samples = append(c.samples, lagSample{now, end})
	if len(c.samples) >= lagSamples {
		for i := 1; 2*i < len(c.samples); i++ {
			c.samples[i] = c.samples[2*i]
		}
		c.samples = c.samples[:(len(c.samples)+1)/2]
	}
	c.advance(now, handled)
}

// advance notes how far the stream has been handled.
func (c *LagClock) advance(now time.Time, handled cdc.LSN) {
	if handled > c.handled || c.moved.IsZero() {
		c.handled, c.moved = max(c.handled, handled), now
	}
	// All but the newest sample that has been reached are of no more use.
	keep := 0
	for keep+1 < len(c.samples) && c.samples[keep+1].end <= c.handled {
		keep++
	}
	c.samples = c.samples[keep:]
}

// Lag returns how long ago the handled position was the end of WAL; zero when
// nothing is known yet.
func (c *LagClock) Lag(now time.Time) time.Duration {
	if len(c.samples) == 0 {
		return 0
	}
	return max(now.Sub(c.samples[0].at), 0)
}

// stalled says that WAL is ahead and nothing has been handled for a while.
func (c *LagClock) stalled(now time.Time, end cdc.LSN, after time.Duration) bool {
	return end > c.handled && now.Sub(c.moved) >= after && c.behindFor(now) >= after
}

// behindFor is how long an end of WAL has been known that was not reached.
func (c *LagClock) behindFor(now time.Time) time.Duration {
	for _, s := range c.samples {
		if s.end > c.handled {
			return now.Sub(s.at)
		}
	}
	return 0
}
