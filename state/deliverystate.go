package state

// State is what has become of a delivery.
type State string

// The states of a delivery. Which one holds follows from the tables: queue, waiting, dead_letter, attempt, gap.
const (
	Pending   State = "pending"   // in the queue, not tried yet
	Retrying  State = "retrying"  // in the queue, failed at least once
	Dead      State = "dead"      // a dead letter
	Delivered State = "delivered" // taken by the receiver
	Discarded State = "discarded" // someone gave it up, as a dead letter or from the queue, or its attempts are past retention
	Again     State = "again"     // enqueued again later, under the same id

	Waiting    State = "waiting"    // waits for the end of its rule's window (debounce)
	Superseded State = "superseded" // a later one came within the window: it is never sent
	Test       State = "test"       // of a rule in test mode: it is never sent by itself; or a test that a person has sent to an endpoint
)

// unsentGap is the first gap that ends with a delivery d or after it, of what rules do not send: such gaps do not overlap. One that a person
// discarded may lie within one of test mode.
const unsentGap = `(SELECT first, reason FROM {schema}.gap WHERE endpoint = d.endpoint AND epoch = d.epoch AND last >= d.sequence
	AND reason IN ('superseded', 'test') ORDER BY last LIMIT 1)`

// unsent is why a delivery d without an attempt a is not sent; null when that is not because of its rule.
const unsent = `(SELECT CASE WHEN g.first <= d.sequence AND a.number IS NULL THEN g.reason END FROM ` + unsentGap + ` g)`
