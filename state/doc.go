// Package state keeps position, queue, lanes, dead letters, attempts and statistics in one
// PostgreSQL schema. It holds all SQL on that schema and its migrations
// (invariant 7) and implements delivery.Store and status.Reader. It refuses to know what is
// sent and how: retry policy, HTTP and rules live elsewhere.
//
// # Vocabulary
//
//   - Source: the one row with the binding (which database this state belongs to) and the position.
//   - Process: a running walhook, a row with a lease. It owns lanes while the row is there.
//   - Reader: the process that has the right to read the slot. The others stand by: they deliver, and contend for the right.
//   - Log: the tables delivery and attempt, one partition per UTC day, written once and dropped by the day.
//   - Queue: a small row per delivery that has not ended. The log has its body.
//   - Waiting: a row per rule, endpoint and record whose window has not ended (debounce): the last delivery, which the log has. It is released, that
//     is moved to queue and lane, when it is due, or superseded by a later one.
//   - Lane: the row that says who may send a lane's deliveries, and from when on.
//   - Dead letter, parked event: full copies, independent of the log's retention.
//   - Number: a delivery's place in its endpoint's sequence. Gap: numbers that will never arrive, and why.
//   - Tally: changes of how much is kept per endpoint, summed up every second. Limit: how much may be.
//
// # States
//
// A lane is free (no owner, due), backing off (no owner, due later), owned, or held behind a dead
// letter. It has a row exactly while it has queue rows or is held:
//
//	Enqueue ──────► owned ──Finish, more waits──► owned
//	   │             │ ├──Finish, nothing waits──► (no row)
//	   ▼             │ ├──Finish, retry──► backing off
//	  free ──Claim──►┘ ├──Finish, dead + hold──► held ──retry or discard──► free
//	                   └──process ended or lease expired──► free
//
// # Locks
//
// Every transaction takes its row locks in this order, which is why none of them
// can deadlock: dead letters, parked events or what waits, source, lanes by (endpoint, key), queue, endpoints and rules by name, gaps, sizes by endpoint.
// Enqueue locks the lanes that it finds, Finish locks a lane in one statement and looks for
// its next delivery in a later one, which has a younger snapshot: either Finish
// sees what was enqueued, or Enqueue finds the lane gone and makes it anew. No wake-up is lost.
//
// # Invariants
//
//  2. Enqueue commits position and deliveries together and compares-and-sets
//     the position, for the reader alone. Sessions pin synchronous_commit = on.
//  4. A lane is held by one process at a time.
//  8. The state is bound to one source; Bind refuses another.
//  9. Memory does not grow with a backlog: what is not in hand stays in the table.
package state
