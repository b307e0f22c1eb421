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
	var left []cdc.PublicationMemory
	asked, recalled := 0, 0
	w, err := newSlotWatch(slotWatchConfig{dsn: dsn, slot: "gone", system: id.SystemID, database: id.DatabaseOID, log: zerolog.New(&log),
		progress: func() cdc.Progress { return cdc.Progress{} }, publication: publicationConfig{name: "p",
			tables: func() []cdc.TableNeed { return []cdc.TableNeed{{Schema: "public", Table: "t"}} },
			recall: func(context.Context) (m cdc.PublicationMemory, known bool, err error) {
				if recalled++; recalled == 1 {
					return m, false, errors.New("the state is away")
				}
				return m, false, nil
			},
			remember: func(_ context.Context, m cdc.PublicationMemory) error {
				left = append(left, m)
				return nil
			}},
		gap: func() string {
			asked++
			return (&Config{Rules: []rules.Config{{Name: "r", Table: "t"}, {Name: "s", Model: "m"}}}).missedText(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.live.Close()
	for range 4 {
		w.look(t.Context())
	}
	if recalled != 2 || len(left) != 1 || left[0].Name != "p" || left[0].OID == 0 {
		t.Errorf("the state was asked %d times and told %+v; want it asked again after it was away, and told once", recalled, left)
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
