package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"walhook/delivery"
)

// window is what a model knows of one rule, endpoint and record.
type window struct {
	last       *delivery.Delivery
	until, due time.Duration // on the model's clock
}

// Debounce against a model that has a clock of its own: events, time that passes, releases by several processes, restarts, people who send or
// discard. At every moment the same deliveries wait, are superseded, discarded and queued as in the model; every number is accounted for.
func TestDebounceModel(t *testing.T) {
	t.Parallel()
	db := openState(t, nil)
	round := 0
	rapid.Check(t, func(r *rapid.T) {
		round++
		exec(t, db, "DELETE FROM {schema}.waiting")
		exec(t, db, "DELETE FROM {schema}.queue")
		exec(t, db, "DELETE FROM {schema}.lane")
		p := register(t, db)
		defer func() { _ = p.Close(t.Context()) }()
		f := newFeed(t, p)
		at := func(n int) string { return fmt.Sprintf("e%d-%d", round, n) }
		var now time.Duration
		windows, state := map[string]*window{}, map[string]State{}
		wants := func(want State) string {
			var ids []string
			for _, id := range slices.Sorted(maps.Keys(state)) {
				if state[id] == want {
					ids = append(ids, id)
				}
			}
			return strings.Join(ids, " ")
		}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			switch rapid.SampledFrom([]string{"batch", "batch", "batch", "pass", "pass", "release", "restart", "retry", "discard"}).Draw(r, "step") {
			case "batch":
				var batch []*delivery.Delivery
				for range rapid.IntRange(1, 5).Draw(r, "size") {
					endpoint, record, rule := at(rapid.IntRange(0, 1).Draw(r, "endpoint")), rapid.IntRange(0, 2).Draw(r, "record"), rapid.IntRange(0, 2).Draw(r, "rule")
					d := f.delivery(endpoint, fmt.Sprintf("m/%d", record))
					d.Rule, d.ID = fmt.Sprint("rule-", rule), fmt.Sprintf("%s-%d", at(9), f.next)
					state[d.ID] = Pending
					if rule > 0 {
						d.Wait, d.Max = time.Duration(rule)*time.Hour, time.Duration(rapid.IntRange(rule, 5).Draw(r, "max"))*time.Hour
						key := endpoint + d.Lane + d.Rule
						w := windows[key]
						if w == nil {
							w = &window{until: now + d.Max}
							windows[key] = w
						} else {
							state[w.last.ID] = Superseded
							w.until += d.Max - w.last.Max // from the first on
						}
						w.last, w.due = d, min(now+d.Wait, w.until)
						state[d.ID] = Waiting
					}
					batch = append(batch, d)
				}
				f.enqueue(t, none, batch...)
			case "pass":
				d := time.Duration(rapid.IntRange(1, 8).Draw(r, "half hours")) * 30 * time.Minute
				now += d
				pass(t, db, d)
			case "release":
				releaseDue(t, p)
				for key, w := range windows {
					if w.due <= now {
						state[w.last.ID] = Pending
						delete(windows, key)
					}
				}
			case "restart":
				if err := p.Close(t.Context()); err != nil {
					r.Fatal(err)
				}
				next := f.next
				p = register(t, db)
				f = newFeed(t, p)
				f.next = next
			default:
				if len(windows) == 0 {
					continue
				}
				key := rapid.SampledFrom(slices.Sorted(maps.Keys(windows))).Draw(r, "window")
				mend, becomes := db.RetryWaiting, Pending
				if rapid.Bool().Draw(r, "discard") {
					mend, becomes = db.DiscardWaiting, Discarded
				}
				if n, err := mend(t.Context(), Filter{IDs: []string{windows[key].last.ID}}); n != 1 || err != nil {
					r.Fatal(n, err)
				}
				state[windows[key].last.ID] = becomes
				delete(windows, key)
			}
		}
		for _, s := range []State{Pending, Waiting, Superseded, Discarded} {
			var ids []string
			for n := range 2 {
				list, err := db.ListDeliveries(t.Context(), Filter{State: s, Endpoint: at(n), Limit: 1000})
				if err != nil {
					r.Fatal(err)
				}
				for _, l := range list {
					ids = append(ids, l.ID)
				}
			}
			slices.Sort(ids)
			if got, want := strings.Join(ids, " "), wants(s); got != want {
				r.Fatalf("%s: got %q, want %q", s, got, want)
			}
		}
		for n := range 2 { // each number is in one place
			var queued, waiting int
			queued = rows(t, db, fmt.Sprintf("queue WHERE endpoint = '%s'", at(n)))
			waiting = rows(t, db, fmt.Sprintf("waiting WHERE endpoint = '%s'", at(n)))
			gone := rows(t, db, fmt.Sprintf("gap, generate_series(first, last) WHERE endpoint = '%s'", at(n)))
			if logged := rows(t, db, fmt.Sprintf("delivery WHERE endpoint = '%s'", at(n))); queued+waiting+gone != logged {
				r.Fatalf("%d queued, %d waiting, %d gone of %d", queued, waiting, gone, logged)
			}
			if u := usage(t, db, at(n)); u.Pending != int64(queued+waiting) {
				r.Fatalf("%d are counted as pending, %d are", u.Pending, queued+waiting)
			}
		}
	})
	proveComplete(t, db)
}
