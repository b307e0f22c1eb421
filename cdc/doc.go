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
//   - Raw change: one single write of a row, for rules with each_write.
//   - Spill: keep a large transaction in a temporary file instead of memory.
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
//
// # Traps
//
// What pgoutput, pglogrepl and PostgreSQL do that is easily got wrong. Code that
// minds one of these cites its number.
//
//  1. Confirm exactly the end LSN of a commit. The commit LSN repeats the transaction, one byte
//     more than the end loses the next one.
//  2. pglogrepl turns a zero flush or apply position into the write position: set all three.
//  3. Keepalives must be answered while the handler is busy, and by the goroutine that reads: a
//     status write during a read with a deadline corrupts the stream.
//  4. WALStart is not monotonic, and all rows of one COPY share it: a write is known by (commit LSN, ordinal).
//  5. A start before confirmed_flush is silently moved forward; one beyond the end of WAL swallows changes.
//  6. REPLICA IDENTITY DEFAULT sends no old row, and unchanged TOAST values are not sent at all: unknown is not NULL.
//  7. Under FULL every column is flagged as key. The primary key comes from pg_index; it can be composite.
//  8. Publishing a table without a usable identity makes the application's own UPDATE and DELETE
//     fail, and so does FULL with a column list. The publication must exist before the slot.
//  9. DateStyle, TimeZone, IntervalStyle, bytea_output and extra_float_digits change the text of values: pin them.
//  10. Values have odd forms: NaN and infinity, BC, arrays with NULLs and quotes, domains, enums, money.
//  11. DDL shows only as a new RELATION message, even inside a transaction. A new connection starts without any.
//  12. Protocol version 1 only: version 2 streams rows of savepoints that are later rolled back. PostgreSQL 18
//     may send a stray stream abort all the same.
//  13. A slot can be lost (55000), missing (42704) or in use (55006): each wants another remedy.
//  14. Logical messages that are not transactional arrive outside of transactions.
//  15. pglogrepl copies tuples byte by byte and allocates per column: tuples are parsed in place here.
//  16. REPLICATION streams published rows without SELECT, and with a replication line in
//     pg_hba.conf takes base backups: allow the database only.
//  17. Publications and replica identity need the owner of the table, the slot needs REPLICATION.
//  18. ALTER TABLE queues behind idle transactions, and everyone else behind it: use lock_timeout, and retry.
package cdc
