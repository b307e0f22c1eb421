package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/status"
)

// wantDropped lets retention do its work and checks what it has dropped: names and reasons, in order.
func wantDropped(t *testing.T, db *DB, want ...string) status.LogState {
	t.Helper()
	dropped, log, err := db.DropPartitions(t.Context())
	var got []string
	for _, d := range dropped {
		got = append(got, d.Name+" "+d.reason())
	}
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("dropped %v, %v; want %v", got, err, want)
	}
	return log
}

// What goes and what stays, without a database.
func TestRetentionIsPure(t *testing.T) {
	today := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	day := func(ago int) time.Time { return today.AddDate(0, 0, -ago) }
	var all partitionList
	for ago := 6; ago >= -2; ago-- { // 10 of attempts and 100 of deliveries a day; days to come are empty
		for parent, bytes := range map[string]int64{"attempt": 10, "delivery": 100} {
			if ago < 0 {
				bytes = 0
			}
			all = append(all, partition{parent: parent, name: fmt.Sprintf("%s %d", parent, ago), day: day(ago), bytes: bytes})
		}
	}
	slices.SortStableFunc(all, func(a, b partition) int {
		if c := a.day.Compare(b.day); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	const d = 24 * time.Hour
	for _, tc := range []struct {
		name   string
		r      retention
		needed []int
		want   string
		left   int64
	}{
		{"nothing is due", retention{deliveries: 30 * d, attempts: 30 * d}, nil, "", 770},
		{"by age", retention{deliveries: 4 * d, attempts: 4 * d}, nil, "attempt 6, delivery 6, attempt 5, delivery 5", 550},
		{"attempts earlier", retention{deliveries: 5 * d, attempts: 3 * d}, nil, "attempt 6, delivery 6, attempt 5, attempt 4", 640},
		{"needed", retention{deliveries: 4 * d, attempts: 4 * d}, []int{6, 1}, "attempt 6, attempt 5, delivery 5", 650},
		{"by size", retention{deliveries: 30 * d, attempts: 30 * d, size: 560}, nil, "attempt 6 size, delivery 6 size, attempt 5 size, delivery 5 size", 550},
		{"attempts are enough", retention{deliveries: 30 * d, attempts: 30 * d, size: 760}, nil, "attempt 6 size", 760},
		{"by age first", retention{deliveries: 5 * d, attempts: 5 * d, size: 650}, nil, "attempt 6, delivery 6, attempt 5 size", 650},
		{"by size, needed", retention{deliveries: 30 * d, attempts: 30 * d, size: 560}, []int{6}, "attempt 6 size, attempt 5 size, delivery 5 size, attempt 4 size, delivery 4 size", 540},
		{"today alone is too large", retention{deliveries: 30 * d, attempts: 30 * d, size: 1}, []int{2},
			"attempt 6 size, delivery 6 size, attempt 5 size, delivery 5 size, attempt 4 size, delivery 4 size, attempt 3 size, delivery 3 size, attempt 2 size, attempt 1 size, delivery 1 size", 210},
	} {
		needed := map[time.Time]bool{}
		for _, ago := range tc.needed {
			needed[day(ago)] = true
		}
		drop, left := tc.r.due(all, today, needed)
		var got []string
		for _, p := range drop {
			if p.Size {
				p.Name += " size"
			}
			got = append(got, p.Name)
		}
		if s := strings.Join(got, ", "); s != tc.want || left != tc.left {
			t.Errorf("%s: %q leaves %d, want %q and %d", tc.name, s, left, tc.want, tc.left)
		}
	}
}

// The log is kept within its size: the oldest days go, what pending deliveries need stays, and all of it is told.
func TestRetentionBySize(t *testing.T) {
	var told []status.LogState
	var gone []DroppedPartition
	db := openState(t, func(c *Config) {
		c.Trace.LogFull = func(s status.LogState) { told = append(told, s) }
		c.Trace.Dropped = func(d DroppedPartition) { gone = append(gone, d) }
	})
	p := register(t, db)
	f := newFeed(t, p)
	size := func() int64 {
		t.Helper()
		s, err := db.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Log.Bytes
	}
	before := size()
	for _, ago := range []int{3, 2} { // one delivery each: that of two days ago has ended
		day, _ := addDay(t, db, ago)
		f.enqueue(t, none, f.delivery("a", fmt.Sprint("m/", ago)))
		exec(t, db, "UPDATE {schema}.delivery SET day = $1 WHERE seq = $2", day, f.next)
		exec(t, db, "UPDATE {schema}.queue SET day = $1 WHERE seq = $2", day, f.next)
	}
	exec(t, db, "DELETE FROM {schema}.queue WHERE seq = 2")
	if full := size(); full <= before {
		t.Fatalf("%d bytes, %d before", full, before)
	}
	all, err := db.Position(t.Context())
	if err != nil || all.Log.Over || all.Log.MaxBytes != 0 || all.Log.Since.IsZero() {
		t.Errorf("%+v, %v", all.Log, err)
	}
	db.cfg.RetentionSize = 1
	p.upkeep(t.Context())
	p.upkeep(t.Context()) // tells nothing twice
	today := writtenTo(time.Now())
	name := func(parent string, ago int) string {
		return parent + "_" + today.AddDate(0, 0, -ago).Format("20060102")
	}
	var names []string
	for _, d := range gone {
		names = append(names, d.Name)
		if !d.Size || d.Bytes == 0 {
			t.Errorf("%+v", d)
		}
	}
	if want := []string{name("attempt", 3), name("attempt", 2), name("delivery", 2)}; !slices.Equal(names, want) {
		t.Errorf("dropped %v, want %v", names, want)
	}
	if len(told) != 1 || !told[0].Over || told[0].DroppedForSize != 3 || told[0].DroppedForAge != 0 || told[0].Since.Format("20060102") != today.AddDate(0, 0, -3).Format("20060102") {
		t.Errorf("told: %+v", told)
	}
	if n := rows(t, db, "dropped_partition WHERE reason = 'size' AND bytes > 0"); n != 3 {
		t.Errorf("%d drops are noted", n)
	}
	wantLanes(t, claim(t, p, "a", 1, 1), "a:m/3=1")
	db.cfg.RetentionSize = 1 << 40
	p.upkeep(t.Context())
	if len(told) != 2 || told[1].Over {
		t.Errorf("told: %+v", told)
	}
}

// A transaction that began before midnight may still write to the day before.
func TestADayIsPastAnHourLater(t *testing.T) {
	for at, want := range map[string]string{"2026-03-10T00:00:00Z": "2026-03-09", "2026-03-10T00:59:59Z": "2026-03-09", "2026-03-10T01:00:00Z": "2026-03-10", "2026-03-10T23:59:59Z": "2026-03-10", "2026-03-10T01:30:00+02:00": "2026-03-09"} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := writtenTo(now).Format(time.DateOnly); got != want {
			t.Errorf("at %s days before %s are past, want %s", at, got, want)
		}
	}
}
