package cdc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Source reads a slot and hands what was committed to a [Handler].
//
// It guarantees that transactions arrive whole and in commit order, each at least once; that
// the server is told to forget only what the handler returned as durable (invariant 1);
// that memory in flight is bounded (invariant 9); and that the connection stays alive while the handler
// is slow. It reconnects through everything that heals by itself. It never creates,
// drops or moves a slot.
//
// It does not guarantee that a transaction arrives only once: after a crash
// those since the durable position come again, and the handler recognises
// them by their LSN.
//
// Two goroutines do the work: one owns the connection, decodes, and confirms;
// the other calls the handler with whatever has arrived meanwhile.
type Source struct {
	cfg     SourceConfig
	handler Handler
	want    func(schema, table string) (net, raw bool)
	trace   Trace
	track   tracker

	feed    *feed
	durable atomic.Uint64 // LSN that the handler has made durable: what is confirmed
	known   atomic.Bool   // durable has been set

	stop    chan struct{} // closed: take no further batch
	stopped chan struct{} // closed: the handler will not be called any more
	failure error         // why handling stopped by itself; read after stopped

	wakeMu sync.Mutex
	wakeFn func() // wakes the reader of the present connection; nil without one

	gate     *Gate
	live     *Live // the schema's connection, if it is our own
	line     lineage
	sessions int
}

// NewSource returns a source. want says for each published table whether net changes and single
// writes of it are wanted; it is called from the reading goroutine.
func NewSource(cfg SourceConfig, handler Handler, want func(schema, table string) (net, raw bool), trace Trace) *Source {
	s := &Source{cfg: cfg.withDefaults(), handler: handler, want: want, trace: trace}
	if s.gate = cfg.Gate; s.gate == nil {
		s.gate = NewGate(s.cfg.KickedMin, s.cfg.KickedMax, nil)
	}
	return s
}

// Progress returns a snapshot. It is cheap and safe to call at any time.
func (s *Source) Progress() Progress {
	p := s.track.snapshot()
	if s.known.Load() {
		p.Durable = LSN(s.durable.Load())
	}
	return p
}

// Run streams from start, the position that the state holds: the end LSN of
// the last transaction that was processed. It blocks until ctx is cancelled,
// and then finishes the batch in flight, persists and confirms the
// position and returns nil; or until the handler fails for good or only a person can help,
// and returns that error (*[SlotError], *[PositionError], *[IdentityError], *[RefusedError] have a
// Hint). A Source runs once.
func (s *Source) Run(ctx context.Context, start LSN) error {
	if err := s.cfg.Validate(); err != nil {
		return err
	}
	s.feed = newFeed(s.cfg.QueueTransactions, s.cfg.QueueBytes, start)
	s.stop, s.stopped = make(chan struct{}), make(chan struct{})
	s.line.begin(s.cfg.Timeline, false, nil, "")
	if start > 0 {
		s.setStart(start)
	}
	schema := s.cfg.Schema
	if schema == nil {
		live, err := NewLive(s.cfg.DSN, "decoder", s.gate)
		if err != nil {
			return err
		}
		defer live.Close()
		schema, s.live = live, live
	}

	// The handler outlives ctx by the grace period, to finish what it has begun.
	handlerCtx, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	go func() {
		defer close(s.stopped)
		defer s.wake()
		s.failure = s.handle(handlerCtx)
	}()
	var once sync.Once
	quit := func() { // stops the handler in an orderly way
		once.Do(func() {
			close(s.stop)
			grace := time.AfterFunc(s.cfg.StopGrace, abort)
			context.AfterFunc(handlerCtx, func() { grace.Stop() })
			s.wake()
		})
	}
	detach := context.AfterFunc(ctx, quit)
	defer detach()

	decoder := NewDecoder(schema, s.want, s.cfg.Limits)
	decoder.Judge(s.cfg.Judge)
	decoder.follow = s.cfg.Follow
	err := s.read(ctx, decoder)
	quit()
	<-s.stopped
	s.line.begin(s.line.current(), false, nil, "")
	for _, tx := range s.feed.drop() {
		err = errors.Join(err, tx.Close())
	}
	if s.failure != nil {
		return errors.Join(s.failure, err)
	}
	return err
}

// read keeps a session going until ctx or the handler ends or an error is final. It returns nil
// for the former two.
func (s *Source) read(ctx context.Context, decoder *Decoder) error {
	pause := backoff{lo: s.cfg.ReconnectMin, hi: s.cfg.ReconnectMax}
	for {
		began := time.Now()
		decoder.Reset()
		progressed, ended := s.session(ctx, decoder)
		err := ended
		s.track.end()
		if s.live != nil {
			if err != nil && !errors.Is(err, errSilent) && s.gate.Away() == nil {
				s.live.ask() // a stream that was not being read tells nothing of why it was ended
			}
			s.live.Close() // it goes with the stream, and is opened again with it
		}
		if ctx.Err() != nil || s.stopping() {
			s.track.update(func(p *Progress) { p.Connected = false })
			return nil
		}
		var spill *SpillError
		if (progressed || time.Since(began) > s.cfg.ReconnectMax) && !errors.As(err, &spill) {
			// A transaction that finds no room for its temporary file makes progress every time, and no headway.
			pause.reset()
		}
		retry := pause.next()
		away := s.gate.Away()
		if away != nil {
			retry = time.Until(away.Until)
			if err = away; sqlState(ended) != "" {
				err = fmt.Errorf("%w: %w", away, ended)
			}
		}
		s.track.update(func(p *Progress) {
			if p.Connected {
				p.Connected, p.Since = false, time.Now()
				if p.InFlight == 0 && p.LastMessage.After(p.CaughtUp) {
					p.CaughtUp = p.LastMessage
				}
			}
			p.Blocked, p.LastError, p.LastErrorAt = false, err.Error(), time.Now()
		})
		if isFinal(err) {
			return err
		}
		if s.trace.Disconnected != nil {
			s.trace.Disconnected(err, retry)
		}
		if away != nil && !s.gate.Wait(ctx, s.stopped) || away == nil && !sleep(ctx, s.stopped, retry) {
			return nil
		}
	}
}

// stopping says that no further batch will be handled.
func (s *Source) stopping() bool {
	select {
	case <-s.stop:
		return true
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// wake makes the reader look around: something is to be confirmed, or it is time to stop.
func (s *Source) wake() {
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	if s.wakeFn != nil {
		s.wakeFn()
	}
}

// onWake sets what wake calls.
func (s *Source) onWake(f func()) {
	s.wakeMu.Lock()
	defer s.wakeMu.Unlock()
	s.wakeFn = f
}

// setStart sets where everything begins.
func (s *Source) setStart(lsn LSN) {
	s.durable.Store(uint64(lsn))
	s.known.Store(true)
	s.feed.begin(lsn)
	s.track.update(func(p *Progress) { p.Received, p.Handled, p.Confirmed = lsn, lsn, 0 })
}
