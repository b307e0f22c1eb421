package failpoint

// Point is the name of a place in the code.
type Point string

// The points, in the order in which a change comes by.
const (
	Spill      Point = "spill"       // part of a large transaction was written to its temporary file
	Decoded    Point = "decoded"     // a transaction was received whole, and is not handed to the handler
	Merge      Point = "merge"       // the runs of a large transaction are merged, and not one change of it is planned
	Enqueue    Point = "enqueue"     // a batch was sent to the state, and its commit was not
	CommitSent Point = "commit-sent" // any commit was sent to the state, and its answer was not read
	Enqueued   Point = "enqueued"    // a batch is committed, and nothing in memory knows of it
	HandedOver Point = "handed-over" // a batch is committed and with the engine
	Segment    Point = "segment"     // a part of a large transaction is committed, and the next part is not
	Advanced   Point = "advanced"    // idle progress is committed, and not confirmed
	Confirm    Point = "confirm"     // the server is about to learn a later flush position
	Confirmed  Point = "confirmed"   // it was told
	Claimed    Point = "claimed"     // lanes were claimed in the state, and are not in memory
	Request    Point = "request"     // a request is about to be made
	Answered   Point = "answered"    // it was answered, and the outcome is nowhere but in memory
	Finish     Point = "finish"      // outcomes were sent to the state, and their commit was not
	Finished   Point = "finished"    // outcomes are committed, and the next deliveries of their lanes not in memory
)

// The points of walhook resync, in its order, and of what a run then makes of it.
const (
	ResyncDropped Point = "resync-dropped" // the dead slot was dropped, and no other made
	ResyncSlot    Point = "resync-slot"    // the slot was made, and the state knows nothing of it
	Resync        Point = "resync"         // all was sent to the state, and its commit was not
	Resynced      Point = "resynced"       // it is committed, and nobody was told
	ResyncTold    Point = "resync-told"    // deletions that were found are queued, and their commit was not sent
)

// ResyncPoints returns those of walhook resync.
func ResyncPoints() []Point { return []Point{ResyncDropped, ResyncSlot, Resync, Resynced, ResyncTold} }

// Points returns all points that any run comes by.
func Points() []Point {
	return []Point{Spill, Decoded, Merge, Enqueue, CommitSent, Enqueued, HandedOver, Segment, Advanced, Confirm, Confirmed,
		Claimed, Request, Answered, Finish, Finished}
}
