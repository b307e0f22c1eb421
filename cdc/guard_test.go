package cdc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const mib = 1 << 20

// seen is a slot that keeps some WAL.
func seen(retained int64) *Health {
	const restart = 1 << 40
	return &Health{End: restart + LSN(retained), Retained: retained, KeepMax: -1, Slot: &Slot{Name: "s", Restart: restart, Confirmed: restart, SafeBytes: -1, WALStatus: "extended"}}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestGuardDecides(t *testing.T) {
	standby, lost, ahead, none, unreserved := seen(900*mib), seen(900*mib), seen(900*mib), seen(900*mib), seen(900*mib)
	standby.InRecovery = true
	lost.Slot.WALStatus = "lost"
	ahead.End = 1
	none.Slot = nil
	unreserved.Slot.Restart = 0
	over, under := seen(101*mib), seen(100*mib)
	moved := func(restart LSN, behind int64) *Health { // a busy cluster: the server frees WAL, and as much is written
		h := seen(300 * mib)
		h.Slot.Restart, h.Behind = h.Slot.Restart+restart, behind
		h.End, h.Slot.Confirmed = h.Slot.Restart+300*mib, h.Slot.Restart+300*mib-LSN(behind)
		return h
	}
	for _, c := range []struct {
		name  string
		looks []*Health // ten seconds apart; the guard must act at the last one, or not at all
		acts  bool
	}{
		{"over for long enough", []*Health{over, over, over, over}, true},
		{"growing", []*Health{over, seen(200 * mib), seen(300 * mib), seen(400 * mib)}, true},
		{"not long enough", []*Health{over, over, over}, false},
		{"at the limit", []*Health{under, under, under, under, under, under}, false},
		{"back under the limit", []*Health{over, over, under, over, over, over}, false},
		{"catching up", []*Health{seen(900 * mib), seen(800 * mib), seen(700 * mib), seen(600 * mib), seen(500 * mib), seen(400 * mib), seen(300 * mib)}, false},
		{"catching up, then stuck", []*Health{seen(900 * mib), seen(800 * mib), seen(700 * mib), seen(600 * mib), seen(600 * mib), seen(600 * mib), seen(600 * mib)}, true},
		{"a dip in between", []*Health{seen(500 * mib), seen(300 * mib), seen(400 * mib), seen(500 * mib)}, true},
		{"confirmed, and freed now and then", []*Health{moved(0, 9*mib), moved(0, 9*mib), moved(0, 9*mib), moved(mib, 9*mib), moved(mib, 9*mib), moved(mib, 9*mib), moved(2*mib, 9*mib)}, false},
		{"confirmed, and then held by an open transaction", []*Health{moved(0, 9*mib), moved(0, 9*mib), moved(0, 9*mib), moved(mib, 9*mib), moved(mib, 9*mib), moved(mib, 9*mib), moved(mib, 9*mib)}, true},
		{"far behind, although the server frees some", []*Health{moved(0, 200*mib), moved(mib, 200*mib), moved(2*mib, 200*mib), moved(3*mib, 200*mib)}, true},
		{"a standby", []*Health{standby, standby, standby, standby, standby, standby}, false},
		{"a standby in between", []*Health{over, over, standby, over, over, over}, false},
		{"lost already", []*Health{lost, lost, lost, lost, lost, lost}, false},
		{"the end of WAL before the slot", []*Health{ahead, ahead, ahead, ahead, ahead, ahead}, false},
		{"no slot", []*Health{none, none, none, none, none, none}, false},
		{"no restart_lsn", []*Health{unreserved, unreserved, unreserved, unreserved, unreserved}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewGuard(GuardConfig{MaxRetained: 100 * mib, Action: GuardDrop, After: 30 * time.Second})
			for i, h := range c.looks {
				acts := g.Look(noon.Add(time.Duration(i)*10*time.Second), h)
				if want := c.acts && i == len(c.looks)-1; acts != want {
					t.Errorf("look %d: acts is %v", i, acts)
				}
			}
		})
	}
	off := NewGuard(GuardConfig{})
	for i := range 100 {
		if off.Look(noon.Add(time.Duration(i)*time.Minute), seen(1<<50)) {
			t.Fatal("a guard that is off acts")
		}
	}
	// Looks far apart, as after a pause of the machine: three are needed in any case.
	g := NewGuard(GuardConfig{MaxRetained: 100 * mib, Action: GuardDrop})
	if g.Look(noon, over) || g.Look(noon.Add(time.Hour), over) || !g.Look(noon.Add(time.Hour+time.Second), over) {
		t.Error("acts before it has seen three looks, or not then")
	}
	g.Forget()
	if g.Look(noon.Add(2*time.Hour), over) || !g.Exceeded().Equal(noon.Add(2*time.Hour)) {
		t.Error("another server's answer is not forgotten")
	}
}

func TestGuardConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  GuardConfig
		want string
	}{
		{GuardConfig{}, ""},
		{GuardConfig{MaxRetained: 20 << 30, Action: GuardStop}, ""},
		{GuardConfig{Action: GuardDrop}, "guard.max_retained: missing"},
		{GuardConfig{MaxRetained: 20 << 30}, "guard.action: missing"},
		{GuardConfig{MaxRetained: 20 << 30, Action: "explode"}, `guard.action: "explode" is no action`},
		{GuardConfig{MaxRetained: mib, Action: GuardDrop}, "guard.max_retained: 1.0 MiB is less than 32.0 MiB"},
		{GuardConfig{MaxRetained: 20 << 30, Action: GuardDrop, After: 2 * time.Hour}, "guard.after: 2h0m0s is not between"},
		{GuardConfig{MaxRetained: 20 << 30, Action: GuardDrop, After: 59 * time.Second}, "guard.after: 59s is less than twice idle_advance (30s)"},
	} {
		err := c.cfg.Validate(30 * time.Second)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
	if got := (GuardConfig{}).Every(time.Minute); got != time.Minute {
		t.Errorf("without a limit a look every %s", got)
	}
	if got := (GuardConfig{MaxRetained: 1 << 30, After: 3 * time.Second}).Every(time.Minute); got != time.Second {
		t.Errorf("a look every %s", got)
	}
}

// A slot that is no longer as it was when the limit was exceeded must not be dropped by hand on our advice.
func TestGuardErrorHint(t *testing.T) {
	e := &GuardError{Slot: "s", Action: GuardDrop, Err: fmt.Errorf("drop slot: %w", errNotDropped)}
	if hint := e.Hint(); strings.Contains(hint, "pg_drop_replication_slot") || !strings.Contains(hint, "nothing was dropped") {
		t.Error(hint)
	}
	e.Err = errors.New("no route to host")
	if hint := e.Hint(); !strings.Contains(hint, "pg_drop_replication_slot('s')") {
		t.Error(hint)
	}
}

func TestAlarms(t *testing.T) {
	cfg := AlarmConfig{Retained: 100 * mib, Lag: time.Minute}
	tight := func(safe int64, status string) *Health {
		h := seen(10 * mib)
		h.KeepMax, h.Slot.SafeBytes, h.Slot.WALStatus = 100*mib, safe, status
		return h
	}
	lost := seen(0)
	lost.Slot.WALStatus, lost.Slot.Restart = "lost", 0
	late := seen(10 * mib)
	late.Behind = 5 * mib
	type step struct {
		h    *Health // nil: the look failed
		lag  time.Duration
		want string // "+name" raised, "-name" cleared
	}
	for _, c := range []struct {
		name  string
		limit int64
		steps []step
	}{
		{"retained, once per crossing", 0, []step{{seen(100 * mib), 0, ""}, {seen(101 * mib), 0, "+retained"}, {seen(300 * mib), 0, ""}, {seen(95 * mib), 0, ""}, {seen(101 * mib), 0, ""}, {seen(90 * mib), 0, "-retained"}, {seen(99 * mib), 0, ""}}},
		{"lag", 0, []step{{late, time.Minute, ""}, {late, 61 * time.Second, "+lag"}, {late, time.Hour, ""}, {late, 55 * time.Second, ""}, {late, 54 * time.Second, "-lag"}}},
		{"caught up", 0, []step{{late, time.Hour, "+lag"}, {seen(0), time.Hour, "-lag"}}},
		{"headroom", 0, []step{{tight(20*mib, "extended"), 0, ""}, {tight(19*mib, "extended"), 0, "+headroom"}, {tight(24*mib, "extended"), 0, ""}, {tight(25*mib, "extended"), 0, "-headroom"}}},
		{"unreserved, with a negative safe_wal_size", 0, []step{{tight(-1, "unreserved"), 0, "+headroom"}, {tight(-16*mib, "unreserved"), 0, ""}, {tight(90*mib, "reserved"), 0, "-headroom"}}},
		{"unlimited", 0, []step{{tight(-1, "extended"), 0, ""}}},
		{"lost takes the others with it", 0, []step{{seen(200 * mib), 0, "+retained"}, {lost, 0, "+lost"}, {lost, time.Hour, ""}, {&Health{End: 1, KeepMax: -1}, 0, ""}, {seen(0), 0, "-lost"}}},
		{"dropped", 0, []step{{&Health{End: 1, KeepMax: -1}, 0, "+lost"}}},
		{"the guard's limit", 50 * mib, []step{{seen(50 * mib), 0, ""}, {seen(51 * mib), 0, "+guard"}, {seen(49 * mib), 0, "-guard"}}},
		{"unseen for a minute; what was raised stays", 0, []step{{seen(200 * mib), 0, "+retained"}, {nil, 0, ""}, {nil, 0, ""}, {nil, 0, ""}, {nil, 0, ""}, {nil, 0, "+unseen"}, {nil, 0, ""}, {seen(200 * mib), 0, "-unseen"}, {nil, 0, ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := NewAlarms(cfg)
			up := map[AlarmName]bool{}
			for i, s := range c.steps {
				l := Look{At: noon.Add(time.Duration(i) * 15 * time.Second), Health: s.h, Lag: s.lag, Limit: c.limit}
				if s.h == nil {
					l.Err = errors.New("no route to host")
				}
				raised, cleared := a.Look(l)
				var got []string
				for _, r := range raised {
					got = append(got, "+"+string(r.Name))
					if r.Message == "" || r.Hint == "" || !r.Since.Equal(l.At) {
						t.Errorf("step %d: %+v", i, r)
					}
					up[r.Name] = true
				}
				for _, r := range cleared {
					got = append(got, "-"+string(r.Name))
					delete(up, r.Name)
				}
				if strings.Join(got, " ") != s.want {
					t.Errorf("step %d: %q, want %q", i, got, s.want)
				}
				if s.want == "+lost" {
					up = map[AlarmName]bool{AlarmLost: true}
				}
				if now := a.Raised(); len(now) != len(up) {
					t.Errorf("step %d: raised are %v, want %v", i, now, up)
				}
			}
		})
	}
	off := NewAlarms(AlarmConfig{Retained: -1, Lag: -1})
	h := seen(1 << 50)
	h.Behind = 1 << 50
	if raised, _ := off.Look(Look{At: noon, Health: h, Lag: 1000 * time.Hour}); len(raised) != 0 {
		t.Errorf("alarms that are off: %v", raised)
	}
	for cfg, want := range map[AlarmConfig]string{
		{}: "", {Lag: 59 * time.Second}: "alarm.lag: 59s is less than twice idle_advance (30s)", {Retained: 1}: "alarm.retained: 1 bytes", {Retained: -1, Lag: -1}: "",
	} {
		if err := cfg.Validate(30 * time.Second); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
}

// An alarm tells a stream that is behind from a transaction of Odoo's that keeps WAL although everything is confirmed.
func TestAlarmNamesTheCause(t *testing.T) {
	h := seen(5 << 30)
	raised, _ := NewAlarms(AlarmConfig{}).Look(Look{At: noon, Health: h})
	if len(raised) != 1 || !strings.Contains(raised[0].Hint, "pg_stat_activity") {
		t.Errorf("caught up: %+v", raised)
	}
	h.Behind = 5 << 30
	raised, _ = NewAlarms(AlarmConfig{}).Look(Look{At: noon, Health: h})
	if len(raised) != 1 || !strings.Contains(raised[0].Hint, "walhook status") {
		t.Errorf("behind: %+v", raised)
	}
}

// TestDropSlot: only the very slot that is meant is dropped, and only while it keeps too much.
func TestDropSlot(t *testing.T) {
	b := newBench(t)
	l := newLive(t, b.dsn)
	h, err := l.Health(t.Context(), b.slot)
	if err != nil {
		t.Fatal(err)
	}
	if h.SystemID != b.text("SELECT system_identifier::text FROM pg_control_system()") || h.DatabaseOID == 0 || h.InRecovery || h.KeepMax != -1 || !h.Measured() {
		t.Errorf("health %+v", h)
	}
	right := SlotDrop{Slot: b.slot, SystemID: h.SystemID, DatabaseOID: h.DatabaseOID}
	other, elsewhere, small := right, right, right
	other.SystemID, elsewhere.DatabaseOID, small.Over = "123", 1, 1<<50
	for name, d := range map[string]SlotDrop{"another cluster": other, "another database": elsewhere, "not over the limit": small} {
		if err := l.DropSlot(t.Context(), d); !errors.Is(err, errNotDropped) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rec := &recorder{}
	r := b.start(rec, 0)
	r.connected()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := l.DropSlot(ctx, right); sqlState(err) != "55006" {
		t.Errorf("somebody streams from it: %v", err)
	}
	if b.text("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1", b.slot) != "1" {
		t.Fatal("the slot was dropped without a reason")
	}
	r.stop()
	if err := l.DropSlot(t.Context(), right); err != nil {
		t.Error(err)
	}
	if n := b.text("SELECT count(*)::text FROM pg_replication_slots WHERE slot_name = $1", b.slot); n != "0" {
		t.Errorf("%s slots are left", n)
	}
	if err := l.DropSlot(t.Context(), right); err != nil {
		t.Errorf("again, as after a lost answer: %v", err)
	}
}

// A session of our own that lingers, as the network has swallowed its end, does not keep the slot.
func TestDropSlotEndsOwnSession(t *testing.T) {
	b := newBench(t)
	r := b.start(&recorder{}, 0, func(c *SourceConfig) { c.KickedMin, c.KickedMax = time.Hour, time.Hour })
	r.connected()
	l := newLive(t, b.dsn)
	h, err := l.Health(t.Context(), b.slot)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.DropSlot(t.Context(), SlotDrop{Slot: b.slot, SystemID: h.SystemID, DatabaseOID: h.DatabaseOID, Own: r.Progress().Session.PID}); err != nil {
		t.Error(err)
	}
	<-r.lost
}
