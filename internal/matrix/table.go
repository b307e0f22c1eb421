//go:build unix

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is what became of all tests: a column for each version, a row for each package.
type table struct {
	columns []*column
	absent  []string // versions that could not be tried, and why
}

type column struct {
	major int
	name  string
	cells map[string]*cell // by package
}

// cell is what became of one package's tests on one version.
type cell struct {
	passed   int
	failures []string
	skips    []skip
	broken   bool // the package failed, perhaps without a test that did
}

// skip is a test that was left out.
type skip struct{ test, reason string }

func (t *table) column(major int, name string) *column {
	c := &column{major: major, name: name, cells: map[string]*cell{}}
	t.columns = append(t.columns, c)
	return c
}

// missing notes a version that could not be tried.
func (t *table) missing(b build, err error) {
	t.absent = append(t.absent, fmt.Sprintf("PostgreSQL %d: %v", b.Major, err))
}

func (c *column) cell(pkg string) *cell {
	found := c.cells[pkg]
	if found == nil {
		found = &cell{}
		c.cells[pkg] = found
	}
	return found
}

func (c *cell) String() string {
	switch {
	case c == nil:
		return "-"
	case len(c.failures) > 0:
		return fmt.Sprintf("FAILED %d of %d", len(c.failures), len(c.failures)+c.passed)
	case c.broken:
		return "FAILED"
	case c.passed == 0 && len(c.skips) == 0:
		return "no tests"
	case len(c.skips) > 0:
		return fmt.Sprintf("ok %d, %d skipped", c.passed, len(c.skips))
	}
	return fmt.Sprintf("ok %d", c.passed)
}

// failed says that some tests failed, or could not be run.
func (t *table) failed() bool {
	if len(t.absent) > 0 || len(t.columns) == 0 {
		return true
	}
	for _, col := range t.columns {
		for _, c := range col.cells {
			if c.broken || len(c.failures) > 0 {
				return true
			}
		}
	}
	return false
}

// print writes the table, then the tests that failed, and the reasons for which tests were left out.
func (t *table) print(out io.Writer) {
	packages := map[string]bool{}
	for _, col := range t.columns {
		for pkg := range col.cells {
			packages[pkg] = true
		}
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprint(w, "\nPACKAGE")
	for _, col := range t.columns {
		fmt.Fprintf(w, "\t%d", col.major)
	}
	fmt.Fprintln(w)
	for _, pkg := range slices.Sorted(maps.Keys(packages)) {
		fmt.Fprint(w, short(pkg))
		for _, col := range t.columns {
			fmt.Fprintf(w, "\t%s", col.cells[pkg])
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // to a terminal or a buffer
	for _, line := range t.absent {
		fmt.Fprintf(out, "\nnot tried: %s\n", line)
	}
	t.list(out, "failed", func(c *cell) (all []skip) {
		for _, test := range c.failures {
			all = append(all, skip{test: test})
		}
		return all
	})
	t.list(out, "skipped", func(c *cell) []skip { return c.skips })
}

// list writes tests by their reason, each with the versions that it is about.
func (t *table) list(out io.Writer, verb string, of func(*cell) []skip) {
	type test struct{ reason, pkg, name string }
	versions := map[test][]string{}
	for _, col := range t.columns {
		for pkg, c := range col.cells {
			for _, s := range of(c) {
				k := test{s.reason, short(pkg), s.test}
				versions[k] = append(versions[k], fmt.Sprint(col.major))
			}
		}
	}
	sorted := slices.SortedFunc(maps.Keys(versions), func(a, b test) int {
		return cmp.Or(strings.Compare(a.reason, b.reason), strings.Compare(a.pkg, b.pkg), strings.Compare(a.name, b.name))
	})
	last := "-"
	for i, k := range sorted {
		if i == 0 {
			fmt.Fprintf(out, "\n%s:\n", verb)
		}
		if k.reason != last && k.reason != "" {
			fmt.Fprintf(out, "  %s\n", k.reason)
		}
		last = k.reason
		fmt.Fprintf(out, "    %s %s (%s)\n", k.pkg, k.name, strings.Join(versions[k], ", "))
	}
}
