package storm

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"walhook/internal/harness"
)

// networkFaults are what happens between walhook and the others.
var networkFaults = func() (all []Fault) {
	for _, to := range []string{"source", "state", "receivers"} {
		for _, kind := range toxics {
			for _, direction := range []string{"upstream", "downstream"} {
				all = append(all, poisoned{to, kind, direction})
			}
		}
		all = append(all, severed{to}, refused{to}, swallowed{to})
	}
	return all
}()

func (w *World) link(to string) *Link {
	switch to {
	case "source":
		return w.ToSource
	case "state":
		return w.ToState
	}
	return w.ToReceivers
}

// toxic is one of toxiproxy's.
type toxic struct {
	name       string
	attributes func(rnd *rand.Rand) map[string]int
	worked     func(p harness.Passed) bool // by what has passed while it lasted
}

func traffic(p harness.Passed) bool { return p.Up > 0 || p.Down > 0 }

func ended(p harness.Passed) bool { return p.Ended > 0 }

var toxics = []*toxic{
	{"latency", func(rnd *rand.Rand) map[string]int {
		return map[string]int{"latency": 20 + rnd.IntN(800), "jitter": rnd.IntN(200)}
	}, traffic},
	{"bandwidth", func(rnd *rand.Rand) map[string]int { return map[string]int{"rate": 8 + rnd.IntN(200)} }, traffic}, // KB/s
	{"slicer", func(rnd *rand.Rand) map[string]int {
		return map[string]int{"average_size": 30 + rnd.IntN(500), "size_variation": 20, "delay": rnd.IntN(3000)} // bytes, µs
	}, traffic},
	{"slow_close", func(rnd *rand.Rand) map[string]int { return map[string]int{"delay": 200 + rnd.IntN(3000)} }, traffic},
	{"timeout", func(rnd *rand.Rand) map[string]int { return map[string]int{"timeout": rnd.IntN(3000)} }, ended}, // 0: a black hole until it is taken away
	{"reset_peer", func(rnd *rand.Rand) map[string]int { return map[string]int{"timeout": rnd.IntN(500)} }, ended},
	{"limit_data", func(rnd *rand.Rand) map[string]int { return map[string]int{"bytes": 1 + rnd.IntN(60_000)} }, ended},
}

// poisoned has a toxic on a link for a while.
type poisoned struct {
	to        string
	toxic     *toxic
	direction string
}

func (p poisoned) Name() string { return fmt.Sprintf("%s, %s %s", p.toxic.name, p.to, p.direction) }

func (p poisoned) Weight() int { return 3 }

func (p poisoned) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	link := w.link(p.to)
	before := link.Passed()
	heal, err := link.poison(p.toxic.name, p.direction, p.toxic.attributes(rnd))
	if err != nil {
		return 0, err
	}
	err = moment(ctx, rnd, 150*time.Millisecond, 1200*time.Millisecond)
	if fail := heal(); err == nil {
		err = fail
	}
	// A black hole ends the connections when it is taken away.
	for end := time.Now().Add(time.Second); !p.toxic.worked(since(before, link.Passed())) && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if err != nil || !p.toxic.worked(since(before, link.Passed())) {
		return 0, err
	}
	return 1, nil
}

// since is what has passed between two looks.
func since(a, b harness.Passed) harness.Passed {
	return harness.Passed{Up: b.Up - a.Up, Down: b.Down - a.Down, Made: b.Made - a.Made, Ended: b.Ended - a.Ended, Refused: b.Refused - a.Refused}
}

// severed resets all connections.
type severed struct{ to string }

func (s severed) Name() string { return "connections cut, " + s.to }

func (s severed) Inject(_ context.Context, w *World, _ *rand.Rand) (int, error) {
	before := w.link(s.to).Passed()
	w.link(s.to).Cut()
	return since(before, w.link(s.to).Passed()).Ended, nil
}

// refused lets nobody in for a while.
type refused struct{ to string }

func (r refused) Name() string { return "connections refused, " + r.to }

func (r refused) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	link := w.link(r.to)
	before := link.Passed()
	link.Refuse(true)
	defer link.Refuse(false)
	if err := moment(ctx, rnd, 100*time.Millisecond, 2*time.Second); err != nil {
		return 0, err
	}
	for end := time.Now().Add(2 * time.Second); since(before, link.Passed()).Refused == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	return since(before, link.Passed()).Refused, nil
}

// swallowed loses the connections without a word: whatever is sent on them disappears, for good. walhook finds out by its own limits.
type swallowed struct{ to string }

func (s swallowed) Name() string { return "connections swallowed, " + s.to }

func (swallowed) Weight() int { return 2 }

func (s swallowed) Costly() bool { return s.to != "receivers" }

func (s swallowed) Inject(ctx context.Context, w *World, rnd *rand.Rand) (int, error) {
	link := w.link(s.to)
	before := link.Passed()
	link.Swallow(true)
	err := moment(ctx, rnd, 500*time.Millisecond, 4*time.Second)
	link.Swallow(false)
	p := link.Passed()
	if open := p.Made - p.Ended; open > 0 && before.Made > before.Ended {
		return open, err
	}
	return 0, err
}
