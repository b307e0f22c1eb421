package status

import "time"

// LogState is how large the log of deliveries and attempts is.
type LogState struct {
	Bytes    int64     `json:"bytes"`               // on disk, indexes included
	MaxBytes int64     `json:"max_bytes,omitempty"` // limit; left out when there is none
	Since    time.Time `json:"since,omitzero"`      // the first day that it holds
	Over     bool      `json:"over"`                // larger than the limit: for longer than ten minutes only if today alone is, or days that pending deliveries need

	DroppedForAge  int64 `json:"dropped_for_age_total"`  // partitions, ever
	DroppedForSize int64 `json:"dropped_for_size_total"` // partitions, ever
}

var (
	logBytes    = gauge("log_bytes", "Size of the log of deliveries and attempts on disk.")
	logMaxBytes = gauge("log_max_bytes", "Limit of the size of the log; absent when there is none.")
	logOver     = gauge("log_over", "1 while the log is larger than its limit: for longer than ten minutes only if today alone is, or days that pending deliveries need.")
	logDropped  = counter("log_dropped_partitions_total", "Days of deliveries or attempts that retention has dropped, by reason: age, size.", "reason")
)

// logFamilies are the metrics of the log.
var logFamilies = []family{logBytes, logMaxBytes, logOver, logDropped}

// collect sends the figures of the log.
func (l LogState) collect(send func(f family, v float64, labels ...string)) {
	send(logBytes, float64(l.Bytes))
	if l.MaxBytes > 0 {
		send(logMaxBytes, float64(l.MaxBytes))
	}
	send(logOver, truth(l.Over))
	send(logDropped, float64(l.DroppedForAge), "age")
	send(logDropped, float64(l.DroppedForSize), "size")
}
