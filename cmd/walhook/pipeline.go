package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
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
	terms  // of the next membership; the goroutine that runs them alone uses it once Run has begun
	log    zerolog.Logger
	reload reloading

	db       *state.DB
	group    string // of the processes on this state
	server   *status.Server
	slot     *slotWatch
	reserved reservedSlots
	images   atomic.Pointer[status.ImagesState] // as they were looked at last

	imageStats delivery.ImageStats
	repeats    repeats   // of failures of upkeep
	gate       *cdc.Gate // of all sessions in the source's database
	pulse      *pulse

	metadata *metadataWatch

	mu      sync.Mutex
	member  *member
	handler status.HandlerState
	results status.HandlerState // of commits of what receivers have answered

	closers []closer
}

// closer is one thing to give back, under a name for errors.
type closer struct {
	name  string
	close func() error
}

// openPipeline connects, checks and binds. On an error everything is given back.
func openPipeline(ctx context.Context, cfg *Config, log zerolog.Logger, adopt bool) (p *pipeline, err error) {
	p = &pipeline{terms: terms{cfg: cfg}, log: log, metadata: newMetadataWatch()}
	p.pulse = newPulse(cfg.state("").WithDefaults().Lease)
	p.gate = cdc.NewGate(0, 0, p.noteAway)
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
	conn, err := connect(ctx, "source.dsn", cfg.Source.DSN.reveal())
	if err != nil {
		return p, err
	}
	ahead := p.openStateAhead(ctx, p.stateConfig(build.Version))
	defer ahead.abandon()
	ahead.looked(ctx, conn)
	p.survey, err = p.look(ctx, conn, cfg, false)
	closeConn(conn)
	if err != nil {
		return p, err
	}
	limitMemoryAnew(cfg)
	if err := p.openState(ctx, ahead); err != nil {
		return p, err
	}
	if p.member, err = p.join(ctx, p.terms, adopt); err != nil {
		return p, err
	}
	p.defers("membership", func() error { return p.current().leave() })
	if err := p.watchSlot(); err != nil {
		return p, err
	}
	info := cfg.infoOf(build.Version, time.Now())
	info.Database, info.Config.LoadedAt = p.survey.facts.Database, info.Started.UTC()
	p.server, err = status.New(cfg.status(), info, p.sources(), listener)
	return p, err
}

// inspect looks at the source and refuses what preflight finds wrong; a process that runs already goes on without a rule or a table that is not
// as it should be.
func (p *pipeline) inspect(ctx context.Context, cfg *Config, running bool) (*survey, error) {
	conn, err := connect(ctx, "source.dsn", cfg.Source.DSN.reveal())
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	return p.look(ctx, conn, cfg, running)
}

// look is inspect over a connection.
func (p *pipeline) look(ctx context.Context, conn *pgx.Conn, cfg *Config, running bool) (*survey, error) {
	s, err := cfg.understand(ctx, conn, running, p.survey)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.ruleWarnings(s.rules) {
		p.log.Warn().Str("warning", w.Error()).Str("hint", hintOf(w)).Msg("rule")
	}
	if err := s.inspect(ctx, conn, cfg, ""); err != nil {
		return nil, err
	}
	var refusals []error
	mismatch := cfg.recall(ctx, s.facts, s.catalog)
	for _, f := range cdc.Preflight(s.facts, s.needs) {
		switch {
		case mismatch != nil && strings.HasPrefix(f.Code, "slot_"): // a copy: the slot is the original's
		case stops(f, running):
			refusals = append(refusals, environmentError(errors.New(f.Message), f.Hint))
		case f.Severity == cdc.SeverityError:
			// Not to run would make these worse, or change nothing, or stop the other rules.
			p.log.Error().Str("code", f.Code).Str("finding", f.Message).Str("hint", f.Hint).Msg("preflight")
		case f.Severity == cdc.SeverityWarning && !running: // told at the start
			p.log.Warn().Str("code", f.Code).Str("finding", f.Message).Str("hint", f.Hint).Msg("preflight")
		}
	}
	return s, errors.Join(append([]error{mismatch}, refusals...)...)
}

func (p *pipeline) stateConfig(version string) state.Config {
	cfg := p.cfg.state(version)
	cfg.Trace = p.stateTrace()
	return cfg
}

// openState takes the state that was opened ahead and makes sure that this program knows its schema.
func (p *pipeline) openState(ctx context.Context, ahead *stateAhead) (err error) {
	var check error
	if p.db, check, err = ahead.take(p.survey.facts); err != nil {
		return environmentError(err, "")
	}
	p.defers("state", p.db.Close)
	if check != nil {
		return environmentError(p.cfg.lostState(check, p.survey.facts), "")
	}
	if err := p.detached(ctx); err != nil {
		return err
	}
	p.group, err = p.db.Group(ctx)
	return environmentError(err, "")
}

// watchSlot prepares the look at the slot, which every process has.
func (p *pipeline) watchSlot() (err error) {
	p.slot, err = newSlotWatch(slotWatchConfig{
		dsn: p.cfg.Source.DSN.reveal(), slot: p.cfg.Source.Slot, system: p.member.at.identity.SystemID, database: p.member.at.identity.DatabaseOID,
		guard: p.cfg.Source.Guard.config(), alarm: p.cfg.Source.Alarm.config(), progress: func() cdc.Progress { return p.current().progress() }, log: p.log,
		gate: p.gate, gap: p.gap,
		publication: publicationConfig{name: p.cfg.Source.Publication, tables: func() []cdc.TableNeed { return p.current().survey.streamed() },
			recall: p.db.RecallPublication, remember: p.db.RememberPublication},
	})
	return environmentError(err, "")
}

// Run works until ctx is cancelled, then stops in order: first what reads and delivers, then the rest.
func (p *pipeline) Run(ctx context.Context) error {
	p.log.Info().Str("database", p.survey.facts.Database).Int("rules", len(p.cfg.Rules)).Int("endpoints", len(p.cfg.Endpoints)).
		Str("status", p.server.Addr()).Msg("walhook is starting")
	err := supervise(ctx, []service{
		{"pulse", p.pulse.Run},
		{"status pages", p.server.Run},
		{"detachment watch", p.watchDetachment},
		{"slot watch", p.slot.Run},
		{"reserved slots", p.watchReserved},
		{"images", p.watchImages},
		{"metadata watch", p.metadata.Run},
		{"", p.slot.guarded(p.work)}, // also while it does not read: waiting for the state to join again
	}, 4*stopGrace)
	err = tellGap(err, p.gap)
	p.log.Info().Msg("walhook has stopped")
	return err
}

// stopGrace bounds how long one part of a membership may take to stop: longer than the engine's own grace and flush together.
const stopGrace = 30 * time.Second

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
		Desk:   apiDesk{p.desk},
		Audit:  p.noteAudit,
		Stream: func() cdc.Progress { return p.current().progress() },
		Role:   func() status.Role { return p.current().role() },
		Slot:   func() status.SlotState { return p.slot.state() },
		Handler: func() status.HandlerState {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.handler
		},
		Activity: func() []status.Activity {
			var all []status.Activity
			for _, e := range p.current().engine.Stats().Endpoints {
				all = append(all, status.Activity{Endpoint: e.Name, InFlight: e.Sending, InMemory: e.Deliveries})
			}
			return all
		},
		Reserved: p.reserved.get,
		Images:   p.imagesState,
		Related:  func() *status.RelatedState { return p.current().related() },
		Blockers: func() []string {
			var all []string
			if away := p.gate.Away(); away != nil {
				all = append(all, away.Error())
			}
			if reason := p.resultsStuck(); reason != "" {
				all = append(all, reason)
			}
			if until := p.current().process.LeaseUntil(); time.Until(until) <= 0 {
				all = append(all, "the lease of this process has run out: nothing is sent until it is renewed")
			}
			return all
		},
	}
}

// current is the membership of this moment.
func (p *pipeline) current() *member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.member
}

// noteHandler remembers how the last batch fared, for the status pages.
func (p *pipeline) noteHandler(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.handler = status.HandlerState{}
		return
	}
	p.handler = failed(p.handler, err)
}
