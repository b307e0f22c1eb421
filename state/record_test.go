package state

import (
	"testing"
	"time"

	"walhook/cdc"
	"walhook/delivery"
)

func TestRecordedDaysThatGo(t *testing.T) {
	today := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	days := partitionList{}
	for _, ago := range []int{9, 3, 2, 1, 0} {
		days = append(days, partition{name: "d" + string(rune('0'+ago)), day: today.AddDate(0, 0, -ago), bytes: 100})
	}
	tests := []struct {
		record Record
		want   string
		full   bool
	}{
		{Record{Keep: 7 * 24 * time.Hour, MaxBytes: 1000}, "d9", false},
		{Record{Keep: 7 * 24 * time.Hour, MaxBytes: 250}, "d9d3d2", false},
		{Record{Keep: 7 * 24 * time.Hour, MaxBytes: 50}, "d9d3d2d1", true},
		{Record{Keep: time.Hour, MaxBytes: 1000}, "d9d3d2", false},
		{Record{}, "d9d3d2d1d0", false}, // switched off
	}
	for _, test := range tests {
		drop, full := test.record.due(days, today)
		got := ""
		for _, d := range drop {
			got += d.Name
		}
		if got != test.want || full != test.full {
			t.Errorf("%+v drops %s, full %v; want %s, %v", test.record, got, full, test.want, test.full)
		}
	}
}

// Recorded changes are committed with the position, or not at all, and a day without partitions is mended on the way.
func TestRecordedWithThePosition(t *testing.T) {
	db := openState(t, func(c *Config) { c.Record = Record{Keep: 24 * time.Hour, MaxBytes: 1 << 30} })
	p := register(t, db)
	if !p.Recording() {
		t.Error("nothing is recorded")
	}
	f := newFeed(t, p)
	at := time.Now().UTC().Truncate(time.Microsecond)
	recorded := &delivery.Recorded{FirstLSN: 100, LastLSN: 200, From: at, To: at, Changes: 3, Tables: []string{"public.a"}, Data: []byte{1, 2, 3}}
	to := delivery.Position{LSN: f.at.LSN + 100}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Recorded: recorded}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: to, Recorded: recorded}, nil); err == nil {
		t.Error("a batch from an old position was taken")
	}
	var got []*delivery.Recorded
	if err := db.Recorded(t.Context(), at.Add(-time.Hour), func(r *delivery.Recorded) error {
		got = append(got, r)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].LastLSN != cdc.LSN(200) || got[0].Changes != 3 || len(got[0].Data) != 3 || !got[0].To.Equal(at) {
		t.Errorf("recorded is %+v", got)
	}
	if s, err := db.RecordState(t.Context()); err != nil || s.Changes != 3 || s.Bytes == 0 || !s.Since.Equal(at) {
		t.Errorf("the state of the record is %+v, %v", s, err)
	}
	if err := p.keepRecord(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "recorded"); n != 1 {
		t.Errorf("%d rows are left", n)
	}
	db.cfg.Record = Record{}
	if err := p.keepRecord(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, db, "recorded"); n != 0 {
		t.Errorf("%d rows are left after recording was switched off", n)
	}
}

// Days are dropped by the process that reads, as its configuration says: another one, that records nothing or keeps less, deletes nobody's record.
func TestRecordIsTheReaders(t *testing.T) {
	db := openState(t, func(c *Config) { c.Record = Record{Keep: 7 * 24 * time.Hour, MaxBytes: 1 << 30} })
	p := register(t, db)
	f := newFeed(t, p)
	at := time.Now().UTC()
	recorded := &delivery.Recorded{FirstLSN: 100, LastLSN: 200, From: at, To: at, Changes: 3, Tables: []string{"public.a"}, Data: []byte{1, 2, 3}}
	if _, err := p.Enqueue(t.Context(), &delivery.Batch{From: f.at, To: delivery.Position{LSN: f.at.LSN + 100}, Recorded: recorded}, nil); err != nil {
		t.Fatal(err)
	}
	cfg := db.cfg
	cfg.Record = Record{}
	other := register(t, open(t, cfg))
	for _, want := range []int{1, 0} {
		if err := other.keepRecord(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := rows(t, db, "recorded"); n != want {
			t.Errorf("%d rows are left, want %d", n, want)
		}
		newFeed(t, other) // it becomes the reader
	}
}

func TestReservations(t *testing.T) {
	db := openState(t, nil)
	if err := db.Reserve(t.Context(), "try", 1<<30); err != nil {
		t.Fatal(err)
	}
	if err := db.Reserve(t.Context(), "try", 1<<30); err == nil {
		t.Error("a slot was reserved twice")
	}
	if err := db.EndReservation(t.Context(), "try", "too large"); err != nil {
		t.Fatal(err)
	}
	if list, err := db.Reservations(t.Context()); err != nil || len(list) != 1 || list[0].Ended != "too large" || list[0].MaxRetained != 1<<30 {
		t.Errorf("reservations are %+v, %v", list, err)
	}
	if err := db.Reserve(t.Context(), "try", 2<<30); err != nil {
		t.Errorf("a slot that was dropped cannot be reserved again: %v", err)
	}
	if err := db.Release(t.Context(), "try"); err != nil {
		t.Fatal(err)
	}
	if list, err := db.Reservations(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("reservations are %+v, %v", list, err)
	}
}
