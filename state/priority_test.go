package state

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"walhook/delivery"
)

func (f *feed) of(priority delivery.Priority, lane string) *delivery.Delivery {
	d := f.delivery("a", lane)
	d.Priority = priority
	return d
}

// C9: claims hand out the highest priority first, of one priority whatever is due longest.
func TestClaimByPriority(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	for n, d := range []*delivery.Delivery{f.of(-1, "m/1"), f.of(0, "m/2"), f.of(1, "m/3"), f.of(-1, "m/4"), f.of(0, "m/5"), f.of(1, "m/6")} {
		f.enqueue(t, none, d)
		exec(t, db, "UPDATE {schema}.lane SET due = $2 WHERE key = $1", d.Lane, time.Now().Add(time.Duration(n-10)*time.Minute))
	}
	exec(t, db, "UPDATE {schema}.lane SET due = now() + interval '1 hour' WHERE key = 'm/3'")
	lanes := claim(t, p, "a", 3, 1)
	wantLanes(t, lanes, "a:m/6=6 a:m/2=2 a:m/5=5")
	for i, want := range []delivery.Priority{1, 0, 0} {
		if lanes[i].Priority != want {
			t.Errorf("lane %s has priority %d", lanes[i].Key, lanes[i].Priority)
		}
	}
	wantLanes(t, claim(t, p, "a", 10, 1), "a:m/1=1 a:m/4=4")
	consistent(t, db)
}

// One claim in eight begins with the low ones: they get on however many others there are.
func TestClaimStarvesNobody(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var batch []*delivery.Delivery
	for i := range 100 {
		batch = append(batch, f.of(1, fmt.Sprint("m/high-", i)), f.of(0, fmt.Sprint("m/normal-", i)), f.of(-1, fmt.Sprint("m/low-", i)))
	}
	f.enqueue(t, none, batch...)
	low := 0
	for range 2 * lowFirst {
		if lanes := claim(t, p, "a", 5, 1); strings.HasPrefix(lanes[0].Key, "m/low") {
			low++
		} else if !strings.HasPrefix(lanes[0].Key, "m/high") {
			t.Errorf("claimed %s", names(lanes))
		}
	}
	if low != 2 {
		t.Errorf("%d of %d claims began with low ones", low, 2*lowFirst)
	}
}

// A lane takes the highest priority of what comes into it, and is not handed out for that.
func TestLaneIsRaised(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2 := f.of(-1, "m/1"), f.of(-1, "m/2")
	lanes := f.enqueue(t, all, d1, d2)
	wantLanes(t, lanes, "a:m/1=1 a:m/2=2")
	if lanes[0].Priority != delivery.PriorityLow {
		t.Errorf("priority %d", lanes[0].Priority)
	}
	wantLanes(t, f.enqueue(t, all, f.of(1, "m/1"), f.of(-1, "m/1"), f.of(0, "m/3")), "a:m/3=5")
	wantLanes(t, f.enqueue(t, all, f.of(-1, "m/1")), "")
	next := finish(t, p, 5, outcome(d1, delivery.Delivered), outcome(d2, delivery.Released))
	wantLanes(t, next, "a:m/1=3,4,6")
	if next[0].Priority != delivery.PriorityHigh {
		t.Errorf("priority %d", next[0].Priority)
	}
	// Released while it was raised, claimed by its new priority.
	f.enqueue(t, all, f.of(0, "m/2"))
	if got := claim(t, p, "a", 1, 5); names(got) != "a:m/2=2,7" || got[0].Priority != delivery.PriorityNormal {
		t.Errorf("claimed %s with priority %d", names(got), got[0].Priority)
	}
	consistent(t, db)
}

// What has waited for its window brings its priority with it.
func TestReleaseBringsItsPriority(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.debounced("a", "m/1", "r")
	d.Priority = delivery.PriorityHigh
	f.enqueue(t, none, f.of(-1, "m/1"), f.of(0, "m/2"), d)
	if _, err := p.ReleaseExcept(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantLanes(t, claim(t, p, "a", 1, 5), "a:m/1=1,3")
	consistent(t, db)
}

// What is sent again, and parked events that are evaluated again, go by the priority of their rule, as when they were new.
func TestSentAgainByPriority(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	ruled := func(rule, lane string) *delivery.Delivery {
		d := f.delivery("a", lane)
		d.Rule = rule
		return d
	}
	dead, sent, low := ruled("urgent", "m/1"), ruled("urgent", "m/2"), ruled("slow", "m/3")
	f.enqueue(t, all, dead, sent, low)
	finish(t, p, 5, outcome(dead, delivery.Dead), outcome(sent, delivery.Delivered), outcome(low, delivery.Delivered))
	f.enqueue(t, none, f.delivery("a", "m/4"))
	priorities := map[string]delivery.Priority{"urgent": delivery.PriorityHigh, "slow": delivery.PriorityLow}
	if n, err := db.RetryDead(t.Context(), Filter{Priorities: priorities}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, _, err := db.Replay(t.Context(), Filter{Endpoint: "a", Priorities: priorities}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	exec(t, db, `INSERT INTO {schema}.parked (id, rule, model, record, commit_lsn, xid, commit_at, error, change, parked_at)
		VALUES ('p1', 'urgent', 'm', '5', '0/900', 7, now(), 'no', '{}', now())`)
	again := f.of(1, "m/5")
	if n, _, err := db.RetryParked(t.Context(), Filter{}, evaluateTo([]*delivery.Delivery{again})); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	got := map[string]delivery.Priority{}
	for i, l := range claim(t, p, "a", 10, 1) {
		if got[l.Key] = l.Priority; i < 3 && l.Priority != delivery.PriorityHigh {
			t.Errorf("lane %s is the %d. to be claimed", l.Key, i+1)
		}
	}
	want := map[string]delivery.Priority{"m/1": 1, "m/2": 1, "m/3": -1, "m/4": 0, "m/5": 1}
	if !maps.Equal(got, want) {
		t.Errorf("priorities %v, want %v", got, want)
	}
	consistent(t, db)
}
