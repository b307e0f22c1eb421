package status

import "time"

// ScheduleState is how the runs of a rule on schedule fare.
type ScheduleState struct {
	LastRun time.Time `json:"last_run_at,omitzero"` // when the last run began; left out before the first one
	LastEnd time.Time `json:"last_end_at,omitzero"` // when it ended; left out while it is under way
	NextRun time.Time `json:"next_run_at,omitzero"` // the next set time
	Rows    int64     `json:"rows"`                 // that the last run has read
	Fired   int64     `json:"fired"`                // events that it has sent
	Total   int64     `json:"fired_total"`          // of all runs
	Runs    int64     `json:"runs"`                 // that have ended
	Stock   bool      `json:"stock,omitempty"`      // the last run only took down what held already
	Error   string    `json:"error,omitempty"`      // why the last run failed or could not begin
	ErrorAt time.Time `json:"error_at,omitzero"`
}

var (
	scheduleLast  = gauge("schedule_last_run_timestamp_seconds", "When the last run of a rule on schedule began.", "rule")
	scheduleNext  = gauge("schedule_next_run_timestamp_seconds", "The next set time of a rule on schedule.", "rule")
	scheduleRows  = gauge("schedule_rows", "Rows that the last run of a rule on schedule has read.", "rule")
	scheduleFired = counter("schedule_fired_total", "Events that a rule on schedule has sent.", "rule")
	scheduleRuns  = counter("schedule_runs_total", "Runs of a rule on schedule that have ended.", "rule")
	scheduleError = gauge("schedule_error", "1 while the runs of a rule on schedule fail.", "rule")
)

// scheduleFamilies are the metrics of rules on schedule.
var scheduleFamilies = []family{scheduleLast, scheduleNext, scheduleRows, scheduleFired, scheduleRuns, scheduleError}

// collect sends the figures of a rule; of one that is not on schedule none.
func (s *ScheduleState) collect(send func(f family, v float64, labels ...string), rule string) {
	if s == nil {
		return
	}
	if !s.LastRun.IsZero() {
		send(scheduleLast, float64(s.LastRun.UnixMilli())/1000, rule)
	}
	if !s.NextRun.IsZero() {
		send(scheduleNext, float64(s.NextRun.UnixMilli())/1000, rule)
	}
	send(scheduleRows, float64(s.Rows), rule)
	send(scheduleFired, float64(s.Total), rule)
	send(scheduleRuns, float64(s.Runs), rule)
	send(scheduleError, truth(s.Error != ""), rule)
}
