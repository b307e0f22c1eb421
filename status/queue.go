package status

import "time"

// QueueState is how full a queue is: an endpoint's, or all together.
type QueueState struct {
	Rows     int64   `json:"rows"`                // deliveries that have not ended
	Bytes    int64   `json:"bytes"`               // of their bodies
	MaxRows  int64   `json:"max_rows,omitempty"`  // limit; left out when there is none
	MaxBytes int64   `json:"max_bytes,omitempty"` // limit; left out when there is none
	Ratio    float64 `json:"ratio"`               // how full: 1 at a limit; dead letters count too, up to the same limits
	Alarm    bool    `json:"alarm"`               // 80 % of a limit is reached, or new events are not queued
	Overflow string  `json:"overflow,omitempty"`  // what happens at the limit: "park" or "drop-oldest"

	DeadBytes int64     `json:"dead_bytes"`    // of the bodies of dead letters
	Parking   bool      `json:"parking"`       // new events are not queued, until it has drained to 80 % of its limit
	Parked    int64     `json:"parked_total"`  // events that were never queued, ever; the table gap has their numbers
	Dropped   int64     `json:"dropped_total"` // deliveries and dead letters that were dropped, ever; the table gap has their numbers
	ParkedAt  time.Time `json:"parking_since,omitzero"`
}

var (
	queueRows     = gauge("queue_rows", "Deliveries that have not ended.", "endpoint")
	queueBytes    = gauge("queue_bytes", "Size of the bodies of deliveries that have not ended.", "endpoint")
	queueMaxRows  = gauge("queue_max_rows", "Limit of the deliveries; absent when there is none.", "endpoint")
	queueMaxBytes = gauge("queue_max_bytes", "Limit of the size of the bodies; absent when there is none.", "endpoint")
	queueRatio    = gauge("queue_ratio", "How full the queue is: 1 at a limit.", "endpoint")
	queueAlarm    = gauge("queue_alarm", "1 from 80 % of a limit on, and while new events are not queued.", "endpoint")
	queueParking  = gauge("queue_parking", "1 while new events are not queued as the limit was reached.", "endpoint")
	queueParked   = counter("queue_parked_total", "Events that were never queued as the limit was reached.", "endpoint")
	queueDropped  = counter("queue_dropped_total", "Deliveries and dead letters that were dropped as the limit was reached.", "endpoint")
	allRows       = gauge("state_queue_rows", "Deliveries that have not ended, of all endpoints together.")
	allBytes      = gauge("state_queue_bytes", "Size of their bodies.")
	allRatio      = gauge("state_queue_ratio", "How full the queue is in all: 1 at a limit of [state].")
	deadBytes     = gauge("endpoint_dead_letter_bytes", "Size of the bodies of dead letters.", "endpoint")
)

// queueFamilies are the metrics of queues.
var queueFamilies = []family{queueRows, queueBytes, queueMaxRows, queueMaxBytes, queueRatio, queueAlarm, queueParking, queueParked, queueDropped, deadBytes, allRows, allBytes, allRatio}

// collect sends the figures of an endpoint's queue.
func (q QueueState) collect(send func(f family, v float64, labels ...string), endpoint string) {
	send(queueRows, float64(q.Rows), endpoint)
	send(queueBytes, float64(q.Bytes), endpoint)
	if q.MaxRows > 0 {
		send(queueMaxRows, float64(q.MaxRows), endpoint)
	}
	if q.MaxBytes > 0 {
		send(queueMaxBytes, float64(q.MaxBytes), endpoint)
	}
	send(queueRatio, q.Ratio, endpoint)
	send(queueAlarm, truth(q.Alarm), endpoint)
	send(queueParking, truth(q.Parking), endpoint)
	send(queueParked, float64(q.Parked), endpoint)
	send(queueDropped, float64(q.Dropped), endpoint)
	send(deadBytes, float64(q.DeadBytes), endpoint)
}
