package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"walhook/cdc"
	"walhook/internal/failpoint"
)

// Bounds of one SQL transaction of ingest. The effects of one change stay together and may exceed them.
const (
	maxBatch      = 500     // deliveries and parked events; as many as the source hands over transactions at once
	maxBatchBytes = 1 << 20 // of their bodies; the driver holds them twice more on their way (invariant 9)
)

// Ingest is the [cdc.Handler] that plans transactions and enqueues what follows from them, position and
// deliveries in one SQL transaction (invariant 2).
//
// Transactions without effect move the position in memory alone, until the next one
// with effect or Advance. A large transaction is enqueued in several SQL transactions; the position says how far
// (invariant 9), and after a restart what is enqueued is skipped. Whatever fails, handing over
// the same transactions again enqueues nothing twice.
//
// An Ingest is used by one goroutine at a time.
type Ingest struct {
	store   Store
	planner *Planner
	engine  *Engine // may be nil: everything is left to the store
	trace   IngestTrace

	stored Position  // as committed
	tried  *Position // what a failed Enqueue wanted to store; it may have
	done   cdc.LSN   // transactions that end here or before are processed: stored, or without effect but on images that wait in memory
	kept   cdc.LSN   // done as of the last call of Handle or Advance that did not fail

	deliveries []*Delivery // of the batch being filled
	parked     []*Parked
	matched    map[string]int64
	sampled    map[string]int64
	ignored    map[string]int64
	dropped    map[string]int64
	recording  recording
	bytes      int

	stages  staging
	upgrade upgradeStored
	images  *Images // nil when none are kept

	jobs *JobRunner // is told of transactions that were handled; may be nil
	job  *Batch     // what a step of a job adds to the batch being committed; nil for none
}

// IngestTrace observes an [Ingest]. Its functions may be nil.
type IngestTrace struct {
	// Enqueued is called after each commit with effects. lanes is how many lanes went to the engine's memory.
	Enqueued func(deliveries, parked, lanes int, took time.Duration)
	// Staged is called after the commit of deliveries, with how long each stage up to it has taken: once for each batch, or for each
	// transaction that deliveries follow from, see [Stage].
	Staged func(stage Stage, took time.Duration)
	// Parked is called after the commit for each event whose rule failed.
	Parked func(p *Parked)
	// Upgrade is called after the commit when a module upgrade has begun or ended.
	Upgrade func(u Upgrade)
	// Released is called after the commit when events are held, parked with [HeldError], and no upgrade is under way any more.
	Released func()
	// RelatedFailed is called when rows that rules refer to could not be fetched, in a way that a
	// retry does not mend: events that need them are parked.
	RelatedFailed func(err error)
	// ImageFailed is called when the image of a row is there and cannot be read: the row before a change is not known then.
	ImageFailed func(err error)
}

// NewIngest returns a handler that goes on from a position, which the store must hold.
func NewIngest(store Store, planner *Planner, engine *Engine, start Position, trace IngestTrace) *Ingest {
	planner.related.report = trace.RelatedFailed
	return &Ingest{store: store, planner: planner, engine: engine, trace: trace, stored: start, done: start.LSN, kept: start.LSN, recording: recording{keep: planner.keep}}
}

// Handle plans and enqueues transactions. Errors of the store are returned as they are: those with Temporary
// are worth another call; [ErrSuperseded] is not.
func (i *Ingest) Handle(ctx context.Context, txs []*cdc.Tx) (lsn cdc.LSN, err error) {
	if err := i.resolve(ctx); err != nil {
		return i.stored.LSN, err
	}
	handed := txs
	defer func() {
		if err != nil {
			i.done = max(i.stored.LSN, i.kept) // what was planned in this call and not stored is planned again
			i.upgrade.back(&i.planner.upgrade)
			i.images.back()
		} else if i.jobs != nil {
			i.jobs.note(handed)
		}
	}()
	i.clear()
	i.stages.begin()
	for len(txs) > 0 && txs[0].EndLSN <= i.done {
		txs = txs[1:]
	}
	for len(txs) > 0 {
		run := txs[:i.images.run(txs)]
		n, err := i.images.prepare(ctx, run)
		if err != nil {
			return i.stored.LSN, err
		}
		run = run[:n]
		if err := i.planner.Prepare(ctx, run); err != nil {
			return i.stored.LSN, err
		}
		for _, tx := range run {
			if err := i.transaction(ctx, tx); err != nil {
				return i.stored.LSN, err
			}
		}
		txs = txs[len(run):]
	}
	if !i.empty() || i.images.full() {
		if err := i.flush(ctx, i.after(i.done)); err != nil {
			return i.stored.LSN, err
		}
	}
	i.images.carry()
	i.kept = i.done
	return i.stored.LSN, nil
}

// Advance stores that everything before lsn is processed. Nothing may be in flight.
func (i *Ingest) Advance(ctx context.Context, lsn cdc.LSN) (cdc.LSN, error) {
	if err := i.resolve(ctx); err != nil {
		return i.stored.LSN, err
	}
	if lsn <= i.stored.LSN {
		return i.stored.LSN, nil
	}
	i.clear()
	if err := i.flush(ctx, i.after(lsn)); err != nil {
		return i.stored.LSN, err
	}
	i.done = max(i.done, lsn)
	i.kept = i.done
	return i.stored.LSN, nil
}

// commitJob stores a step of a job and that everything before handled is processed. Nothing may be in flight.
func (i *Ingest) commitJob(ctx context.Context, step *Batch, handled cdc.LSN) (cdc.LSN, error) {
	if err := i.resolve(ctx); err != nil {
		return i.stored.LSN, err
	}
	i.clear()
	i.job = step
	defer func() { i.job = nil }()
	if err := i.flush(ctx, i.after(max(handled, i.stored.LSN))); err != nil {
		i.images.back()
		return i.stored.LSN, err
	}
	i.done = max(i.done, handled)
	i.kept = i.done
	return i.stored.LSN, nil
}

// transaction plans one transaction into the batch, and stores what does not fit.
func (i *Ingest) transaction(ctx context.Context, tx *cdc.Tx) error {
	var from uint64
	if i.stored.Open == tx.CommitLSN {
		from = uint64(i.stored.Count) // the rest of it; what comes before was enqueued in an earlier life
	}
	if err := i.planner.upgrade.begin(tx); err != nil {
		return fmt.Errorf("read transaction %d at %s: %w", tx.XID, tx.CommitLSN, err)
	}
	last := uint64(0)
	for step, err := range i.planner.Plan(ctx, tx, from) {
		if err != nil {
			return err
		}
		// A net change and a single write may share an ordinal: the border lies between two.
		if i.full() && step.Ordinal > last {
			if err := i.flush(ctx, Position{LSN: i.done, Open: tx.CommitLSN, Count: int64(step.Ordinal)}); err != nil {
				return err
			}
			failpoint.Hit(failpoint.Segment)
		}
		last = step.Ordinal
		i.collect(step)
		i.stages.note(tx, step)
		if step.Recorded != nil {
			n, err := i.recording.add(tx, step.Recorded)
			if err != nil {
				return fmt.Errorf("pack recorded changes: %w", err)
			}
			i.bytes += n
		}
	}
	i.done = tx.EndLSN
	if i.images.planned(tx) || i.full() {
		return i.flush(ctx, i.after(i.done))
	}
	return nil
}

// after is the position at which everything up to lsn is stored. A transaction that is
// enqueued in part stays open as long as it lies behind lsn.
func (i *Ingest) after(lsn cdc.LSN) Position {
	p := Position{LSN: lsn}
	if i.stored.Open >= lsn {
		p.Open, p.Count = i.stored.Open, i.stored.Count
	}
	return p
}

func (i *Ingest) collect(s *Step) {
	i.deliveries = append(i.deliveries, s.Deliveries...)
	i.parked = append(i.parked, s.Parked...)
	for _, d := range s.Deliveries {
		i.bytes += len(d.Body)
	}
	for _, p := range s.Parked {
		i.bytes += len(p.Change)
	}
	tallyRules(&i.matched, s.Matched)
	tallyRules(&i.sampled, s.Sampled)
	tallyRules(&i.ignored, s.Ignored)
	tallyRules(&i.dropped, s.Dropped)
}

// tallyRules counts events by rule.
func tallyRules(counts *map[string]int64, rules []string) {
	for _, rule := range rules {
		if *counts == nil {
			*counts = map[string]int64{}
		}
		(*counts)[rule]++
	}
}

func (i *Ingest) full() bool {
	return len(i.deliveries)+len(i.parked) >= maxBatch || i.bytes >= maxBatchBytes || i.images.full()
}

func (i *Ingest) empty() bool {
	return len(i.deliveries)+len(i.parked) == 0 && len(i.matched) == 0 && i.recording.sum == nil && !i.planner.upgrade.changed
}

func (i *Ingest) clear() {
	i.deliveries, i.parked, i.matched, i.sampled, i.ignored, i.dropped, i.bytes = nil, nil, nil, nil, nil, nil, 0
	i.recording.drop()
}

// flush commits the batch with a position, and hands fresh lanes to the engine.
func (i *Ingest) flush(ctx context.Context, to Position) error {
	recorded, err := i.recording.take()
	if err != nil {
		return err
	}
	batch := &Batch{From: i.stored, Recorded: recorded, To: to, Deliveries: i.deliveries, Parked: i.parked, Matched: i.matched, Sampled: i.sampled, Ignored: i.ignored, Dropped: i.dropped,
		Upgrade: i.upgrade.batch(&i.planner.upgrade), Images: i.images.batch()}
	if step := i.job; step != nil {
		batch.Job, batch.Deliveries, batch.Parked, batch.Matched, batch.Sampled = step.Job, step.Deliveries, step.Parked, step.Matched, step.Sampled
	}
	i.clear()
	began := time.Now()
	for _, p := range batch.Parked {
		p.ParkedAt = began
	}
	room := newIntake(i.engine)
	if batch.Job == nil { // live events do not wait for what a job sends
		room.await(ctx, batch.Deliveries)
	}
	room.begin()
	lanes, err := i.store.Enqueue(ctx, batch, room.take)
	if err != nil {
		room.settle(nil)
		if !errors.Is(err, ErrSuperseded) {
			i.tried = &to
		}
		return fmt.Errorf("enqueue %d deliveries: %w", len(batch.Deliveries), err)
	}
	i.stored = to
	i.images.stored(batch.Images)
	i.reportUpgrade(batch)
	i.stages.committed(&i.trace, batch, lanes, began)
	if i.engine != nil {
		i.engine.noteBehind(batch.Deliveries)
	}
	room.settle(lanes)
	if i.engine != nil {
		i.engine.hasten(batch.Deliveries, lanes)
	}
	failpoint.Hit(failpoint.HandedOver)
	if i.trace.Enqueued != nil && len(batch.Deliveries)+len(batch.Parked) > 0 {
		i.trace.Enqueued(len(batch.Deliveries), len(batch.Parked), len(lanes), time.Since(began))
	}
	if i.trace.Parked != nil {
		for _, p := range batch.Parked {
			i.trace.Parked(p)
		}
	}
	return nil
}

// resolve learns whether a batch was committed whose Enqueue failed: an answer can be lost after the commit.
func (i *Ingest) resolve(ctx context.Context) error {
	if i.tried == nil {
		return nil
	}
	at, err := i.store.StoredPosition(ctx)
	if err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if at != i.stored && at != *i.tried {
		return fmt.Errorf("read the position: %w", ErrSuperseded)
	}
	if err := i.images.resolve(ctx, at != i.stored); err != nil {
		return err
	}
	i.upgrade.resolve(&i.planner.upgrade, at != i.stored)
	i.stored, i.tried, i.done = at, nil, max(at.LSN, i.kept)
	return nil
}
