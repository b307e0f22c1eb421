package cdc

import (
	"context"
	"net"
	"testing"
)

// dueErrand counts its turns.
type dueErrand struct {
	due   bool
	turns int
}

func (e *dueErrand) Waiting() <-chan struct{} { return nil }
func (e *dueErrand) Due(LSN) bool             { return e.due }
func (e *dueErrand) Do(context.Context, LSN) (LSN, error) {
	e.turns++
	return 0, nil
}

// An errand stores positions, too: on a stream from a standby nothing is stored before it is known whether that was promoted (invariant 8). It is not asked
// while nothing is due.
func TestInvariant8ErrandFollowsAPromotion(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr()
	_ = l.Close() // the standby is away
	errand := &dueErrand{}
	s := NewSource(SourceConfig{DSN: "postgres://walhook@127.0.0.1/postgres", Errand: errand}, &recorder{}, nil, Trace{})
	s.known.Store(true)
	s.line.begin(1, true, address, "")
	h := &handling{Source: s, done: 100}
	for _, errand.due = range []bool{false, true} {
		if err := h.errand(t.Context()); err != nil || errand.turns != 0 {
			t.Errorf("due %v: %d turns, %v", errand.due, errand.turns, err)
		}
		if told := s.Progress().LastError != ""; told != errand.due {
			t.Errorf("due %v, and whether it was promoted was looked for: %v", errand.due, told)
		}
	}
	s.line.begin(1, false, address, "")
	if err := h.errand(t.Context()); err != nil || errand.turns != 1 {
		t.Errorf("on a primary: %d turns, %v", errand.turns, err)
	}
}
