// Package torture holds the tests that kill walhook, the program, with SIGKILL: again and again, at random and
// at every fail point of internal/failpoint, while a workload runs and the receiver fails at random.
//
// What must arrive is told by a ledger: triggers write down every change of a row in the transaction that makes it,
// so what is rolled back is not in it. The ledger's events must arrive: each at least once, under one id that is its
// own, per record in the order of commits, and nothing else. Meanwhile nothing may be confirmed to the server that the
// state does not hold, and in the end the state's log has each event once.
//
//	make torture                      rounds for ten minutes; TORTURE=1h for another time
//	WALHOOK_TORTURE_SEED=7 go test    a round with the same draws: workload, kills and failures, though not the same timing
//
// # Vocabulary
//
//   - Life: a process of walhook from its start to its death.
//   - Ledger: the table, not published, that the triggers write.
//   - Event: a net change of the ledger for a rule and an endpoint, or of a rule with each_write a single change. It is known by the
//     values of the version column before and after, which no two writes share.
//   - Arrival: a request that reached the receiver, whatever the receiver made of it. Accepted: the receiver took note of it,
//     which the sender does not always get to know.
//   - Round: a database, a workload and a row of lives, drawn from one seed.
package torture
