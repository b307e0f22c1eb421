// Package state keeps position, queue, lanes, dead letters, attempts and statistics in one
// PostgreSQL schema. It holds all SQL on that schema and its migrations
// (invariant 7) and implements delivery.Store and status.Reader.
//
// # Invariants
//
//  2. Enqueue commits position and deliveries together and compares-and-sets
//     the position.
//  4. A lane is held by one process at a time.
//  8. The state is bound to one source; Bind refuses another.
package state
