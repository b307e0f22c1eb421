package state

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery"
	"walhook/status"
)

// A paused endpoint is told apart from a disabled one, hands out nothing, and resumes; only who changes something says so.
func TestPauseAndResume(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/1")), "a:m/1=1")
	for i, want := range []bool{true, false} {
		if changed, err := db.PauseEndpoint(t.Context(), "a", fmt.Sprint("maintenance ", i)); changed != want || err != nil {
			t.Fatalf("pause %d: %v %v", i, changed, err)
		}
	}
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/2"), f.delivery("b", "m/2")), "b:m/2=3")
	wantLanes(t, claim(t, p, "a", 5, 5), "")
	o := outcome(&delivery.Delivery{Endpoint: "a", Lane: "m/1", Seq: 1}, delivery.Released)
	wantLanes(t, finish(t, p, 5, o), "")
	states, _, err := p.ReadFlow(t.Context())
	if err != nil || !states["a"].Paused || states["a"].Blocked != "maintenance 0" {
		t.Errorf("flow: %+v %v", states["a"], err)
	}
	list, err := db.Endpoints(t.Context())
	if err != nil || list[0].Condition() != "paused: maintenance 0" || list[0].Disabled || list[0].PausedAt.IsZero() || list[0].Pending != 2 {
		t.Errorf("status: %+v %v", list[0], err)
	}
	var waiting string
	if err := db.pool.QueryRow(t.Context(), db.sql("SELECT string_agg(DISTINCT waiting, ', ') FROM {schema}.pending_delivery WHERE endpoint = 'a'")).Scan(&waiting); err != nil || waiting != "endpoint paused" {
		t.Errorf("pending_delivery says %q, %v", waiting, err)
	}
	exec(t, db, "UPDATE {schema}.endpoint SET failures = 25, failing_since = now() - interval '9 days' WHERE name = 'a'")
	for _, want := range []Resumed{{Paused: true}, {}} {
		if was, err := db.ResumeEndpoint(t.Context(), "a"); was != want || err != nil {
			t.Errorf("resume: %+v, want %+v, %v", was, want, err)
		}
	}
	if states, _, err := p.ReadFlow(t.Context()); err != nil || states["a"].Failures != 0 || !states["a"].FailingSince.IsZero() {
		t.Errorf("failures before the pause count on: %+v %v", states["a"], err)
	}
	if was, err := db.ResumeEndpoint(t.Context(), "never heard of"); was.Any() || err != nil {
		t.Errorf("resume: %+v, %v", was, err)
	}
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/2=2 a:m/1=1")
	consistent(t, db)
}

// The state of a breaker is stored by whoever saw the version before, and comes back as it was.
func TestSaveFlow(t *testing.T) {
	db := openState(t, nil)
	a, b := register(t, db), register(t, db)
	at := time.Now().UTC().Truncate(time.Microsecond)
	open := delivery.FlowState{Failures: 20, FailingSince: at.Add(-time.Minute), OpenSince: at, OpenUntil: at.Add(10 * time.Second), OpenReason: "503\x00 Service Unavailable", Pauses: 1}
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for _, p := range []*Process{a, b, a, b} {
		wg.Go(func() {
			saved, err := p.SaveFlow(t.Context(), "erp", open, "")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if saved {
				won++
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d of four made the same change", won)
	}
	states, processes, err := b.ReadFlow(t.Context())
	if err != nil || processes != 1 { // one program, as after a reload
		t.Fatal(processes, err)
	}
	exec(t, db, fmt.Sprintf("UPDATE {schema}.process SET pid = pid + 1 WHERE id = %d", b.id))
	if _, processes, err = b.ReadFlow(t.Context()); err != nil || processes != 2 {
		t.Fatal(processes, err)
	}
	exec(t, db, fmt.Sprintf("UPDATE {schema}.process SET started_at = now() - interval '2 s', lease_until = now() - interval '1 s' WHERE id = %d", b.id))
	if _, processes, err = a.ReadFlow(t.Context()); err != nil || processes != 1 {
		t.Fatal(processes, err)
	}
	want := open
	want.Version, want.OpenReason = 1, clean(open.OpenReason)
	got := states["erp"]
	// By the monotonic clock, counted from the database's: whatever this machine's clock is set to meanwhile.
	if off := got.OpenUntil.Sub(open.OpenUntil).Abs(); off > 5*time.Second || !strings.Contains(got.OpenUntil.String(), " m=") {
		t.Errorf("left alone until %s, want %s", got.OpenUntil, open.OpenUntil)
	}
	got.OpenUntil = want.OpenUntil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	list, err := db.Endpoints(t.Context())
	if e := list[0]; err != nil || e.Breaker != status.BreakerOpen || e.Failures != 20 || e.NextProbe.Sub(open.OpenUntil).Abs() > 5*time.Second || !strings.HasPrefix(e.Condition(), "failing: 503") {
		t.Errorf("status: %+v %v", e, err)
	}
	if was, err := db.ResumeEndpoint(t.Context(), "erp"); !was.Open || was.Paused || was.Disabled || err != nil {
		t.Errorf("resume: %+v %v", was, err)
	}
	if states, _, err = a.ReadFlow(t.Context()); err != nil || states["erp"].OpenUntil.After(time.Now()) || !states["erp"].OpenSince.Equal(at) || states["erp"].Version != 2 {
		t.Errorf("resumed: %+v %v", states["erp"], err)
	}
	if saved, err := a.SaveFlow(t.Context(), "erp", delivery.FlowState{Version: 2}, ""); !saved || err != nil {
		t.Error(saved, err)
	}
	if states, _, err = b.ReadFlow(t.Context()); err != nil || cmp.Diff(delivery.FlowState{Version: 3}, states["erp"]) != "" {
		t.Errorf("closed: %+v %v", states["erp"], err)
	}
}

// whatIsTold reads the notices in the queue of the alert endpoint.
func whatIsTold(t *testing.T, db *DB) (told []string) {
	t.Helper()
	rows, err := db.pool.Query(t.Context(), db.sql(`SELECT d.event, d.record, d.rule, d.sequence, q.lane, d.id, d.body FROM {schema}.queue q
		JOIN {schema}.delivery d ON d.day = q.day AND d.seq = q.seq WHERE q.endpoint = 'ops' AND d.rule = 'walhook' ORDER BY q.seq`))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var event, record, rule, lane, id string
		var sequence int64
		var body []byte
		if err := rows.Scan(&event, &record, &rule, &sequence, &lane, &id, &body); err != nil {
			t.Fatal(err)
		}
		var b struct {
			Type      string    `json:"type"`
			Timestamp time.Time `json:"timestamp"`
			Data      struct {
				Endpoint, Reason, Remedy string
				Since                    time.Time
				Pending                  int64
			} `json:"data"`
		}
		if err := json.Unmarshal(body, &b); err != nil || b.Type != event || b.Data.Endpoint != record || time.Since(b.Timestamp) > time.Hour || b.Data.Since.IsZero() || !strings.HasPrefix(id, "msg_") {
			t.Errorf("body %s, %v", body, err)
		}
		told = append(told, fmt.Sprintf("%s %s: %s (%d pending), number %d in %s; %s", event, record, b.Data.Reason, b.Data.Pending, sequence, lane, b.Data.Remedy))
	}
	return told
}

// The alert endpoint is told in the transaction that disables, once, with a number of its sequence; of itself it is never told.
func TestNotices(t *testing.T) {
	db := openState(t, func(c *Config) { c.Alerts = Alerts{Endpoint: "ops"} })
	p := register(t, db)
	f := newFeed(t, p)
	first, second, own := f.delivery("erp", "m/1"), f.delivery("erp", "m/2"), f.delivery("ops", "m/3")
	f.enqueue(t, all, first, second, own)
	gone := func(d *delivery.Delivery) delivery.Outcome {
		o := outcome(d, delivery.Dead)
		o.Disable = "the receiver answered 410 Gone"
		return o
	}
	finish(t, p, 5, gone(first), outcome(own, delivery.Delivered))
	finish(t, p, 5, gone(second))
	finish(t, p, 5, gone(first)) // again, as after a lost answer
	want := []string{"walhook.endpoint.disabled erp: the receiver answered 410 Gone (1 pending), number 2 in walhook.endpoint/erp; " +
		"its deliveries wait; mend the receiver, then: walhook endpoints resume erp"}
	if diff := cmp.Diff(want, whatIsTold(t, db)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	// The reader's batches go on, although the row that it knew the place of has moved, and numbers stay contiguous.
	mine := f.delivery("ops", "m/4")
	f.enqueue(t, none, mine)
	if mine.Sequence != 3 {
		t.Errorf("the next delivery has number %d", mine.Sequence)
	}
	// It is a delivery like any other.
	lanes := claim(t, p, "ops", 5, 5)
	if len(lanes) != 2 || lanes[0].Key != "walhook.endpoint/erp" || lanes[0].Deliveries[0].Sequence != 2 || lanes[0].Deliveries[0].CommitLSN != testStart+16 {
		t.Fatalf("claimed %s", names(lanes))
	}
	// 410 of the alert endpoint itself disables it, and tells nobody.
	finish(t, p, 5, gone(lanes[0].Deliveries[0]), outcome(lanes[1].Deliveries[0], delivery.Released))
	if n := rows(t, db, "delivery WHERE rule = 'walhook'"); n != 1 {
		t.Errorf("%d notices", n)
	}
	if _, err := db.ResumeEndpoint(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}

	// Failing and recovered, by the breaker.
	if _, err := db.ResumeEndpoint(t.Context(), "erp"); err != nil {
		t.Fatal(err)
	}
	states, _, err := p.ReadFlow(t.Context())
	if s := states["erp"]; err != nil || !s.Noticed || s.OpenSince.IsZero() || s.Failures != 0 {
		t.Fatalf("resumed: %+v %v", s, err)
	}
	s := states["erp"]
	if saved, err := p.SaveFlow(t.Context(), "erp", delivery.FlowState{Version: s.Version - 1}, delivery.NoticeRecovered); saved || err != nil {
		t.Errorf("saved over another version: %v %v", saved, err)
	}
	if saved, err := p.SaveFlow(t.Context(), "erp", delivery.FlowState{Version: s.Version, OpenSince: time.Now(), OpenUntil: time.Now(), OpenReason: "timeout", Failures: 30, Noticed: true}, delivery.NoticeFailing); !saved || err != nil {
		t.Errorf("%v %v", saved, err)
	}
	if saved, err := p.SaveFlow(t.Context(), "ops", delivery.FlowState{Version: states["ops"].Version, OpenSince: time.Now(), OpenUntil: time.Now(), Noticed: true}, delivery.NoticeFailing); !saved || err != nil {
		t.Errorf("of the alert endpoint itself: %v %v", saved, err)
	}
	told := whatIsTold(t, db)
	if len(told) != 1 || !strings.HasPrefix(told[0], "walhook.endpoint.failing erp: timeout (0 pending), number 4 in walhook.endpoint/erp; ") {
		t.Errorf("told %q", told)
	}
	consistent(t, db)
}

// Notices, batches and outcomes of two processes at the same time: no deadlock, and every number is given out once.
func TestNoticesBesideBatches(t *testing.T) {
	db := openState(t, func(c *Config) { c.Alerts = Alerts{Endpoint: "ops"} })
	reader, other := register(t, db), register(t, db)
	f := newFeed(t, reader)
	const rounds = 40
	for i := range rounds {
		f.enqueue(t, none, f.delivery(fmt.Sprint("e", i), "m/1"), f.delivery("ops", fmt.Sprint("m/", i)))
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range rounds {
			f.enqueue(t, none, f.delivery("ops", "m/1"), f.delivery("ops", "walhook.endpoint/e1"), f.delivery("shop", "m/1"))
		}
	})
	for i, p := range []*Process{reader, other} {
		wg.Go(func() {
			for n := i; n < rounds; n += 2 {
				name := fmt.Sprint("e", n)
				for _, l := range claim(t, p, name, 5, 5) {
					o := outcome(l.Deliveries[0], delivery.Retry)
					o.Next, o.Disable = time.Now().Add(time.Hour), "20 attempts in a row have failed"
					finish(t, p, 5, o)
				}
				var done []delivery.Outcome
				for _, l := range claim(t, p, "ops", 3, 1) {
					done = append(done, outcome(l.Deliveries[0], delivery.Delivered))
				}
				finish(t, p, 0, done...)
			}
		})
	}
	wg.Wait()
	if n := rows(t, db, "delivery WHERE rule = 'walhook'"); n != rounds {
		t.Errorf("%d notices, want %d", n, rounds)
	}
	var numbers, least, most int
	if err := db.pool.QueryRow(t.Context(), db.sql("SELECT count(DISTINCT sequence), min(sequence), max(sequence) FROM {schema}.delivery WHERE endpoint = 'ops'")).Scan(&numbers, &least, &most); err != nil {
		t.Fatal(err)
	}
	if numbers != 4*rounds || least != 1 || most != numbers {
		t.Errorf("%d numbers from %d to %d, want %d", numbers, least, most, 4*rounds)
	}
	consistent(t, db)
}
