package cdc

import (
	"math"
	"testing"
	"time"
)

func TestWALPace(t *testing.T) {
	const mib = 1 << 20
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	look := func(end, retained int64) *Health {
		return &Health{End: LSN(end), Retained: retained, Slot: &Slot{Restart: 1}}
	}
	tests := []struct {
		name            string
		looks           int
		at              func(i int) (end, retained int64) // every 10 s
		written, growth float64                           // MiB/s
	}{
		{"too short a time", 2, func(i int) (int64, int64) { return int64(i+1) * 10 * mib, int64(i) * 10 * mib }, 0, 0},
		{"nobody reads", 20, func(i int) (int64, int64) { return int64(i+1) * 10 * mib, int64(i) * 10 * mib }, 1, 1},
		{"read half as fast as it is written", 20, func(i int) (int64, int64) { return int64(i+1) * 10 * mib, int64(i) * 5 * mib }, 1, 0.5},
		{"confirmed every half minute", 31, func(i int) (int64, int64) { return int64(i+1) * 10 * mib, int64(i%3) * 10 * mib }, 1, 0},
		{"catching up", 20, func(i int) (int64, int64) { return int64(i+1) * 10 * mib, int64(20-i) * 10 * mib }, 1, 0},
		{"quiet", 20, func(int) (int64, int64) { return 10 * mib, 5 * mib }, 0, 0},
		{"only the last five minutes count", 100, func(i int) (int64, int64) {
			return int64(min(i, 50)+1) * 10 * mib, int64(min(i, 50)) * 10 * mib
		}, 0, 0},
		{"another server", 20, func(i int) (int64, int64) {
			if i < 18 {
				return int64(i+1000) * 10 * mib, int64(i) * 10 * mib
			}
			return int64(i+1) * mib, int64(i) * mib
		}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p WALPace
			for i := range tt.looks {
				p.Observe(begin.Add(time.Duration(i)*10*time.Second), look(tt.at(i)))
			}
			if got := p.Written() / mib; math.Abs(got-tt.written) > 0.01 {
				t.Errorf("written %v MiB/s, want %v", got, tt.written)
			}
			if got := p.Growth() / mib; math.Abs(got-tt.growth) > 0.01 {
				t.Errorf("growth %v MiB/s, want %v", got, tt.growth)
			}
		})
	}

	var p WALPace
	for i := range 100_000 { // looks every 200 ms, as a guard may want them
		p.Observe(begin.Add(time.Duration(i)*200*time.Millisecond), look(int64(i+1)*mib, int64(i)*mib))
	}
	if len(p.samples) > paceSamples {
		t.Errorf("%d samples are kept", len(p.samples))
	}
	if got := p.Growth() / mib; math.Abs(got-5) > 0.01 {
		t.Errorf("growth %v MiB/s, want 5", got)
	}
	p.Observe(begin.Add(30*time.Hour), &Health{})
	if p.Written() != 0 {
		t.Error("a slot that is gone has a pace")
	}
}

func TestUntil(t *testing.T) {
	for _, tt := range []struct {
		room int64
		pace float64
		want time.Duration
	}{{-1, 5, -1}, {100, 0, -1}, {0, 5, 0}, {600, 5, 2 * time.Minute}, {math.MaxInt64, 1e-9, longestPace}} {
		if got := Until(tt.room, tt.pace); got != tt.want {
			t.Errorf("%d bytes at %v a second last %v, want %v", tt.room, tt.pace, got, tt.want)
		}
	}
}
