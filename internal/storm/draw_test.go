package storm

import (
	"bufio"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"walhook/internal/harness"
)

// target is how often each kind of fault is to have been seen, over all runs together.
const target = 200

// Groups of the tally that draws go by.
const (
	byName     = "faults"                         // by the fault's name
	byKind     = "faults by kind"                 // by what it belongs to
	injections = "injections"                     // how often a fault was injected: one may count for several
	lasted     = "milliseconds that faults took"  // in all, with what they wait for
	below      = "faults by kind, missing to 200" // of each kind that has not been seen often enough: how many are missing
)

// kindOf is what faults of one name belong to: the beginning of it, but for the ways in which receivers fail and for DDL, of which each is a kind.
func kindOf(name string) string {
	if strings.HasPrefix(name, "DDL: ") || strings.HasPrefix(name, "receiver: ") {
		return name
	}
	if strings.HasPrefix(name, "SIG") {
		name, _, _ = strings.Cut(name, " ")
	}
	if i := strings.IndexAny(name, ",:"); i > 0 {
		return name[:i]
	}
	return name
}

func weightOf(f Fault) float64 {
	if w, ok := f.(weighted); ok {
		return float64(w.Weight())
	}
	return 10
}

func isCostly(f Fault) bool {
	c, ok := f.(costly)
	return ok && c.Costly()
}

// faultsFor are those that a plan draws from.
func faultsFor(p plan) (some []Fault) {
	for _, f := range allFaults() {
		if isCostly(f) && p.hurry || p.only != nil && !p.only.MatchString(f.Name()) {
			continue
		}
		some = append(some, f)
	}
	return some
}

// drawn is a kind of fault in a draw.
type drawn struct {
	name        string
	faults      []Fault
	left        float64 // to be seen yet
	yield, cost float64 // what one injection counts for, and seconds that it takes, as seen so far
}

// draw draws n faults. By their weights, if it is not told what has been seen; otherwise most are drawn from the kinds that are missing most, those first that
// take little time, and within a kind from the names that are rarest. What rounds under way will come to is in planned.
func draw(rnd *rand.Rand, from []Fault, n int, seen *harness.Tally, planned map[string]float64) (list []Fault) {
	total := 0.0
	for _, f := range from {
		total += weightOf(f)
	}
	byWeight := func() Fault {
		at := rnd.Float64() * total
		for _, f := range from {
			if at -= weightOf(f); at < 0 {
				return f
			}
		}
		return from[len(from)-1]
	}
	if len(from) == 0 {
		return nil
	}
	var kinds []*drawn
	counts := map[string]float64{}
	if seen != nil {
		kinds = missing(from, seen, planned)
		for name, n := range seen.Group(byName) {
			counts[name] = float64(n)
		}
	}
	for len(list) < n {
		sum := 0.0
		urgent := func(k *drawn) float64 { return max(k.left, 0) / k.yield / math.Sqrt(k.cost) }
		for _, k := range kinds {
			sum += urgent(k)
		}
		if sum == 0 || rnd.IntN(8) == 0 { // all kinds belong to a storm
			list = append(list, byWeight())
			continue
		}
		at := rnd.Float64() * sum
		for _, k := range kinds {
			if at -= urgent(k); at >= 0 {
				continue
			}
			var rarest Fault
			for _, i := range rnd.Perm(len(k.faults)) {
				if f := k.faults[i]; rarest == nil || counts[f.Name()]/weightOf(f) < counts[rarest.Name()]/weightOf(rarest) {
					rarest = f
				}
			}
			counts[rarest.Name()] += k.yield
			k.left -= k.yield
			list = append(list, rarest)
			break
		}
	}
	return list
}

// missing sums up what has been seen of each kind.
func missing(from []Fault, seen *harness.Tally, planned map[string]float64) (kinds []*drawn) {
	of := map[string]*drawn{}
	for _, f := range from {
		name := kindOf(f.Name())
		if of[name] == nil {
			of[name] = &drawn{name: name, left: target - float64(seen.Count(byKind, name)) - planned[name]}
			kinds = append(kinds, of[name])
		}
		of[name].faults = append(of[name].faults, f)
	}
	for _, k := range kinds {
		// Before anything is known: one, in a second, or in eight.
		count, times, took := 1.0, 1.0, 1.0
		if isCostly(k.faults[0]) {
			took = 8
		}
		for _, f := range k.faults {
			count += float64(seen.Count(byName, f.Name()))
			times += float64(seen.Count(injections, f.Name()))
			took += float64(seen.Count(lasted, f.Name())) / 1000
		}
		k.yield, k.cost = max(count/times, 0.2), max(took/times, 0.1)
	}
	return kinds
}

// saveList keeps the names of a round's faults, one a line, in their order.
func saveList(dir string, list []Fault) error {
	var b strings.Builder
	for _, f := range list {
		b.WriteString(f.Name() + "\n")
	}
	return os.WriteFile(listFile(dir), []byte(b.String()), 0o600)
}

func listFile(dir string) string { return filepath.Join(dir, "drawn.txt") }

// readList reads what saveList has written.
func readList(path string) (list []Fault, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	named := map[string]Fault{}
	for _, f := range allFaults() {
		named[f.Name()] = f
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		one := named[lines.Text()]
		if one == nil {
			return nil, fmt.Errorf("%s: there is no fault %q", path, lines.Text())
		}
		list = append(list, one)
	}
	return list, lines.Err()
}

// A name stands for one fault: rounds are repeated by their lists.
func TestFaultsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range allFaults() {
		if seen[f.Name()] {
			t.Errorf("there are two faults %q", f.Name())
		}
		seen[f.Name()] = true
	}
	all := allFaults()
	dir := t.TempDir()
	if err := saveList(dir, all); err != nil {
		t.Fatal(err)
	}
	again, err := readList(listFile(dir))
	if err != nil || len(again) != len(all) {
		t.Fatalf("%d faults of %d were read: %v", len(again), len(all), err)
	}
	for i, f := range again {
		if f.Name() != all[i].Name() {
			t.Errorf("fault %d is %q, and was %q", i, f.Name(), all[i].Name())
		}
	}
}

// What has been seen least is drawn most, until all kinds have been seen often enough; one seed and one tally draw the same.
func TestRareKindsCatchUp(t *testing.T) {
	from := allFaults()
	seen := &harness.Tally{}
	for _, f := range from {
		if kind := kindOf(f.Name()); kind != "slot lost" && kind != "SIGSTOP" && seen.Count(byKind, kind) == 0 {
			seen.Add(byKind, kind, target)
		}
	}
	names := func(seen *harness.Tally, planned map[string]float64) string {
		var b strings.Builder
		for _, f := range draw(rand.New(rand.NewPCG(1, 2)), from, 100, seen, planned) {
			b.WriteString(f.Name() + "\n")
		}
		return b.String()
	}
	rare := regexp.MustCompile(`(?m)^(slot lost|SIGSTOP)`)
	list := names(seen, nil)
	if n := len(rare.FindAllString(list, -1)); n < 70 {
		t.Errorf("%d of 100 are of the kinds that are missing:\n%s", n, list)
	}
	for _, f := range from {
		if rare.MatchString(f.Name()) && !strings.Contains(list, f.Name()+"\n") {
			t.Errorf("%q is rare, and was not drawn", f.Name())
		}
	}
	if list != names(seen, nil) {
		t.Error("one seed, two lists")
	}
	if n := len(rare.FindAllString(names(seen, map[string]float64{"slot lost": target, "SIGSTOP": target}), -1)); n > 30 {
		t.Errorf("%d of 100 are of kinds that rounds under way will have seen", n)
	}
	if names(nil, nil) == "" {
		t.Error("nothing is drawn by weight")
	}
}
