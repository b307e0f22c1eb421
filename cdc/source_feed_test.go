package cdc

import (
	"testing"
	"time"
)

func feedTx(end LSN) *Tx { return NewTx(1, end-8, end, time.Time{}, nil) }

func endsOf(txs []*Tx) (list []LSN) {
	for _, tx := range txs {
		list = append(list, tx.EndLSN)
	}
	return list
}

func TestFeed(t *testing.T) {
	f := newFeed(3, 1000, 100)
	if !f.has(100) || f.has(101) || f.resume() != 100 {
		t.Error("the start counts as received, and nothing after it")
	}
	f.put(feedTx(110), 400)
	f.put(feedTx(120), 400)
	if f.full() {
		t.Error("full at 800 of 1000 bytes")
	}
	f.put(feedTx(130), 400) // one that exceeds the budget is let in
	if !f.full() || !f.has(130) || f.resume() != 130 {
		t.Error("not full at 3 of 3 transactions")
	}
	f.advance(150) // the server has sent everything before it

	// While transactions wait, processing stands at the end of the last one taken.
	first, bytes, mark := f.take(2, 1000)
	if got := endsOf(first); len(got) != 2 || got[1] != 120 || bytes != 800 || mark != 120 {
		t.Errorf("took %v, %d bytes, mark %s", got, bytes, mark)
	}
	second, _, mark := f.take(2, 100) // a single one is taken whatever its size
	if got := endsOf(second); len(got) != 1 || got[0] != 130 || mark != 150 {
		t.Errorf("took %v, mark %s", got, mark)
	}
	if none, _, mark := f.take(2, 100); len(none) != 0 || mark != 150 {
		t.Errorf("took %v, mark %s", endsOf(none), mark)
	}
	// With the handler they still count, until they are closed.
	if !f.full() {
		t.Error("not full while all are with the handler")
	}
	for _, tx := range append(first, second...) {
		if err := tx.Close(); err != nil {
			t.Fatal(err)
		}
		if err := tx.Close(); err != nil { // the budget comes back only once
			t.Fatal(err)
		}
	}
	if count, bytes, _ := f.load(); count != 0 || bytes != 0 || f.full() {
		t.Errorf("%d transactions and %d bytes are left", count, bytes)
	}
	f.advance(140)
	if _, _, mark := f.take(1, 1); mark != 150 {
		t.Errorf("the mark went back to %s", mark)
	}
}

// TestKeepaliveInsideTransaction: a keepalive between a transaction's rows says how far the server has read, not
// what is complete. It must not move the position past the rows that are still to come.
func TestKeepaliveInsideTransaction(t *testing.T) {
	s := NewSource(SourceConfig{}, nil, wantNet, Trace{})
	s.feed = newFeed(10, 1000, 100)
	c := &session{Source: s, inTx: true}
	if err := c.keepalive(event{serverEnd: 500}); err != nil {
		t.Fatal(err)
	}
	if _, _, mark := s.feed.take(1, 1); mark != 100 {
		t.Errorf("mark %s", mark)
	}
	c.inTx = false
	if err := c.keepalive(event{serverEnd: 500}); err != nil {
		t.Fatal(err)
	}
	if _, _, mark := s.feed.take(1, 1); mark != 500 {
		t.Errorf("mark %s", mark)
	}
}
