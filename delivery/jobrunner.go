package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"walhook/cdc"
)

// ChunkReader reads chunks of tables of the source.
type ChunkReader interface {
	Chunk(ctx context.Context, r cdc.ChunkRequest) (*cdc.Chunk, error)
}

// JobRunnerConfig is what a [JobRunner] works with.
type JobRunnerConfig struct {
	Store    JobStore
	Sinks    map[JobKind]JobSink
	Reader   ChunkReader
	Progress func() cdc.Progress // of the stream
	Trace    JobTrace

	Poll time.Duration // how often the store is asked for jobs while there are none; default 1 s
}

// JobTrace observes a [JobRunner]. Its functions may be nil.
type JobTrace struct {
	Begun  func(j *Job)                                 // this process goes on with a job
	Step   func(j *Job, s *JobStep)                     // a step was committed
	Ended  func(j *Job)                                 // and it was the last one
	Failed func(j *Job, err error)                      // it cannot go on until it is resumed
	Retry  func(j *Job, err error, pause time.Duration) // something failed that may pass
}

// JobRunner works on jobs for the process that reads the slot: it reads chunks beside the stream and commits what follows from them between its
// batches, by the goroutine that enqueues ([cdc.Errand]).
//
// What it guarantees is order: of the rows of a chunk everything older was queued before them, and everything newer will be queued after them. A chunk is
// held until the stream has been handled to the end of WAL as it was after the chunk's snapshot was taken; what has been handled meanwhile and the snapshot
// has not seen is followed in the rows. A step moves the position, so that a restart never reads again what the rows show already.
//
// It never holds live events up for long: it reads and commits little at a time, not while the stream is behind, and not while the queues are full.
// The job that was made first goes first; one that waits for room or for its rate lets others go on.
type JobRunner struct {
	cfg     JobRunnerConfig
	ingest  *Ingest
	waiting chan struct{}

	mu   sync.Mutex
	turn jobTurn

	working map[int64]*openJob
	retries map[int64]*jobRetry
}

// openJob is a job that this process works on.
type openJob struct {
	work JobWork
	like *cdc.Relation
	look int // rows that are looked at, at once
}

// jobRetry is when a job may be tried again.
type jobRetry struct {
	at    time.Time
	pause time.Duration
}

const (
	// A chunk is so large, so that it is made and committed in a few milliseconds.
	jobRows, jobBytes = 200, 512 << 10
	// jobLook bounds the rows that are looked at for it, behind a filter.
	jobLookLeast, jobLookMost = 500, 100_000
	// jobLag is how far behind the stream may be.
	jobLag = 5 * time.Second
	// walPage is what two positions may differ by that mean the same: the rest of a page of WAL.
	walPage = 8 << 10
	// jobPatience bounds how long a chunk is held.
	jobPatience = 30 * time.Second
	// Pauses after failures.
	jobRetryMin, jobRetryMax = 500 * time.Millisecond, 30 * time.Second
)

// NewJobRunner returns a runner that commits through ingest, and lets it know of transactions.
func NewJobRunner(cfg JobRunnerConfig, ingest *Ingest) *JobRunner {
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	r := &JobRunner{cfg: cfg, ingest: ingest, waiting: make(chan struct{}, 1), working: map[int64]*openJob{}, retries: map[int64]*jobRetry{}}
	ingest.jobs = r
	return r
}

// Run works on jobs until ctx is cancelled, which is no error, or another process reads the slot ([ErrSuperseded]).
func (r *JobRunner) Run(ctx context.Context) error {
	defer func() {
		for id := range r.working {
			r.close(id)
		}
	}()
	for ctx.Err() == nil {
		pause, err := r.Look(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		sleepFor(ctx, pause)
	}
	return nil
}

func sleepFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Look lets the first job that can go on take a step, and says when to look again.
func (r *JobRunner) Look(ctx context.Context) (pause time.Duration, err error) {
	jobs, err := r.cfg.Store.Jobs(ctx)
	if err != nil {
		return r.cfg.Poll, nil // others say that the state is away
	}
	r.forget(jobs)
	pause = r.cfg.Poll
	for _, j := range jobs {
		if again := r.retries[j.ID]; again != nil && time.Until(again.at) > 0 {
			pause = min(pause, time.Until(again.at))
			continue
		}
		if j.Rest > 0 {
			pause = min(pause, j.Rest)
			continue
		}
		waits, err := r.mayGo(ctx, j)
		if err == nil && waits != "" {
			r.noteWaits(ctx, j, waits)
			continue
		}
		began := time.Now()
		if err == nil {
			err = r.step(ctx, j)
		}
		switch {
		case ctx.Err() != nil:
			return 0, nil
		case errors.Is(err, ErrSuperseded):
			return 0, err
		case err != nil:
			pause = min(pause, r.failed(ctx, j, err))
			continue
		}
		delete(r.retries, j.ID)
		// It takes at most half of one session's time of the source.
		return min(time.Since(began)/2, time.Second), nil
	}
	return pause, nil
}

// forget closes what is not to be worked on any more.
func (r *JobRunner) forget(jobs []*Job) {
	for id := range r.working {
		known := false
		for _, j := range jobs {
			known = known || j.ID == id
		}
		if !known {
			r.close(id)
		}
	}
}

func (r *JobRunner) close(id int64) {
	r.working[id].work.Close()
	delete(r.working, id)
	delete(r.retries, id)
}

// mayGo says what a job waits for, or that it can go on: the stream comes first, and what waits in the queues.
func (r *JobRunner) mayGo(ctx context.Context, j *Job) (waits string, err error) {
	p := r.cfg.Progress()
	if !p.Connected {
		return "the stream is not connected", nil
	}
	if _, age := p.Lag(time.Now()); age > jobLag {
		return fmt.Sprintf("the stream is %s behind", age.Round(time.Second)), nil
	}
	o, err := r.opened(ctx, j)
	if err != nil {
		return "", err
	}
	if endpoints := o.work.Endpoints(); len(endpoints) > 0 {
		return r.cfg.Store.JobRoom(ctx, endpoints)
	}
	return "", nil
}

func (r *JobRunner) opened(ctx context.Context, j *Job) (*openJob, error) {
	if o := r.working[j.ID]; o != nil {
		return o, nil
	}
	sink := r.cfg.Sinks[j.Kind]
	if sink == nil {
		return nil, &jobOverError{err: fmt.Errorf("this version of walhook knows no jobs of kind %q", j.Kind), remedy: fmt.Sprintf("run a newer one, or walhook backfill cancel %d", j.ID)}
	}
	work, err := sink.Open(ctx, j)
	if err != nil && !isTemporary(err) && !errors.Is(err, ErrJobMoved) {
		err = &jobOverError{err: err}
	}
	if err != nil {
		return nil, err
	}
	o := &openJob{work: work, look: jobLookLeast}
	r.working[j.ID] = o
	if r.cfg.Trace.Begun != nil {
		r.cfg.Trace.Begun(j)
	}
	return o, nil
}

// step reads a chunk and waits until it is committed.
func (r *JobRunner) step(ctx context.Context, j *Job) error {
	o := r.working[j.ID]
	req := o.work.Request(j)
	req.After, req.Like = j.After, o.like
	if req.Rows == 0 {
		req.Rows = jobRows
	}
	if req.Bytes == 0 {
		req.Bytes = jobBytes
	}
	req.Look = o.look
	at := r.cfg.Progress()
	h := &heldChunk{job: j, work: o.work, answer: make(chan error, 1), session: at.Reconnects}
	if j.Rate > 0 {
		h.most = max(int64(j.Rate/4), 1) // events come evenly, a quarter of a second's at a time
		req.Rows = int(min(int64(req.Rows), max(4*h.most, 16)))
	}
	if j.Limit > 0 {
		left := max(j.Limit-j.Events, 1)
		if h.most == 0 || left < h.most {
			h.most = left
		}
	}
	window, before := r.open(j.Schema, j.Table)
	began := time.Now()
	chunk, err := r.cfg.Reader.Chunk(ctx, req)
	if err == nil && chunk.High+walPage < at.Handled {
		err = &cdc.NotVisibleError{LSN: at.Handled} // of another server than the stream
	}
	if err == nil {
		err = r.overlooked(chunk, before)
	}
	if err != nil {
		r.shut()
		if cdc.IsTimeout(err) && o.look > 1 {
			o.look = max(o.look/8, 1)
			return nil
		}
		return err
	}
	o.adapt(time.Since(began))
	o.like, h.chunk, h.window = chunk.Rel, chunk, window
	r.hold(h)
	return r.await(ctx, h)
}

// adapt looks at more rows at once when that is quick.
func (o *openJob) adapt(took time.Duration) {
	switch {
	case took < quickLook/4:
		o.look = min(2*o.look, jobLookMost)
	case took > slowLook/2:
		o.look = max(o.look/2, jobLookLeast)
	}
}

// await waits for a chunk that is held. One that the stream does not come to is read again later.
func (r *JobRunner) await(ctx context.Context, h *heldChunk) error {
	patience := time.NewTimer(jobPatience)
	defer patience.Stop()
	select {
	case err := <-h.answer:
		return err
	case <-ctx.Done():
	case <-patience.C:
	}
	if r.withdraw(h) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: the stream has not come to %s within %s", cdc.ErrChunkStale, h.chunk.High, jobPatience)
	}
	select { // it is being committed
	case err := <-h.answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// noteWaits tells people what a job waits for, when that is something else than before.
func (r *JobRunner) noteWaits(ctx context.Context, j *Job, waits string) {
	if j.Waits != waits {
		// It is told again when it lasts.
		_ = r.cfg.Store.NoteJob(ctx, j.ID, "", waits, "")
	}
}

// failed puts a job off, or gives it up.
func (r *JobRunner) failed(ctx context.Context, j *Job, err error) time.Duration {
	if errors.Is(err, ErrJobMoved) {
		return 0 // it is looked at anew
	}
	stale := errors.Is(err, cdc.ErrChunkStale)
	if isJobOver(err) && ctx.Err() == nil {
		// That it cannot be noted leaves it to be tried again.
		_ = r.cfg.Store.NoteJob(ctx, j.ID, JobFailed, "", withRemedy(err))
		if r.working[j.ID] != nil {
			r.close(j.ID)
		}
		if r.cfg.Trace.Failed != nil {
			r.cfg.Trace.Failed(j, err)
		}
		return 0
	}
	again := r.retries[j.ID]
	if again == nil {
		again = &jobRetry{pause: 10 * time.Millisecond}
		r.retries[j.ID] = again
	}
	again.at = time.Now().Add(again.pause)
	pause := again.pause
	if again.pause = max(2*again.pause, jobRetryMin/4); !stale {
		again.pause = min(max(again.pause, jobRetryMin), jobRetryMax)
	}
	again.pause = min(again.pause, jobRetryMax)
	if pause >= jobRetryMin {
		r.noteWaits(ctx, j, err.Error())
		if r.cfg.Trace.Retry != nil {
			r.cfg.Trace.Retry(j, err, pause)
		}
	}
	return pause
}

// jobOverError fails a job, see [JobSink].
type jobOverError struct {
	err    error
	remedy string // "": that of err
}

func (e *jobOverError) Error() string { return e.err.Error() }
func (e *jobOverError) Unwrap() error { return e.err }

// Hint returns the remedy.
func (e *jobOverError) Hint() string {
	var hint interface{ Hint() string }
	if e.remedy == "" && errors.As(e.err, &hint) {
		return hint.Hint()
	}
	return e.remedy
}

// isJobOver says that only a person can mend what is wrong, and that it is about this job alone.
func isJobOver(err error) bool {
	var over *jobOverError
	var gone *cdc.TableGoneError
	var rule *JobRuleError
	var refused *cdc.RefusedError
	return errors.As(err, &over) || errors.As(err, &gone) || errors.As(err, &rule) || errors.As(err, &refused) && !isTemporary(err)
}

// withRemedy is an error's text with what to do about it.
func withRemedy(err error) string {
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		return err.Error() + "; " + hint.Hint()
	}
	return err.Error()
}

// report tells of a step.
func (r *JobRunner) report(j *Job, s *JobStep) {
	if r.cfg.Trace.Step != nil {
		r.cfg.Trace.Step(j, s)
	}
	if s.Done && r.cfg.Trace.Ended != nil {
		r.cfg.Trace.Ended(j)
	}
}
