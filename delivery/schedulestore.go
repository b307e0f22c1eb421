package delivery

import (
	"context"
	"time"
)

// ScheduleStore keeps what rules on schedule have seen: when each last looked, how far it has come, and the records for which its condition held.
// Package state implements it. Errors that a retry may mend have a method Temporary() bool that returns true.
type ScheduleStore interface {
	// Schedule returns where a rule stands. The zero value is a rule that was never looked at.
	Schedule(ctx context.Context, rule string) (ScheduleState, error)

	// Crossings returns the records of a key range, up to limit, in order, for which the rule's condition held when they were last looked at.
	Crossings(ctx context.Context, rule string, after, until int64, limit int) ([]int64, error)

	// Advance commits a part of a run, in one SQL transaction and for the reader of the slot alone, which compares-and-sets where the rule stands: what two
	// processes find is sent once, and what is sent is remembered. It fails with [ErrSuperseded], and writes nothing, when another process reads or the
	// rule stands elsewhere. After any other error that may have been committed all the same, Schedule tells.
	Advance(ctx context.Context, step *ScheduleStep) error

	// NoteSchedule notes when a rule's next run is, and why the last one failed; an empty failure leaves what was noted.
	NoteSchedule(ctx context.Context, rule string, next time.Time, failure string) error

	// KeepSchedules notes which rules are on schedule, and forgets those that have not been for a long time.
	KeepSchedules(ctx context.Context, rules []string) error
}

// ScheduleState is where a rule on schedule stands.
type ScheduleState struct {
	Condition string    // what the crossings are of
	SetAt     time.Time // the time of the rule's timetable that was served last
	RunAt     time.Time // when the last run began: its now(); zero when there was none
	Running   bool      // it has not ended
	Stock     bool      // it only takes down what holds already
	DoneTo    int64     // of a run under way: records up to this key are done
	Rows      int64     // that the run has read
	Fired     int64     // events that it has sent
}

// ScheduleStep is a part of a run.
type ScheduleStep struct {
	Rule     string
	From, To ScheduleState
	Next     time.Time // when the next run is
	Crossed  []int64   // records for which the condition has come to hold
	Forgot   []int64   // those for which it no longer holds, or that are gone

	Deliveries []*Delivery
	Parked     []*Parked
	Matched    map[string]int64
	Sampled    map[string]int64
}
