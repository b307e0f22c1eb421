// Package storm holds the great torture: a business database that many sessions write to, walhook between it and
// receivers, and everything around it breaking at random: processes, servers, networks, disks, clocks, schemas.
//
// What must arrive is told by a ledger that needs no trigger: every writer knows what it writes, and inserts that into a table
// in the very transaction that writes it. From the ledger the checker computes, without any code of walhook's, which events
// each rule has to make, and compares them with what has arrived.
//
//	make torture                      storms for ten minutes (and internal/torture); TORTURE=1h for another time
//	WALHOOK_STORM_SEED=7 go test      a storm with the same draws: statements per writer, and faults at the same progress
//
// Storms for a time draw the faults that have been seen least, so that rare and slow ones catch up; what has been seen is in the file that
// WALHOOK_TORTURE_JSON names. A round that fails leaves its evidence behind, and says how it is repeated. Nothing of it is counted.
//
// # Vocabulary
//
//   - Action: what a writer does in one transaction. It is drawn from the seed, the writer's number and the action's.
//   - Stamp: a text that one single write of one row carries, and no other, whether it is committed or not.
//   - Progress: how many actions have been done. Faults come at a progress, not at a time.
//   - Fault: something that breaks, and is mended. It is injected once, and may count for several of its kind.
//   - Arrival: an event in a request that reached a receiver, whatever the receiver made of it.
//   - Walk: a backfill or a resync, which looks through rows beside the stream.
//   - Kind: what faults are counted by; several faults may be of one kind.
//   - Round: fresh servers, a workload, its faults, and the check.
package storm
