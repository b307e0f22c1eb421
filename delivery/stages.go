package delivery

import (
	"time"

	"walhook/cdc"
)

// Stage is a part of an event's way from the commit of its transaction to the receiver. Together the stages make up the whole of it.
type Stage uint8

// The stages. The first two are of a transaction that leads to deliveries, the next two of a batch, which one SQL transaction commits, and the last two of a
// delivery.
const (
	StageReceive Stage = iota // from the commit, by the source's clock, until walhook has read it
	StageDecode               // until its batch's turn: its net changes are worked out, and the batch before it is committed
	StageMatch                // conditions, related rows and payloads of a batch
	StageCommit               // of deliveries and position to the state, and before it the wait for room in memory
	StageQueue                // from there to the request: for a connection, and for what is before it in its lane
	StageSend                 // the request, until it was answered or failed
)

// Stages are all of them, in their order.
var Stages = []Stage{StageReceive, StageDecode, StageMatch, StageCommit, StageQueue, StageSend}

// String is the name of the stage, for metrics.
func (s Stage) String() string {
	return [...]string{"receive", "decode", "match", "commit", "queue", "send"}[s]
}

// staging times the stages of ingest. It is told as it goes, and tells when a batch is committed: what fails and comes again counts once.
type staging struct {
	began    time.Time // matching the batch
	arrivals []arrival // transactions that have led to deliveries of the batch
	last     cdc.LSN   // of these
}

// arrival is when a transaction was committed, and when it was read.
type arrival struct{ committed, received time.Time }

// begin is called with every batch that is handed over, which may have been handed over before.
func (s *staging) begin() {
	s.began, s.arrivals, s.last = time.Now(), s.arrivals[:0], 0
}

// note takes down a transaction, at the first of its deliveries.
func (s *staging) note(tx *cdc.Tx, step *Step) {
	if len(step.Deliveries) > 0 && tx.CommitLSN != s.last && !tx.Received.IsZero() {
		s.last = tx.CommitLSN
		s.arrivals = append(s.arrivals, arrival{tx.CommitTime, tx.Received})
	}
}

// committed ends the stages of a batch whose commit began at a time, and begins the next of the deliveries that go to the engine.
func (s *staging) committed(t *IngestTrace, batch *Batch, lanes []Lane, at time.Time) {
	now := time.Now()
	if batch.Job == nil { // else it tells of no event
		for _, l := range lanes {
			for _, d := range l.Deliveries {
				d.fresh = now
			}
		}
		if t.Staged != nil && len(batch.Deliveries) > 0 {
			for _, a := range s.arrivals {
				t.Staged(StageReceive, max(a.received.Sub(a.committed), 0)) // by two clocks
				t.Staged(StageDecode, max(s.began.Sub(a.received), 0))
			}
			t.Staged(StageMatch, at.Sub(s.began))
			t.Staged(StageCommit, now.Sub(at))
		}
	}
	s.began, s.arrivals = now, s.arrivals[:0]
}

// staged ends the stages of a fresh delivery with its first attempt. What comes again, or came from the store, has waited for other reasons than that it takes
// time: for its retry, for the end of a pause or of its window, for a person.
func (t *Trace) staged(d *Delivery, a *Attempt, o *Outcome) {
	committed := d.fresh
	d.fresh = time.Time{}
	if t.Sent == nil || committed.IsZero() || a.Total == 0 || o.Result == Released {
		return
	}
	var whole time.Duration
	if o.Result == Delivered {
		whole = max(a.At.Add(a.Total).Sub(d.CommitAt), a.Total) // by two clocks
	}
	t.Sent(d, max(a.At.Sub(committed), 0), a.Total, whole)
}
