package storm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"walhook/internal/harness"
)

// agenda knows what has been seen, and draws the faults of rounds: what runs before have left in the report's file, what rounds of this one have come to
// that ended well, and what is under way. The faults of a round that failed do not count.
type agenda struct {
	file string // that counts are added to, or ""

	mu       sync.Mutex
	before   *harness.Tally                // of the file
	run      *harness.Tally                // of this run
	underWay map[uint64]map[string]float64 // by seed: what kinds will come to
}

func newAgenda(file string) (*agenda, error) {
	a := &agenda{file: file, before: &harness.Tally{}, run: &harness.Tally{}, underWay: map[uint64]map[string]float64{}}
	if file == "" {
		return a, nil
	}
	var err error
	a.before, err = harness.ReadTally(file)
	return a, err
}

// seen is all that is known.
func (a *agenda) seen() *harness.Tally {
	all := &harness.Tally{}
	all.Take(a.before, "")
	all.Take(a.run, "")
	return all
}

// draw is the list of a round's faults.
func (a *agenda) draw(seed uint64, p plan) []Fault {
	rnd := rand.New(rand.NewPCG(seed, 1<<44))
	from := faultsFor(p)
	switch {
	case p.each:
		rnd.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		return from
	case !p.catchUp:
		return draw(rnd, from, p.faults, nil, nil)
	}
	if seed%2 == 1 && p.only == nil { // rounds in which no slot is lost keep images of rows
		from = slices.DeleteFunc(from, func(f Fault) bool { return kindOf(f.Name()) == "slot lost" })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	seen, planned := a.seen(), map[string]float64{}
	for _, kinds := range a.underWay {
		for kind, n := range kinds {
			planned[kind] += n
		}
	}
	list := draw(rnd, from, p.faults, seen, planned)
	a.underWay[seed] = map[string]float64{}
	for _, k := range missing(list, seen, nil) {
		a.underWay[seed][k.name] = k.yield * float64(len(k.faults))
	}
	return list
}

// play plays a round, and adds up what it came to; false if it failed.
func (a *agenda) play(t *testing.T, seed uint64, p plan) bool {
	t.Helper()
	counts := &harness.Tally{}
	list := p.list
	ok := t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
		if list == nil {
			list = a.draw(seed, p)
		}
		play(t, seed, p, list, counts)
	})
	if !ok {
		failed := &harness.Tally{}
		failed.Add("rounds", "that failed, and of which nothing else counts", 1)
		counts = failed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.underWay, seed)
	a.run.Take(counts, "")
	if a.file != "" {
		if err := counts.AddTo(a.file, "", sumUp); err != nil {
			t.Error(err)
		}
	}
	return ok
}

// sumUp lists every kind, and by how many those fall short that have not been seen often enough.
func sumUp(sum *harness.Tally) {
	sum.Drop(below)
	for _, f := range allFaults() {
		kind := kindOf(f.Name())
		sum.Add(byKind, kind, 0)
		if n := sum.Count(byKind, kind); n < target && sum.Count(below, kind) == 0 {
			sum.Add(below, kind, target-n)
		}
	}
}

// report says what has been seen, over all runs if there is a file.
func (a *agenda) report() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := a.seen()
	sumUp(all)
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nfaults by kind, over all runs:\n", a.run)
	counts := all.Group(byKind)
	few := 0
	for _, kind := range slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
		if counts[x] != counts[y] {
			return counts[x] - counts[y]
		}
		return strings.Compare(x, y)
	}) {
		mark := ""
		if counts[kind] < target {
			mark = fmt.Sprintf("   (fewer than %d)", target)
			few++
		}
		fmt.Fprintf(&b, "%8d  %s%s\n", counts[kind], kind, mark)
	}
	fmt.Fprintf(&b, "%d of %d kinds have been seen less than %d times\n", few, len(counts), target)
	return b.String()
}
