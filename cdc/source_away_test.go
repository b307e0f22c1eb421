package cdc

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// What could not be committed because walhook stayed away is tried as soon as it is back, whatever the pauses are otherwise: until
// then the process is not ready.
func TestHandlerComesBackWithTheGate(t *testing.T) {
	for name, sight := range map[string]func(*Gate) error{
		"refused":        func(g *Gate) error { return g.Away() },
		"session closed": func(*Gate) error { return temporary("conn closed") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := NewGate(0, 0, nil)
			gate.StayAway(time.Hour, "somebody needs it")
			failed := make(chan struct{}, 1000)
			var calls atomic.Int32
			rec := &recorder{advance: func(context.Context, LSN) error {
				calls.Add(1)
				if gate.Away() == nil {
					return nil
				}
				defer func() { failed <- struct{}{} }()
				return sight(gate)
			}}
			s := NewSource(SourceConfig{Gate: gate, IdleAdvance: time.Hour, RetryMin: time.Millisecond, RetryMax: time.Hour}, rec, nil, Trace{})
			s.stop = make(chan struct{})
			s.known.Store(true)
			h := &handling{Source: s, done: 100}
			back := make(chan error, 1)
			go func() {
				for {
					wait, err := h.advance(t.Context(), time.Hour)
					if err != nil || wait > 0 {
						back <- err
						return
					}
				}
			}()
			<-failed
			gate.Open()
			select {
			case err := <-back:
				if _, durable := rec.snapshot(); err != nil || durable != 100 {
					t.Errorf("%v, durable %s after %d calls", err, durable, calls.Load())
				}
			case <-time.After(30 * time.Second):
				t.Error("it is not tried again")
			}
		})
	}
}

// A pause is cut when the gate opens, and ends when the source stops.
func TestPauseWithTheGate(t *testing.T) {
	gate := NewGate(0, 0, nil)
	s := NewSource(SourceConfig{Gate: gate, RetryMin: time.Millisecond}, &recorder{}, nil, Trace{})
	s.stop = make(chan struct{})
	h := &handling{Source: s}
	gate.StayAway(time.Hour, "somebody needs it")
	away := gate.Away()
	goOn := make(chan bool, 1)
	go func() { goOn <- h.pause(t.Context(), away, time.Hour) }()
	gate.Open()
	if !<-goOn {
		t.Error("it stopped")
	}
	gate.StayAway(time.Hour, "again")
	defer gate.Open()
	go func() { goOn <- h.pause(t.Context(), gate.Away(), time.Hour) }()
	close(s.stop)
	if <-goOn {
		t.Error("it goes on although the source stops")
	}
}
