package cdc

import (
	"sync"
	"time"
)

// Progress is a snapshot of how far a [Source] has come. All times are of this
// machine's clock except the commit times, which are the server's.
type Progress struct {
	Connected bool    // streaming now
	Session   Session // of the present connection, or the last one
	Since     time.Time

	ServerEnd LSN // the server has sent everything before it; not the end of WAL while it is behind in decoding
	Received  LSN // transactions that ended before it have been received
	Handled   LSN // and processed by the handler
	Durable   LSN // and their position is committed in the state
	Confirmed LSN // and the server knows

	InFlight     int       // transactions received and not handled
	Bytes        int64     // memory that they hold, roughly
	OldestCommit time.Time // commit time of the oldest transaction that is not handled, also of one still being received; zero when caught up
	LastCommit   time.Time // commit time of the last handled transaction
	LastMessage  time.Time // when the server was last heard of
	CaughtUp     time.Time // when nothing was last left to do
	Blocked      bool      // reading waits for the handler

	Transactions int64 // handled since start
	Reconnects   int   // sessions after the first one
	LastError    string
	LastErrorAt  time.Time
}

// Lag says how far processing is behind: in bytes of WAL, as far as the server has sent
// it, and in seconds. The time is the age of the oldest transaction that waits; without a
// connection at least the time since the server was last heard of, because what it has written since is
// unknown; 0 when caught up. For bytes up to the end of WAL see [Health].
func (p Progress) Lag(now time.Time) (bytes int64, age time.Duration) {
	end := max(p.ServerEnd, p.Received)
	if end > p.Handled {
		bytes = int64(end - p.Handled)
	}
	switch {
	case !p.OldestCommit.IsZero():
		age = now.Sub(p.OldestCommit)
	case !p.Connected && !p.CaughtUp.IsZero():
		age = now.Sub(p.CaughtUp)
	}
	return bytes, max(age, 0)
}

// tracker keeps a Progress. It is written once per transaction, keepalive or batch,
// not per row.
type tracker struct {
	mu   sync.Mutex
	p    Progress
	open time.Time // commit time of the transaction being received
}

func (t *tracker) update(f func(*Progress)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.p)
}

func (t *tracker) snapshot() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.p
	if p.OldestCommit.IsZero() {
		p.OldestCommit = t.open
	}
	return p
}

// begin and end bracket the reception of a transaction.
func (t *tracker) begin(commit time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = commit
}

func (t *tracker) end() { t.begin(time.Time{}) }
