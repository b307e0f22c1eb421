package main

import (
	"context"
	"slices"
	"time"

	"walhook/state"
)

// comparePage is how many deliveries are listed at once.
const comparePage = 1000

// compare looks at what was really delivered. Ids are pure functions of change, rule and endpoint (invariant 3), so that they tell.
func (b *backtesting) compare(ctx context.Context, db *state.DB) error {
	if b.report.Transactions == 0 {
		return nil
	}
	for name, one := range b.rules {
		filter := state.Filter{Rule: name, Since: b.report.From.Add(-time.Minute), Limit: comparePage}
		for {
			page, next, err := db.PageDeliveries(ctx, filter)
			if err != nil {
				return environmentError(err, "")
			}
			for i := range page {
				b.delivered(one, &page[i])
			}
			if next == 0 {
				break
			}
			filter.Before = next
		}
		for id := range b.planned[name] {
			if e, there := b.new[id]; there {
				one.NewCount++
				one.New = append(one.New, e)
			}
		}
		one.New, one.Gone = firstEvents(one.New), firstEvents(one.Gone)
	}
	return nil
}

// delivered takes note of a delivery that was really made.
func (b *backtesting) delivered(one *ruleBacktest, d *state.Listed) {
	at := d.CommitAt
	if at.Before(b.report.From) || at.After(b.report.To) || b.seen[d.ID] {
		return
	}
	b.seen[d.ID] = true
	if b.planned[one.Rule][d.ID] {
		one.Same++
		delete(b.new, d.ID)
		return
	}
	one.GoneCount++
	one.Gone = append(one.Gone, diffEvent{d.ID, at, d.Endpoint, d.Event, d.Model + "/" + d.Record})
}

// firstEvents are those that a report names.
func firstEvents(all []diffEvent) []diffEvent {
	slices.SortFunc(all, func(x, y diffEvent) int { return x.At.Compare(y.At) })
	return all[:min(len(all), maxDiff)]
}
