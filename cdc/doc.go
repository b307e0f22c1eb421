// Package cdc reads committed changes from PostgreSQL's write-ahead log.
//
// It knows logical replication: slots, publications, the pgoutput protocol
// (version 1), the text form of PostgreSQL's types, transactions and how the
// several writes of one row in one transaction become one net [Change]. It
// refuses to know what a change means: rules, models and webhooks live in
// packages that import this one.
//
// # Vocabulary
//
//   - LSN: a position in the write-ahead log.
//   - Slot: the server-side cursor that keeps WAL for us until we confirm it.
//   - Publication: the list of tables whose changes the slot streams.
//   - Replica identity: what of the old row an UPDATE or DELETE writes to WAL.
//     DEFAULT writes the primary key (and only when it changed), FULL all of it.
//   - Net change: what one transaction did to one row, first before to last after.
//   - Image: how much of a row version is known, see [Image].
//   - Confirm: tell the server that WAL up to an LSN is no longer needed.
//
// # Invariants
//
// Code that upholds one of these cites its number; delivery/doc.go has the
// others.
//
//  1. WAL is confirmed only up to the end LSN of the last transaction whose
//     effects are committed in the state schema. Idle progress (the end of WAL
//     in a keepalive, nothing in flight) is persisted first, then confirmed, at
//     most every 30 s, so that a state schema inside the source cluster does
//     not feed itself. At start, confirmed_flush > position means that the
//     state was lost or restored from a backup: refuse.
//  6. Coalescing is pure: same input, same bytes.
//  7. Only cdc and cdc/catalog speak SQL to the source.
//  8. A position from another cluster, database or slot is refused at start. A
//     new timeline is accepted when the position lies before its switch point.
//  9. Memory does not grow with the size of a transaction.
package cdc
