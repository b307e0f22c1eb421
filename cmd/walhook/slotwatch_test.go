package main

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"walhook/cdc"
)

// A walhook that stays away from the database raises no alarm because it cannot see the slot, and tells why it cannot.
func TestSlotWatchAway(t *testing.T) {
	gate := cdc.NewGate(time.Minute, time.Minute, nil)
	defer gate.Open()
	gate.StayAway(time.Hour, "`walhook detach` was run")
	var log strings.Builder
	w, err := newSlotWatch(slotWatchConfig{dsn: "postgres://nobody@127.0.0.1:1/none", slot: "s", log: zerolog.New(&log), gate: gate,
		progress: func() cdc.Progress { return cdc.Progress{} }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.live.Close()
	// One more look that fails would be a minute without a sight of the slot.
	away := gate.Away()
	w.alarms.Look(cdc.Look{At: time.Now().Add(-2 * time.Minute), Err: away})
	w.look(t.Context())
	if raised := w.alarms.Raised(); len(raised) != 0 || log.Len() != 0 {
		t.Errorf("raised %+v, logged %s", raised, log.String())
	}
	if got := w.state().Error; !strings.Contains(got, away.Error()) {
		t.Errorf("the status tells %q", got)
	}
}
