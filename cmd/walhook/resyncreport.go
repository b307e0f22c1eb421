package main

import (
	"fmt"
	"strings"
	"time"

	"walhook/cdc"
)

// resyncReport is what a resync does and what it cannot know: printed, as --json prints it, and kept in the state.
type resyncReport struct {
	Resync    int64        `json:"resync,omitempty"` // its number, once it was begun
	DryRun    bool         `json:"dry_run,omitempty"`
	Lost      []string     `json:"lost"` // what is wrong with the slot; empty when it goes on where the state ends
	From      string       `json:"from"` // the position: everything up to there was read
	To        string       `json:"to,omitempty"`
	LostBytes int64        `json:"lost_bytes"`          // of WAL, as far as that is known; -1 when not
	PassedAt  time.Time    `json:"passed_at,omitzero"`  // WAL had not passed the position then
	Since     time.Time    `json:"since"`               // records written then or later are sent
	Derived   string       `json:"derived"`             // how since was found
	LogSince  time.Time    `json:"log_since,omitzero"`  // what endpoints were told before is not known
	Rules     []resyncRule `json:"rules"`               // active ones
	NotKnown  []string     `json:"not_known"`           // of all of them
	SlotMade  bool         `json:"slot_made,omitempty"` // a new one was made
}

// resyncRule is what can be done for one rule.
type resyncRule struct {
	Rule      string   `json:"rule"`
	Model     string   `json:"model,omitempty"`
	Table     string   `json:"table,omitempty"`
	Endpoints []string `json:"endpoints"`
	By        string   `json:"by,omitempty"`     // the column that tells which rows may have changed: write_date or create_date; "" when there is none
	Images    bool     `json:"images,omitempty"` // its rows are compared with their images from before
	Rows      int64    `json:"rows"`             // that it says so of, or that are compared; -1 when counting took too long
	Unstamped int64    `json:"unstamped"`        // rows without a value there, which it says nothing of
	Told      int64    `json:"told"`             // records that its endpoints know, each counted per endpoint; for rules on unlink
	Gone      int64    `json:"gone"`             // of these, gone: unlinks that are sent
	Unjudged  int64    `json:"gone_unjudged"`
	NotKnown  []string `json:"not_known"`
	Remedy    string   `json:"remedy,omitempty"`

	filter *cdc.Filter // nil: no rows are looked through
}

// tables lists what rules concern.
func (r *resyncReport) tables() (names []string) {
	seen := map[string]bool{}
	for _, rule := range r.Rules {
		if rule.Table != "" && !seen[rule.Table] {
			seen[rule.Table] = true
			names = append(names, rule.Table)
		}
	}
	return names
}

// print writes the report for people.
func (r *resyncReport) print(say func(parts ...string) error) error {
	var b strings.Builder
	for _, lost := range r.Lost {
		fmt.Fprintf(&b, "lost    %s\n", lost)
	}
	gap := "from " + r.From
	if !r.PassedAt.IsZero() {
		gap += fmt.Sprintf(", reached at %s or later,", instant(r.PassedAt))
	}
	gap += " until now"
	if r.LostBytes >= 0 && len(r.Lost) > 0 {
		gap += fmt.Sprintf(": %s of WAL", cdc.BytesText(r.LostBytes))
	}
	fmt.Fprintf(&b, "gap     %s; %s on %s\n", gap, plural(len(r.Rules), "rule"), plural(len(r.tables()), "table"))
	fmt.Fprintf(&b, "since   %s (%s)\n", instant(r.Since), r.Derived)
	if !r.LogSince.IsZero() {
		fmt.Fprintf(&b, "log     what endpoints were told is known since %s\n", instant(r.LogSince))
	}
	for i := range r.Rules {
		r.Rules[i].write(&b)
	}
	b.WriteString("\nCannot be known, of all of them:\n")
	for _, what := range r.NotKnown {
		fmt.Fprintf(&b, "  - %s\n", what)
	}
	return say(strings.TrimSuffix(b.String(), "\n"))
}

// write writes what is said of one rule.
func (r *resyncRule) write(b *strings.Builder) {
	on := r.Model
	if r.Table != "" && r.Table != r.Model {
		on = fmt.Sprintf("%s (%s)", r.Model, r.Table)
	}
	fmt.Fprintf(b, "\n%s, %s, to %s\n", r.Rule, orElse(on, "custom events"), strings.Join(r.Endpoints, ", "))
	switch {
	case r.Images && r.Rows > 0:
		fmt.Fprintf(b, "  rows      all %d are compared with their images from before; those that differ and for which the condition holds are sent, with before\n", r.Rows)
	case r.Images && r.Rows < 0:
		fmt.Fprintf(b, "  rows      all are compared with their images from before; those that differ and for which the condition holds are sent, with before\n")
	case r.By != "" && r.Rows < 0:
		fmt.Fprintf(b, "  rows      not counted: it took too long; all with a later %s are looked at\n", r.By)
	case r.By != "":
		fmt.Fprintf(b, "  rows      %d by %s; those for which the condition holds are sent\n", r.Rows, r.By)
	}
	switch {
	case r.Images && r.Gone > 0:
		fmt.Fprintf(b, "  unlinks   %d; those for which the condition held are sent\n", r.Gone)
	case r.Told > 0 || r.Gone > 0:
		fmt.Fprintf(b, "  unlinks   %d, of %d that its endpoints were told of\n", r.Gone, r.Told)
	}
	for _, what := range r.NotKnown {
		fmt.Fprintf(b, "  not known %s\n", what)
	}
	if r.Remedy != "" {
		fmt.Fprintf(b, "  remedy    %s\n", r.Remedy)
	}
}

// instant writes a time for people.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
