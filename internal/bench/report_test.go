package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// report collects figures over rounds.
type report struct {
	t         *testing.T
	began     time.Time
	scenarios []*scenario
	quiet     bool   // no progress
	machine   string // what it runs on
}

// scenario is one table of the report.
type scenario struct {
	Name, Title string
	Rows        []*row
	Targets     []string
	r           *report
}

// row is one contender.
type row struct {
	Name    string
	Columns []*series
}

// series is a figure over rounds.
type series struct {
	Name   string
	Values []float64
}

func (r *report) say(format string, args ...any) {
	if r.quiet {
		return
	}
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// scenario begins a table.
func (r *report) scenario(name, format string, args ...any) *scenario {
	s := &scenario{Name: name, Title: fmt.Sprintf(format, args...), r: r}
	r.scenarios = append(r.scenarios, s)
	r.say("%s: %s", name, s.Title)
	return s
}

func (s *scenario) row(name string) *row {
	for _, r := range s.Rows {
		if r.Name == name {
			return r
		}
	}
	r := &row{Name: name}
	s.Rows = append(s.Rows, r)
	return r
}

// figure is one value of a round.
type figure struct {
	name  string
	value float64
}

// add notes what one round of a contender has shown.
func (s *scenario) add(name string, figures ...figure) {
	r := s.row(name)
	var text []string
	for _, f := range figures {
		i := slices.IndexFunc(r.Columns, func(c *series) bool { return c.Name == f.name })
		if i < 0 {
			i = len(r.Columns)
			r.Columns = append(r.Columns, &series{Name: f.name})
		}
		r.Columns[i].Values = append(r.Columns[i].Values, f.value)
		text = append(text, f.name+" "+decimal(f.value))
	}
	s.r.say("%s: %-12s %s", s.Name, name, strings.Join(text, ", "))
}

// median of a contender's figure; 0 when it has none.
func (s *scenario) median(name, column string) float64 {
	for _, c := range s.row(name).Columns {
		if c.Name == column {
			return median(c.Values)
		}
	}
	return 0
}

// ratio is the median over rounds of one figure divided by another of the same round.
func (s *scenario) ratio(name, over, column string) float64 {
	var a, b []float64
	for _, c := range s.row(name).Columns {
		if c.Name == column {
			a = c.Values
		}
	}
	for _, c := range s.row(over).Columns {
		if c.Name == column {
			b = c.Values
		}
	}
	var all []float64
	for i := range min(len(a), len(b)) {
		if b[i] != 0 {
			all = append(all, a[i]/b[i])
		}
	}
	return median(all)
}

// target says whether a figure reached what it should. It fails nothing.
func (s *scenario) target(what string, value float64, least bool, limit float64) {
	verdict, word := "MISSED", "at most"
	if least {
		word = "at least"
	}
	if least && value >= limit || !least && value <= limit {
		verdict = "met"
	}
	s.Targets = append(s.Targets, fmt.Sprintf("%-7s %s: %s, target %s %s", verdict, what, decimal(value), word, decimal(limit)))
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// decimal prints three digits that matter.
func decimal(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// String is the report as text.
func (r *report) String() string {
	var b strings.Builder
	for _, s := range r.scenarios {
		fmt.Fprintf(&b, "\n%s. %s\n", s.Name, s.Title)
		var columns []string
		for _, row := range s.Rows {
			for _, c := range row.Columns {
				if !slices.Contains(columns, c.Name) {
					columns = append(columns, c.Name)
				}
			}
		}
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\t%s\n", strings.Join(columns, "\t"))
		for _, row := range s.Rows {
			cells := make([]string, len(columns))
			for _, c := range row.Columns {
				text := decimal(median(c.Values))
				if len(c.Values) > 1 {
					text += fmt.Sprintf(" (%s-%s)", decimal(slices.Min(c.Values)), decimal(slices.Max(c.Values)))
				}
				cells[slices.Index(columns, c.Name)] = text
			}
			fmt.Fprintf(w, "  %s\t%s\n", row.Name, strings.Join(cells, "\t"))
		}
		_ = w.Flush() // into memory
		for _, text := range s.Targets {
			fmt.Fprintf(&b, "  %s\n", text)
		}
	}
	return b.String()
}

// machine says what the figures are of, and how busy it is.
func machine(server int) string {
	model, load := "", ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = ", " + strings.TrimSpace(value)
			}
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(text)); len(f) > 0 {
			load = ", load average at the start " + f[0]
		}
	}
	receiver := cmp.Or(os.Getenv(envReceiver), "by hand")
	return fmt.Sprintf("%d cores%s, PostgreSQL %d with fsync on, %s, receiver's HTTP: %s%s", runtime.NumCPU(), model, server, runtime.Version(), receiver, load)
}

// print shows the report, and writes it as JSON where BENCH_JSON says.
func (r *report) print() {
	fmt.Fprintf(os.Stderr, "\n%s\nMedians over rounds (least-largest). CPU is microseconds per delivery: the process, the server's backends that serve it (its walsender too),\nbeside them the server's background and the receiver. All of them share the machine.\n%s\n", r.machine, r)
	path := os.Getenv("BENCH_JSON")
	if path == "" {
		return
	}
	text, err := json.MarshalIndent(map[string]any{"machine": r.machine, "scenarios": r.scenarios}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		r.t.Error(err)
	}
}
