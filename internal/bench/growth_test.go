package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"walhook/internal/harness"
)

// growthRows is how many updates walhook drains for each point of a plot, growthEvents how many webhooks it sends.
const growthRows, growthEvents = 60_000, 24_000

// TestPlots draws how throughput and resident memory go with the number of rules, endpoints, columns and rows in a transaction: `make plots`. BENCH_ROUNDS
// is how often each point is measured (default 3), in turns with the others.
func TestPlots(t *testing.T) {
	dir := os.Getenv("WALHOOK_PLOTS")
	if dir == "" {
		t.Skip("takes minutes and a quiet machine: make plots")
	}
	r := &report{t: t, began: time.Now()}
	harness.Binary(t, "")
	g := &growth{bench: &bench{report: r, world: &world{t: t}, rounds: setting(t, "BENCH_ROUNDS", 3)}, rows: setting(t, "BENCH_ROWS", growthRows), dir: dir}
	g.rulesElsewhere()
	g.rulesHere()
	g.rowsTogether()
	g.columns()
	g.endpoints()
}

// growth measures points and draws them.
type growth struct {
	*bench
	rows   int
	dir    string
	server int
}

// measure goes through the points in turns, and draws what it found.
func (g *growth) measure(file string, p plot, rate string, at []int, one func(x int) (rate, mib float64)) {
	rates, peaks := make([][]float64, len(at)), make([][]float64, len(at))
	for range g.rounds {
		for i, x := range at {
			rate, mib := one(x)
			g.report.say("%s: %d: %.0f a second, %.1f MiB", file, x, rate, mib)
			rates[i], peaks[i] = append(rates[i], rate), append(peaks[i], mib)
		}
	}
	points := func(values [][]float64) (all []point) {
		for i, v := range values {
			all = append(all, point{float64(at[i]), median(v), slices.Min(v), slices.Max(v)})
		}
		return all
	}
	p.lines = []line{{rate, points(rates)}, {"resident memory at most, MiB", points(peaks)}}
	p.note += fmt.Sprintf(" Medians of %d, with the least and the largest. %s", g.rounds, machine(g.server))
	p.write(g.report.t, filepath.Join(g.dir, file))
}

func (g *growth) wide(columns, models int) *wide {
	w := newWide(g.bench, true, columns, g.rows, models)
	g.server = w.world.server.Major()
	return w
}

// drained lets walhook drain what was written.
func (g *growth) drained(w *wide, rules string) (rate, mib float64) {
	r := w.walhookReads("/ok/growth", rules)
	return float64(g.rows) / r.seconds, r.peak
}

const drainNote = "Draining updates of a table under REPLICA IDENTITY FULL, 100 to a transaction, 20 rules that look at each."

func (g *growth) rulesElsewhere() {
	w := g.wide(47, otherModels)
	w.write(g.rows, 100, "FULL")
	g.measure("rules-elsewhere.svg", plot{title: "Rules on other tables", x: "further rules, on 200 other tables", log: true, note: drainNote}, "rows a second", []int{1, 10, 100, 1000, 5000}, func(n int) (float64, float64) {
		return g.drained(w, sentinelRule+quietRules(20, true)+rulesElsewhere(otherModels, n))
	})
}

func (g *growth) rulesHere() {
	w := g.wide(47, 0)
	w.write(g.rows, 100, "FULL")
	g.measure("rules.svg", plot{title: "Rules on the table that is written", x: "rules whose conditions look at every row", log: true, note: "Draining updates of a table under REPLICA IDENTITY FULL, 100 to a transaction."}, "rows a second", []int{1, 5, 20, 100, 500},
		func(n int) (float64, float64) { return g.drained(w, sentinelRule+quietRules(n, true)) })
}

func (g *growth) rowsTogether() {
	w := g.wide(47, 0)
	p := plot{title: "Rows in a transaction", x: "rows in a transaction", log: true, note: "Draining updates of a table under REPLICA IDENTITY FULL, 20 rules that look at each."}
	rules := sentinelRule + quietRules(20, true)
	g.measure("transaction.svg", p, "rows a second", []int{1, 10, 100, 1000, 10_000, g.rows}, func(n int) (float64, float64) {
		w.write(g.rows, n, "FULL")
		return g.drained(w, rules)
	})
}

func (g *growth) columns() {
	worlds := map[int]*wide{}
	at := []int{10, 47, 100, 200, 400}
	for _, n := range at {
		worlds[n] = g.wide(max(n, 21), 0) // conditions look at 19 of them
		worlds[n].write(g.rows, 100, "FULL")
	}
	at[0] = 21
	worlds[21] = worlds[10]
	g.measure("columns.svg", plot{title: "Columns", x: "columns of the table", log: true, note: drainNote}, "rows a second", at, func(n int) (float64, float64) {
		return g.drained(worlds[n], sentinelRule+quietRules(20, true))
	})
}

func (g *growth) endpoints() {
	w := newWorld(g.report.t, true)
	w.mark()
	w.backlog(growthEvents, growthEvents/5)
	note := fmt.Sprintf("A backlog of %d transactions, each event to one of the endpoints; the receiver answers at once.", growthEvents)
	g.measure("endpoints.svg", plot{title: "Endpoints", x: "endpoints", log: true, note: note}, "webhooks a second", []int{1, 4, 16, 64, 256}, func(n int) (float64, float64) {
		var list []string
		var rules strings.Builder
		for i := range n {
			list = append(list, endpoint(fmt.Sprintf("e%d", i), "/ok/growth", 8))
			fmt.Fprintf(&rules, "[[rules]]\nname = \"to_%d\"\ntable = \"item\"\non = [\"create\", \"write\"]\nendpoint = \"e%d\"\nwhen = 'after.id %% %d == %d'\n", i, i, n, i)
		}
		w.rules = rules.String()
		w.reset()
		l := w.walhook(list...)
		w.arrived("/ok/growth", growthEvents, l.alive)
		_, peak := memoryOf(l.pid)
		rate := w.correct("/ok/growth", growthEvents).rate()
		l.stop()
		return rate, peak
	})
}

// A picture says what it shows and stays within its frame, whatever the values are.
func TestPlotDraws(t *testing.T) {
	p := plot{title: "Rules & more", x: "rules", log: true, note: "as <measured>", lines: []line{
		{"rows a second", []point{{1, 90_000, 80_000, 95_000}, {10, 85_000, 84_000, 86_000}, {10_000, 60_123, 60_000, 61_000}}}, {"MiB", []point{{1, 40, 40, 40}, {10_000, 0, 0, 0}}}}}
	text := p.svg()
	for _, want := range []string{"Rules &amp; more", "as &lt;measured&gt;", "rows a second", ">MiB<", ">100k<", "prefers-color-scheme: dark", `viewBox="0 0 828`} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture has no %q", want)
		}
	}
	if got := strings.Join(wrapped("one two three four", 9), "|"); got != "one two|three|four" {
		t.Errorf("wrapped %s", got)
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("a place that is none:\n%s", text)
	}
	for v, want := range map[float64]string{0.2: "0.2", 3: "3", 1500: "1,500", 60_000: "60k", 1e6: "1M", 2.5e6: "2.5M"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %s, want %s", v, got, want)
		}
	}
	for least, want := range map[float64]float64{0: 1, 0.3: 0.5, 7: 10, 12: 20, 100: 100} {
		if got := niceStep(least); got != want {
			t.Errorf("niceStep(%v) = %v, want %v", least, got, want)
		}
	}
}
