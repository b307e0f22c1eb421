// Package delivery turns changes into webhooks and webhooks into outcomes.
//
// It knows planning (which delivery follows from a change), the order of lanes,
// retry policy and HTTP. It sees no SQL: the queue is a [Store], which package state implements.
//
// # Vocabulary
//
//   - Delivery: one event for one endpoint, with its body, from enqueue to its end.
//   - Lane: the deliveries of one endpoint and one record, which keep commit order.
//     Its priority says which of an endpoint's lanes go first.
//   - Attempt: one HTTP request of a delivery. Outcome: what it came to.
//   - Dead letter: a delivery that will not be tried again by itself.
//   - Parked: an event whose rule failed to evaluate; no delivery exists yet.
//   - Endpoint: a receiver. Back-off: the wait before the next attempt.
//
// # Invariants
//
//  2. The position and the deliveries of a batch commit in the same SQL
//     transaction, which compares-and-sets the position it started from.
//  3. A delivery's id is a pure function of (system identifier, database oid,
//     commit LSN, xid, table, primary key, rule, endpoint; with each_write, the
//     raw ordinal too). Of a rule on schedule the time of the run stands in place
//     of commit LSN and xid.
//  4. A lane has at most one delivery in flight and keeps commit order; lanes
//     run in parallel. After a dead letter the lane goes on ("skip") or holds ("hold").
//     What waits for its rule's window to end enters its lane then.
//  5. Nothing is sent before the identity check has passed.
//  6. Matching and payload building are pure: same input, same bytes.
//  9. Memory does not grow with the size of a backlog, or of an outage.
package delivery
