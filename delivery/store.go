package delivery

import "context"

// Store is the durable queue. Package state implements it in PostgreSQL; its conformance suite is
// statetest. All methods are safe for concurrent use. Errors that a
// retry may mend have a method Temporary() bool that returns true.
type Store interface {
	// Enqueue commits a batch. It fails with ErrSuperseded, and writes nothing, when the stored position is not
	// batch.From. It assigns Seq and Enqueued. Of the lanes that did not
	// exist before, it acquires for this process those for which take returns true, and returns them
	// with their deliveries of this batch, in order.
	Enqueue(ctx context.Context, batch *Batch, take func(endpoint string, deliveries int) bool) ([]Lane, error)

	// Claim acquires up to limit lanes of an endpoint that are due and held by nobody, with up to perLane
	// deliveries of each. It returns nothing for disabled endpoints.
	Claim(ctx context.Context, endpoint string, limit, perLane int) ([]Lane, error)

	// Finish commits outcomes, in order, in one SQL transaction. Outcomes of lanes that this process
	// no longer holds are logged as attempts and change nothing else. Lanes with LaneDone are released or, when more
	// deliveries wait in them and the last result lets the lane go on at once, returned with
	// up to perLane next ones.
	Finish(ctx context.Context, outcomes []Outcome, perLane int) ([]Lane, error)
}
