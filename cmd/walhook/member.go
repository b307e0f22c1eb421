package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// minLease leaves time to renew a lease before the engine stops sending for want of one, [delivery.LeaseMargin] before its end.
const minLease = 5 * time.Second

func (c *Config) leaseTooShort() error {
	if lease := c.State.Lease.Std(); lease >= time.Second && lease < minLease { // shorter ones state refuses itself
		return fmt.Errorf("state.lease: %s is too short: nothing is sent in its last %s; use %s or more", lease, delivery.LeaseMargin, minLease)
	}
	return nil
}

// member is this process's part in the group that works on one state, from joining to leaving: its lease, the lanes
// that it holds in memory, and its turn at reading the slot.
//
// A membership that was lost, as the process stood still or another one has the right to read, is given up whole, and a
// new one is begun: with empty memory, the identity of the source checked anew, and a new id, so that nothing of
// the old one can ever be taken for the new one's.
type member struct {
	terms
	p        *pipeline
	at       boundAt
	process  *state.Process
	lookups  *cdc.Live
	rows     *relatedRows // what is looked up for the stream
	engine   *delivery.Engine
	identity *identityWatch
	held     chan struct{} // events wait to be released: an upgrade is over
	jobs     *jobWorker    // while it reads

	verified chan struct{} // closed when this process may send (invariant 5)
	once     sync.Once

	leave func() error // gives the lanes back, once; others go on with them at once

	before  *member       // that this one takes over from; nil when it begins by itself
	reads   chan struct{} // closed when it reads no more
	retired atomic.Bool

	mu      sync.Mutex
	source  *cdc.Source // nil while it does not read
	standby bool
	problem string // why it can't contend; "" when it can
}

// join checks that the state is this source's (invariants 5 and 8: before anything is sent), joins the processes that work
// on it, and prepares what they do. Nothing moves yet.
func (p *pipeline) join(ctx context.Context, t terms, adopt bool) (m *member, err error) {
	if err := p.awaitSlot(ctx, t.survey.facts); err != nil {
		return nil, err
	}
	m = &member{terms: t, p: p, verified: make(chan struct{}), reads: make(chan struct{}), held: make(chan struct{}, 1)}
	if m.at, err = t.cfg.bind(ctx, p.db, t.survey.facts, t.survey.catalog, false, adopt); err != nil {
		return nil, err
	}
	p.noteAdoption(m.at.adoption, adopt)
	m.leave = sync.OnceValue(m.end)
	if m.lookups, err = cdc.NewLive(t.cfg.Source.DSN.reveal(), "lookups", p.gate); err != nil {
		return nil, environmentError(err, "")
	}
	if m.process, err = p.db.Register(ctx); err != nil {
		return nil, environmentError(err, "")
	}
	m.rows = newStreamedRows(m.lookups, t.survey, t.cfg.relatedCache())
	m.identity = m.watchIdentity()
	m.engine = delivery.NewEngine(m.process, t.sender, t.cfg.Endpoints, delivery.EngineOptions{Lease: m.process.LeaseUntil, Flow: m.process,
		AlertAfter: t.cfg.alertAfter(), Trace: p.engineTrace()})
	m.process.OnDue(m.engine.Nudge)
	return m, nil
}

// end is what leave does.
func (m *member) end() error {
	m.lookups.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.process.Close(ctx); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

// run takes part until ctx is cancelled, then stops in order: the stream first, which finishes its batch and confirms it, so
// that a stand-by takes over while the engine finishes its requests; the lease last.
func (m *member) run(ctx context.Context) error {
	err := supervise(ctx, []service{
		{"process lease", m.process.Run},
		{"identity watch", m.identity.Run},
		{"delivery", m.deliver},
		{"held events", m.releaseHeld},
		{"stream", m.p.slot.guarded(m.read)},
	}, stopGrace+m.cfg.longestTimeout())
	return errors.Join(err, m.leave())
}

// deliver runs the engine once it is certain that this is the right source (invariants 5 and 8): the reader's stream has been
// attached, which the server itself has then confirmed, or the look at joining has passed and another process reads. One more look comes then,
// as a database may have become another in between.
func (m *member) deliver(ctx context.Context) error {
	select {
	case <-m.verified:
	case <-ctx.Done():
		return nil
	}
	if err := m.identity.confirm(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	if err := m.engine.Run(ctx); err != nil || !m.retired.Load() {
		return err
	}
	<-ctx.Done() // it has given way to another: that is no end of the process
	return nil
}

// verify lets the engine send.
func (m *member) verify() { m.once.Do(func() { close(m.verified) }) }

// read stands by until this process has the right to read, and then streams until the right is lost.
func (m *member) read(ctx context.Context) error {
	defer close(m.reads)
	if m.before != nil {
		select {
		case <-m.before.reads:
		case <-ctx.Done():
			return nil
		}
	}
	reader, err := m.process.Contend(ctx, m.readerTrace())
	if err != nil {
		return m.unlessEnded(ctx, err)
	}
	defer reader.Close() // after the stream has ended
	source, err := m.begin(ctx, reader)
	if err != nil {
		return m.unlessEnded(ctx, err)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-reader.Lost():
			stop()
		case <-running.Done():
		}
	}()
	scheduled, err := m.schedule(running, source)
	if err != nil {
		return m.unlessEnded(ctx, err)
	}
	repaired := m.repair(running, source)
	worked := m.jobs.run(running, m)
	err = source.Run(running, reader.Position().LSN)
	stop()
	scheduled()
	repaired()
	worked()
	m.mu.Lock()
	m.source = nil
	m.mu.Unlock()
	select {
	case <-reader.Lost():
		return errors.Join(delivery.ErrSuperseded, err)
	default:
		return err
	}
}

// unlessEnded returns err, but nil once ctx has ended: what was cut short is done again at the next start.
func (m *member) unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	m.p.log.Debug().Err(err).Msg("stopped before it read")
	return nil
}

// begin prepares the stream from the position that the right to read came with. A state that was bound to another source since
// this process joined is another process's (invariant 8): joining anew refuses it.
func (m *member) begin(ctx context.Context, reader *state.Reader) (source *cdc.Source, err error) {
	p, id, bound := m.p, m.at.identity, reader.Bound()
	if bound.SystemID != id.SystemID || bound.DatabaseOID != id.DatabaseOID || bound.Slot != id.Slot {
		return nil, fmt.Errorf("%w: the state was bound to another source", delivery.ErrSuperseded)
	}
	identity := delivery.Identity{SystemID: id.SystemID, DatabaseOID: id.DatabaseOID}
	planner := delivery.NewPlanner(identity, m.survey.rules, m.cfg.Endpoints, m.rows)
	if m.cfg.Record.config().On() {
		planner.Record(m.process.Recording)
	}
	if err := m.settleWindows(ctx); err != nil {
		return nil, err
	}
	trace := p.ingestTrace()
	trace.Released = m.release
	ingest := delivery.NewIngest(m.process, planner, m.engine, reader.Position(), trace)
	if err := m.resumeUpgrade(ctx, ingest); err != nil {
		return nil, err
	}
	cfg := m.cfg.source()
	images, err := m.keepImages(ctx, reader, ingest)
	if err != nil {
		return nil, err
	}
	if m.jobs, err = m.prepareJobs(ingest, images); err != nil {
		return nil, err
	}
	if images != nil {
		cfg.Follow = images.Follow
	} else {
		cfg.Judge = delivery.Judge(m.survey.rules)
	}
	cfg.Gate, cfg.Errand = p.gate, m.jobs.runner
	cfg.Group, cfg.MayEnd, cfg.NewTimeline = p.group, reader.Check, reader.NewTimeline
	cfg.SystemID, cfg.Timeline, cfg.DatabaseOID = id.SystemID, bound.Timeline, id.DatabaseOID
	source = cdc.NewSource(cfg, p.metadata.guard(m.survey, m.retired.Load, m.identity.guard(ingest)), m.rows.wants(m.survey.wants(m.identity.wants(m.survey.rules.Wants))), p.sourceTrace())
	m.mu.Lock()
	if m.standby {
		p.metadata.sign() // what changed while it stood by, another process has read
	}
	m.source, m.standby, m.problem = source, false, ""
	m.mu.Unlock()
	p.log.Info().Int64("process", m.process.ID()).Stringer("lsn", reader.Position().LSN).Msg("this process is the reader")
	return source, nil
}

// readerTrace notes how contending goes, for the log and the status pages. A stand-by delivers.
func (m *member) readerTrace() state.ReaderTrace {
	log := m.p.log
	return state.ReaderTrace{
		StandingBy: func(reader *status.ReaderState) {
			m.mu.Lock()
			m.standby, m.problem = true, ""
			m.mu.Unlock()
			m.verify()
			if reader == nil {
				log.Warn().Int64("process", m.process.ID()).Msg("standing by: the reader gives no sign of life")
				return
			}
			log.Info().Int64("process", m.process.ID()).Int64("reader", reader.Process).Str("reader_host", reader.Host).Int("reader_pid", reader.PID).
				Msg("standing by: another process is the reader")
		},
		Ended: func() { log.Warn().Msg("the session of a reader without a valid lease was ended") },
		Failed: func(err error, retry time.Duration) {
			m.mu.Lock()
			m.problem = err.Error()
			m.mu.Unlock()
			withHint(m.p.warn(err), err).Dur("retry_in_ms", retry).Msg("cannot contend for the slot")
		},
	}
}

// progress is the stream's; of a stand-by nothing but zeros.
func (m *member) progress() cdc.Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.source == nil {
		return cdc.Progress{}
	}
	return m.source.Progress()
}

// related is how looking related rows up goes; nil when this process does not read, or no rule asks for any.
func (m *member) related() *status.RelatedState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.source == nil || len(m.rows.links) == 0 {
		return nil
	}
	return status.NewRelatedState(m.rows.lookups.Stats(), m.cfg.relatedCache())
}

// role says for the status pages what this process does.
func (m *member) role() status.Role {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.source != nil:
		return status.Role{Name: status.RoleReader}
	case m.standby:
		return status.Role{Name: status.RoleStandby, Problem: m.problem}
	}
	return status.Role{Name: status.RoleJoining, Problem: m.problem}
}
