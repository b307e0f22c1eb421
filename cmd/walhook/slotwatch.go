package main

import (
	"context"
	"sync"
	"time"

	"walhook/cdc"
	"walhook/status"
)

// slotEvery is how often the slot is looked at.
const slotEvery = 10 * time.Second

// slotWatch looks at the slot and at the end of WAL over a connection of its own, so that a stream that stands
// still is noticed although the stream itself tells nothing.
type slotWatch struct {
	live *cdc.Live
	slot string

	mu   sync.Mutex
	last status.SlotState
}

func newSlotWatch(dsn, slot string) (*slotWatch, error) {
	live, err := cdc.NewLive(dsn)
	if err != nil {
		return nil, err
	}
	return &slotWatch{live: live, slot: slot, last: status.SlotState{Headroom: -1}}, nil
}

// Run looks until ctx is cancelled. It never fails: what it cannot see is part of what it tells.
func (w *slotWatch) Run(ctx context.Context) error {
	defer w.live.Close()
	tick := time.NewTicker(slotEvery)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *slotWatch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, slotEvery)
	defer cancel()
	health, err := w.live.Health(ctx, w.slot)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.last.Error = err.Error()
		return
	}
	w.last = status.SlotState{At: time.Now(), CurrentWAL: health.End, Retained: health.Retained, Headroom: -1}
	if s := health.Slot; s != nil {
		w.last.Active, w.last.WALStatus, w.last.Headroom = s.PID != 0, s.WALStatus, s.SafeBytes
		if s.Lost() {
			w.last.WALStatus = "lost"
		}
	} else {
		w.last.Error = "there is no such slot"
	}
}

func (w *slotWatch) state() status.SlotState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}
