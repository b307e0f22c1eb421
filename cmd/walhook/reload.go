package main

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"walhook/delivery"
	"walhook/status"
)

// terms are what a membership works by: a configuration, what the source looked like when its rules were compiled, and the connections
// to its endpoints.
type terms struct {
	cfg    *Config
	survey *survey
	sender *delivery.HTTPSender
}

// reloading is how a running process comes to another configuration. The zero value never does.
type reloading struct {
	asked <-chan os.Signal        // SIGHUP
	load  func() (*Config, error) // reads the configuration, secrets and files anew
	gone  sync.WaitGroup          // memberships that have given way and finish their requests
	going map[*member]struct{}    // these; only the goroutine of work touches it
	ended chan *member            // of these, the ones that have finished
}

// work takes part in the group until ctx is cancelled, with one membership after the other: a process that was superseded does not end, it
// becomes a stand-by, and may become the reader again.
//
// A configuration that is read anew is taken over as another process would take over: a second membership joins, checked whole before
// anything changes; then the first one begins no more requests, stops reading between two batches, and finishes what is under way, while the
// second goes on at once. So there is one moment from which on everything goes by the new configuration, nothing is cut short, and
// what is queued keeps the rule that it was made by.
func (p *pipeline) work(ctx context.Context) error {
	p.reload.going, p.reload.ended = map[*member]struct{}{}, make(chan *member)
	defer p.seeOff()
	for {
		m := p.current()
		running, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { ended <- m.run(running) }()
		next, err := p.until(ctx, ended)
		if next != nil {
			p.handOver(m, next, stop, ended)
			continue
		}
		stop()
		if ctx.Err() != nil || !membershipLost(err) {
			return err
		}
		withHint(p.log.Warn(), err).Msg("this process was superseded: joining again")
		if next, err = p.rejoin(ctx); next == nil {
			return err
		}
		p.replace(next)
	}
}

// until waits for the end of a membership, or for one that takes its place.
func (p *pipeline) until(ctx context.Context, ended <-chan error) (next *member, err error) {
	for {
		select {
		case err := <-ended:
			return nil, err
		case m := <-p.reload.ended:
			delete(p.reload.going, m)
		case <-p.reload.asked:
			if next := p.reread(ctx); next != nil {
				return next, nil
			}
		case <-p.metadata.asked:
			next := p.follow(ctx)
			p.metadata.answer(next != nil)
			if next != nil {
				return next, nil
			}
		}
	}
}

// replace makes a membership the current one.
func (p *pipeline) replace(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.member, p.handler = m, status.HandlerState{}
}

// handOver lets a membership give way to the next one, and finish.
func (p *pipeline) handOver(m, next *member, stop context.CancelFunc, ended <-chan error) {
	m.retired.Store(true)
	m.engine.Retire(m.cfg.longestTimeout())
	select {
	case <-m.verified:
		next.verify() // joining has found the same source once more
	default:
	}
	next.before = m
	p.replace(next)
	stop()
	p.reload.going[m] = struct{}{}
	p.reload.gone.Go(func() {
		err := <-ended
		next.engine.Nudge(endpointNames(next.cfg)) // what m had in memory is in the store now
		if m.sender != next.sender {
			m.sender.Close()
		}
		if err = notAway(err); err != nil && !membershipLost(err) {
			withHint(p.log.Error(), err).Msg("the configuration before the last reload did not end in order")
		}
		p.reload.ended <- m // until or seeOff takes it
	})
}

// seeOff waits for memberships that still finish their requests when the process stops: as long as any request may take then.
func (p *pipeline) seeOff() {
	for m := range p.reload.going {
		m.engine.Hurry()
	}
	done := make(chan struct{})
	go func() {
		p.reload.gone.Wait()
		close(done)
	}()
	for {
		select {
		case <-p.reload.ended:
		case <-done:
			return
		}
	}
}

// reread reads the configuration anew and joins by it; nil when it is refused, and everything goes on as before.
func (p *pipeline) reread(ctx context.Context) *member {
	began := time.Now()
	info := p.server.Info()
	info.Config.Begun++
	info.Config.Pending = false
	p.server.SetInfo(info)
	next, restart, err := p.prepare(ctx)
	pending := len(p.reload.asked) > 0
	if err != nil {
		for _, e := range flatten(err) {
			withHint(p.log.Error(), e).Msg("the configuration was not taken over: the one before goes on")
		}
		info.Config.Reloads++
		info.Config.Pending = pending
		info.Config.Error, info.Config.Hint, info.Config.ErrorAt = err.Error(), hintOf(err), began.UTC()
		p.server.SetInfo(info)
		return nil
	}
	for _, w := range next.cfg.Warnings {
		p.log.Warn().Str("warning", w).Msg("configuration")
	}
	if len(restart) > 0 {
		p.log.Warn().Strs("keys", restart).Str("hint", "restart walhook when it suits you").Msg("these keys have changed and take effect with the next start")
	}
	after := next.cfg.infoOf(info.Version, info.Started)
	after.Database = next.survey.facts.Database
	after.Config = status.ConfigState{LoadedAt: began.UTC(), Reloads: info.Config.Reloads + 1, Begun: info.Config.Begun, Pending: pending, Restart: restart}
	p.server.SetInfo(after)
	p.terms = next.terms
	p.log.Info().Int("rules", len(next.cfg.Rules)).Int("endpoints", len(next.cfg.Endpoints)).Dur("took_ms", time.Since(began)).Msg("configuration taken over")
	return next
}

// prepare does all of a reload that can fail. restart are keys that changed and stay as they were.
func (p *pipeline) prepare(ctx context.Context) (next *member, restart []string, err error) {
	if away := p.gate.Away(); away != nil {
		return nil, nil, environmentError(away, "")
	}
	cfg, err := p.reload.load()
	if err != nil {
		return nil, nil, err
	}
	restart = cfg.keep(p.cfg)
	t := terms{cfg: cfg}
	if t.sender, err = delivery.NewHTTPSender(cfg.Endpoints, currentBuild().Version); err != nil {
		return nil, nil, &failure{err: err, code: exitUsage}
	}
	defer func() {
		if err != nil {
			t.sender.Close()
		}
	}()
	if t.survey, err = p.inspect(ctx, cfg, false); err != nil {
		return nil, nil, err
	}
	if next, err = p.join(ctx, t, false); err != nil {
		return nil, nil, err
	}
	if err = p.db.Reconfigure(cfg.limits(), cfg.alerts()); err != nil {
		return nil, nil, errors.Join(err, next.leave())
	}
	limitMemoryAnew(cfg)
	return next, restart, nil
}

// keep puts the sections that a running process cannot change back to what they were, and names the keys that differ.
func (c *Config) keep(running *Config) (changed []string) {
	for _, section := range []struct {
		name     string
		new, old any // pointers to structs of one type
	}{{"source", &c.Source, &running.Source}, {"state", &c.State, &running.State}, {"http", &c.HTTP, &running.HTTP}, {"log", &c.Log, &running.Log}, {"record", &c.Record, &running.Record}} {
		into, was := reflect.ValueOf(section.new).Elem(), reflect.ValueOf(section.old).Elem()
		for field := range into.Type().Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
			if !reflect.DeepEqual(into.FieldByIndex(field.Index).Interface(), was.FieldByIndex(field.Index).Interface()) {
				changed = append(changed, section.name+"."+name)
			}
		}
		into.Set(was)
	}
	return changed
}

// longestTimeout is how long a request under way may take at most.
func (c *Config) longestTimeout() (longest time.Duration) {
	for _, e := range c.Endpoints {
		longest = max(longest, e.WithDefaults().Timeout.Std())
	}
	return longest + 5*time.Second
}

func endpointNames(c *Config) (names []string) {
	for name := range c.Endpoints {
		names = append(names, name)
	}
	return names
}
