package status

import (
	"context"
	"time"

	"walhook/delivery"
)

// Reader tells what the state schema knows. Package state implements it.
//
// A Reader is asked at most once per [Config.CacheFor] however many scrapers and people
// look, from one goroutine at a time. Its methods may count rows that are pending (the hot tables), but
// must not scan logs: totals of what ended come from counters. A missing row is a zero
// value, not an error; an error means that the state database could not be asked.
type Reader interface {
	// Endpoints returns one entry for every endpoint that the state has ever
	// heard of, sorted by name.
	Endpoints(ctx context.Context) ([]EndpointState, error)

	// Rules returns one entry for every rule that has matched or parked an
	// event, sorted by name.
	Rules(ctx context.Context) ([]RuleState, error)

	// Position returns how far ingest has come, as committed.
	Position(ctx context.Context) (PositionState, error)
}

// EndpointState is one endpoint as the state schema knows it. Zero times mean
// "never" or "none" and are left out of JSON.
type EndpointState struct {
	Name string `json:"name"`

	Pending       int64     `json:"pending"`                  // deliveries in the queue, retrying and held ones included
	Retrying      int64     `json:"retrying"`                 // of these: failed at least once and waiting for their next attempt; counted up to 10,000
	Waiting       int64     `json:"waiting"`                  // of pending: wait for the end of their rule's window; counted up to 10,000 per rule
	HeldLanes     int64     `json:"held_lanes"`               // lanes that wait behind a dead letter (on_dead = "hold"); counted up to 10,000
	OldestPending time.Time `json:"oldest_pending,omitzero"`  // commit time of the oldest pending delivery's transaction
	NextAttempt   time.Time `json:"next_attempt_at,omitzero"` // when the first waiting lane is due

	Queue QueueState `json:"queue"` // its limits

	Dead           int64 `json:"dead"`            // dead letters kept now
	Delivered      int64 `json:"delivered"`       // total, ever
	FailedAttempts int64 `json:"failed_attempts"` // total, ever: attempts that ended without success
	DeadTotal      int64 `json:"dead_total"`      // total, ever: deliveries that became dead letters

	LastSuccess time.Time `json:"last_success_at,omitzero"`
	LastFailure time.Time `json:"last_error_at,omitzero"`
	LastError   string    `json:"last_error,omitempty"` // of LastFailure, in words

	Disabled       bool      `json:"disabled"` // nothing is sent; deliveries wait
	DisabledReason string    `json:"disabled_reason,omitempty"`
	DisabledAt     time.Time `json:"disabled_at,omitzero"`

	FlowState
}

// RuleState is one rule as the state schema knows it. A rule's name is its identity: a renamed rule
// starts anew.
type RuleState struct {
	Name        string    `json:"name"`
	Matched     int64     `json:"matched"` // events, total, ever
	Parked      int64     `json:"parked"`  // events parked now; counted up to 10,000
	ParkedTotal int64     `json:"parked_total"`
	Waiting     int64     `json:"waiting"`     // deliveries that wait for the end of its window now; counted up to 10,000 per endpoint
	Sampled     int64     `json:"sampled_out"` // of matched, those that its sample left out, ever
	Ignored     int64     `json:"ignored"`     // of matched, those made by users whose changes it leaves out (ignore_users), ever
	Dropped     int64     `json:"dropped"`     // of matched, those of module upgrades that it drops (upgrades = "drop"), ever
	LastMatch   time.Time `json:"last_match_at,omitzero"`
	LastParked  time.Time `json:"last_error_at,omitzero"`
	LastError   string    `json:"last_error,omitempty"` // of the event parked last

	Schedule *ScheduleState `json:"schedule,omitempty"` // of a rule on schedule; nil of all others
}

// ReaderState is the process that has the right to read the slot.
type ReaderState struct {
	Process int64  `json:"process"` // its id in the state schema
	Host    string `json:"host"`
	PID     int    `json:"pid"`
}

// PositionState is the durable position of ingest and what surrounds it.
type PositionState struct {
	Bound     bool              // the state belongs to a source already (invariants 5 and 8)
	Position  delivery.Position // zero when not bound
	UpdatedAt time.Time         // when Position was written last
	Slot      string
	Database  string // of the source, when it was bound

	Reader  *ReaderState  // nil when no process with a valid lease has the right to read
	Upgrade *UpgradeState // nil when none is under way at Position
	Jobs    []JobLine     // that have not ended, the oldest first; at most 100
	Resync  *ResyncState  // nil when none is under way

	SchemaVersion int        // of the state schema's migrations
	Bytes         int64      // size of the state schema on disk, indexes and partitions included; may lag by minutes
	Queue         QueueState // of all endpoints together
	Log           LogState   // of deliveries and attempts
	Processes     int        // processes with a valid lease
}
