// Package fencing holds the tests that let several processes of walhook, the program, work on one state: one reads the
// slot, the others stand by, all deliver. Readers are stopped (SIGSTOP) until their place is taken and then continued, killed,
// and told to stop; the state database restarts under all of them. Further places to stand still at run with WALHOOK_LONG=1
// (make fencing).
//
// # Vocabulary
//
//   - Site: a database with a table of records, a receiver, and nodes.
//   - Node: a process of walhook with a port of its own. All nodes of a site share slot and state.
//   - Traffic: transactions that count one record up, each an event. The table itself is the ledger: a record at n has had n events.
package fencing
