package main

import (
	"fmt"

	"github.com/rs/zerolog"

	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// Limits of all endpoints together, unless [state] says otherwise.
const (
	defaultMaxRows  = 20_000_000
	defaultMaxBytes = size(20 << 30)
	defaultLogSize  = size(50 << 30)
)

// The least that these limits may be: a batch of ingest must fit, and a day of the log.
const (
	minMaxRows  = 1000
	minMaxBytes = size(16 << 20)
	minLogSize  = size(16 << 20)
)

// checkLimits complains about limits of [state] that no queue, and no log, could keep.
func (c *Config) checkLimits() (problems []error) {
	s := &c.State
	for _, l := range []struct {
		key          string
		low          bool
		value, least any
	}{
		{"max_rows", s.MaxRows > 0 && s.MaxRows < minMaxRows, s.MaxRows, minMaxRows},
		{"max_bytes", s.MaxBytes > 0 && s.MaxBytes < minMaxBytes, s.MaxBytes, minMaxBytes},
		{"retention_size", s.RetentionSize > 0 && s.RetentionSize < minLogSize, s.RetentionSize, minLogSize},
	} {
		if l.low {
			problems = append(problems, c.Doc.problem("state."+l.key, true, fmt.Sprintf("%v is too little", l.value), fmt.Sprintf("use %v or more", l.least)))
		}
	}
	return problems
}

// retentionSize is how large the log may grow.
func (s *StateSection) retentionSize() int64 {
	if s.RetentionSize == 0 {
		return int64(defaultLogSize)
	}
	return int64(s.RetentionSize)
}

// logFull logs that the log is larger than it may be although all that may go is gone, or that it no longer is.
func logFull(log zerolog.Logger, s status.LogState) {
	if !s.Over {
		log.Info().Int64("bytes", s.Bytes).Int64("max_bytes", s.MaxBytes).Msg("the log of deliveries is within its size again")
		return
	}
	log.Warn().Int64("bytes", s.Bytes).Int64("max_bytes", s.MaxBytes).Time("since", s.Since).
		Str("hint", "what is left is of today, or needed by pending deliveries: raise retention_size in [state], shorten max_age of endpoints that are away, or free disk").
		Msg("the log of deliveries is larger than it may be")
}

// limits are those of the queue: of each endpoint, and in all.
func (c *Config) limits() state.Limits {
	l := state.Limits{Total: state.Limit{Rows: c.State.MaxRows, Bytes: int64(c.State.MaxBytes)}, Endpoints: make(map[string]state.QueueLimit, len(c.Endpoints))}
	if l.Total.Rows == 0 {
		l.Total.Rows = defaultMaxRows
	}
	if l.Total.Bytes == 0 {
		l.Total.Bytes = int64(defaultMaxBytes)
	}
	for name, e := range c.Endpoints {
		q := e.Queue.WithDefaults()
		l.Endpoints[name] = state.QueueLimit{Limit: state.Limit{Rows: q.MaxRows, Bytes: int64(q.MaxBytes)}, DropOldest: q.Overflow == delivery.OverflowDropOldest}
	}
	return l
}

// queueAlarm logs that a queue has come close to its limit, reached it, or left it.
func queueAlarm(log zerolog.Logger, a state.QueueAlarm) {
	e, message := log.Info(), "queue is below its limit again"
	switch a.Level {
	case state.QueueHigh:
		e, message = log.Warn(), "queue is close to its limit"
	case state.QueueFull:
		e, message = log.Error(), "queue is at its limit: new events are NOT queued and will not be sent"
		if a.Drops {
			message = "queue is at its limit: the oldest are dropped"
		}
	}
	if a.Endpoint != "" {
		e = e.Str("endpoint", a.Endpoint)
	} else {
		e = e.Str("limit", "[state] max_rows and max_bytes")
	}
	if a.Level != state.QueueCalm {
		e = e.Str("hint", queueHint(a))
	}
	e.Int64("rows", a.Usage.Pending).Int64("bytes", a.Usage.PendingBytes).Int64("max_rows", a.Limit.Rows).Int64("max_bytes", a.Limit.Bytes).
		Int64("dead", a.Usage.Dead).Int64("not_queued", a.Usage.Parked).Int64("dropped", a.Usage.Dropped).
		Str("full", fmt.Sprintf("%.0f %%", 100*a.Ratio)).Msg(message)
}

// queueHint says what a person can do.
func queueHint(a state.QueueAlarm) string {
	switch {
	case a.Endpoint == "":
		return "mend the receivers that take nothing (walhook status), or raise max_rows and max_bytes of [state]"
	case a.Usage.Dead > a.Usage.Pending:
		return "look at the dead letters and retry or discard them: walhook deliveries list --state dead --endpoint " + a.Endpoint
	}
	return fmt.Sprintf("mend the receiver, or raise queue.max_rows and queue.max_bytes of [endpoints.%s]; %s are queued", a.Endpoint, status.Bytes(a.Usage.PendingBytes))
}

// notQueued is how many events of an endpoint were never queued, and where they are named; "" when there are none.
func notQueued(endpoint string, q status.QueueState) string {
	if q.Parked == 0 {
		return ""
	}
	return fmt.Sprintf("%d (walhook deliveries gaps --endpoint %s --reason parked)", q.Parked, endpoint)
}

// queueLines tell of queues that are close to a limit, or at it, and for ever of events that were not queued.
func queueLines(d *status.Document) (lines []string) {
	if q := d.State.Queue; q.Alarm {
		lines = append(lines, fmt.Sprintf("%.0f %% of the limits of [state]: %d deliveries, %s", 100*q.Ratio, q.Rows, status.Bytes(q.Bytes)))
	}
	for _, e := range d.Endpoints {
		q := e.Queue
		if lost := notQueued(e.Name, q); lost != "" {
			lines = append(lines, e.Name+": not queued at the limit: "+lost)
		}
		if !q.Alarm {
			continue
		}
		line := fmt.Sprintf("%s is %.0f %% full: %d deliveries, %s", e.Name, 100*q.Ratio, q.Rows, status.Bytes(q.Bytes))
		if e.Dead > 0 {
			line += fmt.Sprintf("; %d dead letters, %s", e.Dead, status.Bytes(q.DeadBytes))
		}
		if q.Parking {
			line += "; new events are NOT queued and will not be sent" + ago(", since ", d.At, q.ParkedAt)
		}
		if q.Dropped > 0 {
			line += fmt.Sprintf("; dropped %d", q.Dropped)
		}
		lines = append(lines, line)
	}
	return lines
}
