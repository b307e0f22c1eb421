package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/delivery"
	"walhook/state"
	"walhook/status"
)

// pipeline is walhook at work: the stream, the queue, the engine and the status pages of one configuration. run
// and demo are two ways to start one.
//
// open has checked everything that can be checked, so that what is wrong is said before anything is sent; Run
// works until it is cancelled.
type pipeline struct {
	cfg    *Config
	log    zerolog.Logger
	survey *survey
	at     boundAt

	db      *state.DB
	process *state.Process
	sender  *delivery.HTTPSender
	engine  *delivery.Engine
	source  *cdc.Source
	lookups *cdc.Live
	server  *status.Server
	slot    *slotWatch

	verified chan struct{} // closed when the stream has been attached once: the server itself has confirmed the identity
	once     sync.Once

	mu      sync.Mutex
	handler status.HandlerState

	closers []closer
}

// closer is one thing to give back, under a name for errors.
type closer struct {
	name  string
	close func() error
}

// openPipeline connects, checks and binds. On an error everything is given back.
func openPipeline(ctx context.Context, cfg *Config, log zerolog.Logger, adopt bool) (p *pipeline, err error) {
	p = &pipeline{cfg: cfg, log: log, verified: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
			p = nil
		}
	}()
	build := currentBuild()
	for _, w := range cfg.Warnings {
		log.Warn().Str("warning", w).Msg("configuration")
	}
	// The port first: a walhook that runs already is the likeliest reason for everything else that fails.
	listener, err := status.Listen(ctx, cfg.status())
	if err != nil {
		return p, environmentError(err, "")
	}
	if listener != nil {
		p.defers("status pages", listener.Close)
	}
	if p.sender, err = delivery.NewHTTPSender(cfg.Endpoints, build.Version); err != nil {
		return p, &failure{err: err, code: exitUsage}
	}
	p.defers("connections to endpoints", func() error { p.sender.Close(); return nil })
	if err := p.inspect(ctx, adopt); err != nil {
		return p, err
	}
	if err := p.openState(ctx, build.Version, adopt); err != nil {
		return p, err
	}
	if err := p.assemble(); err != nil {
		return p, err
	}
	info := cfg.infoOf(build.Version, time.Now())
	info.Database = p.survey.facts.Database
	p.server, err = status.New(cfg.status(), info, p.sources(), listener)
	return p, err
}

// inspect looks at the source and refuses what preflight finds wrong.
func (p *pipeline) inspect(ctx context.Context, adopt bool) error {
	conn, err := connect(ctx, "source.dsn", p.cfg.Source.DSN.reveal())
	if err != nil {
		return err
	}
	defer closeConn(conn)
	if p.survey, err = p.cfg.look(ctx, conn, ""); err != nil {
		return err
	}
	var refusals []error
	for _, f := range cdc.Preflight(p.survey.facts, p.survey.needs) {
		switch {
		case f.Severity == cdc.SeverityError && f.Code != "slot_unreserved" && f.Code != "writes_fail":
			refusals = append(refusals, environmentError(errors.New(f.Message), f.Hint))
		case f.Severity == cdc.SeverityError:
			// Not to run would make these worse, or change nothing.
			p.log.Error().Str("code", f.Code).Str("finding", f.Message).Str("hint", f.Hint).Msg("preflight")
		case f.Severity == cdc.SeverityWarning:
			p.log.Warn().Str("code", f.Code).Str("finding", f.Message).Str("hint", f.Hint).Msg("preflight")
		}
	}
	if odoo := p.survey.catalog.Odoo; odoo != nil && odoo.Neutralized && !adopt {
		refusals = append(refusals, environmentError(errors.New("the database is neutralized: it is a copy for testing, and production's webhooks must not fire from it"), neutralizedHint))
	}
	return errors.Join(refusals...)
}

// openState opens the state, makes sure that it is this source's (invariant 5: before anything is sent), and
// joins the processes that work on it.
func (p *pipeline) openState(ctx context.Context, version string, adopt bool) (err error) {
	cfg := p.cfg.state(version)
	cfg.Trace = p.stateTrace()
	if p.db, err = state.Open(ctx, cfg); err != nil {
		return environmentError(err, "")
	}
	p.defers("state", p.db.Close)
	if err := p.db.Check(ctx); err != nil {
		return environmentError(err, "")
	}
	if err := p.awaitSlot(ctx); err != nil {
		return err
	}
	if p.at, err = p.cfg.bind(ctx, p.db, p.survey.facts, p.survey.catalog, adopt); err != nil {
		return err
	}
	switch {
	case p.at.fresh:
		p.log.Warn().Stringer("lsn", p.at.lsn).Msg("the state is new: the stream begins where the slot stands")
	case p.at.adopted:
		p.log.Warn().Stringer("lsn", p.at.lsn).Msg("the state was adopted from another source")
	}
	if p.process, err = p.db.Register(ctx); err != nil {
		return environmentError(err, "")
	}
	p.defers("process", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return p.process.Close(ctx)
	})
	return nil
}

// slotPatience is how long a slot in use is waited for: the server needs a moment to notice that
// a walhook that was killed is gone.
const slotPatience = 5 * time.Second

// awaitSlot waits for a slot that somebody still streams from.
func (p *pipeline) awaitSlot(ctx context.Context) error {
	live, err := cdc.NewLive(p.cfg.Source.DSN.reveal())
	if err != nil {
		return environmentError(err, "")
	}
	defer live.Close()
	for end := time.Now().Add(slotPatience); p.survey.facts.Slot != nil && p.survey.facts.Slot.PID != 0; {
		pid := p.survey.facts.Slot.PID
		if time.Now().After(end) {
			return environmentError(&cdc.SlotError{Slot: p.cfg.Source.Slot, Problem: cdc.SlotInUse,
				Detail: fmt.Sprintf("process %d of the server streams from it", pid),
				Remedy: fmt.Sprintf("stop the other walhook; if it is gone and its connection lingers: SELECT pg_terminate_backend(%d)", pid)}, "")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(250 * time.Millisecond):
		}
		health, err := live.Health(ctx, p.cfg.Source.Slot)
		if err != nil {
			return environmentError(err, "")
		}
		p.survey.facts.Slot = health.Slot
	}
	return nil
}

// assemble builds the moving parts. Nothing moves yet.
func (p *pipeline) assemble() (err error) {
	dsn := p.cfg.Source.DSN.reveal()
	if p.lookups, err = cdc.NewLive(dsn); err != nil {
		return environmentError(err, "")
	}
	p.defers("look-ups", func() error { p.lookups.Close(); return nil })
	if p.slot, err = newSlotWatch(dsn, p.cfg.Source.Slot); err != nil {
		return environmentError(err, "")
	}
	p.engine = delivery.NewEngine(p.process, p.sender, p.cfg.Endpoints, delivery.EngineOptions{Lease: p.process.LeaseUntil, Trace: p.engineTrace()})
	identity := delivery.Identity{SystemID: p.at.identity.SystemID, DatabaseOID: p.at.identity.DatabaseOID}
	planner := delivery.NewPlanner(identity, p.survey.rules, p.cfg.Endpoints, relatedRows{p.lookups})
	ingest := delivery.NewIngest(p.process, planner, p.engine, p.at.position, p.ingestTrace())
	cfg := p.cfg.source()
	cfg.SystemID, cfg.Timeline, cfg.DatabaseOID = p.at.identity.SystemID, p.at.identity.Timeline, p.at.identity.DatabaseOID
	p.source = cdc.NewSource(cfg, ingest, p.survey.rules.Wants, p.sourceTrace())
	return nil
}

// Run streams and delivers until ctx is cancelled, then stops in order: the stream first, which finishes its batch
// and confirms it; then the engine, which finishes requests; then the rest.
func (p *pipeline) Run(ctx context.Context) error {
	p.log.Info().Str("database", p.survey.facts.Database).Int("rules", len(p.cfg.Rules)).Int("endpoints", len(p.cfg.Endpoints)).
		Str("status", p.server.Addr()).Msg("walhook is starting")
	err := supervise(ctx, []service{
		{"process lease", p.process.Run},
		{"status pages", p.server.Run},
		{"slot watch", p.slot.Run},
		{"delivery", p.deliver},
		{"stream", func(ctx context.Context) error { return p.source.Run(ctx, p.at.lsn) }},
	}, stopGrace)
	p.log.Info().Msg("walhook has stopped")
	return err
}

// stopGrace bounds how long one part may take to stop: longer than the engine's own grace and flush together.
const stopGrace = 30 * time.Second

// deliver runs the engine once the stream has been attached: only then has the server itself confirmed cluster,
// database, timeline, slot and position (invariants 5 and 8).
func (p *pipeline) deliver(ctx context.Context) error {
	select {
	case <-p.verified:
	case <-ctx.Done():
		return nil
	}
	return p.engine.Run(ctx)
}

// Close gives everything back, last first, and joins what goes wrong.
func (p *pipeline) Close() error {
	var problems []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		if err := p.closers[i].close(); err != nil && !isClosed(err) {
			problems = append(problems, fmt.Errorf("close %s: %w", p.closers[i].name, err))
		}
	}
	p.closers = nil
	return errors.Join(problems...)
}

func (p *pipeline) defers(name string, f func() error) {
	p.closers = append(p.closers, closer{name, f})
}

// sources is what the status pages ask.
func (p *pipeline) sources() status.Sources {
	return status.Sources{
		State:  p.db,
		Stream: func() cdc.Progress { return p.source.Progress() },
		Slot:   func() status.SlotState { return p.slot.state() },
		Handler: func() status.HandlerState {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.handler
		},
		Activity: func() []status.Activity {
			var all []status.Activity
			for _, e := range p.engine.Stats().Endpoints {
				all = append(all, status.Activity{Endpoint: e.Name, InFlight: e.Sending, InMemory: e.Deliveries})
			}
			return all
		},
		Blockers: func() []string {
			if until := p.process.LeaseUntil(); time.Until(until) <= 0 {
				return []string{"the lease of this process has run out: nothing is sent until it is renewed"}
			}
			return nil
		},
	}
}

// noteHandler remembers how the last batch fared, for the status pages.
func (p *pipeline) noteHandler(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.handler = status.HandlerState{}
		return
	}
	p.handler = status.HandlerState{Error: err.Error(), At: time.Now()}
}
