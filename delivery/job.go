package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"walhook/cdc"
)

// JobKind says what a [Job] makes of rows. There is a [JobSink] for each.
type JobKind string

// The kinds.
const (
	JobBackfill JobKind = "backfill" // events of what is there already
	JobResync   JobKind = "resync"   // events of what may have changed while changes could not be read
	JobImage    JobKind = "image"    // what rows are, kept to compare later changes with
)

// JobState is where a [Job] stands.
type JobState string

// The states. A job that waits for its turn, for room or for its rate is running all the same.
const (
	JobQueued    JobState = "queued"  // not begun
	JobRunning   JobState = "running" // begun
	JobPaused    JobState = "paused"  // by a person
	JobDone      JobState = "done"
	JobCancelled JobState = "cancelled" // by a person
	JobFailed    JobState = "failed"    // cannot go on until somebody has mended what is wrong, and resumes it
)

// Ended says that nothing more happens to the job by itself, or ever.
func (s JobState) Ended() bool { return s == JobDone || s == JobCancelled }

// Job is a walk through the rows of one table, in the order of its key, a chunk at a time. It lives in the store: whoever reads the slot goes on with it
// where it stands, and what a step of it leads to is committed together with how far it has come.
type Job struct {
	ID        int64
	Kind      JobKind
	Resync    int64     // the number of the resync that it belongs to; 0 for none
	Made      time.Time // when it was asked for, in microseconds: part of the ids of its deliveries, and their now()
	Rule      string    // "" of image jobs
	Endpoints []string  // of the rule's; nil for all of them
	Schema    string
	Table     string
	Model     string
	Where     string          // a further condition, in the language of rules
	Filter    *cdc.Filter     // rows that it leaves out are not read; nil for none
	Rate      float64         // events a second; 0 for as many as there is room for
	Limit     int64           // events after which it is done; 0 for no limit
	Spec      json.RawMessage // what else its kind wants to know; may be nil

	State  JobState
	After  []string        // key up to which it has come; nil at the beginning
	Cursor json.RawMessage // what else its kind remembers of how far it has come; may be nil
	Steps  int64           // that were committed: a step is compared with it
	Rows   int64           // looked at
	Events int64           // that came of them, before they were fanned out to endpoints
	Sent   int64           // deliveries
	Parked int64           // events whose rule failed
	Total  int64           // rows to look at, as counted or estimated when it was made; 0 when that is not known
	NextAt time.Time       // when its rate lets it go on
	Rest   time.Duration   // until then, by the store's clock; 0 when it may go on

	Waits               string // what it waits for, for people; "" when it is at work
	Error               string // why it failed, or what went wrong last
	Begun, Moved, Ended time.Time
}

// JobStep is what one step of a job commits, see [Batch].
type JobStep struct {
	Job   int64
	Steps int64 // how many were committed before it: the step fails with [ErrJobMoved] when that is not so, or the job is not to run

	After                      []string
	Cursor                     json.RawMessage // nil: as it was
	Rows, Events, Sent, Parked int64           // more of them
	Rest                       time.Duration   // until the next step, for the job's rate
	Done                       bool
}

// ErrJobMoved says that a step does not fit: a person has paused or cancelled the job, or another process has gone on with it.
var ErrJobMoved = errors.New("the job stands elsewhere, or was paused or cancelled")

// JobStore keeps jobs. Package state implements it. Errors that a retry may mend have a method Temporary() bool that returns true.
type JobStore interface {
	// Jobs returns the jobs that are queued or running, in the order in which they were made.
	Jobs(ctx context.Context) ([]*Job, error)
	// NoteJob notes what a job waits for, or why it failed: for the reader alone, and of a job that is queued or running. It is no error when it is
	// neither any more.
	NoteJob(ctx context.Context, id int64, state JobState, waits, failure string) error
	// JobRoom says whether the queues of endpoints have room for what a job sends beside live events; if not, what it waits for.
	JobRoom(ctx context.Context, endpoints []string) (waits string, err error)
}

// JobSink makes of rows what its kind of jobs is about.
type JobSink interface {
	// Open prepares to work on a job, in the goroutine that reads rows. An error that is not Temporary fails the job.
	Open(ctx context.Context, job *Job) (JobWork, error)
}

// JobWork is a job under way. A new one is opened after the job was failed and resumed, and by each process that goes on with it.
type JobWork interface {
	// Request says what to read next. It is called by the goroutine that reads, like Close. The runner fills in After and adapts Rows and Look.
	Request(job *Job) cdc.ChunkRequest
	// Endpoints are those that it sends to: their queues must have room.
	Endpoints() []string
	// Fill adds to a batch what follows from rows of a chunk, from a place on, until the batch is full ([JobFill.Full]) or the job's limits are reached. The
	// rows are as they are at the position of the stream; it is called by the goroutine that enqueues, which holds transactions up meanwhile.
	Fill(ctx context.Context, job *Job, chunk *cdc.Chunk, from int, fill *JobFill) error
	Close()
}

// JobFill is the part of a chunk that one SQL transaction commits.
type JobFill struct {
	Batch  *Batch // to add to: Deliveries, Parked, Matched, Sampled, and what kinds have of their own
	Taken  int    // rows of the chunk that were looked at, from where it began
	Events int64  // that came of them
	Most   int64  // events that may come; 0 for any number
	Bytes  int    // of bodies so far
	Cursor json.RawMessage
	End    bool // the job is done, whatever rows there are
}

// Full says that the batch holds what one SQL transaction may.
func (f *JobFill) Full() bool {
	return len(f.Batch.Deliveries)+len(f.Batch.Parked) >= maxJobBatch || f.Bytes >= maxBatchBytes || f.Most > 0 && f.Events >= f.Most
}

// maxJobBatch is less than what live events may have: they wait for it.
const maxJobBatch = 200
