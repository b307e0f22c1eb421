package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"walhook/status"
)

// printSchedules writes how the runs of rules on schedule fare; nothing when there are none.
func printSchedules(w io.Writer, d *status.Document) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	head := false
	for i := range d.Rules {
		r := &d.Rules[i]
		s := r.Schedule
		if s == nil || !r.Configured {
			continue
		}
		if !head {
			fmt.Fprintln(table, "\nSCHEDULE\tLAST RUN\tNEXT RUN\tROWS READ\tSENT\tSENT IN ALL\tERROR")
			head = true
		}
		last, next := orDash(ago("", d.At, s.LastRun)), "-"
		switch {
		case s.LastRun.IsZero():
		case s.LastEnd.IsZero():
			last += ", under way"
		case s.Stock:
			last += ", took stock"
		}
		if !s.NextRun.IsZero() {
			next = s.NextRun.UTC().Format("2006-01-02 15:04:05 UTC")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\n", r.Name, last, next, s.Rows, s.Fired, s.Total, orDash(s.Error+ago(", ", d.At, s.ErrorAt)))
	}
	return table.Flush()
}
