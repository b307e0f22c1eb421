package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walhook/cdc"
)

// heldChunk is a chunk that waits for the stream to come as far as its snapshot has seen, and then for its rows to be committed, a batch at a time.
type heldChunk struct {
	job     *Job
	work    JobWork
	chunk   *cdc.Chunk
	window  *cdc.ChunkWindow
	session int // of the stream: on another one another server may be read
	begun   bool
	next    int   // row
	most    int64 // events that may still come of it; 0 for any number
	answer  chan error
}

// handledTx is a transaction that was handled lately.
type handledTx struct {
	xid         uint32
	commit, end cdc.LSN
	at          time.Time
}

// Bounds of what is remembered of transactions that were handled: some may not be visible to queries yet, as those that wait for a synchronous standby.
const (
	handledMost = 1024
	handledAge  = 12 * time.Hour // numbers of transactions go round
)

// jobTurn is where the goroutine that enqueues and the one that reads chunks meet.
type jobTurn struct {
	handled []handledTx
	window  *cdc.ChunkWindow // of the chunk that is being read or held; nil for none
	held    *heldChunk
}

// note is called after transactions were handled, by the goroutine that handles them.
func (r *JobRunner) note(txs []*cdc.Tx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, tx := range txs {
		if len(r.turn.handled) >= 2*handledMost {
			r.turn.handled = append(r.turn.handled[:0], r.turn.handled[handledMost:]...)
		}
		r.turn.handled = append(r.turn.handled, handledTx{tx.XID, tx.CommitLSN, tx.EndLSN, now})
		if r.turn.window != nil {
			r.turn.window.Note(tx)
		}
	}
}

// open begins to note what transactions do to a table. It returns those that were handled before: a chunk that has not seen one of them is of no use.
func (r *JobRunner) open(schema, table string) (window *cdc.ChunkWindow, before []handledTx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn.window = cdc.OpenChunkWindow(schema, table)
	return r.turn.window, append(before, r.turn.handled...)
}

// overlooked returns a transaction that was handled before a chunk was read, and that its snapshot has not seen all the same; and forgets those that
// it has seen, as later ones will.
func (r *JobRunner) overlooked(chunk *cdc.Chunk, before []handledTx) error {
	seen := map[cdc.LSN]bool{}
	var missing error
	for _, h := range before {
		if ok, known := chunk.Seen.Sees(h.xid, h.commit, h.end); ok && known || time.Since(h.at) > handledAge {
			seen[h.commit] = true
			continue
		}
		missing = &cdc.NotVisibleError{XID: h.xid, LSN: h.end}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := r.turn.handled[:0]
	for _, h := range r.turn.handled {
		if !seen[h.commit] {
			kept = append(kept, h)
		}
	}
	r.turn.handled = kept
	return missing
}

// shut ends a window whose chunk is not to be held.
func (r *JobRunner) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn.window, r.turn.held = nil, nil
}

// hold hands a chunk over.
func (r *JobRunner) hold(h *heldChunk) {
	r.mu.Lock()
	r.turn.held = h
	r.mu.Unlock()
	r.wake()
}

// withdraw takes a chunk back that has not been begun with. It reports false when it is too late for that.
func (r *JobRunner) withdraw(h *heldChunk) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.turn.held != h || h.begun {
		return false
	}
	r.turn.window, r.turn.held = nil, nil
	return true
}

func (r *JobRunner) wake() {
	select {
	case r.waiting <- struct{}{}:
	default:
	}
}

// Waiting implements [cdc.Errand].
func (r *JobRunner) Waiting() <-chan struct{} { return r.waiting }

// Due implements [cdc.Errand].
func (r *JobRunner) Due(handled cdc.LSN) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turn.held != nil && handled >= r.turn.held.chunk.High
}

// Do implements [cdc.Errand]: it commits a batch of the chunk that is held, once the stream has come as far as the chunk's snapshot has seen.
func (r *JobRunner) Do(ctx context.Context, handled cdc.LSN) (cdc.LSN, error) {
	r.mu.Lock()
	h := r.turn.held
	if h == nil || handled < h.chunk.High {
		r.mu.Unlock()
		return 0, nil
	}
	h.begun = true
	r.mu.Unlock()
	lsn, more, err := r.commit(ctx, h, handled)
	if err == nil && more {
		r.wake()
		return lsn, nil
	}
	r.shut()
	h.answer <- err
	if errors.Is(err, ErrSuperseded) {
		return 0, err
	}
	return lsn, nil
}

// commit brings the chunk up to date and commits what follows from its next rows, together with how far the job has come and with the position: all
// that the rows show was handled before it (invariants 1 and 2).
func (r *JobRunner) commit(ctx context.Context, h *heldChunk, handled cdc.LSN) (lsn cdc.LSN, more bool, err error) {
	if p := r.cfg.Progress(); !p.Connected || p.Reconnects != h.session {
		return 0, false, fmt.Errorf("%w: the stream was connected anew", cdc.ErrChunkStale)
	}
	first := h.next == 0
	if err := r.settle(h); err != nil {
		return 0, false, err
	}
	fill := &JobFill{Batch: &Batch{}, Most: h.most}
	if h.next < len(h.chunk.Rows) {
		if err := h.work.Fill(ctx, h.job, h.chunk, h.next, fill); err != nil {
			return 0, false, err
		}
	}
	h.next += fill.Taken
	all := h.next >= len(h.chunk.Rows)
	if !all && fill.Taken == 0 && !fill.End {
		return 0, false, fmt.Errorf("job %d: nothing was made of row %s of %s", h.job.ID, h.chunk.Keys[h.next], h.chunk.Rel)
	}
	step := &JobStep{Job: h.job.ID, Steps: h.job.Steps, After: h.chunk.Last, Cursor: fill.Cursor, Rows: int64(fill.Taken), Events: fill.Events,
		Sent: int64(len(fill.Batch.Deliveries)), Parked: int64(len(fill.Batch.Parked)), Done: all && h.chunk.Done || fill.End}
	if first {
		step.Rows += int64(h.chunk.Looked - len(h.chunk.Rows)) // those that the filter has left out, or that are gone
	}
	if !all {
		step.After = h.chunk.KeyOf(h.next - 1)
	}
	if job := h.job; job.Limit > 0 && job.Events+fill.Events >= job.Limit {
		step.Done = true
	}
	if h.job.Rate > 0 {
		step.Rest = time.Duration(float64(fill.Events) / h.job.Rate * float64(time.Second))
	}
	fill.Batch.Job = step
	if lsn, err = r.ingest.commitJob(ctx, fill.Batch, handled); err != nil {
		return 0, false, err
	}
	h.job.take(step)
	over := step.Done
	if h.most > 0 {
		h.most -= fill.Events
		over = over || h.most <= 0
	}
	r.report(h.job, step)
	return lsn, !all && !over, nil
}

// settle brings the rows that have not been taken up to date.
func (r *JobRunner) settle(h *heldChunk) error {
	before := h.chunk.Keys[:h.next]
	taken := len(before)
	h.chunk.Rows, h.chunk.Keys = h.chunk.Rows[taken:], h.chunk.Keys[taken:]
	h.next = 0
	return h.window.Settle(h.chunk)
}

// take adds a step that was committed.
func (j *Job) take(s *JobStep) {
	j.Steps++
	j.After, j.Rows, j.Events, j.Sent, j.Parked = s.After, j.Rows+s.Rows, j.Events+s.Events, j.Sent+s.Sent, j.Parked+s.Parked
	if s.Cursor != nil {
		j.Cursor = s.Cursor
	}
	if j.State = JobRunning; s.Done {
		j.State = JobDone
	}
}
