package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// backfillFaults are no faults but work that others interrupt: the rows of a rule are sent while they are written.
var backfillFaults = []Fault{backfill{"visits"}, backfill{"documents"}, backfill{"tags"}, backfill{"partners"}}

// backfill has all rows of a rule's table sent, beside the stream.
type backfill struct{ rule string }

func (b backfill) Name() string { return "backfill, " + b.rule }

func (backfill) Weight() int { return 3 }

func (b backfill) Inject(ctx context.Context, w *World, _ *rand.Rand) (int, error) {
	w.Work.Pause() // whoever has written by now has committed
	n, err := w.written(ctx)
	w.Work.Resume()
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	w.walks = append(w.walks, walk{op: "snapshot", rule: b.rule, from: n})
	w.mu.Unlock()
	if out, err := w.Walhook(ctx, "backfill", b.rule, "--yes", "--no-wait"); err != nil {
		return 0, fmt.Errorf("backfill: %w\n%s", err, out)
	}
	return 1, nil
}
