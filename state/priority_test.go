package state

import (
	"fmt"
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
