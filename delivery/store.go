package delivery

import "context"

// Bounds that a Store keeps to when it hands out deliveries of a lane.
const (
	// LaneBytes bounds the bodies of one lane that are handed out at once: after the first
	// delivery, which is always handed out, further ones only while the bodies together stay within it.
	LaneBytes = 256 << 10
	// HandoutBytes bounds the bodies of all lanes that one call hands out: it hands out lanes until it has reached this
	// much, and leaves the others free and due.
	HandoutBytes = 1 << 20
)

// Store is the durable queue. Package state implements it in PostgreSQL. All methods are safe for
// concurrent use. Errors that a retry may mend have a method Temporary() bool that returns true.
//
// An error leaves open whether the call's transaction was committed, as an answer can be lost. Lanes are not
// lost with it: what such a transaction acquired for this process although its caller never heard of it, the
// Store gives back by itself.
type Store interface {
	// Enqueue commits a batch. It fails with ErrSuperseded, and writes nothing, when another process has the right to
	// read, or the stored position is not batch.From. It assigns Seq and Enqueued. Of the lanes that did not
	// exist before, it acquires for this process those for which take returns true, and returns them
	// with their deliveries of this batch, in order. It acquires nothing of disabled endpoints.
	Enqueue(ctx context.Context, batch *Batch, take func(endpoint string, deliveries int) bool) ([]Lane, error)

	// StoredPosition returns the position as committed. Ingest asks for it after
	// an Enqueue that failed, to learn whether the batch was committed all the same.
	StoredPosition(ctx context.Context) (Position, error)

	// Claim acquires up to limit lanes of an endpoint that are due and held by nobody, those that are due longest first, with
	// up to perLane deliveries of each (see LaneBytes and HandoutBytes). It returns nothing for disabled endpoints.
	Claim(ctx context.Context, endpoint string, limit, perLane int) ([]Lane, error)

	// Finish commits outcomes, in order, in one SQL transaction. Outcomes of lanes that this process
	// no longer holds are logged as attempts and change nothing else. Lanes with LaneDone are released or, when more
	// deliveries wait in them, the last result lets the lane go on at once and perLane is not 0, returned with
	// up to perLane next ones (see LaneBytes and HandoutBytes). A Released outcome only releases its lane, which stays due.
	//
	// Finish is called again with the same outcomes when it failed, so applying
	// an outcome twice must come to the same: counters and the log of attempts hold it once, and a
	// lane that is still held is returned again.
	Finish(ctx context.Context, outcomes []Outcome, perLane int) ([]Lane, error)
}
