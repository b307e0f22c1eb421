package main

import (
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := newPulse(10 * time.Second)
	p.now, p.last = func() time.Time { return now }, now
	for _, step := range []struct {
		pass time.Duration
		want bool
	}{
		{250 * time.Millisecond, false},
		{9 * time.Second, false}, // slow, and still within its lease
		{10 * time.Second, true},
		{250 * time.Millisecond, true}, // what came of it may be noticed after the first beat
		{4 * time.Second, true},
		{time.Second, false},
		{time.Hour, true},
	} {
		now = now.Add(step.pass)
		if got := p.beat(); got != step.want {
			t.Errorf("at %s, %s after the beat before: %v", now.Format(time.TimeOnly), step.pass, got)
		}
	}
}
