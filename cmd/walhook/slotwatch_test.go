package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"walhook/cdc"
	"walhook/internal/pgtest"
	"walhook/rules"
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

// The alarm on a slot that is gone says since when changes are missed, what they concern, and what to do: in the log and on the status pages. It is worked out once.
func TestSlotWatchLost(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE PUBLICATION p")
	id, err := cdc.ReadIdentity(t.Context(), pgtest.Connect(t, dsn), "")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	var seen []uint32
	asked := 0
	w, err := newSlotWatch(slotWatchConfig{dsn: dsn, slot: "gone", system: id.SystemID, database: id.DatabaseOID, log: zerolog.New(&log),
		progress: func() cdc.Progress { return cdc.Progress{} }, publication: "p", needed: func() []string { return []string{"public.t"} },
		see: func(_ context.Context, oid uint32) (uint32, error) {
			if seen = append(seen, oid); len(seen) == 1 {
				return 0, errors.New("the state is away")
			}
			return oid, nil
		},
		gap: func() string {
			asked++
			return (&Config{Rules: []rules.Config{{Name: "r", Table: "t"}, {Name: "s", Model: "m"}}}).missedText(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.live.Close()
	for range 3 {
		w.look(t.Context())
	}
	if len(seen) != 2 || seen[0] == 0 || seen[1] != seen[0] {
		t.Errorf("the state was told of the publications %d; want the same once more after it was away", seen)
	}
	const want = "there is no such slot any more: changes are not kept; changes are missed since 2026-03-01 12:00:00 UTC or later, by 2 rules (r, s) on t, m"
	alarms := w.state().Alarms
	if len(alarms) != 1 || alarms[0].Message != want || !strings.HasPrefix(alarms[0].Hint, "walhook resync ") || asked != 1 {
		t.Errorf("asked %d times, %+v", asked, alarms)
	}
	if strings.Count(log.String(), want) != 1 {
		t.Errorf("logged %s", log.String())
	}
	if got := (&Config{}).missedText(time.Time{}); got != "" {
		t.Errorf("of nothing it says %q", got)
	}
}
