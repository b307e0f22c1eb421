package delivery

import (
	"time"

	"walhook/cdc"
)

// Delivery is one event for one endpoint. All fields but Attempts are set when
// it is planned and never change.
type Delivery struct {
	Seq         int64  // order of enqueueing, assigned by the Store; orders a lane
	ID          string // "msg_…", invariant 3: the receiver's key for deduplication
	Endpoint    string
	Lane        string // lane key within the endpoint: "sale.order/42"; "" when the endpoint is one lane; the ID when unordered
	Rule        string
	Event       string // "sale.order.confirmed"
	Model       string // "sale.order", or the table for plain tables
	Record      string // primary key as text
	Op          string // create, write, unlink, archive, unarchive
	CommitLSN   cdc.LSN
	XID         uint32
	CommitAt    time.Time
	Body        []byte // the request body, ready to send
	ContentType string

	// Format and Headers belong to the body: they stay as they were when it was made, whatever the endpoint's configuration says later.
	Format  string            // as [payload.Format.String] names it; "" is standard
	Headers map[string]string // of the request, besides the endpoint's own: the attributes of a CloudEvent in binary mode; nil otherwise

	// Epoch and Sequence let the receiver prove that nothing is missing: within an endpoint and an epoch the Store numbers
	// deliveries 1, 2, 3 ... as they are enqueued. A delivery keeps its number. Zero when it was enqueued before there were numbers.
	Epoch, Sequence int64

	// What its rule says of it (C9). It is the Store's to act on, and not kept with the delivery.
	Test      bool          // to be numbered and logged, and not sent
	Priority  Priority      // of its lane while it waits there
	Wait, Max time.Duration // how long it waits for a later one of its rule, endpoint and record; zero: not at all

	Late     bool      // sent again on request, after what came later in its lane: the order was broken, and a header says so
	Enqueued time.Time // when it was committed to the queue
	Attempts int       // finished attempts that count
	Batched  int       // of a batch, see [NewBatch]: how many deliveries its body holds; 0 of all others
	Alone    int       // of a batch of one: the size of that delivery's body, which is what max_body is about

	members []*Delivery // of a batch
	fresh   time.Time   // when it was committed, if it went from there to memory and was not tried yet; it is the engine's
}

// Aside says that the delivery is not queued when it is enqueued, but only logged, or waits for a later one.
func (d *Delivery) Aside() bool { return d.Test || d.Wait > 0 }

// Parked is an event whose condition or payload failed to evaluate. It keeps the
// change, so that it can be evaluated again once the rule is mended (C5).
type Parked struct {
	ID        string // as a delivery's, without an endpoint
	Rule      string
	Model     string
	Record    string
	CommitLSN cdc.LSN
	XID       uint32
	CommitAt  time.Time
	Error     string
	Change    []byte // cdc.EncodeChange, without columns that hold secrets
	ParkedAt  time.Time
	Held      bool // nothing has failed: it waits for the end of a module upgrade
}

// Position is how far ingest has come. Transactions whose EndLSN is at or
// before LSN are done. Open and Count are for a giant transaction that is
// enqueued in several SQL transactions: of the one with commit LSN Open, all changes
// whose Ordinal is less than Count have their effects enqueued already. Ordinals count writes in WAL, so
// that Count means the same after rules have been edited or related rows have changed.
type Position struct {
	LSN   cdc.LSN
	Open  cdc.LSN
	Count int64
}

// Batch is what one SQL transaction of ingest commits (invariant 2).
type Batch struct {
	From, To   Position // compare From with the stored position, set To
	Deliveries []*Delivery
	Parked     []*Parked
	Matched    map[string]int64 // rule name → events matched, for statistics
	Sampled    map[string]int64 // rule name → of these, events that the rule's sample left out
	Recorded   *Recorded        // changes to be kept; nil for none
	Ignored    map[string]int64 // rule name → of these, events of users whose changes the rule leaves out
	Dropped    map[string]int64 // rule name → of these, events of a module upgrade that the rule drops
	Upgrade    *Upgrade         // as it is at To; nil when it is as before
	Images     *ImageBatch      // of rows as they are at To; nil when nothing has changed
	Job        *JobStep         // of a job, whose rows the deliveries are; nil of what transactions have led to
}

// Lane is a lane that this process holds: nobody else sends its deliveries while the
// process's lease lasts.
type Lane struct {
	Endpoint   string
	Key        string
	Deliveries []*Delivery // the first ones, in order; never empty
	More       bool        // the store may hold further ones behind these
	Priority   Priority
}

// Result is how an attempt ended, see [Outcome].
type Result string

// The results.
const (
	Delivered Result = "delivered" // 2xx
	Retry     Result = "retry"     // try again at Outcome.Next
	Dead      Result = "dead"      // attempts used up, or an answer that no retry can mend
	Released  Result = "released"  // our own fault (shutdown, lost lease): not counted, no attempt logged
	Regrouped Result = "regrouped" // the batch that it was in was refused, perhaps for another's sake: logged, not counted, sent again in other company
)

// Outcome is what became of one delivery's attempt; Store.Finish makes it durable.
type Outcome struct {
	Delivery *Delivery
	Result   Result
	Next     time.Time // of Retry: not before
	Reason   string    // of Retry and Dead, for people: "503 Service Unavailable", "timeout after 15s"
	Hold     bool      // the lane holds (on_dead = "hold"): for a delivery that is Dead; of LaneDone, for any of the batch
	Disable  string    // non-empty: disable the endpoint for this reason (410)
	Attempt  *Attempt  // nil when no request was made
	LaneDone bool      // the process has no further delivery of the lane in memory: release it, or return what is next; a Regrouped one releases it
}

// Attempt is the audit record of one request (E8). Secrets are masked already.
type Attempt struct {
	Number                              int // from 1
	At                                  time.Time
	Method, URL                         string              // secrets in the query masked
	RequestHeaders                      map[string][]string // masked
	Status                              int                 // 0 when no answer came
	ResponseHeaders                     map[string][]string
	ResponseBody                        []byte // capped
	ResponseCut                         bool   // the body was longer
	Error                               string // of the transport; with a Status when the answer broke off in its body
	Class                               string // one of the Class constants: what went wrong, for filters and metrics; "" when the receiver took it
	DNS, Connect, TLS, FirstByte, Total time.Duration

	Batch                    string // webhook-id of the request when it carried a batch; of the answer's body, only the first delivery's attempt keeps more than 1 KiB
	BatchPosition, BatchSize int    // the delivery's place in it, from 1, and how many there were
}
