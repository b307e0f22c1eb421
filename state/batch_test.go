package state

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/delivery"
)

// inBatch makes an outcome's attempt one of a batch.
func inBatch(o delivery.Outcome, id string, position, size int) delivery.Outcome {
	o.Attempt.Batch, o.Attempt.BatchPosition, o.Attempt.BatchSize = id, position, size
	return o
}

// An attempt in a batch is logged with its place. One that was regrouped is logged and changes nothing else: no attempt is used up, nothing
// is counted, and its lane is free at once when it is let go.
func TestBatchOutcomes(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	a1, a2, b1 := f.delivery("a", "m/1"), f.delivery("a", "m/1"), f.delivery("a", "m/2")
	wantLanes(t, f.enqueue(t, all, a1, a2, b1), "a:m/1=1,2 a:m/2=3")

	regrouped := func(d *delivery.Delivery, position int) delivery.Outcome {
		o := inBatch(outcome(d, delivery.Regrouped), "bat_1", position, 3)
		o.Attempt.Status, o.Attempt.Class, o.Reason = 422, delivery.ClassClientError, "422 Unprocessable Entity, for a batch of 3: they are sent again in smaller ones"
		o.LaneDone = false
		return o
	}
	wantLanes(t, finish(t, p, 10, regrouped(a1, 1), regrouped(a2, 2), regrouped(b1, 3)), "")
	if n := rows(t, db, "queue WHERE attempts = 0") + 10*rows(t, db, "attempt WHERE result = 'regrouped'") + 100*rows(t, db, "lane WHERE owner IS NOT NULL"); n != 233 {
		t.Errorf("after the first batch: %d", n)
	}
	l, attempts, err := db.GetDelivery(t.Context(), a2.ID)
	if err != nil || l.State != Pending || l.Attempts != 0 || len(attempts) != 1 || attempts[0].Batch != "bat_1" || attempts[0].BatchPosition != 2 || attempts[0].BatchSize != 3 {
		t.Errorf("shown as %+v, %+v, %v", l, attempts, err)
	}

	// The halves: one is taken; of the other, which is let go because the endpoint was disabled meanwhile, nothing is kept back.
	answer := inBatch(outcome(b1, delivery.Delivered), "bat_3", 1, 1)
	answer.Attempt.ResponseBody = bytes.Repeat([]byte("y"), 2000)
	gone := regrouped(a1, 1)
	gone.LaneDone = true
	wantLanes(t, finish(t, p, 10, answer, gone), "")
	wantLanes(t, claim(t, p, "a", 10, 10), "a:m/1=1,2")
	wantLanes(t, finish(t, p, 10, notDone(inBatch(outcome(a1, delivery.Delivered), "bat_4", 1, 2)), inBatch(outcome(a2, delivery.Delivered), "bat_4", 2, 2)), "")
	consistent(t, db)

	type row struct {
		Seq            int64
		Number         int
		Result, Batch  string
		Position, Size int
		Body           int
	}
	var got []row
	found, err := db.pool.Query(t.Context(), db.sql("SELECT seq, number, result, batch, batch_position, batch_size, octet_length(response_body) FROM {schema}.attempt ORDER BY batch, batch_position, at"))
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var r row
		if err := found.Scan(&r.Seq, &r.Number, &r.Result, &r.Batch, &r.Position, &r.Size, &r.Body); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	want := []row{
		{1, 1, "regrouped", "bat_1", 1, 3, 2}, {1, 1, "regrouped", "bat_1", 1, 3, 2}, {2, 1, "regrouped", "bat_1", 2, 3, 2}, {3, 1, "regrouped", "bat_1", 3, 3, 2},
		{3, 1, "delivered", "bat_3", 1, 1, 2000}, {1, 1, "delivered", "bat_4", 1, 2, 2}, {2, 1, "delivered", "bat_4", 2, 2, 2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
	if err := db.FlushStatistics(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "endpoint WHERE name = 'a' AND delivered = 3 AND failed_attempts = 0"); n != 1 {
		t.Error("regrouped attempts count as failures")
	}
}

// A Finish that is repeated, since its answer was lost, logs what was regrouped once.
func TestBatchRepeated(t *testing.T) {
	db := openState(t, nil)
	p := register(t, db)
	f := newFeed(t, p)
	d := f.delivery("a", "m/1")
	f.enqueue(t, all, d)
	first := inBatch(outcome(d, delivery.Regrouped), "bat_1", 1, 2)
	first.LaneDone = false
	second := inBatch(outcome(d, delivery.Delivered), "bat_2", 1, 1)
	second.Attempt.At = first.Attempt.At.Add(time.Millisecond)
	finish(t, p, 10, first)
	p.repeats.Store(true)
	finish(t, p, 10, first, second)
	finish(t, p, 10, first, second)
	if n := rows(t, db, "attempt"); n != 2 {
		t.Errorf("%d attempts are logged, want 2", n)
	}
	consistent(t, db)
}
