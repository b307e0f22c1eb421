package main

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"walhook/status"
)

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 21, 7, 0, time.UTC)
	live := func(change func(*status.Document)) *status.Document {
		d := &status.Document{At: now, Live: true, Ready: true, Process: &status.Process{Role: status.RoleReader}}
		d.Source.Database, d.Source.Slot, d.Source.Connected = "odoo", "walhook", true
		change(d)
		return d
	}
	rule := func(parked int64) func(*status.Document) {
		return func(d *status.Document) {
			d.Rules = []status.Rule{{RuleState: status.RuleState{Name: "r", Parked: parked, LastError: "no number", LastParked: now.Add(-time.Minute)}, Active: true, Configured: true}}
		}
	}
	queue := func(parked int64) func(*status.Document) {
		return func(d *status.Document) {
			d.Endpoints = []status.Endpoint{{EndpointState: status.EndpointState{Name: "erp", Queue: status.QueueState{Parked: parked}}, Configured: true}}
		}
	}
	breaker := func(reason string) func(*status.Document) {
		return func(d *status.Document) {
			flow := status.FlowState{Breaker: status.BreakerOpen, OpenSince: now.Add(-time.Minute), OpenWhy: reason}
			d.Endpoints = []status.Endpoint{{EndpointState: status.EndpointState{Name: "erp", FlowState: flow}, Configured: true}}
		}
	}
	slot := func(change func(*status.SlotState)) func(*status.Document) {
		return func(d *status.Document) {
			s := status.SlotState{At: now, Active: true, WALStatus: "extended", Failover: true, Retained: 2 << 30, Headroom: 1 << 30, Restart: 0x1000, Growth: 1 << 20, Written: 2 << 20,
				Guard: &status.SlotGuard{MaxRetained: 20 << 30, Action: "stop"}}
			change(&s)
			d.SetSlot(s)
		}
	}
	stream := func(connected bool) func(*status.Document) {
		return func(d *status.Document) {
			d.Source.Connected, d.Source.LastError, d.Source.LastErrorAt = connected, "failed to connect", now.Add(-11*time.Second)
		}
	}
	for name, tc := range map[string]struct {
		d         *status.Document
		asked     string
		has, lack string
	}{
		"another runs":         {&status.Document{At: now, Reader: &status.ReaderState{PID: 42, Host: "vm"}}, "127.0.0.1:8", "nobody answers at 127.0.0.1:8; according to the state, process 42 on vm runs", "not running"},
		"another, nowhere":     {&status.Document{At: now, Reader: &status.ReaderState{PID: 42, Host: "vm"}}, "", "nobody can be asked (http.listen is off); according to the state, process 42", "not running"},
		"not running":          {&status.Document{At: now}, "127.0.0.1:8", "not running: nobody answers at 127.0.0.1:8", "according"},
		"nothing is set up":    {&status.Document{At: now, Position: status.Position{LSN: "0/0"}}, "", "nothing is set up (walhook setup)", "0/0"},
		"old error":            {live(stream(true)), "", "ready", "failed to connect"},
		"present error":        {live(stream(false)), "", "failed to connect, 11 s ago", "figures"},
		"nothing was left out": {live(queue(0)), "", "ENDPOINT", "not queued"},
		"events were left out": {live(queue(697)), "", "erp: not queued at the limit: 697 (walhook deliveries gaps --endpoint erp --reason parked)", "NOT queued"},
		"resumed, and idle":    {live(breaker(status.ResumedReason)), "", "resumed: the next delivery is a probe", "failing"},
		"failing":              {live(breaker("timeout")), "", "failing: timeout", "resumed"},
		"rule, nothing parked": {live(rule(0)), "", "RULE", "no number"},
		"rule, parked":         {live(rule(1)), "", "no number, 1 min 0 s ago", "figures"},
		"slot": {live(slot(func(*status.SlotState) {})), "",
			"active, extended, failover; 2.0 GiB of WAL kept from 0/1000, growing by 1.0 MiB/s\nslot      1.0 GiB until the slot is lost (safe_wal_size); 18.0 GiB until the slot guard acts; reached in 17 min 4 s at the present rate\nslot      the server writes 2.0 MiB/s of WAL; walhook may be away for 8 min 32 s at this rate", "nobody"},
		"slot without limits": {live(slot(func(s *status.SlotState) { s.Headroom, s.Guard, s.Growth = -1, nil, 0 })), "",
			"no limit on the server (max_slot_wal_keep_size)\nslot      the server writes 2.0 MiB/s of WAL\n", "reached"},
		"slot before PostgreSQL 13": {live(slot(func(s *status.SlotState) { s.Headroom, s.WALStatus = -1, "" })), "",
			"slot      active, failover; 2.0 GiB of WAL kept from 0/1000, growing by 1.0 MiB/s\nslot      no limit on the server (max_slot_wal_keep_size takes PostgreSQL 13)", "reserved"},
		"slot that was just attached": {live(slot(func(s *status.SlotState) { s.Active = false })), "", "slot      active, extended", "nobody"},
		"slot that nobody reads": {live(func(d *status.Document) {
			slot(func(s *status.SlotState) { s.Active, s.InactiveSince = false, now.Add(-time.Hour) })(d)
			d.Source.Connected = false
		}), "", "nobody streams from it, since 1 h 0 min, extended", "active,"},
		"slot, lost":     {live(slot(func(s *status.SlotState) { s.WALStatus, s.Reason = "lost", "wal_removed" })), "", "lost: it fell behind further than max_slot_wal_keep_size (wal_removed)", "kept"},
		"slot, not seen": {live(func(d *status.Document) { d.SetSlot(status.SlotState{Error: "no route", Headroom: -1}) }), "", "slot      not seen: no route", "kept"},
		"detached": {live(func(d *status.Document) { d.State = status.StateInfo{Error: "away", At: now.Add(-67 * time.Second)} }), "",
			"as of 09:20:00 UTC, ", "not running"},
		"no upgrade": {live(func(*status.Document) {}), "", "ready", "modules"},
		"upgrade": {live(func(d *status.Document) {
			d.Upgrade = &status.UpgradeState{Since: now.Add(-time.Hour), Seen: now.Add(-time.Second), Waiting: 4, Modules: 12, Held: 5, Dropped: 2}
		}), "", "since 2026-03-01 08:21:07 UTC (1 h 0 min ago): 4 of 12 wait, 5 events held, 2 dropped", "no module has changed"},
		"upgrade that stands still": {live(func(d *status.Document) { d.Upgrade = &status.UpgradeState{Seen: now.Add(-20 * time.Minute)} }), "",
			"no module has changed for 20 min 0 s", "not ready"},
		"reserved": {live(func(d *status.Document) {
			d.Reserved = []status.ReservedSlot{{Slot: "try", Retained: new(int64(5 << 20)), MaxRetained: 1 << 30}}
		}), "", "slot try keeps 5.0 MiB of at most 1.0 GiB of WAL for backtests (walhook rules backtest --release try)", "not there"},
		"reserved, offline": {&status.Document{At: now, Reserved: []status.ReservedSlot{{Slot: "try", MaxRetained: 1 << 30}}}, "", "slot try keeps at most 1.0 GiB of WAL", " of at most"},
		"reserved, dropped": {live(func(d *status.Document) { d.Reserved = []status.ReservedSlot{{Slot: "try", Ended: "it kept 2 GiB"}} }), "", "slot try is not there any more: it kept 2 GiB", "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := printStatus(&b, tc.d, tc.asked); err != nil {
				t.Fatal(err)
			}
			if got := b.String(); !strings.Contains(got, tc.has) || strings.Contains(got, tc.lack) {
				t.Errorf("%s\nwant %q and not %q", got, tc.has, tc.lack)
			}
		})
	}
}

func TestHintWithoutPassword(t *testing.T) {
	refused := &pgconn.PgError{Code: "28P01"}
	for password, want := range map[string]string{"": "no password is given: put it into ~/.pgpass, or into source.dsn", "x": "correct the password in source.dsn"} {
		cfg := &pgx.ConnConfig{Config: pgconn.Config{User: "walhook", Password: password}}
		if got := connectHint(refused, "source.dsn", cfg); !strings.HasPrefix(got, want) {
			t.Errorf("password %q: %s", password, got)
		}
	}
}
