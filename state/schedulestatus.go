package state

import (
	"time"

	"walhook/status"
)

// lookAtSchedules reads how the runs of rules on schedule fare.
func (db *DB) lookAtSchedules(found func(rule string, s *status.ScheduleState)) look {
	const read = `SELECT rule, run_at, ended_at, next_at, rows_read, fired, fired_total, runs, stock, coalesce(error, ''), error_at FROM {schema}.schedule`
	var rule, message string
	var run, ended, next, failed *time.Time
	var rows, fired, total, runs int64
	var stock bool
	return look{db.sql(read), []any{&rule, &run, &ended, &next, &rows, &fired, &total, &runs, &stock, &message, &failed}, func() {
		found(rule, &status.ScheduleState{LastRun: timeOf(run), LastEnd: timeOf(ended), NextRun: timeOf(next), Rows: rows, Fired: fired, Total: total, Runs: runs,
			Stock: stock, Error: message, ErrorAt: timeOf(failed)})
	}}
}
