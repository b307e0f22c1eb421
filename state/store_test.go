package state

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"walhook/delivery"
)

func TestEnqueueHandsNewLanesOut(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	asked := map[string]int{}
	take := func(endpoint string, n int) bool { asked[endpoint] += n; return endpoint == "a" }

	d1, d2, d3 := f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("b", "m/1")
	wantLanes(t, f.enqueue(t, take, d1, d2, d3), "a:m/1=1,2")
	if asked["a"] != 2 || asked["b"] != 1 {
		t.Errorf("take was asked for %v", asked)
	}
	if d1.Enqueued.IsZero() || d3.Seq != 3 {
		t.Errorf("not assigned: %+v", d3)
	}
	// Behind a lane that exists, deliveries stay in the table, whoever owns it.
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/1"), f.delivery("b", "m/1"), f.delivery("a", "m/2")), "a:m/2=6")
	wantLanes(t, claim(t, p, "a", 10, 10), "")
	wantLanes(t, claim(t, p, "b", 10, 10), "b:m/1=3,5")
	wantLanes(t, finish(t, p, 10, notDone(outcome(d1, delivery.Delivered)), outcome(d2, delivery.Delivered)), "a:m/1=4")
	consistent(t, db)
	if pos, _ := db.StoredPosition(t.Context()); pos != f.at {
		t.Errorf("position is %+v, want %+v", pos, f.at)
	}
}

func notDone(o delivery.Outcome) delivery.Outcome { o.LaneDone = false; return o }

// What comes back from the table is what was enqueued, to the last field.
func TestRoundTrip(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/ü ünïcode, \"quoted\" \\ {schema}")
	d.Body = bytes.Repeat([]byte{0, 1, 0xff, 'x'}, 5000)
	d.CommitLSN, d.XID, d.Op, d.ContentType = 0xfffffff0_fffffff0, 0xffffffff, "unlink", "text/xml"
	f.enqueue(t, none, d)
	lanes := claim(t, p, "a", 1, 1)
	if len(lanes) != 1 {
		t.Fatalf("claimed %v", lanes)
	}
	if diff := cmp.Diff(d, lanes[0].Deliveries[0], cmpopts.EquateApproxTime(0), cmpopts.IgnoreUnexported(delivery.Delivery{})); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

// Invariant 2: a batch that starts from another position fails and writes nothing.
func TestInvariant2SupersededBatchWritesNothing(t *testing.T) {
	db := openState(t, nil)
	p, other := register(t, db), register(t, db)
	g, f := newFeed(t, other), newFeed(t, p) // p is the reader
	f.enqueue(t, all, f.delivery("a", "m/1"))
	f.enqueue(t, all, f.delivery("a", "m/1")) // the row is found by its place now
	for name, from := range map[string]delivery.Position{
		"behind": g.at,
		"open":   {LSN: f.at.LSN, Open: f.at.LSN + 8, Count: 1},
		"ahead":  {LSN: f.at.LSN + 1},
	} {
		for _, q := range []*Process{p, other} {
			b := &delivery.Batch{From: from, To: delivery.Position{LSN: f.at.LSN + 100}, Deliveries: []*delivery.Delivery{g.delivery("a", "m/9")},
				Parked: []*delivery.Parked{{ID: "p1", Rule: "r"}}, Matched: map[string]int64{"x": 1}}
			if _, err := q.Enqueue(t.Context(), b, all); !errors.Is(err, delivery.ErrSuperseded) || isTemporary(err) {
				t.Errorf("%s: got %v, want ErrSuperseded", name, err)
			}
		}
	}
	if n := rows(t, db, "delivery") + rows(t, db, "queue")*10 + rows(t, db, "lane")*100 + rows(t, db, "parked")*1000; n != 122 {
		t.Errorf("rows after refused batches: %d", n)
	}
	// A giant transaction goes on from where it is.
	open := delivery.Position{LSN: f.at.LSN, Open: f.at.LSN + 8, Count: 500}
	if err := p.Advance(t.Context(), f.at, open); err != nil {
		t.Fatal(err)
	}
	if pos, err := p.StoredPosition(t.Context()); pos != open || err != nil {
		t.Fatalf("position %+v, %v", pos, err)
	}
	// Another writer moved the row: its place is stale, the position is not.
	exec(t, db, "UPDATE {schema}.source SET last_seq = last_seq + 5")
	f.at = open
	d := f.delivery("a", "m/3")
	f.enqueue(t, all, d)
	if d.Seq != 8 {
		t.Errorf("seq is %d, want 8", d.Seq)
	}
}

func TestEnqueueUnbound(t *testing.T) {
	db := openEmpty(t, nil)
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := register(t, db)
	if err := p.Advance(t.Context(), delivery.Position{}, delivery.Position{LSN: 1}); !errors.Is(err, ErrNotBound) {
		t.Errorf("got %v", err)
	}
	if _, err := db.StoredPosition(t.Context()); !errors.Is(err, ErrNotBound) {
		t.Errorf("got %v", err)
	}
}

func TestFinishResults(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	lane := func() (first, second *delivery.Delivery) {
		key := "m/" + f.delivery("a", "x").ID
		first, second = f.delivery("a", key), f.delivery("a", key)
		if got := f.enqueue(t, all, first); len(got) != 1 {
			t.Fatalf("acquired %v", got)
		}
		f.enqueue(t, all, second)
		return first, second
	}
	state := func(d *delivery.Delivery) (s string) {
		err := db.pool.QueryRow(t.Context(), db.sql(`SELECT CASE WHEN owner IS NOT NULL THEN 'owned' WHEN held THEN 'held' WHEN due <= now() THEN 'free' ELSE 'backing off' END
			FROM {schema}.lane WHERE endpoint = $1 AND key = $2`), d.Endpoint, d.Lane).Scan(&s)
		if noRows(err) {
			return "none"
		} else if err != nil {
			t.Fatal(err)
		}
		return s
	}

	t.Run("delivered, more waits", func(t *testing.T) {
		d, next := lane()
		lanes := finish(t, p, 5, outcome(d, delivery.Delivered))
		if len(lanes) != 1 || lanes[0].Deliveries[0].ID != next.ID || lanes[0].More || state(d) != "owned" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
		if lanes := finish(t, p, 5, outcome(next, delivery.Delivered)); len(lanes) != 0 || state(d) != "none" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
	})
	t.Run("delivered, perLane 0 releases", func(t *testing.T) {
		d, next := lane()
		if lanes := finish(t, p, 0, outcome(d, delivery.Delivered)); len(lanes) != 0 || state(d) != "free" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
		lanes := claim(t, p, "a", 1, 1)
		if len(lanes) != 1 || lanes[0].Deliveries[0].ID != next.ID {
			t.Fatalf("claimed %s", names(lanes))
		}
		if lanes := finish(t, p, 0, outcome(next, delivery.Delivered)); len(lanes) != 0 || state(d) != "none" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
	})
	t.Run("retry waits and counts", func(t *testing.T) {
		d, next := lane()
		o := outcome(d, delivery.Retry)
		o.Next = time.Now().Add(400 * time.Millisecond)
		if lanes := finish(t, p, 5, o); len(lanes) != 0 || state(d) != "backing off" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
		if lanes := claim(t, p, "a", 10, 5); len(lanes) != 0 {
			t.Fatalf("claimed %s before its time", names(lanes))
		}
		time.Sleep(time.Until(o.Next) + 50*time.Millisecond)
		lanes := claim(t, p, "a", 10, 5)
		if len(lanes) != 1 || len(lanes[0].Deliveries) != 2 || lanes[0].Deliveries[0].Attempts != 1 || lanes[0].Deliveries[1].ID != next.ID {
			t.Fatalf("claimed %s", names(lanes))
		}
		finish(t, p, 5, notDone(outcome(d, delivery.Delivered)), outcome(next, delivery.Delivered))
	})
	t.Run("released stays due", func(t *testing.T) {
		d, _ := lane()
		before := rows(t, db, "attempt")
		if lanes := finish(t, p, 5, outcome(d, delivery.Released)); len(lanes) != 0 || state(d) != "free" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
		lanes := claim(t, p, "a", 10, 1)
		if len(lanes) != 1 || lanes[0].Deliveries[0].Attempts != 0 || !lanes[0].More || rows(t, db, "attempt") != before {
			t.Fatalf("claimed %s, %d attempts", names(lanes), rows(t, db, "attempt")-before)
		}
		lanes = finish(t, p, 5, outcome(d, delivery.Delivered))
		finish(t, p, 5, outcome(lanes[0].Deliveries[0], delivery.Delivered))
	})
	t.Run("dead, lane goes on", func(t *testing.T) {
		d, next := lane()
		lanes := finish(t, p, 5, outcome(d, delivery.Dead))
		if len(lanes) != 1 || lanes[0].Deliveries[0].ID != next.ID || rows(t, db, "dead_letter") != 1 {
			t.Fatalf("got %s", names(lanes))
		}
		finish(t, p, 5, outcome(next, delivery.Delivered))
	})
	t.Run("dead, lane holds", func(t *testing.T) {
		d, next := lane()
		o := outcome(d, delivery.Dead)
		o.Hold = true
		if lanes := finish(t, p, 5, o); len(lanes) != 0 || state(d) != "held" {
			t.Fatalf("got %s, lane %s", names(lanes), state(d))
		}
		f.enqueue(t, all, f.delivery("a", d.Lane))
		if lanes := claim(t, p, "a", 10, 5); len(lanes) != 0 {
			t.Fatalf("claimed a held lane: %s", names(lanes))
		}
		consistent(t, db)
		if n, err := db.RetryDead(t.Context(), Filter{IDs: []string{d.ID}}); n != 1 || err != nil {
			t.Fatalf("retried %d, %v", n, err)
		}
		lanes := claim(t, p, "a", 10, 5)
		if len(lanes) != 1 || len(lanes[0].Deliveries) != 3 || lanes[0].Deliveries[0].ID != d.ID || lanes[0].Deliveries[0].Attempts != 0 || lanes[0].Deliveries[1].ID != next.ID {
			t.Fatalf("claimed %s, want the dead letter in front", names(lanes))
		}
		l := lanes[0].Deliveries
		finish(t, p, 5, notDone(outcome(l[0], delivery.Delivered)), notDone(outcome(l[1], delivery.Delivered)), outcome(l[2], delivery.Delivered))
	})
	if n := rows(t, db, "queue") + rows(t, db, "lane"); n != 0 {
		t.Errorf("%d rows left in queue and lane", n)
	}
	consistent(t, db)
}

// Invariant 4: what a process no longer owns, it cannot change.
func TestInvariant4FinishOfForeignLane(t *testing.T) {
	db := openState(t, nil)
	p, thief := register(t, db), register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	exec(t, db, "UPDATE {schema}.lane SET owner = $1", thief.id)
	for _, r := range []delivery.Result{delivery.Delivered, delivery.Dead, delivery.Retry} {
		o := outcome(d, r)
		o.Disable = "410 Gone"
		wantLanes(t, finish(t, p, 5, o), "")
	}
	if a, q := rows(t, db, "attempt"), rows(t, db, "queue WHERE attempts = 0"); a != 3 || q != 1 {
		t.Errorf("%d attempts, %d untouched queue rows", a, q)
	}
	if rows(t, db, "dead_letter")+rows(t, db, "endpoint WHERE disabled_at IS NOT NULL") != 0 || rows(t, db, "lane WHERE owner IS NOT NULL") != 1 {
		t.Error("a lane that was lost has been changed")
	}
	wantLanes(t, finish(t, thief, 5, outcome(d, delivery.Delivered)), "")
	consistent(t, db)
}

func TestDisabledEndpoint(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d, next := f.delivery("a", "m/1"), f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	f.enqueue(t, all, next)
	o := outcome(d, delivery.Dead)
	o.Disable = "410 Gone"
	wantLanes(t, finish(t, p, 5, o), "")
	wantLanes(t, claim(t, p, "a", 5, 5), "")
	wantLanes(t, f.enqueue(t, all, f.delivery("a", "m/2"), f.delivery("b", "m/2")), "b:m/2=4")
	if got, n, err := p.ReadFlow(t.Context()); err != nil || got["a"].Blocked != "410 Gone" || got["a"].Paused || got["b"].Blocked != "" || n != 1 {
		t.Errorf("flow: %+v, %d processes, %v", got, n, err)
	}
	if was, err := db.ResumeEndpoint(t.Context(), "a"); !was.Disabled || was.Paused || err != nil {
		t.Fatal(was, err)
	}
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/1=2 a:m/2=3")
	consistent(t, db)
}

// A lane is handed out in pieces: by number, and by the size of the bodies.
func TestHandOutIsBounded(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	var ds []*delivery.Delivery
	for i := range 6 {
		d := f.delivery("a", "")
		if i < 3 {
			d.Body = bytes.Repeat([]byte("x"), delivery.LaneBytes/2)
		}
		ds = append(ds, d)
	}
	f.enqueue(t, none, ds...)
	wantLanes(t, claim(t, p, "a", 5, 10), "a:=1,2+")
	wantLanes(t, finish(t, p, 2, notDone(outcome(ds[0], delivery.Delivered)), outcome(ds[1], delivery.Delivered)), "a:=3,4+")
	wantLanes(t, finish(t, p, 2, notDone(outcome(ds[2], delivery.Delivered)), outcome(ds[3], delivery.Delivered)), "a:=5,6")
	wantLanes(t, finish(t, p, 2, notDone(outcome(ds[4], delivery.Delivered)), outcome(ds[5], delivery.Delivered)), "")
	big := f.delivery("a", "")
	big.Body = bytes.Repeat([]byte("x"), 3*delivery.LaneBytes)
	f.enqueue(t, none, big)
	wantLanes(t, claim(t, p, "a", 5, 10), "a:=7")
}

// One receiver's odd answer must not keep outcomes from being committed.
func TestOddAnswersAreStored(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	o := outcome(d, delivery.Dead)
	o.Reason = "bad \x00 \xff reason"
	o.Attempt.Error, o.Attempt.URL = "e\x00\xfe", "https://x/\xc3"
	o.Attempt.ResponseHeaders = map[string][]string{"X\x00": {"a\xffb\x00", "<&>"}, "Empty": nil}
	o.Attempt.ResponseBody = []byte{0, 0xff}
	o.Attempt.Total, o.Attempt.Number = 100*time.Hour, 0
	finish(t, p, 1, o)
	l, attempts, err := db.GetDelivery(t.Context(), d.ID)
	if err != nil || len(attempts) != 1 || l.State != Dead {
		t.Fatalf("%v %v %v", l, attempts, err)
	}
	if !strings.Contains(l.Reason, "bad") || !bytes.Equal(attempts[0].ResponseBody, []byte{0, 0xff}) || attempts[0].ResponseHeaders["X\x00"][1] != "<&>" {
		t.Errorf("read back %+v", attempts[0])
	}
}

// A partition that someone dropped by hand takes deliveries with it. That is seen, and blocks nothing.
func TestLostLogRows(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d1, d2, d3 := f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("a", "m/2")
	f.enqueue(t, none, d1, d2, d3)
	exec(t, db, "DELETE FROM {schema}.delivery WHERE seq IN (1, 3)")
	wantLanes(t, claim(t, p, "a", 5, 5), "a:m/1=2")
	wantLanes(t, claim(t, p, "a", 5, 5), "") // finds m/2 empty
	if n := rows(t, db, "dead_letter WHERE class = 'lost'"); n != 2 {
		t.Errorf("%d lost letters", n)
	}
	wantLanes(t, finish(t, p, 5, outcome(d2, delivery.Delivered)), "")
	if n := rows(t, db, "lane"); n != 0 {
		t.Errorf("%d lanes left", n)
	}
	consistent(t, db)
}
